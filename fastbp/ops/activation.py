"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and gives dx = dy f'(x). For most f it takes y, of which f' is a function. gelu,
gelu_tanh and silu fall before they rise, so that y does not tell f': theirs takes x. Where an input is nan, so is y.

All raise TypeError for an argument that is not an array of float32 or float64, or whose dtype differs from the one
before it, and ValueError for shapes that differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core
from .._support.arguments import number
from ..layers import ELU, GELU, SELU, GELUTanh, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def identity_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = x, a copy.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, Identity.code, 0.0)


def identity_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """dx = dy, a copy.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what identity_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, y, Identity.code, 0.0)


def relu_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = max(x, 0).

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, ReLU.code, 0.0)


def relu_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """dx = dy [y > 0]: the derivative at 0 is taken to be 0.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what relu_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, y, ReLU.code, 0.0)


def leaky_relu_forward(x: NDArray[Real], negative_slope: float = 0.01) -> NDArray[Real]:
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
    return _core.activation_forward(x, LeakyReLU.code, number("negative_slope", negative_slope, least=0))


def leaky_relu_backward(dy: NDArray[Real], y: NDArray[Real], negative_slope: float = 0.01) -> NDArray[Real]:
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
    return _core.activation_backward(dy, y, LeakyReLU.code, number("negative_slope", negative_slope, least=0))


def sigmoid_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = 1 / (1 + exp(-x)), within 2 ulp and without overflow.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, Sigmoid.code, 0.0)


def sigmoid_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """dx = dy y (1 - y).

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what sigmoid_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, y, Sigmoid.code, 0.0)


def tanh_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = tanh(x), within 2 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, Tanh.code, 0.0)


def tanh_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """dx = dy (1 - y) (1 + y), which keeps its digits where |y| is near 1.

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what tanh_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, y, Tanh.code, 0.0)


def softplus_forward(x: NDArray[Real], beta: float = 1.0) -> NDArray[Real]:
    """y = log(1 + exp(beta x)) / beta, as max(x, 0) + log1p(exp(-|beta x|)) / beta, which does not overflow.

    The error is within 2 ulp where beta is a power of two, else 1 + |beta x| times that.

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
    return _core.activation_forward(x, Softplus.code, number("beta", beta, above=0))


def softplus_backward(dy: NDArray[Real], y: NDArray[Real], beta: float = 1.0) -> NDArray[Real]:
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
    return _core.activation_backward(dy, y, Softplus.code, number("beta", beta, above=0))


def elu_forward(x: NDArray[Real], alpha: float = 1.0) -> NDArray[Real]:
    """y = x for x > 0, else alpha expm1(x). With alpha = 1 it is within 1 ulp.

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
    return _core.activation_forward(x, ELU.code, number("alpha", alpha, least=0))


def elu_backward(dy: NDArray[Real], y: NDArray[Real], alpha: float = 1.0) -> NDArray[Real]:
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
    return _core.activation_backward(dy, y, ELU.code, number("alpha", alpha, least=0))


def selu_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = s x for x > 0, else s a expm1(x), with s = 1.0507... and a = 1.6732..., within 2 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, SELU.code, 0.0)


def selu_backward(dy: NDArray[Real], y: NDArray[Real]) -> NDArray[Real]:
    """dx = dy s for y > 0, else dy (y + s a).

    Parameters
    ----------
    dy, y : ndarray of one shape
        y is what selu_forward returned.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, y, SELU.code, 0.0)


def gelu_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = x Phi(x), with Phi(x) = (1 + erf(x / sqrt(2))) / 2, within 8 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, GELU.code, 0.0)


def gelu_backward(dy: NDArray[Real], x: NDArray[Real]) -> NDArray[Real]:
    """dx = dy (Phi(x) + x phi(x)), with phi(x) = Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is gelu_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, x, GELU.code, 0.0)


def gelu_tanh_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = x (1 + tanh(u)) / 2 = x sigmoid(2 u), with u = sqrt(2/pi) (x + 0.044715 x^3).

    The error is within 3 ulp times 1 + |2 u|.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, GELUTanh.code, 0.0)


def gelu_tanh_backward(dy: NDArray[Real], x: NDArray[Real]) -> NDArray[Real]:
    """dx = dy (q + 2 x u' q (1 - q)), with q = sigmoid(2 u) and u' = sqrt(2/pi) (1 + 3 0.044715 x^2).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is gelu_tanh_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, x, GELUTanh.code, 0.0)


def silu_forward(x: NDArray[Real]) -> NDArray[Real]:
    """y = x sigmoid(x), within 3 ulp.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    y : ndarray of the shape of x
    """
    return _core.activation_forward(x, SiLU.code, 0.0)


def silu_backward(dy: NDArray[Real], x: NDArray[Real]) -> NDArray[Real]:
    """dx = dy (q + x q (1 - q)), with q = sigmoid(x).

    Parameters
    ----------
    dy, x : ndarray of one shape
        x is silu_forward's argument.

    Returns
    -------
    dx : ndarray of that shape
    """
    return _core.activation_backward(dy, x, SiLU.code, 0.0)
