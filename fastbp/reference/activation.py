"""Activations y = f(x), applied to each element of an array of any shape, and their derivatives.

Backward takes dy, the gradient at y, and gives dx = dy f'(x). Each of these f' is a function of y, so forward saves y
alone. Where an input is nan, so is y.
"""

import numpy as np

from ..layers import activation as _activation


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


# By name or object, as the layers have them: LeakyReLU(0.2) has the name "leaky_relu" and the field negative_slope.


def forward(x, activation):
    """y = f(x) for f a name or an object of `layers`."""
    f = _activation(activation)
    return globals()[f"{f.name}_forward"](x, **{field: getattr(f, field) for field in f.fields})


def backward(dy, y, activation):
    """dx = dy f'(x), from y = f(x), for f a name or an object of `layers`."""
    f = _activation(activation)
    return globals()[f"{f.name}_backward"](dy, y, **{field: getattr(f, field) for field in f.fields})
