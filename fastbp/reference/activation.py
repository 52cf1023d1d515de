"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and gives dx = dy f'(x). For most f it takes y, of which f' is a function. gelu,
gelu_tanh and silu fall before they rise, so that y does not tell f': theirs takes x. Where an input is nan, so is y.
"""

import math

import numpy as np

from ..layers import activation as _activation

SELU_SCALE, SELU_LIMIT = 1.0507009873554804934, 1.7580993408473768600  # s and s a, a = 1.6732...
FAR = 1e4


def identity_forward(x):
    """y = x."""
    return x.copy()


def identity_backward(dy, y):
    """dx = dy."""
    return dy.copy()


def relu_forward(x):
    """y = max(x, 0)."""
    return np.maximum(x, 0)


def relu_backward(dy, y):
    """dx = dy [y > 0]: the derivative at 0 is taken to be 0."""
    return dy * (y > 0)


def leaky_relu_forward(x, negative_slope=0.01):
    """y = x for x > 0, else negative_slope x."""
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy, y, negative_slope=0.01):
    """dx = dy for y > 0, else negative_slope dy. The slope is not negative, so y > 0 where x > 0."""
    return np.where(y > 0, dy, negative_slope * dy)


def sigmoid_forward(x):
    """y = 1 / (1 + exp(-x)).

    Both sides multiplied by exp(x) where x < 0, so that no exp overflows: exp(min(x, 0)) / (1 + exp(-|x|)).
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def sigmoid_backward(dy, y):
    """dx = dy y (1 - y)."""
    return dy * (y * (1 - y))


def tanh_forward(x):
    """y = tanh(x)."""
    return np.tanh(x)


def tanh_backward(dy, y):
    """dx = dy (1 - y^2), as (1 - y) (1 + y), which keeps its digits where |y| is near 1."""
    return dy * ((1 - y) * (1 + y))


def softplus_forward(x, beta=1.0):
    """y = log(1 + exp(beta x)) / beta.

    Written max(x, 0) + log1p(exp(-|beta x|)) / beta, which does not overflow.
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(beta * x))) / beta


def softplus_backward(dy, y, beta=1.0):
    """dx = dy sigmoid(beta x). From y = log(1 + exp(beta x)) / beta: sigmoid(beta x) = 1 - exp(-beta y)."""
    return dy * -np.expm1(-beta * y)


def elu_forward(x, alpha=1.0):
    """y = x for x > 0, else alpha expm1(x)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_backward(dy, y, alpha=1.0):
    """dx = dy for y > 0, else dy (y + alpha): alpha exp(x) = y + alpha. alpha is not negative, so y > 0 where x > 0."""
    return np.where(y > 0, dy, dy * (y + alpha))


def selu_forward(x):
    """y = s x for x > 0, else s a expm1(x), with s = 1.0507... and a = 1.6732..."""
    return np.where(x > 0, SELU_SCALE * x, SELU_LIMIT * np.expm1(np.minimum(x, 0)))


def selu_backward(dy, y):
    """dx = dy s for y > 0, else dy (y + s a)."""
    return dy * np.where(y > 0, SELU_SCALE, y + SELU_LIMIT)


# The last three are x q(x), where q goes from 0 to 1. Beyond FAR it is 0 or 1 in every dtype: x stops there where it
# would only make a nan of 0 times infinity.


def gelu_forward(x):
    """y = x Phi(x), with Phi(x) = (1 + erf(x / sqrt(2))) / 2 = erfc(-x / sqrt(2)) / 2."""
    return np.maximum(x, -FAR) * _normal_cdf(x)


def gelu_backward(dy, x):
    """dx = dy (Phi(x) + x phi(x)), with phi(x) = Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi)."""
    near = np.clip(x, -FAR, FAR)
    return dy * (_normal_cdf(x) + near * (np.exp(-near * near / 2) / math.sqrt(2 * math.pi)))


def gelu_tanh_forward(x):
    """y = x (1 + tanh(u)) / 2 = x sigmoid(2 u), with u = sqrt(2/pi) (x + 0.044715 x^3)."""
    near = np.clip(x, -FAR, FAR)
    u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
    return np.maximum(x, -FAR) * sigmoid_forward(2 * u)


def gelu_tanh_backward(dy, x):
    """dx = dy (q + 2 x u' q (1 - q)), with q = sigmoid(2 u) and u' = sqrt(2/pi) (1 + 3 0.044715 x^2)."""
    near = np.clip(x, -FAR, FAR)
    u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near**2)
    q, rest = sigmoid_forward(2 * u), sigmoid_forward(-2 * u)
    return dy * (q + 2 * near * slope * q * rest)


def silu_forward(x):
    """y = x sigmoid(x)."""
    return np.maximum(x, -FAR) * sigmoid_forward(x)


def silu_backward(dy, x):
    """dx = dy (q + x q (1 - q)), with q = sigmoid(x)."""
    return dy * (sigmoid_forward(x) + np.clip(x, -FAR, FAR) * sigmoid_forward(x) * sigmoid_forward(-x))


_erfc = np.frompyfunc(math.erfc, 1, 1)  # NumPy has none


def _normal_cdf(x):
    """Phi(x), the distribution function of the standard normal law, computed in float64."""
    values = _erfc(-x.astype(np.float64).ravel() / math.sqrt(2)) / 2
    return values.astype(x.dtype).reshape(x.shape)


# By name or object, as the layers have them: LeakyReLU(0.2) has the name "leaky_relu" and the field negative_slope.


def forward(x, activation):
    """y = f(x) for f a name or an object of `layers`."""
    f = _activation(activation)
    return globals()[f"{f.name}_forward"](x, **{field: getattr(f, field) for field in f.fields})


def backward(dy, y, activation):
    """dx = dy f'(x), from y = f(x), or from x where f.from_z, for f a name or an object of `layers`."""
    f = _activation(activation)
    return globals()[f"{f.name}_backward"](dy, y, **{field: getattr(f, field) for field in f.fields})
