"""The product of two matrices."""

from .. import _core
from .._support.arguments import array


def gemm(a, b, transpose_a=False, transpose_b=False):
    """c = A B, with A = a or its transpose, and B = b or its transpose.

    Parameters
    ----------
    a : ndarray (M, K)
        (K, M) if `transpose_a`.
    b : ndarray (K, N)
        (N, K) if `transpose_b`.
    transpose_a, transpose_b : bool, default False

    Returns
    -------
    ndarray (M, N)
        c[i, j] = sum_k A[i, k] B[k, j]: one chain of fused multiply-adds over each 256 values of k, the chains added in
        order.

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit.
    """
    try:
        return _core.gemm(a, b, transpose_a, transpose_b)
    except (TypeError, ValueError):
        pass
    a = array("a", a, 2)
    b = array("b", b, 2, a.dtype)
    K = a.shape[0 if transpose_a else 1]
    takes = b.shape[1 if transpose_b else 0]
    if K != takes:
        raise ValueError(
            f"a has {K} {'rows' if transpose_a else 'columns'}; b has {takes} {'columns' if transpose_b else 'rows'}"
        )
    return _core.gemm(a, b, transpose_a, transpose_b)
