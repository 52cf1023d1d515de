"""Derivatives for people: Jacobians of nets, products with the Hessian, and the check of a whole net.

Expected values come from mathematics, from the twin, from central differences, and from PyTorch where it is installed.
"""

import numpy as np
import pytest
from arrays import distance

import fastbp as fb
from fastbp import reference

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
