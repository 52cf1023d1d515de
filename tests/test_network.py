"""Network: the flat vector and its views, initial weights, predictions, copies, and what it refuses."""

import copy
import math
import os
import pickle
import threading

import numpy as np
import pytest

import fastbp as fb
from fastbp import network, reference
from fastbp._support import network_steps, random_streams
from fastbp.layers import BatchNorm, Dense, Dropout, LayerNorm, Residual, Softmax, Tanh

LAYERS = [Dense(5, "relu"), Residual([Dense(5, "tanh", bias=False)]), Dense(3)]
ALL_KINDS = [
    BatchNorm(),
    Dense(5, "relu"),
    Dropout(0.4),
    Residual([LayerNorm(), Tanh(), Dense(6), Dropout()]),
    BatchNorm(affine=False),
    Tanh(),
    Dense(3),
    Softmax(),
]
DTYPES = ["float32", "float64"]


def make(dtype="float32", seed=0, inputs=4):
    return fb.Network(inputs, LAYERS, dtype=dtype, seed=seed)


def data(rows, inputs=4, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal((rows, inputs)).astype(dtype)


# --------------------------------------------------------------------------------------------------- the flat vector


@pytest.mark.parametrize("dtype", DTYPES)
def test_layout(dtype):
    net = make(dtype)
    assert (net.inputs, net.outputs, net.layers, net.seed) == (4, 3, tuple(LAYERS), 0)
    assert net.dtype == np.dtype(dtype) and isinstance(net.dtype, np.dtype)
    assert net.parameters.shape == (4 * 5 + 5 + 5 * 5 + 5 * 3 + 3,) and net.parameters.dtype == net.dtype
    assert net.parameters.ctypes.data % 64 == 0
    net.parameters[:] = np.arange(68)
    (W0, b0), (W1, b1), (W2, b2) = net.weights
    assert np.array_equal(W0, np.arange(20).reshape(4, 5)) and np.array_equal(b0, np.arange(20, 25))
    assert np.array_equal(W1, np.arange(25, 50).reshape(5, 5)) and b1 is None
    assert np.array_equal(W2, np.arange(50, 65).reshape(5, 3)) and np.array_equal(b2, np.arange(65, 68))
    W0[0, 0] = -1
    assert net.parameters[0] == -1


@pytest.mark.parametrize("home", [fb, reference])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_of_all_kinds(home, dtype):
    """Norms have gamma and beta, which begin as 1 and 0; projections a matrix; batch norms statistics, 0 and 1."""
    net = home.Network(4, ALL_KINDS, dtype=dtype)
    shapes = [tuple(None if part is None else part.shape for part in pair) for pair in net.weights]
    assert shapes == [((4,), (4,)), ((4, 5), (5,)), ((5,), (5,)), ((5, 6), (6,)), ((5, 6), None), ((6, 3), (3,))]
    assert net.parameters.shape == (8 + 25 + 10 + 36 + 30 + 21,) and net.outputs == 3
    for number in (0, 2):
        gamma, beta = net.weights[number]
        assert np.array_equal(gamma, np.ones(gamma.shape)) and not beta.any()
    bound = math.sqrt(6 / 11)
    assert 0.8 * bound < abs(net.weights[4][0]).max() <= bound, "a projection begins as glorot_uniform"
    assert net.statistics.dtype == net.dtype
    assert net.statistics.tolist() == [0] * 4 + [1] * 4 + [0] * 6 + [1] * 6
    net.weights[4][0][0, 0] = 7
    assert net.parameters[79] == 7
    net.statistics[0] = 5
    assert net.statistics[0] == 5
    assert home.Network(4, LAYERS).statistics.shape == (0,)


@pytest.mark.parametrize("home", [fb, reference])
def test_weights_are_changed_in_place_or_not_at_all(home):
    """Nothing that is assigned to is a copy that would be thrown away."""
    net = home.Network(4, LAYERS)
    with pytest.raises(TypeError, match="does not support item assignment"):
        net.weights[0] = net.weights[0]
    with pytest.raises(TypeError, match="does not support item assignment"):
        net.weights[0][1] = np.zeros(5, np.float32)
    net.weights[0][1][:] = 7
    assert np.array_equal(net.parameters[20:25], np.full(5, 7))


def test_assignment_copies():
    net = make()
    vector, values = net.parameters, np.arange(68, dtype=np.float64)
    net.parameters = values
    assert net.parameters is vector and np.array_equal(vector, values)
    net.parameters *= 2
    assert net.parameters is vector and np.array_equal(vector, 2 * values)
    net.parameters = vector[::-1]
    assert np.array_equal(vector, 2 * values[::-1])


@pytest.mark.parametrize(
    "values, error, message",
    [
        (None, TypeError, "parameters must be a float32 or float64 array, got None"),
        ([0.0] * 68, TypeError, "parameters must be .*, got list"),
        (np.zeros(68, int), TypeError, "got int64 array"),
        (np.zeros((68, 1)), ValueError, "1 dimension"),
        (np.zeros(67), ValueError, "parameters has 67 elements; the network has 68"),
        (np.full(68, np.nan), ValueError, r"parameters\[0\] is nan"),
        (np.full(68, 1e300), ValueError, r"parameters\[0\] is inf"),
    ],
)
def test_assignment_refuses(values, error, message):
    net = make()
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        net.parameters = values
    assert np.array_equal(net.parameters, before)


def test_attributes_are_read_only():
    net = make()
    for name in ("inputs", "outputs", "layers", "dtype", "seed", "weights", "statistics"):
        with pytest.raises(AttributeError):
            setattr(net, name, getattr(net, name))


def test_repr():
    assert repr(fb.Network(4, [Dense(2, "relu")], seed=3)) == (
        "Network(4, [Dense(units=2, activation=ReLU())], dtype='float32', seed=3)"
    )


# ---------------------------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("dtype", DTYPES)
def test_initial_weights_are_the_twins(dtype):
    for made_of in (LAYERS, ALL_KINDS):
        net, twin = (home.Network(4, made_of, dtype, 7) for home in (fb, reference))
        assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_initial_weights_follow_the_rule():
    net = fb.Network(40, [Dense(50, "leaky_relu"), Dense(60)], dtype="float64", seed=5)
    for number, bound in ((0, math.sqrt(6 / 40)), (1, math.sqrt(6 / 110))):
        W, b = net.weights[number]
        u = reference.random_uniform(5, random_streams.initialisation(number), W.size).reshape(W.shape)
        assert np.array_equal(W, bound * (2 * u - 1))
        assert abs(W).max() <= bound and abs(W).max() > 0.99 * bound and not b.any()


def test_seeds_differ():
    assert not np.array_equal(make(seed=1).parameters, make(seed=2).parameters)
    assert np.array_equal(make(seed=2**64 - 1).parameters, make(seed=2**64 - 1).parameters)


# ------------------------------------------------------------------------------------------------ what it is made from


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((None, LAYERS), TypeError, "inputs must be an integer, got None"),
        ((4.0, LAYERS), TypeError, "inputs must be an integer"),
        ((True, LAYERS), TypeError, "inputs must be an integer"),
        ((0, LAYERS), ValueError, "inputs must be at least 1, got 0"),
        ((4, None), TypeError, "layers must be a list of layers, got None"),
        ((4, []), ValueError, "at least one layer"),
        ((4, Dense(3)), TypeError, "layers must be a list of layers"),
        ((4, [3]), TypeError, r"layers\[0\] must be a layer, got 3"),
        ((4, [Dense]), TypeError, "got the class Dense"),
        ((4, [Residual([Dense(5)], projection=False)]), ValueError, "takes 4 inputs and its last layer has 5 units"),
        ((4, LAYERS, None), TypeError, "dtype must be 'float32' or 'float64', got None"),
        ((4, LAYERS, "float16"), ValueError, "got 'float16'"),
        ((4, LAYERS, "nonsense"), ValueError, "dtype must be 'float32' or 'float64'"),
        ((4, LAYERS, 32), TypeError, "dtype must be 'float32' or 'float64'"),
        ((4, LAYERS, np.int32), ValueError, "got <class 'numpy.int32'>"),
        ((4, LAYERS, "float32", -1), ValueError, "seed"),
        ((4, LAYERS, "float32", 2**64), ValueError, "seed"),
        ((4, LAYERS, "float32", None), TypeError, "seed must be an integer, got None"),
        ((4, LAYERS, "float32", 0.5), TypeError, "seed"),
    ],
)
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        fb.Network(*arguments)


def test_refuses_one_layer_twice_and_no_width():
    layer = Dense(4)
    with pytest.raises(ValueError, match=r"layers\[1\] is the same object as layers\[0\]"):
        fb.Network(4, [layer, layer])
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        Dense(0)


@pytest.mark.parametrize("widths", [(2**31 - 1,), (2**31 - 1, 2**31 - 1, 2**31 - 1)])
def test_too_large(widths):
    with pytest.raises(MemoryError, match="no memory for .* parameters of float64"):
        fb.Network(2**31 - 1, [Dense(width) for width in widths], "float64")


@pytest.mark.parametrize("dtype", [np.float64, np.dtype("float64"), float, "f8"])
def test_dtype_in_other_words(dtype):
    assert fb.Network(4, LAYERS, dtype).dtype == np.float64


# ------------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_are_the_twins(rows, dtype):
    net, twin = make(dtype), reference.Network(4, LAYERS, dtype)
    X = data(rows, dtype=dtype)
    y = net.predict(X)
    assert y.shape == (rows, 3) and y.dtype == net.dtype
    assert np.allclose(y, twin.predict(X), rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("rows", [1, 257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_of_all_kinds_are_the_twins(rows, dtype):
    """Dropout passes all, and batch norms take their running statistics: those of the minibatch have no say."""
    rng = np.random.default_rng(1)
    net, twin = (home.Network(4, ALL_KINDS, dtype) for home in (fb, reference))
    net.parameters = twin.parameters = rng.standard_normal(len(net.parameters))
    net.statistics[:] = twin.statistics[:] = rng.uniform(0.5, 2, len(net.statistics))
    X = data(rows, dtype=dtype)
    y = net.predict(X)
    assert np.allclose(y, twin.predict(X), rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
    assert np.allclose(y.sum(axis=1), 1)
    net.statistics[:4] += 1
    assert not np.allclose(net.predict(X), y, atol=1e-3)


@pytest.mark.parametrize("made_of", [LAYERS, ALL_KINDS])
def test_rows_do_not_depend_on_their_company(made_of):
    net, X = fb.Network(4, made_of), data(700)
    y = net.predict(X)
    for start, end in ((0, 1), (3, 40), (255, 258), (300, 700)):
        assert net.predict(X[start:end]).tobytes() == y[start:end].tobytes()


def test_long_predictions_go_in_slices(monkeypatch):
    net, X = make(), data(1000)
    whole = net.predict(X)
    monkeypatch.setattr(network, "SLICE", 1)
    assert net.rows_in_a_slice() == 256
    assert net.predict(X).tobytes() == whole.tobytes()


def test_any_layout_of_X():
    net, X = make(), data(9)
    y = net.predict(X)
    raw = bytearray(X.nbytes + 1)
    misaligned = np.frombuffer(raw, np.uint8, X.nbytes, 1).view(np.float32).reshape(X.shape)
    misaligned[...] = X
    read_only = X.copy()
    read_only.setflags(write=False)
    for other in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[::-1].copy()[::-1], misaligned, read_only):
        assert net.predict(other).tobytes() == y.tobytes()


@pytest.mark.parametrize("net_dtype", DTYPES)
def test_the_other_real_dtype_is_converted(net_dtype):
    net = make(net_dtype)
    other = "float64" if net_dtype == "float32" else "float32"
    X = data(5, dtype="float32").astype(other)
    y = net.predict(X)
    assert y.dtype == net.dtype and y.tobytes() == net.predict(X.astype(net_dtype)).tobytes()


BAD_X = [
    (None, TypeError, "must be a float32 or float64 array, got None"),
    ([[0.0] * 4], TypeError, "must be a float32 or float64 array, got list"),
    (np.zeros((2, 4), int), TypeError, "got int64 array"),
    (np.zeros((2, 4), bool), TypeError, "got bool array"),
    (np.zeros((2, 4), object), TypeError, "got object array"),
    (np.zeros((2, 4), complex), TypeError, "got complex128 array"),
    (np.zeros((2, 4), "float16"), TypeError, "got float16 array"),
    (np.zeros((2, 4), ">f4"), TypeError, "got >f4 array"),
    (np.ma.zeros((2, 4)), TypeError, "masked array"),
    (np.zeros(4), ValueError, r"must have 2 dimensions, got shape \(4,\)"),
    (np.zeros((1, 2, 4)), ValueError, "must have 2 dimensions"),
    (np.zeros((2, 3)), ValueError, "has 3 columns; the network takes 4"),
    (np.zeros((2, 0)), ValueError, "has 0 columns; the network takes 4"),
    (np.zeros((0, 4)), ValueError, r"must have at least 1 row, got shape \(0, 4\)"),
    (np.array([[0, 0, 0, 0], [0, 0, np.nan, 0]]), ValueError, r"\[1, 2\] is nan"),
    (np.array([[0, -np.inf, 0, 0]]), ValueError, r"\[0, 1\] is -inf"),
    (np.array([[0, 1e300, 0, 0]]), ValueError, r"\[0, 1\] is inf in float32"),
]


@pytest.mark.parametrize("X, error, message", BAD_X)
def test_predict_refuses(X, error, message):
    with pytest.raises(error, match="^X" + (".*" + message)):
        make().predict(X)


def test_predict_takes_nan_when_allowed():
    net = fb.Network(2, [Dense(2)])
    y = net.predict(np.array([[np.nan, 0], [1, 2]]), allow_nonfinite=True)
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()
    with pytest.raises(TypeError, match="allow_nonfinite must be True or False, got 1"):
        net.predict(np.zeros((1, 2)), allow_nonfinite=1)


def test_predict_sees_changed_parameters():
    net = fb.Network(2, [Dense(1)], dtype="float64")
    X = np.array([[1.0, 2.0]])
    for W in ((1, 1), (2, 5)):
        net.weights[0][0][:, 0] = W
        assert net.predict(X)[0, 0] == W[0] + 2 * W[1]


def test_threads_may_predict_at_once():
    net, X = fb.Network(64, [Dense(64, "relu"), Dense(10)]), data(500, 64)
    expected = net.predict(X).tobytes()
    wrong = []

    def work(rows):
        for _ in range(20):
            if net.predict(X[:rows]).tobytes() != expected[: rows * 40]:
                wrong.append(rows)

    net = copy.deepcopy(net)  # without a plan: the threads make it, for ever more rows
    threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 3, 60, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_of_predictions():
    net = fb.Network(64, [fb.Dense(256, "relu"), fb.Dense(10)])
    X = np.random.default_rng(0).standard_normal((3000, 64), dtype=np.float32)
    assert net.n_threads is None
    expected = net.predict(X)
    for n_threads in (1, 2, None):
        net.n_threads = n_threads
        assert net.n_threads == n_threads and np.array_equal(net.predict(X), expected)
        assert net._plan.threads_for(256) <= (n_threads or fb.cpu.threads())
    assert copy.copy(net).n_threads is None
    for value, error in ((0, ValueError), (257, ValueError), ("2", TypeError), (1.0, TypeError)):
        with pytest.raises(error, match="n_threads must be"):
            net.n_threads = value


def test_predictions_follow_the_instruction_set():
    net, X = make(), data(50)
    before, found = fb.cpu.isa(), {}
    try:
        for isa in fb.cpu.available():
            fb.cpu.use(isa)
            found[isa] = net.predict(X)
    finally:
        fb.cpu.use(before)
    assert all(np.allclose(y, found["portable"], atol=1e-5) for y in found.values())
    assert len({y.tobytes() for isa, y in found.items() if isa != "portable"}) <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_predictions_after_fork():
    net, X = fb.Network(300, [Dense(300, "relu"), Dense(10)]), data(256, 300)
    expected = net.predict(X).tobytes()
    child = os.fork()
    if not child:
        os._exit(0 if net.predict(X).tobytes() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ------------------------------------------------------------------------------------------------------------ freezing


@pytest.mark.parametrize("home", [fb, reference])
def test_freezing_replaces_layers(home):
    net = home.Network(4, ALL_KINDS, seed=1)
    before, values = net.predict(data(5)), net.parameters.copy()
    net.freeze(0, 3, np.int64(5))
    assert net.layers == (
        BatchNorm(frozen=True),
        Dense(5, "relu"),
        Dropout(0.4),
        Residual([LayerNorm(), Tanh(), Dense(6, frozen=True), Dropout()]),
        BatchNorm(affine=False),
        Tanh(),
        Dense(3, frozen=True),
        Softmax(),
    )
    assert np.array_equal(net.parameters, values) and np.array_equal(net.predict(data(5)), before)
    net.unfreeze(3, 3)
    assert net.layers[3] == ALL_KINDS[3] and net.layers[0].frozen and net.layers[6].frozen
    net.unfreeze(0, 5)
    net.unfreeze()
    assert net.layers == tuple(ALL_KINDS)
    assert not any(layer.frozen for layer in ALL_KINDS), "the layers that were given are not changed"


@pytest.mark.parametrize("home", [fb, reference])
@pytest.mark.parametrize(
    "numbers, error, message",
    [
        ((0, 6), ValueError, "must be at most 5, got 6"),
        ((-1,), ValueError, "must be at least 0, got -1"),
        ((4,), ValueError, "layer 4 is a residual block's projection, which cannot be frozen"),
        ((1.0,), TypeError, "must be an integer, got 1.0"),
        (([0, 1],), TypeError, "must be an integer, got list"),
        ((None,), TypeError, "must be an integer, got None"),
    ],
)
def test_freezing_refuses(home, numbers, error, message):
    net = home.Network(4, ALL_KINDS)
    for call in (net.freeze, net.unfreeze):
        with pytest.raises(error, match=message):
            call(*numbers)
    assert net.layers == tuple(ALL_KINDS)


# -------------------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_statistics_of_their_own(copied):
    net, X = fb.Network(4, ALL_KINDS, "float64"), data(5, dtype="float64")
    net.statistics[:] = np.arange(1, 21)
    net.freeze(0)
    other = copied(net)
    assert np.array_equal(other.statistics, net.statistics) and other.layers == net.layers
    assert other.predict(X).tobytes() == net.predict(X).tobytes()
    other.statistics[:] = 2
    assert np.array_equal(net.statistics, np.arange(1, 21))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("used", [False, True])
def test_copies(copied, used):
    net, X = make("float64", 3), data(5, dtype="float64")
    if used:
        net.predict(X)
    other = copied(net)
    assert other.parameters.ctypes.data % 64 == 0
    assert repr(other) == repr(net)
    assert other.predict(X).tobytes() == net.predict(X).tobytes()
    other.weights[0][0][:] = 0
    assert net.parameters[:20].all() and not other.parameters[:20].any()


def test_a_pickle_holds_no_plan():
    net = make()
    before = len(pickle.dumps(net))
    net.predict(data(256))
    assert len(pickle.dumps(net)) == before


def test_steps_of_the_net_are_those_of_layers():
    assert network_steps.parameter_count(network_steps.steps_of(4, LAYERS)) == len(make().parameters)
    assert network_steps.parameter_count(network_steps.steps_of(4, ALL_KINDS)) == len(
        fb.Network(4, ALL_KINDS).parameters
    )


def test_predictions_have_the_bits_of_the_instruction_set():
    """Those of a net without a plan, whether the plan is looked for anew or the short way is taken."""
    net, X, before = make(), data(50), fb.cpu.isa()
    try:
        for isa in [*fb.cpu.available(), *reversed(fb.cpu.available())]:
            fb.cpu.use(isa)
            expected = make().predict(X)
            for _ in range(2):
                assert np.array_equal(net.predict(X), expected) and net._plan.isa == isa
    finally:
        fb.cpu.use(before)


def test_slices_of_one_state():
    """Where the net changes between two slices, all slices are computed anew, from one state."""
    net, X, found = make(), data(10), {}

    def work(plan, part):
        found[part.start] = np.empty((5, net.outputs), net.dtype)
        plan.forward(X[part], found[part.start])
        if not net.lock.changes:
            net.lock.assign((net.parameters, net.parameters / 2))

    net.in_slices(10, 5, lambda vectors: net._plan_for(10, vectors), work)
    assert np.array_equal(np.concatenate([found[0], found[5]]), net.predict(X))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_later_predictions_refuse_what_is_not_finite(bad):
    net, X = make(), data(50)
    net.predict(X)
    X[49, -1] = bad
    with pytest.raises(ValueError, match="X"):
        net.predict(X)
