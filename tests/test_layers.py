"""Layers, activations, losses, optimisers and errors: attributes, records and refusals; the steps of a network."""

import copy
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from fastbp import initializers, layers, losses, optimizers
from fastbp._support import network_steps
from fastbp.errors import DivergenceError, GradientError
from fastbp.layers import (
    ELU,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    Identity,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from fastbp.losses import BinaryCrossEntropy, MeanSquaredError, Pinball, SoftmaxCrossEntropy
from fastbp.optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

NAN, INF = float("nan"), float("inf")

OBJECTS = [
    Identity(),
    ReLU(),
    LeakyReLU(0.2),
    Sigmoid(),
    Tanh(),
    Softplus(2.0),
    Dense(3),
    Dense(7, LeakyReLU(0.3), bias=False),
    Dense(
        7, "relu", weight_init="glorot_uniform", bias_init="he_uniform", l1=0.1, l2=0.2, penalize_bias=True, frozen=True
    ),
    Residual([Dense(4, "relu"), Residual([Dense(4)])]),
    Residual([Tanh()], projection=True),
    Residual([Dense(4)], projection=False),
    Dropout(),
    Dropout(0.1),
    LayerNorm(),
    LayerNorm(1e-3, affine=False),
    BatchNorm(),
    BatchNorm(1, 1e-3, affine=False, frozen=True),
    Softmax(),
    SoftmaxCrossEntropy("sum"),
    SoftmaxCrossEntropy(label_smoothing=0.1),
    SoftmaxCrossEntropy("mean", 0.1, [1, 2.5]),
    BinaryCrossEntropy(),
    BinaryCrossEntropy(pos_weight=1),
    BinaryCrossEntropy(pos_weight=(1, 2)),
    losses.MeanAbsoluteError(),
    losses.Huber(2),
    losses.Huber(2, "sum"),
    losses.Poisson(),
    MeanSquaredError(),
    Pinball(0.9),
    Pinball([0.1, 0.5], "sum"),
    SGD(0.1, 0.9, 1e-4),
    SGD(0.1, 0.9, nesterov=True),
    Adam(eps=1e-7),
    AdamW(eps=1e-7),
    RMSprop(alpha=0.9, centered=True),
    Adagrad(initial_accumulator=0.1),
    LBFGS(history=5),
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


def test_reprs_are_short():
    """repr has the arguments that differ from their defaults."""
    assert repr(Dense(3)) == "Dense(units=3)"
    assert (
        repr(Dense(3, LeakyReLU(0.01), bias=False, l2=1))
        == "Dense(units=3, activation=LeakyReLU(), bias=False, l2=1.0)"
    )
    assert repr(Residual([Dense(3), BatchNorm(eps=1e-5)])) == "Residual(layers=(Dense(units=3), BatchNorm()))"
    assert repr(Adam(1e-3)) == "Adam()" and repr(SGD(momentum=0.9)) == "SGD(momentum=0.9)"
    assert repr(Pinball(0.5, "sum")) == "Pinball(reduction='sum')"


def test_replaced():
    layer = Dense(3, "tanh", l1=0.5)
    assert layer.replaced(frozen=True) == Dense(3, "tanh", l1=0.5, frozen=True) and not layer.frozen
    assert layer.replaced() == layer and layer.replaced() is not layer
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        layer.replaced(units=0)
    with pytest.raises(TypeError, match="unit"):
        layer.replaced(unit=4)


def test_records_are_json():
    layer = Dense(np.int64(4), LeakyReLU(np.float32(0.5)), np.bool_(False), l2=np.float32(0.25), frozen=np.True_)
    block = Residual([layer, BatchNorm(np.float32(0.5))])
    record = {
        "kind": "residual",
        "layers": [
            {
                "kind": "dense",
                "units": 4,
                "activation": {"kind": "leaky_relu", "negative_slope": 0.5},
                "bias": False,
                "weight_init": None,
                "bias_init": {"kind": "zeros"},
                "l1": 0.0,
                "l2": 0.25,
                "penalize_bias": False,
                "frozen": True,
            },
            {"kind": "batch_norm", "momentum": 0.5, "eps": 1e-5, "affine": True, "frozen": False},
        ],
        "projection": None,
    }
    assert json.loads(json.dumps(block.to_dict())) == record
    assert layers.Layer.from_dict(record) == block


def test_records_may_leave_out_what_has_a_default():
    """Files from before a field existed are read."""
    record = {"kind": "dense", "units": 4, "activation": {"kind": "tanh"}, "bias": False}
    assert layers.Layer.from_dict(record) == Dense(4, "tanh", bias=False)
    assert layers.Layer.from_dict({"kind": "residual", "layers": [record]}) == Residual([Dense(4, "tanh", bias=False)])
    assert optimizers.Optimizer.from_dict({"kind": "sgd", "learning_rate": 0.5}) == SGD(0.5)
    assert losses.Loss.from_dict({"kind": "softmax_cross_entropy", "reduction": "sum"}) == SoftmaxCrossEntropy("sum")


@pytest.mark.parametrize(
    "record, error, message",
    [
        (None, TypeError, "record must be a dict with a 'kind', got None"),
        ({}, ValueError, "record's 'kind' must be one of 'identity', 'relu', "),
        ({}, ValueError, "'dense', 'residual', 'dropout', 'layer_norm', 'batch_norm', 'softmax', got None"),
        ({"kind": ["dense"]}, ValueError, "got ['dense']"),
        ({"kind": "sgd"}, ValueError, "'batch_norm', 'softmax', got 'sgd'"),
        ({"kind": "norm"}, ValueError, "'batch_norm', 'softmax', got 'norm'"),
        ({"kind": "dense"}, ValueError, "record of kind 'dense' must have a field 'units'"),
        ({"kind": "dense", "units": 3, "unit": 4}, ValueError, "unknown field 'unit'"),
        ({"kind": "dense", "units": "3"}, TypeError, "units must be an integer, got '3' (str)"),
        ({"kind": "dense", "units": 3, "activation": {"kind": "adam"}}, TypeError, "activation must be one of"),
        ({"kind": "dense", "units": 3, "weight_init": "he"}, ValueError, "weight_init must be one of 'zeros'"),
        (
            {"kind": "dense", "units": 3, "weight_init": {"kind": "relu"}},
            TypeError,
            "weight_init must be one of 'zeros'",
        ),
        ({"kind": "batch_norm", "momentum": 0}, ValueError, "momentum must be greater than 0, got 0"),
        ({"kind": "residual", "layers": [1]}, TypeError, "layers[0] must be a layer, got 1 (int)"),
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
    assert Dense(2, weight_init="zeros", bias_init="zeros") == Dense(2, weight_init=initializers.Zeros())
    for cls in losses.LOSSES:
        assert losses.loss(cls.name) == cls()
    codes = {cls.name: (cls.code, cls.code_labels) for cls in losses.LOSSES}
    assert codes["softmax_cross_entropy"] == (1, 0) and codes["mean_squared_error"] == (4, None)
    numbers = [code for pair in codes.values() for code in pair if code is not None]
    assert len(set(numbers)) == len(numbers)
    assert optimizers.optimizer("sgd") == SGD(1e-3, 0, 0) and optimizers.optimizer("adam") == Adam()
    assert SGD(1, 0.5, 0.25).constants == (0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0, 0)
    assert Adam(1, 0.5, 0.25, 0.125, 2).constants == (1, 0.0, 2.0, 0.5, 0.25, 0.125, 0.0, 0, 0)
    assert [SGD().moments, SGD(momentum=0.1).moments, Adam().moments] == [0, 1, 2]


def test_names_of_optimizers():
    assert optimizers.optimizer("sgd") == SGD(1e-3, 0, 0) and optimizers.optimizer("adam") == Adam()
    names = ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"]
    assert [optimizers.optimizer(name).name for name in names] == names
    assert [optimizers.optimizer(name).code for name in names] == [0, 1, 1, 2, 3, None]


def test_constants_of_optimizers():
    # code, momentum, weight_decay, beta1, beta2, eps, rate_decay, nesterov, decoupled
    assert SGD(1, 0.5, 0.25, True).constants == (0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 1, 0)
    assert Adam(1, 0.5, 0.25, 0.125, 2).constants == (1, 0.0, 2.0, 0.5, 0.25, 0.125, 0.0, 0, 0)
    assert AdamW(1, 0.5, 0.25, 0.125).constants == (1, 0.0, 0.01, 0.5, 0.25, 0.125, 0.0, 0, 1)
    assert RMSprop(1, 0.5, 0.25, 0.125, 0.75, True).constants == (2, 0.75, 0.125, 0.0, 0.5, 0.25, 0.0, 0, 0)
    assert Adagrad(1, 0.5, 0.25, 0.125, 0.0625).constants == (3, 0.0, 0.25, 0.0, 0.0, 0.0625, 0.5, 0, 0)
    assert all(type(flag) is int for flag in SGD(1, 0.5, nesterov=True).constants[-2:])


@pytest.mark.parametrize(
    "optimizer, slots, initial",
    [
        (SGD(), (), ()),
        (SGD(momentum=0.1), (0,), (0.0,)),
        (Adam(), (0, 1), (0.0, 0.0)),
        (AdamW(), (0, 1), (0.0, 0.0)),
        (RMSprop(), (0,), (0.0,)),
        (RMSprop(momentum=0.1), (0, 1), (0.0, 0.0)),
        (RMSprop(centered=True), (0, 2), (0.0, 0.0)),
        (RMSprop(momentum=0.1, centered=True), (0, 1, 2), (0.0, 0.0, 0.0)),
        (Adagrad(), (0,), (0.0,)),
        (Adagrad(initial_accumulator=0.5), (0,), (0.5,)),
        (LBFGS(), (), ()),
    ],
    ids=repr,
)
def test_moments_of_optimizers(optimizer, slots, initial):
    assert optimizer.slots == slots and optimizer.moments == len(slots) and optimizer.initial_moments == initial


def test_how_weights_begin_by_default():
    begin = {
        name: Dense(2, name).initial_weights.name for name in ("identity", "relu", "leaky_relu", "sigmoid", "tanh")
    }
    assert begin == {
        "identity": "glorot_uniform",
        "relu": "he_uniform",
        "leaky_relu": "he_uniform",
        "sigmoid": "glorot_uniform",
        "tanh": "glorot_uniform",
    }
    assert Dense(2, "relu", weight_init="zeros").initial_weights == initializers.Zeros()
    assert Dense(2).bias_init == initializers.Zeros()


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
        (lambda: Dense(3, "rleu"), ValueError, "or an object of such a class, got 'rleu'"),
        (lambda: Dense(3, None), TypeError, "or an object of such a class, got None"),
        (lambda: Dense(3, ReLU), TypeError, "activation must be an object, got the class ReLU: write ReLU()"),
        (lambda: Dense(3, SGD()), TypeError, "or an object of such a class, got SGD"),
        (lambda: Dense(3, Dropout()), TypeError, "or an object of such a class, got Dropout"),
        (lambda: Dense(3, weight_init="he"), ValueError, "weight_init must be one of 'zeros'"),
        (lambda: Dense(3, bias_init=None), TypeError, "bias_init must be one of 'zeros'"),
        (lambda: Dense(3, bias_init=0.0), TypeError, "or an object of such a class, got 0.0 (float)"),
        (lambda: Dense(3, l1=-1), ValueError, "l1 must be at least 0, got -1"),
        (lambda: Dense(3, l1=INF), ValueError, "l1 must be a finite number, got inf"),
        (lambda: Dense(3, l2=-1e-9), ValueError, "l2 must be at least 0, got -1e-09"),
        (lambda: Dense(3, l2="1"), TypeError, "l2 must be a number, got '1' (str)"),
        (lambda: Dense(3, penalize_bias=1), TypeError, "penalize_bias must be True or False, got 1 (int)"),
        (lambda: Dense(3, frozen=None), TypeError, "frozen must be True or False, got None"),
        (lambda: Dropout(1), ValueError, "rate must be less than 1, got 1"),
        (lambda: Dropout(-0.1), ValueError, "rate must be at least 0, got -0.1"),
        (lambda: Dropout(True), TypeError, "rate must be a number, got True (bool)"),
        (lambda: LayerNorm(0), ValueError, "eps must be greater than 0, got 0"),
        (lambda: LayerNorm(affine=1), TypeError, "affine must be True or False, got 1 (int)"),
        (lambda: LayerNorm(frozen="no"), TypeError, "frozen must be True or False, got 'no' (str)"),
        (lambda: BatchNorm(0), ValueError, "momentum must be greater than 0, got 0"),
        (lambda: BatchNorm(1.5), ValueError, "momentum must be at most 1, got 1.5"),
        (lambda: BatchNorm(NAN), ValueError, "momentum must be a finite number, got nan"),
        (lambda: BatchNorm(eps=-1), ValueError, "eps must be greater than 0, got -1"),
        (lambda: BatchNorm(affine=None), TypeError, "affine must be True or False, got None"),
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
        (lambda: Residual([Dense(3), "relu"]), TypeError, "layers[1] must be a layer, got 'relu' (str)"),
        (lambda: Residual([Dense(3), Adam()]), TypeError, "layers[1] must be a layer, got Adam"),
        (lambda: Residual([Dense(3)], projection=1), TypeError, "projection must be True or False, got 1 (int)"),
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
        (lambda: SGD(nesterov=True), ValueError, "nesterov is True; it needs a momentum above 0"),
        (lambda: SGD(momentum=0.9, nesterov=1), TypeError, "nesterov must be True or False, got 1 (int)"),
        (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay must be at least 0, got -1"),
        (lambda: RMSprop(alpha=1), ValueError, "alpha must be less than 1, got 1"),
        (lambda: RMSprop(centered=0), TypeError, "centered must be True or False, got 0 (int)"),
        (lambda: Adagrad(rate_decay=-1), ValueError, "rate_decay must be at least 0, got -1"),
        (lambda: Adagrad(initial_accumulator=NAN), ValueError, "initial_accumulator must be a finite number, got nan"),
        (lambda: LBFGS(history=0), ValueError, "history must be at least 1, got 0"),
        (
            lambda: optimizers.optimizer("adamax"),
            ValueError,
            "optimizer must be one of 'sgd', 'adam', 'adamw', 'rmsprop', 'adagrad', 'lbfgs' or",
        ),
        (lambda: optimizers.optimizer(0.1), TypeError, "optimizer must be one of 'sgd', 'adam', 'adamw'"),
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
    assert type(Dense(3, l1=np.int32(1)).l1) is float and type(BatchNorm(np.float32(1)).momentum) is float


PLAIN = (0, 0.0, 0.0, 0.0, 0.0, 0)  # frozen, rate, eps, l1, l2, penalize_bias of a step that has none of them


def test_plan_flattens_nested_blocks():
    inner = Residual([Dense(4, "tanh", bias=False)])
    steps = network_steps.steps_of(3, [Dense(4, LeakyReLU(0.2)), Residual([inner, Dense(4)]), Dense(2)])
    assert [step.record for step in steps] == [
        (0, 3, 4, 1, 2, 0.2, *PLAIN),
        (1, 4, 4, 0, 0, 0.0, *PLAIN),
        (1, 4, 4, 0, 0, 0.0, *PLAIN),
        (0, 4, 4, 0, 4, 0.0, *PLAIN),
        (2, 4, 4, 0, 0, 0.0, *PLAIN),
        (0, 4, 4, 1, 0, 0.0, *PLAIN),
        (2, 4, 4, 0, 0, 0.0, *PLAIN),
        (0, 4, 2, 1, 0, 0.0, *PLAIN),
    ]
    assert network_steps.parameter_count(steps) == (12 + 4) + 16 + (16 + 4) + (8 + 2)
    assert network_steps.parameter_slices(steps) == [
        (slice(0, 12), (3, 4), slice(12, 16)),
        (slice(16, 32), (4, 4), None),
        (slice(32, 48), (4, 4), slice(48, 52)),
        (slice(52, 60), (4, 2), slice(60, 62)),
    ]
    assert network_steps.statistics_slices(steps) == []


def test_kinds_are_numbered_as_in_the_core():
    text = (Path(__file__).parent.parent / "src_c" / "fbp.h").read_text()
    enum = re.search(r"enum fbp_layer_kind \{(.*?)\}", text, re.S)[1]
    names = [name.strip().removeprefix("FBP_").lower() for name in enum.split(",")]
    assert names == [*network_steps.KINDS, "layer_kinds"]


def test_records_of_all_kinds():
    steps = network_steps.steps_of(
        3,
        [
            Dense(4, "relu", l1=0.1, l2=0.2, penalize_bias=True, frozen=True),
            Dropout(0.25),
            LayerNorm(1e-3),
            BatchNorm(0.5, 1e-4, affine=False, frozen=True),
            Softplus(2),
            Softmax(),
            Softplus(3),
            Residual([Dense(2, bias=False)]),
        ],
    )
    # kind, inputs, outputs, bias, activation, alpha, frozen, rate, eps, l1, l2, penalize_bias
    assert [step.record for step in steps] == [
        (0, 3, 4, 1, 1, 0.0, 1, 0.0, 0.0, 0.1, 0.2, 1),
        (6, 4, 4, 0, 0, 0.0, 0, 0.25, 0.0, 0.0, 0.0, 0),
        (7, 4, 4, 1, 0, 0.0, 0, 0.0, 1e-3, 0.0, 0.0, 0),
        (8, 4, 4, 0, 5, 2.0, 1, 0.5, 1e-4, 0.0, 0.0, 0),
        (5, 4, 4, 0, 0, 0.0, *PLAIN),
        (4, 4, 4, 0, 5, 3.0, *PLAIN),
        (1, 4, 4, 0, 0, 0.0, *PLAIN),
        (0, 4, 2, 0, 0, 0.0, *PLAIN),
        (3, 4, 2, 0, 0, 0.0, *PLAIN),
        (2, 2, 2, 0, 0, 0.0, *PLAIN),
    ]


class FromZ(Activation):
    """An activation whose derivative needs z, without a name, so that no record has it."""

    code = 99
    from_z = True


def kinds(inputs, *made_of):
    """The (kind, class of the activation) of each step."""
    return [(step.kind, type(step.activation)) for step in network_steps.steps_of(inputs, made_of)]


def test_an_activation_joins_what_is_before_it():
    for before, kind in ((Dense(4), "dense"), (LayerNorm(), "layer_norm"), (BatchNorm(), "batch_norm")):
        assert kinds(4, before, Tanh()) == [(kind, Tanh)]
        assert kinds(4, before, Tanh(), ReLU()) == [(kind, Tanh), ("activation", ReLU)]
        assert kinds(4, before, Identity(), ReLU()) == [(kind, ReLU)]
    assert kinds(4, Dense(4, "tanh"), ReLU()) == [("dense", Tanh), ("activation", ReLU)]
    for before, kind in ((Dropout(), "dropout"), (Softmax(), "softmax")):
        assert kinds(4, before, Tanh()) == [(kind, Identity), ("activation", Tanh)]
    assert kinds(4, Tanh()) == [("activation", Tanh)]
    assert kinds(4, Tanh(), Tanh()) == [("activation", Tanh)] * 2
    assert (
        network_steps.steps_of(4, [Dense(4), Tanh()])[0].record
        == network_steps.steps_of(4, [Dense(4, "tanh")])[0].record
    )


def test_no_activation_joins_across_the_ends_of_a_block():
    begin, end = ("residual_begin", Identity), ("residual_end", Identity)
    assert kinds(4, Dense(4), Residual([Tanh(), Dense(4)])) == [
        ("dense", Identity),
        begin,
        ("activation", Tanh),
        ("dense", Identity),
        end,
    ]
    assert kinds(4, Residual([Dense(4)]), Tanh()) == [begin, ("dense", Identity), end, ("activation", Tanh)]
    assert kinds(4, Residual([Dense(2)]), Tanh()) == [
        begin,
        ("dense", Identity),
        ("projection", Identity),
        end,
        ("activation", Tanh),
    ]
    assert kinds(4, Residual([Residual([Dense(4)]), Tanh()])) == [
        begin,
        begin,
        ("dense", Identity),
        end,
        ("activation", Tanh),
        end,
    ]


def test_an_activation_that_needs_z_is_a_step_of_its_own():
    for before, kind in ((Dense(4), "dense"), (LayerNorm(), "layer_norm"), (BatchNorm(), "batch_norm")):
        assert kinds(4, before, FromZ()) == [(kind, Identity), ("activation", FromZ)]
        assert kinds(4, before, FromZ(), Tanh()) == [(kind, Identity), ("activation", FromZ), ("activation", Tanh)]
        assert kinds(4, before, Tanh(), FromZ()) == [(kind, Tanh), ("activation", FromZ)]
    penalized = Dense(4, FromZ(), l1=0.5, frozen=True)
    assert kinds(4, penalized, Tanh()) == [("dense", Identity), ("activation", FromZ), ("activation", Tanh)]
    dense, activation = network_steps.steps_of(4, [penalized])
    assert dense.record == (0, 4, 4, 1, 0, 0.0, 1, 0.0, 0.0, 0.5, 0.0, 0)
    assert activation.record == (4, 4, 4, 0, 99, 0.0, *PLAIN) and activation.shapes == (None, None)
    assert network_steps.parametric_steps([dense, activation]) == [dense]


def test_projections():
    """If a block changes the width, or on request; after the layers of the block."""

    def of(*blocks):
        return [
            (s.kind, s.inputs, s.outputs)
            for s in network_steps.steps_of(4, blocks)
            if s.kind in ("projection", "residual_end")
        ]

    assert of(Residual([Dense(4)])) == [("residual_end", 4, 4)]
    assert of(Residual([Dense(6)])) == [("projection", 4, 6), ("residual_end", 6, 6)]
    assert of(Residual([Dense(6)], projection=True)) == [("projection", 4, 6), ("residual_end", 6, 6)]
    assert of(Residual([Tanh()], projection=True)) == [("projection", 4, 4), ("residual_end", 4, 4)]
    assert of(Residual([Residual([Dense(6)]), Dense(5)])) == [
        ("projection", 4, 6),
        ("residual_end", 6, 6),
        ("projection", 4, 5),
        ("residual_end", 5, 5),
    ]
    assert network_steps.steps_of(4, [Residual([Dense(6)]), Dense(2)])[-1].inputs == 6


def test_where_parameters_and_statistics_lie():
    made_of = [
        BatchNorm(affine=False),
        Residual([LayerNorm(), Dense(5), BatchNorm(), Dropout()]),
        Tanh(),
        BatchNorm(),
        LayerNorm(affine=False),
        Dense(2, bias=False),
    ]
    steps = network_steps.steps_of(3, made_of)
    assert network_steps.parameter_slices(steps) == [
        (slice(0, 3), (3,), slice(3, 6)),  # layer norm
        (slice(6, 21), (3, 5), slice(21, 26)),
        (slice(26, 31), (5,), slice(31, 36)),  # batch norm
        (slice(36, 51), (3, 5), None),  # projection
        (slice(51, 56), (5,), slice(56, 61)),  # batch norm
        (slice(61, 71), (5, 2), None),
    ]
    assert network_steps.parameter_count(steps) == 71
    kinds = ["layer_norm", "dense", "batch_norm", "projection", "batch_norm", "dense"]
    assert [step.kind for step in network_steps.parametric_steps(steps)] == kinds
    assert network_steps.statistics_slices(steps) == [
        (slice(0, 3), slice(3, 6)),
        (slice(6, 11), slice(11, 16)),
        (slice(16, 21), slice(21, 26)),
    ]


def test_with_frozen():
    made_of = (Dense(4), Residual([LayerNorm(), Tanh(), Dense(6), Residual([BatchNorm(affine=False)])]), BatchNorm())
    frozen = network_steps.with_frozen(3, made_of, (1, np.int64(4)), True)
    assert frozen == (
        Dense(4),
        Residual([LayerNorm(frozen=True), Tanh(), Dense(6), Residual([BatchNorm(affine=False)])]),
        BatchNorm(frozen=True),
    )
    assert network_steps.with_frozen(3, frozen, (1, 2, 4, 4), False) == made_of
    assert [step.frozen for step in network_steps.parametric_steps(network_steps.steps_of(3, frozen))] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert network_steps.with_frozen(3, made_of, (), True) == made_of
    for numbers, error, message in (
        ((0, 5), ValueError, "must be at most 4, got 5"),
        ((-1,), ValueError, "must be at least 0, got -1"),
        ((3,), ValueError, "layer 3 is a residual block's projection, which cannot be frozen"),
        (("0",), TypeError, "must be an integer, got '0' (str)"),
        ((True,), TypeError, "must be an integer, got True (bool)"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            network_steps.with_frozen(3, made_of, numbers, True)


TWICE, NORM = Dense(4), BatchNorm(affine=False)


@pytest.mark.parametrize(
    "inputs, made_of, error, message",
    [
        (0, [Dense(3)], ValueError, "inputs must be at least 1, got 0"),
        (3.0, [Dense(3)], TypeError, "inputs must be an integer, got 3.0 (float)"),
        (3, [], ValueError, "layers must hold at least one layer, got none"),
        (3, Dense(3), TypeError, "layers must be a list of layers, got Dense"),
        (3, [3], TypeError, "layers[0] must be a layer, got 3 (int)"),
        (3, [Tanh], TypeError, "layers[0] must be a layer, got the class Tanh"),
        (
            3,
            [TWICE, Dense(4), TWICE],
            ValueError,
            "layers[2] is the same object as layers[0]: layers do not share parameters",
        ),
        (4, [TWICE, Residual([TWICE])], ValueError, "layers[1].layers[0] is the same object as layers[0]"),
        (4, [NORM, NORM], ValueError, "layers[1] is the same object as layers[0]"),
        (
            3,
            [Residual([Dense(5)], projection=False)],
            ValueError,
            "layers[0] takes 3 inputs and its last layer has 5 units; a residual block without projection must end in "
            "the width it begins with",
        ),
        (
            3,
            [Dense(4), Residual([Residual([Dense(5)], projection=False)])],
            ValueError,
            "layers[1].layers[0] takes 4 inputs",
        ),
    ],
)
def test_plan_refuses(inputs, made_of, error, message):
    with pytest.raises(error, match=re.escape(message)):
        network_steps.steps_of(inputs, made_of)


def test_a_layer_without_parameters_may_stand_twice():
    again, active = Dropout(), Tanh()
    assert len(network_steps.steps_of(4, [again, active, again, active, Softmax()])) == 5


def test_terms_of_a_loss():
    assert SoftmaxCrossEntropy().terms(6, 4) == 6
    assert MeanSquaredError().terms(6, 4) == BinaryCrossEntropy().terms(6, 4) == Pinball().terms(6, 4) == 24
    assert all(losses.loss(cls("sum")).terms(6, 4) == 1 for cls in (SoftmaxCrossEntropy, MeanSquaredError))
    assert Pinball(0.5).parameters(3) == (0.5, 0.5, 0.5) and Pinball([0.1, 0.9]).parameters(2) == (0.1, 0.9)
    assert MeanSquaredError().parameters(3) == ()


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
