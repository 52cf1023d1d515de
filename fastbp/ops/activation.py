"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and gives dx = dy f'(x). Each of these f' is a function of y, so forward saves y
alone. Where an input is nan, so is y.

All raise TypeError for an argument that is not an array of float32 or float64, or whose dtype differs from the one
before it, and ValueError for shapes that differ.
"""

from .. import _core
from ..checks import array, number
from ..layers import Identity, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh


def _forward(x, f, alpha):
    try:
        return _core.activation_forward(x, f.code, alpha)
    except (TypeError, ValueError):
        pass
    return _core.activation_forward(array("x", x), f.code, alpha)


def _backward(dy, y, f, alpha):
    try:
        return _core.activation_backward(dy, y, f.code, alpha)
    except (TypeError, ValueError):
        pass
    dy = array("dy", dy)
    y = array("y", y, None, dy.dtype)
    if dy.shape != y.shape:
        raise ValueError(f"dy has shape {dy.shape}; y has {y.shape}")
    return _core.activation_backward(dy, y, f.code, alpha)


def identity_forward(x):
    """y = x, a copy.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, Identity, 0.0)


def identity_backward(dy, y):
    """dx = dy, a copy.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what identity_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, y, Identity, 0.0)


def relu_forward(x):
    """y = max(x, 0).

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, ReLU, 0.0)


def relu_backward(dy, y):
    """dx = dy [y > 0]: the derivative at 0 is taken to be 0.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what relu_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, y, ReLU, 0.0)


def leaky_relu_forward(x, negative_slope=0.01):
    """y = x for x > 0, else negative_slope x.

    Parameters
    ----------
    x : ndarray of any shape
    negative_slope : float, default 0.01
        Finite, at least 0.

    Returns
    -------
    y : ndarray of the shape of x

    Raises
    ------
    TypeError, ValueError
        Also for a negative_slope that is not such a number.
    """
    return _forward(x, LeakyReLU, number("negative_slope", negative_slope, least=0))


def leaky_relu_backward(dy, y, negative_slope=0.01):
    """dx = dy for y > 0, else negative_slope dy. The slope is not negative, so y > 0 where x > 0.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what leaky_relu_forward returned.
    negative_slope : float, default 0.01
        Finite, at least 0.

    Returns
    -------
    dx : ndarray of that shape

    Raises
    ------
    TypeError, ValueError
        Also for a negative_slope that is not such a number.
    """
    return _backward(dy, y, LeakyReLU, number("negative_slope", negative_slope, least=0))


def sigmoid_forward(x):
    """y = 1 / (1 + exp(-x)), within 2.5 ulp and without overflow.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, Sigmoid, 0.0)


def sigmoid_backward(dy, y):
    """dx = dy y (1 - y).

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what sigmoid_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, y, Sigmoid, 0.0)


def tanh_forward(x):
    """y = tanh(x), within 2.5 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, Tanh, 0.0)


def tanh_backward(dy, y):
    """dx = dy (1 - y) (1 + y), which keeps its digits where |y| is near 1.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what tanh_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, y, Tanh, 0.0)


def softplus_forward(x, beta=1.0):
    """y = log(1 + exp(beta x)) / beta, as max(x, 0) + log1p(exp(-|beta x|)) / beta, which does not overflow.

    Parameters
    ----------
    x : ndarray of any shape
    beta : float, default 1
        Finite, above 0.

    Returns
    -------
    y : ndarray of the shape of x

    Raises
    ------
    TypeError, ValueError
        Also for a beta that is not such a number.
    """
    return _forward(x, Softplus, number("beta", beta, above=0))


def softplus_backward(dy, y, beta=1.0):
    """dx = dy sigmoid(beta x), from y: sigmoid(beta x) = 1 - exp(-beta y) = -expm1(-beta y).

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what softplus_forward returned.
    beta : float, default 1
        Finite, above 0.

    Returns
    -------
    dx : ndarray of that shape

    Raises
    ------
    TypeError, ValueError
        Also for a beta that is not such a number.
    """
    return _backward(dy, y, Softplus, number("beta", beta, above=0))
