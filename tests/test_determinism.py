"""The same bits: one seed gives the same parameters for any number of threads, on every instruction set with fused
multiply-add. Portable kernels have bits of their own, the same for any number of threads.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import Dense, Residual, reference, streams

ROOT = Path(__file__).resolve().parent.parent
FUSED = [isa for isa in fb.cpu.available() if isa != "portable"]
THREADS = [1, 2, 3]

# Large enough that three threads pay in every minibatch but, here and there, the last of an epoch.
CASES = {
    # batch 67: neither 701 nor the vector nor the tile is a multiple of it
    "classes": dict(
        inputs=101,
        layers=lambda: [Dense(129, "relu"), Dense(131, "tanh"), Dense(11)],
        loss="softmax_cross_entropy", optimizer=fb.Adam(3e-3), rows=701, batch=67,
    ),
    # batch 307: two row blocks of 256 and 51, and products whose sums are two chains
    "squares": dict(
        inputs=301,
        layers=lambda: [Dense(263, "softplus"), Dense(37, "sigmoid", bias=False), Dense(5)],
        loss="mean_squared_error", optimizer=fb.SGD(0.01, momentum=0.9, weight_decay=1e-3), rows=700, batch=307,
    ),
    "residual blocks": dict(
        inputs=83,
        layers=lambda: [
            Residual([Dense(97, "leaky_relu"), Residual([Dense(97, "tanh"), Dense(97)]), Dense(83, "relu")]),
            Dense(3, fb.Softplus(2.0)),
        ],
        loss=fb.Pinball([0.1, 0.5, 0.9]), optimizer=fb.Adam(1e-3, weight_decay=0.01), rows=523, batch=113,
    ),
    "one layer": dict(
        inputs=785,
        layers=lambda: [Dense(10)],
        loss="softmax_cross_entropy", optimizer=fb.SGD(0.01), rows=1500, batch=517,
    ),
    "wide": dict(
        inputs=65,
        layers=lambda: [Dense(1030, "relu"), Dense(130, "sigmoid"), Dense(2)],
        loss="binary_cross_entropy", optimizer=fb.SGD(0.05), rows=333, batch=45,
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def instruction_set():
    before = fb.cpu.isa()
    yield
    fb.cpu.use(before)


def data(case, dtype):
    rng = np.random.default_rng(7)
    rows, outputs = case["rows"], case["layers"]()[-1].units
    X = rng.standard_normal((rows, case["inputs"])).astype(dtype)
    if case["loss"] == "softmax_cross_entropy":
        return X, rng.integers(0, outputs, rows)
    y = (
        rng.uniform(0, 1, (rows, outputs))
        if case["loss"] == "binary_cross_entropy"
        else rng.standard_normal((rows, outputs))
    )
    return X, y.astype(dtype)


def run(case, dtype, isa, threads):
    """Everything that two epochs, and the calls after them, give: as a dict of bytes."""
    fb.cpu.use(isa)
    X, y = data(case, dtype)
    net = fb.Network(case["inputs"], case["layers"](), dtype=dtype, seed=5)
    trainer = fb.Trainer(net, case["loss"], case["optimizer"], seed=9, n_threads=threads)
    found = {"initial parameters": net.parameters.tobytes()}
    history = trainer.fit(X, y, epochs=2, batch_size=case["batch"], validation=(X[:99], y[:99]))
    found["parameters"] = net.parameters.tobytes()
    found |= {key: np.array(values).tobytes() for key, values in history.items() if key != "seconds"}
    found |= {f"moment {i}": moment.tobytes() for i, moment in enumerate(trainer._moments)}
    loss, gradient, dx = trainer.value_and_grad(X[:301], y[:301], inputs=True)
    found |= {"value": np.array(loss).tobytes(), "gradient": gradient.tobytes(), "dx": dx.tobytes()}
    losses, gradients = trainer.example_gradients(X[:5], y[:5])
    found |= {"losses": losses.tobytes(), "gradients": gradients.tobytes()}
    found |= {"predictions": net.predict(X).tobytes(), "evaluate": np.array(trainer.evaluate(X, y)).tobytes()}
    found["step"] = np.array([trainer.step(X[i : i + 83], y[i : i + 83]) for i in range(0, 200, 83)]).tobytes()
    found["parameters after steps"] = net.parameters.tobytes()
    return found


def assert_same(found, expected, what):
    assert found.keys() == expected.keys()
    differ = [name for name in found if found[name] != expected[name]]
    assert not differ, f"{what}: {', '.join(differ)} have other bits"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits(name, dtype):
    """Two epochs for every number of threads on every instruction set with fused multiply-add."""
    if not FUSED:
        pytest.skip("this machine has no instruction set with fused multiply-add")
    expected = run(CASES[name], dtype, FUSED[0], 1)
    assert expected["parameters"] != expected["initial parameters"]
    for isa in FUSED:
        for threads in THREADS:
            if (isa, threads) != (FUSED[0], 1):
                assert_same(run(CASES[name], dtype, isa, threads), expected, f"{isa}, {threads} threads")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_portable_has_its_own(name, dtype):
    expected = run(CASES[name], dtype, "portable", 1)
    assert_same(run(CASES[name], dtype, "portable", 3), expected, "portable, 3 threads")


@pytest.mark.parametrize("name", CASES)
def test_threads_are_used(name):
    """The nets above are large enough: a minibatch takes as many threads as were asked for, whatever the cores."""
    case = CASES[name]
    X, y = data(case, "float32")
    net = fb.Network(case["inputs"], case["layers"](), seed=5)
    for threads in THREADS:
        trainer = fb.Trainer(net, case["loss"], case["optimizer"], n_threads=threads)
        trainer.value_and_grad(X[: case["batch"]], y[: case["batch"]])
        ((plan, _),) = trainer._plans.values()
        assert plan.threads_for(case["batch"]) == threads
        assert plan.threads_for(1) == 1


PARTS = """
import os, sys
if len(os.sched_getaffinity(0)) > 1:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np, fastbp as fb
assert fb.cpu.cores() == 1

def tasks():
    found = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        found[task] = int(fields[11]) + int(fields[12])  # ticks in user and system mode
    return found

before = tasks()
X = np.random.default_rng(0).standard_normal((400, 100)).astype("float32")
net = fb.Network(100, [fb.Dense(256, "relu"), fb.Dense(256, "relu"), fb.Dense(4)])
trainer = fb.Trainer(net, "softmax_cross_entropy", n_threads=3)
y = np.arange(400) % 4
for _ in range(200):
    trainer.fit(X, y, epochs=3, batch_size=100)
    new = {task: ticks for task, ticks in tasks().items() if task not in before}
    assert len(new) == 2, new
    if min(new.values()) >= 3:
        print("parts ran")
        break
else:
    print("the workers did nothing", new)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at the threads through Linux's /proc")
def test_parts_run_on_a_single_core():
    """n_threads is an order, not a hint: with one core there are still three threads, and each works."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PARTS], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "parts ran\n"


# -------------------------------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("isa", fb.cpu.available())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_parameters(isa, dtype):
    """The bits of the twin's, on every instruction set."""
    fb.cpu.use(isa)
    for case in CASES.values():
        for seed in (0, 5, 2**64 - 1):
            ours, twin = (home.Network(case["inputs"], case["layers"](), dtype, seed) for home in (fb, reference))
            assert ours.parameters.tobytes() == twin.parameters.tobytes()
    assert (
        fb.Network(3, [Dense(2)], seed=1).parameters.tobytes() != fb.Network(3, [Dense(2)], seed=2).parameters.tobytes()
    )


def test_a_layers_first_parameters_do_not_depend_on_the_others():
    first = fb.Network(7, [Dense(5), Dense(4)], seed=3).weights
    second = fb.Network(7, [Dense(5), Dense(4, "tanh"), Dense(6)], seed=3).weights
    assert first[0][0].tobytes() == second[0][0].tobytes() and first[1][0].tobytes() == second[1][0].tobytes()
    assert not np.array_equal(
        fb.Network(4, [Dense(4), Dense(4)]).weights[0][0], fb.Network(4, [Dense(4), Dense(4)]).weights[1][0]
    )


@pytest.mark.parametrize("isa", fb.cpu.available())
def test_the_order_of_rows(isa):
    fb.cpu.use(isa)
    for n in (1, 2, 255, 1000, 70001):
        for epoch in (0, 1, 12345):
            order = fb.ops.random_permutation(11, streams.shuffle(epoch), n)
            assert np.array_equal(order, reference.random_permutation(11, streams.shuffle(epoch), n))
            assert np.array_equal(np.sort(order), np.arange(n))


def test_another_seed_is_another_run():
    case = CASES["classes"]
    X, y = data(case, "float32")
    results = set()
    for net_seed, seed in ((0, 0), (0, 1), (1, 0)):
        net = fb.Network(case["inputs"], case["layers"](), seed=net_seed)
        fb.Trainer(net, seed=seed).fit(X, y, batch_size=100)
        results.add(net.parameters.tobytes())
    assert len(results) == 3
