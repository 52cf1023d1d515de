"""docs/promises.md: each promise stands there once, with a test that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"


def rows(text):
    """(promise, figure, test) of every table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row != ["promise", "figure", "test"] and set(row) != {"---"}]


ROWS = rows(PAGE.read_text("utf-8"))


def functions(path):
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def missing(test):
    """What of the tests named in a cell is not there."""
    named = re.findall(r"`([^`]+)`", test)
    if not named:
        return ["a test"]
    found = []
    for name in named:
        file, _, function = name.partition("::")
        path = ROOT / ("" if file.startswith(".ci/") else "tests") / file
        if not path.is_file() or function and function not in functions(path):
            found.append(name)
    return found


def test_there_are_promises():
    assert len(ROWS) > 30 and all(len(row) == 3 for row in ROWS)
    promises = [row[0] for row in ROWS]
    assert len(set(promises)) == len(promises)


@pytest.mark.parametrize("promise, test", [(row[0], row[2]) for row in ROWS], ids=[row[0][:60] for row in ROWS])
def test_a_promise_has_a_test(promise, test):
    assert missing(test) == []


@pytest.mark.parametrize("test", ["", "`test_none.py`", "`test_promises.py::test_none`", "`.ci/none`"])
def test_a_missing_test_is_found(test):
    assert missing(test) != []
