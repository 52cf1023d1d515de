"""The public names of 0.1.0 still work: each that its pages show, with its parameters, their order and their defaults.

A name that has moved stands in RENAMED, and in the changelog with the reason.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp as fb

TESTS = Path(__file__).resolve().parent
LIST = TESTS / "public_names_0.1.0.txt"
NAMES = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
CHANGELOG = (TESTS.parent / "CHANGELOG.md").read_text(encoding="utf-8")

# Old name, or the beginning of old names: the new one. The longest that fits applies.
RENAMED = {
    "fastbp.fitting": "fastbp.training.run",
    "fastbp.table": "fastbp.tabular",
    "fastbp.table.Cells": "fastbp.tabular.Table",
    "fastbp.table.Cells.reals": "fastbp.tabular.Table.numbers",
}
# Parameters that are gone, and those with a new name, by the function's old name.
GONE = {"fastbp.table.read": {"engine"}}
OF_A_TABLE = ("NumberColumn.encode", "TableInputs.encode", "TextColumn.encode", "learn_inputs", "target_values")
RENAMED_PARAMETERS = {f"fastbp.table.{name}": {"cells": "table"} for name in OF_A_TABLE}
NEEDS_SKLEARN = ("fastbp.MLP", "fastbp.QuantileMLP", "fastbp.estimators")


def today(name):
    """The name now of what was `name` in 0.1.0."""
    fits = [old for old in RENAMED if name == old or name.startswith(old + ".")]
    return RENAMED[max(fits, key=len)] + name.removeprefix(max(fits, key=len)) if fits else name


def found(name):
    """What a dotted name stands for. The last part may be an attribute that a class documents for its objects."""
    first, *parts = name.split(".")
    thing, path = importlib.import_module(first), first
    for part in parts:
        path += "." + part
        if hasattr(thing, part):
            thing = getattr(thing, part)
        elif inspect.ismodule(thing) and importlib.util.find_spec(path):
            thing = importlib.import_module(path)
        elif inspect.isclass(thing) and part in attributes(thing):
            thing = None
        else:
            raise AttributeError(f"there is no {path}")
    return thing


def attributes(cls):
    """The names in the Attributes section of a docstring."""
    section = re.search(r"^Attributes\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", inspect.getdoc(cls) or "", re.M | re.S)
    entries = re.findall(r"^(\S[^:\n]*)", section[1], re.M) if section else []
    return {name.strip() for entry in entries for name in entry.split(",")}


def parameters(signature):
    """[(name, kind, default)] of a signature's text, all str."""
    arguments = ast.parse(f"def f{signature}: pass").body[0].args
    given = arguments.args
    defaults = [None] * (len(given) - len(arguments.defaults)) + arguments.defaults
    listed = [(arg.arg, "positional", default) for arg, default in zip(given, defaults, strict=True)]
    if arguments.vararg:
        listed.append((arguments.vararg.arg, "*", None))
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    listed += [(arg.arg, "keyword", default) for arg, default in keywords]
    if arguments.kwarg:
        listed.append((arguments.kwarg.arg, "**", None))
    return [(name, kind, "" if default is None else ast.unparse(default)) for name, kind, default in listed]


def signature_of(function):
    """The text of a signature, without annotations and self."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)


def broken(old, new):
    """How the parameters of `new` break calls that those of `old` allow: old and new are texts of signatures."""
    had, have = parameters(old), parameters(new)
    wrong = []
    for kind in ("positional", "*", "keyword", "**"):
        of_kind = [[p for p in listed if p[1] == kind] for listed in (had, have)]
        if kind == "positional":
            for place, parameter in enumerate(of_kind[0]):
                if of_kind[1][place : place + 1] != [parameter]:
                    wrong.append(f"parameter {place} was {parameter}")
        else:
            wrong += [f"there was {parameter}" for parameter in of_kind[0] if parameter not in of_kind[1]]
    wrong += [f"{p[0]} is new and has no default" for p in have if p not in had and not p[2] and p[1][0] != "*"]
    return wrong


@pytest.mark.parametrize("line", NAMES, ids=lambda line: line.partition("(")[0])
def test_it_still_works(line):
    old, bracket, rest = line.partition("(")
    if old.startswith(NEEDS_SKLEARN):
        pytest.importorskip("sklearn")
    thing = found(today(old))
    if bracket:
        had = "(" + rest
        for gone in GONE.get(old, ()):
            had = re.sub(rf", {gone}=[^,)]*", "", had)
        for name, new in RENAMED_PARAMETERS.get(old, {}).items():
            had = re.sub(rf"(?<=[ (]){name}\b", new, had)
        assert broken(had, signature_of(thing)) == []


def test_the_list_is_whole():
    """All families are in it, and all that fastbp exported."""
    assert len(NAMES) == len(set(NAMES)) > 400
    beginnings = {line.partition("(")[0] for line in NAMES}
    for name in ("fastbp.Trainer.fit", "fastbp.ops.gemm", "fastbp.reference.Trainer.fit", "fastbp.schedules.Warmup"):
        assert name in beginnings
    tops = {name.split(".")[1] for name in beginnings if "." in name}
    assert set(fb.__all__) - tops <= {"datasets", "derivatives", "errors", "tabular"}


def changes():
    """The entries of the changelog about changed names."""
    section = CHANGELOG[CHANGELOG.index("### Changed since") :]
    return [re.sub(r"\s+", " ", entry) for entry in section.split("\n- ")[1:]]


MOVED = [*RENAMED.items(), *((name,) for names in GONE.values() for name in names)]
MOVED += {pair for names in RENAMED_PARAMETERS.values() for pair in names.items()}


@pytest.mark.parametrize("names", MOVED, ids=" ".join)
def test_a_new_name_stands_in_the_changelog(names):
    short = [{name, ".".join(name.split(".")[2:])} - {""} for name in names]
    assert any(all(any(f"`{form}`" in entry for form in forms) for forms in short) for entry in changes()), names


@pytest.mark.parametrize(
    "old, new, good",
    [
        ("(a, b=1)", "(a, b=1)", True),
        ("(a, b=1)", "(a, b=1, c=None)", True),
        ("(a, b=1)", "(a, b=1, *, c=None)", True),
        ("(a, b=1)", "(a, c=None, b=1)", False),
        ("(a, b=1)", "(a, b=2)", False),
        ("(a, b=1)", "(a, *, b=1)", False),
        ("(a, b=1)", "(a)", False),
        ("(a, b=1)", "(x, b=1)", False),
        ("(a, b=1)", "(a, b=1, *, c)", False),
        ("(*, a=1, b=2)", "(*, b=2, a=1)", True),
        ("(*, a=1)", "(*, b=1)", False),
        ("(*numbers)", "(*numbers)", True),
        ("(*numbers)", "(numbers)", False),
    ],
)
def test_broken(old, new, good):
    assert (broken(old, new) == []) == good


# --------------------------------------------------------------------------------------------- what fb.<tab> shows


def test_only_public_names_show():
    shown = set(dir(fb))
    assert set(fb.__all__) <= shown and sorted(shown) == dir(fb)
    assert not [name for name in shown if name.startswith("_") and name != "__version__"]
    estimators = {"MLPClassifier", "MLPRegressor", "QuantileMLPRegressor", "estimators"}
    assert shown == set(fb.__all__) | estimators
    for hidden in ("import_module", "TYPE_CHECKING", "training", "network", "trainer", "cli", "bench", "_support"):
        assert hidden not in shown


def in_a_new_process(code, hide=()):
    hidden = f"import sys; sys.modules.update(dict.fromkeys({hide!r})); "
    done = subprocess.run(
        [sys.executable, "-c", hidden + code], cwd=TESTS.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_modules_are_attributes():
    modules = sorted(name for name in fb.__all__ if inspect.ismodule(getattr(fb, name)))
    files = ("callbacks", "cpu", "datasets", "errors", "initializers", "layers", "losses", "metrics", "optimizers")
    assert modules == sorted([*files, "derivatives", "ops", "reference", "schedules", "tabular"])
    for name in modules:  # each as the first use of fastbp
        assert in_a_new_process(f"import fastbp; print(fastbp.{name}.__name__)").strip() == f"fastbp.{name}"


def test_a_star_import_needs_nothing_optional():
    code = "from fastbp import *; print(Network, load_digits, reference.Trainer, sep='')"
    optional = ["sklearn", "scipy", "pandas", "matplotlib", "safetensors", "tqdm", "torch"]
    assert "fastbp.reference.trainer.Trainer" in in_a_new_process(code, optional)


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'fastbp' has no attribute 'Desne'"):
        fb.Desne  # noqa: B018
