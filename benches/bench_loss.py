"""Losses with their gradients."""

import numpy as np
import pytest

from fastbp import losses, ops, reference
from fastbp.bench.verify import agree

SHAPES = [(32, 2), (128, 10), (1024, 10), (128, 1000)]
ELEMENT_WISE = [cls.name for cls in losses.LOSSES if cls.mean_over == "elements"]


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


@pytest.mark.parametrize("B,C", SHAPES)
@pytest.mark.parametrize(
    "more", [("mean", 0.1), ("mean", 0.1, "classes"), ("mean", 0.0, "classes"), ("mean", 0.0, None, "rows")]
)
def bench_softmax_cross_entropy_with_weights(speed, B, C, more):
    random = np.random.default_rng(0)
    z = random.standard_normal((B, C)).astype(np.float32)
    weights = {"classes": random.random(C), "rows": random.random(B)}
    more = [weights[each] if each in ("classes", "rows") else each for each in more]
    run(speed, "softmax_cross_entropy", z, random.integers(0, C, B), *more)


@pytest.mark.parametrize("B,O", [(100, 1), (256, 6), (128, 256)])
@pytest.mark.parametrize("name", ELEMENT_WISE)
def bench_elementwise_loss(speed, name, B, O):
    z, target = np.random.default_rng(0).random((2, B, O)).astype(np.float32)
    run(speed, name, z, target)


@pytest.mark.parametrize("B,O", [(100, 1), (256, 6), (128, 256)])
def bench_binary_cross_entropy_with_pos_weight(speed, B, O):
    z, target = np.random.default_rng(0).random((2, B, O)).astype(np.float32)
    run(speed, "binary_cross_entropy", z, target, "mean", 3.0)
