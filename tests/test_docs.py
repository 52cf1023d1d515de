"""The pages: what their Python blocks print is what the page says they print, and what there is they name.

A page's ```python blocks run in order, in one namespace. What a block prints is compared with the ```text block that
follows it, and the value of a line that is an expression with a comment such as `# 0.123` after it. Numbers may
differ by one in the last digit that is shown, and by 0.001 where fewer than three decimals are; integers and all other
text are the same but for spaces.

Of a ```sh block the commands of fastbp run, in the same folder, and must end well. They print, among others, the lines
of the ```text block that follows, where ... stands for anything.

A block may need data (it names FASTBP_DATA) or a package that fastbp does without, as commands need pandas for CSV
files; a block that uses what it has made needs it, too. They run where these are there.
"""

import ast
import contextlib
import importlib.util
import inspect
import io
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import initializers, layers, losses, optimizers, schedules
from fastbp._support.declarative import Declared

ROOT = Path(fb.__file__).resolve().parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
MATHEMATICS = ROOT / "docs" / "mathematics.md"
DATA = "FASTBP_DATA"  # a block that names it needs it
PACKAGES = {"joblib", "matplotlib", "pandas", "safetensors", "scipy", "sklearn", "torch", "tqdm"}
# What tells without an import.
NEEDED_BY = {DATA: DATA, ".plot(": "matplotlib", ".to_frame(": "pandas", "MLPClass": "sklearn", "MLPRegr": "sklearn"}
VALUE = re.compile(r"#\s*((?:[-+\d.eE,()\[\]\s]|nan|inf|True|False)*\d[\d.)\]]*|True|False)\s*$")
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")


def blocks(text):
    """(line, kind, code, expected output or None) of each ```python and ```sh block."""
    fences = re.compile(r"^```(python|sh)\n(.*?)^```\n(?:\s*^```text\n(.*?)^```$)?", re.M | re.S)
    for match in fences.finditer(text):
        yield text[: match.start()].count("\n") + 2, *match.groups()


def run(page, there=()):
    """Run a page's blocks in the current folder: those that need nothing but what is there. Returns the others."""
    namespace = {"__name__": page.stem}
    left_out, missing = {}, {}  # line -> what its block lacks; the same for the names such blocks would have made
    with np.printoptions():
        for line, kind, code, expected in blocks(page.read_text(encoding="utf-8")):
            if kind == "sh":
                if ".csv" in code and "pandas" not in there:  # the command line reads tables with pandas
                    left_out[line] = {"pandas"}
                    continue
                printed = "".join(shell(command, f"{page.name}, block in line {line}") for command in commands(code))
                contains(printed, expected or "", f"{page.name}, output of the block in line {line}")
                continue
            made, needed = needs(code, missing)
            if needed - set(there):
                left_out[line] = needed - set(there)
                missing |= dict.fromkeys(made, needed)
                continue
            printed = execute(code, namespace, f"{page.name}, block in line {line}")
            if expected is not None:
                compare(printed, expected, f"{page.name}, output of the block in line {line}")
    return left_out


def needs(code, missing):
    """The names that a block makes, and what it needs. missing: what names need that blocks before it did not make."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    made |= {
        alias.asname or alias.name.split(".")[0]
        for node in nodes
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    needed = {name.split(".")[0] for name in imported} & PACKAGES
    needed |= {need for text, need in NEEDED_BY.items() if text in code}
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return made, needed.union(*(missing[name] for name in used & missing.keys()))


def there():
    """Of all that a block may need, what there is."""
    found = {package for package in PACKAGES if importlib.util.find_spec(package)}
    return found | {DATA} if DATA in os.environ else found


def commands(code):
    """The commands of fastbp in a ```sh block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"(fastbp|python -m fastbp)\b", line)]


def shell(command, where):
    words = shlex.split(command.split(" # ")[0])
    words = [sys.executable, "-m", *words[words.index("fastbp") :]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{where}: {command}\n{done.stderr}"
    return done.stdout


def contains(printed, expected, where):
    """Raise AssertionError unless each line that is expected is among those printed, ... standing for anything."""
    for line in expected.splitlines():
        pattern = r"\s+".join(".*".join(map(re.escape, word.split("..."))) for word in line.split())
        assert re.search(rf"^\s*{pattern}\s*$", printed, re.M), f"{where}: there is no line\n{line}\nin\n{printed}"


def execute(code, namespace, where):
    """Run a block; the values that its comments tell are compared. Returns what it prints."""
    printed = io.StringIO()
    rows = code.splitlines()
    for statement in ast.parse(code).body:
        value = VALUE.search(rows[statement.end_lineno - 1]) if isinstance(statement, ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            if value and not ast.unparse(statement).startswith("print("):
                got = eval(compile(ast.Expression(statement.value), where, "eval"), namespace)
                compare(str(got), value[1], f"{where}: {ast.unparse(statement)}")
            else:
                exec(compile(ast.Module([statement], []), where, "exec"), namespace)
    return printed.getvalue()


def compare(got, expected, where):
    """Raise AssertionError unless two texts are the same but for spaces and the last digits of numbers."""

    def rest(text):
        return re.sub(r"\s", "", NUMBER.sub("0", text))

    said = f"{where}: the page has\n{expected}\nand this came\n{got}"
    assert rest(got) == rest(expected), said
    for ours, theirs in zip(NUMBER.findall(got), NUMBER.findall(expected), strict=True):
        digits, _, power = theirs.lower().partition("e")
        decimals = max(len(digits.partition(".")[2]), 3)
        off = 0 if theirs.lstrip("+-").isdigit() else 1.01 * 10.0 ** (int(power or 0) - decimals)
        assert math.isclose(float(ours), float(theirs), rel_tol=0, abs_tol=off), f"{said}\n{ours} is not {theirs}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Pages write files where they stand."""
    monkeypatch.chdir(tmp_path)


# ----------------------------------------------------------------------------------------------------------- the blocks


def needs_checkout():
    if not (ROOT / "docs").exists():
        pytest.skip("fastbp was not imported from a checkout, which holds the pages")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages(page):
    needs_checkout()
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_with_all_they_need(page, tmp_path_factory, monkeypatch):
    needs_checkout()
    if not run(page):
        return
    monkeypatch.chdir(tmp_path_factory.mktemp("again"))
    for line, missing in run(page, there()).items():
        pytest.skip(f"{page.name}: the block in line {line} needs {', '.join(sorted(missing))}")


def test_each_row_has_its_place():
    """A heading and a block for each worked example, which has its test in test_worked_examples.py."""
    needs_checkout()
    text = (ROOT / "docs" / "worked_examples.md").read_text(encoding="utf-8")
    tests = (ROOT / "tests" / "test_worked_examples.py").read_text(encoding="utf-8")
    rows = {name.upper() for name in re.findall(r"def test_([a-e]\d)_", tests)}
    assert len(rows) == 22
    sections = dict(re.findall(r"^### ([A-E]\d)\. .*?\n(.*?)(?=^##|\Z)", text, re.M | re.S))
    assert set(sections) == rows
    assert [row for row, section in sections.items() if not list(blocks(section))] == []


# ------------------------------------------------------------------------------------------------- the tester is tested


@pytest.mark.parametrize(
    "got, expected",
    [
        ("loss 0.1234567 [1. 2.]", "loss 0.123457 [1.  2.]"),
        ("[0.5  0.75]", "[0.5 0.75]"),
        ("1.0000001e-05 and 12", "1.0e-05 and 12"),
        ("-0.0999999", "-0.1"),
        ("a\n  b\n", "a\nb"),
    ],
)
def test_compare_takes(got, expected):
    compare(got, expected, "here")


@pytest.mark.parametrize(
    "got, expected",
    [
        ("loss 0.1236", "loss 0.1234"),
        ("12", "13"),
        ("0.5 0.75", "0.5"),
        ("[4. 5.]", "[4. 6.]"),
        ("0.6", "0.5"),
        ("True", "False"),
        ("nan", "0.5"),
        ("-0.5", "0.5"),
        ("1.2e-05", "1.0e-05"),
        ("", "0.5"),
    ],
)
def test_compare_refuses(got, expected):
    with pytest.raises(AssertionError, match="here"):
        compare(got, expected, "here")


def test_a_block_is_run_and_its_comments_are_read(tmp_path):
    page = tmp_path / "page.md"
    first = "```python\nx = 1 / 3  # a third\nx  # 0.333\nprint(x)\n```\n\n```text\n0.33333\n```\n"
    text = f"{first}\n```python\nx + 1  # 1.333\n```\n"
    page.write_text(text)
    assert [line for line, *_ in blocks(text)] == [2, 12]
    run(page)
    for right, wrong in (("0.333\n", "0.335\n"), ("0.33333\n", "0.33336\n"), ("# 1.333", "# 1.335"), ("print", "p")):
        page.write_text(text.replace(right, wrong))
        with pytest.raises((AssertionError, NameError)):
            run(page)


def test_a_block_is_left_out_for_what_it_needs(tmp_path):
    page = tmp_path / "page.md"
    blocks = ["import torch\nx = 1", "def f():\n    return FASTBP_DATA", "y = x", "z = 2", "f(), y", "f()", "1 / 0"]
    page.write_text("".join(f"```python\n{block}\n```\n" for block in blocks[:6]))
    assert run(page) == {2: {"torch"}, 6: {DATA}, 10: {"torch"}, 16: {DATA, "torch"}, 19: {DATA}}
    with pytest.raises(NameError, match=DATA):
        run(page, {DATA})
    page.write_text("".join(f"```python\n{block}\n```\n" for block in blocks))
    with pytest.raises(ZeroDivisionError):
        run(page)


def test_commands_are_run(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\npip install nothing\nfastbp --version # which one\npython -m fastbp \\\n  info\n```\n")
    [(_, _, code, _)] = blocks(page.read_text())
    assert [command.split() for command in commands(code)] == [
        ["fastbp", "--version", "#", "which", "one"],
        ["python", "-m", "fastbp", "info"],
    ]
    run(page)
    page.write_text("```sh\nfastbp --version\n```\n\n```text\nfastbp 0...\n```\n")
    run(page)
    page.write_text(page.read_text().replace("fastbp 0...", "fastbp 0."))
    with pytest.raises(AssertionError, match=r"there is no line\s+fastbp 0\."):
        run(page)
    page.write_text("```sh\nfastbp info a.csv\n```\n")
    assert run(page) == {2: {"pandas"}}
    with pytest.raises(AssertionError, match="got a.csv"):
        run(page, {"pandas"})
    page.write_text("```sh\nfastbp --vision\n```\n")
    with pytest.raises(AssertionError, match="page.md, block in line 2: fastbp --vision\n"):
        run(page)


# ------------------------------------------------------------------------------------------- what there is, is named

NAMED = (layers.ACTIVATIONS, losses.LOSSES, initializers.INITIALIZERS)  # classes that a name may stand for


def public_classes():
    """Every class of layers, losses, optimisers, schedules and initialisers, but for their bases."""
    for module in (layers, losses, optimizers, schedules, initializers):
        for name, cls in vars(module).items():
            own = inspect.isclass(cls) and issubclass(cls, Declared) and cls.__module__ == module.__name__
            base = own and "name" not in vars(cls) and cls.__subclasses__()
            if own and not base and not name.startswith("_"):
                yield cls


def signature(cls):
    return [(name, parameter.default) for name, parameter in inspect.signature(cls).parameters.items()]


def signatures_on(page):
    """(an ast.Call of the class and its arguments, the rest of the row) for each table row that starts with them."""
    for row in re.findall(r"^\| `(\w+\(.*?\))` \|(.*)$", page, re.M):
        call = ast.parse(row[0], mode="eval").body
        yield call, row[1]


def test_each_class_has_its_row():
    """In a table of the page, with the arguments and defaults that the code has, and the name that stands for it."""
    needs_checkout()
    rows = list(signatures_on(MATHEMATICS.read_text(encoding="utf-8")))
    classes = list(public_classes())
    assert {layers.Dense, layers.BatchNorm, losses.Pinball, optimizers.AdamW, schedules.Function} < set(classes)
    for cls in classes:
        written = []
        for call, rest in rows:
            if call.func.id != cls.__name__:
                continue
            names = vars(inspect.getmodule(cls))
            given = {word.arg: eval(ast.unparse(word.value), dict(names)) for word in call.keywords}
            arguments = [(argument.id, inspect.Parameter.empty) for argument in call.args] + list(given.items())
            written.append((arguments, rest))
        assert signature(cls) in [arguments for arguments, _ in written], f"{cls.__name__}{inspect.signature(cls)}"
        if any(cls in named for named in NAMED) or issubclass(cls, optimizers.Optimizer):
            assert any(f'`"{cls.name}"`' in rest for _, rest in written), f"{cls.__name__}: {cls.name}"


def test_there_is_what_has_a_row():
    needs_checkout()
    there = {cls.__name__ for cls in public_classes()}
    assert {call.func.id for call, _ in signatures_on(MATHEMATICS.read_text(encoding="utf-8"))} <= there
