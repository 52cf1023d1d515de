"""NumPy by hand on the board."""

import numpy as np

from fastbp.bench.contestants import ByHand, ByHandPrediction

from . import measure
from .steps import Steps

__all__ = ["ByHand", "ByHandPrediction", "ByHandStep", "about"]


class ByHandStep(Steps, ByHand):
    """One step from Python."""


def about() -> dict:
    """The version, the highest instruction set of NumPy's own loops, and the kernels of its BLAS."""
    return {"version": np.__version__, "isa": measure.numpy_isa(), "blas": measure.blas()}
