"""Softmax of rows, forward and backward."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SHAPES = [(32, 2), (128, 10), (1024, 10), (128, 1000)]


@pytest.mark.parametrize("B,C", SHAPES)
def bench_softmax_forward(speed, B, C):
    x = np.random.default_rng(0).standard_normal((B, C)).astype(np.float32)
    agree(ops.softmax_forward(x), reference.softmax_forward(x), 1e-6)
    speed(lambda: ops.softmax_forward(x), lambda: reference.softmax_forward(x), moved=2 * x.nbytes)


@pytest.mark.parametrize("B,C", SHAPES)
def bench_softmax_backward(speed, B, C):
    dy, x = np.random.default_rng(0).standard_normal((2, B, C)).astype(np.float32)
    y = reference.softmax_forward(x)
    agree(ops.softmax_backward(dy, y), reference.softmax_backward(dy, y), 1e-5)
    speed(lambda: ops.softmax_backward(dy, y), lambda: reference.softmax_backward(dy, y), moved=3 * x.nbytes)
