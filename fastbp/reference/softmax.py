"""Softmax of each row."""

import numpy as np


def softmax_forward(x):
    """y_bc = exp(x_bc) / sum_k exp(x_bk).

    The row's largest element is subtracted first: the result is the same, and exp does not overflow.

    Parameters
    ----------
    x : ndarray (B, C)

    Returns
    -------
    y : ndarray (B, C)
        Each row sums to 1.
    """
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(dy, y):
    """The gradient at x from the one at y.

    The Jacobian of a row is dy_i/dx_j = y_i (delta_ij - y_j), so dx_j = y_j (dy_j - sum_i dy_i y_i).

    Parameters
    ----------
    dy : ndarray (B, C)
    y : ndarray (B, C)
        What softmax_forward returned.

    Returns
    -------
    dx : ndarray (B, C)
    """
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))
