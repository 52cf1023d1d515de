"""Dropout: random elements are set to 0 in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import integer
from .._support.declarative import seed as checked_seed
from ..layers import Dropout
from .rng import philox4x32

if TYPE_CHECKING:
    from numpy.typing import NDArray


def dropout_forward(
    x: NDArray[Any], rate: float, seed: int, stream: int, draw: int, first_row: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
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
        The number of the first row of x within the minibatch, which has at most 2^34 elements up to the end of x.

    Returns
    -------
    y, mask : ndarray (B, N)
        mask is an argument of backward.

    Raises
    ------
    TypeError, ValueError
        If a number is not as above.

    Notes
    -----
    Element number p of the minibatch takes a half of word (p % 64) // 16 of block p // 128 * 16 + p % 16, the upper
    half where p % 128 < 64, else the lower one: sixteen blocks side by side make 64 words, which vector registers
    hold. The blocks of draw d begin at d 2^32. The generator is Philox4x32-7.
    """
    rate = Dropout(rate).rate
    seed, stream = checked_seed("seed", seed), checked_seed("stream", stream)
    draw, first_row = integer("draw", draw, 0, 2**32 - 1), integer("first_row", first_row, 0, 2**34)
    B, N = x.shape
    if (first_row + B) * N > 2**34:
        raise ValueError(
            f"first_row is {first_row}; with x, of shape {x.shape}, the minibatch has more than 2^34 elements"
        )
    p = np.arange(first_row * N, (first_row + B) * N, dtype=np.uint64)
    block = p // 128 * 16 + p % 16
    counter = [block, *(np.full_like(p, word) for word in (draw, stream % 2**32, stream // 2**32))]
    words = philox4x32(counter, (seed % 2**32, seed // 2**32), rounds=7)
    word = words[p % 64 // 16, np.arange(B * N)]
    half = np.where(p % 128 < 64, word // 2**16, word % 2**16).reshape(B, N)
    limit = min(int(rate * 2**16 + 0.5), 2**16 - 1)
    mask = np.where(half < limit, 0, 1 / (1 - rate)).astype(x.dtype)
    return x * mask, mask


def dropout_backward(dy: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """dx = dy mask.

    Parameters
    ----------
    dy : ndarray of any shape
    mask : ndarray of that shape
        The mask from dropout_forward.

    Returns
    -------
    dx : ndarray of that shape
    """
    return dy * mask
