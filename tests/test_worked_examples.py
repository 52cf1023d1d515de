"""Backpropagation solved by hand, in five documents: the compiled code and the twin reproduce every result.

Tests are named after the row of the collection (A1 to E2). Literals are those of the collection; it was checked with an
independent autodiff library. Tolerances are 1e-12 relative in float64 and 1e-5 in float32 unless a row says otherwise.
B5 runs on MNIST: it takes the folder that has mnist/ in it from the environment variable FASTBP_DATA.
"""

import os

import numpy as np
import pytest

import fastbp as fb
from fastbp import SGD, Adam, Dense, MeanSquaredError, Pinball, Residual, Softplus, reference

SQUARES = MeanSquaredError(
    "sum"
)  # (w x - y)^2 without 1/2: where a document has the half, loss and gradients are halved


class Implementation:
    """The compiled code or the twin, with a dtype and its tolerance."""

    def __init__(self, home, dtype):
        self.home, self.dtype = home, dtype
        self.ops = fb.ops if home is fb else reference
        self.compiled = home is fb
        self.tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]

    def array(self, *values):
        return np.array(values[0] if len(values) == 1 else values, self.dtype)

    def close(self, got, expected, absolute=0.0, relative=None):
        relative = self.tolerance if relative is None else relative
        np.testing.assert_allclose(got, expected, rtol=relative, atol=max(absolute, self.tolerance * 1e-3))

    def trainer(self, inputs, layers, loss, optimizer="adam", parameters=None, seed=0):
        net = self.home.Network(inputs, layers, dtype=self.dtype, seed=seed)
        if parameters is not None:
            net.parameters = self.array(parameters)
        return self.home.Trainer(net, loss, optimizer, seed=seed)


@pytest.fixture(
    params=[(home, dtype) for home in ("compiled", "twin") for dtype in ("float64", "float32")], ids="-".join
)
def at(request):
    home, dtype = request.param
    return Implementation(fb if home == "compiled" else reference, dtype)


def parameters_of(*layers):
    """The flat vector of layers given by unit, as documents write them: (weights of each unit, biases), or weights."""
    flat = []
    for layer in layers:
        W, b = layer if isinstance(layer, tuple) else (layer, [])
        flat += np.array(W, float).T.ravel().tolist() + list(b)
    return flat


# ------------------------------------------------------------------------------------------ A. 000_22303e9136b9b028.txt


def test_a1_sigmoid(at):
    x = at.array(0.0, np.log(3), -np.log(3), np.log(9), 2.0)
    s = at.ops.sigmoid_forward(x)
    at.close(s, [0.5, 0.75, 0.25, 0.9, 0.8807970779778823])
    at.close(at.ops.sigmoid_backward(np.ones_like(x), s), [0.25, 0.1875, 0.1875, 0.09, 0.10499358540350662])


def test_a2_softmax(at):
    """J_ij = s_i (delta_ij - s_j): with the logarithms of 1, 2 and 3, s is (1, 2, 3) / 6."""
    s = at.ops.softmax_forward(np.log(at.array([[1.0, 2.0, 3.0]])))
    at.close(s, [[1 / 6, 2 / 6, 3 / 6]])
    J = at.ops.softmax_backward(np.eye(3, dtype=at.dtype), np.repeat(s, 3, axis=0))
    at.close(J, np.array([[5, -2, -3], [-2, 8, -6], [-3, -6, 9]]) / 36)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 10.0])
def test_a3_softplus(at, beta):
    x = at.array(np.log(3) / beta, 0.0, -np.log(3) / beta)
    y = at.ops.softplus_forward(x, beta)
    at.close(y, np.log([4, 2, 4 / 3]) / beta)
    at.close(at.ops.softplus_backward(np.ones_like(x), y, beta), [0.75, 0.5, 0.25])
    layer = at.ops.dense_forward(x[:, None], at.array([[1.0]]), activation=Softplus(beta))
    assert np.array_equal(layer[:, 0], y)


def test_a4_quadratic_form(at):
    """g(x) = x^T (A x + z), gradient (A + A^T) x + z. At (1, 2, -1) with these A and z: g = -15.5."""
    A = at.array([1.0, 2.0, 3.0], [0.0, -1.0, 4.0], [2.0, 0.5, 1.0])
    z = at.array(0.5, -1.0, 2.0)
    x = np.array([1.0, 2.0, -1.0])

    def product(a, b):
        return at.ops.gemm(np.ascontiguousarray(a, at.dtype), np.ascontiguousarray(b, at.dtype))

    def g(x):
        x = x.astype(at.dtype)
        return float(product(x[None], product(A, x[:, None]) + z[:, None])[0, 0])

    def gradient(x):
        return (product(A + A.T, x[:, None])[:, 0] + z).astype(np.float64)

    # A x + z = (2.5, -7, 4), x^T of it = 2.5 - 14 - 4; (A + A^T) x = (1, -6.5, 12)
    at.close(g(x), -15.5)
    at.close(gradient(x), [1.5, -7.5, 14.0])
    how = {"float64": {}, "float32": {"eps": 5e-3, "tolerance": 1e-3}}[at.dtype]
    fb.check_gradient(g, gradient, x, **how)
    with pytest.raises(fb.GradientError):  # the gradient of those who forget that A is not symmetric
        fb.check_gradient(g, lambda x: 2 * A.astype(float) @ x + z, x, **how)


def test_a5_linear_unit(at):
    """L = (w^T x - y)^2 / 2: w^T x - y = 1.5."""
    trainer = at.trainer(3, [Dense(1, bias=False)], SQUARES, parameters=[0.5, -1.0, 2.0])
    loss, gradient = trainer.value_and_grad(at.array([[1.0, 2.0, 3.0]]), at.array([[3.0]]))
    at.close(loss / 2, 1.125)
    at.close(gradient / 2, [1.5, 3.0, 4.5])


def test_a6_affine_layer(at):
    """L = sum_i (w_i x + b_i - y_i)^2, with W x + b - y = (0.5, -1.5, 1.5)."""
    flat = parameters_of(([[1, 0], [2, -1], [0.5, 1]], [0.5, -0.5, 0]))
    trainer = at.trainer(2, [Dense(3)], SQUARES, parameters=flat)
    loss, gradient, dx = trainer.value_and_grad(at.array([[1.0, 2.0]]), at.array([[1.0, 1.0, 1.0]]), inputs=True)
    at.close(loss, 4.75)
    at.close(gradient[:6].reshape(2, 3).T, [[1, 2], [-3, -6], [3, 6]])
    at.close(gradient[6:], [1, -3, 3])
    at.close(dx, [[-3.5, 6.0]])


A7 = {
    0.5: [50, 75, 87.5, 93.75, 96.875, 98.4375],
    1.5: [150, 75, 112.5, 93.75, 103.125, 98.4375],
    2.0: [200, 0, 200, 0, 200, 0],
    2.5: [250, -125, 437.5, -406.25, 859.375, -1039.0625],
}
A7_DATA = (1.0, 100.0)  # x and y; w starts at 0


def a7(at, step_size):
    """A trainer for y = x w: half the step size, for the loss here is without the half."""
    trainer = at.trainer(1, [Dense(1, bias=False)], SQUARES, SGD(step_size / 2), parameters=[0.0])
    x, y = (at.array([[value]]) for value in A7_DATA)
    return trainer, x, y


@pytest.mark.parametrize("step_size", A7)
def test_a7_steps(at, step_size):
    trainer, x, y = a7(at, step_size)
    for expected in A7[step_size]:
        trainer.step(x, y)
        assert trainer.net.parameters[0] == expected  # every digit: all these numbers are exact
    trainer, x, y = a7(at, step_size)
    for expected in A7[step_size]:
        trainer.fit(x, y, batch_size=1)
        assert trainer.net.parameters[0] == expected


@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0, 1.5, 1.9])
def test_a7_stops_where_it_converges(at, step_size):
    """A step size in (0, 2): with the rule |w_{n+1} - w_n| < eps training ends, near 100."""
    trainer, x, y = a7(at, step_size)
    history = trainer.fit(x, y, epochs=1000, batch_size=1, tolerance=1e-3)
    assert len(history["loss"]) < 300
    assert abs(trainer.net.parameters[0] - 100) <= 1e-3 * max(1, abs(1 / step_size - 1)) * 1.1 + 1e-4


def test_a7_never_stops_where_it_oscillates(at):
    trainer, x, y = a7(at, 2.0)
    history = trainer.fit(x, y, epochs=300, batch_size=1, tolerance=1e-3)
    assert history["loss"] == [10000.0] * 300
    assert trainer.net.parameters[0] == 0


@pytest.mark.parametrize("step_size", [2.5, 4.0])
def test_a7_divergence_is_noticed_and_reported(at, step_size):
    trainer, x, y = a7(at, step_size)
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(x, y, epochs=3000, batch_size=1, tolerance=1e-3)
    error = caught.value
    assert np.isfinite(trainer.net.parameters).all() and abs(trainer.net.parameters[0]) > 1e15
    assert len(error.history["loss"]) == error.epoch == trainer.epochs and np.isfinite(error.last_loss)
    assert error.history["loss"] == sorted(error.history["loss"])
    message = str(error)
    assert f"learning rate was {step_size / 2:g}" in message and f"{error.last_loss:g}" in message
    assert "try" in message and "parameters are those before" in message


def test_a7_no_step_and_backward_steps(at):
    """0 goes nowhere, so the stopping rule holds at once; a negative step size is refused."""
    trainer, x, y = a7(at, 0.0)
    assert len(trainer.fit(x, y, epochs=50, batch_size=1, tolerance=1e-3)["loss"]) == 1
    assert trainer.net.parameters[0] == 0
    with pytest.raises(ValueError, match="learning_rate"):
        a7(at, -0.5)


# ------------------------------------------------------------------------------------------ B. 001_c3f189c23b21f7c2.txt


def test_b1_logistic_regression(at):
    """dL/dw = x (yhat - y), dL/db = yhat - y. Here z = ln 3, so yhat = 3/4."""
    trainer = at.trainer(2, [Dense(1)], "binary_cross_entropy", parameters=[1.0, 0.0, 0.0])
    x = at.array([[np.log(3), 2.0]])
    for y, loss_expected, slope in ((1.0, np.log(4 / 3), -0.25), (0.0, np.log(4), 0.75)):
        loss, gradient = trainer.value_and_grad(x, at.array([[y]]))
        at.close(loss, loss_expected)
        at.close(gradient, [slope * np.log(3), slope * 2, slope])


def test_b2_only_positive_examples(at):
    """Each step raises b, the gradient shrinks, never to 0; the training loss goes to 0, on both labels it grows."""
    rng = np.random.default_rng(0)
    x = at.array(rng.standard_normal((40, 2)))
    ones, both = np.ones((40, 1), at.dtype), at.array(np.arange(40) % 2).reshape(40, 1)
    trainer = at.trainer(2, [Dense(1)], "binary_cross_entropy", SGD(2.0), parameters=[0.0, 0.0, 0.0])
    b, norms, losses, losses_both = [0.0], [], [], []
    for _ in range(400):
        history = trainer.fit(x, ones, batch_size=40, validation=(x, both))
        b.append(float(trainer.net.weights[0][1][0]))
        norms += history["gradient_norm"]
        losses += history["loss"]
        losses_both += history["val_loss"]
    assert (np.diff(b) > 0).all()
    assert (np.diff(norms) < 0).all() and norms[-1] > 0
    assert (np.diff(losses) < 0).all() and losses[0] == pytest.approx(np.log(2)) and losses[-1] < 2e-3
    assert (np.diff(losses_both) > 0).all() and losses_both[-1] > 3 > losses_both[0]


XOR = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]


def test_b3_a_line_cannot_do_xor(at):
    """The optimum is w = (0, 0), b = 1/2 with mean squared error 1/4, to 1e-6."""
    trainer = at.trainer(2, [Dense(1)], "mean_squared_error", SGD(0.5), seed=3)
    x, y = at.array(XOR[0]), at.array(XOR[1])
    history = trainer.fit(x, y, epochs=300, batch_size=4)
    np.testing.assert_allclose(trainer.net.parameters, [0, 0, 0.5], atol=1e-6)
    assert history["loss"][-1] == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("units", range(2, 9))
def test_b3_a_hidden_layer_does_xor(at, units):
    """One hidden layer of 2 to 8 units: all four outputs within 0.05 of the target."""
    trainer = at.trainer(2, [Dense(units, "tanh"), Dense(1)], "mean_squared_error", Adam(0.05), seed=1)
    x, y = at.array(XOR[0]), at.array(XOR[1])
    trainer.fit(x, y, epochs=500, batch_size=4)
    assert np.abs(trainer.net.predict(x)[:, 0] - y).max() <= 0.05


def test_b4_softmax_regression(at):
    """dL/dW = -(1/n) sum_i x_i (y_i - yhat_i)^T, dL/db = -(1/n) sum_i (y_i - yhat_i). From W = 0 yhat is 1/3 each."""
    x, labels = at.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 2])
    for target in (labels, np.eye(3, dtype=at.dtype)[labels]):
        trainer = at.trainer(2, [Dense(3)], "softmax_cross_entropy", parameters=np.zeros(9))
        loss, gradient = trainer.value_and_grad(x, target)
        at.close(loss, np.log(3))
        at.close(gradient[:6].reshape(2, 3), np.array([[1, 4, -5], [-5, 1, 4]]) / 6)
        at.close(gradient[6:], np.array([-1, 2, -1]) / 6)
        # and where yhat is (1, 2, 3) / 6 for both: logits from the bias alone
        trainer.net.parameters = at.array([0] * 6 + np.log([1, 2, 3]).tolist())
        loss, gradient = trainer.value_and_grad(x, target)
        at.close(loss, np.log(12) / 2)
        at.close(gradient[:6].reshape(2, 3), -np.array([[5 - 3, -2 - 6, -3 + 9], [10 + 1, -4 + 2, -6 - 3]]) / 12)
        at.close(gradient[6:], -np.array([4, -4, 0]) / 12)


def mnist():
    folder = os.environ.get("FASTBP_DATA")
    if not folder:
        pytest.skip("trains on MNIST, and the environment variable FASTBP_DATA names no folder that has mnist/ in it")
    return fb.load_mnist(os.path.join(folder, "mnist"), scale=False)


def b5(home, epochs, dtype, X, y, X_test, y_test):
    """Batch 1024, learning rate 2e-6, from W = 0; the penalty (alpha / (2 n)) |W|^2 is weight decay alpha / n."""
    net = home.Network(784, [Dense(10)], dtype=dtype)
    net.parameters[:] = 0
    trainer = home.Trainer(net, "softmax_cross_entropy", SGD(2e-6, weight_decay=0.5 / 1024))
    accuracies = {}
    for epoch in epochs:
        trainer.fit(X, y, epochs=epoch - trainer.epochs, batch_size=1024)
        accuracies[epoch] = (net.predict(X_test).argmax(axis=1) == y_test).mean()
    return accuracies


def test_b5_mnist():
    """0.905 after 10 epochs and 0.9195 after 60, which rounds to the document's 0.92."""
    data = mnist()
    accuracies = b5(fb, (10, 60), "float32", *data)
    assert accuracies[10] == pytest.approx(0.905, abs=0.003)
    assert accuracies[60] == pytest.approx(0.9195, abs=0.003)


def test_b5_mnist_for_an_epoch(at):
    """The first epoch alone, on all implementations: they agree on the number of digits they tell right."""
    data = mnist()
    accuracy = b5(at.home, (1,), at.dtype, *data)[1]
    assert accuracy == pytest.approx(b5(fb, (1,), "float64", *data)[1], abs=5e-4)
    assert 0.8 < accuracy < 0.9


# ------------------------------------------------------------------------------------------ C. 002_d252104a4813499d.txt


def test_c1_derivatives(at):
    """sigmoid' = e^-x / (1 + e^-x)^2, tanh' = 4 e^2x / (e^2x + 1)^2; leaky relu' = 1 for x > 0, a for x <= 0."""
    x = at.array(-3.0, -np.log(2), -0.5, 0.0, 0.5, np.log(2), 3.0)
    wide = x.astype(np.float64)
    one = np.ones_like(x)
    sigmoid_slope = at.ops.sigmoid_backward(one, at.ops.sigmoid_forward(x))
    at.close(sigmoid_slope, np.exp(-wide) / (1 + np.exp(-wide)) ** 2)
    at.close(sigmoid_slope[[1, 3, 5]], [2 / 9, 1 / 4, 2 / 9])
    tanh_slope = at.ops.tanh_backward(one, at.ops.tanh_forward(x))
    at.close(tanh_slope, 4 * np.exp(2 * wide) / (np.exp(2 * wide) + 1) ** 2)
    at.close(tanh_slope[[1, 3, 5]], [16 / 25, 1, 16 / 25])
    for a in (0.01, 0.2, 0.5):
        y = at.ops.leaky_relu_forward(x, a)
        at.close(at.ops.leaky_relu_backward(one, y, a), [a, a, a, a, 1, 1, 1])


@pytest.mark.parametrize("x", [np.inf, 1e4, 750.0, 100.0])
def test_c1_ends(at, x):
    """Both derivatives go to 0 on both sides, without overflow or nan."""
    x = at.array(x, -x)
    with np.errstate(over="raise", invalid="raise"):
        for name, ends in (("sigmoid", [1, 0]), ("tanh", [1, -1])):
            y = getattr(at.ops, f"{name}_forward")(x)
            slope = getattr(at.ops, f"{name}_backward")(np.ones_like(x), y)
            np.testing.assert_allclose(y, ends, atol=1e-40)
            np.testing.assert_allclose(slope, [0, 0], atol=1e-40)


def test_c2_a_relu_net(at):
    flat = parameters_of(([[-0.8, 0.5, -1], [1.2, -0.7, 0.2]], [-0.4, 0.9]), ([[0.6, 1.1]], [-0.1]))
    trainer = at.trainer(3, [Dense(2, "relu"), Dense(1, "relu")], SQUARES, parameters=flat)
    x = at.array([[1.0, 2.0, 3.0]])
    (W_h, b_h), (W_o, b_o) = trainer.net.weights
    at.close(at.ops.dense_forward(x, W_h, b_h), [[-3.2, 1.3]])
    h = at.ops.dense_forward(x, W_h, b_h, "relu")
    at.close(h, [[0, 1.3]])
    o = trainer.net.predict(x)
    at.close(o, [[1.33]])
    loss, gradient = trainer.value_and_grad(x, at.array([[0.33]]))  # o - y = 1
    at.close(loss / 2, 0.5)
    dW_h, db_h, dW_o, db_o = np.split(gradient / 2, [6, 8, 10])
    at.close(dW_o, [0, 1.3])
    at.close(db_o, [1])
    at.close(db_h, [0, 1.1])
    at.close(dW_h.reshape(3, 2).T, [[0, 0, 0], [1.1, 2.2, 3.3]])
    dh, _, _ = at.ops.dense_backward(at.array([[1.0]]), h, np.ascontiguousarray(W_o), o, "relu")
    at.close(dh, [[0.6, 1.1]])


def test_c3_quantiles(at):
    """rho_tau(u) = u (tau - [u < 0]); fitted to noisy data, a share tau of the points lies below."""
    loss, slope = at.ops.pinball(
        at.array([[1.0, 1.0], [1.0, 1.0]]), at.array([[3.0, 0.0], [1.0, 0.5]]), [0.1, 0.9], "sum"
    )
    at.close(loss, 2 * 0.1 + 1 * 0.1 + 0 + 0.5 * 0.1)
    at.close(slope, [[-0.1, 0.1], [-0.1, 0.1]])
    levels = [0.1, 0.5, 0.9]
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (2000, 1))
    y = 2 * x + 1 + (0.5 + 0.3 * x) * rng.standard_normal((2000, 1))
    x, y = at.array(x), at.array(np.repeat(y, 3, axis=1))
    trainer = at.trainer(1, [Dense(3)], Pinball(levels), Adam(0.03))
    trainer.fit(x, y, epochs=8, batch_size=50)
    trainer.optimizer = Adam(0.003)
    trainer.fit(x, y, epochs=6, batch_size=50)
    below = (y < trainer.net.predict(x)).mean(axis=0)
    np.testing.assert_allclose(below, levels, atol=0.02)
    # Within each half of x too: the quantile is that of y given x. (A mean alone would be told from it here.)
    for half in (x[:, 0] < 0, x[:, 0] >= 0):
        np.testing.assert_allclose((y < trainer.net.predict(x))[half].mean(axis=0), levels, atol=0.03)


def test_c4_gradient_descent_on_a_smooth_function(at):
    """With step 1/L: min_k |grad f(theta_k)|^2 <= 2 L (f(theta_0) - f*) / T at every T."""
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((60, 6)) * [3, 2, 1, 0.5, 0.1, 0.02], rng.standard_normal((60, 1))
    x, y = at.array(x), at.array(y)
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    L = np.linalg.eigvalsh(2 / 60 * wide_x.T @ wide_x)[-1]  # f(w) = |x w - y|^2 / 60
    best = wide_y - wide_x @ np.linalg.lstsq(wide_x, wide_y, rcond=None)[0]
    least = float((best**2).mean())
    trainer = at.trainer(6, [Dense(1, bias=False)], "mean_squared_error", SGD(1 / L), parameters=[2.0, -1, 1, 3, -2, 5])
    first = trainer.evaluate(x, y)
    history = trainer.fit(x, y, epochs=200, batch_size=60)
    smallest = np.minimum.accumulate(np.square(history["gradient_norm"]))
    T = np.arange(1, 201)
    assert (smallest <= 2 * L * (first - least) / T).all()
    assert history["loss"][0] == pytest.approx(first, rel=1e-6)
    assert (np.diff(history["loss"]) <= 1e-6 * first).all() and history["loss"][-1] >= least * (1 - 1e-5)
    # The norm that the history carries is the gradient's.
    loss, gradient = at.trainer(
        6, [Dense(1, bias=False)], "mean_squared_error", parameters=[2.0, -1, 1, 3, -2, 5]
    ).value_and_grad(x, y)
    at.close(history["gradient_norm"][0], np.linalg.norm(gradient.astype(np.float64)))


# ------------------------------------------------------------------------------------------ D. 003_512db559c93978f0.txt

D1_X, D1_Y = [[1, 2], [1, 3], [2, 2]], [8, 11, 10]
D1_Z = [[0.09, 0.08, 0.07], [0.12, 0.10, 0.08], [0.11, 0.09, 0.10]]
D1_HIDDEN = [[0.522485, 0.519989, 0.517493], [0.529964, 0.524979, 0.519989], [0.527472, 0.522485, 0.524979]]
D1_YHAT = [0.05674909, 0.05714823, 0.05722316]
D1_LOSS = [63.095235, 119.746005, 98.858811]
D1_OUTPUT = [  # dL/d(output bias, v1, v2, v3)
    [-15.886502, -8.300456, -8.260812, -8.221151],
    [-21.885704, -11.598636, -11.489539, -11.380333],
    [-19.885554, -10.489079, -10.389900, -10.439502],
]
D1_UNITS = [  # dL/d(bias, w1, w2) by hidden unit
    [(-0.079272, -0.079272, -0.158544), (-0.118958, -0.118958, -0.237917), (-0.158671, -0.158671, -0.317341)],
    [(-0.109036, -0.109036, -0.327107), (-0.163733, -0.163733, -0.491199), (-0.218507, -0.218507, -0.655522)],
    [(-0.099128, -0.198255, -0.198255), (-0.148840, -0.297680, -0.297680), (-0.198359, -0.396718, -0.396718)],
]
D1_SUM = 281.7000511808419


def test_d1_gradients_of_each_example(at):
    """One call gives all three; they add up to the gradient of the summed loss. The figures have six digits."""
    flat = parameters_of(
        ([[0.02, 0.03], [0.01, 0.02], [0.03, 0.01]], [0.01, 0.03, 0.02]), ([[0.02, 0.03, 0.04]], [0.01])
    )
    x, y = at.array(D1_X), at.array(D1_Y)

    def six_digits(got, expected):
        at.close(got, expected, absolute=1e-6, relative={"float64": 0, "float32": 1e-5}[at.dtype])

    trainer = at.trainer(2, [Dense(3, "sigmoid"), Dense(1)], SQUARES, parameters=flat)
    (W, b), (V, c) = trainer.net.weights
    at.close(at.ops.dense_forward(x, W, b), D1_Z)
    six_digits(at.ops.dense_forward(x, W, b, "sigmoid"), D1_HIDDEN)
    np.testing.assert_allclose(trainer.net.predict(x)[:, 0], D1_YHAT, atol={"float64": 6e-9, "float32": 1e-7}[at.dtype])

    for loss in (SQUARES, "mean_squared_error"):  # of one example with one output they are the same
        trainer = at.trainer(2, [Dense(3, "sigmoid"), Dense(1)], loss, parameters=flat)
        losses, gradients = trainer.example_gradients(x, y)
        six_digits(losses, D1_LOSS)
        at.close(losses.sum(), D1_SUM)
        for i in range(3):
            dW, db, dV, dc = np.split(gradients[i], [6, 9, 12])
            six_digits([*dc, *dV], D1_OUTPUT[i])
            six_digits(np.column_stack([db, dW.reshape(2, 3).T]), D1_UNITS[i])

    summed, gradient = at.trainer(2, [Dense(3, "sigmoid"), Dense(1)], SQUARES, parameters=flat).value_and_grad(x, y)
    at.close(summed, D1_SUM)
    at.close(gradients.sum(axis=0), gradient)


def test_d2_square_of_a_sum(at):
    """f(x, y) = (2x + 3y)^2: gradient (4 (2x + 3y), 6 (2x + 3y))."""
    trainer = at.trainer(2, [Dense(1, bias=False)], SQUARES, parameters=[2.0, 3.0])
    for x, y in ((1.0, 2.0), (-2.0, 0.5), (3.0, -2.0)):
        loss, _, dx = trainer.value_and_grad(at.array([[x, y]]), at.array([[0.0]]), inputs=True)
        s = 2 * x + 3 * y
        at.close(loss, s * s)
        at.close(dx, [[4 * s, 6 * s]])
    at.close(trainer.value_and_grad(at.array([[1.0, 2.0]]), at.array([[0.0]]), inputs=True)[2], [[32.0, 48.0]])
    f = fb.numerical_gradient(lambda x: (2 * x[0] + 3 * x[1]) ** 2, [1.0, 2.0])
    np.testing.assert_allclose(f, [32, 48], rtol=1e-9)


def f_of_d3(x):
    return np.array([x[0] ** 2 + 2 * x[1], 3 * x[0] + 4 * x[1] ** 2])


def jacobian_of_d3(x):
    return np.array([[2 * x[0], 2], [3, 8 * x[1]]])


def test_d3_a_jacobian():
    """F(x, y) = (x^2 + 2y, 3x + 4y^2): ((2x, 2), (3, 8y)); at (1, 2): ((2, 2), (3, 16))."""
    np.testing.assert_allclose(fb.numerical_jacobian(f_of_d3, [1.0, 2.0]), [[2, 2], [3, 16]], rtol=1e-9)
    for x in ([1.0, 2.0], [-0.5, 3.0], [0.0, 0.0]):
        assert fb.check_gradient(f_of_d3, jacobian_of_d3, x) < 1e-8


def test_d3_as_a_layer(at):
    """The same F as a dense layer over (x^2, y, x, y^2): its Jacobian is the layer's times that of those four."""
    W = at.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 4.0]])
    for x, y in ((1.0, 2.0), (-0.5, 3.0)):
        four, jacobian_of_four = (
            at.array([[x * x, y, x, y * y]]),
            at.array([[2 * x, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2 * y]]),
        )
        at.close(at.ops.dense_forward(four, W), [f_of_d3([x, y])])
        dx, _, _ = at.ops.dense_backward(np.eye(2, dtype=at.dtype), np.repeat(four, 2, axis=0), W)
        at.close(at.ops.gemm(dx, jacobian_of_four), jacobian_of_d3([x, y]))


def test_d4_the_chain_rule():
    """G(x) = (x, x^2): the derivative of F o G is (6x, 3 + 16 x^3), at 2 (12, 131), with the chain rule and without."""

    def G(x):
        return np.array([x[0], x[0] ** 2])

    def jacobian_of_G(x):
        return np.array([[1.0], [2 * x[0]]])

    at_2 = [2.0]
    direct = fb.numerical_jacobian(lambda x: f_of_d3(G(x)), at_2)
    np.testing.assert_allclose(direct, [[12], [131]], rtol=1e-9)
    chained = fb.numerical_jacobian(f_of_d3, G(at_2)) @ fb.numerical_jacobian(G, at_2)
    np.testing.assert_allclose(chained, [[12], [131]], rtol=1e-9)
    assert (jacobian_of_d3(G(at_2)) @ jacobian_of_G(at_2)).tolist() == [[12], [131]]
    for x in ([2.0], [0.5], [-1.0]):
        expected = np.array([[6 * x[0]], [3 + 16 * x[0] ** 3]])
        assert np.array_equal(jacobian_of_d3(G(x)) @ jacobian_of_G(x), expected)
        assert fb.check_gradient(lambda x: f_of_d3(G(x)), lambda x, expected=expected: expected, x) < 1e-8


# ------------------------------------------------------------------------------------------ E. 004_3a6691bcc8f6eaa7.txt

E1_A = [[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]]  # (2, 3)


def test_e1_squares_and_products(at):
    """|x|^2: 2x. A^T x: A. |A^T x|^2: 2 A A^T x with respect to x, 2 x x^T A with respect to A."""
    A, x = at.array(E1_A), at.array([[2.0, -1.0]])
    loss, dx = at.ops.mean_squared_error(x, np.zeros_like(x), "sum")
    at.close(loss, 5.0)
    at.close(dx, [[4.0, -2.0]])
    assert at.ops.sum_squares(x) == 5.0

    # A^T x, as a row x A = (-1, -5, 2): each of its elements differentiated
    at.close(at.ops.dense_forward(x, A), [[-1.0, -5.0, 2.0]])
    columns = [at.ops.dense_backward(unit[None], x, A)[0][0] for unit in np.eye(3, dtype=at.dtype)]
    at.close(np.column_stack(columns), E1_A)

    trainer = at.trainer(2, [Dense(3, bias=False)], SQUARES, parameters=np.ravel(E1_A))
    loss, dA, dx = trainer.value_and_grad(x, np.zeros((1, 3), at.dtype), inputs=True)
    at.close(loss, 30.0)
    at.close(dx, [[20.0, -20.0]])  # 2 A (-1, -5, 2)
    at.close(dA.reshape(2, 3), [[-4.0, -20.0, 8.0], [2.0, 10.0, -4.0]])  # 2 x (-1, -5, 2)^T


# x, y, w1, b1, w2, b2 | z1, z2, yhat, J | dw2, db2, dw1, db1, dx
E2 = [
    (1.5, 1, 0.8, -0.3, 0.5, 0.1, 0.9, 2.05, 0.8859476187, 0.1210974512,
     -0.1026471432, -0.1140523813, -0.0855392860, -0.0570261906, -0.1596733338),
    (1.5, 0, -0.8, -0.3, 0.5, 0.1, -1.5, 1.6, 0.8320183851, 1.783900741,
     0, 0.8320183851, 0, 0, 0.8320183851),
]  # fmt: skip


@pytest.mark.parametrize("row", E2)
def test_e2_a_residual_net(at, row):
    """yhat = sigmoid(w2 relu(w1 x + b1) + b2 + x): a block around two layers under a binary cross-entropy of logits.

    The figures have ten digits: tolerance 1e-9."""
    x, y, w1, b1, w2, b2, z1, z2, yhat, J, dw2, db2, dw1, db1, dx = row

    def ten_digits(got, expected):
        np.testing.assert_allclose(got, expected, rtol=0, atol={"float64": 1e-9, "float32": 1e-5}[at.dtype])

    layers = [Residual([Dense(1, "relu"), Dense(1)])]
    trainer = at.trainer(1, layers, "binary_cross_entropy", parameters=[w1, b1, w2, b2])
    x = at.array([[x]])
    (W1, c1), _ = trainer.net.weights
    ten_digits(at.ops.dense_forward(x, W1, c1), [[z1]])
    ten_digits(trainer.net.predict(x), [[z2]])
    ten_digits(at.ops.sigmoid_forward(trainer.net.predict(x)), [[yhat]])
    loss, gradient, got_dx = trainer.value_and_grad(x, at.array([[float(y)]]), inputs=True)
    ten_digits(loss, J)
    ten_digits(gradient, [dw1, db1, dw2, db2])
    ten_digits(got_dx, [[dx]])
