"""Updates of parameter vectors: of a tiny net, one that the second-level cache holds, and one that lies in memory."""

import numpy as np
import pytest

from fastbp import ops, reference
from fastbp.bench.verify import agree

SIZES = [4_610, 101_770, 1_863_690]  # parameters of 4-64-64-2, 784-128-10 and 784-1024-1024-10


def vectors(N, count):
    w, g, *state = np.random.default_rng(0).standard_normal((count, N)).astype(np.float32)
    return w, 0.01 * g, *(np.abs(s) for s in state)


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def bench_sgd_step(speed, N, momentum):
    ours = vectors(N, 3 if momentum else 2)
    theirs = [a.copy() for a in ours]
    more = {"momentum": momentum, "weight_decay": 0.0}
    ops.sgd_step(*ours, **more)
    reference.sgd_step(*theirs, **more)
    agree(tuple(ours), tuple(theirs), 1e-6)
    # w and v are read and written, g is read.
    moved = (5 if momentum else 3) * ours[0].nbytes
    speed(lambda: ops.sgd_step(*ours, **more), lambda: reference.sgd_step(*theirs, **more), moved=moved)


@pytest.mark.parametrize("N", SIZES)
def bench_adam_step(speed, N):
    ours = vectors(N, 4)
    theirs = [a.copy() for a in ours]
    ops.adam_step(*ours, 7)
    reference.adam_step(*theirs, 7)
    agree(tuple(ours), tuple(theirs), 1e-6)
    # w, m and v are read and written, g is read.
    moved = 7 * ours[0].nbytes
    speed(lambda: ops.adam_step(*ours, 7), lambda: reference.adam_step(*theirs, 7), moved=moved)
