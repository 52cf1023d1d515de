"""Passes over a vector: norm, finiteness, sum."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SIZES = [4_610, 101_770, 1_863_690]


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("name", ["sum_squares", "all_finite"])
def bench_reduce(speed, name, N):
    f, twin = (getattr(module, name) for module in (ops, reference))
    x = np.random.default_rng(0).standard_normal(N).astype(np.float32)
    agree(float(f(x)), float(twin(x)), 1e-4)
    speed(lambda: f(x), lambda: twin(x), moved=x.nbytes)


@pytest.mark.parametrize("N", SIZES)
def bench_add(speed, N):
    a, b = np.random.default_rng(0).standard_normal((2, N)).astype(np.float32)
    agree(ops.add(a, b), reference.add(a, b), 0)
    speed(lambda: ops.add(a, b), lambda: reference.add(a, b), moved=3 * a.nbytes)
