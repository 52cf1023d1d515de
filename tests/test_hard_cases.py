"""What is hard: saturated logits, certain probabilities, variances of 0, weights that are all 0, limits and penalties
of any size. Results are finite and right (by mathematics, or a longer precision), or refused with nothing changed.
"""

import math

import numpy as np
import pytest

import fastbp as fb
from fastbp import (
    SGD,
    Adam,
    BatchNorm,
    BinaryCrossEntropy,
    Dense,
    Dropout,
    LayerNorm,
    Residual,
    Softmax,
    SoftmaxCrossEntropy,
    reference,
)

EPS = {"float32": 2e-6, "float64": 4e-15}  # relative, of what takes few operations
long = np.longdouble

both = pytest.mark.parametrize("home", [fb, reference], ids=["compiled", "twin"])
dtypes = pytest.mark.parametrize("dtype", EPS)


def passing(home, width, dtype, loss, *layers, optimizer=None, **options):
    """A trainer of a net that gives out its input, or what `layers` make of it."""
    net = home.Network(width, [*layers, Dense(width)], dtype=dtype)
    W, b = net.weights[-1]
    W[...], b[...] = np.eye(width), 0
    return home.Trainer(net, loss, optimizer or SGD(0.125), **options)


def close(found, expected, dtype, scale=1.0):
    """Within rounding of the largest element, or of `scale` where that is smaller."""
    found, expected = np.asarray(found), np.asarray(expected, long)
    assert found.shape == expected.shape and np.all(np.isfinite(found))
    assert np.abs(found - expected).max() <= EPS[dtype] * max(scale, np.abs(expected).max())


def state(trainer):
    """All that training changes, as bytes."""
    found = [trainer.net.parameters, trainer.net.statistics, *trainer.engine.moments]
    found += [] if trainer.averaged is None else [trainer.averaged]
    return [part.tobytes() for part in found] + [trainer.steps, trainer.epochs]


def state_of_twin(trainer):
    return [trainer.net.parameters.tobytes(), trainer.net.statistics.tobytes(), trainer.steps, trainer.epochs]


# -------------------------------------------------------------------------------------------------- saturated logits

Z = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, -1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4], [1e4, 9999, -1e4]])
P = np.array(
    [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0.5, 0.5], [0, 1, 0], [0.25, 0.25, 0.5]]
)  # probabilities 0 and 1, too
LABELS = np.array([1, 0, 2, 1, 0, 1])


def softmax_loss(z, t, weights, mass):
    """Of targets t, in long double: sum of weights_j t_j (lse - z_j) over mass, and its gradient at z."""
    z, t = z.astype(long), t.astype(long) * np.asarray(weights, long)
    top = z.max(axis=1, keepdims=True)
    p = np.exp(z - top)
    lse = top + np.log(p.sum(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (t * (lse - z)).sum() / mass, (p * t.sum(axis=1, keepdims=True) - t) / mass


@both
@dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
@pytest.mark.parametrize("of", ["labels", "probabilities"])
def test_softmax_cross_entropy_of_large_logits(of, weights, smoothing, dtype, home):
    loss = SoftmaxCrossEntropy(label_smoothing=smoothing, class_weights=weights)
    trainer = passing(home, 3, dtype, loss)
    target = LABELS if of == "labels" else P.astype(dtype)
    value, gradient, dx = trainer.value_and_grad(Z.astype(dtype), target, inputs=True)
    t = (np.eye(3)[LABELS] if of == "labels" else P).astype(long)
    w = np.ones(3) if weights is None else np.array(weights)
    mass = w[LABELS].sum() if of == "labels" else len(Z)
    value_there, dz = softmax_loss(Z, (1 - long(smoothing)) * t + long(smoothing) / 3, w, mass)
    close(value, value_there, dtype)
    close(dx, dz, dtype, 0.1)
    close(gradient[:9].reshape(3, 3), Z.T.astype(long) @ dz, dtype)
    close(gradient[9:], dz.sum(axis=0), dtype, 0.1)
    close(trainer.evaluate(Z.astype(dtype), target), value_there, dtype)
    assert np.isfinite(trainer.step(Z.astype(dtype), target))
    assert np.all(np.isfinite(trainer.net.parameters))


@both
@dtypes
@pytest.mark.parametrize("p", [None, 3.0, (0.5, 0.0, 2.0)])
def test_binary_cross_entropy_of_large_logits(p, dtype, home):
    target = P.astype(dtype)
    trainer = passing(home, 3, dtype, BinaryCrossEntropy(pos_weight=p))
    value, gradient, dx = trainer.value_and_grad(Z.astype(dtype), target, inputs=True)
    z, t, w = Z.astype(long), P.astype(long), np.broadcast_to(np.asarray(1 if p is None else p, long), (3,))
    softplus = np.log1p(np.exp(-np.abs(z)))
    terms = w * t * (np.maximum(-z, 0) + softplus) + (1 - t) * (np.maximum(z, 0) + softplus)
    s = np.where(z > 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))
    dz = (-w * t * (1 - s) + (1 - t) * s) / z.size
    close(value, terms.sum() / z.size, dtype)
    close(dx, dz, dtype, 0.01)
    close(gradient[:9].reshape(3, 3), z.T @ dz, dtype)
    assert np.isfinite(trainer.step(Z.astype(dtype), target))


@both
@dtypes
def test_certain_and_right_is_loss_zero(dtype, home):
    """Where the logits leave no doubt, the loss of the right answer and its gradient are exactly 0."""
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    for loss, target in (
        (SoftmaxCrossEntropy(), np.array([0, 1])),
        (SoftmaxCrossEntropy(), np.eye(2, dtype=dtype)),
        (BinaryCrossEntropy(), np.eye(2, dtype=dtype)),
        (BinaryCrossEntropy(pos_weight=7.0), np.eye(2, dtype=dtype)),
    ):
        trainer = passing(home, 2, dtype, loss)
        value, gradient, dx = trainer.value_and_grad(z, target, inputs=True)
        assert value == 0 and not gradient.any() and not dx.any()
        losses, norms = trainer.example_gradient_norms(z, target)
        assert not losses.any() and not norms.any()


@both
@dtypes
def test_a_saturated_softmax_layer(dtype, home):
    """Probabilities 0 and 1 inside a net: no gradient passes, none is nan."""
    net = home.Network(3, [Softmax()], dtype=dtype)
    z = np.array([[1e4, -1e4, 0], [0, 1e4, -1e4]], dtype)
    trainer = home.Trainer(net, "mean_squared_error", SGD(0.1))
    assert np.array_equal(net.predict(z), [[1, 0, 0], [0, 1, 0]])
    value, _, dx = trainer.value_and_grad(z, np.array([[0, 1, 0], [0, 1, 0]], dtype), inputs=True)
    close(value, long(2) / 6, dtype)
    assert not dx.any()


@both
@dtypes
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_saturated_activations(size, dtype, home):
    """f(+-size) is finite and its slope is what f becomes there."""
    slopes = {
        "relu": (0, 1), "leaky_relu": (0.01, 1), "sigmoid": (0, 0), "tanh": (0, 0), "softplus": (0, 1), "elu": (0, 1),
        "selu": (0, 1.0507009873554805), "gelu": (0, 1), "gelu_tanh": (0, 1), "silu": (0, 1),
    }  # fmt: skip
    z = np.array([[-size], [size]], dtype)
    for name, slope in slopes.items():
        net = home.Network(1, [Dense(1, name)], dtype=dtype)
        net.parameters = np.array([1, 0], dtype)
        trainer = home.Trainer(net, fb.MeanAbsoluteError("sum"), SGD(0.1))
        y = net.predict(z)
        assert np.all(np.isfinite(y)), name
        _, _, dx = trainer.value_and_grad(z, np.full((2, 1), -2 * size if size > 1e5 else -2e4, dtype), inputs=True)
        np.testing.assert_allclose(dx.ravel(), slope, rtol=EPS[dtype], err_msg=name)


@both
@dtypes
def test_poisson_of_small_and_large_rates(dtype, home):
    """exp(-1e4) is 0; exp(1e4) is not a number here, and refused."""
    trainer = passing(home, 2, dtype, fb.Poisson("sum"))
    value, _, dx = trainer.value_and_grad(np.array([[-1e4, 0]], dtype), np.array([[3, 0]], dtype), inputs=True)
    assert value == 3e4 + 1 and np.array_equal(dx, [[-3, 1]])
    before = state_of_twin(trainer)
    with pytest.raises(fb.DivergenceError):
        trainer.step(np.array([[1e4, 0]], dtype), np.array([[3, 0]], dtype))
    assert state_of_twin(trainer) == before


# ------------------------------------------------------------------------------------------------------------- norms


def norm_in_long(x, dy, gamma, beta, eps, axis):
    """y and dx of a norm over an axis (0: BatchNorm, 1: LayerNorm), in long double."""
    x, dy, gamma = x.astype(long), np.asarray(dy, long), np.asarray(gamma, long)
    mean = x.mean(axis=axis, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axis, keepdims=True)
    rstd = 1 / np.sqrt(variance + long(eps))
    xhat = (x - mean) * rstd
    g = dy * gamma
    dx = rstd * (g - g.mean(axis=axis, keepdims=True) - xhat * (g * xhat).mean(axis=axis, keepdims=True))
    return gamma * xhat + np.asarray(beta, long), dx, (mean, variance)


def normed(home, norm, width, dtype):
    """A trainer of the norm alone, gamma and beta not 1 and 0, with gamma and beta."""
    net = home.Network(width, [norm], dtype=dtype)
    gamma, beta = net.weights[0]
    gamma[...], beta[...] = np.linspace(0.5, 1.5, width), np.linspace(-1, 1, width)
    return home.Trainer(net, fb.MeanSquaredError("sum"), SGD(0.125)), gamma.copy(), beta.copy()


HARD_ROWS = {
    "identical": lambda rng: np.tile(rng.standard_normal((1, 5)), (7, 1)),
    "all zero": lambda rng: np.zeros((7, 5)),
    "identical and large": lambda rng: np.full((7, 5), 4096.0),
    "1e-15 apart": lambda rng: 1e-15 * rng.standard_normal((7, 5)),
    "1e-15 apart, one far": lambda rng: 1e-15 * rng.standard_normal((7, 5)) + np.eye(7, 5),
    "some columns constant": lambda rng: rng.standard_normal((7, 5)) * [0, 1, 0, 1, 0] + 0.5,
    "two rows": lambda rng: rng.standard_normal((2, 5)),
    "two rows the same": lambda rng: np.ones((2, 5)),
}


@both
@dtypes
@pytest.mark.parametrize("eps", [1e-5, 1e-30])
@pytest.mark.parametrize("rows", HARD_ROWS)
def test_norms_of_hard_rows(rows, eps, dtype, home):
    """BatchNorm where columns do not vary, LayerNorm where rows do not: from the definition in long double."""
    x = HARD_ROWS[rows](np.random.default_rng(5)).astype(dtype)
    for axis, norm in enumerate((BatchNorm(eps=eps), LayerNorm(eps=eps))):
        data = x if axis == 0 else np.ascontiguousarray(x.T)
        variance = data.astype(long).var(axis=axis)
        if eps < 1e-20 and np.any((variance > 0) & (variance < 1e-20)) and rows.endswith("far"):
            continue  # rstd 1e15, and nothing is known of what it multiplies
        trainer, gamma, beta = normed(home, norm, data.shape[1], dtype)
        value, gradient, dx = trainer.value_and_grad(data, np.zeros_like(data), inputs=True)
        assert np.all(np.isfinite(gradient)) and np.all(np.isfinite(dx)) and np.isfinite(value)
        if rows == "identical" and eps < 1e-20:
            continue  # the mean's rounding, times 1e15: finite is all there is to ask
        y, _, (mean, variance) = norm_in_long(data, data, gamma, beta, norm.eps, axis)
        _, expected, _ = norm_in_long(data, 2 * y, gamma, beta, norm.eps, axis)
        scale = float(np.abs(2 * y * gamma / np.sqrt(variance + long(norm.eps))).max())
        assert abs(value - float((y**2).sum())) <= 20 * EPS[dtype] * float((y**2).sum())
        assert np.abs(dx - expected).max() <= 20 * EPS[dtype] * scale
        if axis == 0:
            trainer.step(data, np.zeros_like(data))
            B, half = len(data), data.shape[1]
            statistics = trainer.net.statistics
            close(statistics[:half], long(0.1) * mean[0], dtype)
            close(statistics[half:], long(0.9) + long(0.1) * variance[0] * B / (B - 1), dtype)


@both
@dtypes
def test_running_variances_of_almost_nothing(dtype, home):
    """A batch norm that has seen nothing but the same: predictions are finite, with eps under the root."""
    net = home.Network(2, [BatchNorm(eps=1e-5)], dtype=dtype)
    net.statistics[...] = [1, -1, 0, 1e-30]
    y = net.predict(np.array([[1, -1], [2, 0]], dtype))
    close(y, [[0, 0], [1 / math.sqrt(1e-5), 1 / math.sqrt(1e-5)]], dtype)


SINGLE = {
    "one row": (1, None, 1),
    "minibatches of one": (6, 1, 1),
    "the last of an epoch": (7, 3, 1),
    "the last of an epoch, accumulated": (9, 4, 2),
}


@both
@dtypes
@pytest.mark.parametrize("rows, batch, accumulate", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("where", ["plain", "in a block"])
@pytest.mark.parametrize("loss", ["mean_squared_error", "a function"])
def test_single_rows_are_refused(loss, where, rows, batch, accumulate, dtype, home):
    """By fit, before the first update, though only its last minibatch has one row."""
    norms = {"plain": [Dense(4), BatchNorm(), Dense(2)], "in a block": [Residual([BatchNorm(), Dense(3)]), Dense(2)]}
    net = home.Network(3, norms[where], dtype=dtype)
    function = loss == "a function"
    trainer = home.Trainer(
        net, (lambda y, t: (float(((y - t) ** 2).sum()), 2 * (y - t))) if function else loss, Adam(), average=0.9
    )
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((rows, 3)).astype(dtype), rng.standard_normal((rows, 2)).astype(dtype)
    before = state_of_twin(trainer), trainer.averaged.tobytes()
    with pytest.raises(ValueError, match="(?i)single row.*BatchNorm"):
        trainer.fit(X, y, epochs=2, batch_size=batch, accumulate=accumulate)
    with pytest.raises(ValueError, match="(?i)single row.*BatchNorm"):
        trainer.step(X[:1], y[:1])
    with pytest.raises(ValueError, match="(?i)single row.*BatchNorm"):
        trainer.value_and_grad(X[:1], y[:1])
    assert (state_of_twin(trainer), trainer.averaged.tobytes()) == before
    # Where statistics are not the minibatch's a single row is as good as any.
    assert np.isfinite(trainer.value_and_grad(X[:1], y[:1], training=False)[0])
    assert np.isfinite(trainer.evaluate(X[:1], y[:1]))
    assert net.predict(X[:1]).shape == (1, 2)
    if not function:
        assert trainer.example_gradients(X[:1], y[:1])[1].shape == (1, len(net.parameters))
    assert (state_of_twin(trainer), trainer.averaged.tobytes()) == before


@both
def test_a_frozen_batch_norm_takes_single_rows(home):
    net = home.Network(3, [Dense(4), BatchNorm(), Dense(2)], dtype="float64")
    trainer = home.Trainer(net, "mean_squared_error")
    x, y = np.ones((1, 3)), np.zeros((1, 2))
    with pytest.raises(ValueError, match="single row"):
        trainer.step(x, y)
    net.freeze(1)
    statistics = net.statistics.copy()
    assert np.isfinite(trainer.step(x, y))
    trainer.fit(np.ones((4, 3)), np.zeros((4, 2)), batch_size=3)
    assert np.array_equal(net.statistics, statistics) and trainer.steps == 3
    net.unfreeze(1)
    with pytest.raises(ValueError, match="single row"):
        trainer.step(x, y)
    with pytest.raises(ValueError, match="single row"):
        trainer.fit(np.ones((4, 3)), np.zeros((4, 2)), batch_size=3)
    assert trainer.steps == 3


@both
@pytest.mark.parametrize("training", [True, False])
def test_a_function_sees_all_rows_at_once(training, home):
    """More rows than the core takes at once for other losses."""
    seen = []

    def loss(z, t):
        seen.append(len(z))
        return float(((z - t) ** 2).mean()), 2 * (z - t) / z.size

    X, y = np.random.default_rng(1).standard_normal((2, 600, 3))
    found = []
    for f in (loss, "mean_squared_error"):
        trainer = home.Trainer(home.Network(3, [Dense(4, "tanh"), Dropout(0.5), Dense(3)], dtype="float64"), f)
        found.append(trainer.value_and_grad(X, y, training=training)[:2])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-14) and seen == [600]
    close(found[0][1], found[1][1], "float64")


@both
@pytest.mark.parametrize("threads", [1, 3])
def test_the_average_of_what_was_frozen_goes_on(threads, home):
    """Towards the parameters, as that of the rest: an average that stayed would be of another net than its own head."""
    options = {"n_threads": threads} if home is fb else {}
    net = home.Network(256, [Dense(64, "tanh"), Dense(64, "tanh"), Dense(2)], dtype="float64", seed=1)
    trainer = home.Trainer(net, "mean_squared_error", average=0.75, **options)
    X, y = np.random.default_rng(1).standard_normal((64, 256)), np.zeros((64, 2))
    trainer.step(X, y)
    trainer.step(X, y)
    net.freeze(1)
    expected = trainer.averaged.copy()
    for _ in range(4):
        trainer.step(X, y)
        expected += 0.25 * (net.parameters - expected)
    close(trainer.averaged, expected, "float64")
    frozen = slice(256 * 64 + 64, 256 * 64 + 64 + 64 * 64 + 64)
    assert np.any(trainer.averaged[frozen] != net.parameters[frozen])


@both
@pytest.mark.parametrize("before", ["value_and_grad", "apply", "fit"])
def test_the_gradient_of_what_was_frozen_is_0(before, home):
    """Whatever was there before the layer was frozen, or came for it afterwards."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    net = home.Network(3, [Dense(4, "tanh"), Dense(2)], dtype="float64")
    trainer = home.Trainer(net, "mean_squared_error")
    if before == "fit":
        trainer.fit(X, y, callbacks=lambda run: net.freeze(0))
    else:
        trainer.value_and_grad(X, y)
        net.freeze(0)
    if before == "apply":
        trainer.apply(np.ones(len(net.parameters)))
    gradient = trainer.value_and_grad(X, y)[1]
    assert not gradient[:16].any() and gradient[16:].all()


@both
def test_lbfgs_leaves_what_was_frozen_after_a_fit(home):
    pytest.importorskip("scipy")
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    net = home.Network(3, [Dense(4, "tanh"), Dense(2)], dtype="float64")
    trainer = home.Trainer(net, "mean_squared_error", fb.LBFGS())
    trainer.fit(X, y, epochs=1)
    net.freeze(0)
    before = net.parameters.copy()
    trainer.fit(X, y, epochs=2)
    moved = net.parameters != before
    assert not moved[:16].any() and moved[16:].all()


def test_lbfgs_refuses_batch_norm():
    pytest.importorskip("scipy")
    trainer = fb.Trainer(fb.Network(3, [BatchNorm(), Dense(2)]), "mean_squared_error", fb.LBFGS())
    before = state(trainer)
    with pytest.raises(ValueError, match=r"LBFGS does not go with BatchNorm\(\)"):
        trainer.fit(np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32))
    assert state(trainer) == before


# ----------------------------------------------------------------------------------------------------------- dropout


@both
@dtypes
def test_dropout_that_drops_nothing(dtype, home):
    """Rate 0: the bits of a net without it."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((20, 3)).astype(dtype), rng.standard_normal((20, 2)).astype(dtype)
    found = []
    for layers in ([Dense(9, "tanh"), Dense(2)], [Dropout(0.0), Dense(9, "tanh"), Dropout(0.0), Dense(2)]):
        net = home.Network(3, layers, dtype=dtype, seed=1)
        trainer = home.Trainer(net, "mean_squared_error", Adam(0.01), seed=2)
        trainer.fit(X, y, epochs=3, batch_size=6)
        found.append((net.parameters.tobytes(), net.predict(X).tobytes()))
    assert found[0] == found[1]


@both
@dtypes
def test_dropout_that_leaves_almost_nothing(dtype, home):
    """Rate 0.999: one in a thousand stays, a thousand times as large, so that the mean stays."""
    net = home.Network(100, [Dropout(0.999)], dtype=dtype)
    trainer = home.Trainer(net, fb.MeanAbsoluteError("sum"), SGD(0.1), seed=4)
    x = np.ones((5000, 100), dtype)
    value, _, dx = trainer.value_and_grad(x, np.zeros_like(x), inputs=True)
    kept = int((dx != 0).sum())
    assert abs(kept - 500) < 5 * math.sqrt(500)
    close(dx[dx != 0], np.full(kept, 1000), dtype)
    assert value == pytest.approx(1000 * kept, rel=1e-6)
    assert np.array_equal(net.predict(x), x)


@both
@dtypes
def test_a_row_of_which_nothing_is_left(dtype, home):
    """Everything dropped: the norms behind see rows and columns of zeros."""
    net = home.Network(2, [Dropout(0.999), LayerNorm(), Dense(3), BatchNorm(), Dense(2)], dtype=dtype)
    trainer = home.Trainer(net, "mean_squared_error", Adam(0.01), seed=4)
    X = np.ones((40, 2), dtype)
    history = trainer.fit(X, X, epochs=3, batch_size=10)
    assert np.all(np.isfinite(history["loss"])) and np.all(np.isfinite(net.parameters))
    assert np.all(np.isfinite(net.statistics)) and trainer.steps == 12


# --------------------------------------------------------------------------------------------------- weights of zero

EACH_LOSS = [
    SoftmaxCrossEntropy(),
    SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1, 2, 3]),
    SoftmaxCrossEntropy("sum"),
    BinaryCrossEntropy(),
    fb.MeanSquaredError(),
    fb.MeanAbsoluteError(),
    fb.Huber(),
    fb.Poisson(),
    fb.Pinball([0.1, 0.5, 0.9]),
]


@both
@dtypes
@pytest.mark.parametrize("loss", EACH_LOSS, ids=repr)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_all_weights_zero(accumulate, loss, dtype, home):
    """Loss 0, gradient 0, nothing moves; with a penalty, that alone is left."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((12, 4)).astype(dtype), rng.random((12, 3)).astype(dtype)
    y /= y.sum(axis=1, keepdims=True)
    zero = np.zeros(12)
    for l2 in (0.0, 0.5):
        net = home.Network(4, [Dense(5, "tanh", l2=l2), BatchNorm(), Dense(3)], dtype=dtype)
        trainer = home.Trainer(net, loss, SGD(0.125), clip_norm=1e3)
        W = net.weights[0][0].copy()
        before = net.parameters.copy()
        value, gradient, dx = trainer.value_and_grad(X, y, inputs=True, sample_weight=zero)
        close(value, l2 / 2 * (W.astype(long) ** 2).sum(), dtype)
        close(gradient[: W.size].reshape(W.shape), l2 * W.astype(long), dtype)
        assert not gradient[W.size :].any() and not dx.any()
        assert trainer.evaluate(X, y, sample_weight=zero) == 0
        close(trainer.step(X, y, sample_weight=zero), value, dtype)
        history = trainer.fit(X, y, batch_size=4, sample_weight=zero, accumulate=accumulate, validation=(X, y, zero))
        assert np.all(np.isfinite(history["loss"])) and history["val_loss"] == [0]
        assert np.all(np.isfinite(history["gradient_norm"])) and np.all(np.isfinite(net.parameters))
        if not l2:
            assert np.array_equal(net.parameters, before)
            assert history["loss"] == [0] and history["gradient_norm"] == [0]


@both
@dtypes
def test_a_minibatch_without_weight(dtype, home):
    """It moves nothing, and has no part in the epoch's loss; the others do as ever."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((12, 4)).astype(dtype), rng.standard_normal((12, 2)).astype(dtype)
    weights = np.repeat([1.0, 0.0, 2.0], 4)
    found = []
    for skip in (False, True):
        net = home.Network(4, [Dense(5, "tanh"), Dense(2)], dtype=dtype, seed=1)
        trainer = home.Trainer(net, "mean_squared_error", SGD(0.125))
        rows = weights > 0 if skip else weights >= 0
        history = trainer.fit(X[rows], y[rows], batch_size=4, shuffle=False, sample_weight=weights[rows])
        found.append((net.parameters.tobytes(), history["loss"]))
        assert trainer.steps == (2 if skip else 3)
    assert found[0] == found[1]


@both
@dtypes
def test_classes_of_no_weight(dtype, home):
    """A batch all of whose labels have weight 0: loss 0, gradient 0."""
    trainer = passing(home, 3, dtype, SoftmaxCrossEntropy(class_weights=[0, 0, 1]))
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    value, gradient, dx = trainer.value_and_grad(x, np.array([0, 1, 1, 0]), inputs=True)
    assert value == 0 and not gradient.any() and not dx.any()
    assert trainer.step(x, np.array([0, 1, 1, 0])) == 0


# ------------------------------------------------------------------------------------------------- penalties, limits


@both
@dtypes
@pytest.mark.parametrize("l1, l2", [(1e4, 0), (0, 1e4), (1e15, 1e15), (1e18, 0), (1e-30, 1e-30)])
def test_penalties_of_any_size(l1, l2, dtype, home):
    """The loss and its gradient are l1 sum |w| + l2/2 sum w^2 and l1 sign(w) + l2 w, or the update is refused."""
    net = home.Network(4, [Dense(3, l1=l1, l2=l2)], dtype=dtype)
    trainer = home.Trainer(net, "mean_squared_error", SGD(1e-3))
    net.weights[0][0][0, 0] = 0
    W = net.weights[0][0].astype(long)
    x = np.zeros((2, 4), dtype)
    value, gradient = trainer.value_and_grad(x, np.zeros((2, 3), dtype))
    close(value, long(l1) * np.abs(W).sum() + long(l2) / 2 * (W**2).sum(), dtype, min(l1 + l2, 1))
    close(gradient[:12].reshape(4, 3), long(l1) * np.sign(W) + long(l2) * W, dtype, min(l1 + l2, 1))
    assert gradient[0] == 0
    assert np.isfinite(trainer.step(x, np.zeros((2, 3), dtype)))
    assert np.all(np.isfinite(net.parameters))


@both
@dtypes
def test_penalties_past_the_range(dtype, home):
    """Where the penalty's gradient, or its square, is no number any more, the update is refused and nothing moves."""
    huge = {"float32": 1e38, "float64": 1e308}[dtype]
    net = home.Network(4, [Dense(3, l2=huge)], dtype=dtype)
    net.weights[0][0][...] = 10
    trainer = home.Trainer(net, "mean_squared_error", Adam())
    before = state_of_twin(trainer)
    X, y = np.ones((2, 4), dtype), np.zeros((2, 3), dtype)
    for train in (lambda: trainer.step(X, y), lambda: trainer.fit(X, y)):
        with pytest.raises(fb.DivergenceError):
            train()
        assert state_of_twin(trainer) == before


def test_penalties_that_float32_cannot_hold():
    with pytest.raises(ValueError, match="l2"):
        fb.Network(4, [Dense(3, l2=1e39)], dtype="float32")
    assert len(fb.Network(4, [Dense(3, l2=1e39)], dtype="float64").parameters) == 15


def one_step(home, dtype, scale=1.0, **options):
    """How one update of plain descent, learning rate 1, moves parameters from 0; and the gradient."""
    rng = np.random.default_rng(2)
    net = home.Network(3, [Dense(4)], dtype=dtype)
    net.parameters[...] = 0
    trainer = home.Trainer(net, fb.MeanSquaredError(), SGD(1.0), **options)
    x, y = rng.standard_normal((5, 3)).astype(dtype), (scale * rng.standard_normal((5, 4))).astype(dtype)
    gradient = trainer.value_and_grad(x, y)[1]
    trainer.step(x, y)
    return -net.parameters.astype(long), gradient.astype(long)


@both
@dtypes
@pytest.mark.parametrize("limit", [1e-30, 1e-12, 1e-3, 0.1])
def test_small_limits(limit, dtype, home):
    moved, gradient = one_step(home, dtype, clip_norm=limit)
    norm = np.sqrt((gradient**2).sum())
    expected = gradient * (long(limit) / (norm + long(1e-6)))
    np.testing.assert_allclose(moved.astype(float), expected.astype(float), rtol=4 * EPS[dtype])
    moved, gradient = one_step(home, dtype, clip_value=limit)
    np.testing.assert_allclose(
        moved.astype(float), np.clip(gradient.astype(float), -limit, limit), rtol=EPS[dtype], atol=0
    )


@both
@dtypes
@pytest.mark.parametrize("limit", [1e3, 1e30, 1e38, 1e300])
def test_large_limits(limit, dtype, home):
    """The bits of an update without a limit."""
    for name in ("clip_norm", "clip_value"):
        moved, gradient = one_step(home, dtype, **{name: limit})
        assert np.array_equal(moved, gradient)


@both
@dtypes
@pytest.mark.parametrize("limit", [1e-60, 5e-324])
def test_limits_below_the_range(limit, dtype, home):
    """What float32 cannot hold is 0 there: nothing moves, and nothing is nan."""
    for name in ("clip_norm", "clip_value"):
        moved, _ = one_step(home, dtype, **{name: limit})
        assert np.all(np.isfinite(moved)) and np.abs(moved).max() <= limit


@both
@dtypes
def test_limits_of_large_gradients(dtype, home):
    """1e15 in size, clipped to 1."""
    moved, gradient = one_step(home, dtype, 1e15, clip_norm=1.0)
    assert float(np.sqrt((moved**2).sum())) == pytest.approx(1, rel=2e-6)
    np.testing.assert_allclose(
        moved.astype(float), (gradient / np.sqrt((gradient**2).sum())).astype(float), rtol=4 * EPS[dtype]
    )
    moved, gradient = one_step(home, dtype, 1e15, clip_value=1.0)
    assert np.array_equal(moved, np.sign(gradient))


@both
@dtypes
def test_a_gradient_of_zero_clipped(dtype, home):
    """0 stays 0, whatever it is divided by."""
    for options in ({"clip_norm": 1e-30}, {"clip_value": 1e-30}, {"clip_norm": 1e300}):
        moved, gradient = one_step(home, dtype, 0.0, **options)
        assert not gradient.any() and not moved.any()
