"""Dropout: while training, elements are 0 at random."""

from .. import _core
from .._support.arguments import array, integer, number


def dropout_forward(x, rate, seed, stream, draw, first_row=0):
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
    The element in row r of the minibatch and column c, number p = r N + c, draws word (p % 64) // 16 of block
    draw 2^32 + p // 64 * 16 + p % 16 of the stream, and is dropped when that is below rate 2^32, rounded to an integer
    (at most 2^32 - 1). Source: Srivastava et al., Dropout, JMLR 15, 2014; scaled while training.
    """
    try:
        return _core.dropout_forward(x, rate, seed, stream, draw, first_row)
    except (ArithmeticError, TypeError, ValueError):
        pass
    x = array("x", x, 2)
    rate = number("rate", rate, least=0, below=1)
    seed, stream = integer("seed", seed, 0, 2**64 - 1), integer("stream", stream, 0, 2**64 - 1)
    draw, first_row = integer("draw", draw, 0, 2**32 - 1), integer("first_row", first_row, 0, 2**34)
    if (first_row + x.shape[0]) * x.shape[1] > 2**34:
        raise ValueError(
            f"first_row is {first_row}; with x, of shape {x.shape}, the minibatch has more than 2^34 elements"
        )
    return _core.dropout_forward(x, rate, seed, stream, draw, first_row)


def dropout_backward(dy, mask):
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
    try:
        return _core.multiply(dy, mask)
    except (TypeError, ValueError):
        pass
    dy = array("dy", dy)
    mask = array("mask", mask, None, dy.dtype)
    if dy.shape != mask.shape:
        raise ValueError(f"mask has shape {mask.shape}; dy has {dy.shape}")
    return _core.multiply(dy, mask)
