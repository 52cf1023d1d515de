"""The same bits: one seed gives the same parameters for any number of threads, on every instruction set with fused
multiply-add. Portable kernels have bits of their own, the same for any number of threads.
"""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    GELUTanh,
    LayerNorm,
    Residual,
    SiLU,
    Softmax,
    reference,
    schedules,
)
from fastbp._support import random_streams

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
    # whole minibatches of more than one block, weighted rows, three of them to an update, the last alone
    "batch norm, dropout, GELU": dict(
        inputs=129,
        layers=lambda: [
            Dense(260, bias=False), BatchNorm(), GELU(), Dropout(0.3),
            Dense(130, bias=False), BatchNorm(affine=False), SiLU(), Dense(5),
        ],
        loss=fb.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1, 2, 0.5, 1, 3]), optimizer=fb.AdamW(2e-3),
        rows=1201, batch=299, weighted=True, accumulate=2, trainer=dict(clip_norm=0.5, average=0.9),
    ),
    # blocks of 256 rows within a minibatch, an update of two minibatches
    "layer norm, dropout, projection": dict(
        inputs=77,
        layers=lambda: [
            Dropout(0.1), Dense(140), LayerNorm(), GELUTanh(),
            Residual([LayerNorm(affine=False), Dense(290, "relu", l1=1e-4), Dropout(0.5), Dense(150, l2=1e-2)]),
            Softmax(), Dense(4),
        ],
        loss=fb.Huber(0.5), optimizer=fb.RMSprop(1e-3, momentum=0.5, centered=True),
        rows=1100, batch=275, weighted=True, accumulate=2,
        trainer=dict(clip_value=0.01, schedule=fb.schedules.Warmup(3, fb.schedules.Cosine(9))),
    ),
    "everything in blocks": dict(
        inputs=65,
        layers=lambda: [
            BatchNorm(), Dense(180), ELU(),
            Residual([BatchNorm(), SELU(), Dropout(0.2), Dense(181, "tanh"), Dense(180)]),
            Residual([Residual([Dense(140, "softplus")]), LayerNorm(), SiLU(), Dropout(0.4), Dense(96)]), Dense(3),
        ],
        loss=fb.Poisson(), optimizer=fb.Adagrad(0.01, initial_accumulator=0.1), rows=800, batch=200, weighted=True,
        trainer=dict(average=0.5, schedule=fb.schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.9)),
    ),
}  # fmt: skip
NEW = [name for name, case in CASES.items() if "weighted" in case]  # those with weights, norms and dropout


@pytest.fixture(autouse=True)
def instruction_set():
    before = fb.cpu.isa()
    yield
    fb.cpu.use(before)


def data(case, dtype):
    rng = np.random.default_rng(7)
    rows, outputs = case["rows"], case["layers"]()[-1].units
    X = rng.standard_normal((rows, case["inputs"])).astype(dtype)
    loss = fb.losses.loss(case["loss"]).name
    if loss == "softmax_cross_entropy":
        return X, rng.integers(0, outputs, rows)
    y = rng.uniform(0, 1, (rows, outputs)) if loss == "binary_cross_entropy" else rng.standard_normal((rows, outputs))
    return X, y.astype(dtype)


def weights_of(case):
    """Weights of the rows, some of them 0, or None."""
    if not case.get("weighted"):
        return None
    return np.maximum(np.random.default_rng(8).uniform(-0.2, 2, case["rows"]), 0)


def make_trainer(home, case, dtype, **options):
    net = home.Network(case["inputs"], case["layers"](), dtype=dtype, seed=5)
    return home.Trainer(net, case["loss"], case["optimizer"], seed=9, **case.get("trainer", {}), **options)


def fit(trainer, case, X, y, epochs, **options):
    options = {"batch_size": case["batch"], "accumulate": case.get("accumulate", 1)} | options
    return trainer.fit(X, y, epochs=epochs, sample_weight=weights_of(case), **options)


def run(case, dtype, isa, threads):
    """Everything that two epochs, and the calls after them, give: as a dict of bytes."""
    fb.cpu.use(isa)
    X, y = data(case, dtype)
    trainer = make_trainer(fb, case, dtype, n_threads=threads)
    net = trainer.net
    found = {"initial parameters": net.parameters.tobytes()}
    history = fit(trainer, case, X, y, 2, validation=(X[:99], y[:99]))
    found |= {"parameters": net.parameters.tobytes(), "statistics": net.statistics.tobytes()}
    if trainer.averaged is not None:
        found["averaged"] = trainer.averaged.tobytes()
    found |= {key: np.array(values).tobytes() for key, values in history.items() if key != "seconds"}
    found |= {f"moment {i}": moment.tobytes() for i, moment in enumerate(trainer.engine.moments)}
    loss, gradient, dx = trainer.value_and_grad(X[:301], y[:301], inputs=True)
    found |= {"value": np.array(loss).tobytes(), "gradient": gradient.tobytes(), "dx": dx.tobytes()}
    losses, gradients = trainer.example_gradients(X[:5], y[:5])
    found |= {"losses": losses.tobytes(), "gradients": gradients.tobytes()}
    found["norms"] = trainer.example_gradient_norms(X[:99], y[:99])[1].tobytes()
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
        ((plan, _),) = trainer.engine.plans.values()
        assert plan.threads_for(case["batch"]) == threads
        assert plan.threads_for(1) == 1


def test_norms_of_examples_past_a_projection():
    """The projection's squares and the norm's go to the same rows, made by different parts: again and again, since a
    part that does not wait for the others is in time mostly."""
    net = fb.Network(512, [fb.Residual([fb.Dense(16), fb.LayerNorm()], projection=True)], dtype="float64", seed=1)
    X = np.random.default_rng(0).standard_normal((256, 512))
    alone, together = (fb.Trainer(net, "mean_squared_error", n_threads=threads) for threads in (1, 4))
    expected = alone.example_gradient_norms(X, X[:, :16])[1].tobytes()
    for _ in range(100):
        assert together.example_gradient_norms(X, X[:, :16])[1].tobytes() == expected


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


# ------------------------------------------------------------------------------- the twin's masks and statistics


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 300, 700])
def test_masks_are_the_twins(rows, dtype, isa):
    """Which elements two layers drop, in the first update, the second and the tenth: exactly those of the twin."""
    masks = []
    for home in (fb, reference):
        net = home.Network(33, [Dropout(0.3), Residual([Dropout(0.6)])], dtype=dtype)
        trainer = home.Trainer(net, fb.MeanAbsoluteError("sum"), fb.SGD(0.0), seed=2**63 + 11)
        x = np.ones((rows, 33), dtype)
        masks.append([])
        for update in range(10):
            if update in (0, 1, 9):
                masks[-1].append(trainer.value_and_grad(x, np.zeros_like(x), inputs=True)[2])
            trainer.step(x, np.zeros_like(x))
    for ours, twins in zip(*masks, strict=True):
        assert np.array_equal(ours == 0, twins == 0)
        np.testing.assert_allclose(ours, twins, rtol={"float32": 3e-7, "float64": 1e-15}[dtype])
    first, second, tenth = masks[0]
    if rows > 1:
        assert np.any(first != second) and np.any(second != tenth)


@pytest.mark.parametrize("name", NEW)
def test_runs_are_the_twins(name):
    """Two epochs with dropped elements, minibatches' statistics, weights of rows and several minibatches an update: a
    single element dropped that should not be would be seen."""
    case = CASES[name]
    X, y = data(case, "float64")
    trainers = [make_trainer(home, case, "float64") for home in (fb, reference)]
    ours, twins = (fit(trainer, case, X, y, 2, validation=(X[:99], y[:99])) for trainer in trainers)
    for key in ("loss", "gradient_norm", "layer_gradient_norms", "learning_rate", "val_loss"):
        np.testing.assert_allclose(ours[key], twins[key], rtol=1e-9, err_msg=key)
    ours, twin = trainers
    np.testing.assert_allclose(ours.net.statistics, twin.net.statistics, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ours.net.predict(X), twin.net.predict(X), rtol=1e-8, atol=1e-9)
    if ours.averaged is not None:
        np.testing.assert_allclose(ours.averaged, twin.averaged, rtol=1e-8, atol=1e-10)


# --------------------------------------------------------------------------------------------------- cut and resumed


def whole(trainer):
    """All that a run leaves, as bytes and numbers."""
    found = {"parameters": trainer.net.parameters.tobytes(), "statistics": trainer.net.statistics.tobytes()}
    found |= {f"moment {i}": moment.tobytes() for i, moment in enumerate(trainer.engine.moments)}
    found |= {"steps": trainer.steps, "epochs": trainer.epochs, "schedule": trainer.engine.schedule_state}
    found |= {"layers": trainer.net.layers, "rate": trainer.engine.rate(trainer.steps)}
    return found | {"averaged": None if trainer.averaged is None else trainer.averaged.tobytes()}


def by_file(ending):
    def resumed(trainer, path):
        if ending == "safetensors":
            pytest.importorskip("safetensors")
        trainer.save(path / f"run.{ending}")
        return fb.Trainer.load(path / f"run.{ending}", n_threads=2)

    return resumed


RESUMED = {
    "npz": by_file("npz"),
    "safetensors": by_file("safetensors"),
    "pickle": lambda trainer, path: pickle.loads(pickle.dumps(trainer)),
    "copy": lambda trainer, path: copy.copy(trainer),
    "deepcopy": lambda trainer, path: copy.deepcopy(trainer),
}
OPTIMIZERS = [
    fb.SGD(0.01), fb.SGD(0.01, momentum=0.9, nesterov=True), fb.Adam(1e-3), fb.AdamW(1e-3), fb.RMSprop(1e-3),
    fb.RMSprop(1e-3, momentum=0.5), fb.RMSprop(1e-3, centered=True), fb.RMSprop(1e-3, momentum=0.5, centered=True),
    fb.Adagrad(0.01, rate_decay=0.1, initial_accumulator=0.1),
]  # fmt: skip
SCHEDULES = [
    schedules.Constant(),
    schedules.StepDecay(2, unit="epoch"),
    schedules.Exponential(0.9),
    schedules.Cosine(20),
    schedules.Warmup(9, schedules.OneCycle(15)),
    schedules.OneCycle(4, unit="epoch"),
    schedules.InverseScaling(),
    schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.5, cooldown=1),
    schedules.Warmup(2, schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.5), start=0.5, unit="epoch"),
]
SMALL = dict(
    inputs=7,
    layers=lambda: [
        Dropout(0.2), Dense(19), BatchNorm(), GELU(),
        Residual([LayerNorm(), Dropout(0.3), Dense(12, "silu", l2=0.1)]), Dense(3),
    ],
    loss="mean_squared_error", optimizer=fb.Adam(1e-2), rows=103, batch=10, weighted=True, accumulate=3,
)  # fmt: skip


def long_run(case, dtype, between, more=None, **options):
    """Epochs and steps in three parts. After each `between` gives the trainer that goes on, and more(part, trainer)
    happens."""
    X, y = data(case, dtype)
    trainer = make_trainer(fb, case, dtype, **options)
    losses = []
    for part, epochs in enumerate((2, 1, 2)):
        losses += fit(trainer, case, X, y, epochs, validation=(X[:50], y[:50]))["val_loss"]
        trainer = between(trainer)
        if more is not None:
            more(part, trainer)
        losses.append(trainer.step(X[:20], y[:20]))
    return whole(trainer) | {"losses": losses}


@pytest.mark.parametrize("how", RESUMED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NEW)
def test_resumed(name, dtype, how, tmp_path):
    """A run that was cut, in every way to cut one, ends with the bits of one that was not."""
    case = CASES[name] | {"rows": 320, "batch": 64}
    expected = long_run(case, dtype, lambda trainer: trainer)
    assert_same(long_run(case, dtype, lambda trainer: RESUMED[how](trainer, tmp_path)), expected, how)


@pytest.mark.parametrize("average", [None, 0.0, 0.95])
@pytest.mark.parametrize("number", range(len(OPTIMIZERS)))
def test_resumed_with_every_optimizer_and_schedule(number, average, tmp_path):
    for turn, how in enumerate(("npz", "pickle")):
        schedule = SCHEDULES[(number + 4 * turn) % len(SCHEDULES)]
        case = SMALL | {"optimizer": OPTIMIZERS[number]}
        options = {"schedule": schedule, "average": average, "clip_norm": 1.0}
        expected = long_run(case, "float32", lambda trainer: trainer, **options)
        found = long_run(case, "float32", lambda trainer: RESUMED[how](trainer, tmp_path), **options)  # noqa: B023
        assert_same(found, expected, f"{schedule!r}, {how}")


@pytest.mark.parametrize("how", RESUMED)
def test_resumed_with_layers_frozen_in_between(how, tmp_path):
    """Frozen layers keep their bits, those of their moments, and a batch norm its statistics; and learn again."""
    kept = []

    def frozen(part, trainer):
        state = [trainer.net.weights[i][j].tobytes() for i in (0, 1) for j in (0, 1)] + [
            trainer.net.statistics.tobytes()
        ]
        size = sum(trainer.net.weights[i][j].size for i in (0, 1) for j in (0, 1))
        state += [moment[:size].tobytes() for moment in trainer.engine.moments]
        kept.append(state)
        if part == 0:
            trainer.net.freeze(0, 1)
        if part == 1:
            trainer.net.unfreeze(0, 1)

    expected = long_run(SMALL, "float32", lambda trainer: trainer, frozen, average=0.9)
    assert kept[0] == kept[1], "parts 0 to 1: frozen"
    assert all(a != b for a, b in zip(kept[1], kept[2])), "parts 1 to 2: all of it learns"
    found = long_run(SMALL, "float32", lambda trainer: RESUMED[how](trainer, tmp_path), frozen, average=0.9)
    assert_same(found, expected, how)


def test_a_copy_is_a_run_of_its_own():
    """Training a copy moves nothing of the first: no vector is shared."""
    X, y = data(SMALL, "float32")
    trainer = make_trainer(fb, SMALL, "float32", average=0.9)
    fit(trainer, SMALL, X, y, 1)
    before = whole(trainer)
    for how in ("pickle", "copy", "deepcopy"):
        other = RESUMED[how](trainer, None)
        assert_same(whole(other), before, how)
        fit(other, SMALL, X, y, 1)
        assert_same(whole(trainer), before, f"after its {how} was trained")
        differ = whole(other)
        assert all(
            differ[name] != before[name] for name in ("parameters", "statistics", "moment 0", "averaged", "steps")
        )


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
            order = fb.ops.random_permutation(11, random_streams.shuffle(epoch), n)
            assert np.array_equal(order, reference.random_permutation(11, random_streams.shuffle(epoch), n))
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
