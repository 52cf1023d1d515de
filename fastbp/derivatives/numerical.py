"""Derivatives by central differences, and the check of a gradient derived by hand.

f'(x) is (f(x + h) - f(x - h)) / 2h up to two errors: truncation, h^2 f'''/6, and rounding in f, about eps |f| / h.
Their sum is least for h near the cube root of eps times the scale on which x varies; here h = cbrt(2.2e-16) max(|x|, 1)
= 6e-6 max(|x|, 1) for each element of x. The result is accurate to about ten digits.

Source: Press, Teukolsky, Vetterling and Flannery, Numerical Recipes, section "Numerical Derivatives"; Nocedal and
Wright, Numerical Optimization, section 8.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import described, number
from ..errors import GradientError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Function = Callable[[Any], Any]

# The noise of central differences is below 1e-9 of the scale of f and its gradient. Errors are relative to at least
# 1e-3 of that scale, so that the noise stays below the default tolerance, 1e-6.
_FLOOR = 1e-3


def numerical_gradient(f: Callable[[Floats], Any], x: ArrayLike, eps: float | None = None) -> Floats:
    """The gradient of a function with one value, by central differences in float64.

    Parameters
    ----------
    f : callable
        Takes an array of float64 of the shape of x, returns a number (or an array of one element).
    x : array_like of real numbers, any shape
    eps : float, optional
        The step h for an element of absolute value up to 1; for larger elements, the step relative to their absolute
        value. Default: the cube root of float64's machine epsilon, 6.06e-6. For an f that computes in float32: 5e-3.

    Returns
    -------
    ndarray of float64, of the shape of x
        [f(x + h e_i) - f(x - h e_i)] / 2h for each element i.

    Raises
    ------
    TypeError
        If f is not callable, or x or f(x) does not hold real numbers.
    ValueError
        If f has several values, or x or f(x) is not finite.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.numerical_gradient(lambda x: (2 * x[0] + 3 * x[1]) ** 2, [1.0, 2.0]).round(6)
    array([32., 48.])
    """
    point = _point(f, x)
    jacobian, value, _ = _differences(f, point, step(eps))
    if value.size != 1:
        raise ValueError(f"f must return one number, got shape {value.shape}; numerical_jacobian takes such an f")
    return jacobian.reshape(point.shape)


def numerical_jacobian(f: Callable[[Floats], Any], x: ArrayLike, eps: float | None = None) -> Floats:
    """The Jacobian of a function with any number of values, by central differences in float64.

    Parameters
    ----------
    f : callable
        Takes an array of float64 of the shape of x, returns an array (or sequence) of real numbers.
    x : array_like of real numbers, any shape
    eps : float, optional
        As in `numerical_gradient`.

    Returns
    -------
    ndarray of float64, shape f(x).shape + x.shape
        The derivative of every value with respect to every element: J[i, j] = df_i/dx_j for vectors.

    Raises
    ------
    TypeError
        If f is not callable, or x or f(x) does not hold real numbers.
    ValueError
        If the shape of f(x) changes, or x or f(x) is not finite.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.numerical_jacobian(lambda x: [x[0] ** 2 + 2 * x[1], 3 * x[0] + 4 * x[1] ** 2], [1.0, 2.0]).round(6)
    array([[ 2.,  2.],
           [ 3., 16.]])
    """
    jacobian, _, _ = _differences(f, _point(f, x), step(eps))
    return jacobian


def check_gradient(
    f: Callable[[Floats], Any],
    df: Callable[[Floats], Any],
    x: ArrayLike,
    eps: float | None = None,
    tolerance: float = 1e-6,
) -> float:
    """Check a gradient or Jacobian derived by hand against central differences.

    Parameters
    ----------
    f : callable
        Takes an array of float64 of the shape of x, returns a number or an array.
    df : callable
        Takes the same array, returns the gradient (of the shape of x) if f has one value, otherwise the Jacobian
        (f(x).shape + x.shape).
    x : array_like of real numbers, any shape
        The point of the check, at least 1e-5 away from kinks such as 0 of a ReLU.
    eps : float, optional
        The step, as in `numerical_gradient`.
    tolerance : float, default 1e-6
        Upper bound on the relative errors.

    Returns
    -------
    float
        The largest relative error of an element, |got - expected| / max(|got|, |expected|, s / 1000). The scale s
        bounds the noise of differences: the largest of 1, |expected| over all elements, and |f(x)| / max(|x|, 1) for
        the element of x.

    Raises
    ------
    GradientError
        If that is above `tolerance`, or df(x) is not finite; an AssertionError. It names the element, its value by
        differences, and its value from df.
    TypeError
        If f or df is not callable, or x, f(x) or df(x) does not hold real numbers.
    ValueError
        If df(x) is of the wrong shape, or x or f(x) is not finite.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> fb.check_gradient(lambda x: x @ A @ x, lambda x: (A + A.T) @ x, [0.5, -1.0]) < 1e-9
    True
    """
    point = _point(f, x)
    if not callable(df):
        raise TypeError(f"df must be a function, got {described(df)}")
    tolerance = number("tolerance", tolerance, least=0)
    expected, value, size = _differences(f, point, step(eps))
    got = _reals("df(x)", df(point.copy()))
    if got.shape != expected.shape:
        if value.size != 1 or got.shape != point.shape:
            shape = point.shape if value.size == 1 else expected.shape
            raise ValueError(
                f"df(x) has shape {got.shape}; expected {shape}, as x has {point.shape} and f(x) has {value.shape}"
            )
        expected = expected.reshape(point.shape)
        size = size.reshape(point.shape)
    if got.size == 0:
        return 0.0
    errors = relative_errors(got, expected, scale(expected, point, size))
    index = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
    error = float(errors[index])
    if error > tolerance:
        where = f"at [{', '.join(map(str, index))}]" if index else "of the only element"
        wrong = int((errors > tolerance).sum())
        raise GradientError(
            f"df(x) is wrong {where}: expected {expected[index]:.10g} by central differences, got {got[index]:.10g}, "
            f"a relative error of {error:.3g} where {tolerance:g} is accepted; {wrong} of {errors.size} elements are "
            "wrong",
            index,
            float(expected[index]),
            float(got[index]),
            error,
        )
    return error


def _differences(f: Function, x: Floats, eps: float) -> tuple[Floats, Floats, Floats]:
    """The Jacobian, the value f(x), and for each element of the Jacobian the larger |f| of its difference."""
    value = _values(f, x, x.shape, None)
    jacobian = np.empty(value.shape + x.shape)
    size = np.empty_like(jacobian)
    for index in np.ndindex(x.shape):
        jacobian[(..., *index)], size[(..., *index)] = difference(f, x, index, eps, value.shape)
    return jacobian, value, size


def difference(
    f: Function, x: Floats, index: tuple[int, ...], eps: float, shape: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """The derivative of f(x), of this shape, with respect to one element of x, and the larger |f| of the difference."""
    above, below = x.copy(), x.copy()
    h = eps * max(abs(x[index]), 1.0)
    above[index] += h
    below[index] -= h
    f_above = _values(f, above, index, shape)
    f_below = _values(f, below, index, shape)
    derivative = (f_above - f_below) / (above[index] - below[index])  # as rounded: x + h is not exact
    return derivative, np.maximum(np.abs(f_above), np.abs(f_below))


def one_sided_differences(f: Function, x: Floats, index: tuple[int, ...], eps: float) -> list[Floats]:
    """The left and the right derivative of a number f(x): (-3 f(x) + 4 f(x + h) - f(x + 2h)) / 2h, h of either sign."""
    found = []
    for sign in (-1, 1):
        h = sign * eps * max(abs(x[index]), 1.0)
        near, far = x.copy(), x.copy()
        near[index] += h
        far[index] += 2 * h
        f_0, f_near, f_far = (_values(f, there, index, ()) for there in (x, near, far))
        found.append((-3 * f_0 + 4 * f_near - f_far) / (far[index] - x[index]))
    return found


def scale(expected: Floats, x: Floats, size: Floats) -> Floats:
    """The scale s of `check_gradient`. x: the elements; size: the second result of `difference`."""
    return np.maximum(size / np.maximum(np.abs(x), 1), max(1.0, np.abs(expected).max()))


def relative_errors(got: Any, expected: Floats, scale: Floats) -> Floats:
    """The relative error of each element, as `check_gradient` defines it; inf where got is not finite."""
    largest = np.maximum(np.maximum(np.abs(got), np.abs(expected)), _FLOOR * scale)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(got), np.abs(got - expected) / largest, np.inf)


def _values(f: Function, x: Floats, index: tuple[int, ...], shape: tuple[int, ...] | None) -> Floats:
    value = _reals("f(x)", f(x.copy()))
    if shape is not None and value.shape != shape:
        raise ValueError(f"f(x) changes shape from {shape} to {value.shape} near x")
    if not np.isfinite(value).all():
        where = "at x" if shape is None else f"near x, one step along element {list(index)}"
        raise ValueError(f"f(x) must be finite; it is not {where}")
    return value


def _point(f: object, x: ArrayLike) -> Floats:
    if not callable(f):
        raise TypeError(f"f must be a function, got {described(f)}")
    found = _reals("x", x)
    if not np.isfinite(found).all():
        raise ValueError("x must be finite, got nan or inf")
    return found


def _reals(name: str, values: Any) -> Floats:
    """A copy in float64 of an array or sequence of real numbers."""
    try:
        found = np.asarray(values)
    except ValueError:
        raise TypeError(f"{name} must hold real numbers in one shape, got {described(values)}") from None
    if found.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got {described(values)} of dtype {found.dtype}")
    return found.astype(np.float64)


def step(eps: float | None) -> float:
    """The step h of `numerical_gradient`."""
    if eps is None:
        return float(np.cbrt(np.finfo(np.float64).eps))
    return number("eps", eps, above=0)
