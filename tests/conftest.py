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
