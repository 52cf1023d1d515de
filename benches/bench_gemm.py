"""Products: those of the nets, and some that fill the caches, beside OpenBLAS (through NumPy) and PyTorch.

The time of a call from Python, packing included. The libraries take turns, so that all meet the same machine.
"""

from time import perf_counter

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)

# M, K, N, transpose_a, transpose_b: x W, x^T dz and dz W^T of the layer (K or M or N are its batch, inputs, outputs).
SHAPES = [
    (28, 64, 32, False, False),
    (32, 64, 64, False, False),
    (64, 256, 784, False, False),
    (64, 784, 128, False, False),
    (784, 64, 128, True, False),
    (1024, 784, 10, False, False),
    (784, 1024, 10, True, False),
    (256, 1024, 1024, False, False),
    (1024, 256, 1024, True, False),
    (256, 1024, 1024, False, True),
]
# M, N, K: all three products.
CUBES = [
    (64, 64, 64),
    (96, 200, 300),
    (256, 256, 256),
    (512, 512, 512),
    (784, 1024, 256),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
]
SHAPES += [(M, K, N, *kind) for M, N, K in CUBES for kind in [(False, False), (True, False), (False, True)]]


def best_times(calls, rounds=9, seconds=0.004):
    """The best time of a call of each function; they take turns, each for about `seconds` at a time."""
    best = [np.inf] * len(calls)
    repeats = []
    for call in calls:
        call()
        started = perf_counter()
        call()
        repeats.append(max(1, int(seconds / (perf_counter() - started))))
    for _ in range(rounds):
        for i, call in enumerate(calls):
            started = perf_counter()
            for _ in range(repeats[i]):
                call()
            best[i] = min(best[i], (perf_counter() - started) / repeats[i])
    return best


def product(M, K, N, transpose_a, transpose_b, dtype):
    """The same product by fastbp, NumPy and, where it is installed, PyTorch: names and functions."""
    random = np.random.default_rng(0)
    a = random.standard_normal((K, M) if transpose_a else (M, K)).astype(dtype)
    b = random.standard_normal((N, K) if transpose_b else (K, N)).astype(dtype)
    A, B = a.T if transpose_a else a, b.T if transpose_b else b
    calls = {"fastbp": lambda: ops.gemm(a, b, transpose_a, transpose_b), "OpenBLAS": lambda: A @ B}
    if torch is not None:
        A_, B_ = torch.from_numpy(A), torch.from_numpy(B)
        calls["PyTorch"] = lambda: A_ @ B_
    agree(calls["fastbp"](), reference.gemm(a, b, transpose_a, transpose_b), 64 * np.finfo(dtype).eps)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("M,K,N,transpose_a,transpose_b", SHAPES)
def bench_gemm(speed, M, K, N, transpose_a, transpose_b, dtype):
    calls = product(M, K, N, transpose_a, transpose_b, dtype)
    more = {}
    if speed.enabled:
        times = dict(zip(calls, best_times(list(calls.values()))))
        more = {f"{name} us": f"{1e6 * seconds:.2f}" for name, seconds in times.items() if name != "fastbp"}
        more["peer ratio"] = f"{min(times[name] for name in times if name != 'fastbp') / times['fastbp']:.2f}"
    speed(calls["fastbp"], flops=2 * M * K * N, dtype=dtype, **more)
