"""Signals and other threads within calls of the core that take long: one update, or one gradient, of many wide rows."""

import signal
import threading

import numpy as np
import pytest

import fastbp as fb

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this system")

ROWS, WIDTH = 1536, 1024
WAIT = 120  # s; only a deadlock takes so long


class Stop(Exception):
    pass


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 256)).astype("float32"), rng.integers(0, 10, ROWS)


def own_loss(output, target):
    return float(np.mean(output**2)), output * np.float32(2 / output.size)


NETS = {
    "whole minibatches": ([fb.Dense(WIDTH, "relu"), fb.BatchNorm(), fb.Dense(WIDTH), fb.Dense(10)], {}),
    "blocks of rows": ([fb.Dense(WIDTH, "relu"), fb.Dense(WIDTH), fb.Dense(10)], {}),
    "a function as loss": ([fb.Dense(WIDTH, "relu"), fb.Dense(WIDTH), fb.Dense(10)], {"loss": own_loss}),
}
CALLS = {
    "step": lambda trainer, X, y: trainer.step(X, y),
    "value_and_grad": lambda trainer, X, y: trainer.value_and_grad(X, y, inputs=True),
    "fit": lambda trainer, X, y: trainer.fit(X, y, batch_size=ROWS, shuffle=False),
}


def make(net, **changed):
    layers, settings = NETS[net]
    return fb.Trainer(
        fb.Network(256, layers, seed=1), **{"optimizer": fb.Adam(1e-3), "n_threads": 1, **settings, **changed}
    )


def is_in_call(trainer):
    return any(plan.in_call for plan, _ in trainer.engine.plans.values())


class WithinACall:
    """Calls a function once from a signal's handler while a call of the core is under way in a trainer."""

    def __init__(self, trainer, function):
        self.trainer, self.function, self.called = trainer, function, False

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self._handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        return self

    def _handle(self, *_):
        if not is_in_call(self.trainer):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        elif not self.called:
            self.called = True
            self.function()

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("net", NETS)
def test_a_signal_ends_a_call(net, call, n_threads):
    """The error of the handler comes out of the call, and no update is made."""
    if (net, call) == ("blocks of rows", "fit"):
        pytest.skip("such an epoch returns to Python after a block of rows: see test_trainer_errors.py")
    (X, y), trainer = data(), make(net, n_threads=n_threads)
    before = trainer.engine.snapshot()[1]

    def stop():
        raise Stop

    with pytest.raises(Stop), WithinACall(trainer, stop) as within:
        CALLS[call](trainer, X, y)
    assert within.called and trainer.steps == trainer.epochs == 0
    for name, vector in trainer.engine.snapshot()[1].items():
        assert np.array_equal(vector, before[name]), name
    fresh = make(net)
    assert trainer.step(X[:300], y[:300]) == fresh.step(X[:300], y[:300])  # and it can be used
    assert np.array_equal(trainer.net.parameters, fresh.net.parameters)


@pytest.mark.parametrize("net", ["whole minibatches", "blocks of rows"])
def test_what_a_handler_may_do_within_a_call(net, tmp_path):
    """It reads the state before the update; it is refused what would change it. The update is as if it had not run."""
    (X, y), trainer, undisturbed = data(), make(net), make(net)
    expected = undisturbed.net.predict(X[:10])

    def handle():
        assert np.array_equal(trainer.net.predict(X[:10]), expected)
        trainer.evaluate(X, y)
        trainer.save(tmp_path / "trainer.npz")
        assert fb.Trainer.load(tmp_path / "trainer.npz").steps == 0
        for refused in (
            lambda: trainer.step(X, y),
            lambda: trainer.fit(X, y),
            lambda: trainer.value_and_grad(X, y),
            lambda: trainer.apply(np.zeros_like(trainer.net.parameters)),
        ):
            with pytest.raises(RuntimeError, match="in an epoch"):
                refused()

    with WithinACall(trainer, handle) as within:
        loss = trainer.step(X, y)
    assert within.called and loss == undisturbed.step(X, y) and trainer.steps == 1
    assert np.array_equal(trainer.net.parameters, undisturbed.net.parameters)


def test_other_threads_read_within_a_call():
    (X, y), trainer = data(), make("whole minibatches")
    expected, seen = trainer.net.predict(X[:10]), []
    read = threading.Thread(target=lambda: seen.append((trainer.net.predict(X[:10]), trainer.steps)), daemon=True)
    with WithinACall(trainer, read.start) as within:
        trainer.step(X, y)
    read.join(WAIT)
    output, steps = seen[0]
    assert within.called and steps == 0 and np.array_equal(output, expected)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_pieces_change_no_bit(n_threads):
    """A minibatch for a Python loss goes through the net at once, its dense kernels in pieces of whole blocks of rows;
    one for a loss of the core in blocks."""
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((1100, 700)).astype("float32"), rng.standard_normal((1100, 600)).astype("float32")

    def absolute(output, target):
        return float(np.mean(np.abs(output - target))), np.sign(output - target) * np.float32(1 / output.size)

    results = []
    for loss in (absolute, "mean_absolute_error"):
        net = fb.Network(700, [fb.Dense(600, "tanh"), fb.Residual([fb.Dense(600, "relu"), fb.Dense(600)])], seed=7)
        results.append(fb.Trainer(net, loss, n_threads=n_threads).value_and_grad(X, y, inputs=True)[1:])
    for pieces, blocks in zip(*results, strict=True):
        assert np.array_equal(pieces, blocks)
