"""Properties of what takes arrays outside fastbp.ops: metrics, numerical derivatives, networks and trainers.

As in test_properties.py, arrays lie in memory in any way. The result has the bits of a call with plain copies, is that
of an oracle which computes it otherwise, and no byte of an argument changes.
"""

import numpy as np
import pytest
from arrays import DTYPES, TOLERANCE, assert_same_bits, distance
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from test_properties import LARGEST, Placed, examples, some_layout

import fastbp as fb
from fastbp import metrics, reference

sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn, which is not installed")

# Each of these examples takes many calls, or creates a net and its twin.
fewer_examples = settings(examples, max_examples=max(1, examples.max_examples // 8))

rows, columns = st.integers(1, LARGEST), st.integers(1, 20)
seeds = st.integers(0, 2**32 - 1)


def placed(rng, shape, dtype, layout, low=-2.0, high=2.0):
    return Placed(np.asarray(rng.uniform(low, high, shape)).astype(dtype), layout)


def assert_same_as_plain(function, *arguments):
    """The result of arrays that lie anywhere, which a call with plain copies has too; they are not written to."""
    got = function(*(x.array for x in arguments))
    assert all(x.unchanged() for x in arguments)
    assert_same_bits(got, function(*(np.array(x.array) for x in arguments)))
    assert all(not np.may_share_memory(part, x.memory) for part in np.atleast_1d(got) for x in arguments)
    return got


# ------------------------------------------------------------------------------------------------------------ metrics


def top_1(output, target):
    return metrics.top_k(output, target, 1)


ORACLES = {
    "accuracy": lambda y, t: sklearn.accuracy_score(t, y.argmax(axis=1)),
    "top_1": lambda y, t: sklearn.accuracy_score(t, y.argmax(axis=1)),
    "binary_accuracy": lambda y, t: np.mean([(a > 0) == (b > 0.5) for a, b in zip(y.ravel(), t.ravel(), strict=True)]),
    "r2": lambda y, t: sklearn.r2_score(t, y) if len(y) > 1 else 0.0,
    "mean_absolute_error": lambda y, t: sklearn.mean_absolute_error(t, y),
    "mean_squared_error": lambda y, t: sklearn.mean_squared_error(t, y),
}


def test_every_metric_is_tried():
    functions = {name for name, value in vars(metrics).items() if getattr(value, "__module__", "") == metrics.__name__}
    of_arrays = {name for name in functions if not name.startswith("_")} - {"resolve", "Metric"}
    assert of_arrays == {"top_k" if name == "top_1" else name for name in ORACLES}


@pytest.mark.parametrize("name", ORACLES)
@examples
@given_by(B=rows, C=columns, dtype=st.sampled_from(DTYPES), seed=seeds, layouts=st.tuples(some_layout, some_layout))
def test_a_metric(name, B, C, dtype, seed, layouts):
    rng = np.random.default_rng(seed)
    output = placed(rng, (B, C), dtype, layouts[0])
    if name in ("accuracy", "top_1"):
        target = Placed(rng.integers(0, C, B), layouts[1])
    else:
        target = placed(rng, (B, C), dtype, layouts[1], 0, 1)
    got = assert_same_as_plain(globals().get(name) or getattr(metrics, name), output, target)
    wide = [np.array(x.array, "float64" if x.array.dtype.kind == "f" else None) for x in (output, target)]
    assert type(got) is float
    assert got == pytest.approx(ORACLES[name](*wide), rel=10 * TOLERANCE[dtype], abs=TOLERANCE[dtype])


# --------------------------------------------------------------------------------------------- numerical derivatives


@fewer_examples
@given_by(n=st.integers(1, 12), seed=seeds, dtype=st.sampled_from(DTYPES), layout=some_layout)
def test_numerical_derivatives(n, seed, dtype, layout):
    """Of functions whose central differences are exact but for rounding."""
    rng = np.random.default_rng(seed)
    x, A, c = placed(rng, (n,), dtype, layout), rng.uniform(-1, 1, (3, n)), rng.uniform(-1, 1, n)

    def f(x):
        return float(c @ x**2)

    def df(x):
        return 2 * c * np.asarray(x, "float64")

    assert np.abs(assert_same_as_plain(lambda x: fb.numerical_gradient(f, x), x) - df(x.array)).max() <= 1e-8
    J = assert_same_as_plain(lambda x: fb.numerical_jacobian(lambda x: A @ x, x), x)
    assert np.abs(J - A).max() <= 1e-8
    assert assert_same_as_plain(lambda x: fb.check_gradient(f, df, x), x) <= 1e-6


# ------------------------------------------------------------------------------------------------ networks, trainers

LAYERS = [fb.Dense(7, "tanh"), fb.LayerNorm(), fb.Dense(3)]
I, C = 5, 3


def fit_loss(trainer, x, y, w):
    return trainer.fit(x, y, 1, batch_size=min(16, len(x)), sample_weight=w)["loss"][0]


OF_DATA = {
    "value_and_grad": lambda t, x, y, w: t.value_and_grad(x, y, sample_weight=w, inputs=True),
    "evaluate": lambda t, x, y, w: t.evaluate(x, y, sample_weight=w),
    "example_gradients": lambda t, x, y, w: t.example_gradients(x, y),
    "example_gradient_norms": lambda t, x, y, w: t.example_gradient_norms(x, y),
    "step": lambda t, x, y, w: (t.step(x, y, sample_weight=w), t.net.parameters.copy()),
    "fit": lambda t, x, y, w: (fit_loss(t, x, y, w), t.net.parameters.copy()),
}
FACTORS = {"fit": 50}  # several updates in which rounding grows; as in test_reference_trainer.py


def trainer_of(home, dtype, loss):
    net = home.Network(I, LAYERS, dtype=dtype, seed=1)
    return home.Trainer(net, loss, optimizer="adam", seed=2)


@fewer_examples
@given_by(
    B=rows,
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from([*DTYPES, "uint8"]),
    seed=seeds,
    layout=some_layout,
)
def test_predict(B, dtype, kind, seed, layout):
    rng = np.random.default_rng(seed)
    x = placed(rng, (B, I), kind, layout, 0, 255 if kind == "uint8" else 1)
    got = assert_same_as_plain(fb.Network(I, LAYERS, dtype=dtype, seed=1).predict, x)
    expected = reference.Network(I, LAYERS, dtype="float64", seed=1).predict(np.array(x.array))
    assert got.dtype == dtype and got.shape == (B, C)
    assert distance(got, expected) <= 20 * TOLERANCE[dtype]


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mean_squared_error"])
@pytest.mark.parametrize("method", OF_DATA)
@fewer_examples
@given_by(
    B=rows,
    dtype=st.sampled_from(DTYPES),
    seed=seeds,
    weighs=st.booleans(),
    layouts=st.tuples(some_layout, some_layout, some_layout),
)
def test_a_trainer_with_data_that_lie_anywhere(method, loss, B, dtype, seed, weighs, layouts):
    rng = np.random.default_rng(seed)
    x = placed(rng, (B, I), dtype, layouts[0])
    y = placed(rng, (B, C), dtype, layouts[1])
    if loss == "softmax_cross_entropy":
        y = Placed(rng.integers(0, C, B).astype(rng.choice(["uint8", "int32", "int64"])), layouts[1])
    data = [x, y, *([placed(rng, (B,), "float64", layouts[2], 0.1, 2)] if weighs else [])]

    def called(home, *data, dtype=dtype):
        return OF_DATA[method](trainer_of(home, dtype, loss), *data, *[None] * (3 - len(data)))

    got = called(fb, *(each.array for each in data))
    assert all(each.unchanged() for each in data)
    plain = [np.array(each.array) for each in data]
    assert_same_bits(got, called(fb, *plain))
    wide = [np.asarray(each, "float64") if each.dtype.kind == "f" else each for each in plain]
    expected = called(reference, *wide, dtype="float64")
    for part, wanted in zip(*(each if isinstance(each, tuple) else (each,) for each in (got, expected)), strict=True):
        assert distance(part, wanted) <= 20 * FACTORS.get(method, 1) * TOLERANCE[dtype]


@fewer_examples
@given_by(seed=seeds, layouts=st.tuples(some_layout, some_layout))
def test_a_product_with_the_hessian(seed, layouts):
    """It is linear in v, and v H v' = v' H v."""
    rng = np.random.default_rng(seed)
    trainer = trainer_of(fb, "float64", "mean_squared_error")
    x, y = placed(rng, (6, I), "float64", layouts[0]), rng.uniform(-1, 1, (6, C))
    n = len(trainer.net.parameters)
    v, other = placed(rng, (n,), "float64", layouts[1]), rng.uniform(-1, 1, n)
    Hv = assert_same_as_plain(lambda x, v: fb.hessian_vector_product(trainer, x, y, v), x, v)
    H_other = fb.hessian_vector_product(trainer, x.array, y, other)
    assert other @ Hv == pytest.approx(v.array @ H_other, rel=1e-10, abs=1e-10)
    H_both = fb.hessian_vector_product(trainer, x.array, y, v.array + 2 * other)
    assert distance(H_both, Hv + 2 * H_other) <= 1e-10


# --------------------------------------------------------------------------------------------------------- random nets

some_width = st.integers(1, 20)
some_activation = st.sampled_from([f.name for f in fb.layers.ACTIVATIONS])
some_layers = st.lists(
    st.one_of(
        st.tuples(st.just("dense"), some_width, some_activation, st.booleans()),
        st.tuples(st.just("residual"), some_width, some_activation, st.booleans()),
        st.sampled_from([("layer norm",), ("batch norm",), ("dropout",), ("softmax",)]),
    ),
    max_size=4,
)


def layers_of(choices, inputs):
    """A net of those layers; a residual block has its input's width, or a projection."""
    layers, width = [], inputs
    for kind, *more in choices:
        if kind == "dense":
            layers.append(fb.Dense(more[0], more[1], bias=more[2]))
            width = more[0]
        elif kind == "residual":
            outputs = more[0] if more[2] else width
            inside = [fb.Dense(more[0], more[1]), fb.Dense(outputs)]
            layers.append(fb.Residual(inside, projection=True) if outputs != width else fb.Residual(inside))
            width = outputs
        else:
            layers.append(
                {"layer norm": fb.LayerNorm(), "batch norm": fb.BatchNorm(), "dropout": fb.Dropout(0.3)}.get(kind)
                or fb.Softmax()
            )
    return [*layers, fb.Dense(C)]


@fewer_examples
@given_by(
    choices=some_layers,
    inputs=some_width,
    B=st.integers(2, LARGEST),
    batch=st.integers(1, LARGEST),
    dtype=st.sampled_from(DTYPES),
    loss=st.sampled_from(["softmax_cross_entropy", "mean_squared_error", "huber", "binary_cross_entropy"]),
    optimizer=st.sampled_from(["sgd", "adam", "rmsprop", "adagrad"]),
    seed=seeds,
)
def test_random_nets(choices, inputs, B, batch, dtype, loss, optimizer, seed):
    """Training has the same bits whatever the number of threads, and in float64 by SGD it is the twin's.

    Other optimisers divide by the size of a gradient, which may be nothing but rounding.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (B, inputs))
    y = rng.integers(0, C, B) if loss == "softmax_cross_entropy" else rng.uniform(0, 1, (B, C))
    layers = layers_of(choices, inputs)
    batch = min(batch, B)
    if ("batch norm",) in choices and 1 in (batch, B % batch):  # a minibatch of one row has no variance
        batch = B

    def trained(home, optimizer, dtype, **more):
        net = home.Network(inputs, layers, dtype=dtype, seed=1)
        trainer = home.Trainer(net, loss, optimizer=optimizer, seed=2, **more)
        targets = y if y.ndim == 1 else y.astype(dtype)
        history = trainer.fit(x.astype(dtype), targets, 2, batch_size=batch)
        return np.array(history["loss"]), net.parameters.copy()

    assert_same_bits(
        trained(fb, optimizer, dtype, n_threads=1), trained(fb, optimizer, dtype, n_threads=3), "threads 1 and 3"
    )
    for got, expected in zip(trained(fb, "sgd", "float64"), trained(reference, "sgd", "float64"), strict=True):
        assert distance(got, expected) <= 1e-9
