"""Initial values of parameters, drawn from the distributions that `fastbp.initializers` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .rng import random_normal, random_uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray


def initial_values(
    initializer: Any, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int
) -> NDArray[np.float64]:
    """The initial values of a W or b.

    Parameters
    ----------
    initializer : Initializer
    shape : tuple of int
        (I, O) for a W, (O,) for a b.
    fan_in, fan_out : int
        I and O.
    seed, stream : int
        Of the random numbers; see `fastbp._support.random_streams`.

    Returns
    -------
    ndarray of float64, of shape `shape`
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


def _orthonormal(A: NDArray[Any]) -> NDArray[np.float64]:
    """Q of A = Q R, or of A^T if A has more columns than rows. R with a positive diagonal makes it unique."""
    if A.shape[0] < A.shape[1]:
        return _orthonormal(A.T).T
    Q, R = np.linalg.qr(A)
    return Q * np.sign(np.diag(R))
