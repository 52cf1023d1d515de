"""Layer norm and batch norm, forward and backward."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SHAPES = [(32, 64), (128, 50), (128, 256), (256, 1024)]


def arrays(B, N):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((B, N), (B, N), N, N)]


@pytest.mark.parametrize("B,N", SHAPES)
@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm"])
def bench_norm_forward(speed, norm, B, N):
    f, twin = (getattr(module, f"{norm}_forward") for module in (ops, reference))
    x, _, gamma, beta = arrays(B, N)
    agree(f(x, gamma, beta)[0], twin(x, gamma, beta)[0], 1e-5)
    speed(lambda: f(x, gamma, beta), lambda: twin(x, gamma, beta), moved=2 * x.nbytes)


@pytest.mark.parametrize("B,N", SHAPES)
@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm"])
def bench_norm_backward(speed, norm, B, N):
    f, twin = (getattr(module, f"{norm}_backward") for module in (ops, reference))
    x, dy, gamma, beta = arrays(B, N)
    saved = getattr(reference, f"{norm}_forward")(x, gamma, beta)[1:]
    agree(f(dy, x, *saved, gamma)[0], twin(dy, x, *saved, gamma)[0], 1e-5)
    speed(lambda: f(dy, x, *saved, gamma), lambda: twin(dy, x, *saved, gamma), moved=3 * x.nbytes)
