"""What a fit does around its epochs, in the compiled trainer and in its twin: validation, weights of classes, metrics,
callbacks, the history."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

import fastbp as fb
from fastbp import metrics, reference
from fastbp._support import random_streams
from fastbp.callbacks import Callback, EarlyStopping, Log, MaxTime, ProgressBar
from fastbp.training import data as fitting

HOMES = pytest.mark.parametrize("home", [fb, reference], ids=["compiled", "twin"])
LAYERS = [fb.Dense(8, "tanh"), fb.Dropout(0.1), fb.Dense(3)]


def data(rows=70, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4))
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)


def make(home, loss="softmax_cross_entropy", layers=LAYERS, **options):
    return home.Trainer(home.Network(4, layers, "float64", seed=1), loss, seed=5, **options)


def same(ours, theirs):
    assert list(ours) == list(theirs)
    for name in ours:
        if name != "seconds":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-12, err_msg=name)


class Recorder(Callback):
    def __init__(self, stride=None):
        self.stride = stride
        self.calls = []

    def train_begin(self, run):
        self.calls.append(("begin", run.epoch, run.epochs, run.rows, run.batch_size, run.updates_an_epoch))

    def batch_end(self, run):
        self.calls.append(("batch", run.trainer.steps))

    def epoch_end(self, run):
        self.calls.append(("epoch", run.epoch, len(run.history["loss"])))

    def train_end(self, run):
        self.calls.append(("end", type(run.failed).__name__))


# --------------------------------------------------------------------------------------- compiled against the twin


@pytest.mark.parametrize(
    "keywords",
    [
        {"validation": 0.3, "metrics": ["accuracy", "top_2"]},
        {"validation": 0.3, "shuffle": False, "class_weight": "balanced"},
        {"class_weight": {0: 0.5, 2: 3}, "metrics": {"mean": lambda y, t: y.mean()}},
        {"class_weight": [1, 2, 0], "sample_weight": np.linspace(0, 2, 70), "accumulate": 2, "validation": 0.1},
        {"validation": data(30, seed=2), "metrics": "accuracy", "callbacks": [EarlyStopping(patience=1)]},
    ],
    ids=["share", "share in order", "dict", "array", "stopping"],
)
def test_compiled_and_twin(keywords):
    X, y = data()
    histories, trainers = [], []
    for home in (fb, reference):
        trainer = make(home)
        histories.append(trainer.fit(X, y, epochs=4, batch_size=8, **keywords))
        trainers.append(trainer)
    same(*histories)
    np.testing.assert_allclose(trainers[0].net.parameters, trainers[1].net.parameters, rtol=1e-9, atol=1e-12)
    assert trainers[0].steps == trainers[1].steps and trainers[0].epochs == trainers[1].epochs


def test_compiled_and_twin_with_a_function_as_loss_and_with_lbfgs():
    X = data()[0]
    Y = np.sin(X @ np.arange(12).reshape(4, 3))

    def squares(output, target):
        return float(np.square(output - target).mean()), 2 * (output - target) / output.size

    for loss, optimizer in ((squares, "adam"), ("mean_squared_error", fb.LBFGS())):
        histories = []
        for home in (fb, reference):
            layers = [fb.Dense(5, "tanh"), fb.Dense(3)]
            trainer = make(home, loss, layers, optimizer=optimizer)
            histories.append(trainer.fit(X, Y, epochs=5, validation=0.25, metrics="mean_absolute_error"))
        same(*histories)


# ------------------------------------------------------------------------------------------------------- validation


@HOMES
def test_a_share_is_held_out(home):
    """Training on the rest alone does the same, and the loss told is that of what is held out."""
    X, y = data()
    rest, held = fitting.split(fb.ops.random_permutation, 5, 70, 21)
    assert sorted([*rest, *held]) == list(range(70)) and len(held) == 21
    order = fb.ops.random_permutation(5, random_streams.validation(), 70)
    assert set(held) == set(order[:21])
    told, given = make(home), make(home)
    same(
        told.fit(X, y, epochs=3, batch_size=8, validation=0.3),
        given.fit(X[rest], y[rest], epochs=3, batch_size=8, validation=(X[held], y[held])),
    )
    assert np.array_equal(told.net.parameters, given.net.parameters)


@HOMES
def test_validation_refuses(home):
    X, y = data()
    for validation, kind, message in [
        (1.0, ValueError, "validation must be less than 1"),
        (0.001, ValueError, "of 70 rows leaves 0 to one side"),
        (0.999, ValueError, "of 70 rows leaves 70 to one side"),
        (1, TypeError, r"validation must be \(X, y\)"),
        ((X,), TypeError, r"validation must be \(X, y\)"),
    ]:
        with pytest.raises(kind, match=message):
            make(home).fit(X, y, validation=validation)


# ------------------------------------------------------------------------------------------------- weights of classes


@HOMES
def test_class_weights_are_weights_of_rows(home):
    X, y = data()
    weighted, told = make(home), make(home)
    told.fit(X, y, epochs=2, class_weight={0: 2, 1: 0.25})
    weighted.fit(X, y, epochs=2, sample_weight=np.array([2, 0.25, 1])[y])
    assert np.array_equal(told.net.parameters, weighted.net.parameters)


def test_balanced_weights():
    labels = np.array([0, 0, 0, 2])
    np.testing.assert_allclose(fitting.by_class("class_weight", "balanced", labels, 3), [2 / 3, 2 / 3, 2 / 3, 2])


@HOMES
def test_class_weight_refuses(home):
    X, y = data()
    for weight, kind, message in [
        ("equal", ValueError, "class_weight must be 'balanced'"),
        ([1, 2], ValueError, "class_weight has 2 elements; the network has 3 outputs"),
        ([1, -1, 1], ValueError, "class_weight must be finite and at least 0, got -1.0 for class 1"),
        ([1, math.nan, 1], ValueError, "class_weight must be finite and at least 0, got nan for class 1"),
        ([1, 1, math.inf], ValueError, "class_weight must be finite and at least 0, got inf for class 2"),
        ([[1], [1, 2], 1], TypeError, "class_weight must be 'balanced', an array or a dict, got list"),
        ({3: 1}, ValueError, "a class in class_weight must be at most 2"),
        ({0: -1}, ValueError, r"class_weight\[0\] must be at least 0"),
        (3, TypeError, "class_weight must be 'balanced'"),
    ]:
        with pytest.raises(kind, match=message):
            make(home).fit(X, y, class_weight=weight)
    with pytest.raises(ValueError, match="class_weight goes with class numbers"):
        make(home, "mean_squared_error").fit(X, np.eye(3)[y], class_weight="balanced")


# ---------------------------------------------------------------------------------------------------------- metrics


@HOMES
def test_metrics_are_of_the_validation_or_else_of_all_data(home):
    X, y = data()
    trainer = make(home)
    history = trainer.fit(X, y, epochs=2, metrics="accuracy")
    assert history["accuracy"][-1] == metrics.accuracy(trainer.net.predict(X), y)
    history = trainer.fit(X, y, epochs=2, metrics="accuracy", validation=(X[:9], y[:9]))
    assert history["val_accuracy"][-1] == metrics.accuracy(trainer.net.predict(X[:9]), y[:9])
    assert "accuracy" not in history
    with pytest.raises(TypeError, match="the metric '<lambda>' must return a number, got None"):
        trainer.fit(X, y, metrics=[lambda output, target: None])
    with pytest.raises(ValueError, match="the history has another 'loss'"):
        trainer.fit(X, y, metrics={"loss": metrics.accuracy})


# -------------------------------------------------------------------------------------------------------- callbacks


@HOMES
def test_when_callbacks_are_called(home):
    X, y = data()
    recorder, epochs = Recorder(stride=3), []
    make(home).fit(X, y, epochs=2, batch_size=16, callbacks=[recorder, lambda run: epochs.append(run.epoch)])
    assert recorder.calls == [
        ("begin", 0, 2, 70, 16, 5),
        ("batch", 3),
        ("epoch", 1, 1),
        ("batch", 6),
        ("batch", 9),
        ("epoch", 2, 2),
        ("end", "NoneType"),
    ]
    assert epochs == [1, 2]


@HOMES
def test_a_stride_changes_no_bit_and_ends_with_the_epoch(home):
    X, y = data()
    plain, looked, recorder = make(home), make(home), Recorder(stride=5)
    same(plain.fit(X, y, epochs=2, batch_size=16), looked.fit(X, y, epochs=2, batch_size=16, callbacks=recorder))
    assert np.array_equal(plain.net.parameters, looked.net.parameters)
    assert [call for call in recorder.calls if call[0] == "batch"] == [("batch", 5), ("batch", 10)]


@HOMES
def test_callbacks_stop(home):
    X, y = data()
    trainer = make(home)
    history = trainer.fit(X, y, epochs=9, batch_size=16, callbacks=lambda run: run.stop() if run.epoch == 3 else None)
    assert history.epochs == trainer.epochs == 3 and trainer.steps == 15

    class AtSeventeen(Recorder):
        def batch_end(self, run):
            if run.trainer.steps == 17:
                run.stop()

    recorder = AtSeventeen(stride=1)
    history = trainer.fit(X, y, epochs=9, batch_size=16, callbacks=recorder)
    assert history.epochs == 0 and trainer.epochs == 3 and trainer.steps == 17
    assert [call[0] for call in recorder.calls] == ["begin", "end"]


@HOMES
def test_train_end_comes_after_an_error_too(home):
    X, y = data()

    class Failing(Callback):
        stride = 2

        def batch_end(self, run):
            raise KeyError("mine")

    recorder, trainer = Recorder(), make(home)
    with pytest.raises(KeyError, match="mine"):
        trainer.fit(X, y, batch_size=16, callbacks=[recorder, Failing()])
    assert recorder.calls[-1] == ("end", "KeyError") and trainer.steps == 2 and trainer.epochs == 0
    trainer.fit(X, y, batch_size=16)
    assert trainer.steps == 7


def test_callbacks_refuses():
    X, y = data()

    class Wrong(Callback):
        stride = 0

    for callbacks, kind, message in [
        (3, TypeError, "callbacks must be callbacks or functions"),
        ([3], TypeError, "callbacks must hold callbacks and functions of the run, got 3"),
        ([EarlyStopping], TypeError, "callbacks must hold callbacks and functions .* got the class EarlyStopping"),
        (Wrong(), ValueError, "stride must be at least 1"),
        (EarlyStopping("val_loss"), ValueError, "monitor is 'val_loss'; the history has loss, gradient_norm"),
    ]:
        trainer = make(fb)
        with pytest.raises(kind, match=message):
            trainer.fit(X, y, callbacks=callbacks)
        assert trainer.steps == 0
    for wrong in (
        lambda: EarlyStopping(3),
        lambda: EarlyStopping(patience=0),
        lambda: EarlyStopping(min_delta=-1),
        lambda: EarlyStopping(mode="up"),
        lambda: MaxTime(0),
        lambda: Log("a.txt"),
        lambda: Log(3),
    ):
        with pytest.raises((TypeError, ValueError)):
            wrong()


def test_callbacks_may_use_the_trainer():
    """After an epoch all calls are allowed, a new learning rate and freezing too; within one those that only look."""
    X, y = data()

    class Using(Callback):
        stride = 2

        def batch_end(self, run):
            run.net.predict(X)
            run.trainer.evaluate(X, y)
            if run.trainer.steps % 5:
                with pytest.raises(RuntimeError, match="is in an epoch"):
                    run.trainer.step(X, y)

        def epoch_end(self, run):
            run.trainer.optimizer = run.trainer.optimizer.replaced(learning_rate=0.5 / run.epoch)
            if run.epoch == 2:
                run.net.freeze(0)
                self.frozen = run.net.weights[0][0].copy()

    using, trainer = Using(), make(fb)
    history = trainer.fit(X, y, epochs=4, batch_size=16, callbacks=using)
    assert history["learning_rate"] == [1e-3, 0.5, 0.25, 0.5 / 3]
    assert np.array_equal(trainer.net.weights[0][0], using.frozen)


# --------------------------------------------------------------------------------------------------- early stopping


class Scripted(Callback):
    """Puts figures into the history as if they had been measured, and marks the net with the epoch's number."""

    def __init__(self, name, values):
        self.name, self.values = name, values

    def epoch_end(self, run):
        run.history[self.name][-1] = self.values[run.epoch - 1]
        run.net.parameters[0] = run.epoch


@pytest.mark.parametrize(
    "values, options, epochs, best",
    [
        ([5, 4, 3, 3, 3, 3], {"patience": 2}, 5, 3),
        ([5, 4, 3.5, 3, 2.9, 2.8], {"patience": 2, "min_delta": 0.6}, 6, 4),
        ([1, 2, 3, 2, 2, 9], {"patience": 2, "mode": "max"}, 5, 3),
        ([math.nan, math.nan, 3, math.nan, 9, 9], {"patience": 3}, 6, 3),
        ([6, 5, 4, 3, 2, 1], {"patience": 1}, 6, 6),
    ],
    ids=["min", "delta", "max", "nan", "never"],
)
@HOMES
def test_early_stopping(home, values, options, epochs, best):
    X, y = data()
    trainer, stopping = make(home), EarlyStopping(**options)
    history = trainer.fit(X, y, epochs=6, callbacks=[Scripted("loss", values), stopping])
    assert history.epochs == epochs and stopping.best_epoch == best and stopping.best == values[best - 1]
    assert trainer.net.parameters[0] == best
    kept = make(home)
    kept.fit(X, y, epochs=6, callbacks=[Scripted("loss", values), EarlyStopping(restore_best=False, **options)])
    assert kept.net.parameters[0] == epochs


def test_early_stopping_watches_what_it_should():
    X, y = data()
    for monitor, validation, name, sign in (
        (None, None, "loss", -1),
        (None, 0.2, "val_loss", -1),
        ("val_accuracy", 0.2, "val_accuracy", 1),
        ("val_top_2", 0.2, "val_top_2", 1),
        ("gradient_norm", None, "gradient_norm", -1),
    ):
        stopping = EarlyStopping(monitor)
        given = ["accuracy", "top_2"] if validation else ()
        history = make(fb).fit(X, y, epochs=6, validation=validation, metrics=given, callbacks=stopping)
        best = max(history[name], key=lambda value: sign * value)
        assert stopping.best == best and history[name][stopping.best_epoch - 1] == best


def test_batch_statistics_are_restored_too():
    X, y = data()
    trainer = make(fb, layers=[fb.Dense(5), fb.BatchNorm(), fb.Dense(3)])
    seen = []
    trainer.fit(
        X,
        y,
        epochs=4,
        callbacks=[
            Scripted("loss", [2, 1, 3, 3]),
            EarlyStopping(),
            lambda run: seen.append(run.net.statistics.copy()),
        ],
    )
    assert np.array_equal(trainer.net.statistics, seen[1]) and not np.array_equal(seen[1], seen[3])


def test_the_same_object_serves_two_fits():
    X, y = data()
    stopping = EarlyStopping(patience=2)
    make(fb).fit(X, y, epochs=3, callbacks=[Scripted("loss", [0, 0, 0]), stopping])
    history = make(fb).fit(X, y, epochs=3, callbacks=[Scripted("loss", [5, 4, 3]), stopping])
    assert history.epochs == 3 and stopping.best == 3


# ------------------------------------------------------------------------------------------------ the others, history


def test_max_time(monkeypatch):
    X, y = data(5000)
    trainer = make(fb)
    clock = iter(np.arange(0.0, 100.0, 0.06))  # s; every look at the clock moves it on
    monkeypatch.setattr("fastbp.callbacks.time", SimpleNamespace(monotonic=lambda: next(clock)))
    trainer.fit(X, y, epochs=10**6, callbacks=MaxTime(0.2))
    assert next(clock) == 0.06 * 5 and trainer.epochs <= 4  # begun at 0, stopped by the look at 0.24


def test_log(tmp_path):
    X, y = data()
    table, lines = tmp_path / "log.csv", tmp_path / "log.jsonl"
    history = make(fb).fit(X, y, epochs=3, validation=0.2, metrics="accuracy", callbacks=[Log(table), Log(lines)])
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(rows) == len(told) == 3 and "layer_gradient_norms" not in rows[0]
    for epoch, (row, line) in enumerate(zip(rows, told, strict=True)):
        assert int(row["epoch"]) == line["epoch"] == epoch + 1
        assert set(line) == {"epoch", *history}
        for name in history:
            assert line[name] == history[name][epoch]
            if name != "layer_gradient_norms":
                assert float(row[name]) == history[name][epoch]


def test_progress_bar(capsys, monkeypatch):
    """Quiet where standard error is no terminal; without tqdm a line for each epoch."""
    pytest.importorskip("tqdm")
    X, y = data()
    make(fb).fit(X, y, epochs=2, callbacks=ProgressBar())
    assert capsys.readouterr() == ("", "")
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    make(fb).fit(X, y, epochs=2, callbacks=ProgressBar())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[0].startswith("epoch 1: loss ")


def test_history_is_a_dict_and_a_table_and_a_picture(tmp_path):
    import pickle

    X, y = data()
    history = make(fb).fit(X, y, epochs=3, validation=0.2, metrics="accuracy")
    assert isinstance(history, dict) and pickle.loads(pickle.dumps(history)) == history and history.epochs == 3
    assert type(pickle.loads(pickle.dumps(history))) is fb.History
    json.dumps(history)
    pandas = pytest.importorskip("pandas")
    frame = history.to_frame()
    assert list(frame.columns) == list(history) and list(frame.index) == [1, 2, 3] and frame.index.name == "epoch"
    assert list(frame["loss"]) == history["loss"] and list(pandas.DataFrame(history)["loss"]) == history["loss"]
    pytest.importorskip("matplotlib")
    figure = history.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    drawn = {axes.get_title(): axes for axes in figure.axes}
    assert set(drawn) == {"loss", "metrics", "gradient norm", "learning rate"}
    curves = {line.get_label(): list(line.get_ydata()) for line in drawn["loss"].lines}
    assert curves == {"training": history["loss"], "validation": history["val_loss"]}
    assert len(drawn["gradient norm"].lines) == 3
    with pytest.raises(ValueError, match="no epoch to draw"):
        fb.History(loss=[]).plot()
    with pytest.raises(TypeError, match="path must be a str or a path"):
        history.plot(3)


# ---------------------------------------------------------------------------------------------------------- batches


class Batches:
    """The minibatches of a fit without shuffling, anew for every epoch."""

    def __init__(self, *arrays, size=16):
        self.arrays, self.size = arrays, size

    def __iter__(self):
        for start in range(0, len(self.arrays[0]), self.size):
            yield tuple(array[start : start + self.size] for array in self.arrays)


@HOMES
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_do_what_their_arrays_do(home, weighted):
    X, y = data()
    weights = np.linspace(0.5, 2, 70)
    ours, theirs = make(home), make(home)
    keywords = {"epochs": 3, "validation": data(20, seed=1), "metrics": "accuracy", "class_weight": {1: 2}}
    same(
        ours.fit(Batches(X, y, weights) if weighted else Batches(X, y), **keywords),
        theirs.fit(X, y, batch_size=16, shuffle=False, sample_weight=weights if weighted else None, **keywords),
    )
    np.testing.assert_allclose(ours.net.parameters, theirs.net.parameters, rtol=1e-12, atol=1e-15)
    assert ours.steps == theirs.steps == 15 and ours.epochs == 3


@HOMES
def test_batches_with_a_batch_norm_and_a_function_as_loss(home):
    X = data()[0]
    Y = np.sin(X[:, :2])

    def squares(output, target):
        return float(np.square(output - target).mean()), 2 * (output - target) / output.size

    layers = [fb.Dense(5, "tanh"), fb.BatchNorm(), fb.Dense(2)]
    for loss in (squares, "mean_squared_error"):
        ours, theirs = make(home, loss, layers), make(home, loss, layers)
        same(ours.fit(Batches(X, Y), epochs=2), theirs.fit(X, Y, epochs=2, batch_size=16, shuffle=False))
        np.testing.assert_allclose(ours.net.statistics, theirs.net.statistics, rtol=1e-12)


@HOMES
def test_a_generator_serves_one_epoch(home):
    X, y = data()
    trainer, recorder = make(home), Recorder(stride=2)
    assert trainer.fit(iter(Batches(X, y)), callbacks=recorder).epochs == 1 and trainer.steps == 5
    assert recorder.calls[0] == ("begin", 0, 1, None, None, None) and ("batch", 4) in recorder.calls
    with pytest.raises(ValueError, match="gave no batches in epoch 2: a generator can be gone through once"):
        trainer.fit(iter(Batches(X, y)), epochs=2)
    assert trainer.epochs == 2


def test_a_data_loader():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    X, y = data()
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(y)), batch_size=16)
    ours, theirs = make(fb), make(fb)
    same(ours.fit(loader, epochs=2), theirs.fit(X, y, epochs=2, batch_size=16, shuffle=False))


@HOMES
def test_batches_refuse(home):
    X, y = data()
    for keywords, kind, message in [
        ({"batch_size": 16}, TypeError, "batch_size must be None where X is an iterable"),
        ({"sample_weight": np.ones(70)}, TypeError, "sample_weight must be None where X is an iterable"),
        ({"validation": 0.1}, TypeError, r"validation must be \(X, y\), \(X, y, sample_weight\) or None where"),
        ({"validation": 3}, TypeError, r"validation must be .* got 3 \(int\)"),
        ({"validation": iter([])}, TypeError, "validation must be .* got list_iterator"),
        ({"accumulate": 2}, ValueError, "accumulate must be 1 where X is an iterable"),
        ({"class_weight": "balanced"}, ValueError, "class_weight must be an array or a dict where"),
        ({"metrics": "accuracy"}, ValueError, "metrics need validation where the data come from an iterable"),
    ]:
        with pytest.raises(kind, match=message):
            make(home).fit(Batches(X, y), **keywords)
    for source, kind, message in [
        ([], ValueError, "X gave no batches"),
        ([X], TypeError, r"X must give batches \(x, y\)"),
        ([(X, y), (X[:, :3], y)], ValueError, "x of batch 2 has 3 columns; the network takes 4"),
        ([(X, y), (X, y[:5])], ValueError, "y of batch 2"),
        ([(X, y, -np.ones(70))], ValueError, "sample_weight of batch 1"),
    ]:
        with pytest.raises(kind, match=message):
            make(home).fit(source)
    with pytest.raises((TypeError, ValueError), match="list"):
        make(home).fit(X.tolist(), y)
    norm = make(home, layers=[fb.BatchNorm(), fb.Dense(3)])
    with pytest.raises(ValueError, match="x of batch 1 .*single row"):
        norm.fit([(X[:1], y[:1])])
    with pytest.raises(fb.DivergenceError, match="epoch 0, minibatch 1"):
        make(home, "mean_squared_error").fit([(X, X[:, :3]), (X, 1e200 * X[:, :3])])


def test_a_stride_counts_all_updates_of_the_trainer():
    """Those before the fit as well: `batch_end` comes where their number is a multiple of the stride."""
    X, y = data()
    for home in (fb, reference):
        trainer, recorder = make(home), Recorder(stride=5)
        for _ in range(3):
            trainer.step(X[:16], y[:16])
        trainer.fit(X, y, epochs=4, batch_size=16, callbacks=recorder)
        assert [call for call in recorder.calls if call[0] == "batch"] == [("batch", n) for n in (5, 10, 15, 20)]


def test_a_checkpoint_holds_the_state_after_the_last_epoch(tmp_path):
    """That of the other callbacks too, whatever their order: here the last epoch is the best."""
    X, y = data()
    written, read = EarlyStopping(monitor="loss"), EarlyStopping(monitor="loss")
    layers = [fb.Dense(8, "tanh"), fb.Dense(3)]
    for stopping in (written, read):
        checkpoint = fb.callbacks.Checkpoint(tmp_path / "run.npz")
        trainer = make(fb, layers=layers, optimizer=fb.SGD(0.05))
        history = trainer.fit(X, y, epochs=4, batch_size=70, callbacks=[checkpoint, stopping])
        assert history.epochs == 4 and stopping.best_epoch == 4 and stopping.best == history["loss"][-1]


@HOMES
def test_the_norm_in_the_history_is_a_root_mean_square(home):
    """Over the updates of the epoch; a learning rate of 0 leaves the gradients as they are."""
    X, y = data(60)
    trainer = make(home, layers=[fb.Dense(8, "tanh"), fb.Dense(3)], optimizer=fb.SGD(0))
    gradients = [trainer.value_and_grad(X[part], y[part])[1] for part in (slice(0, 20), slice(20, 40), slice(40, 60))]
    history = trainer.fit(X, y, epochs=1, batch_size=20, shuffle=False)
    expected = math.sqrt(sum(np.square(gradient).sum() for gradient in gradients) / 3)
    assert history["gradient_norm"] == [pytest.approx(expected, rel=1e-12)]
