"""Random numbers by counting: word i of a stream is a function of (seed, stream, i) alone.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
The key is (seed low word, seed high word); block j has the counter (j low, j high, stream low, stream high); word i
of the stream is word i % 4 of block i // 4.

All raise TypeError for an argument that is not an integer, ValueError for one out of range (for n, where an array of as
many numbers is larger than the address space), and MemoryError where there is no memory for the array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


def random_bits(seed: int, stream: int, n: int) -> NDArray[numpy.uint32]:
    """The first n words of a stream.

    Parameters
    ----------
    seed, stream : int
        In [0, 2^64).
    n : int
        At least 0.

    Returns
    -------
    ndarray of uint32 (n,)
    """
    return _core.random_bits(seed, stream, n)


def random_uniform(seed: int, stream: int, n: int) -> NDArray[numpy.float64]:
    """n numbers in [0, 1), multiples of 2^-53: number i is made of words 2i and 2i + 1.

    Parameters
    ----------
    seed, stream : int
        In [0, 2^64).
    n : int
        At least 0.

    Returns
    -------
    ndarray of float64 (n,)
        ((a >> 5) 2^26 + (b >> 6)) / 2^53 with a, b the two words: 27 bits of one, 26 of the other.
    """
    return _core.random_uniform(seed, stream, n)


def random_normal(seed: int, stream: int, n: int) -> NDArray[numpy.float64]:
    """n numbers of the standard normal distribution: the quantiles at n numbers spread evenly over (0, 1).

    Parameters
    ----------
    seed, stream : int
        In [0, 2^64).
    n : int
        At least 0.

    Returns
    -------
    ndarray of float64 (n,)
        Number i is the quantile at (floor(u_i 2^52) + 1/2) / 2^52, with u of `random_uniform`; within 8.3 of 0.

    Notes
    -----
    Source: Wichura, Algorithm AS 241: The Percentage Points of the Normal Distribution, Applied Statistics 37(3), 1988.
    """
    return _core.random_normal(seed, stream, n)


def random_permutation(seed: int, stream: int, n: int) -> NDArray[numpy.int64]:
    """The numbers 0 .. n - 1 in random order: the order that sorts the stream's first n words, ties by position.

    Parameters
    ----------
    seed, stream : int
        In [0, 2^64).
    n : int
        In [0, 2^32).

    Returns
    -------
    ndarray of int64 (n,)
    """
    return _core.random_permutation(seed, stream, n)
