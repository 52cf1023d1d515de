"""Initial values of parameters: the same bits on every instruction set with fused multiply-add."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Half the width of a uniform distribution, and the standard deviation of a normal one, from the widths I and O.
_BOUND = {
    "he_uniform": lambda I, O: math.sqrt(6 / I),
    "glorot_uniform": lambda I, O: math.sqrt(6 / (I + O)),
    "lecun_uniform": lambda I, O: math.sqrt(3 / I),
    "torch_linear": lambda I, O: math.sqrt(1 / I),
}
_DEVIATION = {
    "he_normal": lambda I, O: math.sqrt(2 / I),
    "glorot_normal": lambda I, O: math.sqrt(2 / (I + O)),
    "lecun_normal": lambda I, O: math.sqrt(1 / I),
}
_ROWS = 32  # vectors per block in orthogonalisation: the work on earlier vectors is then a matrix product


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
    values: NDArray[np.float64]
    name, n = initializer.name, math.prod(shape)
    if name in _BOUND or name == "uniform":
        values = _core.random_uniform(seed, stream, n)
        if name == "uniform":
            values *= initializer.high - initializer.low
            values += initializer.low
        else:
            values *= 2
            values -= 1
            values *= _BOUND[name](fan_in, fan_out)
    elif name in _DEVIATION or name == "normal":
        values = _core.random_normal(seed, stream, n)
        values *= initializer.std if name == "normal" else _DEVIATION[name](fan_in, fan_out)
    elif name == "orthogonal":
        values = _orthonormal(_core.random_normal(seed, stream, n).reshape(shape))
        values *= initializer.gain
    else:
        values = np.full(shape, initializer.value if name == "constant_value" else 0.0)
    return values.reshape(shape)


def _orthonormal(A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Q of A = Q R with positive diagonal of R; if A has more columns than rows, the transpose of Q of A^T = Q R.

    The Gram-Schmidt method, applied twice, makes Q orthonormal up to rounding (Giraud, Langou, Rozloznik, The Loss of
    Orthogonality in the Gram-Schmidt Orthogonalization Process, 2005). It uses the matrix products of the core, because
    the bits of LAPACK differ between machines. A is overwritten.
    """
    upright = A.shape[0] >= A.shape[1]
    Q = np.ascontiguousarray(A.T) if upright else A  # its rows are the vectors
    for start in range(0, len(Q), _ROWS):
        before, rows = Q[:start], Q[start : start + _ROWS]
        for _ in range(2):
            if start:
                rows -= _core.gemm(_core.gemm(rows, before, False, True), before, False, False)
            for j in range(len(rows)):
                row, above = rows[j : j + 1], rows[:j]
                if j:
                    row -= _core.gemm(_core.gemm(row, above, False, True), above, False, False)
                row /= math.sqrt(_core.sum_squares(row))
    return Q.T if upright else Q
