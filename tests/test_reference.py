"""The NumPy twin alone: literals worked out by hand, central differences, PyTorch's autograd, and the training loop.

The compiled operations are measured against the twin elsewhere; here the twin is measured against what is not fastbp.
"""

import math
import re

import numpy as np
import pytest

from fastbp import reference as ref
from fastbp._support import random_streams
from fastbp.derivatives.numerical import check_gradient, numerical_jacobian
from fastbp.errors import DivergenceError
from fastbp.layers import (
    ELU,
    GELU,
    SELU,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    GELUTanh,
    Identity,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastbp.losses import BinaryCrossEntropy, MeanSquaredError, Pinball, SoftmaxCrossEntropy
from fastbp.optimizers import SGD, Adam
from fastbp.reference.dropout import dropout_forward
from fastbp.reference.rng import philox4x32

try:
    import torch
except ImportError:
    torch = None

FROM_Y = [Identity(), ReLU(), LeakyReLU(0.2), LeakyReLU(0), Sigmoid(), Tanh(), Softplus(), Softplus(3.0)]
FROM_Y += [ELU(), ELU(0.3), SELU()]
ACTIVATIONS = [*FROM_Y, GELU(), GELUTanh(), SiLU()]
LOSSES = [
    SoftmaxCrossEntropy(),
    SoftmaxCrossEntropy("sum"),
    BinaryCrossEntropy(),
    BinaryCrossEntropy("sum"),
    MeanSquaredError(),
    MeanSquaredError("sum"),
    Pinball(0.3),
    Pinball(0.9, "sum"),
]


def array(*rows, dtype=np.float64):
    return np.array(rows, dtype)


def activate(f, x):
    return getattr(ref, f"{f.name}_forward")(x, **{field: getattr(f, field) for field in f.fields})


def activate_backward(f, dy, x):
    """From y = f(x), or from x where y does not tell the derivative."""
    saved = x if f.from_z else activate(f, x)
    return getattr(ref, f"{f.name}_backward")(dy, saved, **{field: getattr(f, field) for field in f.fields})


# ---------------------------------------------------------------------------------------------------------- literals


def test_gemm():
    a, b = array([1, 2, 3], [4, 5, 6]), array([1, -1], [0, 2], [3, 0.5])
    c = [[10, 4.5], [22, 9]]
    assert ref.gemm(a, b).tolist() == c
    assert ref.gemm(a.T, b, transpose_a=True).tolist() == c
    assert ref.gemm(a, b.T, transpose_b=True).tolist() == c
    assert ref.gemm(a.T, b.T, True, True).tolist() == c
    assert ref.gemm(np.ones((0, 3)), b).shape == (0, 2)
    with pytest.raises(ValueError):
        ref.gemm(a, a)


def test_dense():
    # The 3-2-1 net of worked example C2, its hidden layer.
    x, W, b = array([1, 2, 3]), array([-0.8, 1.2], [0.5, -0.7], [-1, 0.2]), array(-0.4, 0.9)
    np.testing.assert_allclose(ref.dense_forward(x, W, b), [[-3.2, 1.3]], rtol=1e-15)
    y = ref.dense_forward(x, W, b, "relu")
    np.testing.assert_allclose(y, [[0, 1.3]], rtol=1e-15)
    dx, dW, db = ref.dense_backward(array([0.6, 1.1]), x, W, y, "relu")
    np.testing.assert_allclose(dW, [[0, 1.1], [0, 2.2], [0, 3.3]], rtol=1e-14)
    np.testing.assert_allclose(db, [0, 1.1], rtol=1e-14)
    np.testing.assert_allclose(dx, [[1.32, -0.77, 0.22]], rtol=1e-14)
    np.testing.assert_array_equal(ref.dense_forward(x, W), x @ W)
    with pytest.raises(ValueError, match="y is needed for the derivative of tanh"):
        ref.dense_backward(y, x, W, activation="tanh")


def test_activations_at_hand_worked_points():
    x = array(-2, 0, 3)
    assert ref.identity_forward(x).tolist() == [-2, 0, 3]
    assert ref.relu_forward(x).tolist() == [0, 0, 3]
    assert ref.leaky_relu_forward(x, 0.25).tolist() == [-0.5, 0, 3]
    np.testing.assert_allclose(ref.sigmoid_forward(x), [0.11920292202211755, 0.5, 0.9525741268224334], rtol=1e-15)
    np.testing.assert_allclose(ref.tanh_forward(x), [-0.9640275800758169, 0, 0.9950547536867305], rtol=1e-15)
    np.testing.assert_allclose(
        ref.softplus_forward(x), [0.1269280110429726, 0.6931471805599453, 3.048587351573742], rtol=1e-15
    )
    np.testing.assert_allclose(ref.softplus_forward(array(0), 2.0), [0.34657359027997264], rtol=1e-15)
    dy = array(2, 2, 2)
    assert ref.identity_backward(dy, x).tolist() == [2, 2, 2]
    assert ref.relu_backward(dy, ref.relu_forward(x)).tolist() == [0, 0, 2]
    assert ref.leaky_relu_backward(dy, ref.leaky_relu_forward(x, 0.25), 0.25).tolist() == [0.5, 0.5, 2]
    assert ref.sigmoid_backward(dy, array(0.5, 0, 1)).tolist() == [0.5, 0, 0]
    assert ref.tanh_backward(dy, array(0.5, -1, 1)).tolist() == [1.5, 0, 0]
    np.testing.assert_allclose(ref.softplus_backward(dy, np.log(array(2, 1, 4))), [1, 0, 1.5], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", ACTIVATIONS, ids=repr)
def test_activations_at_the_ends(f, dtype):
    x = np.array([-np.inf, -1e4, -0.0, 0.0, 1e4, np.inf, np.nan], dtype)
    with np.errstate(all="raise", under="ignore"):
        y = activate(f, x[1:-2])
        dx = activate_backward(f, np.ones_like(y), x[1:-2])
    assert y.dtype == dx.dtype == dtype and np.isfinite(y).all() and np.isfinite(dx).all()
    with np.errstate(all="ignore"):
        y = activate(f, x)
    limits = {
        "sigmoid": (0, 1),
        "tanh": (-1, 1),
        "relu": (0, np.inf),
        "softplus": (0, np.inf),
        "identity": (-np.inf, np.inf),
    }
    if f.name in limits:
        assert (y[0], y[-2]) == limits[f.name]
    assert np.isnan(y[-1])
    if f.name in ("sigmoid", "tanh"):  # worked example C1: the derivatives vanish at both ends
        assert activate_backward(f, np.ones_like(y), x)[[0, 1, 4, 5]].tolist() == [0, 0, 0, 0]


def test_softmax():
    np.testing.assert_allclose(
        ref.softmax_forward(array([0, np.log(2), np.log(5)], [1000, 1000, -1000])),
        [[0.125, 0.25, 0.625], [0.5, 0.5, 0]],
    )
    # Worked example A2: J_ij = s_i (delta_ij - s_j), here row by row.
    s = array([0.125, 0.25, 0.625])
    J = [ref.softmax_backward(row.reshape(1, -1), s)[0] for row in np.eye(3)]
    np.testing.assert_allclose(J, np.diag(s[0]) - np.outer(s, s), rtol=1e-15)
    assert ref.softmax_forward(np.ones((0, 3))).shape == (0, 3)


def test_losses_at_hand_worked_points():
    z = array([0, np.log(2), np.log(5)], [0, 0, 0])
    loss, dz = ref.softmax_cross_entropy(z, np.array([2, 0]))
    assert loss == pytest.approx((np.log(8 / 5) + np.log(3)) / 2, rel=1e-15)
    np.testing.assert_allclose(dz, [[0.0625, 0.125, -0.1875], [-1 / 3, 1 / 6, 1 / 6]], rtol=1e-14)
    again = ref.softmax_cross_entropy(z, array([0, 0, 1], [1, 0, 0]))
    assert again[0] == pytest.approx(loss, rel=1e-15)
    np.testing.assert_allclose(again[1], dz, rtol=1e-14)
    total, sums = ref.softmax_cross_entropy(z, np.array([2, 0], np.uint8), "sum")
    assert total == 2 * loss
    np.testing.assert_allclose(sums, 2 * dz, rtol=1e-15)

    loss, dz = ref.binary_cross_entropy(array([0, np.log(3)]), array([1, 0.5]))
    assert loss == pytest.approx((np.log(2) + np.log(4) - np.log(3) / 2) / 2, rel=1e-15)
    np.testing.assert_allclose(dz, [[-0.25, 0.125]], rtol=1e-14)
    with np.errstate(all="raise", under="ignore"):
        loss, dz = ref.binary_cross_entropy(array([1e5, -1e5, -1e5]), array([1, 0, 1]), "sum")
    assert loss == 1e5 and dz.tolist() == [[0, 0, -1]]

    loss, dy = ref.mean_squared_error(array([1, 2], [3, 4]), array([1, 0], [0, 4]))
    assert loss == 13 / 4 and dy.tolist() == [[0, 1], [1.5, 0]]

    loss, dy = ref.pinball(array([1, 1], [2, 2]), array([3, 0], [2, 4]), [0.25, 0.75], "sum")
    assert loss == 0.5 + 0.25 + 0 + 1.5 and dy.tolist() == [[-0.25, 0.25], [-0.25, -0.75]]


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error", "pinball"])
def test_losses_of_nothing_and_of_the_wrong_shape(name):
    loss = getattr(ref, name)
    empty = np.ones((0, 3))
    with pytest.raises(ValueError, match="mean of no terms"):
        loss(empty, empty)
    assert loss(empty, empty, reduction="sum")[0] == 0.0 and loss(empty, empty, reduction="sum")[1].shape == (0, 3)
    with pytest.raises(ValueError, match=re.escape("target has shape (4,)")):
        loss(np.ones((4, 1)), np.ones(4))
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', got 'none'"):
        loss(np.ones((4, 1)), np.ones((4, 1)), reduction="none")


def test_labels_out_of_range():
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="class numbers from 0 to 2"):
            ref.softmax_cross_entropy(np.ones((2, 3)), np.array(labels))


def test_optimizers_by_hand():
    w = array(1, -2)
    ref.sgd_step(w, array(0.5, 1), learning_rate=0.5)
    assert w.tolist() == [0.75, -2.5]
    ref.sgd_step(w, array(0, 0), learning_rate=0.5, weight_decay=1)
    assert w.tolist() == [0.375, -1.25]
    w, v = array(1), array(0)
    for expected_w, expected_v in ((0, 1), (-1.5, 1.5), (-3.25, 1.75)):
        ref.sgd_step(w, array(1), v, learning_rate=1, momentum=0.5)
        assert w == expected_w and v == expected_v
    with pytest.raises(ValueError, match="v is needed when momentum is not 0"):
        ref.sgd_step(w, array(1), momentum=0.5)
    # Adam's first step has the learning rate for length, whatever the gradient's.
    w, m, v = array(1, 1), array(0, 0), array(0, 0)
    ref.adam_step(w, array(4, -1e-3), m, v, 1, learning_rate=0.25, beta1=0.5, beta2=0.75, eps=1e-300)
    np.testing.assert_allclose(w, [0.75, 1.25], rtol=1e-15)
    np.testing.assert_allclose(m, [2, -5e-4], rtol=1e-15)
    np.testing.assert_allclose(v, [4, 2.5e-7], rtol=1e-15)


def test_reductions():
    assert ref.sum_squares(array([1, 2], [3, -4])) == 30.0 and ref.sum_squares(array()) == 0.0
    assert ref.all_finite(array(1, -1e308)) and ref.all_finite(array())
    assert not ref.all_finite(array(1, np.nan)) and not ref.all_finite(array([1], [-np.inf]))
    assert ref.add(array(1, 2), array(0.5, -2)).tolist() == [1.5, 0]
    with pytest.raises(ValueError, match=re.escape("b has shape (1,); a has (2,)")):
        ref.add(array(1, 2), array(1))


def test_philox_known_answers():
    # From the known-answer tests of Random123 (kat_vectors), philox4x32-10: counter, key -> words.
    answers = [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]

    def words(text):
        return [int(word, 16) for word in text.split()]

    for counter, key, expected in answers:
        counter = np.array(words(counter), np.uint64).reshape(4, 1)
        assert philox4x32(counter, tuple(words(key))).ravel().tolist() == words(expected)
    assert ref.random_bits(0, 0, 4).tolist() == words(answers[0][2])


def test_random_numbers():
    seed, stream = 0x123456789ABCDEF0, 0xFEDCBA9876543210
    bits = ref.random_bits(seed, stream, 1003)
    assert bits.dtype == np.uint32 and bits.shape == (1003,)
    for n in (0, 1, 3, 4, 5, 1000):
        assert (ref.random_bits(seed, stream, n) == bits[:n]).all()
    block_1 = np.array([[1], [0], [stream % 2**32], [stream >> 32]], np.uint64)
    assert bits[4:8].tolist() == philox4x32(block_1, (seed % 2**32, seed >> 32)).ravel().tolist()
    u = ref.random_uniform(seed, stream, 501)
    assert u.dtype == np.float64 and (0 <= u).all() and (u < 1).all() and abs(u.mean() - 0.5) < 0.05
    assert u[1] == ((int(bits[2]) >> 5) * 2**26 + (int(bits[3]) >> 6)) / 2**53
    order = ref.random_permutation(seed, stream, 1003)
    assert order.dtype == np.int64 and sorted(order) == list(range(1003))
    assert (np.diff(bits[order].astype(np.int64)) >= 0).all()
    assert ref.random_permutation(1, 0, 0).shape == (0,) and ref.random_permutation(1, 0, 1).tolist() == [0]
    assert (ref.random_bits(1, 2, 50) != ref.random_bits(1, 3, 50)).any()
    assert (ref.random_bits(1, 2, 50) != ref.random_bits(2, 2, 50)).any()


# ------------------------------------------------------------------------------------------------ central differences


@pytest.mark.parametrize("f", ACTIVATIONS, ids=repr)
def test_activations_against_differences(f):
    x = np.array([[-3.0, -0.4, -0.01], [0.02, 0.7, 2.5]])
    dy = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
    assert check_gradient(lambda x: (dy * activate(f, x)).sum(), lambda x: activate_backward(f, dy, x), x) < 1e-7


def test_softmax_against_differences():
    x = np.array([[0.1, -2.0, 1.5], [3.0, 2.0, 2.5]])
    dy = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])

    def forward(x):
        return (dy * ref.softmax_forward(x)).sum()

    assert check_gradient(forward, lambda x: ref.softmax_backward(dy, ref.softmax_forward(x)), x) < 1e-7
    s = ref.softmax_forward(x[:1])[0]
    np.testing.assert_allclose(
        numerical_jacobian(lambda x: ref.softmax_forward(x[None])[0], x[0]), np.diag(s) - np.outer(s, s), atol=1e-9
    )


@pytest.mark.parametrize("f", FROM_Y, ids=repr)
def test_dense_against_differences(f):
    rng = np.random.default_rng(3)
    x, W, b, dy = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=(4, 5))

    def value(x, W, b):
        return (dy * ref.dense_forward(x, W, b, f)).sum()

    def gradients(x, W, b):
        return ref.dense_backward(dy, x, W, ref.dense_forward(x, W, b, f), f)

    assert check_gradient(lambda x: value(x, W, b), lambda x: gradients(x, W, b)[0], x) < 1e-7
    assert check_gradient(lambda W: value(x, W, b), lambda W: gradients(x, W, b)[1], W) < 1e-7
    assert check_gradient(lambda b: value(x, W, b), lambda b: gradients(x, W, b)[2], b) < 1e-7


def targets_for(loss, rng, rows, outputs, labels=False):
    if labels:
        return rng.integers(0, outputs, rows)
    if loss.name == "softmax_cross_entropy":
        return rng.dirichlet(np.ones(outputs), rows)
    if loss.name == "binary_cross_entropy":
        return rng.uniform(size=(rows, outputs))
    return rng.normal(size=(rows, outputs))


def loss_and_gradient(loss, z, target):
    return getattr(ref, loss.name)(z, target, **{field: getattr(loss, field) for field in loss.fields})


@pytest.mark.parametrize(
    "loss, labels",
    [(loss, False) for loss in (*LOSSES, Pinball([0.1, 0.5, 0.9, 0.7]))] + [(loss, True) for loss in LOSSES[:2]],
    ids=repr,
)
def test_losses_against_differences(loss, labels):
    rng = np.random.default_rng(4)
    z, target = 2 * rng.normal(size=(5, 4)), targets_for(loss, rng, 5, 4, labels)
    assert (
        check_gradient(
            lambda z: loss_and_gradient(loss, z, target)[0], lambda z: loss_and_gradient(loss, z, target)[1], z
        )
        < 1e-7
    )


def test_softmax_cross_entropy_of_targets_that_do_not_sum_to_one():
    rng = np.random.default_rng(5)
    z, target = rng.normal(size=(3, 4)), rng.uniform(size=(3, 4))

    def f(z):
        return ref.softmax_cross_entropy(z, target)

    assert check_gradient(lambda z: f(z)[0], lambda z: f(z)[1], z) < 1e-7


def test_network_against_differences():
    rng = np.random.default_rng(6)
    inner = Residual([Dense(4, "tanh", bias=False)])
    net = ref.Network(
        3, [Dense(4, "softplus"), Residual([Dense(4, "tanh"), inner, Dense(4, "sigmoid")]), Dense(2)], "float64", seed=1
    )
    trainer = ref.Trainer(net, "mean_squared_error")
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))

    def at(parameters, x):
        net.parameters = parameters
        return trainer.value_and_grad(x, y, inputs=True)

    start = net.parameters.copy()
    assert check_gradient(lambda p: at(p, x)[0], lambda p: at(p, x)[1], start) < 1e-7
    assert check_gradient(lambda x: at(start, x)[0], lambda x: at(start, x)[2], x) < 1e-7


KINDS = {
    "dense": lambda f: [Dense(4, f, l2=0.3), Dense(2, l1=0.1, penalize_bias=True)],
    "activation": lambda f: [f, Dense(2), f],
    "two activations": lambda f: [Dense(4, f), f, f, Dense(2)],
    "layer norm": lambda f: [LayerNorm(), f, Dense(2)],
    "layer norm without gamma": lambda f: [LayerNorm(1e-2, affine=False), f, Dense(2), LayerNorm()],
    "batch norm": lambda f: [BatchNorm(), f, Dense(2, l2=0.2)],
    "batch norm without gamma": lambda f: [Dense(4), BatchNorm(eps=1e-2, affine=False), f, Dense(2), BatchNorm()],
    "frozen": lambda f: [
        BatchNorm(),
        f,
        Dense(4, f, frozen=True, l2=5),
        BatchNorm(frozen=True),
        f,
        LayerNorm(frozen=True),
    ],
    "residual": lambda f: [Residual([BatchNorm(), f, Dense(4), LayerNorm(), f, Dense(3)]), LayerNorm(), Dense(2)],
    "nested": lambda f: [Residual([Residual([f, Dense(3)]), Residual([Dense(3, f)])]), f, Residual([f]), Dense(2)],
    "projection": lambda f: [Residual([Dense(5, f)]), Residual([f], projection=True), Dense(2)],
    "nested projections": lambda f: [Residual([Dense(3, f), Residual([Dense(5), f]), Residual([Dense(4)])]), Dense(2)],
    "softmax": lambda f: [Dense(4, f), Softmax(), f, Dense(2), Softmax()],
    "dropout": lambda f: [Dropout(0.3), Dense(4, f), Dropout(0.5), Residual([Dropout(0.2), f, Dense(3)]), Dense(2)],
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("f", [*ACTIVATIONS[1:3], *ACTIVATIONS[4:7], *ACTIVATIONS[9:]], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_against_differences(kind, f, training):
    rng = np.random.default_rng(list(KINDS).index(kind))
    net = ref.Network(3, KINDS[kind](f), "float64", seed=1)
    net.parameters = net.parameters + 0.3 * rng.normal(size=len(net.parameters))
    net.statistics[:] = rng.uniform(0.5, 2, len(net.statistics))
    trainer = ref.Trainer(net, "mean_squared_error", seed=2)
    x, y, weights = rng.normal(size=(5, 3)), rng.normal(size=(5, net.outputs)), rng.uniform(0, 2, 5)
    start, statistics = net.parameters.copy(), net.statistics.copy()
    learns = trainer._objective.learns()

    def at(learned, x):
        net.parameters[learns] = learned
        return trainer.value_and_grad(x, y, True, weights, training)

    assert check_gradient(lambda p: at(p, x)[0], lambda p: at(p, x)[1][learns], start[learns]) < 1e-6
    assert check_gradient(lambda x: at(start[learns], x)[0], lambda x: at(start[learns], x)[2], x) < 1e-6
    assert not at(start[learns], x)[1][~learns].any() and learns.all() == (kind != "frozen")
    np.testing.assert_array_equal(net.statistics, statistics)


def test_differences_notice_a_wrong_layer(monkeypatch):
    """The tester tested: a batch norm that forgets that its statistics depend on x."""
    from fastbp.reference import network

    def forgetful(dy, x, mean, variance, gamma=None, eps=1e-5):
        rstd = 1 / np.sqrt(variance + eps)
        return dy * rstd * gamma, (dy * (x - mean) * rstd).sum(axis=0), dy.sum(axis=0)

    monkeypatch.setattr(network, "batch_norm_backward", forgetful)
    with pytest.raises(AssertionError, match="is wrong at"):
        test_every_kind_of_layer_against_differences("batch norm", Tanh(), True)
    test_every_kind_of_layer_against_differences("batch norm", Tanh(), False)


# ------------------------------------------------------------------------------------------------- PyTorch's autograd


def torch_activation(f, z):
    return {
        "identity": lambda: z,
        "relu": lambda: torch.relu(z),
        "leaky_relu": lambda: torch.nn.functional.leaky_relu(z, f.alpha),
        "sigmoid": lambda: torch.sigmoid(z),
        "tanh": lambda: torch.tanh(z),
        "softplus": lambda: torch.nn.functional.softplus(z, f.alpha, threshold=1e9),
        "elu": lambda: torch.nn.functional.elu(z, f.alpha),
        "selu": lambda: torch.nn.functional.selu(z),
        "gelu": lambda: torch.nn.functional.gelu(z),
        "gelu_tanh": lambda: torch.nn.functional.gelu(z, approximate="tanh"),
        "silu": lambda: torch.nn.functional.silu(z),
    }[f.name]()


def torch_loss(loss, z, target):
    functional = torch.nn.functional
    if loss.name == "softmax_cross_entropy":
        return functional.cross_entropy(z, target, reduction=loss.reduction)
    if loss.name == "binary_cross_entropy":
        return functional.binary_cross_entropy_with_logits(z, target, reduction=loss.reduction)
    if loss.name == "mean_squared_error":
        return functional.mse_loss(z, target, reduction=loss.reduction)
    u, tau = target - z, torch.tensor(loss.parameters(z.shape[1]), dtype=z.dtype)
    terms = torch.maximum(tau * u, (tau - 1) * u)
    return terms.mean() if loss.reduction == "mean" else terms.sum()


class TorchNet:
    """A net of the twin in PyTorch, float64: tensors of its own for parameters and running statistics.

    masks: what each dropout multiplies with, in the order of the net; None: prediction.
    """

    def __init__(self, net):
        self.layers = net.layers
        self.flat = torch.nn.Parameter(torch.tensor(np.asarray(net.parameters, np.float64)))
        self.statistics = torch.tensor(np.asarray(net.statistics, np.float64))

    def forward(self, x, masks=None):
        self.taken = self.taken_statistics = 0
        return self.run(self.layers, x, iter(masks or ()), masks is not None)

    def take(self, *shape):
        start, self.taken = self.taken, self.taken + math.prod(shape)
        return self.flat[start : self.taken].reshape(shape)

    def run(self, layers, x, masks, training):
        functional = torch.nn.functional
        for layer in layers:
            width = x.shape[1]
            if isinstance(layer, Residual):
                fx = self.run(layer.layers, x, masks, training)
                if layer.projection or fx.shape[1] != width:
                    x = x @ self.take(width, fx.shape[1])
                x = x + fx
            elif isinstance(layer, Dense):
                z = x @ self.take(width, layer.units)
                x = torch_activation(layer.activation, z + self.take(layer.units) if layer.bias else z)
            elif isinstance(layer, Activation):
                x = torch_activation(layer, x)
            elif isinstance(layer, Softmax):
                x = torch.softmax(x, dim=1)
            elif isinstance(layer, Dropout):
                x = x * torch.tensor(next(masks)) if training else x
            else:
                gamma, beta = (self.take(width), self.take(width)) if layer.affine else (None, None)
                if isinstance(layer, LayerNorm):
                    x = functional.layer_norm(x, (width,), gamma, beta, layer.eps)
                    continue
                start, self.taken_statistics = self.taken_statistics, self.taken_statistics + 2 * width
                mean, variance = self.statistics[start : self.taken_statistics].reshape(2, width)
                x = functional.batch_norm(
                    x, mean, variance, gamma, beta, training and not layer.frozen, layer.momentum, layer.eps
                )
        return x


def torch_value_and_grad(net, loss, x, y, masks=None):
    """Loss, flat gradient and dx of a net of the twin, in float64, by autograd."""
    theirs = TorchNet(net)
    x = torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    y = torch.tensor(y if y.dtype.kind in "iu" else np.asarray(y, np.float64))
    value = torch_loss(loss, theirs.forward(x, masks), y)
    value.backward()
    return value.item(), theirs.flat.grad.numpy(), x.grad.numpy()


def masks_of(net, rows, seed, draw, first_row=0):
    """What the dropouts of a net of the twin multiply a minibatch with."""
    dropouts = [step for step in net.steps if step.kind == "dropout"]
    return [
        dropout_forward(
            np.ones((rows, step.inputs)), step.layer.rate, seed, random_streams.dropout(n), draw, first_row
        )[1]
        for n, step in enumerate(dropouts)
    ]


def random_layers(rng, width, depth):
    """So many layers of random widths from 1 to 130 and random activations, some of them residual blocks."""
    layers = []
    for _ in range(depth):
        activation = ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
        bias = bool(rng.integers(4))
        if rng.integers(3) == 0:
            block = [Dense(int(rng.integers(1, 131)), "tanh"), Dense(width, activation, bias)]
            layers.append(Residual([*block, Residual([Dense(width, "sigmoid")])] if rng.integers(2) else block))
        else:
            width = int(rng.integers(1, 131))
            layers.append(Dense(width, activation, bias))
    return layers


def distance(a, b):
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(64))
def test_random_nets_against_autograd(seed):
    rng = np.random.default_rng(seed)
    loss = LOSSES[seed % len(LOSSES)]
    inputs, outputs, rows = (int(rng.integers(1, most + 1)) for most in (130, 130, 70))
    layers = [*random_layers(rng, inputs, seed % 5), Dense(outputs, bias=bool(rng.integers(4)))]
    labels = loss.name == "softmax_cross_entropy" and seed % 16 < 8  # half of them; the others get probabilities
    x, y = rng.normal(size=(rows, inputs)), targets_for(loss, rng, rows, outputs, labels)
    net = ref.Network(inputs, layers, "float64", seed)
    for _, b in net.weights:
        if b is not None:
            b[...] = rng.normal(size=b.shape)
    expected = torch_value_and_grad(net, loss, x, y)
    got = ref.Trainer(net, loss).value_and_grad(x, y, inputs=True)
    assert got[0] == pytest.approx(expected[0], rel=1e-12)
    assert distance(got[1], expected[1]) < 1e-12
    assert distance(got[2], expected[2]) < 1e-12

    single = ref.Network(inputs, layers, "float32", seed)
    single.parameters = net.parameters
    loss32, gradient32 = ref.Trainer(single, loss).value_and_grad(x, y)
    assert gradient32.dtype == np.float32
    expected = torch_value_and_grad(single, loss, x.astype(np.float32), y)
    assert loss32 == pytest.approx(expected[0], rel=5e-6)
    assert distance(gradient32, expected[1]) < 5e-6


@pytest.mark.torch
@pytest.mark.parametrize("f", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_every_activation_and_loss_against_autograd(f, loss):
    rng = np.random.default_rng(7)
    net = ref.Network(6, [Dense(5, f), Residual([Dense(5, f)]), Dense(4, f)], "float64", seed=2)
    x, y = rng.normal(size=(9, 6)), targets_for(loss, rng, 9, 4)
    expected = torch_value_and_grad(net, loss, x, y)
    got = ref.Trainer(net, loss).value_and_grad(x, y, inputs=True)
    assert got[0] == pytest.approx(expected[0], rel=1e-13)
    assert distance(got[1], expected[1]) < 1e-13 and distance(got[2], expected[2]) < 1e-13


def pre_norm(width, f, rate=0.0):
    """A residual block as in a transformer or a modern MLP."""
    return Residual([LayerNorm(), Dense(4 * width, f), Dropout(rate), Dense(width)])


TORCH_NETS = {
    "BatchNorm1d": lambda f: [Dense(9), BatchNorm(), f, Dense(7), BatchNorm(0.3, 1e-3), f, Dense(4)],
    "BatchNorm1d without affine": lambda f: [BatchNorm(affine=False), Dense(9, f), BatchNorm(affine=False)],
    "LayerNorm": lambda f: [Dense(9), LayerNorm(), f, LayerNorm(1e-3, affine=False), f, Dense(4), LayerNorm()],
    "pre-norm blocks": lambda f: [Dense(8), pre_norm(8, f), pre_norm(8, f, 0.4), LayerNorm(), Dense(4)],
    "ResNet blocks": lambda f: [Residual([Dense(9), BatchNorm(), f, Dense(7), BatchNorm()]), f, Dense(4)],
    "projections": lambda f: [
        Residual([Dense(9, f), Residual([Dense(5, f)], projection=True)]),
        Residual([f]),
        Dense(4),
    ],
    "dropout": lambda f: [Dropout(0.2), Dense(9, f), Dropout(0.5), Residual([Dropout(0.1), Dense(7)]), f, Dense(4)],
    "softmax": lambda f: [Dense(5, f), Softmax(), Dense(4), Softmax()],
}


@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("f", [ReLU(), Tanh(), GELU()], ids=repr)
@pytest.mark.parametrize("name", TORCH_NETS)
def test_every_kind_of_layer_against_autograd(name, f, training):
    rng = np.random.default_rng(list(TORCH_NETS).index(name))
    net = ref.Network(6, TORCH_NETS[name](f), "float64", seed=3)
    net.parameters = net.parameters + 0.2 * rng.normal(size=len(net.parameters))
    net.statistics[:] = rng.uniform(0.5, 2, len(net.statistics))
    x, y = rng.normal(size=(11, 6)), rng.normal(size=(11, net.outputs))
    trainer = ref.Trainer(net, "mean_squared_error", seed=4)
    trainer.steps = 7
    got = trainer.value_and_grad(x, y, True, training=training)
    expected = torch_value_and_grad(net, trainer.loss, x, y, masks_of(net, 11, 4, 7) if training else None)
    assert got[0] == pytest.approx(expected[0], rel=1e-12)
    # Where a batch norm takes a bias away again its gradient is 0 but for rounding.
    assert distance(got[1], expected[1]) < 1e-12 and distance(got[2], expected[2]) < 1e-12


@pytest.mark.torch
@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), SGD(0.05, momentum=0.9), SGD(0.05, 0.5, 0.1), Adam(0.01), Adam(0.1, 0.5, 0.9, 1e-3, 0.1)],
    ids=repr,
)
def test_optimizers_against_pytorch(optimizer):
    rng = np.random.default_rng(8)
    start, gradients = rng.normal(size=30), rng.normal(size=(25, 30))
    parameter = torch.nn.Parameter(torch.tensor(start))
    if isinstance(optimizer, SGD):
        theirs = torch.optim.SGD(
            [parameter], optimizer.learning_rate, momentum=optimizer.momentum, weight_decay=optimizer.weight_decay
        )
    else:
        betas = (optimizer.beta1, optimizer.beta2)
        theirs = torch.optim.Adam([parameter], optimizer.learning_rate, betas, optimizer.eps, optimizer.weight_decay)
    w, state = start.copy(), [np.zeros(30) for _ in range(optimizer.moments)]
    arguments = {field: getattr(optimizer, field) for field in optimizer.fields}
    for t, g in enumerate(gradients, 1):
        parameter.grad = torch.tensor(g)
        theirs.step()
        if isinstance(optimizer, SGD):
            ref.sgd_step(w, g, *state, **arguments)
        else:
            ref.adam_step(w, g, *state, t, **arguments)
        np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12, atol=1e-13)


# ------------------------------------------------------------------------------------------- network and training loop


def test_initial_weights():
    net = ref.Network(
        50, [Dense(40, "relu"), Dense(30, "tanh", bias=False), Dense(20, LeakyReLU(0.1)), Dense(10)], seed=9
    )
    bounds = [np.sqrt(6 / 50), np.sqrt(6 / 70), np.sqrt(6 / 30), np.sqrt(6 / 30)]
    for number, ((W, b), bound) in enumerate(zip(net.weights, bounds, strict=True)):
        assert W.dtype == np.float32 and (b is None or not b.any())
        assert 0.95 * bound < np.abs(W).max() <= np.float32(bound)
        u = ref.random_uniform(9, random_streams.initialisation(number), W.size).reshape(W.shape)
        np.testing.assert_array_equal(W, (bound * (2 * u - 1)).astype(np.float32))
    assert net.weights[1][1] is None
    assert net.parameters.shape == (50 * 40 + 40 + 40 * 30 + 30 * 20 + 20 + 20 * 10 + 10,)


def test_parameters_and_weights_are_one_memory():
    net = ref.Network(2, [Dense(3), Dense(1)], "float64")
    W, b = net.weights[0]
    W[1, 2] = 7
    b[0] = 8
    assert net.parameters[5] == 7 and net.parameters[6] == 8
    flat = net.parameters
    net.parameters = np.arange(13, dtype=np.float32)
    assert net.parameters is flat and net.weights[1][0].tolist() == [[9], [10], [11]]
    for wrong, error in ((np.ones(12), ValueError), (np.ones(13, int), TypeError), ([1.0] * 13, TypeError)):
        with pytest.raises(error, match="parameters"):
            net.parameters = wrong
    with pytest.raises(ValueError, match=re.escape("parameters must be finite, got nan at [3]")):
        net.parameters = np.where(np.arange(13) == 3, np.nan, 1.0)
    assert net.parameters[3] == 3


def test_residual_net_by_hand():
    # Worked example E2: sigmoid(w2 relu(w1 x + b1) + b2 + x) under binary cross-entropy.
    for literals in (
        (
            1.5,
            1,
            0.8,
            -0.3,
            0.5,
            0.1,
            0.1210974512,
            [-0.0855392860, -0.0570261906, -0.1026471432, -0.1140523813],
            -0.1596733338,
        ),
        (1.5, 0, -0.8, -0.3, 0.5, 0.1, 1.783900741, [0, 0, 0, 0.8320183851], 0.8320183851),
    ):
        x, y, *parameters, J, gradient, dx = literals
        net = ref.Network(1, [Residual([Dense(1, "relu"), Dense(1)])], "float64")
        net.parameters = np.array(parameters)
        got = ref.Trainer(net, "binary_cross_entropy").value_and_grad(array([x]), array(y), inputs=True)
        assert got[0] == pytest.approx(J, rel=1e-9)
        np.testing.assert_allclose(got[1], gradient, atol=1e-10)
        np.testing.assert_allclose(got[2], [[dx]], atol=1e-10)


def one_weight(w=0.0, dtype="float64"):
    net = ref.Network(1, [Dense(1, bias=False)], dtype)
    net.parameters = np.array([w])
    return net


@pytest.mark.parametrize(
    "rate, expected",
    [
        (0.5, [50, 75, 87.5, 93.75, 96.875, 98.4375]),
        (1.5, [150, 75, 112.5, 93.75, 103.125, 98.4375]),
        (2.0, [200, 0, 200, 0, 200, 0]),
        (2.5, [250, -125, 437.5, -406.25, 859.375, -1039.0625]),
    ],
)
def test_gradient_descent_by_hand(rate, expected):
    # Worked example A7, whose loss has a factor 1/2: half the rate under the squared error without it.
    net = one_weight()
    trainer = ref.Trainer(net, "mean_squared_error", SGD(rate / 2))
    weights, losses = [], []
    for _ in range(6):
        losses.append(trainer.step(array([1]), array(100)))
        weights.append(float(net.parameters[0]))
    assert weights == expected and trainer.steps == 6
    assert losses == [(w - 100) ** 2 for w in [0, *expected[:-1]]]


def test_divergence_is_reported_and_leaves_the_last_parameters():
    net = one_weight(dtype="float32")
    trainer = ref.Trainer(net, "mean_squared_error", SGD(2.5))
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(array([1]), array(100), epochs=1000, batch_size=1)
    error = caught.value
    assert error.what in ("loss", "gradient") and error.step == 0 and error.learning_rate == 2.5
    assert error.epoch == trainer.epochs == trainer.steps == len(error.history["loss"]) > 10
    assert error.last_loss == error.history["loss"][-1] and np.isfinite(net.parameters).all()
    assert "training diverged" in str(error) and "try a smaller one" in str(error)
    stuck = net.parameters.copy()
    with pytest.raises(DivergenceError) as caught:
        trainer.step(array([1]), array(100))
    assert caught.value.epoch is None and caught.value.step == trainer.steps == error.epoch
    np.testing.assert_array_equal(net.parameters, stuck)


def test_divergence_amid_an_epoch():
    net = one_weight()
    trainer = ref.Trainer(net, "mean_squared_error", SGD(1e-3))
    X, y = array([1], [1], [1e200], [1]), array(1, 3, 0, 0)
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(X, y, epochs=2, batch_size=1, shuffle=False)
    w1 = 2e-3
    w2 = w1 + 2e-3 * (3 - w1)
    assert (caught.value.epoch, caught.value.step, trainer.steps, trainer.epochs) == (0, 2, 2, 0)
    assert caught.value.loss == np.inf and caught.value.last_loss == pytest.approx((3 - w1) ** 2, rel=1e-14)
    assert net.parameters[0] == pytest.approx(w2, rel=1e-14)
    names = ["loss", "gradient_norm", "layer_gradient_norms", "learning_rate", "seconds"]
    assert caught.value.history == {name: [] for name in names}


def test_a_loss_that_overflows_though_its_gradient_does_not():
    net = one_weight(-1.7e308)
    with pytest.raises(DivergenceError, match="the loss became inf at step 0; no loss came before it"):
        ref.Trainer(net, "pinball", SGD(1.0)).step(array([1]), array(1.7e308))
    assert net.parameters == [-1.7e308]


def test_tolerance_stops():
    net = one_weight()
    trainer = ref.Trainer(net, "mean_squared_error", SGD(0.25))
    history = trainer.fit(array([1]), array(100), epochs=100, batch_size=1, tolerance=1.0)
    # Steps of 50, 25, 12.5, 6.25, 3.125, 1.5625, 0.78125: the seventh is the first below 1.
    assert len(history["loss"]) == trainer.epochs == 7
    net.parameters = array(0)
    assert len(trainer.fit(array([1]), array(100), epochs=100, batch_size=1, tolerance=12.5)["loss"]) == 4
    assert len(trainer.fit(array([1]), array(100), epochs=3, batch_size=1, tolerance=0)["loss"]) == 3


def problem(rows=23, inputs=4, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)), rng.integers(0, outputs, rows)


def test_fit_is_steps_in_the_order_of_the_seed(capsys):
    X, y = problem()

    def make():
        return ref.Trainer(ref.Network(4, [Dense(5, "tanh"), Dense(3)], "float64", 3), optimizer=Adam(0.01), seed=11)

    fitted, stepped = make(), make()
    history = fitted.fit(X, y, epochs=2, batch_size=5, validation=(X[:7], y[:7]), verbose=True)
    losses, norms, validation = [], [], []
    for epoch in range(2):
        order = ref.random_permutation(11, random_streams.shuffle(epoch), 23)
        losses.append(0)
        norms.append(0)
        for rows in np.split(order, [5, 10, 15, 20]):
            norms[-1] += (stepped.value_and_grad(X[rows], y[rows])[1] ** 2).sum() / 5
            losses[-1] += stepped.step(X[rows], y[rows]) * len(rows) / 23
        validation.append(stepped.evaluate(X[:7], y[:7]))
    np.testing.assert_array_equal(fitted.net.parameters, stepped.net.parameters)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-14)
    np.testing.assert_allclose(history["gradient_norm"], np.sqrt(norms), rtol=1e-14)
    assert history["val_loss"] == validation and history["learning_rate"] == [0.01, 0.01]
    names = ["loss", "gradient_norm", "layer_gradient_norms", "learning_rate", "val_loss", "seconds"]
    assert list(history) == names
    assert len(history["seconds"]) == 2 and fitted.steps == 10 and fitted.epochs == 2
    assert len(capsys.readouterr().out.splitlines()) == 2
    # A second fit goes on where the first stopped.
    again = make()
    again.fit(X, y, batch_size=5)
    again.fit(X, y, batch_size=5)
    np.testing.assert_array_equal(again.net.parameters, fitted.net.parameters)


def test_fit_without_shuffling_takes_rows_as_they_stand():
    X, y = problem()
    fitted, stepped = (ref.Trainer(ref.Network(4, [Dense(3)], "float64"), optimizer="sgd", seed=s) for s in (0, 1))
    fitted.fit(X, y, batch_size=10, shuffle=False)
    for rows in (slice(0, 10), slice(10, 20), slice(20, 23)):
        stepped.step(X[rows], y[rows])
    np.testing.assert_array_equal(fitted.net.parameters, stepped.net.parameters)


def test_example_gradients_by_hand():
    # Worked example D1, its first and last example.
    net = ref.Network(2, [Dense(3, "sigmoid"), Dense(1)], "float64")
    net.parameters = array(0.02, 0.01, 0.03, 0.03, 0.02, 0.01, 0.01, 0.03, 0.02, 0.02, 0.03, 0.04, 0.01)
    trainer = ref.Trainer(net, "mean_squared_error")
    x, y = array([1, 2], [1, 3], [2, 2]), array(8, 11, 10)
    losses, gradients = trainer.example_gradients(x, y)
    np.testing.assert_allclose(losses, [63.095235, 119.746005, 98.858811], atol=1e-6)
    W1, b1, W2, b2 = np.split(gradients[0], [6, 9, 12])
    np.testing.assert_allclose(b2, [-15.886502], atol=1e-6)
    np.testing.assert_allclose(W2, [-8.300456, -8.260812, -8.221151], atol=1e-6)
    np.testing.assert_allclose(b1, [-0.079272, -0.118958, -0.158671], atol=1e-6)
    np.testing.assert_allclose(W1, [-0.079272, -0.118958, -0.158671, -0.158544, -0.237917, -0.317341], atol=1e-6)
    total = ref.Trainer(net, MeanSquaredError("sum")).value_and_grad(x, y)
    assert total[0] == pytest.approx(281.7000511808419, rel=1e-12) and losses.sum() == pytest.approx(
        total[0], rel=1e-12
    )
    np.testing.assert_allclose(gradients.sum(axis=0), total[1], rtol=1e-12)


def test_data_of_the_other_float_is_converted():
    X, y = problem()
    for dtype in ("float32", np.float64):
        net = ref.Network(4, [Dense(3)], dtype)
        assert net.dtype == dtype
        for given in (np.float32, np.float64):
            assert net.predict(X.astype(given)).dtype == dtype
    net = ref.Network(4, [Dense(3)])
    with pytest.raises(ValueError, match=re.escape("X must be finite, got inf at [0, 0]")):
        net.predict(np.full((1, 4), 1e300))
    assert net.predict(np.ones((0, 4))).shape == (0, 3)
    assert np.isnan(net.predict(np.full((2, 4), np.nan), allow_nonfinite=True)).all()


def test_training_learns():
    X = array([0, 0], [0, 1], [1, 0], [1, 1])
    net = ref.Network(2, [Dense(8, "tanh"), Dense(1)], "float64", seed=1)
    ref.Trainer(net, "mean_squared_error", Adam(0.02)).fit(X, array(0, 1, 1, 0), epochs=1500, batch_size=4)
    np.testing.assert_allclose(net.predict(X).ravel(), [0, 1, 1, 0], atol=0.05)


def test_an_optimizer_may_be_replaced_by_one_of_the_same_state():
    trainer = ref.Trainer(ref.Network(4, [Dense(3)]), optimizer=SGD(0.1, 0.9))
    trainer.optimizer = SGD(0.01, 0.8)
    assert trainer.optimizer == SGD(0.01, 0.8)
    for other in ("adam", SGD(0.1)):
        with pytest.raises(ValueError, match="optimizer must keep the same state"):
            trainer.optimizer = other


def trainer_of(loss="softmax_cross_entropy", outputs=3):
    return ref.Trainer(ref.Network(4, [Dense(outputs)]), loss)


X, Y = problem()
F = X[:, :3]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: ref.Network(4, [Dense(3)], "float16"),
            ValueError,
            "dtype must be 'float32' or 'float64', got 'float16'",
        ),
        (lambda: ref.Network(4, [Dense(3)], None), TypeError, "dtype must be 'float32' or 'float64', got None"),
        (lambda: ref.Network(4, [Dense(3)], ">f4"), ValueError, "dtype must be 'float32' or 'float64'"),
        (lambda: ref.Network(4, [Dense(3)], seed=-1), ValueError, "seed must be at least 0, got -1"),
        (lambda: ref.Network(4, [Dense(3)], seed=2**64), ValueError, "seed must be at most 18446744073709551615"),
        (lambda: ref.Network(4, [Dense(3)], seed=1.0), TypeError, "seed must be an integer, got 1.0 (float)"),
        (lambda: ref.Network(4, [Dense(3)], seed=None), TypeError, "seed must be an integer, got None"),
        (lambda: ref.Trainer(3), TypeError, "net must be a Network of fastbp.reference, got 3 (int)"),
        (lambda: trainer_of("mse"), ValueError, "loss must be one of"),
        (lambda: trainer_of(Pinball([0.1, 0.2])), ValueError, "quantiles has 2 levels; there are 3 outputs"),
        (
            lambda: ref.Trainer(ref.Network(4, [Dense(3)]), n_threads=0),
            ValueError,
            "n_threads must be at least 1, got 0",
        ),
        (lambda: trainer_of().fit(None, Y), TypeError, "X must be a float32 or float64 array, got None"),
        (lambda: trainer_of().fit(X.tolist(), Y), TypeError, "X must be a float32 or float64 array, got list"),
        (
            lambda: trainer_of().fit(X.astype(int), Y),
            TypeError,
            "X must be a float32 or float64 array, got int64 array",
        ),
        (lambda: trainer_of().fit(X.astype(complex), Y), TypeError, "got complex128 array"),
        (lambda: trainer_of().fit(X.astype(object), Y), TypeError, "got object array"),
        (lambda: trainer_of().fit(X[:, :3], Y), ValueError, "X has 3 columns; the network takes 4"),
        (lambda: trainer_of().fit(X[0], Y), ValueError, "X must have 2 dimensions (rows, 4), got shape (4,)"),
        (lambda: trainer_of().fit(X[:0], Y[:0]), ValueError, "X must have at least 1 row, got shape (0, 4)"),
        (lambda: trainer_of().step(X[:0], Y[:0]), ValueError, "x must have at least 1 row, got shape (0, 4)"),
        (lambda: trainer_of().fit(X * np.nan, Y), ValueError, "X must be finite, got nan at [0, 0]"),
        (lambda: trainer_of().fit(X, Y[:-1]), ValueError, "y has 22 rows; X has 23"),
        (lambda: trainer_of().fit(X, Y + 1), ValueError, "y must hold class numbers from 0 to 2, got 3 at ["),
        (lambda: trainer_of().fit(X, Y - 1), ValueError, "y must hold class numbers from 0 to 2, got -1 at ["),
        (
            lambda: trainer_of().fit(X, Y + 0.5),
            TypeError,
            "y must be an integer array of class numbers, got float64 array",
        ),
        (lambda: trainer_of().fit(X, Y.tolist()), TypeError, "y must be an integer array of class numbers, got list"),
        (lambda: trainer_of().fit(X, F), ValueError, "y must hold probabilities in [0, 1], got"),
        (lambda: trainer_of("binary_cross_entropy").fit(X, F), ValueError, "y must hold probabilities in [0, 1], got"),
        (lambda: trainer_of("pinball").fit(X, Y), TypeError, "y must be a float32 or float64 array, got int64 array"),
        (lambda: trainer_of("pinball").fit(X, F[:, 0]), ValueError, "y has shape (23,); expected (23, 3)"),
        (lambda: trainer_of("pinball").fit(X, F[:, :2]), ValueError, "y has shape (23, 2); expected (23, 3)"),
        (lambda: trainer_of("pinball").fit(X, F * np.inf), ValueError, "y must be finite, got"),
        (lambda: trainer_of().fit(X, Y, epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (lambda: trainer_of().fit(X, Y, epochs=1.5), TypeError, "epochs must be an integer, got 1.5 (float)"),
        (lambda: trainer_of().fit(X, Y, batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (
            lambda: trainer_of().fit(X, Y, batch_size=24),
            ValueError,
            "batch_size must be at most the number of rows, 23, got 24",
        ),
        (
            lambda: trainer_of().fit(X, Y, batch_size=5, shuffle=1),
            TypeError,
            "shuffle must be True or False, got 1 (int)",
        ),
        (
            lambda: trainer_of().fit(X, Y, batch_size=5, tolerance=-1),
            ValueError,
            "tolerance must be at least 0, got -1",
        ),
        (
            lambda: trainer_of().fit(X, Y, batch_size=5, validation=X),
            TypeError,
            "validation must be (X, y), (X, y, sample_weight), a share of the rows such as 0.1, or None, got ndarray",
        ),
        (lambda: trainer_of().fit(X, Y, batch_size=5, validation=(F, Y)), ValueError, "validation[0] has 3 columns"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
