"""The dense layer, forward and backward, for the layers of the nets."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

# B, I, O, activation
LAYERS = [
    (1, 64, 64, "relu"),
    (32, 64, 64, "relu"),
    (64, 784, 128, "relu"),
    (64, 784, 128, "tanh"),
    (1024, 784, 10, "identity"),
    (128, 256, 128, "sigmoid"),
    (256, 1024, 1024, "relu"),
]


def layer(B, I, O, dtype="float32"):
    random = np.random.default_rng(0)
    x = random.standard_normal((B, I)).astype(dtype)
    W = (random.standard_normal((I, O)) / np.sqrt(I)).astype(dtype)
    return x, W, random.standard_normal(O).astype(dtype)


@pytest.mark.parametrize("B,I,O,activation", LAYERS)
def bench_dense_forward(speed, B, I, O, activation):
    x, W, b = layer(B, I, O)
    agree(ops.dense_forward(x, W, b, activation), reference.dense_forward(x, W, b, activation), 1e-5)
    speed(
        lambda: ops.dense_forward(x, W, b, activation),
        lambda: reference.dense_forward(x, W, b, activation),
        flops=2 * B * I * O,
    )


@pytest.mark.parametrize("B,I,O,activation", LAYERS)
def bench_dense_backward(speed, B, I, O, activation):
    x, W, b = layer(B, I, O)
    y = reference.dense_forward(x, W, b, activation)
    dy = np.random.default_rng(1).standard_normal((B, O)).astype(np.float32)
    arguments = dy, x, W, y, activation
    agree(ops.dense_backward(*arguments), reference.dense_backward(*arguments), 1e-5)
    speed(lambda: ops.dense_backward(*arguments), lambda: reference.dense_backward(*arguments), flops=4 * B * I * O)
