"""Losses that are Python functions."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._support.declarative import Declared, described

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    LossFunction: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], tuple[float, NDArray[Any]]]


def is_function(loss: object) -> TypeIs[LossFunction]:
    """Whether a trainer's loss is a Python function."""
    return callable(loss) and not isinstance(loss, (Declared, type))


def call(function: LossFunction, output: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """Call a loss function, and check its results: a number, and an array of the shape of `output`.

    Raises
    ------
    TypeError, ValueError
        Naming what was expected and what came.
    """
    result: Any = function(output, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
    value, gradient = result
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, numbers.Real):
        raise TypeError(f"loss must return a number first, got {described(value)}")
    gradient = np.asarray(gradient)
    if gradient.dtype.kind not in "fiu":
        raise TypeError(f"loss must return an array of reals second, got {gradient.dtype}")
    if gradient.shape != output.shape:
        raise ValueError(f"loss must return a gradient of shape {output.shape}, got {gradient.shape}")
    return float(value), np.ascontiguousarray(gradient, output.dtype)
