"""The training engine on its own, without a trainer, and the three ways to make an epoch."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import _core
from fastbp._support import random_streams
from fastbp.training.engine import Engine, Minibatches
from fastbp.training.full_batch import FullBatch
from fastbp.training.in_core import InCore
from fastbp.training.python_loss import PythonLoss
from fastbp.training.settings import checked_settings
from fastbp.training.ways import chosen_way

ROWS, SIZE = 50, 8


def squares(output, target):
    return float(np.square(output).mean()), 2 * output / output.size


def network():
    return fb.Network(3, [fb.Dense(5, "tanh"), fb.Dense(2)], seed=1)


def settings(loss="softmax_cross_entropy", optimizer="adam", **changed):
    given = {"seed": 4, "n_threads": 1, "schedule": None, "clip_norm": None, "clip_value": None, "average": None}
    return checked_settings(loss, optimizer, **{**given, **changed})


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 3)).astype("float32"), rng.integers(0, 2, ROWS)


def way(*arguments, **changed):
    return chosen_way(network(), settings(*arguments, **changed))


def state(engine):
    counts, vectors = engine.snapshot()
    return {name: vector.tobytes() for name, vector in vectors.items()}, counts


def test_the_way_is_chosen_by_loss_and_optimizer():
    assert type(way()) is InCore and type(way(squares)) is PythonLoss
    for loss, inner in (("softmax_cross_entropy", InCore), (squares, PythonLoss)):
        chosen = way(loss, "lbfgs")
        assert type(chosen) is FullBatch and type(chosen.inner) is inner and chosen.engine is chosen.inner.engine
    with pytest.raises(ValueError, match="^clip_norm does not go with LBFGS"):
        way(optimizer="lbfgs", clip_norm=1.0)


REFUSED = {  # (loss, optimizer) -> the requirements that the way does not meet
    ("softmax_cross_entropy", "adam"): set(),
    (squares, "adam"): {"core_loss", "checkpoints"},
    ("softmax_cross_entropy", "lbfgs"): {"minibatches", "checkpoints"},
    (squares, "lbfgs"): {"core_loss", "minibatches", "checkpoints"},
}


@pytest.mark.parametrize("arguments", REFUSED, ids=["core", "python", "core, full batch", "python, full batch"])
def test_what_a_way_refuses(arguments):
    chosen = way(*arguments)
    calls = {
        "minibatches": lambda: chosen.require_minibatches("step"),
        "core_loss": lambda: chosen.require_core_loss("sample_weight"),
        "checkpoints": chosen.require_checkpoints,
    }
    for name, call in calls.items():
        if name in REFUSED[arguments]:
            with pytest.raises((TypeError, ValueError), match="LBFGS|loss that is a function|loss is a function"):
                call()
        else:
            call()


def test_an_epoch_of_the_engine_is_that_of_a_trainer():
    X, y = data()
    chosen = way(average=0.9)
    engine = chosen.engine
    checked = chosen.data("X", "y", X, y)
    order = _core.random_permutation(4, random_streams.shuffle(0), ROWS)
    updates, layer_squares, pauses = -(-ROWS // (2 * SIZE)), np.zeros(2), []
    with engine.updates:
        plan = engine.plan_for(checked.code, SIZE, whole=True)
        rates = engine.rates(updates)
        arguments = (plan, checked, order, Minibatches(SIZE, accumulate=2), rates, layer_squares)
        status = engine.run_epoch(*arguments, lambda: 1, lambda: pauses.append(engine.steps))
    engine.count_epoch(1.0)
    assert status == _core.OK and engine.updates.running is None and pauses == list(range(1, updates))
    trainer = fb.Trainer(network(), seed=4, n_threads=1, average=0.9)
    history = trainer.fit(X, y, batch_size=SIZE, accumulate=2)
    assert state(engine) == state(trainer.engine)
    assert np.sqrt(layer_squares / updates).tolist() == history["layer_gradient_norms"][0]
    assert engine.evaluate(checked) == trainer.evaluate(X, y)


def test_an_epoch_that_is_given_up_leaves_whole_updates():
    X, y = data()
    chosen = way()
    engine, checked = chosen.engine, chosen.data("X", "y", X, y)
    plan = engine.plan_for(checked.code, SIZE, whole=True)
    arguments = (plan, checked, None, Minibatches(SIZE), engine.rates(7), np.zeros(2))
    assert engine.run_epoch(*arguments, lambda: 3, lambda: True) is None
    assert engine.steps == 3 and engine.updates.running is None and engine.epochs == 0
    stepped = fb.Trainer(network(), seed=4, n_threads=1)
    for first in range(0, 3 * SIZE, SIZE):
        loss = stepped.step(X[first : first + SIZE], y[first : first + SIZE])
    assert state(engine) == state(stepped.engine) and engine.updates.last_loss == loss


def test_state_goes_to_another_engine():
    X, y = data()
    schedule = fb.schedules.ReduceOnPlateau(patience=1)
    trained, other = (way(average=0.5, schedule=schedule) for _ in range(2))
    for _ in range(3):
        trained.step(trained.data("x", "y", X, y))
    trained.engine.count_epoch(0.25)
    assert state(other.engine) != state(trained.engine)
    other.engine.restore(*trained.engine.snapshot())
    assert state(other.engine) == state(trained.engine)
    for mine, theirs in zip(other.engine.moments, trained.engine.moments, strict=True):
        assert not np.shares_memory(mine, theirs)


def test_plans_are_made_again_when_layers_freeze():
    engine = way().engine
    plan = engine.plan_for(0, SIZE)
    assert engine.plan_for(0, 3) is plan and not engine.some_frozen
    engine.net.freeze(0)
    assert engine.plan_for(0, SIZE) is not plan and engine.some_frozen and engine.planned is engine.net.steps


def test_an_engine_needs_a_loss_that_fits():
    with pytest.raises(ValueError, match="quantiles"):
        Engine(network(), settings(), fb.Pinball([0.1, 0.5, 0.9]), whole=False)
