"""Initialisers: moments and bounds against their formulas and PyTorch's, orthogonality, and equality with the twin."""

import math

import numpy as np
import pytest
from arrays import FUSED, assert_same_bits, needs_two_fused, using

import fastbp as fb
from fastbp import _core, initializers, layers, reference
from fastbp._support import random_streams
from fastbp._support.declarative import Declared
from fastbp._support.initial_values import initial_values
from fastbp.initializers import (
    INITIALIZERS,
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LeCunNormal,
    LeCunUniform,
    Normal,
    Orthogonal,
    TorchLinear,
    Uniform,
    Zeros,
)
from fastbp.reference.initial_values import initial_values as twin_values

# The half width of each interval, and each standard deviation, for I inputs and O outputs.
BOUNDS = {
    HeUniform: lambda I, O: math.sqrt(6 / I),
    GlorotUniform: lambda I, O: math.sqrt(6 / (I + O)),
    LeCunUniform: lambda I, O: math.sqrt(3 / I),
    TorchLinear: lambda I, O: 1 / math.sqrt(I),
}
DEVIATIONS = {
    HeNormal: lambda I, O: math.sqrt(2 / I),
    GlorotNormal: lambda I, O: math.sqrt(2 / (I + O)),
    LeCunNormal: lambda I, O: math.sqrt(1 / I),
}
MORE = [Constant(-0.5), Uniform(-2, 3), Normal(0.3), Orthogonal(2.0)]
ALL = [cls() for cls in INITIALIZERS] + MORE
each = pytest.mark.parametrize("initializer", ALL, ids=repr)
SHAPES = [(1, 1), (1, 9), (9, 1), (7, 4), (4, 7), (31, 33), (33, 31), (40, 40), (97, 64), (3, 200)]


def drawn(initializer, I=200, O=300, shape=None, seed=1, stream=2):
    return initial_values(initializer, shape or (I, O), I, O, seed, stream)


# ------------------------------------------------------------------------------------------- bounds and moments


def assert_uniform(x, low, high):
    assert x.min() >= low and x.max() < high
    u = (x - low) / (high - low)
    assert u.min() < 10 / x.size and u.max() > 1 - 10 / x.size
    for k in range(1, 5):
        deviation = math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / x.size)
        assert abs((u**k).mean() - 1 / (k + 1)) < 4 * deviation


def assert_normal(x, std):
    z = x.ravel() / std
    n = z.size
    # Of moments 1 to 4 the means are 0, 1, 0, 3 and the variances 1, 2, 15, 96.
    for k, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**k).mean() - mean) < 4 * math.sqrt(variance / n)
    # The share below each of some points, by the error function.
    for point in (-3, -2, -1, -0.5, 0, 0.7, 1.5, 2.5):
        share = 0.5 * math.erfc(-point / math.sqrt(2))
        assert abs((z < point).mean() - share) < 4 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("cls", BOUNDS)
def test_uniform_ones(cls):
    for I, O in ((200, 300), (300, 200), (1, 60_000)):
        bound = BOUNDS[cls](I, O)
        assert_uniform(drawn(cls(), I, O), -bound, bound)
        assert_uniform(drawn(cls(), I, O, (60_000,)), -bound, bound)  # of a b


@pytest.mark.parametrize("cls", DEVIATIONS)
def test_normal_ones(cls):
    for I, O in ((200, 300), (300, 200), (1, 60_000)):
        assert_normal(drawn(cls(), I, O), DEVIATIONS[cls](I, O))
        assert_normal(drawn(cls(), I, O, (60_000,)), DEVIATIONS[cls](I, O))


def test_those_with_numbers():
    assert_uniform(drawn(Uniform(-2, 3)), -2, 3)
    assert_normal(drawn(Normal(0.3)), 0.3)
    assert (drawn(Constant(-0.5)) == -0.5).all()
    assert not drawn(Zeros()).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal(shape):
    Q = drawn(Orthogonal(), *shape)
    assert Q.shape == shape
    few = Q if shape[0] >= shape[1] else Q.T
    np.testing.assert_allclose(few.T @ few, np.eye(few.shape[1]), rtol=0, atol=4e-15)
    np.testing.assert_allclose(drawn(Orthogonal(-3), *shape), -3 * Q, rtol=1e-15)
    # Q^T A is the R of A = Q R: a triangle with a positive diagonal.
    A = _core.random_normal(1, 2, Q.size).reshape(shape)
    R = few.T @ (A if shape[0] >= shape[1] else A.T)
    np.testing.assert_allclose(R, np.triu(R), rtol=0, atol=1e-13 * np.abs(R).max())
    assert (np.diag(R) > 0).all()


def test_orthogonal_ones_have_no_direction():
    # For an even spread over all orthogonal matrices the mean is 0, and elements have variance 1/n.
    Qs = np.array([drawn(Orthogonal(), 5, 5, stream=stream) for stream in range(2000)])
    assert np.abs(Qs.mean(axis=0)).max() < 4.5 * math.sqrt(1 / 5 / 2000)
    assert np.abs((Qs**2).mean(axis=0) - 1 / 5).max() < 0.02
    assert abs(np.linalg.det(Qs).mean()) < 4 / math.sqrt(2000)


@pytest.mark.torch
def test_against_the_formulas_of_pytorch():
    torch = pytest.importorskip("torch")
    init = torch.nn.init
    I, O = 200, 300
    w = torch.empty(O, I, dtype=torch.float64)  # PyTorch's W is (outputs, inputs)
    for cls, fill in (
        (HeUniform, lambda: init.kaiming_uniform_(w, nonlinearity="relu")),
        (HeNormal, lambda: init.kaiming_normal_(w, nonlinearity="relu")),
        (GlorotUniform, lambda: init.xavier_uniform_(w)),
        (GlorotNormal, lambda: init.xavier_normal_(w)),
        (LeCunUniform, lambda: init.kaiming_uniform_(w, nonlinearity="linear")),
        (LeCunNormal, lambda: init.kaiming_normal_(w, nonlinearity="linear")),
        (TorchLinear, lambda: w.copy_(torch.nn.Linear(I, O, dtype=torch.float64).weight.detach())),
    ):
        torch.manual_seed(1)
        fill()
        ours = drawn(cls(), I, O)
        assert ours.std() == pytest.approx(float(w.std()), rel=0.02), cls
        if cls in BOUNDS:
            assert np.abs(ours).max() == pytest.approx(float(w.abs().max()), rel=1e-3), cls
    bias = torch.nn.Linear(I, 60_000).bias.detach().numpy()
    assert np.abs(drawn(TorchLinear(), I, 60_000, (60_000,))).max() == pytest.approx(np.abs(bias).max(), rel=1e-3)


# ----------------------------------------------------------------------------------------------------- the twin


@each
@pytest.mark.parametrize("shape", SHAPES)
def test_against_the_twin(initializer, shape):
    for seed, stream in ((0, 0), (2**64 - 1, random_streams.initialisation(3))):
        got, twin = (f(initializer, shape, *shape, seed, stream) for f in (initial_values, twin_values))
        assert got.shape == twin.shape == shape and got.dtype == twin.dtype == "float64"
        if type(initializer) in BOUNDS or isinstance(initializer, (Uniform, Constant, Zeros)):
            assert_same_bits(got, twin)
        else:
            np.testing.assert_allclose(got, twin, rtol=1e-12, atol=1e-12)


@each
def test_networks_against_the_twin(initializer):
    of_bias = initializer if not initializer.matrices_only else "zeros"
    made = [
        fb.Dense(9, "relu", weight_init=initializer, bias_init=of_bias),
        layers.LayerNorm(),
        layers.Residual([fb.Dense(5, weight_init=initializer, bias=False), fb.Dense(7, bias_init=of_bias)]),
        fb.Dense(3),
    ]
    for dtype, tolerance in (("float32", 1e-7), ("float64", 1e-12)):
        net, twin = (home.Network(4, made, dtype, seed=5) for home in (fb, reference))
        np.testing.assert_allclose(net.parameters, twin.parameters, rtol=tolerance, atol=tolerance)


@needs_two_fused
@each
def test_the_same_bits_on_every_instruction_set(initializer):
    for I, O in ((40, 33), (33, 40), (200, 130)):
        results = []
        for isa in FUSED:
            with using(isa):
                results.append(drawn(initializer, I, O))
        for result in results[1:]:
            assert_same_bits(result, results[0])


# -------------------------------------------------------------------------------------------------- in networks


def test_the_old_initial_weights_keep_their_bits():
    # As they were before layers could say how they begin.
    net = fb.Network(5, [fb.Dense(7, "relu"), fb.Dense(6, "tanh"), fb.Dense(2)], "float64", seed=3)
    for number, (bound, (W, b)) in enumerate(zip((6 / 5, 6 / 13, 6 / 8), net.weights, strict=True)):
        u = fb.ops.random_uniform(3, 1 << 40 | number, W.size)
        assert_same_bits(W.copy(), (math.sqrt(bound) * (2 * u - 1)).reshape(W.shape))
        assert not b.any()


def test_defaults():
    chosen = {name: layers.Dense(3, name).initial_weights for name in ("relu", "leaky_relu", "tanh", "identity")}
    assert chosen["relu"] == chosen["leaky_relu"] == HeUniform()
    assert chosen["tanh"] == chosen["identity"] == GlorotUniform()
    assert initializers.default("selu") == LeCunNormal()
    assert all(initializers.default(name) == HeUniform() for name in ("elu", "gelu", "gelu_tanh", "silu"))
    assert layers.Dense(3, "relu", weight_init="orthogonal").initial_weights == Orthogonal()


def test_norms_begin_as_nothing_and_projections_as_glorot():
    made = [layers.BatchNorm(), layers.Residual([fb.Dense(6)]), layers.LayerNorm()]
    net = fb.Network(4, made, "float64", seed=9)
    norm, dense, (P, none), last = net.weights
    for gamma, beta in (norm, last):
        assert (gamma == 1).all() and (beta == 0).all()
    assert none is None and P.shape == dense[0].shape == (4, 6)
    for number, W in ((1, dense[0]), (2, P)):
        assert_same_bits(
            W.copy(), initial_values(GlorotUniform(), (4, 6), 4, 6, 9, random_streams.initialisation(number))
        )


def test_weights_and_biases_of_all_layers_are_drawn_apart():
    made = [fb.Dense(50, weight_init=Normal(1), bias_init=Normal(1)) for _ in range(3)]
    net = fb.Network(50, made, "float64")
    assert len(np.unique(net.parameters)) == net.parameters.size
    for number, (W, b) in enumerate(net.weights):
        assert_same_bits(b.copy(), _core.random_normal(0, random_streams.bias_initialisation(number), 50))
        assert_same_bits(W.ravel().copy(), _core.random_normal(0, random_streams.initialisation(number), 2500))


@pytest.mark.parametrize("home", [fb, reference], ids=["fastbp", "twin"])
@pytest.mark.parametrize("which", ["weight_init", "bias_init"])
def test_numbers_too_large_for_the_dtype(home, which):
    with pytest.raises(ValueError, match="^parameters"):
        home.Network(3, [fb.Dense(2, **{which: Constant(1e39)})])
    net = home.Network(3, [fb.Dense(2, **{which: Constant(1e39)})], "float64")
    assert net.parameters.max() == 1e39


# ------------------------------------------------------------------------------------------------ the declarations


@each
def test_records(initializer):
    assert Initializer.from_dict(initializer.to_dict()) == initializer
    layer = fb.Dense(3, weight_init=initializer)
    assert layers.Layer.from_dict(layer.to_dict()) == layer
    assert eval(repr(initializer)) == initializer


def test_names():
    for cls in INITIALIZERS:
        assert initializers.initializer("weight_init", cls.name) == cls()
    for name in ("constant", "uniform", "normal", "xavier", ""):
        with pytest.raises(ValueError, match="^weight_init must be one of 'zeros', 'he_uniform'"):
            fb.Dense(3, weight_init=name)
    for kind in (3, ["zeros"]):
        with pytest.raises(TypeError, match="^bias_init must be one of 'zeros', 'he_uniform'"):
            fb.Dense(3, bias_init=kind)
    with pytest.raises(TypeError, match=r"^weight_init must be an object, got the class Normal"):
        fb.Dense(3, weight_init=Normal)
    for value in ("orthogonal", Orthogonal(2)):
        with pytest.raises(ValueError, match="^bias_init must not be 'orthogonal', which is for matrices"):
            fb.Dense(3, bias_init=value)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: Constant(math.nan), "value"),
        (lambda: Uniform(1, 1), "low"),
        (lambda: Uniform(2, 1), "low"),
        (lambda: Uniform(0, math.inf), "high"),
        (lambda: Normal(0), "std"),
        (lambda: Normal(-1), "std"),
        (lambda: Orthogonal(math.inf), "gain"),
    ],
)
def test_wrong_numbers(make, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        make()


def test_wrong_kinds():
    for make in (Constant, Normal, Orthogonal, lambda value: Uniform(value, 1), lambda value: Uniform(0, value)):
        for value in (None, "1", [1.0], True):
            with pytest.raises(TypeError, match="must be a number"):
                make(value)


def test_no_two_declarations_have_one_name():
    """The kind in a record is enough to find its class."""

    def below(cls):
        yield cls
        for child in cls.__subclasses__():
            yield from below(child)

    names = [cls.name for cls in below(Declared) if cls.name and cls.__module__.startswith("fastbp")]
    assert len(names) == len(set(names)), sorted(names)
    assert all(cls.__doc__ for cls in below(Initializer))
