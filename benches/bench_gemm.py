"""Products: those of the nets, and one that fills the caches. The time of a call from Python, packing included."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

# M, K, N, transpose_a, transpose_b: x W, x^T dz and dz W^T of the layer (K or M or N are its batch, inputs, outputs).
SHAPES = [
    (28, 64, 32, False, False),
    (32, 64, 64, False, False),
    (64, 256, 784, False, False),
    (64, 784, 128, False, False),
    (784, 64, 128, True, False),
    (1024, 784, 10, False, False),
    (784, 1024, 10, True, False),
    (256, 256, 256, False, False),
    (256, 1024, 1024, False, False),
    (1024, 256, 1024, True, False),
    (256, 1024, 1024, False, True),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("M,K,N,transpose_a,transpose_b", SHAPES)
def bench_gemm(speed, M, K, N, transpose_a, transpose_b, dtype):
    random = np.random.default_rng(0)
    a = random.standard_normal((K, M) if transpose_a else (M, K)).astype(dtype)
    b = random.standard_normal((N, K) if transpose_b else (K, N)).astype(dtype)
    agree(
        ops.gemm(a, b, transpose_a, transpose_b),
        reference.gemm(a, b, transpose_a, transpose_b),
        64 * np.finfo(dtype).eps,
    )
    speed(
        lambda: ops.gemm(a, b, transpose_a, transpose_b),
        lambda: reference.gemm(a, b, transpose_a, transpose_b),
        flops=2 * M * K * N,
        dtype=dtype,
    )
