"""Dropout: which word decides, the distance to the twin, that it is random, and the edges."""

import numpy as np
import pytest
from arrays import (
    DTYPES,
    PLACES,
    SIZES,
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
from fastbp._support import random_streams
from fastbp.reference.rng import philox4x32

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
SHAPES = [(1, 1), (3, 5), (2, 63), (4, 64), (3, 65), (7, 100), (2, 1023), (3, 1024), (1, 1025), (300, 11), (2, 5000)]
each_shape = pytest.mark.parametrize("shape", SHAPES)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_the_half_that_decides(isa, dtype):
    # Elements 0, 16, 32 and 48 of draw 0 are decided by the upper halves of the four words of block 0, and elements 64,
    # 80, 96 and 112 by the lower halves. The words are Random123's known answer of Philox4x32-7 for zeros.
    words = [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]
    halves = [word >> 16 for word in words] + [word & 0xFFFF for word in words]
    x = np.ones((1, 128), dtype)
    for half, place in zip(halves, range(0, 128, 16), strict=True):
        for limit, dropped in ((half, False), (half + 1, True)):
            y, mask = ops.dropout_forward(x, limit / 2**16, 0, 0, 0)
            assert (y[0, place] == 0) == (mask[0, place] == 0) == dropped


@each_dtype
def test_every_element_has_its_word(isa, dtype):
    seed, stream, draw, rate = 3 << 40 | 7, random_streams.dropout(2), 5, 0.3
    x = real(0, (5, 131), dtype)
    y, mask = ops.dropout_forward(x, rate, seed, stream, draw, first_row=2)
    for r in range(5):
        for c in range(131):
            p = (2 + r) * 131 + c
            counter = np.array([[p // 128 * 16 + p % 16], [draw], [stream % 2**32], [stream >> 32]], "uint64")
            word = int(philox4x32(counter, (seed % 2**32, seed >> 32), 7)[p % 64 // 16, 0])
            kept = (word >> 16 if p % 128 < 64 else word & 0xFFFF) >= round(rate * 2**16)
            assert mask[r, c] == (np.array(1 / (1 - rate), dtype) if kept else 0)
            assert y[r, c] == x[r, c] * mask[r, c]


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_shape
def test_against_the_twin(isa, shape, dtype):
    x = real(0, shape, dtype)
    for number, rate in enumerate((0.0, 0.1, 0.5, 0.9, 1 - 2**-40)):
        seed, stream, draw, first_row = 2**64 - 1 - number, 2**63 + number, 2**32 - 1 - number, 1000 * number
        got = ops.dropout_forward(x, rate, seed, stream, draw, first_row)
        assert_same_bits(got, reference.dropout_forward(x, rate, seed, stream, draw, first_row))
        dy = real(1, shape, dtype)
        assert_same_bits(ops.dropout_backward(dy, got[1]), reference.dropout_backward(dy, got[1]))


@each_dtype
def test_far_into_a_minibatch(isa, dtype):
    x = np.ones((3, 40), dtype)
    for first_row in (2**32 // 40 - 1, 2**34 // 40 - 3):  # where p passes 32 bits, and to the end
        got = ops.dropout_forward(x, 0.5, 1, 2, 3, first_row)
        assert_same_bits(got, reference.dropout_forward(x, 0.5, 1, 2, 3, first_row))


@pytest.mark.parametrize("size", SIZES)
def test_backward_of_any_length(isa, size):
    for dtype in DTYPES:
        dy, mask = real(0, size, dtype), real(1, size, dtype)
        assert_same_bits(ops.dropout_backward(dy, mask), dy * mask)


# ------------------------------------------------------------------------------------------------ central differences


def test_backward_against_differences(isa):
    x, dy = real(0, (3, 20)), real(1, (3, 20))

    def loss(x):
        return (dy * ops.dropout_forward(x, 0.4, 1, 2, 3)[0]).sum()

    mask = ops.dropout_forward(x, 0.4, 1, 2, 3)[1]
    np.testing.assert_allclose(ops.dropout_backward(dy, mask), central_difference(loss, x), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- that it is random


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.95])
def test_shares_and_means(rate):
    shape = (500, 400)
    y, mask = ops.dropout_forward(np.ones(shape), rate, 1, 2, 3)
    n = y.size
    assert set(np.unique(mask)) == {0, 1 / (1 - rate)}
    assert abs((mask == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    assert abs(y.mean() - 1) < 4 * np.sqrt(rate / (1 - rate) / n)
    for axis, length in ((0, 500), (1, 400)):
        shares = (mask == 0).mean(axis=axis)
        assert np.abs(shares - rate).max() < 5.5 * np.sqrt(rate * (1 - rate) / length)


def test_masks_have_nothing_to_do_with_each_other():
    def mask(seed=1, stream=2, draw=3, first_row=0):
        return ops.dropout_forward(np.ones((200, 301)), 0.5, seed, stream, draw, first_row)[1].ravel()

    first = mask()
    others = [
        mask(seed=2),
        mask(seed=2**32 + 1),
        mask(stream=3),
        mask(stream=2**32 + 2),
        mask(draw=4),
        mask(draw=2**31),
    ]
    others += [mask(first_row=200), *(np.roll(first, lag) for lag in (1, 15, 16, 17, 64, 301))]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 4.5 / np.sqrt(first.size)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_shape
def test_rows_by_themselves(isa, shape, dtype):
    """A minibatch cut into blocks of rows drops what it drops whole."""
    x = real(0, shape, dtype)
    y, mask = ops.dropout_forward(x, 0.4, 5, 6, 7, 100)
    for first in range(0, shape[0], max(1, shape[0] // 5)):
        for end in {first + 1, shape[0]}:
            got = ops.dropout_forward(x[first:end], 0.4, 5, 6, 7, 100 + first)
            assert_same_bits(got, (y[first:end], mask[first:end]))


@each_dtype
def test_a_rate_of_zero_keeps_all(isa, dtype):
    x = real(0, (9, 30), dtype)
    assert_same_bits(ops.dropout_forward(x, 0, 1, 2, 3), (x, np.ones_like(x)))


@each_dtype
def test_nan_and_inf(isa, dtype):
    for bad in (np.nan, np.inf, -np.inf):
        x = np.full((20, 30), bad, dtype)
        y, mask = ops.dropout_forward(x, 0.5, 1, 2, 3)
        assert np.isnan(y[mask == 0]).all()
        assert_same_bits(y[mask != 0], x[mask != 0])


@needs_two_fused
@each_dtype
def test_the_same_bits_on_every_instruction_set(dtype):
    for shape in SHAPES:
        x = real(0, shape, dtype)
        assert_same_on_fused(ops.dropout_forward, x, 0.3, 1, 2, 3, 4)


@each_dtype
@each_layout
def test_layouts(isa, layout, dtype):
    x = real(0, (7, 37), dtype)
    expected = ops.dropout_forward(x, 0.3, 1, 2, 3)
    assert_same_bits(ops.dropout_forward(layout(x), 0.3, 1, 2, 3), expected)
    got = ops.dropout_backward(layout(x), layout(expected[1]))
    assert_same_bits(got, x * expected[1])


@each_dtype
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty(isa, shape, dtype):
    for part in ops.dropout_forward(np.empty(shape, dtype), 0.5, 1, 2, 3):
        assert part.shape == shape and part.dtype == dtype


@each_dtype
def test_y_may_take_the_place_of_x(isa, dtype):
    for shape in SHAPES:
        x = real(0, shape, dtype)
        y, mask = ops.dropout_forward(x, 0.5, 1, 2, 3)
        got = _core.dropout_forward(x, 0.5, 1, 2, 3, 0, x)
        assert got[0] is x
        assert_same_bits(got, (y, mask))


@needs_guard_pages
@each_dtype
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, dtype, place):
    for shape in SHAPES:
        x = real(0, shape, dtype)
        y, mask = guarded_empty(shape, dtype, place), guarded_empty(shape, dtype, place)
        _core.dropout_forward(guarded(x, place), 0.5, 1, 2, 3, 4, y, mask)
        assert_same_bits((y, mask), ops.dropout_forward(x, 0.5, 1, 2, 3, 4))
        dx = guarded_empty(shape, dtype, place)
        _core.dropout_backward(guarded(x, place), mask, dx)
        assert_same_bits(dx, x * mask)
