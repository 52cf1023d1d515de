"""Sums and checks over whole arrays, of any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def sum_squares(x: NDArray[Real]) -> float:
    """sum_i x_i^2, as a float: the squared norm. inf when it overflows the dtype of x.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    float
        Summed in sixteen (float64: eight) partial sums, which a fixed tree adds up.

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64.
    """
    return _core.sum_squares(x)


def all_finite(x: NDArray[Real]) -> bool:
    """Whether no element is nan or infinite.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    bool

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64.
    """
    return _core.all_finite(x)


def add(a: NDArray[Real], b: NDArray[Real]) -> NDArray[Real]:
    """c = a + b, element by element.

    Parameters
    ----------
    a, b : ndarray of one shape

    Returns
    -------
    c : ndarray of that shape

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes differ.
    """
    return _core.add(a, b)
