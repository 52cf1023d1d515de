"""The twin mirrors the compiled code: the same names, the same signatures, the same attributes; and all is documented.

Docstrings are numpydoc. What they name is compared with what is there: a parameter that is missing, or one too many, is
found.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap

import numpy as np
import pytest

import fastbp as fb
from fastbp import cpu, ops, reference
from fastbp.layers import Activation, Layer
from fastbp.losses import Loss
from fastbp.optimizers import Optimizer

CLASSES = ["Network", "Trainer"]
FILES = {"save", "load"}  # the twin neither writes nor reads files
# Public, and not part of the mirror: what a class offers to the other modules of its package.
WITHIN = {
    "Network": {
        "check_vectors",
        "checked_inputs",
        "description",
        "from_description",
        "in_slices",
        "own_vectors",
        "rows_in_a_slice",
        "set_vectors",
        "vectors",
    },
    "Trainer": set(),
}
WITHIN_TWIN = {"Network": {"backward", "forward", "set_vectors", "update_statistics"}, "Trainer": set()}


def public(cls):
    return {name for name in vars(cls) if not name.startswith("_")}


def methods(cls):
    return {name for name in public(cls) if inspect.isroutine(inspect.getattr_static(cls, name))}


def families(package):
    """The modules of the operations. (`package.gemm` is the function, not its module.)"""
    found = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    others = ("initial_values", "network", "objective", "trainer")
    found = [importlib.import_module(name) for name in found if name.rpartition(".")[2] not in others]
    assert len(found) == 10
    return found


# --------------------------------------------------------------------------------------------------------- functions


def test_the_same_names():
    assert set(ops.__all__) == set(reference.__all__) - set(CLASSES)
    assert set(CLASSES) <= set(reference.__all__)
    for package in (ops, reference):
        assert sorted(package.__all__) == list(package.__all__) and len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("package", [ops, reference], ids=["ops", "reference"])
def test_all_that_a_family_defines_is_public(package):
    """Every function of a family's module is exported, unless its name begins with an underscore."""
    # Of the twin: the generator's core; functions by object; what a mean divides by.
    helpers = {"philox4x32", "of", "forward", "backward", "mass"}
    for module in families(package):
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                assert name in package.__all__ or name in helpers, f"{module.__name__}.{name}"
                if name in package.__all__:
                    assert getattr(package, name) is value


def bare(function):
    """A signature without annotations: names, kinds and defaults."""
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


@pytest.mark.parametrize("name", ops.__all__)
def test_the_same_signature(name):
    compiled, twin = getattr(ops, name), getattr(reference, name)
    assert inspect.isfunction(compiled) and inspect.isfunction(twin)
    assert bare(compiled) == bare(twin)
    assert compiled.__module__.rpartition(".")[2] == twin.__module__.rpartition(".")[2], (
        "they are of different families"
    )


# ----------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_methods(name):
    compiled, twin = getattr(fb, name), getattr(reference, name)
    ours = methods(compiled) - WITHIN[name]
    assert FILES <= ours
    assert ours - FILES == methods(twin) - WITHIN_TWIN[name]
    assert WITHIN[name] <= methods(compiled) and WITHIN_TWIN[name] <= methods(twin)
    for method in [*sorted(ours - FILES), "__init__"]:
        assert bare(getattr(compiled, method)) == bare(getattr(twin, method)), method


def instances():
    def make(home):
        net = home.Network(3, [fb.Dense(4, "tanh"), fb.Residual([fb.Dense(4)]), fb.Dense(2)])
        return {"Network": net, "Trainer": home.Trainer(net, "mean_squared_error")}

    return make(fb), make(reference)


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_attributes(name):
    """What the docstrings list is the same, is there, and is all there is."""
    listed = [documented(getattr(home, name), "Attributes") for home in (fb, reference)]
    assert listed[0] == listed[1] and len(listed[0]) >= 6
    for home, made in zip((fb, reference), instances()):
        there = {attribute for attribute in dir(made[name]) if not attribute.startswith("_")}
        assert set(listed[0]) <= there
        within = methods(getattr(home, name)) | ({"steps", "records", "lock"} if name == "Network" else {"engine"})
        assert there - within == set(listed[0])


def test_attributes_have_the_same_values():
    compiled, twin = (made["Trainer"] for made in instances())
    for name in documented(fb.Trainer, "Attributes"):
        if name != "net":
            assert getattr(compiled, name) == getattr(twin, name), name
    for name in documented(fb.Network, "Attributes"):
        ours, theirs = getattr(compiled.net, name), getattr(twin.net, name)
        if name == "weights":
            assert [W.shape for W, _ in ours] == [W.shape for W, _ in theirs]
        else:
            assert np.array_equal(ours, theirs), name


# ------------------------------------------------------------------------------------------------------- docstrings

SECTIONS = ["Parameters", "Attributes", "Returns", "Yields", "Raises", "See Also", "Notes", "References", "Examples"]


def sections(text):
    """{title: lines} of a numpydoc docstring; "" is what comes before the first section."""
    found, title = {"": []}, ""
    lines = inspect.cleandoc(text).splitlines()
    for number, line in enumerate(lines):
        if number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1]):
            assert line in SECTIONS and len(lines[number + 1]) == len(line), f"no such section: {line}"
            assert line not in found and SECTIONS.index(line) > max((SECTIONS.index(t) for t in found if t), default=-1)
            title = line
            found[title] = []
        elif not re.fullmatch(r"-{3,}", line):
            found[title].append(line)
    return found


def entries(text, title):
    """The names in a section's entries: `a, b : type` gives two."""
    lines = sections(text or "").get(title, [])
    names = []
    for line in lines:
        if line and not line[0].isspace():
            names += [name.strip().lstrip("*") for name in line.partition(" : ")[0].split(",")]
    return names


def documented(thing, title):
    return entries(inspect.getdoc(thing), title)


def returns_a_value(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(tree))


def flaws(function, text, name):
    """What a docstring lacks, or has too much of, for a function or method of this signature."""
    found = []
    if not text or not sections(text)[""] or len(sections(text)[""][0]) < 10:
        return ["no summary"]
    parameters = [parameter for parameter in inspect.signature(function).parameters if parameter not in ("self", "cls")]
    if sorted(entries(text, "Parameters")) != sorted(parameters):  # those of one kind may stand together
        found.append(f"Parameters: {entries(text, 'Parameters')} rather than {parameters}")
    if name != "__init__" and returns_a_value(function) != bool(sections(text).get("Returns")):
        found.append("Returns")
    return found


PUBLIC_FUNCTIONS = {f"ops.{name}": getattr(ops, name) for name in ops.__all__}
PUBLIC_FUNCTIONS |= {f"cpu.{name}": getattr(cpu, name) for name in cpu.__all__}
PUBLIC_FUNCTIONS |= {name: getattr(fb, name) for name in fb.__all__ if inspect.isfunction(getattr(fb, name))}
PUBLIC_FUNCTIONS |= {
    f"{name}.{method}": getattr(getattr(fb, name), method)
    for name in CLASSES
    for method in sorted(methods(getattr(fb, name)) - WITHIN[name])
}
PUBLIC_CLASSES = {name: getattr(fb, name) for name in fb.__all__ if inspect.isclass(getattr(fb, name))}
POINTERS = {"load"}  # one line that says where it is documented


@pytest.mark.parametrize("name", PUBLIC_FUNCTIONS)
def test_functions_are_documented(name):
    """Summary, every parameter, and what is returned. What is raised, here or in the module's docstring."""
    function, text = PUBLIC_FUNCTIONS[name], inspect.getdoc(PUBLIC_FUNCTIONS[name])
    if name in POINTERS:
        assert re.search(r"see `(\w+\.\w+)`", text)
        return
    assert flaws(function, text, name) == []
    if inspect.signature(function).parameters.keys() - {"self"}:
        module = inspect.getmodule(function).__doc__ or ""
        assert "Raises" in sections(text) or re.search(r"\bTypeError\b", module), "does not say what it raises"


@pytest.mark.parametrize("name", PUBLIC_CLASSES)
def test_classes_are_documented(name):
    cls = PUBLIC_CLASSES[name]
    text = cls.__doc__ or inspect.getdoc(cls)
    init = cls.__init__
    if "__init__" in vars(cls) or any(
        "__init__" in vars(base) for base in cls.__mro__[:-1] if base.__module__[:6] == "fastbp"
    ):
        assert flaws(init, text, "__init__") == []
    else:
        assert len(sections(text)[""][0]) >= 8
    if issubclass(cls, (Activation, Loss, Optimizer, Layer)):
        assert list(cls.fields) == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("name", reference.__all__)
def test_the_twin_is_documented(name):
    """A formula at least; where parameters are listed, all of them."""
    thing = getattr(reference, name)
    targets = (
        [thing] if inspect.isfunction(thing) else [thing.__init__, *(getattr(thing, m) for m in sorted(methods(thing)))]
    )
    for target in targets:
        text = thing.__doc__ if target.__name__ == "__init__" else target.__doc__
        assert text and len(sections(text)[""][0]) >= 5, target
        listed = entries(text, "Parameters")
        expected = [parameter for parameter in inspect.signature(target).parameters if parameter != "self"]
        if listed or inspect.isclass(thing) and target.__name__ not in WITHIN_TWIN[name]:
            assert sorted(listed) == sorted(expected), target


@pytest.mark.parametrize(
    "module", [fb, ops, reference, cpu, *families(ops), *families(reference)], ids=lambda m: m.__name__
)
def test_modules_are_documented(module):
    assert module.__doc__ and len(module.__doc__.splitlines()[0]) >= 20


def test_everything_public_is_there():
    for name in fb.__all__:
        assert getattr(fb, name) is not None
    assert set(fb.__all__) <= set(dir(fb))


# ---------------------------------------------------------------------------------------------- the tester is tested


def test_flaws_finds_what_is_wrong():
    def good(x, scale=1.0, *, why=None):
        """Something of x, times scale.

        Parameters
        ----------
        x : ndarray
            Any shape.
        scale, why : float

        Returns
        -------
        float
        """
        return x * scale

    text = good.__doc__
    assert flaws(good, text, "good") == []
    assert flaws(good, None, "good") == ["no summary"]
    assert flaws(good, text.replace("scale, why", "scale"), "good") != []
    assert flaws(good, text.replace("scale, why", "scale, why, when"), "good") != []
    assert flaws(good, text[: text.index("Returns")], "good") == ["Returns"]
    with pytest.raises(AssertionError, match="no such section"):
        flaws(good, text.replace("Returns\n", "Return\n"), "good")
    with pytest.raises(AssertionError):
        flaws(good, text.replace("-------\n        float", "------\n        float"), "good")
