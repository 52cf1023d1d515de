"""Random streams: no two uses share numbers, and no module but the registry numbers a stream."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp._support import random_streams
from fastbp.datasets import train_test_split

PACKAGE = Path(fb.__file__).parent
USES = {name: use for name, use in vars(random_streams).items() if inspect.isfunction(use) and name[0] != "_"}
REGISTRY = PACKAGE / "_support" / "random_streams.py"
FILES = [path for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.py[xi]"), *PACKAGE.rglob("*.pxd"))]
FILES = sorted({path for path in FILES if path != REGISTRY})
# Functions whose argument of this position is a stream.
DRAWING = {
    "random_bits": 1,
    "random_uniform": 1,
    "random_normal": 1,
    "random_permutation": 1,
    "dropout_forward": 3,
    "initial_values": 5,
}
FORTY = re.compile(r"<<\s*4\d\b|2\s*\*\*\s*4\d\b|\bldexp\b")


def numbers(use):
    """The lowest and the highest streams of a use."""
    return [use(i) for i in (0, 1, 2**40 - 1)] if inspect.signature(use).parameters else [use()]


def test_no_two_uses_share_a_stream():
    found = [number for use in USES.values() for number in numbers(use)]
    assert len(set(found)) == len(found) and 0 < min(found) and max(found) < 2**64
    # Each use has the bits from 40 up for itself, and every entry of the registry has its function.
    entries = {name.lower(): value for name, value in vars(random_streams).items() if name.isupper() and name[0] != "_"}
    assert {name: use(*[0] * len(inspect.signature(use).parameters)) >> 40 for name, use in USES.items()} == entries


def test_the_streams_keep_their_numbers():
    """Another number would change what every seed gives."""
    assert {name: use(*[5] * len(inspect.signature(use).parameters)) for name, use in USES.items()} == {
        "initialisation": (1 << 40) + 5,
        "shuffle": (2 << 40) + 5,
        "bias_initialisation": (3 << 40) + 5,
        "dropout": (4 << 40) + 5,
        "check": (5 << 40) + 5,
        "validation": 6 << 40,
        "train_test_split": 7 << 40,
    }


@pytest.mark.parametrize("number", [-1, 2**40])
def test_a_number_that_belongs_to_another_use(number):
    with pytest.raises(ValueError, match=f"at least 0 and below 2\\^40, got {number}"):
        random_streams.shuffle(number)


def test_the_split_draws_from_its_own_stream():
    X = np.arange(50.0)[:, None]
    order = fb.ops.random_permutation(3, random_streams.train_test_split(), 50)
    X_train, _, X_test, _ = train_test_split(X, X, 0.2, seed=3)
    assert np.array_equal(X_test[:, 0], order[:10]) and np.array_equal(X_train[:, 0], order[10:])


def of_its_own(source):
    """Lines that number a stream: a shift by 40, or a stream that is neither the registry's nor an argument."""
    wrong = [text for text in source.splitlines() if FORTY.search(text.split("#")[0])]
    try:
        tree = ast.parse(source)
    except SyntaxError:  # Cython
        return wrong
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        position = DRAWING.get(ast.unparse(call.func).rpartition(".")[2])
        if position is None:
            continue
        given = next((word.value for word in call.keywords if word.arg == "stream"), None)
        arguments = [arg for arg in call.args if not isinstance(arg, ast.Starred)]
        missing = len(arguments) < len(call.args)  # *widths: the stream is the last argument
        if given is None:
            given = call.args[-1] if missing else call.args[position] if len(call.args) > position else None
        text = "" if given is None else ast.unparse(given)
        if not re.fullmatch(r"stream|\w+\('stream', stream\)|random_streams\.\w+\(.*\)|_word\(.*\)", text):
            wrong.append(ast.unparse(call))
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_numbers_streams(path):
    assert of_its_own(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source, wrong",
    [
        ("_SPLIT_STREAM = 3 << 40", True),
        ("stream = use * 2**40 + layer", True),
        ("_core.random_permutation(seed, 7, n)", True),
        ("order = random_permutation(seed, _SPLIT, n)", True),
        ("random_uniform(seed, random_streams.shuffle(2) + 1, n)", True),
        ("values = initial_values(of, shape, *widths, seed, number)", True),
        ("cdef uint64_t stream = 3 << 40", True),
        ("order = random_permutation(seed, random_streams.shuffle(epoch), n)", False),
        ("values = initial_values(of, shape, *widths, seed, random_streams.initialisation(3))", False),
        ("values = random_uniform(seed, stream, 2 * n)", False),
        ("mask = dropout_forward(x, rate, seed, stream, draw)", False),
        ("limit = 2**52  # not 2**40", False),
    ],
)
def test_the_scan_finds_them(source, wrong):
    assert bool(of_its_own(source)) == wrong
