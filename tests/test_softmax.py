"""Softmax: literals, the distance to the twin, differences, and the edges.

The core takes rows of up to sixteen columns one to a lane, unless there are few, and wider ones along the row: widths
and numbers of rows here lie on both sides.
"""

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
    needs_guard_pages,
    needs_two_fused,
    real,
    ulps,
    wider,
)

from fastbp import _core, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
WIDTHS = (1, 2, 3, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 100)
each_width = pytest.mark.parametrize("columns", WIDTHS)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_rows_worked_out_by_hand(isa, dtype):
    # exp of (0, log 2, log 5) is (1, 2, 5), whatever is added to a row; equal elements share alike.
    x = np.array([[0, np.log(2), np.log(5)], [-7, np.log(2) - 7, np.log(5) - 7], [3, 3, 3]], dtype)
    y = [[1 / 8, 2 / 8, 5 / 8], [1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(ops.softmax_forward(x), y, rtol=16 * np.finfo(dtype).eps, atol=0)
    # dx_j = y_j (dy_j - dy . y): the dot product of (1, 2, 4) with (1, 2, 5)/8 is 25/8.
    dy = np.array([[1, 2, 4]], dtype)
    dx = [[-17 / 64, -18 / 64, 35 / 64]]
    np.testing.assert_allclose(
        ops.softmax_backward(dy, np.array(y[:1], dtype)), dx, rtol=4 * np.finfo(dtype).eps, atol=0
    )


@each_dtype
def test_a_row_worked_out_with_mpmath(isa, dtype):
    y = [[0.090030573170380457998, 0.24472847105479765247, 0.66524095577482188953]]
    dx = [[-0.056788470036966954565, -0.52145977274967471613, 0.5782482427866416707]]
    got = ops.softmax_forward(np.array([[1, 2, 3]], dtype))
    np.testing.assert_allclose(got, y, rtol=4 * np.finfo(dtype).eps, atol=0)
    got = ops.softmax_backward(np.array([[0.5, -1, 2]], dtype), got)
    np.testing.assert_allclose(got, dx, rtol=16 * np.finfo(dtype).eps, atol=0)


@each_dtype
@each_width
def test_equal_logits_share_alike(isa, columns, dtype):
    y = ops.softmax_forward(np.full((5, columns), 2.5, dtype))
    assert_same_bits(y, np.full((5, columns), np.array(1, dtype) / np.array(columns, dtype)))


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_width
def test_against_the_twin(isa, columns, dtype):
    for rows in (1, 2, 7, 8, 9, 15, 16, 17, 33):
        x, dy = real(rows, (rows, columns), dtype, -5, 5), real(columns, (rows, columns), dtype)
        y = ops.softmax_forward(x)
        assert_close(y, reference.softmax_forward(x.astype("float64")), dtype)
        dx = ops.softmax_backward(dy, y)
        # dx is a difference, which may be small: its error is that of what is subtracted, y dy and y times the sum.
        expected = reference.softmax_backward(dy.astype("float64"), y.astype("float64"))
        assert (np.abs(dx - expected) <= 4 * np.finfo(dtype).eps * y * np.abs(dy).max()).all()


@each_dtype
@pytest.mark.parametrize("columns", [1, 3, 8, 9, 40, 1000])
def test_in_ulp(isa, columns, dtype):
    # As src_c/kernels/softmax.h has it: a few ulp, and |x_j - m| more.
    x = real(columns, (200, columns), dtype, -10, 10).astype(wider(dtype))
    d = x - x.max(axis=1, keepdims=True)
    expected = np.exp(d) / np.exp(d).sum(axis=1, keepdims=True)
    assert (ulps(ops.softmax_forward(x.astype(dtype)), expected) <= 5 + np.abs(d)).all()


# ------------------------------------------------------------------------------------------------ central differences


@each_width
def test_backward_against_differences(isa, columns):
    x, dy = real(0, (2, columns), low=-2, high=2), real(1, (2, columns))
    jacobian = central_difference(ops.softmax_forward, x, 1e-3)
    expected = np.einsum("bc,bcde->de", dy, jacobian)
    np.testing.assert_allclose(ops.softmax_backward(dy, ops.softmax_forward(x)), expected, rtol=0, atol=1e-10)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_width
def test_rows_sum_to_one(isa, columns, dtype):
    x = real(0, (40, columns), dtype, -1, 1) * np.geomspace(1e-3, 1e4, 40)[:, None].astype(dtype)
    y = ops.softmax_forward(x)
    assert (y >= 0).all() and (y <= 1 + 2 * np.finfo(dtype).eps).all()
    np.testing.assert_allclose(y.sum(axis=1, dtype="float64"), 1, rtol=(4 + columns / 8) * np.finfo(dtype).eps)


@each_dtype
@each_width
def test_large_logits(isa, columns, dtype):
    for large in (1e4, 1e30):
        x = np.full((columns, columns), -large, dtype)
        np.fill_diagonal(x, large)
        assert_same_bits(ops.softmax_forward(x), np.eye(columns, dtype=dtype))
    for large in (-1e4, 1e4):
        y = ops.softmax_forward(np.full((3, columns), large, dtype))
        assert_same_bits(y, ops.softmax_forward(np.zeros((3, columns), dtype)))


@each_dtype
@each_width
def test_a_row_does_not_depend_on_its_place(isa, columns, dtype):
    rows = 2 * LANES[dtype] + 3
    x, dy = real(0, (rows, columns), dtype, -4, 4), real(1, (rows, columns), dtype)
    y = ops.softmax_forward(x)
    dx = ops.softmax_backward(dy, y)
    for first in range(rows):
        for end in (first + 1, min(first + LANES[dtype], rows), rows):
            assert_same_bits(ops.softmax_forward(x[first:end]), y[first:end])
            assert_same_bits(ops.softmax_backward(dy[first:end], y[first:end]), dx[first:end])


@needs_two_fused
@each_dtype
def test_the_same_bits_on_every_instruction_set(dtype):
    for columns in SIZES[1:]:
        x, dy = real(columns, (37, columns), dtype, -30, 30), real(1, (37, columns), dtype)
        x[5, columns // 2], x[6, 0], x[7, -1] = np.nan, np.inf, -np.inf
        assert_same_on_fused(ops.softmax_forward, x)
        y = ops.softmax_forward(x)
        assert_same_on_fused(ops.softmax_backward, dy, y)
        assert_same_on_fused(ops.softmax_backward, x, y)


@each_dtype
@pytest.mark.parametrize("columns", [3, 19])
@each_layout
def test_layouts(isa, layout, columns, dtype):
    x, dy = real(0, (21, columns), dtype, -3, 3), real(1, (21, columns), dtype)
    y = ops.softmax_forward(x)
    assert_same_bits(ops.softmax_forward(layout(x)), y)
    assert_same_bits(ops.softmax_backward(layout(dy), layout(y)), ops.softmax_backward(dy, y))


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("columns", [2, 3, 7, 8, 9, 16, 17, 35])
def test_nan_and_inf_take_their_row_wherever_they_stand(isa, columns, bad, dtype):
    for rows in (1, 3, LANES[dtype] + 1):
        x, dy = real(0, (rows, columns), dtype, -3, 3), real(1, (rows, columns), dtype)
        y = ops.softmax_forward(x)
        dx = ops.softmax_backward(dy, y)
        row = rows // 2
        others = np.arange(rows) != row
        for j in range(columns):
            x_, dy_, y_ = x.copy(), dy.copy(), y.copy()
            x_[row, j] = dy_[row, j] = y_[row, j] = bad
            for got, clean in (
                (ops.softmax_forward(x_), y),
                (ops.softmax_backward(dy_, y), dx),
                (ops.softmax_backward(dy, y_), dx),
            ):
                assert not np.isfinite(got[row]).any()
                assert_same_bits(got[others], clean[others])
            assert np.isnan(ops.softmax_forward(x_)[row]).all()


@each_dtype
@pytest.mark.parametrize("columns", [2, 3, 7, 8, 9, 16, 17, 35])
def test_minus_infinity_is_a_probability_of_zero(isa, columns, dtype):
    for j in range(columns):
        x = real(0, (3, columns), dtype, -3, 3)
        x[:, j] = -np.inf
        y = ops.softmax_forward(x)
        assert not y[:, j].any()
        others = reference.softmax_forward(np.delete(x, j, axis=1).astype("float64"))
        assert_close(np.delete(y, j, axis=1), others, dtype)
    y = ops.softmax_forward(np.full((3, columns), -np.inf, dtype))
    assert np.isnan(y).all()


@each_dtype
def test_signed_zeros(isa, dtype):
    for columns in (2, 8, 9, 33):
        zeros = np.zeros((3, columns), dtype)
        assert_same_bits(ops.softmax_forward(-zeros), ops.softmax_forward(zeros))


@each_dtype
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty(isa, shape, dtype):
    x = np.empty(shape, dtype)
    for y in (ops.softmax_forward(x), ops.softmax_backward(x, x)):
        assert y.shape == shape and y.dtype == dtype


@each_dtype
@each_width
def test_results_may_take_an_argument_s_place(isa, columns, dtype):
    for rows in (1, LANES[dtype] + 3):
        x, dy = real(0, (rows, columns), dtype, -3, 3), real(1, (rows, columns), dtype)
        y = ops.softmax_forward(x)
        there = x.copy()
        _core.softmax_forward(there, there)
        assert_same_bits(there, y)
        dx = ops.softmax_backward(dy, y)
        there = dy.copy()
        _core.softmax_backward(there, y, there)
        assert_same_bits(there, dx)
        there = y.copy()
        _core.softmax_backward(dy, there, there)
        assert_same_bits(there, dx)


@needs_guard_pages
@each_dtype
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, dtype, place):
    for columns in WIDTHS:
        for rows in (1, 2, LANES[dtype] - 1, LANES[dtype], LANES[dtype] + 1):
            x, dy = real(0, (rows, columns), dtype, -3, 3), real(1, (rows, columns), dtype)
            y, dx = guarded_empty(x.shape, dtype, place), guarded_empty(x.shape, dtype, place)
            _core.softmax_forward(guarded(x, place), y)
            assert_same_bits(y, ops.softmax_forward(x))
            _core.softmax_backward(guarded(dy, place), y, dx)
            assert_same_bits(dx, ops.softmax_backward(dy, y.copy()))
