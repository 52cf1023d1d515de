"""Fixtures that all tests share, and the files whose tests are slow."""

from pathlib import Path

import pytest

from fastbp import cpu

# Files in which every test has the mark `slow`: a fixture that they share takes long, or most of them do.
SLOW = {
    "test_board",
    "test_c",
    "test_docs",
    "test_examples",
    "test_growth",
    "test_instructions",
    "test_latency",
    "test_memory",
    "test_site",
    "test_sweep",
    "test_trajectories",
}


@pytest.fixture(params=cpu.available())
def isa(request):
    """Each instruction set this machine has, in use for the length of the test."""
    before = cpu.isa()
    cpu.use(request.param)
    yield request.param
    cpu.use(before)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.fspath).stem in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item):
    if item.get_closest_marker("torch"):
        pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
