"""The limits of the machine, and the libraries' instruction sets."""

import ast
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fastbp import _core
from fastbp.bench.timing import seconds_a_call

ISA_FLAGS = {
    "avx512": (64, ["-mavx512f", "-mprefer-vector-width=512", "-mfma"]),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "neon": (16, []),
    "portable": (16, []),
}


class Peak:
    """Multiply-add rate of one core: `gflops`, two operations a multiply-add, and `source`, how it was measured."""

    def __init__(self, gflops, source):
        self.gflops, self.source = gflops, source


@functools.cache
def peak(dtype="float32"):
    """The multiply-add peak of this core with the instruction set in use. After peak.cache_clear() it is measured anew.

    Measured by a probe (peak.c), built with the machine's C compiler. Without a compiler, fastbp's product of matrices
    in the second-level cache replaces it; its rate is lower, so shares of the peak come out a tenth or so too high.
    """
    run, count, source = _probe(dtype, _core.isa()) or _product(dtype)
    best, _ = seconds_a_call(run, 0.3, 60)
    return Peak(2e-9 * count / best, source)


@functools.cache
def _probe(dtype, isa):
    """(function to time, its number of multiply-adds, description), or None without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    vector, flags = ISA_FLAGS[isa]
    real, ctype = ("float", ctypes.c_float) if dtype == "float32" else ("double", ctypes.c_double)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "peak.so")
        command = [compiler, "-O3", "-shared", "-fPIC", *flags, f"-DREAL={real}", f"-DVECTOR={vector}"]
        command += [str(Path(__file__).with_name("peak.c")), "-o", str(library)]
        if subprocess.run(command, capture_output=True).returncode:
            return None
        multiply_adds = ctypes.CDLL(str(library)).multiply_adds
    multiply_adds.restype = ctypes.c_double
    result = ctypes.byref(ctype())
    return lambda: multiply_adds(100_000, result), multiply_adds(100_000, result), "a probe in registers"


def _product(dtype):
    M, K, N = 112, 256, 128
    a, b = np.ones((M, K), dtype), np.ones((K, N), dtype)
    c = np.empty((M, N), dtype)
    return lambda: _core.gemm(a, b, False, False, c), M * N * K, "a product in the second-level cache"


@functools.cache
def bandwidth():
    """Bytes a second between one core and memory: c = a + b over arrays larger than any cache."""
    a, b, c = (np.ones(1 << 24, np.float32) for _ in range(3))
    best, _ = seconds_a_call(lambda: _core.add(a, b, c), 0.5, 10)
    return 3 * a.nbytes / best


def caches():
    """Bytes of the first core's caches, rising; empty where they are not known."""
    sizes = set()
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.add(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0))
    return sorted(sizes)


def numpy_isa() -> str:
    """The highest instruction set that NumPy's own loops use in this process, by NumPy's name for it."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*extensions["baseline"], *extensions["found"]][-1]


def numpy_avx512() -> list[str]:
    """The instruction sets with AVX-512 among those that NumPy's loops use in this process, by NumPy's names."""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return [name for name in found if name == "X86_V4" or name.startswith("AVX512")]


def blas() -> list[str]:
    """The BLAS libraries loaded in this process, each with its version and the processor its kernels are for.

    Empty where threadpoolctl, which finds them, is not installed.
    """
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    return [
        f"{entry['internal_api']} {entry['version']} {entry.get('architecture', '')}".rstrip()
        for entry in threadpool_info()
        if entry["user_api"] == "blas"
    ]


def build_flags():
    """The compiler flags in setup.py for the instruction set in use (without those of CFLAGS)."""
    found = {}
    for statement in ast.parse((Path(__file__).parent.parent / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id in ("C_FLAGS", "ISA_FLAGS"):
            found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return [*found["C_FLAGS"], *found["ISA_FLAGS"][_core.isa()]]
