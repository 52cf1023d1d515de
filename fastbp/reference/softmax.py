"""Softmax of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def softmax_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y_bc = exp(x_bc) / sum_k exp(x_bk).

    The largest element of the row is subtracted first, so that exp does not overflow; the result is the same.

    Parameters
    ----------
    x : ndarray (B, C)

    Returns
    -------
    y : ndarray (B, C)
        Each row sums to 1.
    """
    if x.shape[1] == 0:  # there is no maximum
        return x.copy()
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """The gradient at x, from the gradient at y.

    The Jacobian of a row is dy_i/dx_j = y_i (delta_ij - y_j), so dx_j = y_j (dy_j - sum_i dy_i y_i).

    Parameters
    ----------
    dy : ndarray (B, C)
    y : ndarray (B, C)
        The result of softmax_forward.

    Returns
    -------
    dx : ndarray (B, C)
    """
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))
