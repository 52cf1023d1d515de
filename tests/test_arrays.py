"""The tests' own tools: each finds what it is there to find."""

import os
import subprocess
import sys

import numpy as np
import pytest
from arrays import (
    DTYPES,
    FUSED,
    LAYOUTS,
    PLACES,
    TOLERANCE,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    distance,
    guarded,
    needs_guard_pages,
    needs_two_fused,
    real,
    shifted,
    ulps,
    using,
    wider,
)

from fastbp import cpu

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@each_dtype
def test_a_single_bit_is_seen(dtype):
    x = real(0, (5, 7), dtype)
    for changed in (np.nextafter(x[3, 4], x.dtype.type(2)), -x[3, 4], np.nan, np.inf):
        y = x.copy()
        y[3, 4] = changed
        with pytest.raises(AssertionError, match=r"1 of 35 differ, \(3, 4\)"):
            assert_same_bits(y, x)
    with pytest.raises(AssertionError):
        assert_same_bits(-np.zeros(3, dtype), np.zeros(3, dtype))
    with pytest.raises(AssertionError):
        assert_same_bits(x.ravel(), x)
    with pytest.raises(AssertionError):
        assert_same_bits(np.zeros(3, "float64"), np.zeros(3, "float32"))
    with pytest.raises(AssertionError):
        assert_same_bits((1.0, x), (1.0 + 2**-52, x))
    assert_same_bits((x, np.array([np.nan])), (x.copy(), -np.array([np.nan])))


@each_dtype
def test_distances(dtype):
    x = np.array([3, 4], dtype)
    assert distance(x, x) == 0
    assert distance(np.array([3, 4.5]), np.array([3.0, 4.0])) == 0.1
    for bad in (np.nan, np.inf):
        assert distance(np.array([3, bad], dtype), x) == np.inf
        assert distance(x, np.array([3, bad], dtype)) == np.inf
        assert distance(np.array([4, bad], dtype), np.array([4, bad], dtype)) == 0
    assert distance(np.array([1e-30]), np.array([0.0])) == np.inf
    assert_close(x, x.astype("float64"), dtype)
    for wrong in (x * x.dtype.type(1 + 2 * max(TOLERANCE[dtype], np.finfo(dtype).eps)), x[:1], x.astype("float16")):
        with pytest.raises(AssertionError):
            assert_close(wrong, x.astype("float64"), dtype)


@each_dtype
def test_units_in_the_last_place(dtype):
    wide = wider(dtype)
    info = np.finfo(dtype)
    got = np.array([1, 1.5, 2, -4, info.tiny, info.smallest_subnormal, 0], dtype)
    unit = np.array([info.eps, info.eps, 2 * info.eps, 4 * info.eps, *[info.smallest_subnormal] * 3], wide)
    towards_zero = got * unit < 0  # of these n = 1 goes; just below a power of two the unit is half as large
    power_of_two = np.array([1, 0, 1, 1, 0, 0, 0], bool)
    for n in (0, 1, -1, 2.5):
        halved = power_of_two & (towards_zero if n > 0 else (got > 0) & (n < 0))
        assert ulps(got, got.astype(wide) + n * unit).tolist() == (abs(n) * (1 + halved)).tolist()
    got, exact = np.array([np.inf, np.nan, np.inf, 1], dtype), np.array([np.inf, np.nan, 1, np.nan], wide)
    assert ulps(got, exact).tolist() == [0, 0, np.inf, np.inf]


def test_differences_of_known_functions():
    x = np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(central_difference(lambda x: np.exp(x).sum(), x, 1e-3), np.exp(x), rtol=1e-10)
    np.testing.assert_allclose(central_difference(np.sin, x, 1e-3), np.diag(np.cos(x)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_what_they_say(layout):
    x = real(0, (19, 5))
    y = LAYOUTS[layout](x)
    assert np.array_equal(x, y) and not np.shares_memory(x, y)
    flags = y.flags
    assert {
        "shifted": flags.c_contiguous and flags.aligned and y.ctypes.data % 16 == 8,
        "misaligned": flags.c_contiguous and not flags.aligned,
        "strided": not flags.forc and y.strides[1] == 16,
        "reversed": y.strides[0] < 0 and y.strides[1] < 0,
        "transposed": flags.f_contiguous and not flags.c_contiguous,
        "fortran": flags.f_contiguous and not flags.c_contiguous,
        "read-only": not flags.writeable,
    }[layout]
    assert shifted(x.astype("float32")).ctypes.data % 8 == 4


TOUCH = """
import ctypes, sys
import numpy as np
from arrays import guarded
place, offset = sys.argv[1], int(sys.argv[2])
x = guarded(np.arange(5.0), place)
assert x.tolist() == [0, 1, 2, 3, 4]
ctypes.memmove(ctypes.create_string_buffer(1), x.ctypes.data + offset, 1)
"""


@needs_guard_pages
@pytest.mark.parametrize("place", PLACES)
def test_a_touch_beyond_a_guard_page_ends_the_process(place):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for offset in (0, 39, 40 if place == "end" else -1):
        done = subprocess.run([sys.executable, "-c", TOUCH, place, str(offset)], env=environment, capture_output=True)
        assert (done.returncode == 0) == (0 <= offset < 40), done.stderr


@needs_guard_pages
@pytest.mark.parametrize("shape", [0, 1, (3, 5), (40, 300)])
def test_guarded_arrays_hold_their_values(shape):
    for dtype in (*DTYPES, "int64"):
        x = np.rint(10 * real(0, shape)).astype(dtype)
        for place in PLACES:
            assert_same_bits(guarded(x, place), x)
            assert guarded(x, place).flags.carray or x.size == 0


@needs_two_fused
def test_instruction_sets_that_differ_are_seen():
    before = cpu.isa()
    with pytest.raises(AssertionError, match=f"{FUSED[1]} and {FUSED[0]}"):
        assert_same_on_fused(lambda: float(cpu.isa() == FUSED[0]))
    assert cpu.isa() == before
    with pytest.raises(KeyError), using(FUSED[0]):
        raise KeyError
    assert cpu.isa() == before


def test_the_fixture_forces_the_instruction_set(isa):
    assert cpu.isa() == isa
