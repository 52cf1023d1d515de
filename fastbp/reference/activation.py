"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and returns dx = dy f'(x). For most f it takes y, and f' is a function of y. gelu,
gelu_tanh and silu are not monotonic, so that f' is no function of y: their backward takes x. nan in gives nan out.
Parameters are checked by the classes of `fastbp.layers`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import ELU, LeakyReLU, Softplus
from ..layers import activation as activation_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..layers import Activation


SELU_SCALE, SELU_LIMIT = 1.0507009873554804934, 1.7580993408473768600  # s and s a, a = 1.6732...
FAR = 1e4


def identity_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = x."""
    return x.copy()


def identity_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """dx = dy."""
    return dy.copy()


def relu_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = max(x, 0)."""
    return np.maximum(x, 0)


def relu_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """dx = dy [y > 0]: the derivative at 0 is taken to be 0."""
    return dy * (y > 0)


def leaky_relu_forward(x: NDArray[Any], negative_slope: float = 0.01) -> NDArray[Any]:
    """y = x for x > 0, else negative_slope x."""
    negative_slope = LeakyReLU(negative_slope).negative_slope
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy: NDArray[Any], y: NDArray[Any], negative_slope: float = 0.01) -> NDArray[Any]:
    """dx = dy for y > 0, else negative_slope dy. The slope is at least 0, hence y > 0 exactly where x > 0."""
    negative_slope = LeakyReLU(negative_slope).negative_slope
    return np.where(y > 0, dy, negative_slope * dy)


def sigmoid_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = 1 / (1 + exp(-x)).

    Computed as exp(min(x, 0)) / (1 + exp(-|x|)), in which no exp overflows.
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def sigmoid_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """dx = dy y (1 - y)."""
    return dy * (y * (1 - y))


def tanh_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = tanh(x)."""
    return np.tanh(x)


def tanh_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """dx = dy (1 - y^2), computed as (1 - y) (1 + y), which is accurate for |y| near 1."""
    return dy * ((1 - y) * (1 + y))


def softplus_forward(x: NDArray[Any], beta: float = 1.0) -> NDArray[Any]:
    """y = log(1 + exp(beta x)) / beta.

    Computed as max(x, 0) + log1p(exp(-|beta x|)) / beta, which does not overflow.
    """
    beta = Softplus(beta).beta
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(beta * x))) / beta


def softplus_backward(dy: NDArray[Any], y: NDArray[Any], beta: float = 1.0) -> NDArray[Any]:
    """dx = dy sigmoid(beta x), where sigmoid(beta x) = 1 - exp(-beta y)."""
    beta = Softplus(beta).beta
    return dy * -np.expm1(-beta * y)


def elu_forward(x: NDArray[Any], alpha: float = 1.0) -> NDArray[Any]:
    """y = x for x > 0, else alpha expm1(x)."""
    alpha = ELU(alpha).alpha
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_backward(dy: NDArray[Any], y: NDArray[Any], alpha: float = 1.0) -> NDArray[Any]:
    """dx = dy for y > 0, else dy (y + alpha), since alpha exp(x) = y + alpha. alpha is at least 0."""
    alpha = ELU(alpha).alpha
    return np.where(y > 0, dy, dy * (y + alpha))


def selu_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = s x for x > 0, else s a expm1(x), with s = 1.0507... and a = 1.6732..."""
    return np.where(x > 0, SELU_SCALE * x, SELU_LIMIT * np.expm1(np.minimum(x, 0)))


def selu_backward(dy: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """dx = dy s for y > 0, else dy (y + s a)."""
    return dy * np.where(y > 0, SELU_SCALE, y + SELU_LIMIT)


# The last three are x q(x), with q between 0 and 1. For |x| > FAR, q is 0 or 1 in every dtype: clipping x there avoids
# the nan of 0 times infinity.


def gelu_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = x Phi(x), with Phi(x) = (1 + erf(x / sqrt(2))) / 2 = erfc(-x / sqrt(2)) / 2."""
    return np.maximum(x, -FAR) * _normal_cdf(x)


def gelu_backward(dy: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """dx = dy (Phi(x) + x phi(x)), with phi(x) = Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi)."""
    near = np.clip(x, -FAR, FAR)
    return dy * (_normal_cdf(x) + near * (np.exp(-near * near / 2) / math.sqrt(2 * math.pi)))


def gelu_tanh_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = x (1 + tanh(u)) / 2 = x sigmoid(2 u), with u = sqrt(2/pi) (x + 0.044715 x^3)."""
    near = np.clip(x, -FAR, FAR)
    u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
    return np.maximum(x, -FAR) * sigmoid_forward(2 * u)


def gelu_tanh_backward(dy: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """dx = dy (q + 2 x u' q (1 - q)), with q = sigmoid(2 u) and u' = sqrt(2/pi) (1 + 3 0.044715 x^2)."""
    near = np.clip(x, -FAR, FAR)
    u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near**2)
    q, rest = sigmoid_forward(2 * u), sigmoid_forward(-2 * u)
    return dy * (q + 2 * near * slope * q * rest)


def silu_forward(x: NDArray[Any]) -> NDArray[Any]:
    """y = x sigmoid(x)."""
    return np.maximum(x, -FAR) * sigmoid_forward(x)


def silu_backward(dy: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """dx = dy (q + x q (1 - q)), with q = sigmoid(x)."""
    return dy * (sigmoid_forward(x) + np.clip(x, -FAR, FAR) * sigmoid_forward(x) * sigmoid_forward(-x))


_erfc = np.frompyfunc(math.erfc, 1, 1)  # NumPy has no erfc


def _normal_cdf(x: NDArray[Any]) -> NDArray[Any]:
    """Phi(x), the cumulative distribution function of the standard normal distribution, computed in float64."""
    values: Any = _erfc(-x.astype(np.float64).ravel() / math.sqrt(2)) / 2
    return values.astype(x.dtype).reshape(x.shape)


# The functions of an activation given as its name or as an object of `fastbp.layers`: LeakyReLU(0.2) has the name
# "leaky_relu" and the field negative_slope.


def forward(x: NDArray[Any], activation: str | Activation) -> NDArray[Any]:
    """y = f(x)."""
    f = activation_of(activation)
    return globals()[f"{f.name}_forward"](x, **{field: getattr(f, field) for field in f.fields})


def backward(dy: NDArray[Any], y: NDArray[Any], activation: str | Activation) -> NDArray[Any]:
    """dx = dy f'(x), from y = f(x); from x in place of y if f.from_z."""
    f = activation_of(activation)
    return globals()[f"{f.name}_backward"](dy, y, **{field: getattr(f, field) for field in f.fields})
