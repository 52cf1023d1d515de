"""Centring and scaling of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def moments(column: str, values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of a column; the deviation is 0 where all values are the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite(deviation):
        raise ValueError(f"column {column!r} holds numbers too large to scale")
    return mean, deviation if values.min() < values.max() else 0.0


def standardised(
    values: NDArray[np.float64], mean: float | NDArray[np.float64], deviation: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """(values - mean) / deviation; 0 where the deviation is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled: NDArray[np.float64] = np.where(np.greater(deviation, 0), (values - mean) / deviation, 0.0)
    return scaled
