"""The product of two matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gemm(a: NDArray[Any], b: NDArray[Any], transpose_a: bool = False, transpose_b: bool = False) -> NDArray[Any]:
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
        c[i, j] = sum_k A[i, k] B[k, j].

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    A = a.T if transpose_a else a
    B = b.T if transpose_b else b
    return A @ B
