"""Losses with their gradients."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SHAPES = [(32, 2), (128, 10), (1024, 10), (128, 1000)]


def run(speed, name, z, target, *more):
    f, twin = (getattr(module, name) for module in (ops, reference))
    agree(f(z, target, *more), twin(z, target, *more), 1e-5)
    speed(lambda: f(z, target, *more), lambda: twin(z, target, *more), moved=2 * z.nbytes + target.nbytes)


@pytest.mark.parametrize("B,C", SHAPES)
def bench_softmax_cross_entropy(speed, B, C):
    random = np.random.default_rng(0)
    z = random.standard_normal((B, C)).astype(np.float32)
    run(speed, "softmax_cross_entropy", z, random.integers(0, C, B))


@pytest.mark.parametrize("B,C", SHAPES)
def bench_softmax_cross_entropy_probabilities(speed, B, C):
    z, x = np.random.default_rng(0).standard_normal((2, B, C)).astype(np.float32)
    run(speed, "softmax_cross_entropy", z, reference.softmax_forward(x))


@pytest.mark.parametrize("B,O", [(100, 1), (256, 6), (128, 256)])
@pytest.mark.parametrize("name", ["binary_cross_entropy", "mean_squared_error", "pinball"])
def bench_elementwise_loss(speed, name, B, O):
    z, target = np.random.default_rng(0).random((2, B, O)).astype(np.float32)
    run(speed, name, z, target)
