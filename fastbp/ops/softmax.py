"""Softmax of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def softmax_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y_bc = exp(x_bc) / sum_k exp(x_bk).

    Parameters
    ----------
    x : ndarray (B, C)
        Any finite numbers: the row's largest is subtracted first, and exp does not overflow. A -inf gives 0; an inf
        or a nan makes its row nan.

    Returns
    -------
    y : ndarray (B, C)
        Each row sums to 1.

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64.
    ValueError
        If x does not have two dimensions.
    """
    return _core.softmax_forward(x)


def softmax_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """The gradient at x from the one at y: dx_j = y_j (dy_j - sum_i dy_i y_i).

    Parameters
    ----------
    dy : ndarray (B, C)
    y : ndarray (B, C)
        What softmax_forward returned.

    Returns
    -------
    dx : ndarray (B, C)

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If there are not two dimensions, or the shapes differ.
    """
    return _core.softmax_backward(dy, y)
