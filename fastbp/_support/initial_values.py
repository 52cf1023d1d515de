"""Initial values of parameters, in the same bits on every machine whose arithmetic has fused multiply-add."""

import math

import numpy as np

from .. import _core

# Spreads from the widths I and O of a layer.
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
_ROWS = 32  # vectors made orthogonal to those before them at once: what they cost is then one product


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
    float64 array of that shape
    """
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


def _orthonormal(A):
    """Q of A = Q R with the diagonal of R positive, or of A^T = Q R the transpose where A has more columns than rows.

    By Gram and Schmidt's method, done twice, which leaves Q orthonormal to rounding (Giraud, Langou, Rozloznik, The
    Loss of Orthogonality in the Gram-Schmidt Orthogonalization Process, 2005). Through the products of the core, as
    LAPACK's bits differ between machines.
    """
    upright = A.shape[0] >= A.shape[1]
    Q = np.ascontiguousarray(A.T) if upright else A  # vectors in its rows
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
