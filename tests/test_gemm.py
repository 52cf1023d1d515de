"""Products of matrices: literals, exact integers, the order of summation, the twin, differences, and the edges.

Sizes lie around the tiles of every instruction set (4, 6 or 14 rows; 8, 16 or 32 columns), around the block of 256
terms, and around the sizes from which on panels of the right side are copied and a second thread helps.
"""

import numpy as np
import pytest
from arrays import (
    BLOCK,
    DTYPES,
    LANES,
    PLACES,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    each_layout,
    guarded,
    guarded_empty,
    needs_guard_pages,
    needs_two_fused,
    real,
)

from fastbp import _core, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 27, 28, 29)
COLUMNS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)
TERMS = (0, 1, 2, 7, 8, 9, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK + 5)
LARGE = [(65, 31, 300), (130, 257, 129), (127, 300, 300), (128, 300, 300), (200, 300, 513), (15, 1000, 300)]
LARGE += [(58, 1024, 270)]  # the rows of B are a multiple of 4 KiB apart
LARGE += [(97, 257, 513), (270, 129, 520), (130, 528, 300)]  # packed
LARGE += [(1, 259, 517), (2, 300, 600), (2, 1029, 3), (530, 516, 2), (520, 531, 3), (512, 530, 4)]  # by streams
LARGE += [(40, 5, 1024), (19, 1, 2048), (3, 21, 1024)]  # narrow, with rows of A or B that lie 4 KiB apart
LARGE += [(37, 67, 80), (35, 50, 300), (64, 33, 257)]  # the last columns go the narrow way
# Many rows and few columns, or the other way round: there one side lies across the lanes.
NARROW = [(M, N, K) for M in (8, 16, 17, 33) for N in (1, 3, 6, 9, 10, 12, 13) for K in TERMS]
NARROW += [(N, M, K) for M, N, K in NARROW]
BOTH = (False, True)
each_transpose = pytest.mark.parametrize("transpose_a, transpose_b", [(a, b) for a in BOTH for b in BOTH])


def sides(M, N, K, transpose_a, transpose_b, dtype, seed=0):
    a = real(seed, (K, M) if transpose_a else (M, K), dtype)
    b = real(seed + 1, (N, K) if transpose_b else (K, N), dtype)
    return a, b


def whole(x):
    """Small integers from reals in [-1, 1): their products and sums are exact in both dtypes, in any order."""
    return np.rint(5 * x)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_products_worked_out_by_hand(isa, dtype):
    a, b = np.array([[1, 2, 3], [4, 5, 6]], dtype), np.array([[1, -1], [0, 2], [3, 0.5]], dtype)
    for given in ((a, b), (a.T, b, True), (a, b.T, False, True), (a.T, b.T, True, True)):
        c = ops.gemm(*given)
        assert c.tolist() == [[10, 4.5], [22, 9]] and c.dtype == dtype
    # The identity gives back what it meets; an outer product is a multiplication table.
    x = real(0, (20, 20), dtype)
    assert_same_bits(ops.gemm(np.eye(20, dtype=dtype), x) + 0, x + 0)
    n = np.arange(1, 41, dtype=dtype)[None]
    assert ops.gemm(n, n, True).tolist() == [[i * j for j in range(1, 41)] for i in range(1, 41)]
    assert ops.gemm(n, n, False, True).tolist() == [[40 * 41 * 81 // 6]]


@each_dtype
@each_transpose
def test_exact_integers_in_every_size(isa, transpose_a, transpose_b, dtype):
    # NumPy's product of the same integers in float64 is exact as well, whatever its order: an independent library.
    some = [(M, N, K) for M in ROWS for N in COLUMNS for K in (1, 17, BLOCK + 1)]
    for M, N, K in some + [(M, N, K) for M in (3, 15) for N in (7, 16, 33) for K in TERMS] + LARGE + NARROW:
        a, b = EXACT[(K, M) if transpose_a else (M, K)], EXACT[(N, K) if transpose_b else (K, N)]
        c = ops.gemm(a.astype(dtype), b.astype(dtype), transpose_a, transpose_b)
        expected = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
        assert c.dtype == dtype and np.array_equal(c, expected), (M, N, K)


class Exact(dict):
    """Matrices of small integers by shape."""

    def __missing__(self, shape):
        self[shape] = whole(real(sum(shape), shape))
        return self[shape]


EXACT = Exact()


@each_dtype
@pytest.mark.parametrize("columns", [1, 16, 40])
@pytest.mark.parametrize("transpose_b", BOTH)
def test_order_of_summation(isa, columns, transpose_b, dtype):
    # tiny is half of what 1 can be changed by: added to 1 it is rounded away (to even), and twice tiny is not.
    tiny = np.finfo(dtype).eps / 2

    def product(terms):
        b = np.repeat(np.array(terms, dtype)[:, None], columns, axis=1)
        c = ops.gemm(np.ones((3, len(terms)), dtype), b.T.copy() if transpose_b else b, False, transpose_b)
        assert (c == c[0, 0]).all()
        return c[0, 0] - 1

    # Within a block of 256 the terms are added one after the other ...
    assert product([1] + [tiny] * (BLOCK - 1)) == 0
    assert product([tiny] * (BLOCK - 1) + [1]) == BLOCK * tiny  # 255 tiny and 1, rounded to even
    # ... and a block is summed by itself before it is added to those before it.
    assert product([1] + [tiny] * (BLOCK - 1) + [tiny] * 64) == 64 * tiny
    assert product([1] + [0] * (BLOCK - 1) + [tiny]) == 0
    assert product([1] + [0] * (BLOCK - 1) + [tiny] * BLOCK + [tiny] * BLOCK) == 2 * BLOCK * tiny


@each_dtype
def test_each_term_is_rounded_with_the_sum(isa, dtype):
    # (1 + h)^2 = 1 + 2 h + h^2, and h^2 is too small to show in it: fused, it is kept when 1 + 2 h is taken off.
    h = {"float32": 2.0**-12, "float64": 2.0**-27}[dtype]
    for columns in (1, 17, 40):
        a = np.array([[-(1 + 2 * h), 1 + h]], dtype)
        b = np.repeat(np.array([[1], [1 + h]], dtype), columns, axis=1)
        assert (ops.gemm(a, b) == (0 if isa == "portable" else h * h)).all()


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_transpose
def test_against_the_twin(isa, transpose_a, transpose_b, dtype):
    some = [(M, N, K) for M in (1, 7, 14, 29) for N in (1, 9, 32, 65) for K in (1, 17, BLOCK, BLOCK + 1)]
    for M, N, K in some + LARGE:
        a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
        expected = reference.gemm(a.astype("float64"), b.astype("float64"), transpose_a, transpose_b)
        assert_close(ops.gemm(a, b, transpose_a, transpose_b), expected, dtype)


# ------------------------------------------------------------------------------------------------ central differences


@each_transpose
def test_differences(isa, transpose_a, transpose_b):
    # c is linear in a and in b: with dc the gradient at c, the one at A is dc B^T, the one at B is A^T dc.
    a, b = sides(3, 17, 4, transpose_a, transpose_b, "float64")
    dc = real(2, (3, 17))
    A, B = a.T if transpose_a else a, b.T if transpose_b else b
    da, db = ops.gemm(dc, B, False, True), ops.gemm(A, dc, True)

    def total(a, b):
        return (dc * ops.gemm(a, b, transpose_a, transpose_b)).sum()

    expected = central_difference(lambda a: total(a, b), a, 1e-2)
    np.testing.assert_allclose(da.T if transpose_a else da, expected, rtol=0, atol=1e-11)
    expected = central_difference(lambda b: total(a, b), b, 1e-2)
    np.testing.assert_allclose(db.T if transpose_b else db, expected, rtol=0, atol=1e-11)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_transpose
@pytest.mark.parametrize("M, N, K", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 4, 0), (0, 0, 0), (70, 40, 0)])
def test_empty(isa, M, N, K, transpose_a, transpose_b, dtype):
    c = ops.gemm(*sides(M, N, K, transpose_a, transpose_b, dtype), transpose_a, transpose_b)
    assert_same_bits(c, np.zeros((M, N), dtype))


@each_dtype
@each_transpose
@pytest.mark.parametrize("M, N, K", [(70, 70, 33), (29, 65, BLOCK + 1), (300, 100, 200)])
def test_rows_and_columns_do_not_depend_on_their_place(isa, M, N, K, transpose_a, transpose_b, dtype):
    # Nor on the shape around them: single rows and columns are neither copied nor shared out among threads.
    a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
    c = ops.gemm(a, b, transpose_a, transpose_b)
    A, B = (a.T if transpose_a else a), (b.T if transpose_b else b)
    for first, end in [(0, 1), (1, 2), (M - 1, M), (0, M - 1), (1, M), (3, 17), (M // 2, M)]:
        assert_same_bits(ops.gemm(A[first:end], B), c[first:end])
    for first, end in [(0, 1), (1, 2), (N - 1, N), (0, N - 1), (1, N), (3, 17), (N // 2, N)]:
        assert_same_bits(ops.gemm(A, B[:, first:end]), c[:, first:end])
    assert_same_bits(ops.gemm(a, b, transpose_a, transpose_b), c)


@each_dtype
@each_transpose
@pytest.mark.parametrize("M, N, K", [(97, 257, 513), (270, 129, 520), (300, 1040, 300), (1031, 530, 40)])
def test_the_same_bits_with_caches_of_any_size(isa, M, N, K, transpose_a, transpose_b, dtype):
    a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
    expected = ops.gemm(a, b, transpose_a, transpose_b)
    try:
        for second, third in [(1, 1), (1, 1 << 40), (300_000, 1 << 22), (1 << 19, 1), (1 << 40, 1 << 40)]:
            _core.set_cache_sizes(second, third)
            assert _core.cache_sizes() == (second, third)
            assert_same_bits(ops.gemm(a, b, transpose_a, transpose_b), expected)
    finally:
        _core.set_cache_sizes()
    A, B = (a.T if transpose_a else a), (b.T if transpose_b else b)
    for i in (0, M // 2, M - 1):  # a single row is not packed
        assert_same_bits(ops.gemm(A[i : i + 1], B), expected[i : i + 1])


def test_the_caches_are_known():
    second, third = _core.cache_sizes()
    assert 1 << 14 <= second <= 1 << 28 and 1 << 14 <= third <= 1 << 34


@needs_two_fused
@each_dtype
@each_transpose
def test_the_same_bits_on_every_instruction_set(transpose_a, transpose_b, dtype):
    some = [(M, N, K) for M in ROWS for N in (1, 17, 33, 65) for K in (0, 1, 9, BLOCK, BLOCK + 1)]
    for M, N, K in some + LARGE + NARROW:
        a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
        assert_same_on_fused(ops.gemm, a, b, transpose_a, transpose_b)


@each_dtype
@each_transpose
@each_layout
def test_layouts(isa, layout, transpose_a, transpose_b, dtype):
    a, b = sides(9, 19, 5, transpose_a, transpose_b, dtype)
    expected = ops.gemm(a, b, transpose_a, transpose_b)
    assert_same_bits(ops.gemm(layout(a), layout(b), transpose_a, transpose_b), expected)


@each_dtype
@each_transpose
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_show_wherever_they_stand(isa, bad, transpose_a, transpose_b, dtype):
    for M, N, K in [(3, 5, 4), (15, LANES[dtype] + 1, 2), (2, 2 * LANES[dtype] + 1, LANES[dtype] + 3)]:
        a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
        c = ops.gemm(a, b, transpose_a, transpose_b)
        for i, k in np.ndindex(M, K):
            a_ = a.copy()
            a_[(k, i) if transpose_a else (i, k)] = bad
            got = ops.gemm(a_, b, transpose_a, transpose_b)
            expected = c.copy()
            expected[i] = bad * (b[:, k] if transpose_b else b[k])  # finite terms change nothing in it
            assert_same_bits(got, expected)
        for k, j in np.ndindex(K, N):
            b_ = b.copy()
            b_[(j, k) if transpose_b else (k, j)] = bad
            got = ops.gemm(a, b_, transpose_a, transpose_b)
            expected = c.copy()
            expected[:, j] = bad * (a[k] if transpose_a else a[:, k])
            assert_same_bits(got, expected)


@each_dtype
@pytest.mark.parametrize("k", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 4])
def test_nan_and_inf_show_in_every_block(isa, k, dtype):
    for N in (5, 40):
        a, b = np.ones((3, 2 * BLOCK + 5), dtype), np.ones((2 * BLOCK + 5, N), dtype)
        for bad in (np.nan, np.inf, -np.inf):
            a[1, k] = bad
            c = ops.gemm(a, b)
            assert np.array_equal(c[1], np.full(N, bad), equal_nan=True) and (c[[0, 2]] == 2 * BLOCK + 5).all()
            a[1, k] = 0
            b[k, N - 1] = bad
            assert np.isnan(ops.gemm(a, b)[1, N - 1])  # 0 times nan or inf is nan: a zero skips nothing
            b[k, N - 1] = a[1, k] = 1


@each_dtype
def test_large_and_small_numbers(isa, dtype):
    info = np.finfo(dtype)
    for N in (1, 20, 40):
        b = np.full((2, N), 2, dtype)
        assert (ops.gemm(np.array([[info.max, 0], [-info.max, 1]], dtype), b) == [[np.inf], [-np.inf]]).all()
        assert (ops.gemm(np.array([[info.smallest_subnormal] * 2], dtype), b) == 4 * info.smallest_subnormal).all()
        # A chain starts from +0, so that a sum of negative zeros is +0.
        assert_same_bits(ops.gemm(np.array([[-0.0, -0.0]], dtype), b), np.zeros((1, N), dtype))


@needs_guard_pages
@each_dtype
@each_transpose
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, transpose_a, transpose_b, place, dtype):
    some = [(M, N, K) for M in (1, 5, 13, 15, 29) for N in (1, 7, 9, 17, 31, 33, 65) for K in (1, 9, 17, BLOCK + 1)]
    for M, N, K in some + LARGE + NARROW[::5]:
        a, b = sides(M, N, K, transpose_a, transpose_b, dtype)
        c = guarded_empty((M, N), dtype, place)
        _core.gemm(guarded(a, place), guarded(b, place), transpose_a, transpose_b, c)
        assert_same_bits(c, ops.gemm(a, b, transpose_a, transpose_b))
