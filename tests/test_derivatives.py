"""Derivatives for people: Jacobians of nets, products with the Hessian, and the check of a whole net.

Expected values come from mathematics, from the twin, from central differences, and from PyTorch where it is installed.
"""

import pickle

import numpy as np
import pytest
from arrays import distance

import fastbp as fb
from fastbp import _core, reference
from fastbp._support.network_steps import parameter_slices, parametric_steps, steps_of

HOMES = [fb, reference]
DTYPES = ["float64", "float32"]
each_home = pytest.mark.parametrize("home", HOMES, ids=["compiled", "twin"])
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def everything():
    """Layers of every kind, 3 inputs, 2 outputs."""
    return [
        fb.Dense(6, "gelu"),
        fb.BatchNorm(),
        fb.Dropout(0.3),
        fb.Residual([fb.Dense(4, "tanh"), fb.LayerNorm()]),
        fb.LayerNorm(affine=False),
        fb.Softplus(2.0),
        fb.Residual([fb.Dense(4, "relu"), fb.BatchNorm(affine=False)]),
        fb.Dense(2, bias=False),
        fb.Softmax(),
    ]


def network(home, inputs, layers, dtype="float64", seed=0):
    """A net whose parameters and running statistics are all random: numbers that a float32 holds."""
    net = home.Network(inputs, layers, dtype=dtype)
    rng = np.random.default_rng(seed)
    net.parameters = rng.uniform(-1, 1, len(net.parameters)).astype(np.float32)
    net.statistics[:] = rng.uniform(0.5, 2, len(net.statistics)).astype(np.float32)
    return net


def reals(seed, *shape, dtype="float64"):
    return np.random.default_rng([seed, 1]).standard_normal(shape).astype(np.float32).astype(dtype)


# ------------------------------------------------------------------------------------------------------------ Jacobian


@each_home
@each_dtype
def test_the_jacobian_of_a_dense_layer_is_its_matrix(home, dtype):
    """Worked example D3 as a layer over (x^2, y, x, y^2), and D4: the chain rule gives (12, 131) at x = 2."""
    net = home.Network(4, [fb.Dense(2)], dtype=dtype)
    net.weights[0][0][...] = [[1, 0], [2, 0], [0, 3], [0, 4]]
    x, y = 2.0, 4.0
    jacobian = net.jacobian(np.array([[x * x, y, x, y * y]], dtype))
    assert jacobian.shape == (1, 2, 4) and jacobian.dtype == dtype
    assert jacobian[0].tolist() == [[1, 2, 0, 0], [0, 0, 3, 4]]
    of_four = np.array([[2 * x, 0], [0, 1], [1, 0], [0, 2 * y]])
    assert (jacobian[0] @ of_four).tolist() == [[4, 2], [3, 32]]
    assert (jacobian[0] @ of_four @ [1, 2 * x]).tolist() == [12, 131]


@each_home
def test_the_jacobian_of_softmax(home):
    """Worked example A2: s_i (delta_ij - s_j) for s = (1, 2, 3) / 6."""
    net = home.Network(3, [fb.Softmax()], dtype="float64")
    expected = np.array([[5, -2, -3], [-2, 8, -6], [-3, -6, 9]]) / 36
    np.testing.assert_allclose(net.jacobian(np.log([[1.0, 2.0, 3.0]])), [expected], rtol=1e-14)


@each_home
@pytest.mark.parametrize("rows", [1, 7])
def test_the_jacobian_agrees_with_differences(home, rows):
    net = network(home, 3, everything())
    x = reals(0, rows, 3)
    jacobian = net.jacobian(x)
    for row, its in zip(x, jacobian, strict=True):
        assert distance(its, fb.numerical_jacobian(lambda v: net.predict(v[None])[0], row)) < 1e-8


@each_dtype
@pytest.mark.parametrize("rows", [1, 2, 127, 128, 129, 300])
def test_the_jacobian_agrees_with_the_twin(dtype, rows):
    """Rows and outputs around the block of 256 passes."""
    x = reals(rows, rows, 3, dtype=dtype)
    net, exact = network(fb, 3, everything(), dtype), network(reference, 3, everything())
    expected = exact.jacobian(x.astype(np.float64))
    tolerance = {"float64": 1e-12, "float32": 5e-6}[dtype]
    for got in (net.jacobian(x), network(reference, 3, everything(), dtype).jacobian(x)):
        assert got.shape == (rows, 2, 3) and got.dtype == dtype
        assert distance(got, expected) < tolerance


def test_many_outputs_and_single_rows():
    """More outputs than a block has rows; and the bits of a row do not depend on the others."""
    net = network(fb, 5, [fb.Dense(20, "tanh"), fb.Dense(300)])
    x = reals(1, 5, 5)
    jacobian = net.jacobian(x)
    assert distance(jacobian, network(reference, 5, net.layers).jacobian(x)) < 1e-12
    for row in range(5):
        assert np.array_equal(net.jacobian(x[row : row + 1])[0], jacobian[row])


@each_home
def test_the_jacobian_changes_nothing(home):
    net = network(home, 3, everything())
    before = net.parameters.copy(), net.statistics.copy()
    x = reals(2, 4, 3)
    given = x.copy()
    trainer = home.Trainer(net, "mean_squared_error")
    _, gradient = trainer.value_and_grad(x, reals(3, 4, 2))
    kept = gradient.copy()
    first = net.jacobian(x)
    assert np.array_equal(first, net.jacobian(np.asfortranarray(x)))
    assert np.array_equal(x, given) and np.array_equal(gradient, kept)
    assert np.array_equal(net.parameters, before[0]) and np.array_equal(net.statistics, before[1])


@each_home
def test_what_jacobian_refuses(home):
    net = home.Network(3, [fb.Dense(2)])
    with pytest.raises(TypeError, match="X must be a float32 or float64 array"):
        net.jacobian([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="X has 2 columns; the network takes 3"):
        net.jacobian(np.ones((4, 2)))
    with pytest.raises(ValueError, match="at least 1 row"):
        net.jacobian(np.ones((0, 3)))
    with pytest.raises(ValueError, match="2 dimensions"):
        net.jacobian(np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        net.jacobian(np.array([[1.0, np.nan, 2.0]]))


# ------------------------------------------------------------------------------------------------- second derivatives

ALL_ACTIVATIONS = [
    *("identity", "relu", fb.LeakyReLU(0.2), "sigmoid", "tanh", "softplus", fb.Softplus(2.5), fb.ELU(1.3), "selu"),
    *("gelu", "gelu_tanh", "silu"),
]
PROBABILITIES = ("softmax_cross_entropy", "binary_cross_entropy")
ALL_LOSSES = [
    fb.SoftmaxCrossEntropy(),
    fb.SoftmaxCrossEntropy("sum", label_smoothing=0.1, class_weights=[1, 2, 0.5]),
    fb.BinaryCrossEntropy(),
    fb.BinaryCrossEntropy(pos_weight=[1, 2, 3]),
    fb.MeanSquaredError(),
    fb.MeanSquaredError("sum"),
    fb.MeanAbsoluteError(),
    fb.Huber(0.5),
    fb.Poisson(),
    fb.Pinball([0.1, 0.5, 0.9]),
]
NETS = {
    "everything": (everything(), 3),
    "small": ([fb.Dense(4, "tanh"), fb.Dense(3)], 3),
    "penalties": ([fb.Dense(5, "silu", l1=0.1, l2=0.2), fb.Dense(3, l2=0.3, penalize_bias=True)], 3),
    "frozen": ([fb.Dense(5, "tanh"), fb.BatchNorm(frozen=True), fb.Dense(4, "gelu", frozen=True), fb.Dense(3)], 3),
}


def targets(loss, rows, outputs, seed=5):
    """For a loss's name: probabilities, or other reals."""
    rng = np.random.default_rng(seed)
    if loss in PROBABILITIES:
        t = rng.uniform(0.1, 1, (rows, outputs))
        return t / t.sum(axis=1, keepdims=True)
    return rng.standard_normal((rows, outputs))


def squares(output, target):
    """The mean squared error as a script would write it."""
    d = output - target
    return float((d * d).mean()), 2 * d / d.size


def quartic(output, target):
    d = np.tanh(output - target)
    return (d**4).sum(), 4 * d**3 * (1 - d * d)


def differences_of_gradients(trainer, x, y, v, h=2e-4, **options):
    """H v by central differences of order four."""
    net, w = trainer.net, trainer.net.parameters.copy()
    total = 0.0
    for step, factor in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        net.parameters = w + step * h * v
        total = total + factor * trainer.value_and_grad(x, y, **options)[1]
    net.parameters = w
    return total / (12 * h)


def assert_hessian(trainer, x, y, tolerance=1e-8, **options):
    """Agrees with differences along a random direction, and is symmetric: u.Hv = v.Hu."""
    size = len(trainer.net.parameters)
    u, v = np.random.default_rng(7).standard_normal((2, size))
    learns = learning(trainer.net)
    Hu, Hv = (fb.hessian_vector_product(trainer, x, y, w, **options) for w in (u, v))
    assert Hv.shape == (size,) and Hv.dtype == np.float64
    assert abs(u @ Hv - v @ Hu) <= 1e-12 * (np.linalg.norm(u) * np.linalg.norm(Hv))
    expected = differences_of_gradients(trainer, x, y, np.where(learns, v, 0), **options)
    assert np.linalg.norm(Hv - expected) <= tolerance * max(1, np.linalg.norm(expected))
    assert not Hv[~learns].any()
    return Hv


def learning(net):
    """Which parameters are not frozen: bools (P,)."""
    steps = steps_of(net.inputs, net.layers)
    learns = np.ones(len(net.parameters), bool)
    for step, (W, _, b) in zip(parametric_steps(steps), parameter_slices(steps), strict=True):
        learns[W.start : (b or W).stop] = not step.frozen
    return learns


@each_home
def test_a_linear_model_has_a_constant_hessian(home):
    """Of sum (x W - y)^2 for one output: H = 2 X^T X, whatever W and y are."""
    net = network(home, 3, [fb.Dense(1, bias=False)])
    trainer = home.Trainer(net, fb.MeanSquaredError("sum"))
    x, v = reals(0, 5, 3), np.array([1.0, -2.0, 0.5])
    product = fb.hessian_vector_product(trainer, x, reals(1, 5, 1), v)
    np.testing.assert_allclose(product, 2 * x.T @ x @ v, rtol=1e-13)
    whole = np.stack([fb.hessian_vector_product(trainer, x, reals(2, 5), row) for row in np.eye(3)])
    np.testing.assert_allclose(whole, 2 * x.T @ x, rtol=1e-13)


def test_the_hessian_of_a_sigmoid_unit():
    """By hand: l = log(1 + exp(z)) - t z with z = w x has the second derivative s (1 - s) x^2."""
    net = fb.Network(1, [fb.Dense(1, bias=False)], dtype="float64")
    net.parameters[:] = 0.7
    trainer = fb.Trainer(net, "binary_cross_entropy")
    s = 1 / (1 + np.exp(-0.7 * 3))
    product = fb.hessian_vector_product(trainer, np.array([[3.0]]), np.array([[1.0]]), np.array([2.0]))
    np.testing.assert_allclose(product, [2 * 9 * s * (1 - s)], rtol=1e-13)


@pytest.mark.parametrize("activation", ALL_ACTIVATIONS, ids=str)
def test_hessians_of_every_activation(activation):
    net = network(fb, 4, [fb.Dense(5, activation), fb.Dense(4, activation), fb.Dense(3)])
    assert_hessian(fb.Trainer(net), reals(1, 6, 4), np.arange(6) % 3)


@each_home
@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
def test_hessians_of_every_loss(loss, home):
    net = network(home, 4, [fb.Dense(5, "tanh"), fb.Dense(3)])
    trainer = home.Trainer(net, loss)
    assert_hessian(trainer, reals(1, 6, 4), targets(loss.name, 6, 3))
    assert_hessian(trainer, reals(1, 6, 4), targets(loss.name, 6, 3), sample_weight=np.arange(6.0))
    if loss.code_labels is not None:
        assert_hessian(trainer, reals(1, 6, 4), np.arange(6) % 3)


@each_home
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("net", NETS)
def test_hessians_of_every_layer(net, training, home):
    layers, inputs = NETS[net]
    trainer = home.Trainer(network(home, inputs, layers), "mean_squared_error", seed=3)
    trainer.steps = 5  # Dropout draws for the sixth update
    x, y = reals(1, 9, inputs), targets("", 9, trainer.net.outputs)
    assert assert_hessian(trainer, x, y, 1e-7, training=training).any()


@each_home
@pytest.mark.parametrize("loss", [squares, quartic])
def test_hessians_of_functions(home, loss):
    net = network(home, 4, [fb.Dense(5, "tanh"), fb.Dense(3)])
    x, y = reals(1, 6, 4), reals(2, 6, 3)
    product = assert_hessian(home.Trainer(net, loss), x, y)
    if loss is squares:
        v = np.random.default_rng(7).standard_normal((2, len(product)))[1]
        expected = fb.hessian_vector_product(home.Trainer(net, "mean_squared_error"), x, y, v)
        np.testing.assert_allclose(product, expected, rtol=1e-12, atol=1e-14)


def test_a_float32_net_has_the_hessian_of_float64():
    layers, inputs = NETS["everything"]
    v = np.random.default_rng(7).standard_normal(len(network(fb, inputs, layers).parameters))
    products = []
    for dtype in DTYPES:
        trainer = fb.Trainer(network(fb, inputs, layers, dtype), "mean_squared_error")
        before = trainer.net.parameters.copy(), trainer.net.statistics.copy()
        products.append(fb.hessian_vector_product(trainer, reals(1, 6, 3, dtype=dtype), reals(2, 6, 2), v))
        assert np.array_equal(before[0], trainer.net.parameters) and np.array_equal(before[1], trainer.net.statistics)
    assert products[1].dtype == np.float64 and np.array_equal(*products)


def test_hessians_where_formulas_meet():
    """Rows of zeros and no biases: every unit is at 0, where softplus, gelu, silu and sigmoid are smooth."""
    for activation in ("sigmoid", "softplus", "gelu", "gelu_tanh", "silu", "tanh"):
        net = network(fb, 2, [fb.Dense(3, activation), fb.Dense(3, activation), fb.Dense(1)])
        net.parameters[[6, 7, 8]] = 0
        assert_hessian(fb.Trainer(net, "mean_squared_error"), np.zeros((2, 2)), np.ones((2, 1)))


def test_what_hessian_vector_product_refuses():
    net = fb.Network(3, [fb.Dense(2), fb.BatchNorm()], dtype="float64")
    trainer = fb.Trainer(net, "mean_squared_error")
    x, y, v = np.ones((4, 3)), np.ones((4, 2)), np.ones(12)
    product = fb.hessian_vector_product
    with pytest.raises(TypeError, match="trainer must be a Trainer, got Network"):
        product(net, x, y, v)
    with pytest.raises(TypeError, match="v must be a float32 or float64 array, got list"):
        product(trainer, x, y, list(v))
    with pytest.raises(ValueError, match=r"v has shape \(11,\); the network's parameters have \(12,\)"):
        product(trainer, x, y, v[1:])
    with pytest.raises(ValueError, match="v must be finite"):
        product(trainer, x, y, v * np.inf)
    with pytest.raises(ValueError, match="y has"):
        product(trainer, x, y[1:], v)
    with pytest.raises(ValueError, match="single row"):
        product(trainer, x[:1], y[:1], v)
    with pytest.raises(TypeError, match="training"):
        product(trainer, x, y, v, training=1)


@pytest.mark.parametrize(
    "loss, match",
    [
        (lambda z, t: (0.0, np.sinc(z)), "sinc"),
        (lambda z, t: (0.0, np.array(z)), "plain array"),
        (lambda z, t: fb.ops.mean_squared_error(z, t), "y must be a float32 or float64 array"),
        (lambda z, t: z, "must return a pair"),
    ],
)
def test_functions_that_cannot_be_differentiated(loss, match):
    trainer = fb.Trainer(fb.Network(3, [fb.Dense(2)]), loss)
    with pytest.raises(TypeError, match=match):
        fb.hessian_vector_product(trainer, np.ones((4, 3)), np.ones((4, 2)), np.ones(8))


# ---------------------------------------------------------------------------- second derivatives, compared with PyTorch


def torch_output(torch, net, parameters, x):
    """The net in training, from the flat vector; without Dropout."""
    F = torch.nn.functional
    functions = {
        **{name: getattr(F, name) for name in ("relu", "selu", "gelu", "silu")},
        "identity": lambda z: z,
        "leaky_relu": lambda z, negative_slope: F.leaky_relu(z, negative_slope),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda z, beta: F.softplus(z, beta, threshold=1e9),
        "elu": lambda z, alpha: F.elu(z, alpha),
        "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    }
    at = 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return parameters[at - int(np.prod(shape)) : at].reshape(shape)

    def apply(layers, x):
        for layer in layers:
            if isinstance(layer, fb.Dense):
                x = x @ take(x.shape[1], layer.units)
                x = x + take(layer.units) if layer.bias else x
                f = layer.activation
                x = functions[f.name](x, **{field: getattr(f, field) for field in f.fields})
            elif isinstance(layer, fb.Residual):
                inside = apply(layer.layers, x)
                x = inside + (x if inside.shape == x.shape else x @ take(x.shape[1], inside.shape[1]))
            elif isinstance(layer, fb.Softmax):
                x = torch.softmax(x, 1)
            elif isinstance(layer, (fb.LayerNorm, fb.BatchNorm)):
                axis = 1 if isinstance(layer, fb.LayerNorm) else 0
                centred = x - x.mean(axis, keepdim=True)
                x = centred / torch.sqrt((centred**2).mean(axis, keepdim=True) + layer.eps)
                x = x * take(x.shape[1]) + take(x.shape[1]) if layer.affine else x
            else:
                x = functions[layer.name](x, **{field: getattr(layer, field) for field in layer.fields})
        return x

    return apply(net.layers, x)


@pytest.mark.torch
@pytest.mark.parametrize("activation", ALL_ACTIVATIONS, ids=str)
def test_hessians_agree_with_pytorch(activation):
    """Every activation, with norms, a residual block with a projection, and a cross-entropy of labels."""
    torch = pytest.importorskip("torch")
    layers = [
        fb.Dense(6, activation),
        fb.BatchNorm(),
        fb.Residual([fb.Dense(4, activation), fb.LayerNorm()]),
        fb.Softplus(2.0),
        fb.Softmax(),
        fb.Dense(3, bias=False),
    ]
    net = network(fb, 3, layers)
    x, labels = reals(1, 8, 3), np.arange(8) % 3
    v = np.random.default_rng(7).standard_normal(len(net.parameters))

    def loss(parameters):
        z = torch_output(torch, net, parameters, torch.tensor(x))
        return torch.nn.functional.cross_entropy(z, torch.tensor(labels))

    _, expected = torch.autograd.functional.hvp(loss, torch.tensor(net.parameters.copy()), torch.tensor(v))
    assert distance(fb.hessian_vector_product(fb.Trainer(net), x, labels, v), expected.numpy()) < 1e-12


@pytest.mark.torch
@pytest.mark.parametrize("loss", ALL_LOSSES, ids=str)
def test_hessians_of_losses_agree_with_pytorch(loss):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    net = network(fb, 4, [fb.Dense(5, "tanh", l2=0.1), fb.Dense(3)])
    x, y = reals(1, 6, 4), targets(loss.name, 6, 3)
    v = np.random.default_rng(7).standard_normal(len(net.parameters))
    t, reduction = torch.tensor(y), loss.reduction

    def pinball(z):
        u = t - z
        return (u * (torch.tensor(loss.quantiles, dtype=t.dtype) - (u < 0).double())).mean()

    def of_output(z):
        if loss.name == "softmax_cross_entropy":
            weight = None if loss.class_weights is None else torch.tensor(loss.class_weights, dtype=t.dtype)
            return F.cross_entropy(z, t, weight, label_smoothing=loss.label_smoothing, reduction=reduction)
        if loss.name == "binary_cross_entropy":
            weight = None if loss.pos_weight is None else torch.tensor(loss.pos_weight, dtype=t.dtype)
            return F.binary_cross_entropy_with_logits(z, t, pos_weight=weight)
        if loss.name == "huber":
            return F.huber_loss(z, t, delta=loss.delta)
        if loss.name == "poisson":
            return F.poisson_nll_loss(z, t)
        if loss.name == "pinball":
            return pinball(z)
        return {"mean_squared_error": F.mse_loss, "mean_absolute_error": F.l1_loss}[loss.name](
            z, t, reduction=reduction
        )

    def whole(parameters):
        penalty = 0.05 * (parameters[:20] ** 2).sum()
        return of_output(torch_output(torch, net, parameters, torch.tensor(x))) + penalty

    _, expected = torch.autograd.functional.hvp(whole, torch.tensor(net.parameters.copy()), torch.tensor(v))
    assert distance(fb.hessian_vector_product(fb.Trainer(net, loss), x, y, v), expected.numpy()) < 1e-12


# ----------------------------------------------------------------------------------------- the check of a whole network

NAMES = [
    "inputs",
    "layers[0] (Dense(units=6, activation=GELU())): W",
    "layers[0] (Dense(units=6, activation=GELU())): b",
    "layers[1] (BatchNorm()): gamma",
    "layers[1] (BatchNorm()): beta",
    "layers[3].layers[0] (Dense(units=4, activation=Tanh())): W",
    "layers[3].layers[0] (Dense(units=4, activation=Tanh())): b",
    "layers[3].layers[1] (LayerNorm()): gamma",
    "layers[3].layers[1] (LayerNorm()): beta",
    "layers[3] (Residual): P",
    "layers[6].layers[0] (Dense(units=4, activation=ReLU())): W",
    "layers[6].layers[0] (Dense(units=4, activation=ReLU())): b",
    "layers[7] (Dense(units=2, bias=False)): W",
]


@each_home
@each_dtype
@pytest.mark.parametrize("training", [True, False])
def test_a_right_network_passes(home, dtype, training):
    """Every kind of layer, and nothing changes, random numbers included."""
    net = network(home, 3, everything(), dtype)
    before = net.parameters.copy(), net.statistics.copy()
    x, y = reals(1, 6, 3, dtype=dtype), targets("", 6, 2).astype(dtype)
    report = fb.check_network(net, "mean_squared_error", x, y, training=training)
    assert report.ok and report.errors[report.worst] == max(report.errors.values()) < 1e-6
    assert set(report.errors) == set(report.checked) == {*NAMES, "loss: mean_squared_error"}
    sizes = dict(zip(NAMES, [18, 18, 6, 6, 6, 24, 4, 4, 4, 24, 16, 4, 8]))
    assert all(report.checked[name] == (size, size) for name, size in sizes.items())
    assert np.array_equal(net.parameters, before[0]) and np.array_equal(net.statistics, before[1])
    lines = str(report).splitlines()
    assert len(lines) == 16 and lines[0].split()[0] == "part" and lines[-1] == "ok"
    assert report == fb.check_network(net, "mean_squared_error", x, y, training=training)


@each_home
@pytest.mark.parametrize("loss", [*ALL_LOSSES, squares, quartic], ids=str)
def test_every_loss_passes(loss, home):
    net = network(home, 4, [fb.Dense(5, "tanh"), fb.Dense(3)])
    y = targets(getattr(loss, "name", ""), 6, 3)
    report = fb.check_network(net, loss, reals(1, 6, 4), y)
    assert report.ok and list(report.errors)[0].startswith("loss: ")
    if not callable(loss):
        assert fb.check_network(net, loss, reals(1, 6, 4), y, sample_weight=np.arange(6.0)).ok
    if getattr(loss, "code_labels", None) is not None:
        assert fb.check_network(net, loss, reals(1, 6, 4), np.arange(6) % 3).ok


@pytest.mark.parametrize("activation", ALL_ACTIVATIONS, ids=str)
def test_every_activation_passes(activation):
    net = network(fb, 4, [fb.Dense(5, activation), fb.Dense(3)])
    assert fb.check_network(net, "poisson", reals(1, 6, 4), reals(2, 6, 3)).ok


def test_penalties_and_frozen_layers():
    layers, inputs = NETS["penalties"]
    assert fb.check_network(network(fb, inputs, layers), "poisson", reals(1, 6, inputs), reals(2, 6, 3)).ok
    layers, inputs = NETS["frozen"]
    report = fb.check_network(network(fb, inputs, layers), "poisson", reals(1, 6, inputs), reals(2, 6, 3))
    assert [name[:9] for name in report.errors] == [
        "loss: poi",
        "layers[0]",
        "layers[0]",
        "layers[3]",
        "layers[3]",
        "inputs",
    ]
    report = fb.check_network(fb.Network(3, [fb.Softmax()]), "mean_squared_error", reals(1, 6, 3), reals(2, 6, 3))
    assert list(report.errors) == ["loss: mean_squared_error", "inputs"]


def test_large_parts_are_sampled():
    net = network(fb, 30, [fb.Dense(20, "tanh"), fb.Dense(3)])
    x, y = reals(1, 6, 30), np.arange(6) % 3
    report = fb.check_network(net, "softmax_cross_entropy", x, y, elements=50)
    assert report.checked["inputs"] == (50, 180) and report.checked["layers[1] (Dense(units=3)): W"] == (50, 60)
    assert report.checked["layers[1] (Dense(units=3)): b"] == (3, 3)
    assert any(line.endswith("50 of 180") for line in str(report).splitlines())
    again, other = (fb.check_network(net, "softmax_cross_entropy", x, y, elements=50, seed=seed) for seed in (0, 1))
    assert again == report != other


@each_home
def test_kinks_are_no_faults(home):
    """Rows of zeros put units at 0 of a ReLU; inputs near 0 let one switch within a step."""
    net = network(home, 4, [fb.Dense(20, "relu"), fb.Dense(20, "relu"), fb.Dense(3)])
    for _, b in net.weights:
        b[...] = 0
    x = reals(1, 9, 4)
    x[::3] = 0
    report = fb.check_network(net, "softmax_cross_entropy", x, np.arange(9) % 3)
    assert report.ok and report.checked["inputs"] == (24, 36)  # three rows have no derivative
    assert report.checked["layers[0] (Dense(units=20, activation=ReLU())): b"] == (20, 20)
    x = reals(1, 9, 4)
    x[::3] *= 1e-3
    report = fb.check_network(net, "softmax_cross_entropy", x, np.arange(9) % 3)
    assert report.ok and report.checked["inputs"] == (36, 36)


# Faults: what is wrong, and what the error must name.


def caught(net, loss, x, y, **options):
    with pytest.raises(fb.GradientError) as caught_:
        fb.check_network(net, loss, x, y, **options)
    error = caught_.value
    assert not error.report.ok and error.error > 1e-6 and str(error.report) in str(error)
    name = str(error).partition("the gradient of ")[2].partition(" is wrong")[0]
    return name, error


def wrong_loss(output, target):
    loss, gradient = squares(output, target)
    gradient[0, 1] *= 1.001
    return loss, gradient


@each_home
def test_a_wrong_loss_is_found(home):
    net = network(home, 4, [fb.Dense(5, "tanh"), fb.Dense(3)])
    name, error = caught(net, wrong_loss, reals(1, 6, 4), reals(2, 6, 3))
    assert name == "loss: wrong_loss" and error.index == (0, 1)
    assert error.got == pytest.approx(1.001 * error.expected) and error.error == pytest.approx(1e-3, rel=0.01)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.report == error.report and str(copy) == str(error)


FAULTY = [fb.Dense(5, "tanh"), fb.LayerNorm(), fb.Dropout(0.2), fb.Dense(4, "sigmoid"), fb.Softmax(), fb.Dense(3)]


@pytest.mark.parametrize(
    "function, part, place, named",
    [
        ("dense_backward", 1, (5, 4), "layers[3] (Dense(units=4, activation=Sigmoid())): W"),
        ("dense_backward", 1, (4, 3), "layers[5] (Dense(units=3)): W"),
        ("dense_backward", 2, (4,), "layers[3] (Dense(units=4, activation=Sigmoid())): b"),
        ("dense_backward", 0, (6, 5), "layers[3] (Dense(units=4, activation=Sigmoid())): its inputs"),
        ("layer_norm_backward", 1, (5,), "layers[1] (LayerNorm()): gamma"),
        ("layer_norm_backward", 0, (6, 5), "layers[1] (LayerNorm()): its inputs"),
        ("softmax_backward", None, (6, 4), "layers[4] (Softmax()): its inputs"),
        ("dropout_backward", None, (6, 5), "layers[2] (Dropout(rate=0.2)): its inputs"),
        ("dense_forward", None, (6, 5), "layers[0] (Dense(units=5, activation=Tanh())): W"),
    ],
)
def test_a_wrong_step_of_the_twin_is_found(monkeypatch, function, part, place, named):
    """One result of one function of the twin is wrong by a thousandth, for one shape: the error names the layer."""
    from fastbp.reference import network as twin

    right = getattr(twin, function)

    def wrong(*args, **options):
        result = right(*args, **options)
        parts = list(result) if isinstance(result, tuple) else [result]
        if parts[part or 0].shape == place:
            parts[part or 0] = parts[part or 0] * 1.001
        return tuple(parts) if isinstance(result, tuple) else parts[0]

    net = network(reference, 3, FAULTY)
    x, y = reals(1, 6, 3), reals(2, 6, 3)
    assert fb.check_network(net, "mean_squared_error", x, y).ok
    monkeypatch.setattr(twin, function, wrong)
    name, error = caught(net, "mean_squared_error", x, y)
    assert name == named
    assert error.index is not None and len(error.index) == len(place)


@pytest.mark.parametrize(
    "shape, named",
    [
        ((3, 5), "layers[0] (Dense(units=5, activation=Tanh())): W"),
        ((5, 4), "layers[3] (Dense(units=4, activation=Sigmoid())): W"),
        ((4, 3), "layers[5] (Dense(units=3)): W"),
        (None, "layers[5] (Dense(units=3)): its inputs"),
    ],
)
def test_a_wrong_kernel_is_found(monkeypatch, shape, named):
    """As if the core's kernel left a wrong dW for one shape, or (None) the net's wrong gradient at the inputs."""

    class Wrong(_core.Plan):
        def __init__(self, *args, **options):
            spec, vectors = args
            self.steps, self.vector = spec.layers, vectors.gradient

        def gradient(self, x, target, dx=None, *args):
            loss = super().gradient(x, target, dx, *args)
            at = 0
            for kind, inputs, outputs, bias, *_ in self.steps:
                if kind == 0:
                    if (inputs, outputs) == shape:
                        self.vector[at] += 1e-3
                    at += inputs * outputs + bias * outputs
                elif kind in (7, 8):
                    at += 2 * outputs * bias
            if shape is None and dx is not None and self.steps[-1][0] == 0:
                dx[1, 2] += 1e-3
            return loss

    net = network(fb, 3, FAULTY)
    x, y = reals(1, 6, 3), reals(2, 6, 3)
    monkeypatch.setattr(_core, "Plan", Wrong)
    name, error = caught(net, "mean_squared_error", x, y)
    assert name == named
    assert error.index == ((1, 2) if shape is None else (0, 0))
    assert error.got - error.expected == pytest.approx(1e-3, rel=1e-3)


def test_a_fault_within_a_block_is_found(monkeypatch):
    from fastbp.reference import network as twin

    right = twin.layer_norm_backward

    def wrong(*args):
        dx, dgamma, dbeta = right(*args)
        return dx, dgamma, dbeta + 1e-3

    monkeypatch.setattr(twin, "layer_norm_backward", wrong)
    net = network(reference, 3, everything()[:4])
    assert caught(net, "poisson", reals(1, 6, 3), reals(2, 6, 4))[0] == "layers[3].layers[1] (LayerNorm()): beta"


@each_home
def test_what_is_not_finite_is_found(home):
    def nan_gradient(output, target):
        loss, gradient = squares(output, target)
        return loss, gradient * np.nan

    net = network(home, 3, [fb.Dense(2, "relu")])
    assert caught(net, nan_gradient, reals(1, 6, 3), reals(2, 6, 2))[1].error == np.inf
    with pytest.raises(ValueError, match="must be finite"):
        fb.check_network(net, lambda z, t: (np.inf, z), reals(1, 6, 3), reals(2, 6, 2))


@each_home
def test_what_check_network_refuses(home):
    net = home.Network(3, [fb.Dense(2), fb.BatchNorm()])
    x, y = np.ones((4, 3)), np.ones((4, 2))

    def check(*args, **options):
        fb.check_network(*args, **options)

    with pytest.raises(TypeError, match="net must be a Network, got Trainer"):
        check(home.Trainer(net), "mean_squared_error", x, y)
    with pytest.raises(ValueError, match="loss must be one of"):
        check(net, "mean_square", x, y)
    with pytest.raises(TypeError, match="X must be a float32 or float64 array, got list"):
        check(net, "mean_squared_error", [[1.0] * 3] * 4, y)
    with pytest.raises(ValueError, match="X has 2 columns; the network takes 3"):
        check(net, "mean_squared_error", x[:, 1:], y)
    with pytest.raises(ValueError, match="y has"):
        check(net, "mean_squared_error", x, y[1:])
    with pytest.raises(ValueError, match="single row"):
        check(net, "mean_squared_error", x[:1], y[:1])
    with pytest.raises(ValueError, match="at least 1 row"):
        check(net, "mean_squared_error", x[:0], y[:0])
    for name, value, error in [
        ("elements", 0, ValueError),
        ("elements", 2.0, TypeError),
        ("tolerance", -1, ValueError),
        ("eps", 0.0, ValueError),
        ("seed", -1, ValueError),
        ("training", 1, TypeError),
    ]:
        with pytest.raises(error, match=name):
            check(net, "mean_squared_error", x, y, **{name: value})
