"""Training runs update by update: 50 of them end where PyTorch's do, from PyTorch's own first weights, for every
optimiser, schedule, loss and kind of layer; and golden runs, stored, keep the check alive where there is no PyTorch.

The runs, and PyTorch's side of them, are described in golden/make_trajectories.py.
"""

import json
import math

import numpy as np
import pytest
from golden import make_trajectories as make

import fastbp as fb
from fastbp import reference
from fastbp.layers import Layer
from fastbp.losses import Loss
from fastbp.optimizers import Optimizer
from fastbp.schedules import Schedule

GOLDEN = json.loads(make.PATH.read_text())["runs"]
UPDATES = 50
HOMES = {"compiled": fb, "twin": reference}
# Runs that `step` can make: it knows nothing of epochs, nor of several minibatches to an update.
STEPS = [
    name
    for name, run in make.RUNS.items()
    if not run.get("accumulate") and run.get("schedule", {"unit": "step"}).get("unit") == "step"
]


def trainer_of(home, run, parameters, dtype="float64"):
    """A trainer of the run, its rows, their targets and their weights."""
    x, target, weights = make.data(run)
    net = home.Network(run["inputs"], [Layer.from_dict(record) for record in run["layers"]], dtype=dtype)
    net.parameters[...] = parameters
    schedule = None if run.get("schedule") is None else Schedule.from_dict(run["schedule"])
    options = {name: run.get(name) for name in ("clip_norm", "clip_value", "average")}
    loss, optimizer = Loss.from_dict(run["loss"]), Optimizer.from_dict(run["optimizer"])
    trainer = home.Trainer(net, loss, optimizer, schedule=schedule, **options)
    target = np.array(target) if run["target"] == "labels" else np.array(target, dtype)
    return trainer, np.array(x, dtype), target, None if weights is None else np.array(weights)


def distance(a, b):
    """Relative to the norm of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def per_update(trainer, run, x, target, weights, updates):
    """The losses of so many updates, each an epoch of its own."""
    losses, groups = [], make.groups(run)
    for update in range(updates):
        group = groups[update % len(groups)]
        rows = slice(group[0][0], group[-1][1])
        history = trainer.fit(
            x[rows], target[rows], batch_size=min(run["batch"], rows.stop - rows.start), shuffle=False,
            sample_weight=None if weights is None else weights[rows], accumulate=run.get("accumulate", 1),
        )  # fmt: skip
        losses += history["loss"]
    return losses


@pytest.mark.torch
@pytest.mark.parametrize("name", make.RUNS)
def test_the_same_as_pytorch(name):
    """50 updates in whole epochs: parameters, statistics and average, and every epoch's loss and gradient norm."""
    run = make.RUNS[name]
    an_epoch = len(make.groups(run))
    epochs = -(-UPDATES // an_epoch)
    theirs = make.train(run, updates=epochs * an_epoch)
    trainer, x, target, weights = trainer_of(fb, run, theirs["first"])
    how = {"batch_size": run["batch"], "accumulate": run.get("accumulate", 1), "shuffle": False}
    history = trainer.fit(x, target, epochs=epochs, sample_weight=weights, **how)
    assert trainer.steps == epochs * an_epoch >= UPDATES
    moved = distance(theirs["parameters"], theirs["first"])
    assert moved > 0.01, "a run that goes nowhere shows nothing"
    assert distance(trainer.net.parameters, theirs["parameters"]) <= 1e-10
    norms = np.reshape(theirs["gradient_norm"], (epochs, an_epoch))
    np.testing.assert_allclose(history["gradient_norm"], np.sqrt((norms**2).mean(axis=1)), rtol=1e-9)
    if theirs["statistics"]:
        assert distance(trainer.net.statistics, theirs["statistics"]) <= 1e-10
    else:
        assert trainer.net.statistics.size == 0
    if "average" in theirs:
        assert distance(trainer.averaged, theirs["average"]) <= 1e-10
        assert distance(trainer.averaged_network().parameters, theirs["average"]) <= 1e-10
    if "clip_norm" in run:
        assert max(theirs["gradient_norm"]) > run["clip_norm"], "a limit that does nothing shows nothing"


@pytest.mark.torch
@pytest.mark.parametrize("name", STEPS)
def test_steps_the_same_as_pytorch(name):
    """The same by `step`, which has a way of its own into the core; every update's loss."""
    run = make.RUNS[name]
    theirs = make.train(run, updates=20)
    trainer, x, target, weights = trainer_of(fb, run, theirs["first"])
    groups = make.groups(run)
    losses = []
    for update in range(20):
        ((start, end),) = groups[update % len(groups)]
        losses.append(
            trainer.step(x[start:end], target[start:end], sample_weight=None if weights is None else weights[start:end])
        )
    np.testing.assert_allclose(losses, theirs["loss"], rtol=1e-10, atol=1e-12)
    assert distance(trainer.net.parameters, theirs["parameters"]) <= 1e-10


# ------------------------------------------------------------------------------------------------------ golden values


def test_golden_runs_are_those_described():
    """trajectories.json was made from what make_trajectories.py says now."""
    assert {name: golden["run"] for name, golden in GOLDEN.items()} == {n: make.digest(r) for n, r in make.RUNS.items()}


@pytest.mark.parametrize("home, dtype", [("compiled", "float32"), ("compiled", "float64"), ("twin", "float64")])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name, home, dtype):
    """Ten updates, each an epoch: neither PyTorch nor any code of fastbp had a part in the values compared with."""
    run, golden = make.RUNS[name], GOLDEN[name]
    trainer, x, target, weights = trainer_of(HOMES[home], run, make.parameters(run), dtype)
    losses = per_update(trainer, run, x, target, weights, make.UPDATES)
    tolerance = {"float32": 2e-6, "float64": 1e-12}[dtype]
    if run["loss"]["kind"] in ("mean_absolute_error", "pinball") and run["optimizer"]["kind"] == "adam":
        tolerance *= 100  # sums of +-1 that are 0 but for rounding, of which Adam makes steps
    np.testing.assert_allclose(losses, golden["loss"], rtol=tolerance, atol=tolerance / 10)
    assert math.hypot(*trainer.net.parameters.tolist()) == pytest.approx(golden["norm"], rel=tolerance)
    if "statistics" in golden:
        assert math.hypot(*trainer.net.statistics.tolist()) == pytest.approx(golden["statistics"], rel=tolerance)
    if "average" in golden:
        assert math.hypot(*trainer.averaged.tolist()) == pytest.approx(golden["average"], rel=tolerance)


@pytest.mark.parametrize("name", ["Adam, plateau", "batch norm, GELU, Adam", "labels, rows weighted"])
def test_a_wrong_constant_is_seen(name):
    """The tester tested: a learning rate one part in a million off moves the golden losses past the tolerance."""
    run, golden = make.RUNS[name], GOLDEN[name]
    run = run | {"optimizer": run["optimizer"] | {"learning_rate": run["optimizer"]["learning_rate"] * (1 + 1e-6)}}
    trainer, x, target, weights = trainer_of(fb, run, make.parameters(run))
    losses = per_update(trainer, run, x, target, weights, make.UPDATES)
    assert losses[0] == pytest.approx(golden["loss"][0], rel=1e-12)
    assert not np.allclose(losses, golden["loss"], rtol=1e-9, atol=1e-10)


def test_every_class_has_a_run():
    """What is in the runs: every optimiser, schedule, loss and layer but those PyTorch cannot be compared in."""

    def kinds(record):
        if isinstance(record, dict):
            yield record.get("kind")
            for value in record.values():
                yield from kinds(value)
        elif isinstance(record, list):
            for value in record:
                yield from kinds(value)

    def named(base):
        for cls in base.__subclasses__():
            if cls.name:
                yield cls.name
            yield from named(cls)

    seen = {kind for run in make.RUNS.values() for kind in kinds(run)}
    missing = {name for base in (Layer, Loss, Optimizer, Schedule) for name in named(base)} - seen
    assert missing == {"dropout", "lbfgs"}, "dropout draws other numbers; L-BFGS is SciPy's"
