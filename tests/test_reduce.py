"""Sums and checks over whole arrays: literals, the distance to the exact sum, differences, and the edges."""

import math
from fractions import Fraction

import numpy as np
import pytest
from arrays import (
    DTYPES,
    LANES,
    PLACES,
    SIZES,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    each_layout,
    guarded,
    guarded_empty,
    magnitudes,
    needs_guard_pages,
    needs_two_fused,
    real,
    special,
)

from fastbp import _core, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
REDUCE_BLOCK = 4096  # elements that src_c/kernels/reduce.h sums in reals, before their sum moves to a double
LONG = (REDUCE_BLOCK - 1, REDUCE_BLOCK, REDUCE_BLOCK + 1, 2 * REDUCE_BLOCK, 3 * REDUCE_BLOCK + 77)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_sums_worked_out_by_hand(isa, dtype):
    assert ops.sum_squares(np.array([3, -4], dtype)) == 25
    assert ops.sum_squares(np.array([[1, 2], [3, 4], [5, -6]], dtype)) == 91
    assert type(ops.sum_squares(np.array([3], dtype))) is float
    for n in SIZES:  # n (n + 1) (2 n + 1) / 6, below 2^24
        assert ops.sum_squares(np.arange(n + 1, dtype=dtype)) == n * (n + 1) * (2 * n + 1) // 6
    for n in LONG:
        assert ops.sum_squares(np.full(n, -2, dtype)) == 4 * n
    c = ops.add(np.array([1, 0.5, -3], dtype), np.array([2, 0.25, 3], dtype))
    assert c.tolist() == [3, 0.75, 0] and c.dtype == dtype


@each_dtype
def test_finite_or_not(isa, dtype):
    assert ops.all_finite(np.array([1, -2], dtype)) is True
    for bad in (np.nan, np.inf, -np.inf):
        assert ops.all_finite(np.array([1, bad], dtype)) is False


# ------------------------------------------------------------------------------------------ the twin and the exact sum


@each_dtype
def test_sum_of_squares_against_the_exact_sum(isa, dtype):
    # The bound of src_c/kernels/reduce.h: 70 half ulp of a float; of a double, 133 and one more for each block.
    for n in SIZES[1:] + LONG:
        x = real(n, n, dtype, -10, 10)
        exact = sum(Fraction(v) ** 2 for v in x.astype("float64").tolist())
        bound = 70 if dtype == "float32" else 133 + n / REDUCE_BLOCK
        eps = np.finfo(dtype).eps
        assert abs(Fraction(ops.sum_squares(x)) - exact) / exact <= bound * float(eps) / 2, n
        assert ops.sum_squares(x) == pytest.approx(reference.sum_squares(x.astype("float64")), rel=float(eps) * bound)


@each_dtype
def test_a_long_sum_does_not_lose_its_small_terms(isa, dtype):
    # In float32 a sum that has reached 1000^2 no longer changes by 0.1^2: one lane in 64 would lose all that follow.
    x = np.full(1_000_003, 0.1, dtype)
    x[0] = 1000
    exact = 1_000_002 * Fraction(float(x[1])) ** 2 + 1000**2
    assert abs(Fraction(ops.sum_squares(x)) - exact) / exact <= 70 * np.finfo("float32").eps.item() / 2


@each_dtype
def test_add_and_all_finite_against_the_twin(isa, dtype):
    for n in SIZES + LONG:
        a, b = real(n, n, dtype, -10, 10), real(n + 1, n, dtype, -10, 10)
        assert_same_bits(ops.add(a, b), reference.add(a, b))
        assert ops.all_finite(a) is reference.all_finite(a) is True
    assert_close(ops.add(a, b), reference.add(a.astype("float64"), b.astype("float64")), dtype)


# ------------------------------------------------------------------------------------------------ central differences


def test_differences(isa):
    x, b = real(0, 37), real(1, 37)
    np.testing.assert_allclose(central_difference(ops.sum_squares, x, 1e-2), 2 * x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(central_difference(lambda x: ops.add(x, b), x, 1e-2), np.eye(37), rtol=0, atol=1e-10)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@pytest.mark.parametrize("shape", [0, (0, 5), (3, 0)])
def test_empty(isa, shape, dtype):
    x = np.empty(shape, dtype)
    assert ops.sum_squares(x) == 0 and ops.all_finite(x) is True
    assert ops.add(x, x).shape == x.shape


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_show_wherever_they_stand(isa, bad, dtype):
    group = 4 * LANES[dtype]
    for n in (1, 2, LANES[dtype] - 1, LANES[dtype] + 1, group - 1, group, 2 * group + LANES[dtype] + 3):
        a, b = real(n, n, dtype), real(n + 1, n, dtype)
        c = ops.add(a, b)
        for i in range(n):
            a_ = a.copy()
            a_[i] = bad
            assert np.array_equal(ops.sum_squares(a_), bad * bad, equal_nan=True)
            assert ops.all_finite(a_) is False
            for got in (ops.add(a_, b), ops.add(b, a_)):
                assert np.array_equal(got[i], bad, equal_nan=True)
                assert_same_bits(np.delete(got, i), np.delete(c, i))


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_show_in_long_arrays(isa, bad, dtype):
    x = np.ones(3 * REDUCE_BLOCK + 77, dtype)
    for i in {0, x.size // 2, x.size - 1, *(k * REDUCE_BLOCK + d for k in (1, 2, 3) for d in (-1, 0, 1))}:
        x[i] = bad
        assert ops.all_finite(x) is False
        assert not math.isfinite(ops.sum_squares(x))
        x[i] = 1
    assert ops.all_finite(x) is True


@each_dtype
def test_large_and_small_numbers_are_finite(isa, dtype):
    info = np.finfo(dtype)
    x = np.concatenate([magnitudes(dtype), special(dtype)])
    assert ops.all_finite(x) is True
    for value in (info.max, -info.max, info.tiny, info.smallest_subnormal, -0.0):
        for n in (1, 5, 100):
            assert ops.all_finite(np.full(n, value, dtype)) is True  # though their sum may overflow


@each_dtype
def test_overflow_is_infinite_and_underflow_is_zero(isa, dtype):
    info = np.finfo(dtype)
    for n in (1, 70):
        assert ops.sum_squares(np.full(n, info.max, dtype)) == np.inf
        assert ops.sum_squares(np.full(n, info.smallest_subnormal, dtype)) == 0
    assert ops.add(np.array([info.max] * 20, dtype), np.array([info.max] * 20, dtype)).tolist() == [np.inf] * 20


@each_dtype
def test_signed_zeros(isa, dtype):
    zero = np.zeros(21, dtype)
    assert_same_bits(ops.add(-zero, -zero), -zero)
    assert_same_bits(ops.add(-zero, zero), zero)
    assert math.copysign(1, ops.sum_squares(-zero)) == 1


@each_dtype
def test_an_element_of_a_sum_does_not_depend_on_its_place(isa, dtype):
    n = 2 * LANES[dtype] + 3
    a, b = real(0, n, dtype), real(1, n, dtype)
    c = ops.add(a, b)
    for first in range(n):
        for end in (first + 1, n):
            assert_same_bits(ops.add(a[first:end], b[first:end]), c[first:end])


@needs_two_fused
@each_dtype
def test_the_same_bits_on_every_instruction_set(dtype):
    for n in SIZES + LONG:
        a, b = real(n, n, dtype, -10, 10), real(n + 1, n, dtype)
        assert_same_on_fused(ops.all_finite, a)
        assert_same_on_fused(ops.add, a, b)
        for seed in range(20):  # one number may well come out the same by chance
            assert_same_on_fused(ops.sum_squares, real(seed, n, dtype, -10, 10))


@each_dtype
@each_layout
def test_layouts(isa, layout, dtype):
    a, b = real(0, (19, 5), dtype), real(1, (19, 5), dtype)
    assert ops.sum_squares(layout(a)) == ops.sum_squares(a)
    assert ops.all_finite(layout(a)) is True
    assert_same_bits(ops.add(layout(a), layout(b)), ops.add(a, b))
    a[18, 4] = np.inf
    assert ops.all_finite(layout(a)) is False


@each_dtype
def test_a_sum_may_take_the_place_of_a_term(isa, dtype):
    for n in (1, LANES[dtype] - 1, 3 * LANES[dtype] + 1):
        a, b = real(0, n, dtype), real(1, n, dtype)
        c = ops.add(a, b)
        there = a.copy()
        _core.add(there, b, there)
        assert_same_bits(there, c)
        there = b.copy()
        _core.add(a, there, there)
        assert_same_bits(there, c)


@needs_guard_pages
@each_dtype
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, dtype, place):
    group = 4 * LANES[dtype]
    for n in (*range(1, 2 * group + 2), REDUCE_BLOCK - 1, REDUCE_BLOCK, REDUCE_BLOCK + 1):
        a, b = real(0, n, dtype), real(1, n, dtype)
        c = guarded_empty(n, dtype, place)
        _core.add(guarded(a, place), guarded(b, place), c)
        assert_same_bits(c, ops.add(a, b))
        assert ops.sum_squares(guarded(a, place)) == ops.sum_squares(a)
        assert ops.all_finite(guarded(a, place)) is True
