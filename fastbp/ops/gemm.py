"""The product of two matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def gemm(a: NDArray[Real], b: NDArray[Real], transpose_a: bool = False, transpose_b: bool = False) -> NDArray[Real]:
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
    return _core.gemm(a, b, transpose_a, transpose_b)
