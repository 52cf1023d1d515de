"""Arrays for the tests: awkward sizes, layouts and places in memory; distances; differences; instruction sets."""

import contextlib
import ctypes
import mmap
import sys

import numpy as np
import pytest

from fastbp import cpu

DTYPES = ("float32", "float64")
LANES = {"float32": 16, "float64": 8}  # a vector of the core has 64 bytes on every instruction set
BLOCK = 256  # FBP_BLOCK of src_c/fbp.h: the longest chain of a sum, and the rows of a block
FUSED = [isa for isa in cpu.available() if isa != "portable"]  # those that promise the same bits

# Lengths around the vectors, the groups of four of them that reductions take, and the block.
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
# The distance from the twin in float64, relative to the norm of the result.
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


# --------------------------------------------------------------------------------------------------- instruction sets


@contextlib.contextmanager
def using(isa):
    """Use an instruction set within a block."""
    before = cpu.isa()
    cpu.use(isa)
    try:
        yield
    finally:
        cpu.use(before)


needs_two_fused = pytest.mark.skipif(
    len(FUSED) < 2, reason="compares instruction sets with fused multiply-add, and this machine has one or none"
)


def assert_same_on_fused(function, *args, **kwargs):
    """The call returns the same bits on every instruction set with fused multiply-add."""
    results = []
    for isa in FUSED:
        with using(isa):
            results.append(function(*args, **kwargs))
    for isa, result in zip(FUSED[1:], results[1:], strict=True):
        assert_same_bits(result, results[0], f"{isa} and {FUSED[0]}")


# ------------------------------------------------------------------------------------------------------------- values


def real(seed, shape, dtype="float64", low=-1.0, high=1.0):
    """Numbers spread evenly over [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def magnitudes(dtype, count=4000):
    """Numbers of both signs and of every size the dtype has, subnormal ones too, their logarithms spread evenly."""
    info = np.finfo(dtype)
    lowest, highest = np.log2(info.smallest_subnormal), float(info.maxexp)
    sizes = np.exp2(np.random.default_rng(0).uniform(lowest, highest, count).astype(np.longdouble)).astype(dtype)
    sizes = sizes[np.isfinite(sizes)]
    return np.concatenate([sizes, -sizes])


def special(dtype):
    """Zeros, ones, the ends of the range of normal and of subnormal numbers; each with both signs. All finite."""
    info = np.finfo(dtype)
    sizes = np.array([0, info.smallest_subnormal, info.tiny, info.eps, 1, 1 + info.eps, 10, 1e4, info.max], dtype)
    return np.concatenate([sizes, -sizes])


# ------------------------------------------------------------------------------------------------- layouts and places


def misaligned(x):
    """A copy that starts one byte past an aligned address."""
    memory = bytearray(x.nbytes + 64)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % 64 + 1
    copy = np.frombuffer(memory, x.dtype, x.size, start).reshape(x.shape)
    copy[...] = x
    assert not copy.flags.aligned or x.size == 0 or x.itemsize == 1
    return copy


def shifted(x):
    """A copy that starts one element past a vector's boundary: aligned for its dtype and for nothing wider."""
    memory = np.empty(x.size + 128 // x.itemsize, x.dtype)
    start = -memory.ctypes.data % 64 // x.itemsize + 1
    copy = memory[start : start + x.size].reshape(x.shape)
    copy[...] = x
    return copy


def strided(x):
    """The same values, every second element of a larger array; what lies between is nan."""
    larger = np.full([2 * n for n in x.shape], np.nan if x.dtype.kind == "f" else np.array(-1).astype(x.dtype), x.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def reversed_in_memory(x):
    """The same values with negative strides."""
    backwards = tuple(slice(None, None, -1) for _ in x.shape)
    return np.ascontiguousarray(x[backwards])[backwards]


def read_only(x):
    copy = x.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = {
    "shifted": shifted,
    "misaligned": misaligned,
    "strided": strided,
    "reversed": reversed_in_memory,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "fortran": np.asfortranarray,
    "read-only": read_only,
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


# ---------------------------------------------------------------------------------------------------------- guard pages

# A read or a write past either end of such an array ends the process with a segmentation fault, and pytest then prints
# the test it was in. "end" has the array end at the forbidden page, "start" has it begin right after one.
PLACES = ("end", "start")

_PAGE = mmap.PAGESIZE
_LINUX_OR_MAC = sys.platform.startswith("linux") or sys.platform == "darwin"
needs_guard_pages = pytest.mark.skipif(not _LINUX_OR_MAC, reason="forbids pages with mprotect, which this system lacks")


def guarded(x, place):
    """A copy of x between two pages that the process may not touch, at the end or at the start of what it may."""
    pages = max(1, -(-x.nbytes // _PAGE))
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    offset = _PAGE if place == "start" else (pages + 1) * _PAGE - x.nbytes
    copy = np.frombuffer(memory, x.dtype, x.size, offset).reshape(x.shape)
    copy[...] = x
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    for page in (address, address + (pages + 1) * _PAGE):
        if mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    return copy


def guarded_empty(shape, dtype, place):
    """An array to write to, as `guarded`; full of nan, so that what is not written shows."""
    return guarded(np.full(shape, np.nan, dtype), place)


# -------------------------------------------------------------------------------------------------------- comparisons


def flat(result):
    """What an operation returned, a number, an array or a tuple of them, as a list of arrays."""
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def bits(x):
    """The bits of a real array as integers, every nan as the same one: which nan it is, processors may choose."""
    x = np.ascontiguousarray(x)
    if x.dtype.kind != "f":
        return x
    return np.where(np.isnan(x), np.array(np.nan, x.dtype), x).view(f"u{x.itemsize}")


def assert_same_bits(got, expected, what=""):
    """Equal dtypes, shapes and bits, signs of zeros included."""
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected), what
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype and g.shape == e.shape, f"{what}: {g.dtype} {g.shape}, {e.dtype} {e.shape}"
        differ = np.flatnonzero(bits(g) != bits(e))
        if len(differ):
            first = tuple(int(i) for i in np.unravel_index(differ[0], g.shape))
            raise AssertionError(f"{what}: {len(differ)} of {g.size} differ, {first} is {g[first]!r} and {e[first]!r}")


def distance(got, expected):
    """|got - expected| / |expected| in the Euclidean norm; inf when a nan or an inf is only in one of them."""
    got, expected = np.asarray(got, np.float64).ravel(), np.asarray(expected, np.float64).ravel()
    assert got.shape == expected.shape
    if not got.size:
        return 0.0
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return np.inf
    error, norm = np.linalg.norm(got[finite] - expected[finite]), np.linalg.norm(expected[finite])
    return error / norm if norm else np.inf if error else 0.0


def assert_close(got, expected, dtype, tolerance=None):
    """Within the tolerance for the dtype of the twin's result in float64, part by part, shapes and dtypes right."""
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        assert g.dtype == dtype or g.ndim == 0  # a loss is a Python float
        assert distance(g, e) <= (TOLERANCE[dtype] if tolerance is None else tolerance)


WIDER = {"float32": np.float64, "float64": np.longdouble}


def wider(dtype):
    """A dtype to compute in what `ulps` compares with; the test is skipped where there is none."""
    if np.finfo(WIDER[dtype]).nmant < np.finfo(dtype).nmant + 11:
        pytest.skip("measures float64 against a wider long double, which this system does not have")
    return WIDER[dtype]


def ulps(got, exact):
    """Errors in units in the last place of the exact results, those of subnormal results in the smallest number."""
    info = np.finfo(got.dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = exact.astype(got.dtype)
        _, exponent = np.frexp(exact)
        exponent = np.where(exact == 0, info.minexp, np.maximum(exponent - 1, info.minexp))
        unit = np.ldexp(np.ones_like(exact), exponent - info.nmant)
        error = np.abs(got.astype(exact.dtype) - exact) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(np.isfinite(rounded) & np.isfinite(got), error, np.where(same, 0, np.inf)).astype(float)


# -------------------------------------------------------------------------------------------------------- differences


def central_difference(f, x, h=1e-4):
    """df_j/dx_i of a smooth f, with the shape of f(x) and then of x; to about 1e-11, by the formula of order four."""
    columns = []
    for i in range(x.size):
        at = []
        for step in (-2, -1, 1, 2):
            there = x.copy()
            there.flat[i] += step * h
            at.append(np.asarray(f(there), np.float64))
        columns.append((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h))
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *x.shape)
