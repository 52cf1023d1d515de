"""Whole training runs: against the twin, against golden runs by PyTorch, and what a run must keep to whatever happens
around it: no allocation, pauses, forks, other threads, divergence.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden import make

import fastbp as fb
from fastbp import SGD, Adam, Dense, Pinball, Residual, _core, reference
from fastbp._support import network_steps, random_streams
from fastbp._support.plan_spec import PlanSpec, PlanVectors
from fastbp.layers import Layer
from fastbp.losses import Loss
from fastbp.optimizers import Optimizer

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ["float32", "float64"]

# ---------------------------------------------------------------------------------------------------- against the twin

NETS = {
    "one layer": lambda: [Dense(3)],
    "three layers": lambda: [Dense(33, "relu"), Dense(17, "tanh"), Dense(3)],
    "no biases": lambda: [Dense(20, "leaky_relu", bias=False), Dense(3, bias=False)],
    "blocks": lambda: [
        Residual([Dense(24, "softplus"), Dense(9)]),
        Dense(16, "sigmoid"),
        Residual([Residual([Dense(16, "tanh")]), Dense(31, "relu"), Dense(16)]),
        Dense(3),
    ],
    "an activation at the end": lambda: [Dense(19, "tanh"), Dense(3, "softplus")],
    "a block at the end": lambda: [Dense(3), Residual([Dense(8, "tanh"), Dense(3)])],
}
LOSSES = {
    "labels": "softmax_cross_entropy",
    "probabilities": fb.SoftmaxCrossEntropy(reduction="sum"),
    "binary": "binary_cross_entropy",
    "squares": "mean_squared_error",
    "quantiles": Pinball([0.1, 0.5, 0.9]),
}
OPTIMIZERS = {
    "sgd": SGD(0.02, momentum=0.9, weight_decay=0.01),
    "adam": Adam(0.005),
    "adam with decay": Adam(0.005, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.02),
}
# Relative to the norm of the parameters. Rounding errors grow with the steps: 40 here.
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


def rows_of(kind, rows, inputs, outputs, dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, inputs))
    if kind == "labels":
        y = np.argmax(X[:, :outputs] + 0.3 * rng.standard_normal((rows, outputs)), axis=1)
    elif kind in ("probabilities", "binary"):
        y = np.exp(X[:, :outputs])
        y = y / y.sum(axis=1, keepdims=True) if kind == "probabilities" else y / (1 + y)
    else:
        y = np.sin(X[:, :outputs]) + 0.1 * rng.standard_normal((rows, outputs))
    return X.astype(dtype), y if kind == "labels" else y.astype(dtype)


def distance(a, b):
    return np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)) / np.linalg.norm(b.astype(np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_a_run_like_the_twins(net, kind, optimizer, dtype):
    """Five epochs, shuffled, with validation: losses, gradient norms, parameters and predictions."""
    X, y = rows_of(kind, 101, 9, 3, dtype)
    rate = {"probabilities": 0.002}.get(kind, OPTIMIZERS[optimizer].learning_rate)  # a sum, not a mean
    how = Optimizer.from_dict(OPTIMIZERS[optimizer].to_dict() | {"learning_rate": rate})
    histories, nets = [], []
    for home in (fb, reference):
        nets.append(home.Network(9, NETS[net](), dtype=dtype, seed=4))
        trainer = home.Trainer(nets[-1], LOSSES[kind], how, seed=2)
        histories.append(trainer.fit(X, y, epochs=4, batch_size=13, validation=(X[:40], y[:40])))
        more = trainer.fit(X, y, epochs=1, batch_size=13, validation=(X[:40], y[:40]))
        histories[-1] = {key: [*values, *more[key]] for key, values in histories[-1].items()}
        assert (trainer.steps, trainer.epochs) == (40, 5)
    tolerance = TOLERANCE[dtype]
    assert distance(nets[0].parameters, nets[1].parameters) <= tolerance
    for key in ("loss", "gradient_norm", "val_loss"):
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=tolerance, atol=tolerance, err_msg=key)
    assert histories[0]["loss"][-1] < histories[0]["loss"][0]
    assert distance(nets[0].predict(X), nets[1].predict(X)) <= 10 * tolerance


@pytest.mark.parametrize("dtype", DTYPES)
def test_tolerance_stops_like_the_twins(dtype):
    """After the first epoch in which no parameter moved by so much: the largest move counts, not the smallest."""
    X, y = rows_of("squares", 60, 4, 3, dtype)
    lengths, nets = [], []
    for home in (fb, reference):
        net = home.Network(4, [Dense(6, "tanh"), Dense(3)], dtype=dtype, seed=1)
        trainer = home.Trainer(net, "mean_squared_error", SGD(0.2), seed=2)
        history = trainer.fit(X, y, epochs=500, batch_size=60, shuffle=False, tolerance=2e-3)
        lengths.append(len(history["loss"]))
        nets.append(net)
        before = net.parameters.copy()
        trainer.fit(X, y, batch_size=60, shuffle=False)
        assert np.abs(net.parameters - before).max() < 2e-3
    assert lengths[0] == lengths[1] and 10 < lengths[0] < 500
    assert distance(nets[0].parameters, nets[1].parameters) < TOLERANCE[dtype]


# ------------------------------------------------------------------------------------------------------ golden values

GOLDEN = json.loads(make.PATH.read_text())["runs"]


def test_golden_runs_are_those_described():
    """training.json was made from what make.py says now."""
    assert {name: golden["run"] for name, golden in GOLDEN.items()} == json.loads(json.dumps(make.RUNS))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("home", [fb, reference], ids=["compiled", "twin"])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name, home, dtype):
    """Independent runs, stored: neither PyTorch nor any code of fastbp had a part in the values compared with."""
    run, result = GOLDEN[name]["run"], GOLDEN[name]["result"]
    x, target, parameters = make.data(run)
    x = np.array(x, dtype)
    target = np.array(target) if run["target"] == "labels" else np.array(target, dtype)
    net = home.Network(run["inputs"], [Layer.from_dict(layer) for layer in run["layers"]], dtype=dtype)
    net.parameters = np.array(parameters, dtype)
    trainer = home.Trainer(net, Loss.from_dict(run["loss"]), Optimizer.from_dict(run["optimizer"]))
    history = trainer.fit(x, target, epochs=run["epochs"], batch_size=run["batch"], shuffle=False)
    tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
    np.testing.assert_allclose(history["loss"], result["loss"], rtol=tolerance)
    np.testing.assert_allclose(history["gradient_norm"], result["gradient_norm"], rtol=tolerance)
    assert distance(net.parameters, np.array(result["parameters"])) <= tolerance


# -------------------------------------------------------------------------------------------- the same bits, whatever


def run_script(code, *arguments, timeout=60, **environment):
    """Run Python code in a process of its own and return what it printed. If it hangs, it ends with all it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()
        pytest.fail(f"still running after {timeout} seconds")
    assert process.returncode == 0, f"exit code {process.returncode}: {errors}"
    return output


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_make_a_fit(dtype, optimizer):
    """step() minibatch by minibatch is fit() without shuffling; and fit() with it, in the order it says."""
    X, y = rows_of("labels", 700, 20, 5, dtype)

    def trainer():
        net = fb.Network(20, [Dense(40, "relu"), Residual([Dense(40, "tanh")]), Dense(5)], dtype=dtype, seed=1)
        return fb.Trainer(net, "softmax_cross_entropy", OPTIMIZERS[optimizer], seed=3)

    for batch in (64, 300):
        for shuffle in (False, True):
            whole, single = trainer(), trainer()
            history = whole.fit(X, y, epochs=2, batch_size=batch, shuffle=shuffle)
            for epoch in range(2):
                losses = []
                order = np.arange(700)
                if shuffle:
                    order = fb.ops.random_permutation(3, random_streams.shuffle(epoch), 700)
                for start in range(0, 700, batch):
                    rows = order[start : start + batch]
                    losses.append(single.step(X[rows], y[rows]) * len(rows))
                assert history["loss"][epoch] == pytest.approx(sum(losses) / 700, rel=1e-14)
            assert same_bits(whole.net.parameters, single.net.parameters)
            assert whole.steps == single.steps == 2 * -(-700 // batch)


def plan_of(dtype, rows, threads, seed=0):
    """A plan over vectors of its own, and its parameters."""
    inputs, layers = 70, [Dense(128, "relu"), Residual([Dense(60, "tanh"), Dense(128)]), Dense(6)]
    net = fb.Network(inputs, layers, dtype=dtype, seed=seed)
    vectors = [np.zeros_like(net.parameters) for _ in range(3)]
    records = [step.record for step in network_steps.steps_of(inputs, layers)]
    spec = PlanSpec(dtype, records, rows, threads=threads, loss=0, optimizer=Adam(1e-3).constants)
    plan = _core.Plan(spec, PlanVectors(net.parameters, vectors[0], (*vectors[1:], None)))
    return plan, net, vectors


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [50, 600])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pauses_change_nothing(dtype, batch, threads):
    """An epoch in the shortest time slices, pausing within minibatches of several row blocks too, and in one."""
    X, y = rows_of("labels", 1500, 70, 6, dtype)
    order = np.random.default_rng(1).permutation(1500)
    rates = np.full(-(-1500 // batch), 1e-3)
    results = []
    for seconds in (float("inf"), 1e-9):
        plan, net, vectors = plan_of(dtype, batch, threads)
        slices, updates = 0, _core.Updates(0)
        for epoch in range(2):
            plan.begin_epoch(X, y, batch, order if epoch == 0 else None, rates, updates)
            status = plan.run(seconds)
            slices += 1
            while status == _core.PAUSED:
                assert np.isfinite(net.parameters).all()
                status = plan.run(seconds)
                slices += 1
            assert status == _core.OK
        assert updates.done == 2 * len(rates)
        figures = np.array([plan.mean_loss, plan.squared_norm_sum, updates.last_loss])
        results.append((net.parameters, *vectors, figures))
    blocks = 2 * sum(-(-min(batch, 1500 - start) // 256) for start in range(0, 1500, batch))
    assert slices == blocks, "each row block should have been a slice of its own"
    for one, many in zip(*results, strict=True):
        assert same_bits(one, many)


def test_other_calls_between_slices():
    """Predictions and losses between two slices, within a minibatch, do not disturb it."""
    X, y = rows_of("labels", 1200, 70, 6, "float32")
    results = []
    for disturb in (False, True):
        plan, net, _ = plan_of("float32", 600, 2)
        plan.begin_epoch(X, y, 600, None, np.full(2, 1e-3), _core.Updates(0))
        while plan.run(1e-9) == _core.PAUSED:
            if disturb:
                plan.forward(X[:300], np.empty((300, 6), np.float32))
                plan.loss(X[:300], y[:300])
        results.append(net.parameters)
    assert same_bits(*results)


TWO_NETS = """
import threading
import numpy as np, fastbp as fb

rng = np.random.default_rng(0)
X, y = rng.standard_normal((2000, 100)).astype("float32"), rng.integers(0, 8, 2000)

def train(seed, out):
    net = fb.Network(100, [fb.Dense(128, "relu"), fb.Dense(128, "relu"), fb.Dense(8)], seed=seed)
    trainer = fb.Trainer(net, "softmax_cross_entropy", seed=seed, n_threads=2)
    for _ in range(3):
        trainer.fit(X, y, epochs=3, batch_size=90)
    out[seed] = net.parameters.tobytes()

alone, together = {}, {}
for seed in range(3):
    train(seed, alone)
threads = [threading.Thread(target=train, args=(seed, together)) for seed in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert together == alone
print("same")
"""


def test_python_threads_train_nets():
    """Three nets trained at once, all asking for threads of the pool: the bits of one after the other."""
    assert run_script(TWO_NETS) == "same\n"


ONE_NET = """
import threading
import numpy as np, fastbp as fb

rng = np.random.default_rng(0)
X, y = rng.standard_normal((1500, 60)), rng.integers(0, 4, 1500)
net = fb.Network(60, [fb.Dense(150, "tanh"), fb.Dense(150, "tanh"), fb.Dense(4)], dtype="float64", seed=1)
expected = net.predict(X).tobytes()
wrong, done = [], threading.Event()

def predict():
    while not done.is_set():
        if net.predict(X).tobytes() != expected:
            wrong.append(1)

threads = [threading.Thread(target=predict) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    other = fb.Network(60, [fb.Dense(150, "relu"), fb.Dense(4)], seed=1)
    fb.Trainer(other, n_threads=2).fit(X, y, epochs=10, batch_size=100)
finally:
    done.set()
    for thread in threads:
        thread.join()
assert not wrong
print("same")
"""


def test_python_threads_share_a_net():
    """Predictions from two threads at once while another net trains: always those of one thread."""
    assert run_script(ONE_NET) == "same\n"


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")  # Python warns of a fork where there are threads: that is what this is about
import numpy as np, fastbp as fb

rng = np.random.default_rng(0)
X, y = rng.standard_normal((900, 100)).astype("float32"), rng.integers(0, 8, 900)

def trainer():
    net = fb.Network(100, [fb.Dense(200, "relu"), fb.Dense(100, "relu"), fb.Dense(8)], seed=1)
    return fb.Trainer(net, "softmax_cross_entropy", n_threads=3)

def train(trainer):
    trainer.fit(X, y, epochs=2, batch_size=100)
    return trainer.net.parameters.tobytes()

expected = train(trainer())
used = trainer()
train(used)
for generation in range(3):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        tasks = len(os.listdir("/proc/self/task")) if sys.platform.startswith("linux") else 1
        same = tasks == 1 and train(trainer()) == expected
        if generation == 2 and same:  # the child of a child, forked after the child's own threads came up
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if train(trainer()) == expected else 3)
            same = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
        train(used)  # a trainer that has come over the fork works on
        os.write(write, b"same" if same else b"other")
        os._exit(0)
    os.close(write)
    # the parent goes on with its threads while the child starts its own
    assert train(trainer()) == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with os.fdopen(read, "rb") as file:
        print(file.read().decode())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork():
    """After a fork the child starts threads of its own, and trains to the same bits; so does the parent."""
    assert run_script(FORK).split() == ["same"] * 3


# ------------------------------------------------------------------------------------------------------ no allocation

COUNTER = r"""
#include <stdatomic.h>
#include <stddef.h>
#include <errno.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static atomic_ulong count;
unsigned long allocations(void) { return count; }
void *malloc(size_t n) { count++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { count++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { count++; return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { count++; return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { *p = memalign(a, n); return *p ? 0 : ENOMEM; }
"""

ALLOCATIONS = """
import ctypes, sys
import numpy as np
import fastbp as fb
from fastbp import _core
from fastbp._support import network_steps
from fastbp._support.plan_spec import PlanSpec, PlanVectors

allocations = ctypes.CDLL(sys.argv[1]).allocations
allocations.restype = ctypes.c_ulong
before = allocations()
kept = [bytearray(100000) for _ in range(50)]
assert allocations() - before >= 50, "the counter does not count"

layers = [fb.Dense(64, "relu"), fb.Residual([fb.Dense(64, "softplus"), fb.Dense(64)]), fb.Dense(10)]
rng = np.random.default_rng(0)
batch, longest = int(sys.argv[2]), int(sys.argv[3])
X, y = rng.random((longest * batch, 40), "float32"), rng.integers(0, 10, longest * batch)

def run(minibatches, slices):
    "Allocations while in C, for an epoch of so many minibatches."
    rows = minibatches * batch
    order, rates = rng.permutation(rows), np.full(minibatches, 1e-4)
    plan.begin_epoch(X[:rows], y[:rows], batch, order, rates, _core.Updates(0))
    before = allocations()
    while plan.run(slices) == _core.PAUSED:
        pass
    return allocations() - before

for threads in (1, 3):
    net = fb.Network(40, layers)
    vectors = [np.zeros_like(net.parameters) for _ in range(3)]
    records = [step.record for step in network_steps.steps_of(40, layers)]
    spec = PlanSpec("float32", records, batch, threads=threads, loss=0, optimizer=fb.Adam().constants)
    plan = _core.Plan(spec, PlanVectors(net.parameters, vectors[0], (*vectors[1:], None)))
    assert plan.threads_for(batch) == (threads if batch > 100 else 1)
    run(3, 1e9)  # the first: threads start
    print("epoch", threads, run(10, 1e9), run(longest, 1e9))
    print("slices", threads, run(3, 1e-9), run(100, 1e-9))

    trainer = fb.Trainer(fb.Network(40, layers), n_threads=threads)
    x, t = X[:batch], y[:batch]
    def steps(n):
        before = allocations()
        for _ in range(n):
            trainer.step(x, t)
        return allocations() - before
    steps(10)
    print("steps", threads, steps(20), steps(longest))
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if not sys.platform.startswith("linux"):
        pytest.skip("counts allocations by LD_PRELOAD, which is Linux's")
    if compiler is None:
        pytest.skip("counts allocations by a small C library, and there is no compiler")
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    command = [compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "counter.c", "-o", "counter.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    library = folder / "counter.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        pytest.skip(f"counts allocations with the help of glibc's own functions: {error}")
    return library


@pytest.mark.parametrize("batch, longest", [(16, 2000), (300, 200)])
def test_no_allocation_after_the_first(counter, batch, longest):
    """An epoch in C allocates nothing, however long. Nor do steps, though Python may want memory for their floats."""
    output = run_script(
        ALLOCATIONS, counter, batch, longest, LD_PRELOAD=str(counter), OPENBLAS_NUM_THREADS="1", PYTHONMALLOC="pymalloc"
    )
    lines = [line.split() for line in output.splitlines()]
    assert [line[:2] for line in lines] == [[what, n] for n in "13" for what in ("epoch", "slices", "steps")]
    for what, threads, few, many in lines:
        few, many = int(few), int(many)
        most = few + 10 if what == "steps" else 0  # Python's own memory grows now and then
        assert many <= most and (few == 0 or what == "steps"), (
            f"{what}, {threads} threads: {few}, then {many} allocations"
        )


# --------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("home", [fb, reference], ids=["compiled", "twin"])
def test_divergence_leaves_whole_parameters(home, threads):
    """Where the run blows up the parameters are those of a run that stopped one minibatch before, bit for bit."""
    X, y = rows_of("squares", 640, 50, 3, "float32")

    def trainer():
        net = home.Network(50, [Dense(100, "relu"), Dense(100, "relu"), Dense(3)], seed=2)
        return home.Trainer(net, "mean_squared_error", SGD(1.0, momentum=0.5), n_threads=threads)

    diverging = trainer()
    with pytest.raises(fb.DivergenceError, match="learning rate was 1") as caught:
        diverging.fit(X, y, epochs=50, batch_size=64, shuffle=False)
    error = caught.value
    assert np.isfinite(diverging.net.parameters).all()
    assert error.epoch == diverging.epochs and diverging.steps == 10 * error.epoch + error.step
    assert len(error.history["loss"]) == error.epoch and np.isfinite(error.history["loss"]).all()
    assert np.isfinite(error.last_loss)

    again = trainer()
    for step in range(diverging.steps):
        rows = slice(64 * (step % 10), 64 * (step % 10) + 64)
        again.step(X[rows], y[rows])
    assert same_bits(again.net.parameters, diverging.net.parameters)
    rows = slice(64 * error.step, 64 * error.step + 64)
    with pytest.raises(fb.DivergenceError) as caught:
        again.step(X[rows], y[rows])
    assert caught.value.what == error.what
    assert same_bits(again.net.parameters, diverging.net.parameters)
    diverging.optimizer = SGD(1e-30, momentum=0.5)  # and it can be gone on with, though not from a useful place
    assert diverging.steps == again.steps


def test_a_gradient_that_overflows_alone():
    """The loss is finite and its gradient is not: noticed, and nothing changed."""
    for home in (fb, reference):
        net = home.Network(1, [Dense(1, bias=False), Dense(1, bias=False)], dtype="float32")
        net.parameters = np.array([1e-30, 1e30], np.float32)
        trainer = home.Trainer(net, "mean_squared_error", SGD(0.1))
        x, y = np.full((1, 1), 1e15, np.float32), np.zeros((1, 1), np.float32)
        with pytest.raises(fb.DivergenceError) as caught:
            trainer.fit(x, y, batch_size=1)
        assert caught.value.what == "gradient" and np.isfinite(caught.value.loss)
        assert net.parameters.tolist() == np.array([1e-30, 1e30], np.float32).tolist()
        assert trainer.steps == 0


def test_a_gradient_whose_square_overflows_is_finite():
    """What counts is the gradient: its squared norm, which may be inf though no element is, stops nothing."""
    found = []
    for home in (fb, reference):
        net = home.Network(1, [Dense(2)])
        net.parameters[:] = 0
        trainer = home.Trainer(net, "softmax_cross_entropy", SGD(1e-30))
        history = trainer.fit(np.full((2, 1), 1e25, np.float32), np.array([0, 0]), batch_size=2)
        assert history["loss"] == [pytest.approx(np.log(2))] and history["gradient_norm"] == [np.inf]
        found.append(net.parameters)
    np.testing.assert_allclose(found[0], [5e-6, -5e-6, 5e-31, -5e-31], rtol=1e-6)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


# ------------------------------------------------------------------------------------- places where faults were planted


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_average_of_frozen_parameters_from_the_first_on(average):
    """Their average approaches them, in the compiled trainer as in its twin: the first parameter of all as well."""
    X, y = rows_of("squares", 24, 4, 3, "float64")
    trainers = []
    for home in (fb, reference):
        net = home.Network(4, [Dense(6, "tanh"), Dense(5, "tanh"), Dense(3)], dtype="float64", seed=1)
        trainer = home.Trainer(net, "mean_squared_error", Adam(0.05), average=average)
        np.testing.assert_array_equal(trainer.averaged, net.parameters)
        for _ in range(3):
            trainer.step(X, y)
        net.freeze(0)
        for _ in range(3):
            trainer.step(X, y)
        trainers.append(trainer)
    np.testing.assert_allclose(trainers[0].averaged, trainers[1].averaged, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ["labels", "squares"])
@pytest.mark.parametrize("batch", [600, 100])
def test_a_minibatch_of_several_blocks(batch, kind, shuffle):
    """Minibatches that are not one block of rows, with weights of rows and classes, against the twin."""
    X, y = rows_of(kind, 700, 5, 3, "float64")
    weights = np.random.default_rng(2).random(700)
    given = {"class_weight": [0.5, 1.0, 3.0]} if kind == "labels" else {}
    found = []
    for home in (fb, reference):
        net = home.Network(5, [Dense(8, "tanh"), Dense(3)], dtype="float64", seed=1)
        trainer = home.Trainer(net, LOSSES[kind], Adam(0.01), seed=2)
        history = trainer.fit(X, y, epochs=2, batch_size=batch, shuffle=shuffle, sample_weight=weights, **given)
        found.append([net.parameters, history["loss"], history["gradient_norm"]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inputs", [*range(1, 10), 63, 64, 65])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_width(dtype, inputs):
    """Shuffled rows are copied, in pieces of 16, 8 and 4 bytes."""
    X, y = rows_of("squares", 40, inputs, min(inputs, 3), dtype)
    nets = []
    for home in (fb, reference):
        net = home.Network(inputs, [Dense(y.shape[1])], dtype=dtype, seed=1)
        home.Trainer(net, "mean_squared_error", SGD(0.02), seed=2).fit(X, y, epochs=2, batch_size=16)
        nets.append(net)
    assert distance(nets[0].parameters, nets[1].parameters) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "layers", [[fb.Dropout(0.5), fb.Dropout(0.5)], [Dense(40, "relu"), fb.Dropout(0.5), fb.Dropout(0.3)]]
)
def test_two_dropouts_draw_apart(layers):
    X, y = rows_of("squares", 40, 6, 3, "float64")
    gradients = []
    for home in (fb, reference):
        trainer = home.Trainer(
            home.Network(6, [*layers, Dense(3)], dtype="float64", seed=1), "mean_squared_error", seed=2
        )
        gradients.append(trainer.value_and_grad(X, y, training=True)[1])
    np.testing.assert_allclose(*gradients, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_accumulated_function_is_that_of_the_twin(accumulate):
    """With masks of dropout, which differ from update to update, and a last update of fewer minibatches."""

    def loss(output, target):
        return float(((output - target) ** 2).mean()), 2 * (output - target) / output.size

    X, y = rows_of("squares", 50, 5, 3, "float64")
    found = []
    for home in (fb, reference):
        net = home.Network(5, [Dense(12, "tanh"), fb.Dropout(0.4), Dense(3)], dtype="float64", seed=1)
        trainer = home.Trainer(net, loss, Adam(0.01), seed=2)
        history = trainer.fit(X, y, epochs=2, batch_size=8, accumulate=accumulate)
        found.append([net.parameters, history["loss"], history["gradient_norm"]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_evaluations_follow_the_instruction_set():
    X, y = rows_of("labels", 200, 40, 5, "float32")

    def trainer():
        return fb.Trainer(fb.Network(40, [Dense(64, "tanh"), Dense(5)], seed=1))

    kept, before = trainer(), fb.cpu.isa()
    try:
        for isa in fb.cpu.available():
            fb.cpu.use(isa)
            assert kept.evaluate(X, y) == trainer().evaluate(X, y)
            ((plan, _),) = kept.engine._loss_plans.values()
            assert plan.isa == isa
    finally:
        fb.cpu.use(before)


def test_an_evaluation_of_a_sum(monkeypatch):
    """At once and in slices."""
    X, y = rows_of("squares", 1000, 5, 3, "float64")
    net = fb.Network(5, [Dense(3)], dtype="float64", seed=1)
    expected = np.square(net.predict(X) - y).sum()
    for _ in range(2):
        mean, total = (fb.Trainer(net, fb.MeanSquaredError(reduction=r)).evaluate(X, y) for r in ("mean", "sum"))
        assert total == pytest.approx(expected, rel=1e-13) and mean == pytest.approx(expected / 3000, rel=1e-13)
        monkeypatch.setattr("fastbp.network.SLICE", 1)


def test_the_last_loss_of_quick_steps():
    """The error of an update that diverges names the loss of the update before, which took the short way."""
    X, y = rows_of("squares", 8, 5, 3, "float32")
    trainer = fb.Trainer(fb.Network(5, [Dense(3)], seed=1), "mean_squared_error", SGD(0.1))
    losses = [trainer.step(X, y) for _ in range(4)]
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.step(np.full_like(X, 1e30), y)
    assert caught.value.last_loss == losses[-1] != losses[-2]


def test_tolerance_sees_falling_parameters():
    """All parameters fall, far more than the tolerance: the fit goes on."""
    net = fb.Network(1, [Dense(1)], dtype="float64")
    net.parameters[:] = 5
    trainer = fb.Trainer(net, "mean_squared_error", SGD(0.01))
    history = trainer.fit(np.ones((4, 1)), np.zeros((4, 1)), epochs=3, batch_size=4, tolerance=1e-3)
    assert history.epochs == 3 and (net.parameters < 5).all()


PENALISED = [Dense(8, "tanh", l1=0.01, l2=0.1), Dense(3, l2=0.05)]
NORMED = [Dense(8), fb.BatchNorm(0.3), fb.Tanh(), Dense(3)]
SETTINGS = {
    "updates": dict(schedule=fb.schedules.Cosine(9, 0.1)),
    "epochs": dict(schedule=fb.schedules.Exponential(0.5, "epoch")),
    "plateaus": dict(schedule=fb.schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.5)),
    "clipped norm": dict(clip_norm=0.05, optimizer=SGD(0.1, momentum=0.9)),
    "clipped values": dict(clip_value=0.01, optimizer=SGD(0.1)),
    "average": dict(average=0.8),
    "accumulator": dict(optimizer=fb.Adagrad(0.05, initial_accumulator=0.2)),
    "accumulated": dict(fit=dict(accumulate=3)),
    "penalties": dict(layers=PENALISED, optimizer=SGD(0.1)),
    "statistics": dict(layers=NORMED, optimizer=SGD(0.1), fit=dict(accumulate=2)),
    "a skip over a norm": dict(layers=[Dense(6, "tanh"), Residual([fb.LayerNorm(), Dense(6)]), Dense(3)]),
    "dropout of an activation": dict(layers=[Dense(8, "tanh"), fb.Dropout(0.4), Dense(3)]),
    "frozen statistics": dict(layers=[Dense(8), fb.BatchNorm(frozen=True), fb.Tanh(), Dense(3)], optimizer=SGD(0.1)),
    "weights": dict(fit=dict(sample_weight=np.random.default_rng(3).random(50))),
    "lbfgs": dict(optimizer=fb.LBFGS(), fit=dict(batch_size=None)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_like_the_twins(name):
    """Each setting alone, in three epochs whose last update has fewer rows: vectors, history and what is measured."""
    if name == "lbfgs":
        pytest.importorskip("scipy", reason="SciPy is not installed")
    given = {"layers": [Dense(8, "tanh"), Dense(3)], "optimizer": Adam(0.02), "fit": {}, **SETTINGS[name]}
    layers, settings = given.pop("layers"), given.pop("fit")
    X, y = rows_of("squares", 50, 5, 3, "float64")
    arguments = {"batch_size": 8, "validation": (X[:20], y[:20]), "metrics": "r2", **settings}
    trainers, histories = [], []
    for home in (fb, reference):
        net = home.Network(5, layers, dtype="float64", seed=1)
        trainers.append(home.Trainer(net, "mean_squared_error", seed=2, **given))
        histories.append(trainers[-1].fit(X, y, epochs=3, **arguments))
    ours, twin = trainers
    close = {"rtol": 1e-8, "atol": 1e-11} if name != "lbfgs" else {"rtol": 1e-5, "atol": 1e-7}
    for key in ("loss", "gradient_norm", "layer_gradient_norms", "learning_rate", "val_loss", "val_r2"):
        np.testing.assert_allclose(histories[0][key], histories[1][key], err_msg=key, **close)
    np.testing.assert_allclose(ours.net.parameters, twin.net.parameters, **close)
    np.testing.assert_allclose(ours.net.statistics, twin.net.statistics, **close)
    if ours.averaged is not None:
        np.testing.assert_allclose(ours.averaged, twin.averaged, **close)
    assert (ours.steps, ours.epochs) == (twin.steps, twin.epochs)


def test_plateaus_are_of_the_validation_loss():
    """Predictions move towards y, so that the loss of -y grows in every epoch: each but the first halves the rate."""
    X, y = rows_of("squares", 40, 4, 3, "float64")
    plateaus = fb.schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.0)
    for validation, expected in (((X, -y), [0.01, 0.01, 0.005, 0.0025]), (None, [0.01] * 4)):
        net = fb.Network(4, [Dense(3)], dtype="float64", seed=1)
        net.parameters[:] = 0
        trainer = fb.Trainer(net, "mean_squared_error", SGD(0.01), schedule=plateaus)
        assert trainer.fit(X, y, epochs=4, batch_size=40, validation=validation)["learning_rate"] == expected


def test_norms_of_examples_are_those_of_their_gradients():
    X, y = rows_of("squares", 30, 4, 3, "float64")
    trainer = fb.Trainer(fb.Network(4, [Dense(6, "tanh"), Dense(3)], dtype="float64", seed=1), "mean_squared_error")
    losses, gradients = trainer.example_gradients(X, y)
    again, norms = trainer.example_gradient_norms(X, y)
    np.testing.assert_allclose(norms, np.sqrt(np.square(gradients).sum(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(again, losses, rtol=1e-12)


def test_minibatches_below_the_rows_of_the_plan():
    """A step of 40 rows leaves a plan for 40 rows; the minibatches after it still have statistics of their own."""
    X, y = rows_of("squares", 40, 5, 3, "float64")
    nets = []
    for home in (fb, reference):
        net = home.Network(5, NORMED, dtype="float64", seed=1)
        trainer = home.Trainer(net, "mean_squared_error", SGD(0.1), seed=2)
        trainer.step(X, y)
        trainer.fit(X, y, epochs=2, batch_size=8, accumulate=2)
        nets.append(net)
    np.testing.assert_allclose(nets[0].statistics, nets[1].statistics, rtol=1e-10)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-8, atol=1e-11)
