"""Checkpoints: a fit that is killed and started again ends with the same bits as one that never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference, schedules
from fastbp._support import storage
from fastbp.callbacks import Callback, Checkpoint, EarlyStopping, Log, MaxTime

# A fit with all that has a state: norms, dropout, moments, an average, a schedule that reacts, callbacks.
SCRIPT = """
import sys
import time
import numpy as np
import fastbp as fb
from fastbp.callbacks import Checkpoint, EarlyStopping, Log

def make(seed=3):
    layers = [fb.Dense(64, "relu"), fb.BatchNorm(), fb.Dropout(0.2), fb.Dense(64, "gelu"), fb.Dense(3)]
    schedule = fb.schedules.ReduceOnPlateau(0.7, patience=1)
    net = fb.Network(6, layers, seed=1)
    return fb.Trainer(net, optimizer=fb.Adam(3e-3), seed=seed, schedule=schedule, average=0.99)

def fit(trainer, epochs, *callbacks, **keywords):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 6)).astype("float32")
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
    y = keywords.pop("labels", np.copy)(y)
    settings = dict(batch_size=16, validation=0.2, metrics="accuracy") | keywords
    stopping = EarlyStopping("val_accuracy", patience=200)
    return trainer.fit(X, y, epochs=epochs, callbacks=[stopping, *callbacks], **settings)

if __name__ == "__main__":
    trainer = make()
    slowly = lambda run: time.sleep(float(sys.argv[4]))
    fit(trainer, int(sys.argv[2]), Checkpoint(sys.argv[1]), Log(sys.argv[1] + ".csv"), slowly)
    trainer.save(sys.argv[3])
"""
EPOCHS = 300
DROPPED = object()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script, and its functions."""
    path = tmp_path_factory.mktemp("checkpoint") / "script.py"
    path.write_text(SCRIPT)
    names = {"__name__": "script"}
    exec(compile(SCRIPT, str(path), "exec"), names)
    return path, names["make"], names["fit"]


@pytest.fixture(scope="module")
def uninterrupted(script):
    _, make, fit = script
    trainer = make()
    return trainer, fit(trainer, EPOCHS)


def same(trainer, history, uninterrupted):
    expected, its_history = uninterrupted
    for name in ("steps", "epochs"):
        assert getattr(trainer, name) == getattr(expected, name)
    for ours, theirs in (
        (trainer.net.parameters, expected.net.parameters),
        (trainer.net.statistics, expected.net.statistics),
        (trainer.averaged, expected.averaged),
        *zip(trainer.engine.moments, expected.engine.moments, strict=True),
    ):
        assert ours.tobytes() == theirs.tobytes()
    if history is not None:
        drop = {"seconds"}
        assert {k: v for k, v in history.items() if k not in drop} == {
            k: v for k, v in its_history.items() if k not in drop
        }


def rewrite(path, changed, **vectors):
    """Write a checkpoint anew with a changed header, its checksum, and these vectors besides."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "header"} | vectors
        header = json.loads(str(file["header"]))
    del header["checksum"]
    header = changed(header)
    header["checksum"] = storage._checksum(header, arrays)
    np.savez(path, header=np.array(json.dumps(header)), **arrays)


class Crash(Callback):
    """Ends a fit within an epoch as an error would."""

    stride = 1

    def __init__(self, update):
        self.update = update

    def batch_end(self, run):
        if run.trainer.steps == self.update:
            raise MemoryError("crash")


@pytest.mark.parametrize("update", [1, 75, 76, 200, 1111])
def test_a_fit_goes_on(script, uninterrupted, tmp_path, update):
    """75 updates are an epoch."""
    _, make, fit = script
    path = tmp_path / "run.npz"
    with pytest.raises(MemoryError, match="crash"):
        fit(make(), EPOCHS, Checkpoint(path), Crash(update))
    assert path.exists() == (update > 75)
    trainer = make()
    history = fit(trainer, EPOCHS, Checkpoint(path), Log(tmp_path / "log.csv"))
    same(trainer, history, uninterrupted)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + history.epochs


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_at_any_moment(script, uninterrupted, tmp_path):
    """Twenty kills at random, each followed by a start that goes on; the last is let finish."""
    path, _, _ = script
    checkpoint, final = tmp_path / "run.npz", tmp_path / "final.npz"
    command = [sys.executable, str(path), str(checkpoint), str(EPOCHS), str(final)]
    environment = {**os.environ, "PYTHONPATH": str(Path(fb.__file__).parents[1])}
    rng, epochs = np.random.default_rng(), [0]
    for _ in range(20):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        process = subprocess.Popen([*command, "0.01"], env=environment)
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        epochs.append(fb.Trainer.load(checkpoint).epochs)  # whole, whenever it was
        assert epochs[-1] > epochs[-2]
    assert not final.exists() and epochs[-1] < EPOCHS
    subprocess.run([*command, "0"], env=environment, check=True)
    same(fb.Trainer.load(final), None, uninterrupted)


def test_it_ends_where_early_stopping_ended(script, tmp_path):
    """A fit that was over is over when it is started again, and has its best parameters."""
    _, make, fit = script
    first, again = make(), make()
    history = fit(first, 1000, Checkpoint(tmp_path / "run.npz"))
    assert history.epochs < 1000
    assert fit(again, 1000, Checkpoint(tmp_path / "run.npz")) == history
    assert np.array_equal(first.net.parameters, again.net.parameters) and first.steps == again.steps


def test_how_often(script, tmp_path):
    """Every third epoch, and the last; and no more often than so many seconds."""
    _, make, fit = script
    seen = []

    class Looking(Checkpoint):
        def epoch_end(self, run):
            super().epoch_end(run)
            seen.append(fb.Trainer.load(self.path).epochs if os.path.exists(self.path) else 0)

    fit(make(), 8, Looking(tmp_path / "a.npz", epochs=3))
    assert seen == [0, 0, 3, 3, 3, 6, 6, 8]
    seen.clear()
    fit(make(), 4, Looking(tmp_path / "b.npz", seconds=3600))
    assert seen == [0, 0, 0, 4]


def test_a_trainer_that_has_trained_does_not_go_on(script, tmp_path):
    _, make, fit = script
    path = tmp_path / "run.npz"
    trainer = make()
    fit(trainer, 2, Checkpoint(path))
    assert fit(trainer, 2, Checkpoint(path)).epochs == 2 and trainer.epochs == 4
    assert fb.Trainer.load(path).epochs == 4
    fresh = make()
    fit(fresh, 1, Checkpoint(path, resume=False))
    assert fresh.epochs == 1 == fb.Trainer.load(path).epochs


def test_more_epochs_go_on_too(script, uninterrupted, tmp_path):
    _, make, fit = script
    fit(make(), 5, Checkpoint(tmp_path / "run.npz"))
    trainer = make()
    same(trainer, fit(trainer, EPOCHS, Checkpoint(tmp_path / "run.npz")), uninterrupted)


def test_max_time_and_then_on(script, uninterrupted, tmp_path):
    _, make, fit = script
    for _ in range(1000):
        trainer = make()
        history = fit(trainer, EPOCHS, MaxTime(0.02), Checkpoint(tmp_path / "run.npz"))
        if history.epochs == EPOCHS or trainer.epochs == uninterrupted[0].epochs:
            break
    same(trainer, history, uninterrupted)


def test_it_goes_on_with_other_loggers_and_functions(script, tmp_path):
    """What has no state may come and go."""
    _, make, fit = script
    fit(make(), 2, Checkpoint(tmp_path / "run.npz"), Log(tmp_path / "log.csv"))
    assert fit(make(), 3, lambda run: None, Checkpoint(tmp_path / "run.npz")).epochs == 3


def test_the_fit_of_another_run_is_refused(script, tmp_path):
    _, make, fit = script
    path = tmp_path / "run.npz"
    fit(make(), 2, Checkpoint(path))

    def refused(message, trainer=None, epochs=3, keywords=None, callbacks=()):
        trainer = trainer or make()
        before = trainer.net.parameters.tobytes(), trainer.steps
        with pytest.raises(ValueError, match=message):
            fit(trainer, epochs, Checkpoint(path), *callbacks, **(keywords or {}))
        assert before == (trainer.net.parameters.tobytes(), trainer.steps)

    refused("its trainer has another seed: 3; this one has 4", make(seed=4))
    net = fb.Network(6, [fb.Dense(3)])
    refused("its net is another: Network.*; this one is Network", fb.Trainer(net))
    refused("its fit had batch_size 16, and this one has 32", keywords={"batch_size": 32})
    refused("its fit had rows 1200, and this one has 1350", keywords={"validation": 0.1, "batch_size": 16})
    refused("its fit had other weights of rows", keywords={"class_weight": {1: 2}})
    refused("its fit had other targets", keywords={"labels": lambda y: y[::-1]})
    refused("its fit had callbacks with a state", callbacks=[EarlyStopping()])
    refused("its history has", keywords={"metrics": "top_2"})
    make().save(path)
    refused("it is no checkpoint of a fit: read it with fastbp.Trainer.load$")
    path.write_bytes(path.read_bytes()[:-100])
    refused("truncated or damaged")


@pytest.mark.parametrize(
    "where, value, message",
    [
        ((), None, "makes no sense"),
        ((), [1], "makes no sense"),
        (("epoch",), -1, "makes no sense: epoch must be at least 0"),
        (("epoch",), 3, "makes no sense: history must have 3 figures of 'loss'"),
        (("epoch",), DROPPED, "its header lacks 'epoch'"),
        (("settings",), None, "makes no sense: settings must be a dict"),
        (("settings", "rows"), DROPPED, "its fit had rows None, and this one has 30"),
        (("history",), DROPPED, "its header lacks 'history'"),
        (("history", "loss"), [0.5], "makes no sense: history must have 2 figures of 'loss'"),
        (("history", "loss"), [0.5, "much"], "makes no sense: could not convert"),
        (("history", "loss"), [0.5, [0.5]], "makes no sense: float"),
        (("history", "layer_gradient_norms"), [[1.0], 1.0], "makes no sense: an element of 'layer_gradient_norms'"),
        (("history", "loss"), DROPPED, "its history has"),
        (("callbacks",), {}, "makes no sense: callbacks must be a list"),
        (("callbacks",), [], "its fit had callbacks with a state"),
        (("callbacks", 0), 1, "makes no sense"),
        (("callbacks", 0, "state"), None, "makes no sense: callbacks must have a name and a state"),
        (("callbacks", 0, "state"), {}, "what it kept of EarlyStopping makes no sense: 'best'"),
        (("callbacks", 0, "state", "best"), "good", "what it kept of EarlyStopping makes no sense"),
        (("callbacks", 0, "state", "best_epoch"), 1.5, "what it kept of EarlyStopping makes no sense: best_epoch"),
        (("vectors",), [], "makes no sense"),
        (("vectors", "callback0.parameters"), 7, "expected \\(7,\\)"),
    ],
)
def test_a_record_that_makes_no_sense(tmp_path, where, value, message):
    path = tmp_path / "run.npz"
    X, y = np.ones((30, 2)), np.arange(30) % 3
    arguments = {"epochs": 2, "callbacks": [EarlyStopping("loss"), Checkpoint(path)]}
    fb.Trainer(fb.Network(2, [fb.Dense(3)])).fit(X, y, **arguments)

    def changed(header):
        record = inside = {"fit": header["fit"]}
        *way, last = ("fit", *where)
        for name in way:
            inside = inside[name]
        if value is DROPPED:
            del inside[last]
        else:
            inside[last] = value
        return {**header, **record}

    rewrite(path, changed)
    trainer = fb.Trainer(fb.Network(2, [fb.Dense(3)]))
    before = trainer.net.parameters.tobytes()
    with pytest.raises(ValueError, match=message) as caught:
        trainer.fit(X, y, **arguments)
    assert str(caught.value).startswith(f"{path}: ")
    assert (trainer.net.parameters.tobytes(), trainer.steps, trainer.epochs) == (before, 0, 0)


@pytest.mark.parametrize("name, size", [("parameters", 1), ("parameters", 10), ("statistics", 3), ("steps", 9)])
def test_vectors_that_are_not_the_nets(tmp_path, name, size):
    """Of early stopping, which would put them into the net at the end."""
    path = tmp_path / "run.npz"
    X, y = np.ones((30, 2)), np.arange(30) % 3
    arguments = {"epochs": 2, "callbacks": [EarlyStopping("loss"), Checkpoint(path)]}
    fb.Trainer(fb.Network(2, [fb.Dense(3)])).fit(X, y, **arguments)

    def changed(header):
        header["fit"]["vectors"][f"callback0.{name}"] = size
        return header

    rewrite(path, changed, **{f"callback0.{name}": np.ones(size, np.float32)})
    trainer = fb.Trainer(fb.Network(2, [fb.Dense(3)]))
    with pytest.raises(ValueError, match="what it kept of EarlyStopping makes no sense") as caught:
        trainer.fit(X, y, **arguments)
    assert str(caught.value).startswith(f"{path}: ") and trainer.steps == 0


@pytest.mark.parametrize(
    "name, element, value, message",
    [
        ("parameters", 4, np.nan, r"callback0.parameters\[4\] is nan"),
        ("parameters", 4, np.inf, r"makes no sense: parameters\[4\] is inf; it must be finite"),
        ("statistics", 0, np.inf, r"makes no sense: statistics\[0\] is inf; it must be finite"),
        ("statistics", 3, -1.0, r"makes no sense: statistics\[3\] is -1.0; it must be at least 0"),
    ],
)
def test_best_parameters_that_no_net_can_have(tmp_path, name, element, value, message):
    path = tmp_path / "run.npz"
    X, y = np.eye(30, 2), np.arange(30) % 3
    arguments = {"epochs": 2, "callbacks": [EarlyStopping("loss"), Checkpoint(path)]}
    layers = [fb.BatchNorm(), fb.Dense(3)]
    fb.Trainer(fb.Network(2, layers)).fit(X, y, **arguments)
    with np.load(path) as file:
        vector = file[f"callback0.{name}"]
    vector[element] = value
    rewrite(path, lambda header: header, **{f"callback0.{name}": vector})
    trainer = fb.Trainer(fb.Network(2, layers))
    with pytest.raises(ValueError, match=message) as caught:
        trainer.fit(X, y, **arguments)
    assert str(caught.value).startswith(f"{path}: ") and trainer.steps == 0


def test_a_best_figure_that_is_inf(tmp_path):
    X, y = np.ones((9, 2)), np.zeros((9, 1))
    values = iter([np.inf, np.inf, 2.0])
    for epochs in (1, 3):
        trainer = fb.Trainer(fb.Network(2, [fb.Dense(1)]), "mean_squared_error")
        stopping = EarlyStopping("figure")
        callbacks = [stopping, Checkpoint(tmp_path / "run.npz")]
        trainer.fit(X, y, epochs=epochs, metrics={"figure": lambda *_: next(values)}, callbacks=callbacks)
    assert (stopping.best, stopping.best_epoch) == (2.0, 3)


def test_what_no_checkpoint_can_hold(tmp_path):
    X, y = np.zeros((9, 2)), np.zeros((9, 1))
    path = tmp_path / "run.npz"
    net = fb.Network(2, [fb.Dense(1)])
    for trainer, kind, message in [
        (fb.Trainer(net, lambda z, t: (0.0, 0 * z)), TypeError, "loss is a function"),
        (fb.Trainer(net, "mean_squared_error", fb.LBFGS()), ValueError, "does not go with LBFGS"),
        (fb.Trainer(net, "mean_squared_error", schedule=lambda t: 1), TypeError, "a schedule that is a function"),
        (reference.Trainer(reference.Network(2, [fb.Dense(1)]), "mean_squared_error"), TypeError, "its twin"),
    ]:
        with pytest.raises(kind, match=message):
            trainer.fit(X, y, callbacks=Checkpoint(path))
        assert trainer.steps == 0 and not path.exists()
    trainer = fb.Trainer(net, "mean_squared_error")
    for wrong, kind in ((tmp_path / "no" / "run.npz", OSError), (tmp_path / "run.txt", ValueError), (3, TypeError)):
        with pytest.raises(kind):
            trainer.fit(X, y, callbacks=Checkpoint(wrong))
    for options in ({"epochs": 0}, {"seconds": -1}, {"resume": 1}):
        with pytest.raises((TypeError, ValueError)):
            Checkpoint(path, **options)
    assert trainer.steps == 0


def test_figures_that_are_no_numbers_survive(tmp_path):
    """JSON knows neither nan nor inf."""
    X, y = np.ones((9, 2)), np.zeros((9, 1))
    values = iter([np.nan, np.inf, -np.inf, 1.5])

    def fit(trainer, epochs):
        keywords = {"metrics": {"figure": lambda output, target: next(values)}}
        return trainer.fit(X, y, epochs=epochs, callbacks=Checkpoint(tmp_path / "run.npz"), **keywords)

    fit(fb.Trainer(fb.Network(2, [fb.Dense(1)]), "mean_squared_error"), 3)
    history = fit(fb.Trainer(fb.Network(2, [fb.Dense(1)]), "mean_squared_error"), 4)
    assert repr(history["figure"]) == "[nan, inf, -inf, 1.5]"


def test_the_file_can_be_read_by_others(script, tmp_path):
    """A checkpoint is a trainer's file: see tests/test_storage.py for all that may be wrong with one."""
    _, make, fit = script
    trainer = make()
    fit(trainer, 2, Checkpoint(tmp_path / "run.safetensors"))
    assert np.array_equal(fb.load(tmp_path / "run.safetensors").parameters.shape, trainer.net.parameters.shape)
    fit(make(), 2, Checkpoint(tmp_path / "run.npz"))
    loaded = fb.Trainer.load(tmp_path / "run.npz")
    assert loaded.epochs == 2 and loaded.schedule == schedules.ReduceOnPlateau(0.7, patience=1)
    with np.load(tmp_path / "run.npz") as file:
        header = json.loads(str(file["header"]))
        assert header["fit"]["epoch"] == 2 and "callback0.parameters" in file
