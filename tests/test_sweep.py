"""Every kind of layer with every activation and every loss: loss and gradient against central differences, and the
compiled core against the twin.
"""

import numpy as np
import pytest

import fastbp as fb
from fastbp import BatchNorm, Dense, Dropout, LayerNorm, Residual, Softmax, Tanh, reference
from fastbp._support import network_steps

INPUTS, OUTPUTS = 4, 3
ACTIVATIONS = {
    "identity": fb.Identity(),
    "relu": fb.ReLU(),
    "leaky_relu": fb.LeakyReLU(0.2),
    "sigmoid": fb.Sigmoid(),
    "tanh": fb.Tanh(),
    "softplus": fb.Softplus(1.5),
    "elu": fb.ELU(0.7),
    "selu": fb.SELU(),
    "gelu": fb.GELU(),
    "gelu_tanh": fb.GELUTanh(),
    "silu": fb.SiLU(),
}
# Layers of a net with the activation f and of widths n, n + 1, ... inside.
NETS = {
    "dense": lambda f, n: [Dense(n, f), Dense(3)],
    "dense, no bias": lambda f, n: [Dense(n, f, bias=False), Dense(n + 1, f), Dense(3, bias=False)],
    "last": lambda f, n: [Dense(n, "tanh"), Dense(3, f)],
    "alone": lambda f, n: [Dense(n), Tanh(), f, f, Dense(3)],
    "alone, first": lambda f, n: [f, Dense(3)],
    "alone, last": lambda f, n: [Dense(n, "tanh"), Dense(3, "tanh"), f],
    "block": lambda f, n: [Dense(n, f), Residual([Dense(n + 1, f), Dense(n)]), f, Dense(3)],
    "blocks in a block": lambda f, n: [Dense(n), Residual([f, Residual([Dense(n, f)]), Dense(n)]), Dense(3)],
    "block, first": lambda f, n: [Residual([Dense(n, f), Dense(4, f)]), Dense(3)],
    "projection": lambda f, n: [Dense(n, f), Residual([Dense(n + 2, f), Dense(n + 1)]), f, Dense(3)],
    "projection, first and last": lambda f, n: [Residual([Dense(n, f), Dense(3, f)])],
    "projections": lambda f, n: [
        Dense(n, f), Residual([Residual([Dense(n + 1, f)]), Residual([Dense(n, f)]), f], projection=True), Dense(3)
    ],
    "layer norm": lambda f, n: [Dense(n), LayerNorm(), f, Dense(3)],
    "layer norm after": lambda f, n: [Dense(n, f), LayerNorm(eps=1e-3, affine=False), Dense(3)],
    "layer norm in a block": lambda f, n: [Dense(n), Residual([LayerNorm(), f, Dense(n + 1, f), Dense(n)]), Dense(3)],
    "batch norm": lambda f, n: [Dense(n), BatchNorm(), f, Dense(3)],
    "batch norm after": lambda f, n: [Dense(n, f), BatchNorm(eps=1e-3, affine=False), Dense(3)],
    "batch norms": lambda f, n: [BatchNorm(), Residual([BatchNorm(), f, Dense(4, f)]), Dense(3), BatchNorm(), f],
    "dropout": lambda f, n: [Dropout(0.1), Dense(n, f), Dropout(0.3), Dense(3)],
    "dropout before": lambda f, n: [Dense(n), Dropout(0.3), f, Residual([Dropout(0.2), Dense(n, f)]), Dense(3)],
    "softmax": lambda f, n: [Dense(n, f), Softmax(), Dense(3)],
    "softmax, last": lambda f, n: [Dense(n, f), Dense(3, f), Softmax()],
    "penalties": lambda f, n: [
        Dense(n, f, l1=0.03, l2=0.2), Dense(n + 1, f, l2=0.1, penalize_bias=True), Dense(3, l1=0.1)
    ],
    "frozen": lambda f, n: [
        Dense(n, f), BatchNorm(frozen=True), f, Dense(n + 1, f, frozen=True), LayerNorm(frozen=True), f, Dense(3)
    ],
}  # fmt: skip
LOSSES = {
    "labels": fb.SoftmaxCrossEntropy(),
    "labels, smoothed and weighted": fb.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[0.5, 2, 1]),
    "labels, weighted": fb.SoftmaxCrossEntropy("sum", class_weights=[0.5, 2, 1]),
    "probabilities": fb.SoftmaxCrossEntropy(),
    "probabilities, smoothed and weighted": fb.SoftmaxCrossEntropy(label_smoothing=0.2, class_weights=[0.5, 2, 1]),
    "binary": fb.BinaryCrossEntropy(),
    "binary, weighted": fb.BinaryCrossEntropy(pos_weight=[0.5, 2, 1]),
    "squares": fb.MeanSquaredError(),
    "squares, summed": fb.MeanSquaredError("sum"),
    "absolute": fb.MeanAbsoluteError(),
    "huber": fb.Huber(0.3),
    "poisson": fb.Poisson(),
    "quantiles": fb.Pinball([0.1, 0.5, 0.9]),
}
PAIRS = [(net, f) for net in NETS for f in ACTIVATIONS]


class Case:
    """A net with its minibatch, all numbers exact in float32; weighted: the rows have weights."""

    def __init__(self, net, f, loss, width=5, rows=7, weighted=False):
        self.layers = NETS[net](ACTIVATIONS[f], width)
        self.loss = LOSSES[loss]
        rng = np.random.default_rng([*NETS].index(net) * 1000 + [*ACTIVATIONS].index(f) * 50 + [*LOSSES].index(loss))
        sizes = fb.Network(INPUTS, self.layers)
        self.parameters = self.exact(rng.uniform(-1, 1, len(sizes.parameters)) / np.sqrt(width / 5))
        self.statistics = self.exact(rng.uniform(0.4, 1.6, len(sizes.statistics)))
        self.x = self.exact(rng.standard_normal((rows, INPUTS)))
        self.target = self.exact(rng.standard_normal((rows, OUTPUTS)))
        if loss.startswith("labels"):
            self.target = rng.integers(0, OUTPUTS, rows)
        elif loss.startswith(("probabilities", "binary")):
            self.target = self.exact(rng.dirichlet(np.ones(OUTPUTS), rows))
        elif loss == "poisson":
            self.target = rng.poisson(1.0, (rows, OUTPUTS)).astype(np.float64)
        self.weights = rng.uniform(0, 2, rows) if weighted else None

    @staticmethod
    def exact(values):
        return values.astype(np.float32).astype(np.float64)

    def trainer(self, home, dtype="float64"):
        net = home.Network(INPUTS, self.layers, dtype=dtype)
        net.parameters[...] = self.parameters
        net.statistics[...] = self.statistics
        trainer = home.Trainer(net, self.loss, fb.SGD(0.1), seed=3)
        target = self.target.astype(dtype) if self.target.dtype.kind == "f" else self.target
        return trainer, self.x.astype(dtype), target


def distance(a, b):
    """Relative to the norm of b, or of 1e-3 where it is smaller."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)


def learned(net):
    """Which parameters are not frozen."""
    mask = np.ones(len(net.parameters))
    for step, (W, _, b) in zip(
        network_steps.parametric_steps(net._steps), network_steps.parameter_slices(net._steps), strict=True
    ):
        if step.frozen:
            mask[W] = 0
            mask[b or W] = 0
    return mask


# ------------------------------------------------------------------------------------------------ central differences


def differences(trainer, x, target, weights, training, directions, step=2e-7):
    """The loss's slopes along directions in the space of parameters and x, by central differences."""
    parameters = trainer.net.parameters
    first, slopes = parameters.copy(), []
    for along in directions:
        values = []
        for sign in (1, -1):
            move = sign * step * along
            parameters[...] = first + move[: len(first)]
            x_there = x + move[len(first) :].reshape(x.shape)
            values.append(trainer.value_and_grad(x_there, target, sample_weight=weights, training=training)[0])
        slopes.append((values[0] - values[1]) / (2 * step))
    parameters[...] = first
    return np.array(slopes)


def assert_slopes(case, directions, training=True):
    """directions: "all" of them, one by one; or how many random ones."""
    trainer, x, target = case.trainer(fb)
    how = {"sample_weight": case.weights, "training": training}
    _, gradient, dx = trainer.value_and_grad(x, target, inputs=True, **how)
    slope = np.concatenate([gradient, dx.ravel()])
    free = np.concatenate([learned(trainer.net), np.ones(x.size)])
    assert not np.any(slope[free == 0])
    if directions == "all":
        directions = np.eye(len(slope))[free == 1]
    else:
        rng = np.random.default_rng(len(slope))
        directions = rng.standard_normal((directions, len(slope))) * free
        directions *= np.sign(directions @ slope)[:, None]
        directions += slope / max(np.linalg.norm(slope), 1e-3)  # else the slope may be little more than rounding
    expected = differences(trainer, x, target, case.weights, training, directions)
    assert distance(directions @ slope, expected) <= 1e-6


@pytest.mark.parametrize("net, f", PAIRS)
def test_differences_along_some_directions(net, f):
    """Every net with every activation and every loss."""
    for number, loss in enumerate(LOSSES):
        assert_slopes(Case(net, f, loss, weighted=number % 2 == 1), 3)


@pytest.mark.parametrize("net, f", PAIRS)
def test_differences_one_by_one(net, f):
    """Every net with every activation, and with one loss."""
    number = PAIRS.index((net, f))
    assert_slopes(Case(net, f, [*LOSSES][number % len(LOSSES)], weighted=number % 3 == 0), "all")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_differences_in_prediction(net, loss):
    """training=False: nothing is dropped, and batch norms take their running statistics."""
    f = [*ACTIVATIONS][([*NETS].index(net) + [*LOSSES].index(loss)) % len(ACTIVATIONS)]
    assert_slopes(Case(net, f, loss), 3, training=False)


def test_differences_see_one_wrong_element():
    """The tester tested: a gradient with one element wrong by 1e-5 of its norm fails."""
    case = Case("batch norm", "gelu", "labels")
    trainer, x, target = case.trainer(fb)
    right = trainer.value_and_grad(x, target)[1]
    numerical = differences(trainer, x, target, None, True, np.eye(len(right) + x.size)[: len(right)])
    assert distance(right, numerical) <= 1e-6
    for element in range(len(right)):
        wrong = right.copy()
        wrong[element] += 1e-5 * np.linalg.norm(right)
        assert distance(wrong, numerical) > 1e-6


# -------------------------------------------------------------------------------------------------- against the twin

TOLERANCE = {"float64": 1e-12, "float32": 5e-6}


def assert_twins(case, dtype):
    assert_close(everything(fb, case, dtype), case, dtype)


def assert_close(found, case, dtype):
    """Loss, gradient, dx, predictions and evaluation. In float32 they are compared with the twin's in float64; where
    rounding alone takes the twin's own float32 further (differences of nearly the same, in batch norms) four times it.
    """
    expected = everything(reference, case, "float64")
    own = everything(reference, case, "float32") if dtype == "float32" else expected
    for part, (ours, theirs) in enumerate(zip(found, expected)):
        assert np.shape(ours) == np.shape(theirs)
        if np.ndim(ours):
            assert ours.dtype == dtype
            error, allowed = distance(ours, theirs), max(TOLERANCE[dtype], 4 * distance(own[part], theirs))
        else:
            error, allowed = abs(ours - theirs), TOLERANCE[dtype] * max(1, abs(theirs))
        assert error <= allowed


def everything(home, case, dtype):
    trainer, x, target = case.trainer(home, dtype)
    found = []
    for training in (True, False):
        found += trainer.value_and_grad(x, target, inputs=True, sample_weight=case.weights, training=training)
    return [*found, trainer.net.predict(x), trainer.evaluate(x, target, case.weights)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("net, f", PAIRS)
def test_twin(net, f, dtype):
    for number, loss in enumerate(LOSSES):
        assert_twins(Case(net, f, loss, weighted=number % 2 == 0), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [2, 64, 257, 300])
@pytest.mark.parametrize("net", NETS)
def test_twin_larger(net, rows, dtype):
    """Widths around the vector and the tile; more rows than one block of the core."""
    number = [*NETS].index(net) + rows
    width = [15, 16, 17, 33, 63][number % 5]
    f = [*ACTIVATIONS][number % len(ACTIVATIONS)]
    assert_twins(Case(net, f, [*LOSSES][number % len(LOSSES)], width, rows, weighted=rows == 300), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("net", NETS)
def test_twin_on_every_instruction_set(net, dtype, isa):
    for f, loss in zip(ACTIVATIONS, LOSSES):
        assert_twins(Case(net, f, loss, 9, 21), dtype)


@pytest.mark.parametrize("dtype, by", [("float64", 1e-11), ("float32", 2e-5)])
def test_the_twins_see_one_wrong_element(dtype, by):
    """The tester tested: any part of what is compared, off by so much of its norm in one element, fails."""
    case = Case("layer norm", "silu", "huber")
    found = everything(fb, case, dtype)
    assert_close(found, case, dtype)
    for part, right in enumerate(found):
        wrong = np.array(right)
        wrong.flat[wrong.size // 2] += by * max(1, np.linalg.norm(right))
        with pytest.raises(AssertionError):
            assert_close([*found[:part], wrong, *found[part + 1 :]], case, dtype)


def test_the_sweep_is_whole():
    """Every activation, loss and kind of step there is."""
    assert {f.name for f in ACTIVATIONS.values()} == {f.name for f in fb.layers.ACTIVATIONS}
    assert {loss.name for loss in LOSSES.values()} == {loss.name for loss in fb.losses.LOSSES}
    steps = [step for net in NETS.values() for step in fb.Network(INPUTS, net(fb.GELU(), 5))._steps]
    assert {step.kind for step in steps} == set(network_steps.KINDS)
