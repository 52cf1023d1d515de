"""The product of two matrices."""


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
        c[i, j] = sum_k A[i, k] B[k, j].

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    A = a.T if transpose_a else a
    B = b.T if transpose_b else b
    return A @ B
