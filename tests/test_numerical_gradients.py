"""Numerical gradients and Jacobians, and the check that uses them: it accepts right gradients and finds wrong ones."""

import re

import numpy as np
import pytest

from fastbp.derivatives.numerical import check_gradient, numerical_gradient, numerical_jacobian
from fastbp.errors import GradientError


def test_quadratic_form():
    # Worked example A4: the gradient of x^T (A x + z) is (A + A^T) x + z.
    A, z = np.array([[1.0, -2.0, 0.5], [3.0, 4.0, -1.0], [0.25, 2.0, 7.0]]), np.array([0.5, -1.5, 2.0])
    for x in ([0.3, -1.2, 2.5], [0, 0, 0], [1, 2, 3], np.array([1e3, -1e-3, 1.0], np.float32)):
        assert check_gradient(lambda x: x @ (A @ x + z), lambda x: (A + A.T) @ x + z, x) < 1e-7


def test_square_of_a_linear_form():
    # Worked example D2.
    def f(x):
        return (2 * x[0] + 3 * x[1]) ** 2

    def df(x):
        return np.array([4, 6]) * (2 * x[0] + 3 * x[1])

    assert check_gradient(f, df, [1.0, 2.0]) < 1e-8
    np.testing.assert_allclose(numerical_gradient(f, [1.0, 2.0]), [32, 48], rtol=1e-8)


def F(x):
    return [x[0] ** 2 + 2 * x[1], 3 * x[0] + 4 * x[1] ** 2]


def dF(x):
    return [[2 * x[0], 2], [3, 8 * x[1]]]


def G(x):
    return np.array([x, x**2])


def test_jacobian():
    # Worked example D3: the Jacobian of F(x, y) = (x^2 + 2y, 3x + 4y^2) is ((2x, 2), (3, 8y)).
    np.testing.assert_allclose(numerical_jacobian(F, [1.0, 2.0]), [[2, 2], [3, 16]], rtol=1e-8)
    assert check_gradient(F, dF, [1.0, 2.0]) < 1e-8
    assert check_gradient(F, dF, np.array([-0.5, 30.0])) < 1e-7


def test_chain_rule():
    # Worked example D4: with G(x) = (x, x^2), the derivative of F o G is (6x, 3 + 16 x^3).
    def composed(x):
        return F(G(x))

    np.testing.assert_allclose(numerical_jacobian(composed, 2.0), [12, 131], rtol=1e-8)
    np.testing.assert_allclose(numerical_jacobian(F, G(2.0)) @ numerical_jacobian(G, 2.0), [12, 131], rtol=1e-8)
    assert check_gradient(composed, lambda x: [6 * x, 3 + 16 * x**3], 2.0) < 1e-8
    assert check_gradient(composed, lambda x: np.array(dF(G(x))) @ [1, 2 * x], 2.0) < 1e-8


def test_shapes():
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    assert numerical_gradient(lambda x: np.sin(x).sum(), x).shape == (2, 3)
    assert numerical_jacobian(lambda x: x @ np.ones((3, 4)), x).shape == (2, 4, 2, 3)
    assert numerical_jacobian(lambda x: 3 * x, 2.0).shape == ()
    assert numerical_gradient(lambda x: x**2, 3).shape == ()
    assert numerical_jacobian(lambda x: [x.sum()], x).shape == (1, 2, 3)
    # One value in an array: its gradient may have the shape of x or of the Jacobian.
    assert check_gradient(lambda x: [x.sum()], np.ones_like, x) < 1e-9
    assert check_gradient(lambda x: [x.sum()], lambda x: np.ones((1, 2, 3)), x) < 1e-9
    assert check_gradient(lambda x: 0.0, np.zeros_like, np.zeros((0, 3))) == 0.0


def test_x_is_not_changed_and_is_float64():
    seen = []

    def f(x):
        seen.append(x.dtype)
        x += 100  # a careless function
        return x.sum()

    x = np.array([1, 2, 3])
    np.testing.assert_allclose(numerical_gradient(f, x), [1, 1, 1], rtol=1e-8)
    assert x.tolist() == [1, 2, 3] and set(seen) == {np.dtype(np.float64)}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_steps_follow_the_size_of_each_element(scale):
    x = scale * np.array([1.0, -2.0, 3.0])
    assert check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, x) < 1e-6
    if scale >= 1:  # below 1 the step does not shrink with x
        assert check_gradient(lambda x: np.sin(x / scale), lambda x: np.diag(np.cos(x / scale)) / scale, x) < 1e-8


def test_a_step_of_ones_own():
    def f32(x):
        return float((x.astype(np.float32) ** 3).sum())

    def df(x):
        return 3 * x**2

    with pytest.raises(GradientError):
        check_gradient(f32, df, [0.5, 1.5])
    assert check_gradient(f32, df, [0.5, 1.5], eps=5e-3, tolerance=1e-3) < 1e-3


@pytest.mark.parametrize("size", [1, 5, 40])
def test_one_wrong_element_is_found(size):
    # The tester tested: every element in turn is made wrong by one part in ten thousand.
    x = np.linspace(0.5, 2, size)
    f, df = lambda x: (x**3).sum(), lambda x: 3 * x**2
    assert check_gradient(f, df, x) < 1e-7
    for wrong in range(size):
        factor = np.ones(size)
        factor[wrong] += 1e-4
        with pytest.raises(GradientError) as caught:
            check_gradient(f, lambda x, factor=factor: factor * df(x), x)
        error = caught.value
        assert error.index == (wrong,)
        assert error.expected == pytest.approx(3 * x[wrong] ** 2, rel=1e-8)
        assert error.got == pytest.approx(3.0003 * x[wrong] ** 2, rel=1e-12)
        assert error.error == pytest.approx(1e-4, rel=1e-2)
        assert "1 of" in str(error)


def test_the_message_names_element_expected_and_got():
    with pytest.raises(
        GradientError, match=re.escape("wrong at [1, 0]: expected 3 by central differences, got 4")
    ) as caught:
        check_gradient(F, lambda x: [[2 * x[0], 2], [4, 8 * x[1]]], [1.0, 2.0])
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(GradientError, match=re.escape("got nan")):
        check_gradient(lambda x: x @ x, lambda x: 2 * x + [0, np.nan], [1.0, 2.0])
    with pytest.raises(GradientError, match="of the only element: expected 4"):
        check_gradient(lambda x: x**2, lambda x: 3 * x, 2.0)


def test_a_gradient_with_the_wrong_sign_or_zero_is_found():
    def f(x):
        return np.log1p(np.exp(x)).sum()

    def s(x):
        return 1 / (1 + np.exp(-x))

    assert check_gradient(f, s, [-2.0, 0.0, 3.0]) < 1e-8
    for wrong in (lambda x: -s(x), lambda x: 0 * x, lambda x: 2 * s(x), lambda x: s(x)[::-1]):
        with pytest.raises(GradientError):
            check_gradient(f, wrong, [-2.0, 0.0, 3.0])


def test_elements_that_are_zero_among_large_ones_pass():
    # Of x^3 at 0 differences give h^2, not 0; next to large values, rounding gives more.
    assert check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x**2, [0.0, 1e-3, 5.0, -100.0]) < 1e-6
    assert check_gradient(lambda x: 1e6 + 0 * x.sum(), np.zeros_like, [1.0, 2.0]) < 1e-6


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: numerical_gradient(3, [1.0]), TypeError, "f must be a function, got 3 (int)"),
        (lambda: check_gradient(lambda x: x @ x, None, [1.0]), TypeError, "df must be a function, got None"),
        (lambda: numerical_gradient(np.sum, "a"), TypeError, "x must hold real numbers, got 'a' (str)"),
        (lambda: numerical_gradient(np.sum, [1j]), TypeError, "x must hold real numbers, got list of dtype complex128"),
        (lambda: numerical_gradient(np.sum, [None]), TypeError, "x must hold real numbers, got list of dtype object"),
        (lambda: numerical_gradient(np.sum, [True]), TypeError, "x must hold real numbers, got list of dtype bool"),
        (
            lambda: numerical_gradient(np.sum, [[1], [2, 3]]),
            TypeError,
            "x must hold real numbers in one shape, got list",
        ),
        (lambda: numerical_gradient(np.sum, [1.0, np.nan]), ValueError, "x must be finite, got nan or inf"),
        (lambda: numerical_gradient(lambda x: x, [1.0, 2.0]), ValueError, "f must return one number, got shape (2,)"),
        (lambda: numerical_gradient(lambda x: None, [1.0]), TypeError, "f(x) must hold real numbers, got None"),
        (lambda: numerical_jacobian(lambda x: x * np.inf, [1.0]), ValueError, "f(x) must be finite; it is not at x"),
        (
            lambda: numerical_jacobian(lambda x: np.where(x > 1, np.inf, x), [0.0, 1.0]),
            ValueError,
            "f(x) must be finite; it is not near x, one step along element [1]",
        ),
        (
            lambda: numerical_jacobian(lambda x: x[x > 1], [1.0]),
            ValueError,
            "f(x) changes shape from (0,) to (1,) near x",
        ),
        (
            lambda: check_gradient(np.sum, lambda x: [1.0], [1.0, 2.0]),
            ValueError,
            "df(x) has shape (1,); expected (2,)",
        ),
        (lambda: check_gradient(F, lambda x: x, [1.0, 2.0]), ValueError, "df(x) has shape (2,); expected (2, 2)"),
        (
            lambda: check_gradient(np.sum, np.ones_like, [1.0], tolerance=-1),
            ValueError,
            "tolerance must be at least 0, got -1",
        ),
        (lambda: check_gradient(np.sum, np.ones_like, [1.0], tolerance="x"), TypeError, "tolerance must be a number"),
        (lambda: numerical_gradient(np.sum, [1.0], eps=0), ValueError, "eps must be greater than 0, got 0"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
