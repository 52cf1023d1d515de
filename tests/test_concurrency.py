"""One net or trainer in several threads, and in the child of a fork, while it trains.

Who reads sees the state after a whole update: what a save, a copy, a prediction or an evaluation gives must be what the
same training, on its own, gave after that many updates.
"""

import copy
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastbp as fb
from fastbp import network as network_module
from fastbp.callbacks import Callback

ROWS, BATCH, EPOCHS = 640, 16, 20
WAIT = 120  # s; only a deadlock takes so long


def data(rows=ROWS):
    rng = np.random.default_rng(5)
    return rng.standard_normal((rows, 12)).astype("float32"), rng.integers(0, 4, rows)


def make(**changed):
    layers = [fb.Dense(32, "relu"), fb.BatchNorm(), fb.Dense(4)]
    settings = {"optimizer": fb.Adam(1e-2), "average": 0.9, "n_threads": 1, **changed}
    return fb.Trainer(fb.Network(12, layers, seed=1), **settings)


def digest(*arrays):
    return hashlib.sha1(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def state(trainer):
    vectors = trainer.engine.snapshot()[1]
    return digest(*vectors.values())


class EveryUpdate(Callback):
    """Calls a function after every update, and before the first."""

    stride = 1

    def __init__(self, function):
        self.function = function

    def train_begin(self, run):
        self.function()

    def batch_end(self, run):
        self.function()


@pytest.fixture(scope="module")
def alone():
    """What is seen after each number of updates when nothing else runs."""
    (X, y), trainer, seen = data(), make(), {"state": [], "net": [], "average": [], "predict": [], "evaluate": []}

    def look():
        net = trainer.net
        seen["state"].append(state(trainer))
        seen["net"].append(digest(net.parameters, net.statistics))
        seen["average"].append(digest(trainer.averaged, net.statistics))
        seen["predict"].append(digest(net.predict(X)))
        seen["evaluate"].append(trainer.evaluate(X, y))

    trainer.fit(X, y, epochs=EPOCHS, batch_size=BATCH, callbacks=EveryUpdate(look))
    assert len(set(seen["state"])) == len(seen["state"]) == EPOCHS * (ROWS // BATCH) + 1
    return seen


def while_it_trains(times=12):
    """Yield trainers that train in another thread meanwhile, `times` times at least: several, since a fit ends soon."""
    X, y = data()
    count = 0
    while count < times:
        trainer, errors = make(), []

        def fit(trainer=trainer, errors=errors):
            try:
                trainer.fit(X, y, epochs=EPOCHS, batch_size=BATCH)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=fit)
        thread.start()
        while thread.is_alive():
            yield trainer
            count += 1
        thread.join()
        assert not errors and trainer.epochs == EPOCHS


def finished(*functions):
    """Run functions in a thread each; whether all end."""
    threads = [threading.Thread(target=function, daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    return not any(thread.is_alive() for thread in threads)


# ----------------------------------------------------------------------------------------------- whole updates


def test_files_beside_training(alone, tmp_path):
    for trainer in while_it_trains():
        trainer.save(tmp_path / "trainer.npz")
        loaded = fb.Trainer.load(tmp_path / "trainer.npz")
        assert state(loaded) == alone["state"][loaded.steps]
        trainer.net.save(tmp_path / "net.npz")
        net = fb.load(tmp_path / "net.npz")
        assert digest(net.parameters, net.statistics) in alone["net"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_copies_beside_training(alone, copied):
    for trainer in while_it_trains(40):
        other = copied(trainer)
        assert state(other) == alone["state"][other.steps]
        net = copied(trainer.net)
        assert digest(net.parameters, net.statistics) in alone["net"]
        net = trainer.averaged_network()
        assert digest(net.parameters, net.statistics) in alone["average"]


@pytest.mark.parametrize("slices", [1, 3], ids=["one slice", "three slices"])
def test_predictions_and_losses_beside_training(alone, slices, monkeypatch):
    if slices > 1:
        monkeypatch.setattr(network_module, "SLICE", 1)
    X, y = data()
    assert -(-ROWS // make().net.rows_in_a_slice()) == slices
    for trainer in while_it_trains(40):
        assert digest(trainer.net.predict(X)) in alone["predict"]
        assert trainer.evaluate(X, y) in alone["evaluate"]


def test_a_jacobian_beside_training():
    X, _ = data(96)
    trainer, expected = make(), set()

    def look():
        expected.add(digest(trainer.net.jacobian(X)))

    few = dict(epochs=2, batch_size=BATCH)
    trainer.fit(*data(), callbacks=EveryUpdate(look), **few)
    assert len(expected) == 2 * (ROWS // BATCH) + 1
    trainer, wait = make(), threading.Event()
    seen = []

    def read():
        while not wait.is_set():
            seen.append(digest(trainer.net.jacobian(X)))

    reader = threading.Thread(target=read)
    reader.start()
    trainer.fit(*data(), **few)
    wait.set()
    reader.join(WAIT)
    assert seen and set(seen) <= expected


def test_early_stopping_sets_back_the_net_at_once():
    """Parameters and statistics of the best epoch are seen together or not at all."""
    X, y = data()
    trainer, over, seen = make(), threading.Event(), []

    def read():
        while not over.is_set():
            seen.append(digest(*trainer.net.lock.copies(trainer.net.parameters, trainer.net.statistics)))

    expected = {digest(trainer.net.parameters, trainer.net.statistics)}
    look = EveryUpdate(lambda: expected.add(digest(trainer.net.parameters, trainer.net.statistics)))
    reader = threading.Thread(target=read)
    reader.start()
    stopping = fb.callbacks.EarlyStopping(patience=2)
    trainer.fit(X, y, epochs=30, batch_size=BATCH, validation=0.3, callbacks=[look, stopping])
    over.set()
    reader.join(WAIT)
    assert seen and set(seen) <= expected


def test_lbfgs_shows_whole_iterations():
    pytest.importorskip("scipy")
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((200, 5)).astype("float32"), rng.standard_normal((200, 1)).astype("float32")
    seen, steps = [], []

    class Look(Callback):
        def epoch_end(self, run):
            steps.append(digest(run.net.parameters))

    net = fb.Network(5, [fb.Dense(20, "tanh"), fb.Dense(1)], seed=3)
    trainer = fb.Trainer(net, "mean_squared_error", fb.LBFGS(), n_threads=1)
    start, over = digest(net.parameters), threading.Event()

    def read():
        while not over.is_set():
            seen.append(digest(*net.lock.copies(net.parameters)))

    reader = threading.Thread(target=read)
    reader.start()
    trainer.fit(X, y, epochs=60, callbacks=Look())
    over.set()
    reader.join(WAIT)
    assert seen and set(seen) <= {start, *steps}


# -------------------------------------------------------------------------------------------- nobody waits for long


def test_a_callback_waits_for_other_threads(tmp_path):
    """A callback that waits for a thread that reads would never end if reading waited for the fit."""
    (X, y), trainer, ended = data(64), make(), []

    def look():
        ended.append(
            finished(
                lambda: trainer.evaluate(X, y),
                lambda: trainer.save(tmp_path / "trainer.npz"),
                lambda: trainer.net.save(tmp_path / "net.npz"),
                lambda: trainer.net.predict(X),
                lambda: copy.deepcopy(trainer),
                lambda: pickle.dumps(trainer),
                lambda: trainer.averaged_network(),
            )
        )

    trainer.fit(X, y, epochs=1, batch_size=BATCH, callbacks=EveryUpdate(look))
    assert ended == [True] * 5


def test_reading_does_not_wait_for_the_end_of_a_fit(tmp_path):
    """The fit ends when the others have read: never, if they wait for its end."""
    X, y = data()
    trainer, over = make(), threading.Event()

    def stop_when_over(run):
        if over.is_set():
            run.stop()

    def read():
        for _ in range(20):
            trainer.evaluate(X, y)
            trainer.net.predict(X)
            trainer.save(tmp_path / "trainer.npz")

    fit = threading.Thread(
        target=lambda: trainer.fit(X, y, epochs=10**9, batch_size=BATCH, callbacks=[stop_when_over]), daemon=True
    )
    fit.start()
    assert finished(read)
    over.set()
    fit.join(WAIT)
    assert not fit.is_alive()


def test_one_net_in_two_trainers():
    """Each update takes 1 off the bias: none is lost, whichever thread makes it."""
    net = fb.Network(1, [fb.Dense(1)])
    net.parameters[...] = 0
    x, y = np.zeros((256, 1), "float32"), np.full((256, 1), -1e7, "float32")
    trainers = [fb.Trainer(net, "mean_absolute_error", fb.SGD(1.0), n_threads=1) for _ in range(2)]

    def steps():
        for _ in range(500):
            trainers[0].step(x[:2], y[:2])

    def epochs():
        trainers[1].fit(x, y, epochs=40, batch_size=8)

    assert finished(steps, epochs)
    assert [trainer.steps for trainer in trainers] == [500, 1280]
    assert net.parameters.tolist() == [0, -1780]


def test_a_net_can_be_assigned_to_beside_predictions():
    net = fb.Network(4, [fb.Dense(4000), fb.Dense(1)])
    x = np.ones((1, 4), "float32")
    vectors = [np.full_like(net.parameters, value) for value in (0.25, 0.5)]
    expected = set()
    for vector in vectors:
        net.parameters = vector
        expected.add(net.predict(x).item())
    over, seen = threading.Event(), set()

    def write():
        while not over.is_set():
            for vector in vectors:
                net.parameters = vector

    def read():
        for _ in range(300):
            seen.add(net.predict(x).item())
        over.set()

    assert finished(write, read) and seen <= expected


# ------------------------------------------------------------------------------------------------------ the lock


def test_a_lock_is_handed_on_in_turn():
    """A thread that releases the lock and acquires it again at once does not keep others waiting."""
    lock, over, turns = fb._core.Lock(), threading.Event(), []

    def hold():
        while not over.is_set():
            with lock:
                pass

    def wait():
        for _ in range(200):
            with lock:
                turns.append(1)
        over.set()

    assert finished(hold, wait) and len(turns) == 200


def test_a_lock_knows_its_thread():
    lock = fb._core.Lock()
    a, b = np.zeros(3), np.arange(3.0)
    with lock, lock:
        lock.assign((a, b))  # its own thread is let in
        assert a.tolist() == [0, 1, 2] and lock.changes == 1
        assert lock.copies(a)[0].tolist() == a.tolist() and not np.shares_memory(lock.copies(a)[0], a)
    assert finished(lambda: lock.assign((a, b)))
    with pytest.raises(RuntimeError, match="not held"):
        lock.__exit__(None, None, None)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(lock)


# ---------------------------------------------------------------------------------------------------------- forks

FORKS = """
import os, signal, sys, threading
import numpy as np
import fastbp as fb
sys.path.insert(0, sys.argv[1])
from test_concurrency import BATCH, EPOCHS, data, digest, make, state

busy, forks = sys.argv[2], int(sys.argv[3])
X, y = data()
trainer, over, expected = make(), threading.Event(), set()
wide = fb.Network(64, [fb.Dense(512, "relu"), fb.Dense(256)])
rows = np.ones((512, 64), "float32")
wide.n_threads = 2
outputs = digest(wide.predict(rows))

class Look(fb.callbacks.Callback):
    stride = 1
    def batch_end(self, run):
        if over.is_set():
            run.stop()

def fit():
    while not over.is_set():
        trainer.fit(X, y, epochs=1, batch_size=BATCH, callbacks=Look())

def predict():
    while not over.is_set():
        assert digest(wide.predict(rows)) == outputs

targets = {"fit": [fit], "predict": [predict], "both": [fit, predict, predict]}[busy]
threads = [threading.Thread(target=target) for target in targets]
for thread in threads:
    thread.start()

def child():
    signal.alarm(60)  # kills a child that hangs
    before, steps = state(trainer), trainer.steps
    if digest(wide.predict(rows)) != outputs:
        return 2
    trainer.net.predict(X)
    trainer.evaluate(X, y)
    if state(trainer) != before or trainer.steps != steps:
        return 3
    trainer.step(X[:4], y[:4])
    trainer.fit(X, y, epochs=1, batch_size=64)
    if trainer.steps != steps + 1 + len(X) // 64:
        return 4
    return 0

codes = []
for number in range(forks):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = child()
        finally:
            os._exit(code)
    codes.append(os.waitpid(pid, 0)[1])
    if codes[-1]:
        break
over.set()
for thread in threads:
    thread.join()
assert codes == [0] * forks, codes
print("forked", forks)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("busy", ["fit", "predict", "both"])
def test_forks_beside_busy_threads(busy):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, here, busy, "34"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "forked 34\n", done.stdout + done.stderr


def in_child(trainer, pipe):
    X, y = data(64)
    trainer.step(X, y)
    pipe.send((trainer.steps, digest(trainer.net.parameters)))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_processes_of_every_kind(method):
    X, y = data(64)
    trainer = make()
    trainer.step(X, y)
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=in_child, args=(trainer, theirs))
    process.start()
    assert mine.poll(WAIT)
    got = mine.recv()
    process.join(WAIT)
    trainer.step(X, y)
    assert process.exitcode == 0 and got == (2, digest(trainer.net.parameters))


def test_a_fork_within_a_callback():
    """The child is in the fit as well, and goes on with it."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_concurrency import EveryUpdate, BATCH, data, digest, make
X, y = data()
expected, trainer, pids = make(), make(), []
expected.fit(X, y, epochs=2, batch_size=BATCH)
def fork():
    if trainer.steps == 30 and not pids:
        pids.append(os.fork())
trainer.fit(X, y, epochs=2, batch_size=BATCH, callbacks=EveryUpdate(fork))
assert digest(trainer.net.parameters) == digest(expected.net.parameters)
if pids == [0]:
    os._exit(0)
assert os.waitpid(pids[0], 0)[1] == 0
print("both")
"""
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True, timeout=WAIT)
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr


# ------------------------------------------------------------------------------------------------- the end of Python

EXIT = """
import os, signal, sys, threading, time
import numpy as np, fastbp as fb
net = fb.Network(64, [fb.Dense(256, "relu"), fb.Dense(10)])
trainer = fb.Trainer(net)
X, y = np.random.default_rng(0).random((4096, 64), "float32"), np.zeros(4096, int)
def fit():
    trainer.fit(X, y, epochs=10**6)
def predict():
    while True:
        net.predict(X)
for work in (fit, predict):
    threading.Thread(target=work, daemon=True).start()
while trainer.steps < 3:
    time.sleep(0.001)
print("out", flush=True)
if sys.argv[1] == "SIGTERM":
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["exit", "SIGTERM"])
def test_python_ends_beside_daemon_threads(end):
    if end == "SIGTERM" and sys.platform == "win32":
        pytest.skip("no SIGTERM on this system")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", EXIT, end], capture_output=True, text=True, timeout=WAIT)
        expected = 0 if end == "exit" else -15
        assert (done.returncode, done.stdout, done.stderr) == (expected, "out\n", ""), done


def test_every_update_is_a_change_of_the_net():
    """`Network.lock.changes`, by which a call in slices notices that the net has changed between two of them."""
    X, y = data(64)
    function = make(loss=lambda output, target: (float(output.sum()), np.ones_like(output)), optimizer=fb.SGD(1e-3))
    for trainer, target in ((make(), y), (function, np.zeros((64, 4), "float32"))):
        gradient = np.ones_like(trainer.net.parameters)
        for work in (
            lambda t=trainer, y=target: t.step(X, y),
            lambda t=trainer, y=target: t.step(X, y),  # the short way
            lambda t=trainer, g=gradient: t.apply(g),
            lambda t=trainer, y=target: t.fit(X, y, batch_size=16),
        ):
            before, parameters = trainer.net.lock.changes, trainer.net.parameters.copy()
            work()
            assert trainer.net.lock.changes > before
            assert not np.array_equal(trainer.net.parameters, parameters)


def test_an_epoch_pauses_where_threads_wait():
    """Long before the end of its time slice, which here has no end in practice."""
    trainer = make(average=None, optimizer=fb.SGD(1e-3))
    (X, y), engine, pauses, over = data(), trainer.engine, [], threading.Event()
    plan, count = engine.plan_for(trainer.loss.code_labels, BATCH, whole=True), 20000
    plan.begin_epoch(X, y, BATCH, np.resize(np.arange(ROWS), count * BATCH), np.full(count, 1e-3), engine.updates)

    def run():
        while plan.run(1e6) == fb._core.PAUSED:
            pauses.append(plan.step_count)
        over.set()

    def wait():
        while not over.is_set():
            with trainer.net.lock:
                pass

    assert finished(wait, run) and engine.steps == count
    assert pauses and pauses[0] < count


WHOLE = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
from test_concurrency import BATCH, EPOCHS, EveryUpdate, data, make, state

(X, y), alone, seen, codes = data(), make(), [], []
alone.fit(X, y, epochs=EPOCHS, batch_size=BATCH, callbacks=EveryUpdate(lambda: seen.append(state(alone))))
while len(codes) < 20:
    trainer = make()
    thread = threading.Thread(target=lambda: trainer.fit(X, y, epochs=EPOCHS, batch_size=BATCH))
    thread.start()
    while thread.is_alive():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if seen[trainer.steps] == state(trainer) else 2
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    thread.join()
assert set(codes) == {0}, codes
print("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_finds_whole_updates():
    """Parameters, moments and statistics in the child are those after its number of updates."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WHOLE, os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr
