"""The cores and the threads that benchmarks run on."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

ALL_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def bench_core() -> int:
    """The core for benchmarks on one core: FASTBP_BENCH_CORE, or the last core that this process may use."""
    return int(os.environ.get("FASTBP_BENCH_CORE", ALL_CORES[-1]))


@contextlib.contextmanager
def one_core() -> Iterator[int | None]:
    """A context in which this thread runs on one core, `bench_core`, and NumPy on one thread.

    Its value is the core, or None where the system cannot pin a thread.
    """
    core = bench_core()
    can_pin = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if can_pin else set()
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
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """OpenBLAS's functions that get and set the number of threads; None when NumPy uses another library."""
    maps = Path("/proc/self/maps")
    loaded = {line.split()[-1] for line in maps.read_text().splitlines() if "blas" in line} if maps.exists() else set()
    for path in loaded:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", "", "_64"):
                with contextlib.suppress(AttributeError):
                    get, set_ = (getattr(library, f"{prefix}_{verb}_num_threads{suffix}") for verb in ("get", "set"))
                    return get, set_
    return None


def numpy_threads(count: int) -> int | None:
    """Set the number of threads of NumPy's products and return the number before.

    None when it cannot be set from here: then OMP_NUM_THREADS and similar variables decide.
    """
    found = _openblas()
    if found is None:
        return None
    get, set_ = found
    before = get()
    set_(count)
    return before
