"""Sums and checks over whole arrays, of any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sum_squares(x: NDArray[Any]) -> float:
    """sum_i x_i^2, the squared norm, as a float; inf if it overflows the dtype of x."""
    return float(np.sum(x * x))


def all_finite(x: NDArray[Any]) -> bool:
    """Whether no element is nan or infinite."""
    return bool(np.isfinite(x).all())


def add(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """c = a + b for arrays of the same shape."""
    if a.shape != b.shape:
        raise ValueError(f"b has shape {b.shape}; a has {a.shape}")
    return a + b
