"""On which cores, and how many of them, things are timed."""

import contextlib
import ctypes
import functools
import os
from pathlib import Path

ALL_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))


def bench_core():
    """The core for what runs on one: FASTBP_BENCH_CORE, or the last that this process may use."""
    return int(os.environ.get("FASTBP_BENCH_CORE", ALL_CORES[-1]))


@contextlib.contextmanager
def one_core():
    """Within: this thread on one core, `bench_core`, and NumPy on one thread."""
    core = bench_core()
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
