"""Dropout: while training, elements are 0 at random."""

import numpy as np

from .rng import philox4x32


def dropout_forward(x, rate, seed, stream, draw, first_row=0):
    """y = x mask, where an element of mask is 0 with probability rate, else 1 / (1 - rate): the mean of y is x.

    Parameters
    ----------
    x : ndarray (B, N)
        Rows of a minibatch.
    rate : float
        In [0, 1).
    seed, stream : int
        In [0, 2^64): what `random_bits` takes.
    draw : int
        The number of the minibatch, in [0, 2^32).
    first_row : int, default 0
        Where in its minibatch x begins.

    Returns
    -------
    y, mask : ndarray (B, N)
        mask is for backward.

    Notes
    -----
    Element number p of the minibatch draws word (p % 64) // 16 of block p // 64 * 16 + p % 16: sixteen blocks side by
    side make 64 words, as a vector register holds them. The blocks of draw d begin at d 2^32.
    """
    B, N = x.shape
    p = np.arange(first_row * N, (first_row + B) * N, dtype=np.uint64)
    block = p // 64 * 16 + p % 16
    counter = [block, *(np.full_like(p, word) for word in (draw, stream % 2**32, stream // 2**32))]
    words = philox4x32(counter, (seed % 2**32, seed // 2**32))
    word = words[p % 64 // 16, np.arange(B * N)].reshape(B, N)
    limit = min(int(rate * 2**32 + 0.5), 2**32 - 1)
    mask = np.where(word < limit, 0, 1 / (1 - rate)).astype(x.dtype)
    return x * mask, mask


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
    """
    return dy * mask
