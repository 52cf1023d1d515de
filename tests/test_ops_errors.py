"""What fastbp.ops refuses, and how it says so, for numbers the twin as well; and the unusual arrays that ops takes."""

import copy
import inspect
import re

import numpy as np
import pytest
from arrays import assert_same_bits

from fastbp import _core, layers, losses, ops, reference
from fastbp._support.plan_spec import LayerRecord, PlanSpec, PlanVectors

DTYPES = ("float32", "float64")
NO_LOSS = 1 + max(cls.code for cls in losses.LOSSES)
NO_ACTIVATION = len(layers.ACTIVATIONS)
LOSSES = [name for name in ops.__all__ if "target" in inspect.signature(getattr(ops, name)).parameters]


def real(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(dtype)


FROM_X = ("gelu_backward", "gelu_tanh_backward", "silu_backward")


def arguments(name, dtype="float64"):
    """A call of each operation that is right, as keyword arguments in the order of its signature."""
    B, I, O = 4, 3, 5
    x, W, y = real(B, I, dtype=dtype), real(I, O, dtype=dtype), real(B, O, dtype=dtype)
    vectors = {k: real(7, dtype=dtype, seed=i) for i, k in enumerate("wgmv")}
    of_rows = [real(B, dtype=dtype, seed=i) for i in range(2)]
    of_columns = [real(I, dtype=dtype, seed=i) for i in range(3)]
    special = {
        "gemm": dict(a=x, b=W),
        "dense_forward": dict(x=x, W=W, b=real(O, dtype=dtype), activation="tanh"),
        "dense_backward": dict(dy=y, x=x, W=W, y=y, activation="tanh"),
        "sgd_step": dict(w=vectors["w"], g=vectors["g"], v=vectors["v"], momentum=0.9),
        "adam_step": dict(**vectors, t=1),
        "rmsprop_step": dict(
            w=vectors["w"],
            g=vectors["g"],
            v=vectors["v"],
            buffer=vectors["m"],
            mean=vectors["m"] - 1,
            momentum=0.9,
            centered=True,
        ),
        "adagrad_step": dict(w=vectors["w"], g=vectors["g"], v=vectors["v"], t=1),
        "penalty": dict(w=vectors["w"], g=vectors["g"], l1=0.1, l2=0.2),
        "clip_by_norm": dict(g=vectors["g"], limit=0.5),
        "clip_by_value": dict(g=vectors["g"], limit=0.5),
        "weight_average": dict(average=vectors["m"], w=vectors["w"], decay=0.9),
        "sum_squares": dict(x=x),
        "all_finite": dict(x=x),
        "add": dict(a=x, b=x),
        "layer_norm_forward": dict(x=x, gamma=of_columns[0], beta=of_columns[1]),
        "layer_norm_backward": dict(dy=x, x=x, mean=of_rows[0], rstd=of_rows[1], gamma=of_columns[0]),
        "batch_norm_forward": dict(x=x, gamma=of_columns[0], beta=of_columns[1]),
        "batch_norm_backward": dict(dy=x, x=x, mean=of_columns[0], variance=of_columns[1], gamma=of_columns[2]),
        "batch_norm_predict": dict(x=x, mean=of_columns[0], variance=of_columns[1], gamma=of_columns[2]),
        "batch_norm_running": dict(
            running_mean=of_columns[0],
            running_variance=of_columns[1],
            mean=of_columns[2],
            variance=of_columns[0],
            rows=4,
        ),
        "dropout_forward": dict(x=x, rate=0.5, seed=1, stream=2, draw=3),
        "dropout_backward": dict(dy=x, mask=x),
    }
    if name in special:
        return special[name]
    if name in LOSSES:
        return {next(iter(inspect.signature(getattr(ops, name)).parameters)): y, "target": y}
    if name in FROM_X:
        return dict(dy=x, x=x)
    return dict(x=x) if name.endswith("_forward") else dict(dy=x, y=x)


FREE_ROWS = ("layer_norm_forward", "batch_norm_forward", "batch_norm_predict")
IN_PLACE = {
    "sgd_step": ("w", "v"),
    "adam_step": ("w", "m", "v"),
    "rmsprop_step": ("w", "v", "buffer", "mean"),
    "adagrad_step": ("w", "v"),
    "penalty": ("g",),
    "clip_by_norm": ("g",),
    "clip_by_value": ("g",),
    "weight_average": ("average",),
    "batch_norm_running": ("running_mean", "running_variance"),
}
ON_ARRAYS = [name for name in ops.__all__ if not name.startswith("random_")]
ARRAY_ARGUMENTS = [
    (name, argument)
    for name in ON_ARRAYS
    for argument, value in arguments(name).items()
    if isinstance(value, np.ndarray)
]
ANY_SHAPE = [
    name
    for name in ON_ARRAYS
    if name not in ("gemm", "dropout_forward")
    and "softmax" not in name
    and not ("norm" in name and name != "clip_by_norm")
    and not {"W", "target"} & arguments(name).keys()
]


def called(name, room=ops, **changes):
    return getattr(room, name)(**{**arguments(name), **changes})


# For tests of the numbers that the twin refuses as well.
rooms = pytest.mark.parametrize("room", [ops, reference], ids=["ops", "twin"])


def test_every_operation_on_arrays_is_tried():
    for name in ON_ARRAYS:
        taken = [p for p in inspect.signature(getattr(ops, name)).parameters if p in arguments(name)]
        assert taken == list(arguments(name)), name
        called(name)


# --------------------------------------------------------------------------------------------------- wrong kinds

NOT_ARRAYS = {
    "None": (None, "got None"),
    "list": ([[1.0, 2.0]], "got list"),
    "number": (1.5, "got 1.5"),
    "text": ("abc", "got 'abc'"),
    "bytes": (b"abcd", "got bytes"),
    "memory": (memoryview(b"abcd"), "got memoryview"),
    "masked": (np.ma.masked_array([[1.0]], mask=[[True]]), "got masked array"),
    "int64": (np.ones((4, 3), "int64"), "got int64 array"),
    "bool": (np.ones((4, 3), "bool"), "got bool array"),
    "object": (np.ones((4, 3), "object"), "got object array"),
    "complex": (np.ones((4, 3), "complex64"), "got complex64 array"),
    "float16": (np.ones((4, 3), "float16"), "got float16 array"),
    "longdouble": (np.ones((4, 3), "longdouble"), f"got {np.dtype('longdouble')} array"),
    "swapped": (np.ones((4, 3), np.dtype("float64").newbyteorder()), "got .f8 array"),
    "text array": (np.array([["a"]]), "got <U1 array"),
    "dates": (np.zeros((4, 3), "datetime64[s]"), "got datetime64"),
    "records": (np.zeros((4, 3), [("a", "f4")]), "array"),
}
OPTIONAL = {
    ("dense_forward", "b"),
    ("dense_backward", "y"),
    ("sgd_step", "v"),
    ("rmsprop_step", "buffer"),
    ("rmsprop_step", "mean"),
}
OPTIONAL |= {(name, argument) for name, argument in ARRAY_ARGUMENTS if argument in ("gamma", "beta")}


@pytest.mark.parametrize("value, got", NOT_ARRAYS.values(), ids=NOT_ARRAYS.keys())
@pytest.mark.parametrize("name, argument", ARRAY_ARGUMENTS)
def test_what_is_no_array_of_reals_is_refused(name, argument, value, got):
    if value is None and (name, argument) in OPTIONAL:
        pytest.skip("None means something here; see below")
    if name == "softmax_cross_entropy" and argument == "target" and getattr(value, "dtype", None) == "int64":
        pytest.skip("integers are labels here; see below")
    with pytest.raises(TypeError, match=f"^{argument} must be .*{got}"):
        called(name, **{argument: value})


@pytest.mark.parametrize("name, argument", ARRAY_ARGUMENTS)
def test_mixed_dtypes_are_refused(name, argument):
    names = [n for n, value in arguments(name).items() if isinstance(value, np.ndarray)]
    if len(names) == 1:
        return
    with pytest.raises(TypeError, match="must be a float.. array like the arguments before it, got float.. array"):
        called(name, **{argument: arguments(name)[argument].astype("float32")})


@rooms
def test_needed_when_not_optional(room):
    with pytest.raises(ValueError, match="^y is needed for the derivative of tanh"):
        called("dense_backward", room, y=None)
    with pytest.raises(ValueError, match="^v is needed when momentum is not 0"):
        called("sgd_step", room, v=None)
    with pytest.raises(ValueError, match="^buffer is needed when momentum is not 0"):
        called("rmsprop_step", room, buffer=None)
    with pytest.raises(ValueError, match="^mean is needed when centered"):
        called("rmsprop_step", room, mean=None)
    with pytest.raises(ValueError, match="^nesterov is True; it needs a momentum above 0$"):
        called("sgd_step", room, nesterov=True, momentum=0.0)
    called("rmsprop_step", room, buffer=None, momentum=0.0)
    called("rmsprop_step", room, mean=None, centered=False)
    called("dense_forward", room, b=None)
    called("dense_backward", room, y=None, activation="identity")
    called("sgd_step", room, v=None, momentum=0.0)


# -------------------------------------------------------------------------------------------------- wrong shapes


@pytest.mark.parametrize("name, argument", [(n, a) for n, a in ARRAY_ARGUMENTS if n not in ANY_SHAPE])
@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_wrong_number_of_dimensions(name, argument, shape):
    with pytest.raises(ValueError, match="must have [12] dimensions?, got shape|has shape"):
        called(name, **{argument: real(*shape)})


@pytest.mark.parametrize("name, argument", ARRAY_ARGUMENTS)
@pytest.mark.parametrize("axis", [0, -1])
def test_one_element_too_many(name, argument, axis):
    given = arguments(name)
    if len([v for v in given.values() if isinstance(v, np.ndarray)]) == 1:
        return
    if name == "gemm" and axis == (0 if argument == "a" else -1):
        return  # the outer sizes of a product are free
    if name in ("dense_forward", *FREE_ROWS) and argument == "x" and axis == 0:
        return
    longer = np.concatenate([given[argument], np.take(given[argument], [0], axis)], axis)
    with pytest.raises(ValueError, match=r"\d"):
        called(name, **{argument: longer})


def test_messages_name_both_sizes():
    x, W = real(4, 783), real(784, 10)
    with pytest.raises(ValueError, match="^x has 783 columns; W takes 784$"):
        ops.dense_forward(x, W)
    with pytest.raises(ValueError, match="^b has 9 elements; W has 10 columns$"):
        ops.dense_forward(real(4, 784), W, real(9))
    with pytest.raises(ValueError, match="^dy has 5 rows; x has 4$"):
        ops.dense_backward(real(5, 10), real(4, 784), W)
    with pytest.raises(ValueError, match="^dy has 9 columns; W has 10$"):
        ops.dense_backward(real(4, 9), real(4, 784), W)
    with pytest.raises(ValueError, match="^a has 783 columns; b has 784 rows$"):
        ops.gemm(x, W)
    with pytest.raises(ValueError, match="^a has 4 rows; b has 10 columns$"):
        ops.gemm(x, W, transpose_a=True, transpose_b=True)
    with pytest.raises(ValueError, match=r"^x must have 2 dimensions, got shape \(784,\)$"):
        ops.dense_forward(real(784), W)
    with pytest.raises(ValueError, match=r"^target has shape \(4, 9\); y has \(4, 10\)$"):
        ops.mean_squared_error(real(4, 10), real(4, 9))
    with pytest.raises(ValueError, match="^W must have at least one row and one column"):
        ops.dense_forward(real(4, 0), real(0, 3))


# -------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64", "uint64", "longlong", ">i4"])
def test_labels_of_any_integer_dtype(dtype, kind):
    z, labels = real(4, 5, dtype=dtype), np.array([0, 4, 2, 2])
    loss, dz = ops.softmax_cross_entropy(z, labels.astype(kind))
    expected, expected_dz = reference.softmax_cross_entropy(z, labels)
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dz, expected_dz, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "labels, position, value",
    [
        ([0, 5, 1, 2], 1, "5"),
        ([0, 1, 2, -1], 3, "-1"),
        ([2**62, 0, 0, 0], 0, str(2**62)),
        ([-(2**63), 0, 0, 0], 0, str(-(2**63))),
    ],
)
def test_labels_out_of_range(labels, position, value):
    with pytest.raises(ValueError, match=rf"^target\[{position}\] is {value}; it must be in 0 .. 4$"):
        ops.softmax_cross_entropy(real(4, 5), np.array(labels))


def test_labels_beyond_int64():
    with pytest.raises(ValueError, match=r"^target\[2\] is .*must be in 0 .. 4$"):
        ops.softmax_cross_entropy(real(4, 5), np.array([0, 1, 2**64 - 1, 2], "uint64"))


@pytest.mark.parametrize("labels", [np.array([0.0, 1.5, 2.0, 3.0]), np.array([True, False, True, True])])
def test_labels_that_are_no_integers(labels):
    with pytest.raises(TypeError, match="^target must be an integer array of class numbers"):
        ops.softmax_cross_entropy(real(4, 5), labels)


def test_labels_of_wrong_shape():
    z = real(4, 5)
    with pytest.raises(ValueError, match="^target has 3 rows; z has 4$"):
        ops.softmax_cross_entropy(z, np.arange(3))
    with pytest.raises(ValueError, match=r"^target must have 1 dimension, got shape \(4, 1\)$"):
        ops.softmax_cross_entropy(z, np.zeros((4, 1), "int64"))
    with pytest.raises(
        ValueError, match=r"got shape \(4, 5\): rows of probabilities, as one-hot ones are, must be floats$"
    ):
        ops.softmax_cross_entropy(z, np.eye(4, 5, dtype="int64"))


# ----------------------------------------------------------------------------------------------- hyperparameters

NUMBERS = [
    ("leaky_relu_forward", "negative_slope", [-0.1, float("nan"), float("inf"), 10**400]),
    ("leaky_relu_backward", "negative_slope", [-0.1, float("nan"), float("inf")]),
    ("softplus_forward", "beta", [0.0, -1, float("nan"), float("inf")]),
    ("softplus_backward", "beta", [0.0, -1, float("nan"), float("inf")]),
    ("huber", "delta", [0.0, -1, float("nan"), float("inf")]),
    ("softmax_cross_entropy", "label_smoothing", [-0.1, 1.0, float("nan")]),
    ("elu_forward", "alpha", [-0.1, float("nan"), float("inf")]),
    ("elu_backward", "alpha", [-0.1, float("nan"), float("inf")]),
    ("sgd_step", "learning_rate", [-1.0, float("nan"), float("inf")]),
    ("sgd_step", "momentum", [-0.1, 1.0, float("nan")]),
    ("sgd_step", "weight_decay", [-0.1, float("nan")]),
    ("adam_step", "learning_rate", [-1.0, float("nan"), float("inf")]),
    ("adam_step", "beta1", [-0.1, 1.0, float("nan")]),
    ("adam_step", "beta2", [-0.1, 1.0, float("nan")]),
    ("adam_step", "eps", [0.0, -1e-8, float("nan")]),
    ("adam_step", "weight_decay", [-0.1, float("inf")]),
    ("rmsprop_step", "learning_rate", [-1.0, float("nan"), float("inf")]),
    ("rmsprop_step", "alpha", [-0.1, 1.0, float("nan")]),
    ("rmsprop_step", "eps", [0.0, -1e-8, float("nan")]),
    ("rmsprop_step", "weight_decay", [-0.1, float("inf")]),
    ("rmsprop_step", "momentum", [-0.1, 1.0, float("nan")]),
    ("adagrad_step", "learning_rate", [-1.0, float("nan"), float("inf")]),
    ("adagrad_step", "rate_decay", [-0.1, float("nan"), float("inf")]),
    ("adagrad_step", "weight_decay", [-0.1, float("inf")]),
    ("adagrad_step", "eps", [0.0, -1e-8, float("nan")]),
    ("penalty", "l1", [-0.1, float("nan"), float("inf")]),
    ("penalty", "l2", [-0.1, float("nan"), float("inf")]),
    ("clip_by_norm", "limit", [0.0, -1.0, float("nan"), float("inf")]),
    ("clip_by_norm", "eps", [-1e-6, float("nan"), float("inf")]),
    ("clip_by_value", "limit", [0.0, -1.0, float("nan"), float("inf")]),
    ("weight_average", "decay", [-0.1, 1.0, float("nan")]),
    ("layer_norm_forward", "eps", [0.0, -1e-5, float("nan"), float("inf"), 10**400]),
    ("batch_norm_forward", "eps", [0.0, -1e-5, float("nan"), float("inf")]),
    ("batch_norm_backward", "eps", [0.0, -1e-5, float("nan"), float("inf")]),
    ("batch_norm_predict", "eps", [0.0, -1e-5, float("nan"), float("inf")]),
    ("batch_norm_running", "momentum", [0.0, -0.1, 1.5, float("nan"), float("inf")]),
    ("dropout_forward", "rate", [-0.1, 1.0, float("nan"), float("inf")]),
]


@rooms
@pytest.mark.parametrize("name, argument, values", NUMBERS)
def test_hyperparameters(name, argument, values, room):
    given = arguments(name)
    before = {k: v.copy() for k, v in given.items() if isinstance(v, np.ndarray)}
    for value in values:
        with pytest.raises(ValueError, match=f"^{argument} must be"):
            getattr(room, name)(**{**given, argument: value})
    for value in (None, "0.1", [0.1], 0.1j, True, np.array(0.1)):
        with pytest.raises(TypeError, match=f"^{argument} must be a number"):
            getattr(room, name)(**{**given, argument: value})
    for key, array in before.items():
        assert np.array_equal(array, given[key]), "changed by a call that failed"
    called(name, room, **{argument: np.float32(0.5)})


@pytest.mark.parametrize(
    "t, error",
    [(0, ValueError), (-1, ValueError), (2**64, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError)],
)
@pytest.mark.parametrize("name", ["adam_step", "adagrad_step"])
@rooms
def test_step_number(name, t, error, room):
    with pytest.raises(error, match="^t must be"):
        called(name, room, t=t)


@pytest.mark.parametrize(
    "name, argument", [("sgd_step", "nesterov"), ("adam_step", "decoupled"), ("rmsprop_step", "centered")]
)
@rooms
def test_flags(name, argument, room):
    for value in (None, 1, "yes", np.array(True)):
        with pytest.raises(TypeError, match=f"^{argument} must be True or False"):
            called(name, room, **{argument: value})
    given, same = arguments(name), arguments(name)
    getattr(room, name)(**{**given, argument: np.True_})
    getattr(room, name)(**{**same, argument: True})
    assert np.array_equal(given["w"], same["w"])


@pytest.mark.parametrize(
    "rows, error",
    [(1, ValueError), (0, ValueError), (-4, ValueError), (2**64, ValueError), (4.0, TypeError), (None, TypeError)],
)
@rooms
def test_rows_of_running_statistics(rows, error, room):
    with pytest.raises(error, match="^rows must be"):
        called("batch_norm_running", room, rows=rows)


@rooms
def test_norms_need_something_to_average(room):
    with pytest.raises(ValueError, match=r"^x must have at least one column, got shape \(4, 0\)$"):
        room.layer_norm_forward(real(4, 0))
    for f in (room.batch_norm_forward, lambda x: room.batch_norm_predict(x, real(3), real(3))):
        with pytest.raises(ValueError, match=r"^x must have at least one row, got shape \(0, 3\)$"):
            f(real(0, 3))


@pytest.mark.parametrize(
    "argument, end", [("seed", 2**64), ("stream", 2**64), ("draw", 2**32), ("first_row", 2**34 + 1)]
)
@rooms
def test_numbers_of_dropout(argument, end, room):
    for value in (-1, end, 10**30):
        with pytest.raises(ValueError, match=f"^{argument} must be"):
            called("dropout_forward", room, **{argument: value})
    for value in (1.0, None, "1", True):
        with pytest.raises(TypeError, match=f"^{argument} must be an integer"):
            called("dropout_forward", room, **{argument: value})
    with pytest.raises(ValueError, match=r"more than 2\^34 elements$"):
        called("dropout_forward", room, first_row=2**34 // 3)
    assert np.array_equal(
        called("dropout_forward", room, **{argument: np.int8(3)}), called("dropout_forward", room, **{argument: 3})
    )


@pytest.mark.parametrize("name", LOSSES)
@rooms
def test_reduction(name, room):
    with pytest.raises(ValueError, match="^reduction must be"):
        called(name, room, reduction="none")
    with pytest.raises(TypeError, match="^reduction must be"):
        called(name, room, reduction=None)


@pytest.mark.parametrize("name", ["dense_forward", "dense_backward"])
@rooms
def test_activation(name, room):
    with pytest.raises(ValueError, match="^activation must be.*relu"):
        called(name, room, activation="gleu")
    with pytest.raises(TypeError, match="^activation must be.*relu"):
        called(name, room, activation=3)


COLUMNS = {  # numbers for columns: values and kinds that are refused
    ("pinball", "quantiles"): ([0.0, 1.0, float("nan"), [0.1, 0.2, 0.3, 0.4, 1.5]], [None, True]),
    ("binary_cross_entropy", "pos_weight"): ([-1.0, float("nan"), float("inf"), [1, 2, 3, 4, -5]], [True]),
    ("softmax_cross_entropy", "class_weights"): ([[1, 2, 3, 4, -5], [1, 2, 3, 4, float("inf")]], [1.0, 2]),
}


@pytest.mark.parametrize("name, argument", COLUMNS)
@rooms
def test_numbers_for_columns(name, argument, room):
    values, kinds = COLUMNS[name, argument]
    values = [*values, [], [0.5, 0.5], np.full(6, 0.5), np.array([0.5, 0.5, 0.5, 0.5, float("nan")])]
    kinds = [*kinds, "text", b"bytes", {0.5: 0.5}, [None] * 5, [0.5, 0.5, 0.5, 0.5, True], np.full((5, 1), 0.5)]
    for bad, error in [*((value, ValueError) for value in values), *((kind, TypeError) for kind in kinds)]:
        with pytest.raises(error, match=f"^{argument}"):
            called(name, room, **{argument: bad})
    for good in ([0.5] * 5, (0.25,) * 5, np.full(5, 0.5), np.full(5, 0.5, "float32"), [np.float32(0.5)] * 5):
        called(name, room, **{argument: good})


@rooms
def test_numbers_that_float32_does_not_hold(room):
    for bad in (1e39, 1e-46, [1, 1, 1, 1, 1e39]):
        with pytest.raises(ValueError, match="^pos_weight must be a number that float32 holds, got 1e"):
            room.binary_cross_entropy(real(4, 5, dtype="float32"), real(4, 5, dtype="float32"), pos_weight=bad)
        called("binary_cross_entropy", room, pos_weight=bad)
    for bad in (1e39, 1e-46):
        with pytest.raises(ValueError, match="^delta must be"):
            room.huber(real(4, 5, dtype="float32"), real(4, 5, dtype="float32"), bad)


@pytest.mark.parametrize("name", LOSSES)
def test_sample_weight(name):
    nan, inf = float("nan"), float("inf")
    for bad, error, message in (
        ([1.0] * 4, TypeError, "must be a float32 or float64 array, got list"),
        (np.ones(4, int), TypeError, "must be a float32 or float64 array, got int64 array"),
        (1.0, TypeError, r"must be a float32 or float64 array, got 1.0 \(float\)"),
        (np.ma.masked_array(np.ones(4), [False, True, False, False]), TypeError, "got masked array"),
        (np.ones(5), ValueError, "has 5 rows; . has 4"),
        (np.ones((4, 1)), ValueError, r"must have 1 dimension, got shape \(4, 1\)"),
        (np.array([1, -1e-300, 1, 1]), ValueError, "-1e-300; weights must be at least 0"),
        (np.array([1, 1, nan, 1]), ValueError, "is nan in float64; weights must be finite"),
        (np.array([1, 1, 1, inf], "float32"), ValueError, "is inf in float64; weights must be finite"),
        (np.full(4, 1e308), ValueError, "must have a finite sum"),
    ):
        with pytest.raises(error, match=rf"^sample_weight.*{message}"):
            called(name, sample_weight=bad)
    for good in (np.ones(4), np.ones(4, "float32"), np.ones(8)[::2], misaligned(np.ones(4)), read_only(np.ones(4))):
        called(name, sample_weight=good)
        getattr(ops, name)(*arguments(name, "float32").values(), sample_weight=good)


@pytest.mark.parametrize("name", ["random_bits", "random_uniform", "random_normal", "random_permutation"])
@rooms
def test_random_arguments(name, room):
    f = getattr(room, name)
    for given in [
        *(dict(seed=-1), dict(seed=2**64), dict(stream=-1), dict(stream=2**64)),
        *(dict(n=-1), dict(n=2**61), dict(n=2**62), dict(n=2**64)),
    ]:
        with pytest.raises(ValueError, match=f"^{next(iter(given))} must be"):
            f(**{"seed": 0, "stream": 0, "n": 3, **given})
    for given in [dict(seed=1.0), dict(seed=None), dict(stream="1"), dict(n=2.0), dict(n=True)]:
        with pytest.raises(TypeError, match=f"^{next(iter(given))} must be an integer"):
            f(**{"seed": 0, "stream": 0, "n": 3, **given})
    assert np.array_equal(f(np.uint64(2**64 - 1), np.int32(5), np.int8(9)), f(2**64 - 1, 5, 9))


@pytest.mark.parametrize("name", ["random_bits", "random_uniform", "random_normal"])
def test_random_numbers_that_no_memory_holds(name):
    """Half an exbibyte at least, which the address space of a processor has no room for."""
    with pytest.raises(MemoryError, match=f"^n is {2**57}: there is no memory for as many numbers of "):
        getattr(ops, name)(0, 0, 2**57)


# ------------------------------------------------------------------------------------- arrays that need some care


def strided(x):
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, "uint8")[1:]
    view = raw.view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


class Subclass(np.ndarray):
    pass


UNUSUAL = {
    "strided": strided,
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "by columns": np.asfortranarray,
    "misaligned": misaligned,
    "read-only": read_only,
    "subclass": lambda x: x.copy().view(Subclass),
    "own dtype object": lambda x: x.astype(np.dtype(x.dtype.str, metadata={"unit": "m"})),
}


def results(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL.keys())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in ON_ARRAYS if name not in IN_PLACE])
def test_unusual_arrays_give_the_usual_result(name, dtype, change):
    usual = arguments(name, dtype)
    unusual = {k: change(v) if isinstance(v, np.ndarray) else v for k, v in usual.items()}
    before = {k: np.array(v) for k, v in unusual.items() if isinstance(v, np.ndarray)}
    for got, expected in zip(results(getattr(ops, name)(**unusual)), results(getattr(ops, name)(**usual)), strict=True):
        assert type(got) is type(expected)
        assert np.array_equal(got, expected)
    for key, value in before.items():
        assert np.array_equal(value, unusual[key]), "an input was changed"


@pytest.mark.parametrize("name, argument", [(name, a) for name, given in IN_PLACE.items() for a in given])
@pytest.mark.parametrize("change", [strided, misaligned, read_only], ids=["strided", "misaligned", "read-only"])
def test_what_is_updated_in_place_must_be_fit_for_it(name, argument, change):
    given = arguments(name)
    given[argument] = change(given[argument])
    before = {k: v.copy() for k, v in given.items() if isinstance(v, np.ndarray)}
    message = f"^{argument} is updated in place: it must be writeable, contiguous and aligned$"
    with pytest.raises(ValueError, match=message):
        getattr(ops, name)(**given)
    for key, value in before.items():
        assert np.array_equal(value, given[key]), "changed by a call that failed"


@pytest.mark.parametrize("name", [name for name in IN_PLACE if not name.startswith("clip_")])
def test_what_is_only_read_may_be_unusual(name):
    read = (
        "mean" if name == "batch_norm_running" else "g" if "g" not in IN_PLACE[name] and "g" in arguments(name) else "w"
    )
    for change in UNUSUAL.values():
        usual, unusual = arguments(name), arguments(name)
        unusual[read] = change(unusual[read])
        assert getattr(ops, name)(**usual) == getattr(ops, name)(**unusual)
        for updated in IN_PLACE[name]:
            assert np.array_equal(usual[updated], unusual[updated])


@pytest.mark.parametrize("name", [name for name in ON_ARRAYS if name not in IN_PLACE])
def test_results_do_not_share_memory_with_arguments(name):
    given = arguments(name)
    for result in results(getattr(ops, name)(**given)):
        for value in given.values():
            if isinstance(value, np.ndarray) and isinstance(result, np.ndarray):
                assert not np.shares_memory(result, value)


# -------------------------------------------------------------------------------------------------- empty arrays


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows(dtype):
    x, W = np.empty((0, 3), dtype), real(3, 5, dtype=dtype)
    assert ops.gemm(x, W).shape == (0, 5)
    assert np.array_equal(ops.gemm(x, x, transpose_a=True), np.zeros((3, 3)))
    assert np.array_equal(ops.gemm(np.empty((4, 0), dtype), np.empty((0, 2), dtype)), np.zeros((4, 2)))
    y = ops.dense_forward(x, W, real(5, dtype=dtype), "tanh")
    assert y.shape == (0, 5) and y.dtype == dtype
    dx, dW, db = ops.dense_backward(y, x, W, y, "tanh")
    assert dx.shape == (0, 3) and not dW.any() and not db.any()
    assert ops.softmax_forward(x).shape == ops.softmax_backward(x, x).shape == (0, 3)
    assert ops.softmax_forward(np.empty((3, 0), dtype)).shape == (3, 0)
    for name in ("relu", "softplus"):
        assert getattr(ops, f"{name}_forward")(x).shape == getattr(ops, f"{name}_backward")(x, x).shape == (0, 3)
    assert ops.sum_squares(x) == 0 and ops.all_finite(x) and ops.add(x, x).shape == (0, 3)
    w = np.empty(0, dtype)
    ops.sgd_step(w, w)
    ops.adam_step(w, w, w, w, 1)
    ops.rmsprop_step(w, w, w, w, w, momentum=0.5, centered=True)
    ops.adagrad_step(w, w, w, 1)
    assert ops.penalty(w, w, 1.0, 1.0) == 0 and ops.clip_by_norm(w, 1.0) == 0
    ops.clip_by_value(w, 1.0)
    ops.weight_average(w, w, 0.5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_no_rows(name):
    x = np.empty((0, 3))
    with pytest.raises(ValueError, match="mean of nothing"):
        getattr(ops, name)(x, x)
    loss, gradient = getattr(ops, name)(x, x, reduction="sum")
    assert loss == 0 and gradient.shape == (0, 3)


def test_the_mean_of_no_labels():
    with pytest.raises(ValueError, match="mean of nothing"):
        ops.softmax_cross_entropy(np.empty((0, 3)), np.empty(0, "int64"))
    assert ops.softmax_cross_entropy(np.empty((0, 3)), np.empty(0, "int64"), "sum")[0] == 0


def test_no_columns():
    with pytest.raises(ValueError, match="at least one column"):
        ops.softmax_cross_entropy(np.empty((3, 0)), np.zeros(3, "int64"))


@pytest.mark.parametrize("name", ANY_SHAPE)
@pytest.mark.parametrize("shape", [(), (1,), (2, 1, 3), (0, 2)])
def test_any_shape(name, shape):
    given = {k: real(*shape) if isinstance(v, np.ndarray) else v for k, v in arguments(name).items()}
    for result in results(getattr(ops, name)(**given)):
        if isinstance(result, np.ndarray):
            assert result.shape == shape


# ------------------------------------------------------- the core: pointers and sizes agree, whatever is passed in

BAD = [
    None,
    3,
    [1.0],
    b"x" * 64,
    "text",
    memoryview(b"12345678"),
    np.zeros((2, 2), "int64"),
    np.zeros((2, 2), "complex64"),
    np.zeros((2, 2), "float16"),
    np.zeros((2, 2), "float32"),
    np.zeros((2, 2), ">f8"),
    np.zeros((2, 2), object),
    np.zeros((1, 2)),
    np.zeros((2, 1)),
    np.zeros(3),
    np.zeros((2, 2, 2)),
]
two, pair = np.zeros((2, 2)), np.zeros(2)
CORE_CALLS = {
    "gemm": (two, two, False, True, two.copy()),
    "dense_forward": (two, two, pair, 1, 0.0, two.copy()),
    "dense_backward": (two, two, two, two, 1, 0.0, two.copy(), two.copy(), pair.copy()),
    "activation_forward": (two, 1, 0.0, two.copy()),
    "activation_backward": (two, two, 1, 0.0, two.copy()),
    "softmax_forward": (two, two.copy()),
    "softmax_backward": (two, two, two.copy()),
    "loss": (losses.Pinball.code, two, two, pair + 0.5, "mean", None, two.copy()),
    "sgd_step": (two.copy(), two, two.copy(), 0.1, 0.9, 0.0, True),
    "adam_step": (two.copy(), two, two.copy(), two.copy(), 1, 0.1, 0.9, 0.99, 1e-8, 0.0, False),
    "rmsprop_step": (two.copy(), two, *(two.copy() for _ in range(3)), 0.1, 0.9, 1e-8, 0.0, 0.9, True),
    "adagrad_step": (two.copy(), two, two.copy(), 1, 0.1, 0.0, 0.0, 1e-8),
    "penalty": (two, two.copy(), 0.1, 0.1),
    "weight_average": (two.copy(), two, 0.5),
    "add": (two, two, two.copy()),
    "layer_norm_forward": (two, pair, pair, 1e-5, two.copy(), pair.copy(), pair.copy()),
    "layer_norm_backward": (two, two, pair, pair, pair, two.copy(), pair.copy(), pair.copy()),
    "batch_norm_forward": (two, pair, pair, 1e-5, two.copy(), pair.copy(), pair.copy()),
    "batch_norm_backward": (two, two, pair, pair, pair, 1e-5, two.copy(), pair.copy(), pair.copy()),
    "batch_norm_predict": (two, pair, pair, pair, pair, 1e-5, two.copy()),
    "batch_norm_running": (pair.copy(), pair.copy(), pair, pair, 4, 0.1),
    "dropout_forward": (two, 0.5, 1, 2, 3, 0, two.copy(), two.copy()),
    "dropout_backward": (two, two, two.copy()),
}
MAY_BE_NONE = {
    "dense_forward": [2],
    "layer_norm_forward": [1, 2],
    "layer_norm_backward": [4],
    "batch_norm_forward": [1, 2],
    "batch_norm_backward": [4],
    "batch_norm_predict": [3, 4],
}


@pytest.mark.parametrize("name", CORE_CALLS)
def test_the_core_checks_what_it_is_given(name):
    good = CORE_CALLS[name]
    getattr(_core, name)(*good)
    for position, value in enumerate(good):
        if not isinstance(value, np.ndarray):
            continue
        for bad in BAD:
            if bad is None and position in MAY_BE_NONE.get(name, []):
                continue
            with pytest.raises((TypeError, ValueError)):
                getattr(_core, name)(*good[:position], bad, *good[position + 1 :])
    for position, value in enumerate(good):
        if not isinstance(value, np.ndarray):
            continue
        read = value is two or value is pair or (name, position) == ("loss", 3)
        for change in (strided, misaligned):
            given, same = copy.deepcopy(good), copy.deepcopy(good)
            given = (*given[:position], change(value), *given[position + 1 :])
            if read:  # the core works on a copy
                assert_same_bits(results(getattr(_core, name)(*given)), results(getattr(_core, name)(*same)))
                for one, other in zip(given, same, strict=True):
                    assert not isinstance(one, np.ndarray) or np.array_equal(one, other), "written to"
            else:
                with pytest.raises(ValueError, match="contiguous"):
                    getattr(_core, name)(*given)
        if not read:
            with pytest.raises(ValueError, match="writeable"):
                getattr(_core, name)(*good[:position], read_only(value), *good[position + 1 :])


@pytest.mark.parametrize("name, numbers", [("clip_by_norm", (1.0, 0.0)), ("clip_by_value", (1.0,))])
def test_the_core_clips_reals_that_it_may_write_to(name, numbers):
    for g in [bad for bad in BAD if type(bad) is not np.ndarray or bad.dtype not in (*DTYPES,)]:
        with pytest.raises(TypeError):
            getattr(_core, name)(g, *numbers)
    for g in (read_only(two), strided(two)):
        with pytest.raises(ValueError):
            getattr(_core, name)(g, *numbers)
    with pytest.raises((TypeError, ValueError)):  # a format of its own, in some versions of NumPy
        getattr(_core, name)(misaligned(two), *numbers)


def test_the_core_checks_numbers():
    for bad in (-1, NO_ACTIVATION, 2**31 - 1):
        with pytest.raises(ValueError, match="no activation"):
            _core.activation_forward(two, bad, 0.0, two.copy())
        with pytest.raises(ValueError, match="no activation"):
            _core.dense_forward(two, two, None, bad, 0.0, two.copy())
    for bad in (-1, NO_LOSS, 2**31 - 1):
        with pytest.raises(ValueError, match="no loss"):
            _core.loss(bad, two, two, None, "mean", None, two.copy())


def test_the_core_checks_weights():
    labels = np.array([0, 1])
    for kind, target in ((0, labels), (1, two), (4, two)):
        _core.loss(kind, two, target, None, "mean", (pair, 0.0, None), two.copy())
        for bad in (3, "abc", (), (None,), (None, 0.0), (None, 0.0, None, None)):
            with pytest.raises((TypeError, ValueError)):
                _core.loss(kind, two, target, None, "mean", bad, two.copy())
        for bad in BAD[1:]:
            with pytest.raises((TypeError, ValueError)):
                _core.loss(kind, two, target, None, "mean", (bad, 0.0, None), two.copy())
            with pytest.raises((TypeError, ValueError)):
                _core.loss(kind, two, target, None, "mean", (None, 0.0, bad), two.copy())
        for bad in (None, "0.1", True, -0.1, 1.0, float("nan"), np.zeros(2)):
            with pytest.raises((TypeError, ValueError)):
                _core.loss(kind, two, target, None, "mean", (None, bad, None), two.copy())
    for smoothing, class_weights in ((0.1, None), (0.0, pair)):
        with pytest.raises(ValueError, match="neither label smoothing nor class weights"):
            _core.loss(4, two, two, None, "mean", (None, smoothing, class_weights), two.copy())


# ---------------------------------------------------------------------------------------------------- the plan


LAYERS = [LayerRecord(0, 3, 4, True, 1), LayerRecord(0, 4, 2, True)]


def plan(**changes):
    """A plan for a 3-4-2 net with labels as targets, and its vectors."""
    size = 3 * 4 + 4 + 4 * 2 + 2
    given = dict(
        dtype="float64", layers=LAYERS, rows=4, threads=1, loss=0, optimizer=(1, 0.0, 0.0, 0.9, 0.999, 1e-8, 0.0, 0, 0)
    )
    vectors = dict(parameters=real(size), gradient=np.zeros(size), moments=(np.zeros(size), np.zeros(size), None))
    for name, value in changes.items():
        (vectors if name in PlanVectors._fields else given)[name] = value
    return _core.Plan(PlanSpec(**given), PlanVectors(**vectors))


def test_plan():
    p = plan()
    assert p.parameters_count == 26 and p.workspace_bytes > 0 and p.threads_for(4) == 1 and p.isa == _core.isa()
    x, labels = real(4, 3), np.array([0, 1, 1, 0])
    loss = p.gradient(x, labels)
    assert p.loss(x, labels) == (pytest.approx(4 * loss), 4)
    assert p.step(x, labels, 1e-3, _core.Updates(0)) == (_core.OK, pytest.approx(loss))


@pytest.mark.parametrize(
    "changes",
    [
        dict(dtype="float16"),
        dict(dtype=None),
        dict(layers=None),
        dict(layers=[(0, 3, 4)]),
        dict(layers=[None]),
        dict(rows=0),
        dict(rows=-1),
        dict(threads=-1),
        dict(loss=NO_LOSS),
        dict(loss=-2),
        dict(loss=losses.Pinball.code),
        dict(loss=losses.Pinball.code, loss_parameters=(0.5,)),
        dict(loss=losses.BinaryCrossEntropy.code_weighted),
        dict(loss=losses.Huber.code, loss_parameters=(0.5,)),
        dict(loss_parameters=(0.5, 0.5)),
        dict(optimizer=(4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)),
        dict(optimizer=(1, 0.0)),
        dict(parameters=None),
        dict(parameters=np.zeros(25)),
        dict(parameters=np.zeros(26, "float32")),
        dict(parameters=read_only(np.zeros(26))),
        dict(parameters=np.zeros(52)[::2]),
        dict(gradient=np.zeros(27)),
        dict(moments=(np.zeros((2, 13)), np.zeros(26), None)),
        dict(moments=(np.zeros(26), [0.0] * 26, None)),
        dict(moments=(np.zeros(26),)),
        dict(moments=None),
        dict(class_weights=(1.0,)),
    ],
)
def test_plans_that_make_no_sense(changes):
    with pytest.raises((TypeError, ValueError, MemoryError)):
        plan(**changes)


BEGIN, END = (LayerRecord(kind, 3, 3) for kind in (1, 2))


@pytest.mark.parametrize(
    "layers, message",
    [
        ([], "layers must hold at least one layer"),
        ([LAYERS[0], LayerRecord(0, 5, 2)], "layers[1] takes 5 columns; the one before gives 4"),
        ([LayerRecord(0, 3, 4, activation=NO_ACTIVATION)], f"layers[0] has activation {NO_ACTIVATION}, which does not"),
        ([LAYERS[0], LayerRecord(0, 4, 2, activation=layers.GELU.code)], "which must be a layer of its own"),
        ([LayerRecord(9, 3, 4)], "layers[0] is of kind 9, which does not exist"),
        ([LayerRecord(-1, 3, 4)], "layers[0] is of kind -1, which does not exist"),
        ([LayerRecord(7, 3, 4)], "layers[0] has widths 3 and 4, which must be the same"),
        ([LayerRecord(0, 0, 4)], "layers[0] has widths 0 and 4; both must be in 1 .. 2^31 - 1"),
        ([LayerRecord(0, 3, -4)], "layers[0] has widths 3 and -4; both must be in 1 .. 2^31 - 1"),
        ([LayerRecord(0, 2**40, 2**70)], f"layers[0] has widths {2**40} and {2**70}; both must be in 1 .. 2^31 - 1"),
        ([LayerRecord(0, 2**30, 2**30)], "a network of these widths over 4 rows does not fit in memory"),
        ([BEGIN], "a residual block is not ended"),
        ([LAYERS[0], LayerRecord(1, 4, 4), LAYERS[1]], "a residual block is not ended"),
        ([END], "layers[0] ends a residual block that is empty or of another width, or none"),
        ([BEGIN, END], "layers[1] ends a residual block that is empty or of another width, or none"),
        ([BEGIN, LAYERS[0], LayerRecord(2, 4, 4)], "layers[2] ends a residual block that is empty or of another"),
        ([LayerRecord(3, 3, 3)], "layers[0] is a projection, and no residual block is open"),
        ([BEGIN, LayerRecord(3, 3, 3)], "layers[1] is a projection, and no residual block is open that goes"),
        ([BEGIN, LAYERS[0], LayerRecord(3, 3, 5)], "layers[2] is a projection, and no residual block is open"),
        ([BEGIN, LAYERS[0], LayerRecord(3, 4, 4)], "layers[2] is a projection, and no residual block is open"),
        ([BEGIN, LAYERS[0], LayerRecord(3, 3, 4), LayerRecord(3, 3, 4)], "layers[3] is a projection, and no residual"),
        ([BEGIN, LAYERS[0], LayerRecord(3, 3, 4), LAYERS[1]], "layers[3] comes between a projection and the end"),
    ],
)  # fmt: skip
def test_a_plan_says_which_layer_is_wrong(layers, message):
    with pytest.raises((ValueError, MemoryError), match=re.escape(message)):
        plan(layers=layers)


def test_plan_checks_its_data():
    p = plan()
    x, labels, rates, y = real(4, 3), np.array([0, 1, 1, 0]), np.full(2, 1e-3), np.zeros((4, 2))
    losses, gradients = np.zeros(4), np.zeros((4, 26))
    bad_x = [
        None,
        [[1.0] * 3] * 4,
        real(4, 2),
        real(3),
        real(4, 3, 1),
        *(
            np.zeros((4, 3), dtype)
            for dtype in ("int64", "int8", "bool", "float16", "complex128", "object", "S1", "V4", "M8[s]")
        ),
        np.zeros((4, 3), np.dtype("float64").newbyteorder()),
    ]
    bad_labels = [
        None,
        [0, 1, 1, 0],
        np.array([0, 1, 2, 0]),
        np.array([0, -1, 0, 0]),
        np.zeros(3, "int64"),
        np.zeros(4),
        y,
        np.zeros(4, "int32"),
    ]
    for x_, labels_ in [*((bad, labels) for bad in bad_x), *((x, bad) for bad in bad_labels)]:
        for method, *rest in (
            ("loss",),
            ("gradient",),
            ("step", 0.1, _core.Updates(0)),
            ("begin_epoch", 2, None, rates, _core.Updates(0)),
            ("example_gradients", losses, gradients),
        ):
            with pytest.raises((TypeError, ValueError)):
                getattr(p, method)(x_, labels_, *rest)
    for bad in bad_x:
        with pytest.raises((TypeError, ValueError)):
            p.forward(bad, y)
    for call in (
        lambda: p.forward(x, np.zeros((4, 3))),
        lambda: p.forward(x, read_only(y)),
        lambda: p.gradient(x, labels, np.zeros((4, 2))),
        lambda: p.gradient(x[:0], labels[:0]),
        lambda: p.step(x[:0], labels[:0], 0.1, _core.Updates(0)),
        lambda: p.step(x, labels, "0.1", _core.Updates(0)),
        lambda: p.example_gradients(x, labels, np.zeros(3), np.zeros((4, 26))),
        lambda: p.example_gradients(x, labels, np.zeros(4), np.zeros((4, 25))),
        lambda: p.begin_epoch(x, labels, 0, None, rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 1, None, rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 2, np.array([0, 1, 2, 4]), rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 2, np.array([0, 1, 2, -1]), rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 2, np.zeros(0, np.int64), rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 2, np.array([0.0, 1, 2, 3]), rates, _core.Updates(0)),
        lambda: p.begin_epoch(x, labels, 2, None, rates.astype("float32"), _core.Updates(0)),
        lambda: p.begin_epoch(x[:0], labels[:0], 2, None, rates[:0], _core.Updates(0)),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    with pytest.raises(RuntimeError, match="begin_epoch comes first"):
        p.run(1.0)


def test_plan_that_lacks_something():
    x, labels, rates = real(4, 3), np.array([0, 1, 1, 0]), np.full(2, 1e-3)
    with pytest.raises(RuntimeError, match="no loss"):
        plan(loss=-1).step(x, labels, 0.1, _core.Updates(0))
    m = np.zeros(26)
    lacking = (dict(gradient=None), dict(moments=(None, m, None)), dict(moments=(m, None, None)), dict(optimizer=None))
    for p in (plan(**changes) for changes in lacking):
        with pytest.raises(RuntimeError, match="can take no step"):
            p.step(x, labels, 0.1, _core.Updates(0))
        with pytest.raises(RuntimeError, match="can take no step"):
            p.begin_epoch(x, labels, 2, None, rates, _core.Updates(0))
    with pytest.raises(RuntimeError, match="no gradient vector"):
        plan(gradient=None).gradient(x, labels)
    with pytest.raises(RuntimeError, match="no loss"):
        plan(loss=-1).loss(x, labels)


def test_an_epoch_keeps_its_own_labels_and_order():
    x, rates = real(4, 3), np.full(2, 1e-3)
    runs = []
    for spoil in (False, True):
        p, labels, order = plan(), np.array([0, 1, 1, 0]), np.array([3, 1, 0, 2])
        updates = _core.Updates(0)
        p.begin_epoch(x, labels, 2, order, rates, updates)
        if spoil:
            labels[:], order[:] = 2**40, -(2**40)
        assert p.run(10.0) == _core.OK
        runs.append((p.mean_loss, p.step_count, updates.done))
        with pytest.raises(RuntimeError, match="begin_epoch comes first"):
            p.run(1.0)
    assert runs[0] == runs[1] and runs[0][1:] == (2, 2)
