"""Dropout: forward, which draws the mask, and backward."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SHAPES = [(32, 64), (128, 256), (256, 1024)]


@pytest.mark.parametrize("B,N", SHAPES)
def bench_dropout_forward(speed, B, N):
    x = np.random.default_rng(0).standard_normal((B, N)).astype(np.float32)
    f, twin = (lambda module=module: module.dropout_forward(x, 0.3, 1, 2, 3) for module in (ops, reference))
    agree(f()[0], twin()[0], 0)
    speed(f, twin, moved=3 * x.nbytes)


@pytest.mark.parametrize("B,N", SHAPES)
def bench_dropout_backward(speed, B, N):
    dy, x = np.random.default_rng(0).standard_normal((2, B, N)).astype(np.float32)
    mask = reference.dropout_forward(x, 0.3, 1, 2, 3)[1]
    agree(ops.dropout_backward(dy, mask), reference.dropout_backward(dy, mask), 0)
    speed(lambda: ops.dropout_backward(dy, mask), lambda: reference.dropout_backward(dy, mask), moved=3 * x.nbytes)
