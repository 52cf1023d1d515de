"""Layers, activations, losses, optimisers, streams: what they hold, how they are written down, what they refuse."""

import copy
import json
import pickle
import re

import numpy as np
import pytest

from fastbp import initializers, layers, losses, optimizers, streams
from fastbp.errors import DivergenceError, GradientError
from fastbp.layers import ELU, Dense, LeakyReLU, ReLU, Residual, Softplus, Tanh
from fastbp.losses import BinaryCrossEntropy, MeanSquaredError, Pinball, SoftmaxCrossEntropy
from fastbp.optimizers import SGD, Adam

NAN, INF = float("nan"), float("inf")

OBJECTS = [
    layers.Identity(),
    ReLU(),
    LeakyReLU(0.2),
    layers.Sigmoid(),
    Tanh(),
    Softplus(2.0),
    Dense(3),
    Dense(7, LeakyReLU(0.3), bias=False),
    Residual([Dense(4, "relu"), Residual([Dense(4)])]),
    SoftmaxCrossEntropy("sum"),
    BinaryCrossEntropy(),
    MeanSquaredError(),
    Pinball(0.9),
    Pinball([0.1, 0.5], "sum"),
    SGD(0.1, 0.9, 1e-4),
    Adam(eps=1e-7),
]


@pytest.mark.parametrize("thing", OBJECTS, ids=repr)
def test_copies_and_records_are_equal(thing):
    family = next(cls for cls in type(thing).__mro__ if cls.__name__ in ("Activation", "Layer", "Loss", "Optimizer"))
    assert family.from_dict(thing.to_dict()) == thing
    assert type(thing).from_dict(thing.to_dict()) == thing
    assert eval(repr(thing), {**vars(initializers), **vars(layers), **vars(losses), **vars(optimizers)}) == thing
    for other in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
        assert other == thing and hash(other) == hash(thing)
    assert all((thing == other) == (thing is other) for other in OBJECTS)


def test_records_are_json():
    block = Residual([Dense(np.int64(4), LeakyReLU(np.float32(0.5)), np.bool_(False))])
    record = {
        "kind": "residual",
        "layers": [
            {"kind": "dense", "units": 4, "activation": {"kind": "leaky_relu", "negative_slope": 0.5}, "bias": False}
        ],
    }
    assert json.loads(json.dumps(block.to_dict())) == record
    assert layers.Layer.from_dict(record) == block


@pytest.mark.parametrize(
    "record, error, message",
    [
        (None, TypeError, "record must be a dict with a 'kind', got None"),
        ({}, ValueError, "record's 'kind' must be one of 'dense', 'residual', got None"),
        ({"kind": ["dense"]}, ValueError, "got ['dense']"),
        ({"kind": "sgd"}, ValueError, "record's 'kind' must be one of 'dense', 'residual', got 'sgd'"),
        ({"kind": "dense"}, ValueError, "record of kind 'dense' must have a field 'units'"),
        ({"kind": "dense", "units": 3, "unit": 4}, ValueError, "unknown field 'unit'"),
        ({"kind": "dense", "units": "3"}, TypeError, "units must be an integer, got '3' (str)"),
        ({"kind": "dense", "units": 3, "activation": {"kind": "adam"}}, TypeError, "activation must be one of"),
        ({"kind": "residual", "layers": [1]}, TypeError, "layers[0] must be a Dense or Residual layer, got 1 (int)"),
    ],
)
def test_wrong_records(record, error, message):
    with pytest.raises(error, match=re.escape(message)):
        layers.Layer.from_dict(record)


def test_objects_are_read_only():
    adam = Adam(0.1)
    with pytest.raises(AttributeError, match="Adam is read-only: make a new one to change learning_rate"):
        adam.learning_rate = NAN
    with pytest.raises(AttributeError, match="read-only"):
        del adam.learning_rate
    assert adam == Adam(0.1)


def test_names_stand_for_defaults():
    names = [
        "identity",
        "relu",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "softplus",
        "elu",
        "selu",
        "gelu",
        "gelu_tanh",
        "silu",
    ]
    assert [layers.activation(name).name for name in names] == names
    assert [layers.activation(name).code for name in names] == list(range(11))
    assert [layers.activation(name).alpha for name in names] == [0, 0, 0.01, 0, 0, 1, 1, 0, 0, 0, 0]
    assert [layers.activation(name).from_z for name in names] == [False] * 8 + [True] * 3
    assert layers.activation(Softplus(3)) == Softplus(3) and Softplus(3).alpha == 3.0
    assert Dense(2, "tanh") == Dense(2, Tanh())
    names = ["softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error", "pinball"]
    assert [losses.loss(name).name for name in names] == names
    assert [losses.loss(name).code for name in names] == [1, 2, 3, 4]
    assert [losses.loss(name).code_labels for name in names] == [0, None, None, None]
    assert optimizers.optimizer("sgd") == SGD(1e-3, 0, 0) and optimizers.optimizer("adam") == Adam()
    assert SGD(1, 0.5, 0.25).constants == (0, 0.5, 0.25, 0.0, 0.0, 0.0)
    assert Adam(1, 0.5, 0.25, 0.125, 2).constants == (1, 0.0, 2.0, 0.5, 0.25, 0.125)
    assert [SGD().moments, SGD(momentum=0.1).moments, Adam().moments] == [0, 1, 2]


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: Dense(0), ValueError, "units must be at least 1, got 0"),
        (lambda: Dense(-3), ValueError, "units must be at least 1, got -3"),
        (lambda: Dense(2**31), ValueError, "units must be at most 2147483647, got 2147483648"),
        (lambda: Dense(2.0), TypeError, "units must be an integer, got 2.0 (float)"),
        (lambda: Dense(True), TypeError, "units must be an integer, got True (bool)"),
        (lambda: Dense(np.True_), TypeError, "units must be an integer, got bool"),
        (lambda: Dense(None), TypeError, "units must be an integer, got None"),
        (lambda: Dense([3]), TypeError, "units must be an integer, got list"),
        (lambda: Dense(np.ones(1, int)), TypeError, "units must be an integer, got ndarray"),
        (lambda: Dense(3, bias=1), TypeError, "bias must be True or False, got 1 (int)"),
        (lambda: Dense(3, bias=None), TypeError, "bias must be True or False, got None"),
        (
            lambda: Dense(3, "rleu"),
            ValueError,
            "activation must be one of 'identity', 'relu', 'leaky_relu', 'sigmoid', 'tanh', 'softplus', 'elu', 'selu', "
            "'gelu', 'gelu_tanh', 'silu' or an object of such a class, got 'rleu'",
        ),
        (lambda: Dense(3, None), TypeError, "or an object of such a class, got None"),
        (lambda: Dense(3, ReLU), TypeError, "activation must be an object, got the class ReLU: write ReLU()"),
        (lambda: Dense(3, SGD()), TypeError, "or an object of such a class, got SGD"),
        (lambda: LeakyReLU(-0.1), ValueError, "negative_slope must be at least 0, got -0.1"),
        (lambda: LeakyReLU(NAN), ValueError, "negative_slope must be a finite number, got nan"),
        (lambda: ELU(-0.5), ValueError, "alpha must be at least 0, got -0.5"),
        (lambda: ELU(NAN), ValueError, "alpha must be a finite number, got nan"),
        (lambda: Softplus(0), ValueError, "beta must be greater than 0, got 0"),
        (lambda: Softplus(INF), ValueError, "beta must be a finite number, got inf"),
        (lambda: Softplus("1"), TypeError, "beta must be a number, got '1' (str)"),
        (lambda: Residual([]), ValueError, "layers must hold at least one layer, got none"),
        (lambda: Residual(Dense(3)), TypeError, "layers must be a list of layers, got Dense"),
        (lambda: Residual([Dense]), TypeError, "layers[0] must be a layer, got the class Dense"),
        (
            lambda: Residual([Dense(3), "relu"]),
            TypeError,
            "layers[1] must be a Dense or Residual layer, got 'relu' (str)",
        ),
        (lambda: SoftmaxCrossEntropy("none"), ValueError, "reduction must be one of 'mean', 'sum', got 'none'"),
        (lambda: MeanSquaredError(None), TypeError, "reduction must be one of 'mean', 'sum', got None"),
        (lambda: Pinball(1), ValueError, "quantiles must be less than 1, got 1"),
        (lambda: Pinball(True), TypeError, "quantiles must be a number, got True (bool)"),
        (lambda: Pinball("0.5"), TypeError, "quantiles must be a number, got '0.5' (str)"),
        (lambda: Pinball([0.5, 0]), ValueError, "quantiles[1] must be greater than 0, got 0"),
        (lambda: Pinball([]), ValueError, "quantiles must be a number or a sequence of numbers, got an empty one"),
        (lambda: Pinball(np.array(0.5)), TypeError, "quantiles must be a number or a sequence of numbers, got ndarray"),
        (lambda: Pinball([[0.5]]), TypeError, "quantiles[0] must be a number, got list"),
        (lambda: Pinball([0.5, 0.6]).parameters(3), ValueError, "quantiles has 2 levels; there are 3 outputs"),
        (lambda: losses.loss("mse"), ValueError, "loss must be one of 'softmax_cross_entropy'"),
        (lambda: losses.loss(Pinball), TypeError, "loss must be an object, got the class Pinball"),
        (lambda: SGD(-1), ValueError, "learning_rate must be at least 0, got -1"),
        (lambda: SGD(NAN), ValueError, "learning_rate must be a finite number, got nan"),
        (lambda: SGD(10**400), ValueError, "learning_rate must be a finite number, got one too large for a float"),
        (lambda: SGD(1j), TypeError, "learning_rate must be a number, got 1j (complex)"),
        (lambda: SGD(momentum=1), ValueError, "momentum must be less than 1, got 1"),
        (lambda: SGD(weight_decay=-1e-9), ValueError, "weight_decay must be at least 0, got -1e-09"),
        (lambda: Adam(beta1=1.0), ValueError, "beta1 must be less than 1, got 1"),
        (lambda: Adam(beta2=-0.1), ValueError, "beta2 must be at least 0, got -0.1"),
        (lambda: Adam(eps=0), ValueError, "eps must be greater than 0, got 0"),
        (lambda: Adam(weight_decay=INF), ValueError, "weight_decay must be a finite number, got inf"),
        (lambda: optimizers.optimizer("rmsprop"), ValueError, "optimizer must be one of 'sgd', 'adam' or"),
        (lambda: optimizers.optimizer(0.1), TypeError, "optimizer must be one of 'sgd', 'adam' or"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_numpy_scalars_become_plain_numbers():
    assert type(Dense(np.uint8(3)).units) is int
    assert type(LeakyReLU(np.float32(0.5)).negative_slope) is float
    assert type(SGD(np.int32(1)).learning_rate) is float
    assert Pinball(np.array([0.25, 0.5], np.float32)).quantiles == (0.25, 0.5)
    assert type(Dense(3, bias=np.False_).bias) is bool


def test_plan_flattens_nested_blocks():
    inner = Residual([Dense(4, "tanh", bias=False)])
    steps = layers.plan(3, [Dense(4, LeakyReLU(0.2)), Residual([inner, Dense(4)]), Dense(2)])
    assert [step.record for step in steps] == [
        (0, 3, 4, 1, 2, 0.2),
        (1, 4, 4, 0, 0, 0.0),
        (1, 4, 4, 0, 0, 0.0),
        (0, 4, 4, 0, 4, 0.0),
        (2, 4, 4, 0, 0, 0.0),
        (0, 4, 4, 1, 0, 0.0),
        (2, 4, 4, 0, 0, 0.0),
        (0, 4, 2, 1, 0, 0.0),
    ]
    assert layers.count(steps) == (12 + 4) + 16 + (16 + 4) + (8 + 2)
    assert layers.slices(steps) == [
        (slice(0, 12), (3, 4), slice(12, 16)),
        (slice(16, 32), (4, 4), None),
        (slice(32, 48), (4, 4), slice(48, 52)),
        (slice(52, 60), (4, 2), slice(60, 62)),
    ]


TWICE = Dense(4)


@pytest.mark.parametrize(
    "inputs, made_of, error, message",
    [
        (0, [Dense(3)], ValueError, "inputs must be at least 1, got 0"),
        (3.0, [Dense(3)], TypeError, "inputs must be an integer, got 3.0 (float)"),
        (3, [], ValueError, "layers must hold at least one layer, got none"),
        (3, Dense(3), TypeError, "layers must be a list of layers, got Dense"),
        (3, [3], TypeError, "layers[0] must be a Dense or Residual layer, got 3 (int)"),
        (
            3,
            [TWICE, Dense(4), TWICE],
            ValueError,
            "layers[2] is the same object as layers[0]: layers do not share parameters",
        ),
        (4, [TWICE, Residual([TWICE])], ValueError, "layers[1].layers[0] is the same object as layers[0]"),
        (3, [Residual([Dense(5)])], ValueError, "layers[0] takes 3 inputs and its last layer has 5 units"),
        (3, [Dense(4), Residual([Residual([Dense(5)])])], ValueError, "layers[1].layers[0] takes 4 inputs"),
    ],
)
def test_plan_refuses(inputs, made_of, error, message):
    with pytest.raises(error, match=re.escape(message)):
        layers.plan(inputs, made_of)


def test_terms_of_a_loss():
    assert SoftmaxCrossEntropy().terms(6, 4) == 6
    assert MeanSquaredError().terms(6, 4) == BinaryCrossEntropy().terms(6, 4) == Pinball().terms(6, 4) == 24
    assert all(losses.loss(cls("sum")).terms(6, 4) == 1 for cls in (SoftmaxCrossEntropy, MeanSquaredError))
    assert Pinball(0.5).parameters(3) == (0.5, 0.5, 0.5) and Pinball([0.1, 0.9]).parameters(2) == (0.1, 0.9)
    assert MeanSquaredError().parameters(3) == ()


def test_streams_do_not_meet():
    numbers = [use(i) for use in (streams.initialisation, streams.shuffle) for i in (0, 1, 2**40 - 1)]
    assert len(set(numbers)) == 6 and max(numbers) < 2**64
    assert streams.initialisation(3) == (1 << 40) + 3 and streams.shuffle(5) == (2 << 40) + 5


def test_errors_say_what_happened_and_can_be_pickled():
    error = DivergenceError("loss", 3, 7, INF, 2.5, 0.1, {"loss": [1.0]})
    assert isinstance(error, ArithmeticError)
    for text in ("the loss became inf in epoch 3, minibatch 7", "last finite loss was 2.5", "learning rate was 0.1"):
        assert text in str(error)
    assert "gradient became nan or infinite at step 7" in str(DivergenceError("gradient", None, 7, 1.5, None, 0.1, {}))
    other = pickle.loads(pickle.dumps(error))
    assert str(other) == str(error) and other.history == error.history and other.epoch == 3
    error = GradientError("wrong", (1, 2), 0.5, 0.25, 0.5)
    other = pickle.loads(pickle.dumps(error))
    assert isinstance(error, AssertionError) and str(other) == "wrong" and other.index == (1, 2) and other.got == 0.25
