"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and gives dx = dy f'(x). For most f it takes y, of which f' is a function. gelu,
gelu_tanh and silu fall before they rise, so that y does not tell f': theirs takes x. Where an input is nan, so is y.

All raise TypeError for an argument that is not an array of float32 or float64, or whose dtype differs from the one
before it, and ValueError for shapes that differ.
"""

from .. import _core
from .._support.arguments import array, number
from ..layers import ELU, GELU, SELU, GELUTanh, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh


def _forward(x, f, alpha):
    try:
        return _core.activation_forward(x, f.code, alpha)
    except (TypeError, ValueError):
        pass
    return _core.activation_forward(array("x", x), f.code, alpha)


def _backward(dy, y, f, alpha, name="y"):
    try:
        return _core.activation_backward(dy, y, f.code, alpha)
    except (TypeError, ValueError):
        pass
    dy = array("dy", dy)
    y = array(name, y, None, dy.dtype)
    if dy.shape != y.shape:
        raise ValueError(f"dy has shape {dy.shape}; {name} has {y.shape}")
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


def elu_forward(x, alpha=1.0):
    """y = x for x > 0, else alpha expm1(x).

    Parameters
    ----------
    x : ndarray of any shape
    alpha : float, default 1
        Finite, at least 0.

    Returns
    -------
    y : ndarray of the shape of x

    Raises
    ------
    TypeError, ValueError
        Also for an alpha that is not such a number.
    """
    return _forward(x, ELU, number("alpha", alpha, least=0))


def elu_backward(dy, y, alpha=1.0):
    """dx = dy for y > 0, else dy (y + alpha), since alpha exp(x) = y + alpha; y > 0 where x > 0, as alpha >= 0.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what elu_forward returned.
    alpha : float, default 1
        Finite, at least 0.

    Returns
    -------
    dx : ndarray of that shape

    Raises
    ------
    TypeError, ValueError
        Also for an alpha that is not such a number.
    """
    return _backward(dy, y, ELU, number("alpha", alpha, least=0))


def selu_forward(x):
    """y = s x for x > 0, else s a expm1(x), with s = 1.0507... and a = 1.6732...

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, SELU, 0.0)


def selu_backward(dy, y):
    """dx = dy s for y > 0, else dy (y + s a).

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what selu_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, y, SELU, 0.0)


def gelu_forward(x):
    """y = x Phi(x), with Phi(x) = (1 + erf(x / sqrt(2))) / 2, within 8 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, GELU, 0.0)


def gelu_backward(dy, x):
    """dx = dy (Phi(x) + x phi(x)), with phi(x) = Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is gelu_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, x, GELU, 0.0, "x")


def gelu_tanh_forward(x):
    """y = x (1 + tanh(u)) / 2 = x sigmoid(2 u), with u = sqrt(2/pi) (x + 0.044715 x^3).

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, GELUTanh, 0.0)


def gelu_tanh_backward(dy, x):
    """dx = dy (q + 2 x u' q (1 - q)), with q = sigmoid(2 u) and u' = sqrt(2/pi) (1 + 3 0.044715 x^2).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is gelu_tanh_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, x, GELUTanh, 0.0, "x")


def silu_forward(x):
    """y = x sigmoid(x).

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _forward(x, SiLU, 0.0)


def silu_backward(dy, x):
    """dx = dy (q + x q (1 - q)), with q = sigmoid(x).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is silu_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _backward(dy, x, SiLU, 0.0, "x")
