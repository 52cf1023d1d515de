"""Forward mode: every derivative in the tables against differences, the sides of kinks, and refusals."""

import math

import numpy as np
import pytest
from arrays import central_difference, distance

from fastbp import reference
from fastbp.derivatives import forward_mode
from fastbp.derivatives.forward_mode import Dual
from fastbp.layers import ACTIVATIONS

X = np.array([[0.3, 0.7, 0.2], [0.9, 0.4, 0.6]])
DX = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
Y = np.array([[0.8, 0.1, 0.5], [0.35, 0.75, 0.15]])
DY = np.array([[-1.0, 0.5, 2.0], [4.0, -0.5, 1.0]])


def along(f, *pairs):
    """The derivative of f at 0 along a line, by differences: f(x + s dx, y + s dy, ...)."""
    return central_difference(lambda s: f(*(x + s[0] * dx for x, dx in pairs)), np.zeros(1), h=2e-4)[..., 0]


def assert_exact(f, *pairs):
    """f of Duals has the value f(values) and the right tangent, for every choice of arguments with a tangent."""
    for chosen in {(True,) * len(pairs), *(tuple(i == j for j in range(len(pairs))) for i in range(len(pairs)))}:
        y = f(*(Dual(x, dx) if moves else x for (x, dx), moves in zip(pairs, chosen)))
        expected = f(*(x for x, _ in pairs))
        assert isinstance(y, Dual) and y.shape == np.shape(expected)
        assert np.array_equal(y.value, expected)
        expected = along(f, *((x, dx * moves) for (x, dx), moves in zip(pairs, chosen)))
        assert distance(y.tangent, expected) < 1e-9, (y.tangent, expected)


# ---------------------------------------------------------------------------------------------- the tables of functions

OF_NUMPY = [name for name in [*forward_mode._FACTORS, *forward_mode._TANGENTS] if hasattr(np, name)]


@pytest.mark.parametrize("name", OF_NUMPY)
def test_functions_of_elements(name):
    f = getattr(np, name)
    if name == "matmul":
        assert_exact(f, (X, DX), (Y.T, DY.T))
    elif f.nin == 2:
        assert_exact(f, (X, DX), (Y, DY))
        assert_exact(f, (X, DX), (Y[0], DY[0]))  # of another shape
        assert_exact(f, (X[:, :1], DX[:, :1]), (Y[0], DY[0]))
        assert_exact(f, (X, DX), (np.array(0.45), np.array(2.0)))
    else:
        assert_exact(f, (X, DX))


def test_functions_that_numpy_does_not_have():
    assert set(forward_mode._FACTORS) - set(OF_NUMPY) == {"erf", "erfc", "erfc (vectorized)", "expit"}
    erfc = np.frompyfunc(math.erfc, 1, 1)
    y = erfc(Dual(X, DX))
    assert np.array_equal(y.value, erfc(X).astype(float))
    np.testing.assert_allclose(y.tangent, -2 / np.sqrt(np.pi) * np.exp(-(X**2)) * DX, rtol=1e-15)
    special = pytest.importorskip("scipy.special")
    for name in ("erf", "erfc", "expit"):
        assert_exact(getattr(special, name), (X, DX))


@pytest.mark.parametrize("name", sorted(forward_mode._CONSTANT))
def test_what_does_not_change(name):
    f = getattr(np, name)
    arguments = (X, Y)[: f.nin]
    got = f(*(Dual(x, DX) for x in arguments))
    assert type(got) is np.ndarray and np.array_equal(got, f(*arguments))


LINEAR = {
    "sum": [lambda x: np.sum(x), lambda x: x.sum(axis=1, keepdims=True), lambda x: x.sum(axis=0, dtype=np.float64)],
    "mean": [lambda x: np.mean(x, axis=1), lambda x: x.mean()],
    "cumsum": [lambda x: np.cumsum(x, axis=1)],
    "trace": [lambda x: np.trace(x)],
    "diagonal": [lambda x: np.diagonal(x)],
    "copy": [lambda x: x.copy(), lambda x: np.copy(x), lambda x: x.astype(np.float64)],
    "ravel": [lambda x: x.ravel(), lambda x: x.flatten()],
    "reshape": [lambda x: x.reshape(3, 2), lambda x: x.reshape((1, 6)), lambda x: np.reshape(x, (3, -1))],
    "transpose": [lambda x: x.T, lambda x: x.transpose(1, 0), lambda x: np.transpose(x)],
    "swapaxes": [lambda x: np.swapaxes(x, 0, 1)],
    "moveaxis": [lambda x: np.moveaxis(x, 0, 1)],
    "squeeze": [lambda x: np.squeeze(x[:1])],
    "expand_dims": [lambda x: np.expand_dims(x, 1), lambda x: x[:, None]],
    "broadcast_to": [lambda x: np.broadcast_to(x, (4, 2, 3))],
    "repeat": [lambda x: np.repeat(x, 2, axis=1)],
    "tile": [lambda x: np.tile(x, (2, 1))],
    "flip": [lambda x: np.flip(x, 1), lambda x: x[:, ::-1]],
    "roll": [lambda x: np.roll(x, 1, axis=1)],
    "take": [lambda x: np.take(x, [2, 0], axis=1), lambda x: x[:, [2, 0]]],
    "take_along_axis": [lambda x: np.take_along_axis(x, np.array([[2], [0]]), 1)],
    "concatenate": [lambda x: np.concatenate([x, x * x, np.ones((1, 3))])],
    "stack": [lambda x: np.stack([np.ones((2, 3)), x])],
    "hstack": [lambda x: np.hstack([x, np.ones((2, 1))])],
    "vstack": [lambda x: np.vstack([x, 2 * x])],
}
OTHERS = {
    "max": [lambda x: x.max(axis=1, keepdims=True), lambda x: np.max(x), lambda x: np.max(x, axis=0)],
    "amax": [lambda x: np.amax(x, axis=-1)],
    "min": [lambda x: x.min(), lambda x: np.min(x, axis=1, keepdims=True), lambda x: np.min(x, keepdims=True)],
    "amin": [lambda x: np.amin(x)],
    "where": [
        lambda x: np.where(x > 0.5, x, 2.0),
        lambda x: np.where(x > 0.5, 0, x * x),
        lambda x: np.where(X > 0.5, x, x[0]),
    ],
    "clip": [lambda x: np.clip(x, 0.25, 0.65), lambda x: x.clip(None, 0.5), lambda x: np.clip(x, 0.5, None)],
}  # fmt: skip


@pytest.mark.parametrize("name", [*LINEAR, *OTHERS])
def test_functions_of_arrays(name):
    for f in {**LINEAR, **OTHERS}[name]:
        assert_exact(f, (X, DX))


@pytest.mark.parametrize("name", ["dot", "inner", "outer", "tensordot"])
def test_products(name):
    second = (Y.T, DY.T) if name == "dot" else (Y, DY)
    options = {"axes": 2} if name == "tensordot" else {}
    assert_exact(lambda a, b: getattr(np, name)(a, b, **options), (X, DX), second)


def test_new_arrays_and_facts_of_arrays():
    x = Dual(X, DX)
    for function, number in ((np.zeros_like, 0), (np.ones_like, 1), (np.empty_like, 0)):
        assert np.array_equal(function(x).value, np.full((2, 3), number)) and not function(x).tangent.any()
    assert np.array_equal(np.full_like(x, 7).value, np.full((2, 3), 7.0))
    assert np.zeros_like(x, dtype=bool).dtype == bool
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float64)
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)
    assert np.argmax(x) == X.argmax() and np.array_equal(x.argmin(axis=1), X.argmin(axis=1))
    assert np.array_equal(np.argsort(x), np.argsort(X)) and np.all(x > 0) and not np.any(x > 1)
    assert float(x[0, 1]) == 0.7 and bool(Dual(1.0))
    assert repr(Dual(1.0, 2.0)) == "Dual(array(1.), array(2.))"
    every = set(LINEAR) | set(OTHERS) | {"dot", "inner", "outer", "tensordot", "zeros_like", "ones_like", "empty_like"}
    every |= {"full_like", "any", "all", "argmax", "argmin", "argsort", "shape", "ndim", "size"}
    assert every == set(forward_mode._FUNCTIONS)


def test_operators():
    assert_exact(lambda a, b: (a + b) * a - b / (1 + a) + 2.0 / b - (-a) ** 2 + abs(b) ** 0.5, (X, DX), (Y, DY))
    assert_exact(lambda a, b: np.float64(3) * a + np.arange(3) / b + X @ a.T @ b, (X, DX), (Y, DY))
    assert_exact(lambda a: 2.0**a, (X, DX))


def test_places():
    """Indices give views; assigning changes value and tangent, and a plain array has the tangent 0."""
    x = Dual(X.copy(), DX.copy())
    x[0][1:] = Dual([5.0, 6.0], [7.0, 8.0])
    assert x.value[0].tolist() == [0.3, 5, 6] and x.tangent[0].tolist() == [1, 7, 8]
    x[1, [0, 2]] = 1.0
    assert x.value[1].tolist() == [1, 0.4, 1] and x.tangent[1].tolist() == [0, 3, 0]
    x[...] = Dual(2.0, 3.0)
    assert np.all(x.value == 2) and np.all(x.tangent == 3)
    flat = Dual(np.zeros(6), np.zeros(6))
    part = flat[2:6].reshape(2, 2)
    part += Dual(np.ones((2, 2)), 2 * np.ones((2, 2)))
    part *= 3
    assert flat.value.tolist() == [0, 0, 3, 3, 3, 3] and flat.tangent.tolist() == [0, 0, 6, 6, 6, 6]


def test_out_and_where():
    """As in the twin's cross-entropy: value and tangent do not change where nothing is computed."""
    log_p = Dual([-np.inf, -2.0], [np.nan, 3.0])
    t = np.array([0.0, 1.0])
    out = np.zeros_like(log_p)
    with np.errstate(invalid="ignore"):
        assert np.multiply(t, log_p, out=out, where=t != 0) is out
    assert out.value.tolist() == [0, -2] and out.tangent.tolist() == [0, 3]


# -------------------------------------------------------------------------------------------------------------- kinks


def test_kinks_are_taken_from_the_left():
    x = Dual(0.0, 1.0)
    assert abs(x).tangent == -1
    for f in (np.maximum, lambda a, b: np.maximum(b, a)):
        assert (f(x, 0).tangent, f(x, -1).tangent, f(x, 1).tangent) == (0, 1, 0)
    for f in (np.minimum, lambda a, b: np.minimum(b, a)):
        assert (f(x, 0).tangent, f(x, -1).tangent, f(x, 1).tangent) == (1, 0, 1)
    assert np.maximum(x, x).tangent == np.minimum(x, x).tangent == 1


@pytest.mark.parametrize("cls", ACTIVATIONS, ids=lambda cls: cls.name)
def test_activations_at_kinks_and_elsewhere(cls):
    """The tangent of forward equals the result of backward, also at 0, where the pieces of a formula meet."""
    x = np.array([-30.0, -2.0, -1e-3, 0.0, 1e-3, 0.5, 3.0, 40.0])
    forward, backward = (getattr(reference, f"{cls.name}_{way}") for way in ("forward", "backward"))
    y = forward(Dual(x, np.ones(8)))
    np.testing.assert_allclose(y.value, forward(x), rtol=1e-15)
    expected = backward(np.ones(8), x if cls.from_z else forward(x))
    np.testing.assert_allclose(y.tangent, expected, rtol=1e-12, atol=1e-15)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "wrong, named",
    [
        (lambda x: np.sinc(x), "sinc"),
        (lambda x: np.fmod(x, 2), "fmod"),
        (lambda x: np.prod(x), "prod"),
        (lambda x: x.std(), "std"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: np.linalg.inv(x), "inv"),
        (lambda x: np.add.reduce(x), "add.reduce"),
        (lambda x: np.sum(x, where=X > 0.5), "sum with where"),
        (lambda x: np.exp(x, dtype=np.float32), "exp with dtype"),
        (lambda x: np.multiply(x, 2, where=X > 0.5), "multiply"),
        (lambda x: x.astype(np.float32), "float32"),
        (lambda x: np.asarray(x), "plain array"),
        (lambda x: np.array([x]), "plain array"),
        (lambda x: np.add(X, x, out=np.zeros((2, 3))), "goes into a Dual"),
        (lambda x: np.zeros((2, 3)).__iadd__(x), "goes into a Dual"),
        (lambda x: np.zeros((2, 3)).__setitem__(slice(None), x), "plain array"),
        (lambda x: np.frompyfunc(math.gamma, 1, 1)(x), "gamma"),
    ],
)
def test_what_is_not_known_is_refused(wrong, named):
    with pytest.raises(TypeError, match=named):
        wrong(Dual(X, DX))


def test_other_errors():
    with pytest.raises(ValueError, match=r"tangent has shape \(2,\); value has \(3,\)"):
        Dual([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = Dual(1.0).nonsense
