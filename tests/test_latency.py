"""What calls with small arrays cost, without a clock: Python functions called, and whether the GIL is kept.

Such calls go a short way when all is as it should be, and the long way, with its checks and conversions, when not. The
short way must give what the long way gives, and must let nothing pass that the long way would refuse.
"""

import copy
import inspect
import signal
import sys
import threading
import time

import numpy as np
import pytest
from arrays import DTYPES, assert_same_bits, misaligned, read_only, strided, using

import fastbp as fb
from fastbp import _core, cpu, ops
from fastbp.layers import Dense

NAN, INF = float("nan"), float("inf")


class Subclass(np.ndarray):
    """Such arrays go the long way, and are fit for every call otherwise."""


def the_long_way(x):
    return x.view(Subclass) if isinstance(x, np.ndarray) else x


def calls(function, *args, **kwargs):
    """The names of the Python functions that a call enters, its own among them, and those of the C functions that
    Python calls within."""
    python, c = [], []

    def note(frame, event, argument):
        if event == "call":
            python.append(frame.f_code.co_name)
        elif event == "c_call":
            c.append(argument.__name__)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*args, **kwargs)
    finally:
        sys.setprofile(before)
    return python, c[:-1]  # without setprofile itself


def test_calls_are_counted():
    def inner(x):
        return len(x) + abs(-1)

    assert calls(lambda: inner([]) + inner("a")) == (["<lambda>", "inner", "inner"], ["len", "abs"] * 2)


def real(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(dtype)


# -------------------------------------------------------------------------------------------------------- operations

LOSSES = [name for name in ops.__all__ if "target" in inspect.signature(getattr(ops, name)).parameters]


def arguments(name, dtype="float32"):
    """A call as a loop over small arrays makes it."""
    B, I, O = 2, 3, 5
    x, W, b, y = (real(*shape, dtype=dtype) for shape in ((B, I), (I, O), (O,), (B, O)))
    w, g, m, v = (real(7, dtype=dtype, seed=seed) for seed in range(4))
    special = {
        "gemm": (x, W),
        "dense_forward": (x, W, b, "relu"),
        "dense_backward": (y, x, W, y, "relu"),
        "softmax_cross_entropy": (y, np.array([0, 4])),
        "pinball": (y, y[::-1].copy(), [0.1, 0.3, 0.5, 0.7, 0.9]),
        "sgd_step": (w, g, v, 1e-3, 0.9),
        "adam_step": (w, g, m, v, 3, 1e-3),
        "rmsprop_step": (w, g, v, m, g.copy(), 1e-3, 0.9, 1e-8, 0.1, 0.9, True),
        "adagrad_step": (w, g, v, 3, 1e-3, 0.1),
        "penalty": (w, g, 0.1, 0.2),
        "clip_by_norm": (g, 0.5),
        "clip_by_value": (g, 0.5),
        "weight_average": (w, g, 0.9),
        "sum_squares": (x,),
        "all_finite": (x,),
        "add": (x, x),
        "random_bits": (1, 2, 3),
        "random_uniform": (1, 2, 3),
        "random_normal": (1, 2, 3),
        "random_permutation": (1, 2, 3),
        "layer_norm_forward": (x, x[0], x[1]),
        "layer_norm_backward": (x, x, x[:, 0].copy(), x[:, 1].copy(), x[0]),
        "batch_norm_forward": (x, x[0], x[1]),
        "batch_norm_backward": (x, x, x[0], x[1], x[0]),
        "batch_norm_predict": (x, x[0], x[1], x[0], x[1]),
        "batch_norm_running": (x[0], x[1], x[0], x[1], 4, 0.2),
        "dropout_forward": (x, 0.5, 1, 2, 3, 4),
        "leaky_relu_forward": (x, 0.2),
        "leaky_relu_backward": (x, x, 0.2),
        "softplus_forward": (x, 2.0),
        "softplus_backward": (x, x, 2.0),
        "elu_forward": (x, 2.0),
        "elu_backward": (x, x, 2.0),
    }
    if name in LOSSES and name not in special:
        return y, y[::-1].copy()
    return special.get(name) or ((x,) if name.endswith("_forward") else (x, x))


MORE = {
    "gemm": [(real(3, 2), real(5, 3), True, True)],
    "dense_forward": [(real(2, 3), real(3, 5)), (real(2, 3), real(3, 5), real(5), fb.LeakyReLU(0.3))],
    "dense_backward": [(real(2, 5), real(2, 3), real(3, 5))],
    "softmax_cross_entropy": [
        (real(2, 5), real(2, 5), "sum"),
        (real(2, 5), np.array([0, 4]), "mean", 0.1),
        (real(2, 5), np.array([0, 4]), "mean", 0.0, [1.0, 2.0, 3, 0, 1.5]),
        (real(2, 5), real(2, 5), "mean", 0, np.arange(5.0), real(2)),
    ],
    "binary_cross_entropy": [
        (real(2, 5), real(2, 5), "mean", 2.0),
        (real(2, 5), real(2, 5), "sum", [1.0, 2.0, 3, 0, 1.5], real(2, dtype="float64")),
    ],
    "mean_squared_error": [(real(2, 5), real(2, 5), "mean", real(2))],
    "huber": [(real(2, 5), real(2, 5), 2), (real(2, 5), real(2, 5), 0.5, "mean", real(2))],
    "pinball": [(real(2, 5), real(2, 5), 0.25), (real(2, 5), real(2, 5), (0.1, 0.2, 0.3, 0.4, 0.5), "sum")],
    "sgd_step": [(real(7), real(7, seed=1))],
    "adam_step": [(real(7), real(7, seed=1), real(7), real(7), 1, 1, 0, 0.5, 1e-8, 0, True)],
    "rmsprop_step": [(real(7), real(7, seed=1), real(7)), (real(7), real(7, seed=1), real(7), None, real(7), 1)],
    "adagrad_step": [(real(7), real(7, seed=1), real(7), 1)],
    "penalty": [(real(7), real(7, seed=1)), (real(7), real(7, seed=1), 0, 1)],
    "clip_by_norm": [(real(7), 100), (real(7), 1, 0)],
    "layer_norm_forward": [(real(2, 3),)],
    "batch_norm_forward": [(real(2, 3), None, real(3), 1)],
    "dropout_forward": [(real(2, 3), 0, 2**64 - 1, 2**64 - 1, 2**32 - 1)],
}

# Python functions in a call of the short way, where it is not the one of that name alone: several share a helper, or a
# number is checked.
PYTHON = {name: 2 for name in ops.__all__ if name.rpartition("_")[2] in ("forward", "backward")}
PYTHON |= {f"{f}_{way}": 3 for f in ("leaky_relu", "softplus", "elu") for way in ("forward", "backward")}
PYTHON |= dict.fromkeys(("softmax_forward", "softmax_backward", "dense_forward", "dense_backward"), 1)
PYTHON |= dict.fromkeys(LOSSES, 2)
PYTHON |= {"random_bits": 6, "random_uniform": 6, "random_normal": 6, "random_permutation": 6}


@pytest.mark.parametrize("name", ops.__all__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_operation_is_one_call_of_the_core(name, dtype):
    python, c = calls(getattr(ops, name), *arguments(name, dtype))
    assert python[0] == name and len(python) <= PYTHON.get(name, 1), python
    assert len(c) == 1 and hasattr(_core, c[0]), c


@pytest.mark.parametrize("name", MORE)
def test_so_are_other_usual_calls(name):
    for args in MORE[name]:
        python, c = calls(getattr(ops, name), *args)
        assert len(c) == 1 and hasattr(_core, c[0]) or isinstance(args[-1], fb.LeakyReLU), (args, c)


@pytest.mark.parametrize("name", [name for name in ops.__all__ if not name.startswith("random")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ways_give_the_same(name, dtype):
    for args in [arguments(name, dtype), *(MORE.get(name, []) if dtype == "float32" else [])]:
        short, long = copy.deepcopy(args), copy.deepcopy(args)
        results = [
            getattr(ops, name)(*short),
            getattr(ops, name)(*(the_long_way(value) for value in long)),
        ]
        assert len(calls(getattr(ops, name), *(the_long_way(value) for value in copy.deepcopy(args)))[1]) > 1
        if results[0] is not None:
            assert_same_bits(*results)
        for one, other in zip(short, long, strict=True):  # what is updated in place
            if isinstance(one, np.ndarray):
                assert_same_bits(one, other)


@pytest.mark.parametrize(
    "name, args, error",
    [
        ("dense_forward", (real(2, 3), real(3, 5), None, fb.Tanh), TypeError),
        ("dense_backward", (real(2, 5), real(2, 3), real(3, 5), real(2, 5), fb.Tanh), TypeError),
        ("dense_backward", (real(2, 5), real(2, 3), real(3, 5), real(2, 4)), ValueError),
        ("dense_backward", (real(2, 5), real(2, 3), real(3, 5), real(2, 5, dtype="float64")), TypeError),
        ("gemm", (np.ones((10**7, 3)), np.ones((4, 10**7))), ValueError),
        ("add", (real(2, 3), real(3, 2)), ValueError),
        ("add", (real(2, 3), real(6)), ValueError),
        ("tanh_backward", (real(2, 3), real(3, 2)), ValueError),
        ("sgd_step", (real(6), real(2, 3)), ValueError),
        ("sgd_step", (real(6), real(6), real(5)), ValueError),  # though without momentum v is left alone
        ("sgd_step", (real(6), real(6), "v"), TypeError),
        ("adam_step", (real(6), real(6), real(2, 3), real(6), 1), ValueError),
        ("adam_step", (real(6), real(6), real(6), real(3, 2), 1), ValueError),
        ("adam_step", (real(6), real(6), real(6), real(6), True), TypeError),
        ("adam_step", (real(6), real(6), real(6), real(6), 1, True), TypeError),
        ("adam_step", (real(6), real(6), real(6), real(6), 1, 10**400), ValueError),
        ("adam_step", (real(6), real(6), real(6), real(6), 2**63), ValueError),
        ("adam_step", (real(6), real(6), real(6), real(6), 1, 0.1, 0.9, 0.999, 1e-8, 0.1, 1), TypeError),
        ("sgd_step", (real(6), real(6), real(6), 0.1, 0.9, 0.1, 1), TypeError),
        ("sgd_step", (real(6), real(6), real(6), 0.1, 0, 0, True), ValueError),
        ("rmsprop_step", (real(6), real(6), real(5)), ValueError),
        ("rmsprop_step", (real(6), real(6), real(6), real(5)), ValueError),  # though without momentum it is left alone
        ("rmsprop_step", (real(6), real(6), real(6), None, real(5)), ValueError),
        ("rmsprop_step", (real(6), real(6), real(6), None, None, 1, 0.9, 1e-8, 0, 0.5), ValueError),
        ("rmsprop_step", (real(6), real(6), real(6), None, None, 1, 0.9, 1e-8, 0, 0, True), ValueError),
        ("rmsprop_step", (real(6), real(6), real(6), None, None, 1, 0.9, 1e-8, 0, 0, "yes"), TypeError),
        ("adagrad_step", (real(6), real(6), real(6), 0), ValueError),
        ("adagrad_step", (real(6), real(6), real(6), 1.0), TypeError),
        ("adagrad_step", (real(6), real(6), real(6), 1, 0.1, -0.1), ValueError),
        ("penalty", (real(6), real(5)), ValueError),
        ("penalty", (real(6), real(6), -1), ValueError),
        ("penalty", (real(6), real(6), 0, INF), ValueError),
        ("clip_by_norm", (real(6), 0), ValueError),
        ("clip_by_norm", (real(6), 1, -1e-6), ValueError),
        ("clip_by_value", (real(6), NAN), ValueError),
        ("clip_by_value", (real(6), None), TypeError),
        ("weight_average", (real(6), real(6), 1), ValueError),
        ("weight_average", (real(6), real(6, dtype="float64"), 0.5), TypeError),
        ("pinball", (real(2, 3), real(2, 3), np.array([0.5, 0.5, 1.0])), ValueError),
        ("pinball", (real(2, 3), real(2, 3), np.array([0.5, NAN, 0.5])), ValueError),
        ("pinball", (real(2, 3), real(2, 3), (0.5, 0.5, 0)), ValueError),
        ("pinball", (real(2, 3), real(2, 3), [0.5, 0.5, 10**400]), ValueError),
        ("pinball", (real(2, 3), real(2, 3), [0.5, 0.5, True]), TypeError),
        ("pinball", (real(2, 3), real(2, 3), [0.5, 0.5]), ValueError),
        ("pinball", (real(2, 3), real(2, 3), True), TypeError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0.0, 1.0])), TypeError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 3])), ValueError),
        ("mean_squared_error", (real(2, 3), real(2, 3), []), TypeError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", np.array([1, -1.0])), ValueError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", np.array([1, NAN])), ValueError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", np.array([1e308, 1e308])), ValueError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", np.ones(3)), ValueError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", [1.0, 1.0]), TypeError),
        ("mean_squared_error", (real(2, 3), real(2, 3), "mean", np.ones(2, int)), TypeError),
        ("binary_cross_entropy", (real(2, 3), real(2, 3), "mean", -1.0), ValueError),
        ("binary_cross_entropy", (real(2, 3), real(2, 3), "mean", True), TypeError),
        ("binary_cross_entropy", (real(2, 3), real(2, 3), "mean", [1.0, 1.0]), ValueError),
        ("binary_cross_entropy", (real(2, 3), real(2, 3), "mean", 1e39), ValueError),
        ("huber", (real(2, 3), real(2, 3), 0.0), ValueError),
        ("huber", (real(2, 3), real(2, 3), True), TypeError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 1]), "mean", False), TypeError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 1]), "mean", 1.0), ValueError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 1]), "mean", 0.1, [1.0, 1.0]), ValueError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 1]), "mean", 0.1, [1.0, 1.0, -1.0]), ValueError),
        ("softmax_cross_entropy", (real(2, 3), np.array([0, 1]), "mean", 0.1, 1.0), TypeError),
    ],
)
def test_the_short_way_refuses_what_the_long_way_does(name, args, error):
    """Where test_ops_errors does not look. The message is one of the long way: it names an argument."""
    before = copy.deepcopy(args)
    with pytest.raises(error, match=r"^\w+(\[\d\])? (must|has|is)"):
        getattr(ops, name)(*args)
    for one, other in zip(args, before, strict=True):
        assert not isinstance(one, np.ndarray) or np.array_equal(one, other, equal_nan=True), "changed"


# ----------------------------------------------------------------------------------------------- networks and trainers


def network(dtype="float32", outputs=3, inputs=4, seed=0):
    return fb.Network(inputs, [Dense(6, "tanh"), Dense(outputs)], dtype=dtype, seed=seed)


def rows(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3, 255, 256, 257, 2000])
def test_a_prediction_is_one_call_of_the_core(dtype, x_dtype, count):
    net, X = network(dtype), rows(count, 4, dtype=x_dtype)
    expected = network(dtype).predict(the_long_way(X))
    assert_same_bits(net.predict(X), expected)  # the first, which makes the plan
    if count <= 256 or dtype == x_dtype:
        assert calls(net.predict, X) == (["predict"], ["try_predict"])
    for x in (X, the_long_way(X), strided(X), misaligned(X), read_only(X), np.asfortranarray(X)):
        assert_same_bits(net.predict(x), expected)
    y = net.predict(X)
    assert type(y) is np.ndarray and y.flags.carray and y.base is None and y is not net.predict(X)


def test_predictions_of_growing_and_shrinking_blocks():
    net, X = network(), rows(3000, 4)
    expected = network().predict(X)
    for count in (3, 1, 4, 5, 2, 300, 255, 3000, 1, 256, 257):
        for x in (X, X.astype("float64")):
            assert_same_bits(net.predict(x[:count]), expected[:count])


TARGETS = {
    "labels": ("softmax_cross_entropy", 3, np.array([0, 2, 1, 1, 0])),
    "labels int32": ("softmax_cross_entropy", 3, np.array([0, 2, 1, 1, 0], "int32")),
    "probabilities": ("softmax_cross_entropy", 3, real(5, 3)),
    "binary": ("binary_cross_entropy", 3, real(5, 3)),
    "binary, 1-D": ("binary_cross_entropy", 1, real(5)),
    "binary, weighted": (fb.BinaryCrossEntropy(pos_weight=[0.5, 1, 2]), 3, real(5, 3)),
    "absolute": ("mean_absolute_error", 3, rows(5, 3)),
    "huber": (fb.Huber(0.5), 3, rows(5, 3)),
    "poisson": ("poisson", 3, rows(5, 3)),
    "squared": ("mean_squared_error", 3, rows(5, 3)),
    "squared, 1-D": ("mean_squared_error", 1, rows(5)),
    "squared, one column": ("mean_squared_error", 1, rows(5, 1)),
    "pinball, 1-D": ("pinball", 1, rows(5)),
}


@pytest.mark.parametrize("loss, outputs, y", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", DTYPES)
def test_a_step_is_one_call_of_the_core(loss, outputs, y, dtype, given):
    x = rows(5, 4, dtype=given)
    y = y.astype(given) if y.dtype.kind == "f" else y
    short, long = (fb.Trainer(network(dtype, outputs), loss, fb.Adam(1e-2)) for _ in range(2))
    for count in (5, 5, 1, 3, 5):
        losses = [short.step(x[:count], y[:count]), long.step(the_long_way(x[:count]), the_long_way(y[:count]))]
        assert type(losses[0]) is type(losses[1]) is float and losses[0] == losses[1]
    assert calls(short.step, x, y) == (["step"], ["try_step"])
    assert len(calls(long.step, the_long_way(x), the_long_way(y))[0]) > 5
    assert short.steps == long.steps == 6
    assert_same_bits(short.net.parameters, long.net.parameters)
    assert_same_bits(tuple(short.engine.moments), tuple(long.engine.moments))


@pytest.mark.parametrize("name", ["value_and_grad", "evaluate", "example_gradients"])
@pytest.mark.parametrize(
    "loss, outputs, y", [TARGETS[key] for key in ("labels", "binary, weighted", "probabilities", "binary", "squared")]
)
def test_data_that_are_ready_are_checked_in_one_call(name, loss, outputs, y):
    trainer, x = fb.Trainer(network(outputs=outputs), loss), rows(5, 4)
    call = getattr(trainer, name)
    expected = call(the_long_way(x), the_long_way(y))
    assert_same_bits(call(x, y), expected)
    python, c = calls(call, x, y)
    assert c.count("ready") == 1 and "checked_inputs" not in python and len(python) <= 12, python
    python, _ = calls(call, the_long_way(x), y)
    assert "checked_inputs" in python


BAD = {
    "no array": [None, [[0.0] * 4], 3.0, "x", memoryview(rows(1, 4))],
    "other dtypes": [np.zeros((1, 4), kind) for kind in ("int64", "float16", ">f4", "complex64", "bool", "object")],
    "masked": [np.ma.masked_array(rows(1, 4), mask=[[False, True, False, False]])],
    "shapes": [rows(4), rows(1, 3), rows(1, 5), rows(1, 1, 4), rows(0, 4), rows(4, 1)],
    "not finite": [np.array([[0, value, 0, 0]], dtype) for value in (NAN, INF, -INF) for dtype in DTYPES]
    + [np.array([[0, 1e39, 0, 0]])],
}


@pytest.mark.parametrize("kind", BAD)
def test_predict_refuses_on_the_short_way(kind):
    fresh, used = network(), network()
    used.predict(rows(300, 4))
    for x in BAD[kind]:
        messages = []
        for net in (fresh, used):
            with pytest.raises((TypeError, ValueError), match="^X") as caught:
                net.predict(x)
            messages.append((caught.type, str(caught.value)))
        assert messages[0] == messages[1]


BAD_TARGETS = {
    "labels": [np.array(v) for v in ([3], [-1], [2**40], [0, 1], [], [0.0], [[0]], 0, [True])]
    + [np.array(v, "int32") for v in ([3], [-1], [[0]])]
    + [np.array([2**32], "uint64"), np.array([[0, 1, 0]]), [0], None],
    "binary": [np.array([v]) for v in ([0, 1, 1.5], [0, -0.1, 1], [0, NAN, 1], [0, INF, 1], [0, 1], [0, 1, 0, 1])]
    + [np.array([0.0, 1, 0]), np.array([0.0]), np.zeros((2, 3)), np.zeros((1, 3), int), None, [[0, 1, 0]]],
    "probabilities": [np.array([v], "float32") for v in ([0, 1, 1.5], [0, -0.1, 1], [0, NAN, 1], [0, 1])],
    "squared": [np.array([[0, NAN, 1]]), np.array([[0, INF, 1]], "float32"), np.array([[0, 1e39, 1]]), np.zeros(3)],
    "squared, 1-D": [np.zeros(2), np.zeros((1, 2)), np.zeros((1, 1, 1)), np.array([NAN]), np.array(0.0), np.zeros(0)],
}


BAD_TARGETS["binary, weighted"] = BAD_TARGETS["binary"]


@pytest.mark.parametrize("kind", BAD_TARGETS)
def test_step_refuses_on_the_short_way(kind):
    loss, outputs, y = TARGETS[kind]
    x = rows(5, 4)
    bad = [(x[:1], target) for target in BAD_TARGETS[kind]] + [
        (bad_x, y[:1]) for group in BAD.values() for bad_x in group
    ]
    for bad_x, bad_y in bad:
        fresh, used = (fb.Trainer(network(outputs=outputs), loss) for _ in range(2))
        used.step(x, y)
        before, messages = used.net.parameters.copy(), []
        for trainer in (fresh, used):
            with pytest.raises((TypeError, ValueError), match="^[xy]") as caught:
                trainer.step(bad_x, bad_y)
            messages.append((caught.type, str(caught.value)))
        assert messages[0] == messages[1]
        assert used.steps == 1 and np.array_equal(used.net.parameters, before)


def test_a_vector_of_one_output_is_no_distribution():
    """Cross-entropy takes a vector for labels, with one output too."""
    x, y = rows(2, 4), np.ones((2, 1), np.float32)
    trainer = fb.Trainer(network(outputs=1), "softmax_cross_entropy")
    trainer.step(x, y)
    with pytest.raises(TypeError, match="^y must be an integer array"):
        trainer.step(x, y[:, 0])


def test_short_ways_follow_the_instruction_set():
    net, x, y = network(), rows(3, 4), rows(3, 3)
    trainer = fb.Trainer(net, "mean_squared_error")
    for isa in cpu.available():
        with using(isa):
            fresh = copy.deepcopy(trainer)
            assert_same_bits(net.predict(x), fresh.net.predict(x))
            assert trainer.step(x, y) == fresh.step(x, y)
            assert net._plan.isa == trainer.engine.fast.isa == isa and not net._plan.outdated
            assert_same_bits(net.parameters, fresh.net.parameters)
        assert net._plan.outdated == (isa != cpu.isa())


# -------------------------------------------------------------------------------------------------------------- locks


def in_thread(function):
    """Run a function in another thread, to its end; return what it returns."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def test_the_lock_of_updates():
    updates = _core.Updates(7)
    assert updates.done == 7 and updates.last_loss is None
    plan_of = fb.Trainer(network(), "mean_squared_error")
    x, y = rows(1, 4), rows(1, 3)
    plan_of.step(x, y)
    plan = plan_of.engine.fast
    with updates as same, updates:
        assert same is updates
        assert plan.try_step(x, y, 0.0, updates) is None, "its own thread is let in"
        assert in_thread(lambda: plan.try_step(x, y, 0.0, updates)) is None
    loss = plan.try_step(x, y, 0.0, updates)
    assert updates.done == 8 and updates.last_loss == loss
    assert in_thread(lambda: plan.try_step(x, y, 0.0, updates)) == pytest.approx(loss) and updates.done == 9
    with pytest.raises(RuntimeError, match="not held"):
        updates.__exit__(None, None, None)
    with pytest.raises(TypeError):
        plan.try_step(x, y, 0.0, None)
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.copy(updates)


def test_who_holds_the_lock_holds_it_alone():
    updates, count = _core.Updates(0), 0

    def work():
        nonlocal count
        for _ in range(300):
            with updates, updates:
                seen = count
                time.sleep(0)
                count = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 1200
    assert in_thread(lambda: updates.__enter__() is updates)  # and it is free again


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this system")
def test_who_waits_for_the_lock_hears_signals():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    updates, held, over = _core.Updates(0), threading.Event(), threading.Event()

    def hold():
        with updates:
            held.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Stop), updates:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        over.set()
        thread.join()
    with updates:
        pass


# ------------------------------------------------------------------------------------------------------------ the GIL


class Others:
    """Counts how often another thread gets the GIL. Asking for it is of no use meanwhile: it must be let go of."""

    def __enter__(self):
        self.count, self.over = 0, False
        self.thread = threading.Thread(target=self._work)
        self.thread.start()
        while not self.count:
            time.sleep(0)
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        time.sleep(0.02)  # a request that was made before
        return self

    def _work(self):
        while not self.over:
            self.count += 1
            time.sleep(0)

    def __exit__(self, *_):
        self.over = True
        sys.setswitchinterval(self.interval)
        self.thread.join()

    def let_in(self, calls, function, *args):
        """Whether another thread was let in during one of so many calls."""
        before = self.count
        for _ in range(calls):
            function(*args)
            if self.count != before:
                return True
        return False


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
def test_short_calls_keep_the_gil_and_long_ones_do_not():
    net, wide = network(), network(inputs=1000)
    trainers = [fb.Trainer(each, "mean_squared_error") for each in (net, wide)]
    x, y, long_x, long_y = rows(1, 4), rows(1, 3), rows(2000, 1000), rows(2000, 3)
    W = rows(1000, 6)
    with Others() as others:
        assert others.let_in(10, time.sleep, 0.001)
        for trainer, x_, y_, long in ((trainers[0], x, y, False), (trainers[1], long_x, long_y, True)):
            for call in (trainer.step, trainer.value_and_grad, trainer.evaluate, trainer.example_gradients):
                call(x_, y_)
                assert others.let_in(300, call, x_, y_) == long, call
            assert others.let_in(300, trainer.net.predict, x_) == long
        for name in ops.__all__:
            if not name.startswith("random") and name != "dense_backward":
                assert not others.let_in(300, getattr(ops, name), *arguments(name)), name
        for function, *args in (
            (ops.gemm, long_x, W),
            (ops.dense_forward, long_x, W),
            (ops.tanh_forward, long_x),
            (ops.softmax_forward, long_x),
            (ops.binary_cross_entropy, long_x, long_x),
            (ops.adam_step, long_x.copy(), long_x, long_x.copy(), long_x.copy(), 1),
        ):
            assert others.let_in(300, function, *args), function
