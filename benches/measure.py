"""Clocks, cores, and what the machine can do."""

import contextlib
import ctypes
import functools
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import fastbp as fb
from fastbp import _core

# --------------------------------------------------------------------------------------------------------- cores

ALL_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))


@contextlib.contextmanager
def one_core():
    """Within: this thread on one core (FASTBP_BENCH_CORE, or the last it may use) and NumPy on one thread."""
    core = int(os.environ.get("FASTBP_BENCH_CORE", ALL_CORES[-1]))
    can_pin = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if can_pin else None
    if can_pin:
        os.sched_setaffinity(0, {core})
    threads = numpy_threads(1)
    try:
        yield core if can_pin else None
    finally:
        if can_pin:
            os.sched_setaffinity(0, before)
        if threads:
            numpy_threads(threads)


@functools.cache
def _openblas():
    """OpenBLAS's (get, set) of the number of threads, or None when NumPy brings another library."""
    maps = Path("/proc/self/maps")
    loaded = {line.split()[-1] for line in maps.read_text().splitlines() if "blas" in line} if maps.exists() else ()
    for path in loaded:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", "", "_64"):
                with contextlib.suppress(AttributeError):
                    functions = [getattr(library, f"{prefix}_{verb}_num_threads{suffix}") for verb in ("get", "set")]
                    return functions
    return None


def numpy_threads(count):
    """Let NumPy's products use so many threads; return how many it was before, or None when that cannot be changed
    from here (then OMP_NUM_THREADS and its like decide)."""
    found = _openblas()
    if found is None:
        return None
    get, set_ = found
    before = get()
    set_(count)
    return before


# --------------------------------------------------------------------------------------------------------- clocks


def seconds_a_call(f, seconds=0.05, rounds=5):
    """Best and median time of one call, from `rounds` rounds that take about `seconds` together."""
    f()
    calls = 1
    while True:
        started = perf_counter()
        for _ in range(calls):
            f()
        taken = perf_counter() - started
        if taken > seconds / rounds or calls > 1 << 24:
            break
        calls = max(2 * calls, int(calls * seconds / rounds / max(taken, 1e-9)))
    times = [taken / calls]
    for _ in range(rounds - 1):
        started = perf_counter()
        for _ in range(calls):
            f()
        times.append((perf_counter() - started) / calls)
    return min(times), statistics.median(times)


# ---------------------------------------------------------------------------------------- what the machine can do

ISA_FLAGS = {
    "avx512": (64, ["-mavx512f", "-mprefer-vector-width=512", "-mfma"]),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "neon": (16, []),
    "portable": (16, []),
}


class Peak:
    """Multiply-add rate of one core: `gflops`, counting two a multiply-add, and `source`, how it was found."""

    def __init__(self, gflops, source):
        self.gflops, self.source = gflops, source


@functools.cache
def peak(dtype="float32"):
    """The multiply-add peak of this core with the instruction set in use.

    By a probe of its own (peak.c), built with the machine's C compiler. Without one the C core's own product of
    matrices in the second-level cache stands in: it is less, so that shares come out too high, by a tenth or so.
    """
    return _probed_peak(dtype) or _product_peak(dtype)


def _probed_peak(dtype):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    vector, flags = ISA_FLAGS[_core.isa()]
    real, ctype = ("float", ctypes.c_float) if dtype == "float32" else ("double", ctypes.c_double)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "peak.so")
        command = [compiler, "-O3", "-shared", "-fPIC", *flags, f"-DREAL={real}", f"-DVECTOR={vector}"]
        command += [str(Path(__file__).with_name("peak.c")), "-o", str(library)]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        multiply_adds = ctypes.CDLL(str(library)).multiply_adds
    multiply_adds.restype = ctypes.c_double
    result = ctype()
    count = multiply_adds(100_000, ctypes.byref(result))
    best, _ = seconds_a_call(lambda: multiply_adds(100_000, ctypes.byref(result)), 0.3, 60)
    return Peak(2e-9 * count / best, "a probe in registers")


def _product_peak(dtype):
    M, K, N = 112, 256, 128
    a, b = np.ones((M, K), dtype), np.ones((K, N), dtype)
    c = np.empty((M, N), dtype)
    best, _ = seconds_a_call(lambda: _core.gemm(a, b, False, False, c), 0.3, 60)
    return Peak(2e-9 * M * K * N / best, "a product in the second-level cache")


@functools.cache
def bandwidth():
    """Bytes a second between one core and memory: c = a + b over arrays that no cache holds."""
    a, b, c = (np.ones(1 << 24, np.float32) for _ in range(3))
    best, _ = seconds_a_call(lambda: _core.add(a, b, c), 0.5, 10)
    return 3 * a.nbytes / best


# ----------------------------------------------------------------------------------------------------- verification


def agree(got, expected, tolerance):
    """Raise unless arrays, or tuples of them, differ by at most `tolerance` times the largest element expected."""
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected):
            agree(one, other, tolerance)
        return
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}; expected {expected.shape}"
    difference = np.abs(got.astype(np.float64) - expected).max()
    scale = np.abs(expected.astype(np.float64)).max()
    assert difference <= tolerance * scale, f"differs by {difference:.2e}; the largest element is {scale:.2e}"


# ------------------------------------------------------------------------------------------------------------- words


def machine():
    """One line on the machine and the versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{name}, {len(ALL_CORES)} cores, load {load}; fastbp {fb.__version__} {_core.isa()}, NumPy {np.__version__}"


def table(header, rows):
    """Text in columns: to the right, but for the first and those that open with a bar."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 or cell.startswith("|") else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
