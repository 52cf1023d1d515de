"""Initial values of parameters."""

import numpy as np

from .rng import random_normal, random_uniform


def initial_values(initializer, shape, fan_in, fan_out, seed, stream):
    """The values that a W or b begins with.

    Parameters
    ----------
    initializer : Initializer
    shape : tuple of int
        (I, O) of a W, (O,) of a b.
    fan_in, fan_out : int
        I and O.
    seed, stream : int
        Of the random numbers; see `fastbp._support.random_streams`.

    Returns
    -------
    ndarray of float64, of that shape
    """
    n = int(np.prod(shape))
    match initializer.name:
        case "zeros":
            values = np.zeros(n)
        case "constant_value":
            values = np.full(n, initializer.value)
        case "he_uniform":
            values = np.sqrt(6 / fan_in) * (2 * random_uniform(seed, stream, n) - 1)
        case "glorot_uniform":
            values = np.sqrt(6 / (fan_in + fan_out)) * (2 * random_uniform(seed, stream, n) - 1)
        case "lecun_uniform":
            values = np.sqrt(3 / fan_in) * (2 * random_uniform(seed, stream, n) - 1)
        case "torch_linear":
            values = np.sqrt(1 / fan_in) * (2 * random_uniform(seed, stream, n) - 1)
        case "uniform":
            values = initializer.low + (initializer.high - initializer.low) * random_uniform(seed, stream, n)
        case "he_normal":
            values = np.sqrt(2 / fan_in) * random_normal(seed, stream, n)
        case "glorot_normal":
            values = np.sqrt(2 / (fan_in + fan_out)) * random_normal(seed, stream, n)
        case "lecun_normal":
            values = np.sqrt(1 / fan_in) * random_normal(seed, stream, n)
        case "normal":
            values = initializer.std * random_normal(seed, stream, n)
        case "orthogonal":
            values = initializer.gain * _orthonormal(random_normal(seed, stream, n).reshape(shape))
        case name:
            raise ValueError(f"there is no initialiser {name!r}")
    return values.reshape(shape)


def _orthonormal(A):
    """Q of A = Q R, or of A^T where A has more columns than rows. A Q R is unique once R's diagonal is positive."""
    if A.shape[0] < A.shape[1]:
        return _orthonormal(A.T).T
    Q, R = np.linalg.qr(A)
    return Q * np.sign(np.diag(R))
