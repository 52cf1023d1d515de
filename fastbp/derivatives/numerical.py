"""Derivatives by central differences, and checks of gradients worked out by hand.

f'(x) is (f(x + h) - f(x - h)) / 2h but for two errors: the formula leaves out h^2 f'''/6, and rounding in f adds
about eps |f| / h. Their sum is least where h is about the cube root of eps times the scale on which x varies: here
h = cbrt(2.2e-16) max(|x|, 1) = 6e-6 max(|x|, 1), for each element of x. The result is then right to about ten digits.

Source: Press, Teukolsky, Vetterling and Flannery, Numerical Recipes, section "Numerical Derivatives"; Nocedal and
Wright, Numerical Optimization, section 8.1.
"""

import numpy as np

from .._support.declarative import described, number
from ..errors import GradientError

# What central differences cannot tell from 0, relative to the scale of f and its gradient, is below 1e-9. An element is
# taken relative to at least 1e-3 of that scale, so that this noise stays below 1e-6: the default tolerance.
_FLOOR = 1e-3


def numerical_gradient(f, x, eps=None):
    """The gradient of a function with one value, by central differences in float64.

    Parameters
    ----------
    f : callable
        Takes an array of float64 of the shape of x, returns a number (or an array of one element).
    x : array_like of real numbers, any shape
    eps : float, optional
        The step for an element of size up to 1; larger elements take it times their size. By default the cube root of
        float64's machine epsilon, 6.06e-6. Where f computes in float32, 5e-3 is right.

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
    x = _point(f, x)
    jacobian, value, _ = _differences(f, x, step(eps))
    if value.size != 1:
        raise ValueError(f"f must return one number, got shape {value.shape}; numerical_jacobian takes such an f")
    return jacobian.reshape(x.shape)


def numerical_jacobian(f, x, eps=None):
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


def check_gradient(f, df, x, eps=None, tolerance=1e-6):
    """Check a gradient or Jacobian worked out by hand against central differences.

    Parameters
    ----------
    f : callable
        Takes an array of float64 of the shape of x, returns a number or an array.
    df : callable
        Takes the same, returns the gradient (of the shape of x) where f has one value, else the Jacobian
        (f(x).shape + x.shape).
    x : array_like of real numbers, any shape
        Where to check. Stay 1e-5 away from kinks, such as 0 of a ReLU.
    eps : float, optional
        The step: as in `numerical_gradient`.
    tolerance : float, default 1e-6
        The largest relative error to accept.

    Returns
    -------
    float
        The largest relative error of an element: |got - expected| / max(|got|, |expected|, s / 1000). s is the scale
        below which differences see nothing: the largest of 1, |expected| over all elements, and |f(x)| over the size of
        the element of x.

    Raises
    ------
    GradientError
        If that is above `tolerance`, or df(x) is not finite; an AssertionError. It names the element, the value by
        differences, and the value df gave.
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
    x = _point(f, x)
    if not callable(df):
        raise TypeError(f"df must be a function, got {described(df)}")
    tolerance = number("tolerance", tolerance, least=0)
    expected, value, size = _differences(f, x, step(eps))
    got = _reals("df(x)", df(x.copy()))
    if got.shape != expected.shape:
        if value.size != 1 or got.shape != x.shape:
            shape = x.shape if value.size == 1 else expected.shape
            raise ValueError(
                f"df(x) has shape {got.shape}; expected {shape}, as x has {x.shape} and f(x) has {value.shape}"
            )
        expected = expected.reshape(x.shape)
        size = size.reshape(x.shape)
    if got.size == 0:
        return 0.0
    errors = relative_errors(got, expected, scale(expected, x, size))
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


def _differences(f, x, eps):
    """The Jacobian, the value f(x), and for each element of the Jacobian how large the f it is made of is."""
    value = _values(f, x, x.shape, None)
    jacobian = np.empty(value.shape + x.shape)
    size = np.empty_like(jacobian)
    for index in np.ndindex(x.shape):
        jacobian[(..., *index)], size[(..., *index)] = difference(f, x, index, eps, value.shape)
    return jacobian, value, size


def difference(f, x, index, eps, shape):
    """The derivative of f(x), of this shape, with respect to one element of x, and how large the f it is made of is."""
    above, below = x.copy(), x.copy()
    h = eps * max(abs(x[index]), 1.0)
    above[index] += h
    below[index] -= h
    f_above = _values(f, above, index, shape)
    f_below = _values(f, below, index, shape)
    derivative = (f_above - f_below) / (above[index] - below[index])  # as rounded: x + h is not exact
    return derivative, np.maximum(np.abs(f_above), np.abs(f_below))


def one_sided_differences(f, x, index, eps):
    """The derivatives of a number f(x) from the left and from the right: (-3 f(x) + 4 f(x + h) - f(x + 2h)) / 2h."""
    found = []
    for sign in (-1, 1):
        h = sign * eps * max(abs(x[index]), 1.0)
        near, far = x.copy(), x.copy()
        near[index] += h
        far[index] += 2 * h
        f_0, f_near, f_far = (_values(f, there, index, ()) for there in (x, near, far))
        found.append((-3 * f_0 + 4 * f_near - f_far) / (far[index] - x[index]))
    return found


def scale(expected, x, size):
    """Below what differences see nothing: see `check_gradient`. x: of their points; size: as `difference` gives it."""
    return np.maximum(size / np.maximum(np.abs(x), 1), max(1.0, np.abs(expected).max()))


def relative_errors(got, expected, scale):
    """Of each element, in the sense of `check_gradient`; inf where got is not finite."""
    largest = np.maximum(np.maximum(np.abs(got), np.abs(expected)), _FLOOR * scale)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(got), np.abs(got - expected) / largest, np.inf)


def _values(f, x, index, shape):
    value = _reals("f(x)", f(x.copy()))
    if shape is not None and value.shape != shape:
        raise ValueError(f"f(x) changes shape from {shape} to {value.shape} near x")
    if not np.isfinite(value).all():
        where = "at x" if shape is None else f"near x, one step along element {list(index)}"
        raise ValueError(f"f(x) must be finite; it is not {where}")
    return value


def _point(f, x):
    if not callable(f):
        raise TypeError(f"f must be a function, got {described(f)}")
    x = _reals("x", x)
    if not np.isfinite(x).all():
        raise ValueError("x must be finite, got nan or inf")
    return x


def _reals(name, values):
    """A copy in float64 of an array or sequence of real numbers."""
    try:
        found = np.asarray(values)
    except ValueError:
        raise TypeError(f"{name} must hold real numbers in one shape, got {described(values)}") from None
    if found.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got {described(values)} of dtype {found.dtype}")
    return found.astype(np.float64)


def step(eps):
    """The step for an element of size up to 1: as in `numerical_gradient`."""
    if eps is None:
        return float(np.cbrt(np.finfo(np.float64).eps))
    return number("eps", eps, above=0)
