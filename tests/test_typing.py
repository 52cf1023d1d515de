"""Type checkers know every public name: mypy and pyright pass on scripts that use all of them, and mypy on fastbp.

They come with the extra `dev`; the tests are skipped where they are not installed.
"""

import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastbp as fb

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "typing" / "public_names.py"
OPERATIONS = ROOT / "tests" / "typing" / "operations.py"
BESIDE = Path(sys.executable).parent  # where pip puts their commands

pytestmark = pytest.mark.typing
checked_out = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


def run(tool, *arguments):
    """Run a type checker from the checkout; its output, and whether it found nothing."""
    command = shutil.which(tool, path=str(BESIDE)) or shutil.which(tool)
    if command is None:
        pytest.skip(f"{tool} is not installed: pip install '.[dev]'")
    done = subprocess.run([command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280)
    return done.stdout or done.stderr, done.returncode == 0


def mypy(cache, *arguments):
    output, good = run("mypy", "--python-executable", sys.executable, "--cache-dir", str(cache), *arguments)
    assert "usage:" not in output, output
    return output, good


WRONG = """
    import fastbp as fb

    fb.Adam("1e-3")
    fb.Desne(3)
    net = fb.Network(64, [fb.Dense(10)], sede=3)
    fb.Trainer(net, optimizer=3)
    n: str = fb.Trainer(net).step
"""


def first_snippet():
    return re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]


def right():
    """The scripts without a fault: {file: text}. The one of the operations is used for the twin's, too."""
    operations = OPERATIONS.read_text(encoding="utf-8")
    assert "import Tanh, ops\n" in operations
    of_the_twin = operations.replace("import Tanh, ops\n", "import Tanh\nfrom fastbp import reference as ops\n")
    names = SCRIPT.read_text(encoding="utf-8")
    return {"public_names.py": names, "operations.py": operations, "twin.py": of_the_twin}


@pytest.fixture(scope="module")
def pyright(tmp_path_factory):
    """What pyright finds in each script: {file: {line: message}}. One run for all, as it takes 15 s."""
    folder = tmp_path_factory.mktemp("pyright")
    texts = {**right(), "snippet.py": first_snippet(), "wrong.py": textwrap.dedent(WRONG)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    config = {"extraPaths": [str(ROOT)], "include": ["."], "typeCheckingMode": "standard"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    output, _ = run("pyright", "--project", str(folder), "--pythonpath", sys.executable, "--outputjson")
    try:
        report = json.loads(output)
    except ValueError:
        pytest.skip(f"pyright does not run here: {output[-300:]}")
    assert report["summary"]["filesAnalyzed"] == len(texts), report["summary"]
    found = {name: {} for name in texts}
    for diagnostic in report["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            line = diagnostic["range"]["start"]["line"] + 1
            found[Path(diagnostic["file"]).name][line] = diagnostic["message"]
    return found


@checked_out
def test_mypy_on_scripts_of_all_public_names(tmp_path):
    for name, text in right().items():
        (tmp_path / name).write_text(text)
    output, good = mypy(tmp_path / "cache", "--strict", "--follow-imports=silent", *map(str, tmp_path.glob("*.py")))
    assert good, output


@checked_out
@pytest.mark.parametrize("name", ["public_names.py", "operations.py", "twin.py"])
def test_pyright_on_scripts_of_all_public_names(name, pyright):
    assert pyright[name] == {}


@checked_out
def test_mypy_on_fastbp(tmp_path):
    output, good = mypy(tmp_path)  # what to check and how strictly: pyproject.toml
    assert good, output


@checked_out
def test_pyright_on_the_first_snippet_of_the_readme(pyright):
    assert pyright["snippet.py"] == {}


# ------------------------------------------------------------------------------------------------ the tester is tested


@checked_out
def test_mypy_finds_wrong_uses(tmp_path):
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG))
    output, good = mypy(tmp_path / "cache", "--strict", "--follow-imports=silent", str(tmp_path / "wrong.py"))
    assert not good and {int(line) for line in re.findall(r"wrong\.py:(\d+): error", output)} == {4, 5, 6, 7, 8}, output


@checked_out
def test_pyright_finds_wrong_uses(pyright):
    assert pyright["wrong.py"].keys() == {4, 5, 6, 7, 8}


def uses(text):
    """The attributes of fb that a script names, with dots: "Adam", "ops.gemm"."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            found |= {dotted.removeprefix("fb.")} if re.fullmatch(r"fb(\.\w+)+", dotted) else set()
    return found


@checked_out
def test_the_script_uses_all_public_names():
    text = SCRIPT.read_text(encoding="utf-8")
    used = uses(text)
    assert set(dir(fb)) - {name.split(".")[0] for name in used} == set()
    for module in ("callbacks", "cpu", "initializers", "schedules", "metrics"):
        home = importlib.import_module(f"fastbp.{module}")
        public = getattr(home, "__all__", None) or [
            name
            for name, value in vars(home).items()
            if name[0] != "_" and getattr(value, "__module__", "") == home.__name__ and not inspect.isabstract(value)
        ]
        helpers = {"initializer", "of_bias", "default", "Initializer", "Schedule", "schedule", "resolve", "checked"}
        missing = {name for name in public if f"{module}.{name}" not in used} - helpers
        assert not missing, (module, missing)
    operations = OPERATIONS.read_text(encoding="utf-8")
    assert not [name for name in fb.ops.__all__ if not re.search(rf"\bops\.{name}\b", operations)]


@checked_out
@pytest.mark.parametrize("module", ["layers", "losses", "optimizers", "schedules", "initializers", "metrics", "errors",
                                    "cpu", "derivatives", "reference", "network", "trainer", "callbacks",
                                    "datasets"])  # fmt: skip
def test_public_functions_are_annotated(module):
    """Without a type checker: each argument and result of a public function or class has an annotation."""
    home = importlib.import_module(f"fastbp.{module}")
    bare = []
    for name, value in vars(home).items():
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("fastbp"):
            continue
        members = vars(value).items() if inspect.isclass(value) else [(name, value)]
        for member, function in members:
            function = getattr(function, "__func__", getattr(function, "fget", function))
            if not inspect.isfunction(function) or member.startswith("_") and member != "__init__":
                continue
            arguments = [each for each in inspect.signature(function).parameters if each not in ("self", "cls")]
            if not {*arguments, "return"} <= function.__annotations__.keys():
                bare.append(f"{name}.{member}")
    assert bare == []
