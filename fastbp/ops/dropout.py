"""Dropout: while training, elements are 0 at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def dropout_forward(
    x: NDArray[Real], rate: float, seed: int, stream: int, draw: int, first_row: int = 0
) -> tuple[NDArray[Real], NDArray[Real]]:
    """y = x mask, where an element of mask is 0 with probability rate, else 1 / (1 - rate).

    Parameters
    ----------
    x : ndarray (B, N)
        Rows of a minibatch. A dropped inf or nan gives nan.
    rate : float
        In [0, 1).
    seed, stream : int
        In [0, 2^64): what `random_bits` takes. Trainers use stream ``fastbp._support.random_streams.dropout(layer)``.
    draw : int
        The number of the minibatch, in [0, 2^32).
    first_row : int, default 0
        Where in its minibatch x begins. The minibatch has at most 2^34 elements up to the end of x.

    Returns
    -------
    y, mask : ndarray (B, N)
        mask is for backward.

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64, or a number is not one.
    ValueError
        If x does not have two dimensions, or a number is out of range.

    Notes
    -----
    The element in row r of the minibatch and column c, number p = r N + c, takes a half of word (p % 64) // 16 of block
    draw 2^32 + p // 128 * 16 + p % 16 of the stream of Philox4x32-7: the upper half where p % 128 < 64, else the lower
    one. It is dropped when the half is below rate 2^16, rounded to an integer (at most 2^16 - 1). Source: Srivastava et
    al., Dropout, JMLR 15, 2014; scaled while training.
    """
    return _core.dropout_forward(x, rate, seed, stream, draw, first_row)


def dropout_backward(dy: NDArray[Real], mask: NDArray[Real]) -> NDArray[Real]:
    """dx = dy mask.

    Parameters
    ----------
    dy : ndarray of any shape
    mask : ndarray of that shape
        What dropout_forward returned.

    Returns
    -------
    dx : ndarray of that shape

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes differ.
    """
    return _core.dropout_backward(dy, mask)
