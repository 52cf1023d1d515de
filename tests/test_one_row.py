"""Updates of one row, which form no gradient in memory, against the gradient in memory and `apply`."""

import numpy as np
import pytest
from arrays import DTYPES

import fastbp as fb
from fastbp import BatchNorm, Dense, Dropout, LayerNorm, Residual, Tanh

each_dtype = pytest.mark.parametrize("dtype", DTYPES)

OPTIMIZERS = [
    fb.SGD(0.05),
    fb.SGD(0.05, weight_decay=0.01),
    fb.SGD(0.05, momentum=0.9),
    fb.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    fb.Adam(0.01),
    fb.Adam(0.01, weight_decay=0.01),
    fb.AdamW(0.01, weight_decay=0.1),
    fb.RMSprop(0.01, momentum=0.9, centered=True),
    fb.RMSprop(0.01),
    fb.Adagrad(0.1),
]
NETS = {
    "wide": lambda: [Dense(300, "relu"), Dense(70, "tanh"), Dense(3)],
    "narrow": lambda: [Dense(5, "relu"), Dense(4000, "sigmoid", bias=False), Dense(3)],
    "long rows": lambda: [Dense(2500, "relu"), Dense(3)],
    "norms and dropout": lambda: [Dense(300), LayerNorm(), Tanh(), Dropout(0.3), Dense(100, "gelu"), Dense(3)],
    "residual": lambda: [Residual([Dense(200, "relu"), Dense(90)]), Residual([Dense(90, "elu")]), Dense(3)],
    "frozen": lambda: [Dense(200, "relu", frozen=True), Dense(100, "relu"), BatchNorm(frozen=True), Dense(3)],
}
EXTRAS = [{}, {"clip_value": 1e-3}, {"average": 0.9}, {"clip_value": 2e-3, "average": 0.5}]


@pytest.mark.parametrize("net", NETS)
def test_the_nets_are_large_enough(net):
    """Of a small net the gradient is formed in memory: ONE_ROW_PARAMETERS of src_c/plan.c."""
    assert len(fb.Network(11, NETS[net]()).parameters) >= 16384


def trainer_of(layers, optimizer, dtype="float32", **settings):
    return fb.Trainer(fb.Network(11, layers, dtype=dtype, seed=3), optimizer=optimizer, seed=5, **settings)


def data(dtype, rows=6):
    rng = np.random.default_rng(1)
    return rng.standard_normal((rows, 11)).astype(dtype), rng.integers(0, 3, rows)


def state(trainer):
    engine = trainer.engine
    vectors = [trainer.net.parameters, *engine.moments]
    return vectors if engine.averaged is None else [*vectors, engine.averaged]


def assert_same_state(one, other):
    for a, b in zip(state(one), state(other), strict=True):
        assert a.tobytes() == b.tobytes()


@each_dtype
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_bits_of_two_passes(isa, optimizer, net, dtype):
    """A step of one row leaves what the gradient in memory and an update with it leave."""
    x, y = data(dtype)
    for extra in EXTRAS:
        one, two = (trainer_of(NETS[net](), optimizer, dtype, **extra) for _ in range(2))
        for i in range(len(x)):
            loss = one.step(x[i : i + 1], y[i : i + 1])
            expected, gradient = two.value_and_grad(x[i : i + 1], y[i : i + 1])
            two.apply(gradient)
            assert loss == expected
            assert_same_state(one, two)


@each_dtype
@pytest.mark.parametrize("net", NETS)
def test_clipping_by_the_norm(isa, net, dtype):
    """The norm is |x| |dz|, whose last bits differ from those of the gradient's norm."""
    x, y = data(dtype)
    one, two = (trainer_of(NETS[net](), fb.SGD(0.05), dtype, clip_norm=0.01) for _ in range(2))
    start = one.net.parameters.copy()
    for i in range(len(x)):
        one.step(x[i : i + 1], y[i : i + 1])
        two.apply(two.value_and_grad(x[i : i + 1], y[i : i + 1])[1])
    assert not np.array_equal(one.net.parameters, start)
    tolerance = 1e-13 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(one.net.parameters, two.net.parameters, rtol=tolerance, atol=tolerance)


def test_the_history_has_the_norms():
    x, y = data("float64")
    settings = {"optimizer": fb.SGD(0.0), "dtype": "float64"}
    history = trainer_of(NETS["wide"](), **settings).fit(x, y, batch_size=1, shuffle=False)
    other = trainer_of(NETS["wide"](), **settings)
    gradients = np.array([other.value_and_grad(x[i : i + 1], y[i : i + 1])[1] for i in range(len(x))])
    squares = (gradients**2).sum(axis=1).mean()
    assert history["gradient_norm"][0] == pytest.approx(np.sqrt(squares), rel=1e-12)
    sizes = np.cumsum([W.size + b.size for W, b in other.net.weights])[:-1]
    layers = [np.sqrt((part**2).sum(axis=1).mean()) for part in np.split(gradients, sizes, axis=1)]
    np.testing.assert_allclose(history["layer_gradient_norms"][0], layers, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [fb.SGD(0.05), fb.Adam(0.01)], ids=repr)
def test_any_number_of_threads(isa, optimizer):
    x, y = data("float32", 3)
    trainers = []
    for threads in (1, 2, 3):
        trainers.append(trainer_of([Dense(1500, "relu"), Dense(1300, "relu"), Dense(3)], optimizer, n_threads=threads))
        trainers[-1].fit(x, y, epochs=2, batch_size=1)
        assert_same_state(trainers[0], trainers[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_that_overflows_is_no_divergence(dtype):
    """|x|^2 overflows float32, the gradient does not; with a gradient that does, nothing changes."""
    huge = 1e25 if dtype == "float32" else 1e200
    trainer = fb.Trainer(
        fb.Network(2, [Dense(1, bias=False)], dtype=dtype), "mean_squared_error", fb.SGD(0.0), clip_value=1.0
    )
    trainer.net.parameters[...] = 0
    x, y = np.array([[huge, 1]], dtype), np.array([1.0], dtype)
    trainer.step(x, y)
    assert trainer.steps == 1
    largest = float(np.finfo(dtype).max)
    with pytest.raises(fb.DivergenceError):
        trainer.step(np.array([[largest / 2, 1]], dtype), np.array([100.0], dtype))
    assert trainer.steps == 1 and not trainer.net.parameters.any()
