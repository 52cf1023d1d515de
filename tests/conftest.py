"""Fixtures that all tests share, and the choice of the quick tests: those without the mark `slow`."""

import collections
from pathlib import Path
from zlib import crc32

import pytest

from fastbp import cpu

# Files in which every test has the mark `slow`: they start processes, train for long or measure speed.
SLOW = {
    "test_accuracy",
    "test_board",
    "test_c",
    "test_checkpoint",
    "test_cli",
    "test_concurrency",
    "test_docs",
    "test_estimators",
    "test_examples",
    "test_growth",
    "test_instructions",
    "test_latency",
    "test_memory",
    "test_no_memory",
    "test_packaging",
    "test_public_names",
    "test_site",
    "test_sklearn_mlp",
    "test_sweep",
    "test_trajectories",
    "test_typing",
}
# Of a test with many parameter sets, about this many are quick. Which ones depends on their names alone.
QUICK_PARAMETER_SETS = 4


@pytest.fixture(params=cpu.available())
def isa(request):
    """Each instruction set this machine has, in use for the length of the test."""
    before = cpu.isa()
    cpu.use(request.param)
    yield request.param
    cpu.use(before)


def pytest_collection_modifyitems(items):
    functions = collections.Counter((item.path, item.nodeid.partition("[")[0]) for item in items)
    for item in items:
        sets = functions[item.path, item.nodeid.partition("[")[0]]
        sampled = crc32(item.name.encode()) % sets < QUICK_PARAMETER_SETS
        if Path(item.path).stem in SLOW or not sampled or item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item):
    if item.get_closest_marker("torch"):
        pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
