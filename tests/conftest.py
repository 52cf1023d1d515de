"""Fixtures that all tests share."""

import pytest

from fastbp import cpu


@pytest.fixture(params=cpu.available())
def isa(request):
    """Each instruction set this machine has, in use for the length of the test."""
    before = cpu.isa()
    cpu.use(request.param)
    yield request.param
    cpu.use(before)


def pytest_runtest_setup(item):
    if item.get_closest_marker("torch"):
        pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
