"""Random numbers by counting: word i of a stream is a function of (seed, stream, i) alone.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011):
ten rounds of multiplying and mixing turn a block's number into four words that look random. There is no state to carry,
so any part of a stream can be had at once, in any order.
"""

import numpy as np

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3) - 1, as fractions of 2^32


def philox4x32(counter, key):
    """The four words of each block.

    Parameters
    ----------
    counter : ndarray of uint64 (4, blocks)
        Each below 2^32.
    key : tuple of two ints below 2^32

    Returns
    -------
    ndarray of uint64 (4, blocks)
        Each below 2^32.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2  # 64-bit products of 32-bit words
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) % 2**32, (k1 + _KEY_STEPS[1]) % 2**32
    return np.array([c0, c1, c2, c3])


def random_bits(seed, stream, n):
    """The first n words of a stream: word i is word i % 4 of block i // 4.

    Parameters
    ----------
    seed : int
        In [0, 2^64). The key is (low word, high word).
    stream : int
        In [0, 2^64). Block j has the counter (j low, j high, stream low, stream high).
    n : int

    Returns
    -------
    ndarray of uint32 (n,)
    """
    j = np.arange((n + 3) // 4, dtype=np.uint64)
    stream_low, stream_high = (np.full_like(j, word) for word in (stream % 2**32, stream // 2**32))
    words = philox4x32(np.array([j & _LOW, j >> _32, stream_low, stream_high]), (seed % 2**32, seed // 2**32))
    return words.T.reshape(-1)[:n].astype(np.uint32)


def random_uniform(seed, stream, n):
    """n numbers in [0, 1), multiples of 2^-53: number i is made of words 2i and 2i + 1.

    Parameters
    ----------
    seed, stream, n : int
        As in `random_bits`.

    Returns
    -------
    ndarray of float64 (n,)
        ((a >> 5) 2^26 + (b >> 6)) / 2^53 with a, b the two words: 27 bits of one, 26 of the other.
    """
    a, b = random_bits(seed, stream, 2 * n).reshape(n, 2).T
    return ((a >> 5) * 2.0**26 + (b >> 6)) / 2.0**53


def random_permutation(seed, stream, n):
    """The numbers 0 .. n - 1 in random order: the order that sorts the stream's first n words, ties by position.

    Parameters
    ----------
    seed, stream, n : int
        As in `random_bits`.

    Returns
    -------
    ndarray of int64 (n,)
    """
    return np.argsort(random_bits(seed, stream, n), kind="stable").astype(np.int64)
