"""Activations and their derivatives, on values in the second-level cache."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

NAMES = ["relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "gelu_tanh", "silu"]
FROM_Z = ["gelu", "gelu_tanh", "silu"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def bench_activation_forward(speed, name, dtype):
    f, twin = (getattr(module, f"{name}_forward") for module in (ops, reference))
    x = np.random.default_rng(0).standard_normal((128, 256)).astype(dtype)
    agree(f(x), twin(x), 8 * np.finfo(dtype).eps)
    speed(lambda: f(x), lambda: twin(x), moved=2 * x.nbytes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def bench_activation_backward(speed, name, dtype):
    f, twin = (getattr(module, f"{name}_backward") for module in (ops, reference))
    random = np.random.default_rng(0)
    dy, x = random.standard_normal((2, 128, 256)).astype(dtype)
    y = x if name in FROM_Z else getattr(reference, f"{name}_forward")(x)
    agree(f(dy, y), twin(dy, y), 8 * np.finfo(dtype).eps)
    speed(lambda: f(dy, y), lambda: twin(dy, y), moved=3 * y.nbytes)
