"""Random numbers."""

import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SIZES = [1_000, 60_000, 1_000_000]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["random_bits", "random_uniform", "random_normal", "random_permutation"])
def bench_rng(speed, name, n):
    f, twin = (getattr(module, name) for module in (ops, reference))
    agree(f(1, 2, n), twin(1, 2, n), 1e-13 if name == "random_normal" else 0)
    speed(lambda: f(1, 2, n), lambda: twin(1, 2, n), moved=f(1, 2, n).nbytes)
