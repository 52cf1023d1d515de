"""Is a gradient worked out by hand right? python examples/check_gradient.py

Backpropagation through a net of two layers in ten lines of NumPy, compared with central differences; then the same with
a fault in one line, which is found and said where; then a whole fastbp net with its loss, checked in one call.
"""

import numpy as np

import fastbp as fb

rng = np.random.default_rng(0)
x, t = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))


def unpacked(w):
    """W1 (3, 4), b1 (4,), W2 (4, 2), b2 (2,) of a vector of 26 parameters."""
    return w[:12].reshape(3, 4), w[12:16], w[16:24].reshape(4, 2), w[24:]


def loss(w):
    W1, b1, W2, b2 = unpacked(w)
    return np.square(np.tanh(x @ W1 + b1) @ W2 + b2 - t).sum() / 2


def gradient(w, slope=lambda h: 1 - h**2):
    """By hand: each line is the backward pass of a line of `loss`. slope: tanh' by the value h of tanh."""
    W1, b1, W2, b2 = unpacked(w)
    h = np.tanh(x @ W1 + b1)
    dy = h @ W2 + b2 - t
    dz = (dy @ W2.T) * slope(h)
    return np.concatenate([(x.T @ dz).ravel(), dz.sum(axis=0), (h.T @ dy).ravel(), dy.sum(axis=0)])


w = rng.standard_normal(26)
print(f"right: largest relative error {fb.check_gradient(loss, gradient, w):.1e}")

try:
    fb.check_gradient(loss, lambda w: gradient(w, slope=lambda h: 1 - h), w)  # the square is missing
except fb.GradientError as error:
    print(f"wrong: {error}")

# The same net in fastbp: what the C core computes is checked in the same way, layer by layer.
net = fb.Network(3, [fb.Dense(4, "tanh"), fb.Dense(2)], dtype="float64")
print(fb.check_network(net, "mean_squared_error", x, t))
