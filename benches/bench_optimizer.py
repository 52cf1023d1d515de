"""Updates of parameter vectors: of a tiny net, of one that fits in the second-level cache, and of one in memory."""

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


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("centered", [False, True])
def bench_rmsprop_step(speed, N, centered):
    w, g, v, mean = vectors(N, 4)
    ours = [w, g, 1 + v * v, None, np.tanh(mean) if centered else None]
    theirs = [None if a is None else a.copy() for a in ours]
    more = {"centered": centered}
    ops.rmsprop_step(*ours, **more)
    reference.rmsprop_step(*theirs, **more)
    agree(tuple(a for a in ours if a is not None), tuple(a for a in theirs if a is not None), 1e-5)
    # w, v and mean are read and written, g is read.
    moved = (7 if centered else 5) * w.nbytes
    speed(lambda: ops.rmsprop_step(*ours, **more), lambda: reference.rmsprop_step(*theirs, **more), moved=moved)


@pytest.mark.parametrize("N", SIZES)
def bench_adagrad_step(speed, N):
    ours = vectors(N, 3)
    theirs = [a.copy() for a in ours]
    ops.adagrad_step(*ours, 7)
    reference.adagrad_step(*theirs, 7)
    agree(tuple(ours), tuple(theirs), 1e-6)
    # w and v are read and written, g is read.
    speed(lambda: ops.adagrad_step(*ours, 7), lambda: reference.adagrad_step(*theirs, 7), moved=5 * ours[0].nbytes)


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("name", ["penalty", "clip_by_norm", "clip_by_value", "weight_average"])
def bench_around_the_update(speed, N, name):
    a, b = vectors(N, 2)
    limit = 1e30 if name == "clip_by_norm" else 0.1  # below a small limit nothing is left to do after the first call
    arrays, numbers, moved = {
        "penalty": ((a, b), (1e-4, 1e-4), 3),  # w and g are read, g is written
        "clip_by_norm": ((b,), (limit,), 1),  # g is read, and not scaled
        "clip_by_value": ((b,), (limit,), 2),
        "weight_average": ((a, b), (0.9,), 3),
    }[name]
    theirs = [x.copy() for x in arrays]
    ours, twin = getattr(ops, name), getattr(reference, name)
    ours(*arrays, *numbers)
    twin(*theirs, *numbers)
    agree(tuple(arrays), tuple(theirs), 1e-6)
    speed(lambda: ours(*arrays, *numbers), lambda: twin(*theirs, *numbers), moved=moved * a.nbytes)
