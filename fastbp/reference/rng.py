"""Counter-based random numbers: word i of a stream is a function of (seed, stream, i).

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011):
ten rounds of multiplication and mixing turn the number of a block into four random words. There is no state, so that
any part of a stream can be computed by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import integer
from .._support.declarative import seed as checked_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 2**63 - 1  # of an array

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3) - 1, as fractions of 2^32

# Quotients of polynomials, highest coefficient first: numerator, denominator. Wichura, Algorithm AS 241: The Percentage
# Points of the Normal Distribution, Applied Statistics 37(3), 1988, routine PPND16.
_QUANTILE_NEAR = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_QUANTILE_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
_QUANTILE_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)  # fmt: skip


def philox4x32(counter: Any, key: tuple[int, int], rounds: int = 10) -> NDArray[np.uint64]:
    """The four words of each block of Philox4x32.

    Parameters
    ----------
    counter : ndarray of uint64 (4, blocks)
        Each below 2^32.
    key : tuple of two ints below 2^32
    rounds : int, default 10

    Returns
    -------
    ndarray of uint64 (4, blocks)
        Each below 2^32.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2  # 64-bit products of 32-bit words
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) % 2**32, (k1 + _KEY_STEPS[1]) % 2**32
    return np.array([c0, c1, c2, c3])


def random_bits(seed: int, stream: int, n: int) -> NDArray[np.uint32]:
    """The first n words of a stream: word i is word i % 4 of block i // 4.

    Parameters
    ----------
    seed : int
        In [0, 2^64). The key is (low word, high word).
    stream : int
        In [0, 2^64). Block j has the counter (j low, j high, stream low, stream high).
    n : int
        At least 0.

    Returns
    -------
    ndarray of uint32 (n,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an integer, or an array of n numbers is larger than the address space.
    """
    seed, stream = checked_seed("seed", seed), checked_seed("stream", stream)
    n = integer("n", n, 0, MOST_BYTES // 4)
    j = np.arange((n + 3) // 4, dtype=np.uint64)
    stream_low, stream_high = (np.full_like(j, word) for word in (stream % 2**32, stream // 2**32))
    words = philox4x32(np.array([j & _LOW, j >> _32, stream_low, stream_high]), (seed % 2**32, seed // 2**32))
    return words.T.reshape(-1)[:n].astype(np.uint32)


def random_uniform(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """n numbers in [0, 1), multiples of 2^-53. Number i is computed from words 2i and 2i + 1.

    Parameters
    ----------
    seed, stream, n : int
        As in `random_bits`.

    Returns
    -------
    ndarray of float64 (n,)
        ((a >> 5) 2^26 + (b >> 6)) / 2^53 with the words a and b: 27 bits of a, 26 bits of b.
    """
    n = integer("n", n, 0, MOST_BYTES // 8)
    a, b = random_bits(seed, stream, 2 * n).reshape(n, 2).T
    return ((a >> 5) * 2.0**26 + (b >> 6)) / 2.0**53


def random_normal(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """n standard normal numbers: the normal quantiles of n uniform numbers in (0, 1).

    Parameters
    ----------
    seed, stream, n : int
        As in `random_bits`.

    Returns
    -------
    ndarray of float64 (n,)
        Number i is the quantile at (floor(u_i 2^52) + 1/2) / 2^52, with u from `random_uniform`.
    """
    u = (np.floor(random_uniform(seed, stream, n) * 2**52) + 0.5) / 2**52
    q = u - 0.5
    r = np.sqrt(-np.log(np.minimum(u, 1 - u)))
    tail = np.where(r <= 5, _ratio(_QUANTILE_TAIL, r - 1.6), _ratio(_QUANTILE_FAR, r - 5))
    return np.where(np.abs(q) <= 0.425, q * _ratio(_QUANTILE_NEAR, 0.180625 - q * q), np.copysign(tail, q))


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: NDArray[Any]) -> NDArray[np.float64]:
    return np.polyval(coefficients[0], x) / np.polyval(coefficients[1], x)


def random_permutation(seed: int, stream: int, n: int) -> NDArray[np.int64]:
    """The numbers 0 .. n - 1 in random order: the stable argsort of the stream's first n words.

    Parameters
    ----------
    seed, stream : int
        As in `random_bits`.
    n : int
        In [0, 2^32).

    Returns
    -------
    ndarray of int64 (n,)
    """
    n = integer("n", n, 0, 2**32 - 1)
    return np.argsort(random_bits(seed, stream, n), kind="stable").astype(np.int64)
