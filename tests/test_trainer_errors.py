"""Trainer: what it refuses, and that nothing has changed then; divergence; interruption; the quick path of a step."""

import copy
import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pytest

import fastbp as fb
from fastbp import _core
from fastbp._support import random_streams
from fastbp.layers import Dense
from fastbp.training import engine as engine_module

NAN, INF = float("nan"), float("inf")
FLOATS = ["binary_cross_entropy", "mean_squared_error", "pinball"]


def make(loss="softmax_cross_entropy", dtype="float32", outputs=3, optimizer="adam", **keywords):
    return fb.Trainer(fb.Network(4, [Dense(6, "tanh"), Dense(outputs)], dtype=dtype), loss, optimizer, **keywords)


def data(rows=10, classes=3, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 4)).astype(dtype), rng.integers(0, classes, rows)


def state(trainer):
    """All that training changes, to compare."""
    arrays = (trainer.net.parameters, *trainer.engine.moments)
    return tuple(array.tobytes() for array in arrays), trainer.steps, trainer.epochs


CALLS = {
    "fit": lambda trainer, X, y: trainer.fit(X, y, batch_size=1),
    "step": lambda trainer, X, y: trainer.step(X, y),
    "value_and_grad": lambda trainer, X, y: trainer.value_and_grad(X, y),
    "example_gradients": lambda trainer, X, y: trainer.example_gradients(X, y),
    "evaluate": lambda trainer, X, y: trainer.evaluate(X, y),
    "validation": lambda trainer, X, y: trainer.fit(*data(), batch_size=1, validation=(X, y)),
}


def refuses(trainer, call, X, y, error, message):
    """The call raises, names X, x, y or validation, and leaves all as it was, with and without a step before."""
    for _ in range(2):
        before = state(trainer)
        with pytest.raises(error, match=message) as caught:
            CALLS[call](trainer, X, y)
        assert type(caught.value) is error
        assert re.match(r"validation\[[01]\]" if call == "validation" else "[xXy]", str(caught.value))
        assert state(trainer) == before
        target = data()[1] if trainer.loss.code_labels is not None else np.zeros((10, trainer.net.outputs), np.float32)
        trainer.step(data()[0], target)


# ----------------------------------------------------------------------------------------------------- bad data

BAD_X = [
    (None, TypeError, "must be a float32 or float64 array, got None"),
    ([[0.0] * 4] * 2, TypeError, "got list"),
    (np.zeros((2, 4), int), TypeError, "got int64 array"),
    (np.zeros((2, 4), object), TypeError, "got object array"),
    (np.zeros((2, 4), complex), TypeError, "got complex128 array"),
    (np.zeros((2, 4), "float16"), TypeError, "got float16 array"),
    (np.zeros(4), ValueError, r"must have 2 dimensions, got shape \(4,\)"),
    (np.zeros((2, 4, 1)), ValueError, "must have 2 dimensions"),
    (np.zeros((2, 5)), ValueError, "has 5 columns; the network takes 4"),
    (np.zeros((2, 5), "float32"), ValueError, "has 5 columns; the network takes 4"),
    (np.zeros((0, 4), "float32"), ValueError, "must have at least 1 row"),
    (np.array([[0, 0, 0, 0], [0, 0, NAN, 0]]), ValueError, r"\[1, 2\] is nan"),
    (np.array([[0, 0, 0, 0], [INF, 0, 0, 0]], "float32"), ValueError, r"\[1, 0\] is inf"),
    (np.array([[0, 0, 0, 0], [0, 0, 0, 1e39]]), ValueError, r"\[1, 3\] is inf in float32"),
]

BAD_LABELS = [
    (None, TypeError, "must be an integer array, got None"),
    ([0, 1], TypeError, "got list"),
    (np.array([0.0, 1.0]), TypeError, "must be an integer array of class numbers, got float64 array"),
    (np.array([0.5, 1.0], "float32"), TypeError, "got float32 array"),
    (np.array([0, 1], object), TypeError, "got object array"),
    (np.array([0, 1], complex), TypeError, "got complex128 array"),
    (np.array([True, False]), TypeError, "got bool array"),
    (np.array(["a", "b"]), TypeError, "integer array"),
    (np.array([0, 3]), ValueError, r"y\[1\] is 3; it must be in 0 .. 2|validation\[1\]\[1\] is 3"),
    (np.array([-1, 0]), ValueError, "is -1"),
    (np.array([0, 2**64 - 1], "uint64"), ValueError, r"\[1\] is"),
    (np.array([0]), ValueError, "has 1 rows; .* has 2"),
    (np.array([0, 1, 2]), ValueError, "has 3 rows; .* has 2"),
    (np.array(0), ValueError, "1 dimension"),
    (np.array([[0], [1]]), ValueError, "1 dimension"),
    (np.zeros((2, 2)), ValueError, "has 2 columns; there are 3 outputs"),
    (np.zeros((3, 3)), ValueError, "has 3 rows; .* has 2"),
    (np.array([[0, 1, 0], [0, NAN, 0]]), ValueError, r"\[1, 1\] is nan"),
]

BAD_FLOATS = [
    (None, TypeError, "must be a float32 or float64 array, got None"),
    ([[0.0] * 3] * 2, TypeError, "got list"),
    (np.zeros((2, 3), int), TypeError, "got int64 array"),
    (np.array([0, 1]), TypeError, "got int64 array"),
    (np.zeros(2), ValueError, "must have 2 dimensions"),
    (np.zeros((2, 3, 1)), ValueError, "must have 2 dimensions"),
    (np.zeros((2, 2)), ValueError, "has 2 columns; there are 3 outputs"),
    (np.zeros((1, 3)), ValueError, "has 1 rows; .* has 2"),
    (np.array([[0, 1, 0], [0, NAN, 0]]), ValueError, r"\[1, 1\] is nan"),
    (np.array([[0, 1, INF], [0, 0, 0]], "float32"), ValueError, r"\[0, 2\] is inf"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("X, error, message", BAD_X)
def test_bad_X(call, X, error, message):
    refuses(make(), call, X, np.array([0, 1]), error, message)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("y, error, message", BAD_LABELS)
def test_bad_labels(call, y, error, message):
    refuses(make(), call, np.zeros((2, 4), np.float32), y, error, message)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "validation"])
@pytest.mark.parametrize("loss", FLOATS)
@pytest.mark.parametrize("y, error, message", BAD_FLOATS)
def test_bad_floats(call, loss, y, error, message):
    refuses(make(loss), call, np.zeros((2, 4), np.float32), y, error, message)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("call", ["fit", "value_and_grad", "example_gradients", "evaluate"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_probabilities_out_of_range(loss, call, value):
    y = np.full((2, 3), 1 / 3)
    y[1, 2] = value
    refuses(
        make(loss),
        call,
        np.zeros((2, 4)),
        y,
        ValueError,
        r"must hold probabilities in \[0, 1\], got .* in row 1, column 2",
    )


# ------------------------------------------------------------------------------------------------ bad other arguments


@pytest.mark.parametrize(
    "keywords, error, message",
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": -3}, ValueError, "epochs must be at least 1, got -3"),
        ({"epochs": 1.0}, TypeError, "epochs must be an integer"),
        ({"epochs": None}, TypeError, "epochs must be an integer, got None"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 11}, ValueError, "batch_size is 11; X has 10 rows"),
        ({"batch_size": 32}, ValueError, "batch_size is 32; X has 10 rows"),
        ({"batch_size": "5"}, TypeError, "batch_size must be an integer"),
        ({"validation": data()[0]}, TypeError, r"validation must be \(X, y\)"),
        ({"validation": (data()[0],)}, TypeError, r"validation must be \(X, y\)"),
        ({"shuffle": "no"}, TypeError, "shuffle must be True or False"),
        ({"tolerance": -1e-3}, ValueError, "tolerance must be at least 0"),
        ({"tolerance": NAN}, ValueError, "tolerance must be"),
        ({"tolerance": "x"}, TypeError, "tolerance must be a number"),
        ({"allow_nonfinite": None}, TypeError, "allow_nonfinite must be True or False"),
        ({"verbose": 2}, TypeError, "verbose must be True or False"),
    ],
)
def test_fit_refuses(keywords, error, message):
    trainer = make()
    before = state(trainer)
    with pytest.raises(error, match=message):
        trainer.fit(*data(), **{"batch_size": 5, **keywords})
    assert state(trainer) == before


@pytest.mark.parametrize(
    "keywords, error, message",
    [
        ({"net": None}, TypeError, "net must be a Network, got None"),
        ({"net": fb.reference.Network(4, [Dense(3)])}, TypeError, "net must be a Network"),
        ({"loss": None}, TypeError, "loss must be one of"),
        ({"loss": "hinge"}, ValueError, "loss must be one of .* got 'hinge'"),
        ({"loss": fb.Pinball}, TypeError, r"write Pinball\(\)"),
        ({"loss": fb.Pinball([0.1, 0.9])}, ValueError, "quantiles has 2 levels; there are 3 outputs"),
        ({"optimizer": "adamax"}, ValueError, "optimizer must be one of .* got 'adamax'"),
        ({"optimizer": 1e-3}, TypeError, "optimizer must be one of"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1, got 0"),
        ({"n_threads": 1.0}, TypeError, "n_threads must be an integer"),
        ({"n_threads": 257}, ValueError, "n_threads must be at most 256, got 257"),
    ],
)
def test_trainer_refuses(keywords, error, message):
    with pytest.raises(error, match=message):
        fb.Trainer(**{"net": fb.Network(4, [Dense(3)]), **keywords})


def test_value_and_grad_refuses_a_wrong_switch():
    with pytest.raises(TypeError, match="inputs must be True or False"):
        make().value_and_grad(*data(), inputs="yes")


def test_attributes_are_read_only():
    trainer = make()
    for name in ("net", "loss", "seed", "n_threads"):
        with pytest.raises(AttributeError):
            setattr(trainer, name, getattr(trainer, name))


# -------------------------------------------------------------------------------------------------- what is converted


def test_floats_of_the_other_dtype_and_any_integers():
    X, y = data(dtype="float64")
    expected = None
    for x, labels in (
        (X, y),
        (X.astype("float32"), y.astype("int8")),
        (np.asfortranarray(X), y.astype("uint64")),
        (np.repeat(X, 2, axis=0)[::2], np.repeat(y, 2)[::2]),
    ):
        trainer = make()
        trainer.fit(x, labels, batch_size=4, epochs=2)
        trainer.step(x, labels)
        expected = expected or state(trainer)
        assert state(trainer) == expected


@pytest.mark.parametrize("loss", FLOATS)
def test_one_output_takes_a_vector(loss):
    X, y = data(classes=2)
    one, two = make(loss, outputs=1), make(loss, outputs=1)
    for target, trainer in ((y.astype(float), one), (y.astype("float32").reshape(-1, 1), two)):
        trainer.fit(X, target, batch_size=4)
        trainer.step(X, target)
        trainer.step(X, target)
    assert state(one) == state(two)


def test_allow_nonfinite_meets_the_loss():
    X, y = data()
    X[7, 2] = NAN
    trainer = make()
    with pytest.raises(fb.DivergenceError):
        trainer.fit(X, y, batch_size=2, shuffle=False, allow_nonfinite=True)
    assert trainer.steps == 3 and np.isfinite(trainer.net.parameters).all()


# -------------------------------------------------------------------------------------------------------- divergence


def linear(learning_rate, dtype="float64"):
    """One weight, from 0; squared error, whose gradient is 2 (w - y) for x = 1."""
    net = fb.Network(1, [Dense(1, bias=False)], dtype=dtype)
    net.parameters[:] = 0
    return fb.Trainer(net, "mean_squared_error", fb.SGD(learning_rate))


def test_divergence_in_fit():
    x, y = np.ones((1, 1)), np.full((1, 1), 100.0)
    trainer = linear(1.25, "float32")
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(x, y, epochs=1000, batch_size=1)
    error = caught.value
    epochs = len(error.history["loss"])
    assert 50 < epochs < 500
    assert (error.what, error.epoch, error.step) == ("loss", epochs, 0)
    assert error.loss == INF and error.learning_rate == 1.25
    assert error.last_loss == error.history["loss"][-1] < INF
    assert trainer.steps == trainer.epochs == epochs
    assert np.isfinite(trainer.net.parameters).all()
    for word in (f"epoch {epochs}", "inf", f"{error.last_loss:g}", "1.25", "parameters", "smaller"):
        assert word in str(error)
    # the parameters are those before the failed step
    twin = linear(1.25, "float32")
    for _ in range(epochs):
        twin.step(x, y)
    assert state(twin)[0] == state(trainer)[0]
    # and the trainer may go on
    trainer.optimizer = fb.SGD(0.25)
    trainer.net.parameters = np.zeros(1)
    history = trainer.fit(x, y, epochs=60, batch_size=1)
    assert history["loss"][-1] < 1e-6 and trainer.epochs == epochs + 60


def test_divergence_within_an_epoch():
    x, y = np.ones((2000, 1)), np.full((2000, 1), 100.0)
    trainer = linear(1.25, "float32")
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(x, y, batch_size=1, shuffle=False)
    error = caught.value
    assert error.epoch == 0 and error.step == trainer.steps > 50 and trainer.epochs == 0
    assert error.history["loss"] == []
    assert np.isfinite(error.last_loss) and np.isfinite(trainer.net.parameters).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_in_step(dtype):
    x, y = np.ones((1, 1), dtype), np.full((1, 1), 100.0, dtype)
    trainer, losses = linear(1.25, dtype), []
    with pytest.raises(fb.DivergenceError) as caught:
        for _ in range(3000):
            before = trainer.net.parameters.copy()
            losses.append(trainer.step(x, y))
    error = caught.value
    assert (error.what, error.epoch, error.step, error.loss) == ("loss", None, len(losses), INF)
    assert error.last_loss == losses[-1] and trainer.steps == len(losses)
    assert np.array_equal(before, trainer.net.parameters)


def test_a_gradient_that_is_not_finite():
    trainer = linear(1e-3, "float32")
    before = state(trainer)
    x, y = np.full((1, 1), 1e30, "float32"), np.full((1, 1), 1e15, "float32")
    for call in (lambda: trainer.fit(x, y, batch_size=1), lambda: trainer.step(x, y)):
        with pytest.raises(fb.DivergenceError, match="the gradient became nan or infinite") as caught:
            call()
        assert caught.value.what == "gradient" and np.isfinite(caught.value.loss)
        assert state(trainer) == before


def test_value_and_grad_says_what_it_finds():
    trainer = linear(1e-3, "float32")
    loss, gradient = trainer.value_and_grad(np.ones((1, 1)), np.full((1, 1), 1e30))
    assert loss == INF and gradient.shape == (1,)


def test_divergence_can_be_pickled():
    trainer = linear(1.25, "float32")
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(np.ones((1, 1)), np.full((1, 1), 100.0), epochs=1000, batch_size=1)
    other = pickle.loads(pickle.dumps(caught.value))
    assert str(other) == str(caught.value) and other.history == caught.value.history


# ------------------------------------------------------------------------------------------------------ interruption


class Interrupted:
    """A plan whose epochs pause as often as they can, and raise what Ctrl-C raises after so many slices."""

    after = None

    def __init__(self, *arguments, **named):
        self.plan = _core.Plan(*arguments, **named)

    def __getattr__(self, name):
        return getattr(self.plan, name)

    def run(self, seconds, pause_step=0):
        status = self.plan.run(1e-12, pause_step)
        if Interrupted.after is not None:
            Interrupted.after -= 1
            if Interrupted.after == 0:
                raise KeyboardInterrupt
        return status


@pytest.fixture
def pausing(monkeypatch):
    class Core:
        Plan = Interrupted

        def __getattr__(self, name):
            return getattr(_core, name)

    monkeypatch.setattr(engine_module, "_core", Core())
    monkeypatch.setattr(Interrupted, "after", None)
    return Interrupted


def by_steps(trainer, X, y, batch_size, steps):
    """The parameters of the first `steps` steps of fit, one by one."""
    done = epoch = 0
    while done < steps:
        order = _core.random_permutation(trainer.seed, random_streams.shuffle(epoch), len(X))
        for start in range(0, len(X), batch_size):
            if done == steps:
                break
            rows = order[start : start + batch_size]
            trainer.step(X[rows], y[rows])
            done += 1
        epoch += 1
    return state(trainer)[0]


@pytest.mark.parametrize("rows, batch_size", [(50, 8), (1500, 700)])
def test_pauses_change_no_bit(pausing, monkeypatch, rows, batch_size):
    X, y = data(rows)
    paused = make()
    history = paused.fit(X, y, epochs=2, batch_size=batch_size)
    monkeypatch.undo()
    whole = make()
    expected = whole.fit(X, y, epochs=2, batch_size=batch_size)
    assert state(paused) == state(whole)
    assert history["loss"] == expected["loss"] and history["gradient_norm"] == expected["gradient_norm"]


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("rows, batch_size", [(50, 8), (1500, 700)])
def test_interruption_leaves_whole_parameters(pausing, monkeypatch, after, rows, batch_size):
    X, y = data(rows)
    trainer = make()
    pausing.after = after
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, epochs=5, batch_size=batch_size)
    monkeypatch.undo()
    in_an_epoch = -(-rows // batch_size)
    assert 0 <= trainer.steps - trainer.epochs * in_an_epoch <= in_an_epoch
    assert state(trainer)[0] == by_steps(make(), X, y, batch_size, trainer.steps)
    # all goes on: the interrupted epoch begins anew
    epochs, steps = trainer.epochs, trainer.steps
    trainer.value_and_grad(X, y)
    trainer.step(X, y)
    trainer.fit(X, y, batch_size=batch_size)
    assert (trainer.epochs, trainer.steps) == (epochs + 1, steps + 1 + in_an_epoch)


SCRIPT = """
    import signal, sys, time
    import numpy as np
    import fastbp as fb
    from fastbp import _core
    from fastbp._support import random_streams
    signal.signal(signal.SIGINT, signal.default_int_handler)
    make = lambda: fb.Trainer(fb.Network(50, [fb.Dense(200, "relu"), fb.Dense(3)]), n_threads=2)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20000, 50)).astype(np.float32), rng.integers(0, 3, 20000)
    trainer = make()
    try:
        print("ready", flush=True)
        trainer.fit(X, y, epochs=10**9, batch_size=1000)
    except KeyboardInterrupt:
        twin = make()
        if trainer.epochs:
            twin.fit(X, y, epochs=trainer.epochs, batch_size=1000)
        order = _core.random_permutation(0, random_streams.shuffle(trainer.epochs), 20000)
        for step in range(trainer.steps - twin.steps):
            rows = order[step * 1000 : (step + 1) * 1000]
            twin.step(X[rows], y[rows])
        assert twin.steps == trainer.steps
        assert twin.net.parameters.tobytes() == trainer.net.parameters.tobytes()
        print("whole", trainer.steps, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        # A signal in the first instant would find fit at its checks; a little later it finds an epoch.
        threading.Event().wait(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert out.startswith("whole ")


def test_what_a_signal_handler_may_do(pausing, tmp_path):
    """A handler runs between two slices, in the thread that trains."""
    X, y = data(50)
    trainer, seen = make(), []
    run = Interrupted.run

    def handled(self, seconds, pause_step=0):
        status = run(self, seconds, pause_step)
        if not seen:
            seen.append(True)
            trainer.save(tmp_path / "run.npz")
            saved = fb.Trainer.load(tmp_path / "run.npz")
            assert saved.steps == trainer.steps == pickle.loads(pickle.dumps(trainer)).steps
            trainer.net.predict(X)
            trainer.example_gradients(X, y)
            for refused in (
                lambda: trainer.step(X, y),
                lambda: trainer.fit(X, y),
                lambda: trainer.value_and_grad(X, y),
                lambda: setattr(trainer, "optimizer", fb.Adam(0.1)),
            ):
                with pytest.raises(RuntimeError, match="in an epoch"):
                    refused()
        return status

    Interrupted.run = handled
    try:
        trainer.fit(X, y, batch_size=8)
    finally:
        Interrupted.run = run
    other = make()
    other.fit(X, y, batch_size=8)
    assert seen and state(other) == state(trainer)


# -------------------------------------------------------------------------------------------- steps, plans and memory


def test_steps_of_growing_and_shrinking_minibatches():
    X, y = data(700)
    one, two = make(), make()
    for rows in (3, 1, 40, 700, 2, 300, 257, 256):
        one.step(X[:rows], y[:rows])
        two.engine.drop_plans()
        two.step(X[:rows], y[:rows])
    assert state(one) == state(two)


def test_steps_with_labels_and_probabilities_by_turns():
    X, y = data()
    probabilities = np.eye(3, dtype=np.float32)[y]
    by_turns, labels = make(dtype="float64"), make(dtype="float64")
    for _ in range(3):
        by_turns.step(X.astype(float), y)
        by_turns.step(X.astype(float), probabilities.astype(float))
        labels.step(X.astype(float), y)
        labels.step(X.astype(float), y)
    assert np.allclose(by_turns.net.parameters, labels.net.parameters, rtol=1e-12, atol=1e-14)


def test_steps_follow_the_instruction_set():
    before, found = fb.cpu.isa(), set()
    trainer = make()
    try:
        for isa in fb.cpu.available():
            fb.cpu.use(isa)
            trainer.step(*data())
            found.add(trainer.engine.fast.isa)
    finally:
        fb.cpu.use(before)
    assert found == set(fb.cpu.available())


def test_the_optimizer_may_be_replaced():
    X, y = data()
    trainer = make(optimizer=fb.Adam(1e-2))
    trainer.step(X, y)
    trainer.optimizer = fb.Adam(0.0)
    before = trainer.net.parameters.copy()
    trainer.step(X, y)
    trainer.fit(X, y, batch_size=3)
    assert np.array_equal(before, trainer.net.parameters) and trainer.steps == 6
    trainer.optimizer = fb.Adam(1e-2, weight_decay=0.1)
    trainer.step(X, y)
    assert not np.array_equal(before, trainer.net.parameters)
    for other in ("sgd", fb.SGD(0.1, momentum=0.9)):
        with pytest.raises(ValueError, match="optimizer must keep the same state"):
            trainer.optimizer = other


def test_data_are_let_go_of_after_fit():
    X, y = data()
    seen = weakref.ref(X)
    trainer = make()
    trainer.fit(X, y, batch_size=5)
    trainer.step(X, y)
    trainer.evaluate(X, y)
    del X
    gc.collect()
    assert seen() is None


def test_gradients_returned_are_the_callers():
    X, y = data()
    trainer = make()
    loss, gradient = trainer.value_and_grad(X, y)
    kept = gradient.copy()
    trainer.step(X, y)
    assert np.array_equal(gradient, kept)
    gradient[:] = NAN
    trainer.step(X, y)
    assert np.isfinite(trainer.net.parameters).all()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
@pytest.mark.parametrize("optimizer", ["adam", fb.SGD(0.1), fb.SGD(0.1, momentum=0.9)])
def test_copies_train_on_to_the_same_bits(copied, optimizer):
    X, y = data()
    trainer = make(optimizer=optimizer, seed=3)
    trainer.fit(X, y, batch_size=3, epochs=2)
    trainer.step(X, y)
    other = copied(trainer)
    assert other.net is not trainer.net and state(other) == state(trainer)
    for each in (trainer, other):
        each.fit(X, y, batch_size=3)
        each.step(X, y)
    assert state(other) == state(trainer)
    other.step(X, y)
    assert state(other) != state(trainer)


def test_two_threads_take_turns():
    X, y = data(100)
    trainer = make()

    def work():
        for _ in range(50):
            trainer.step(X, y)
            trainer.value_and_grad(X, y)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    trainer.fit(X, y, epochs=20, batch_size=10)
    for thread in threads:
        thread.join()
    assert trainer.steps == 150 + 200 and trainer.epochs == 20


# ------------------------------------------------------------------------------------------------- what fit gives back


def test_history():
    X, y = data(20)
    trainer = make(dtype="float64")
    history = trainer.fit(X.astype(float), y, epochs=3, batch_size=20, validation=(X[:7], y[:7]))
    lists = history.pop("layer_gradient_norms")
    assert set(history) == {"loss", "gradient_norm", "learning_rate", "val_loss", "seconds"}
    assert all(len(values) == 3 and all(isinstance(value, float) for value in values) for values in history.values())
    assert len(lists) == 3 and all(len(norms) == len(trainer.net.weights) for norms in lists)
    assert np.allclose(np.linalg.norm(lists, axis=1), history["gradient_norm"], rtol=1e-12)
    assert set(history["learning_rate"]) == {trainer.optimizer.learning_rate}
    assert history["val_loss"][-1] == trainer.evaluate(X[:7], y[:7])
    assert "val_loss" not in trainer.fit(X, y, batch_size=20)
    fresh = make(dtype="float64")
    loss, gradient = fresh.value_and_grad(X, y)
    assert np.isclose(history["loss"][0], loss, rtol=1e-12)
    assert np.isclose(history["gradient_norm"][0], np.linalg.norm(gradient), rtol=1e-12)


def test_tolerance_stops():
    x, y = np.ones((1, 1)), np.full((1, 1), 100.0)
    trainer = linear(0.25)  # w moves by 50, 25, 12.5, ...
    history = trainer.fit(x, y, epochs=1000, batch_size=1, tolerance=10)
    assert len(history["loss"]) == trainer.epochs == 4
    assert trainer.net.parameters[0] == 93.75
    assert len(linear(0.25).fit(x, y, epochs=100, batch_size=1, tolerance=0)["loss"]) == 100


def test_verbose_prints_a_line_an_epoch(capsys):
    X, y = data()
    make().fit(X, y, epochs=2, batch_size=5, validation=(X, y), verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2") and "val_loss" in lines[1]
    make().fit(X, y, epochs=2, batch_size=5)
    assert capsys.readouterr().out == ""


def test_evaluate_goes_in_slices(monkeypatch):
    X, y = data(1000)
    trainer = make(dtype="float64")
    whole, (losses, gradients) = trainer.evaluate(X, y), trainer.example_gradients(X, y)
    monkeypatch.setattr("fastbp.network.SLICE", 1)
    assert np.isclose(trainer.evaluate(X, y), whole, rtol=1e-14)
    assert np.isclose(whole, losses.mean(), rtol=1e-12)
    again = trainer.example_gradients(X, y)
    assert np.array_equal(again[0], losses) and np.array_equal(again[1], gradients)


def test_repr():
    text = repr(make())
    assert text.startswith("Trainer(Network(4, [") and "loss=SoftmaxCrossEntropy()" in text


def test_probabilities_are_looked_at_in_every_step():
    trainer = fb.Trainer(fb.Network(2, [fb.Dense(3)]), "binary_cross_entropy")
    x, y = np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)
    trainer.step(x, y)
    before = trainer.net.parameters.copy()
    with pytest.raises(ValueError, match="y"):
        trainer.step(x, 5 * y)
    assert trainer.steps == 1 and np.array_equal(trainer.net.parameters, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this system")
def test_a_handler_that_raises_during_a_step_loses_no_count():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    # The gradient of the bias is a constant of 1, so the bias counts the updates.
    trainer = fb.Trainer(fb.Network(1, [fb.Dense(1)], "float64"), fb.Pinball(0.5, "sum"), fb.SGD(2.0))
    x, y = np.zeros((64, 1)), np.full((64, 1), -1e9)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for _ in range(20):
            with pytest.raises(Stop):
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while True:
                    trainer.step(x, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert -trainer.net.parameters[1] == 64 * trainer.steps


@pytest.mark.parametrize("optimizer", [fb.Adam(eps=1e-50), fb.SGD(1e39), fb.SGD(1e-3, weight_decay=1e300)])
def test_constants_that_float32_cannot_hold(optimizer):
    with pytest.raises(ValueError, match="of the optimizer is .* in float32"):
        make(optimizer=optimizer)
    trainer = make()
    if isinstance(optimizer, fb.Adam):
        with pytest.raises(ValueError, match="eps of the optimizer is 1e-50, which is 0 in float32"):
            trainer.optimizer = optimizer
    make(optimizer=optimizer, dtype="float64")
    with pytest.raises(ValueError, match=r"LeakyReLU\(.*\) is 1e\+39, which is inf in float32"):
        fb.Network(2, [Dense(2, fb.LeakyReLU(1e39))])


# ------------------------------------------------------------------------------------------------- read-only vectors


UPDATES = {
    "step": lambda trainer, X, y: trainer.step(X, y),
    "fit": lambda trainer, X, y: trainer.fit(X, y),
    "apply": lambda trainer, X, y: trainer.apply(np.ones_like(trainer.net.parameters)),
}


@pytest.mark.parametrize("call", UPDATES)
@pytest.mark.parametrize("name", ["parameters", "average", "statistics"])
def test_a_vector_that_was_made_read_only(name, call):
    """Also after plans have been made, that hold it as they found it."""
    X, y = data()
    trainer = fb.Trainer(fb.Network(4, [Dense(6), fb.BatchNorm(), Dense(3)]), average=0.5)
    for made in (False, True):
        if made:
            for update in UPDATES.values():
                update(trainer, X, y)
        net = trainer.net
        vector = {"parameters": net.parameters, "average": trainer.averaged, "statistics": net.statistics}[name]
        before, values = state(trainer), vector.copy()
        vector.flags.writeable = False
        try:
            with pytest.raises(ValueError, match=f"{name} .*must be writeable"):
                UPDATES[call](trainer, X, y)
        finally:
            vector.flags.writeable = True
        assert state(trainer) == before and np.array_equal(vector, values)
    trainer.net.predict(X)
    UPDATES[call](trainer, X, y)
