"""Optimiser steps: w and the state are updated in place from the gradient g, all of shape (N,).

Scalars are formed in float64 and rounded once to the dtype of w.
"""

import math

import numpy as np


def sgd_step(w, g, v=None, learning_rate=1e-3, momentum=0.0, weight_decay=0.0):
    """g' = g + weight_decay w; v = momentum v + g'; w -= learning_rate v.

    Without momentum v is g' itself, and no state is kept. As in PyTorch's SGD, the learning rate is not part of v. An
    element of v below the smallest normal number becomes 0.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    v : ndarray (N,), optional
        Updated in place; zeros before the first step. Needed when momentum is not 0.
    learning_rate, momentum, weight_decay : float

    Raises
    ------
    ValueError
        If there is momentum and no v.
    """
    if momentum != 0 and v is None:
        raise ValueError("v is needed when momentum is not 0: zeros before the first step")
    g = g + weight_decay * w
    if momentum != 0:
        v[...] = momentum * v + g
        _settle(v)
        g = v
    w -= learning_rate * g


def adam_step(w, g, m, v, t, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Step t of Adam (Kingma and Ba, ICLR 2015, Algorithm 1), with weight decay added to the gradient.

    g' = g + weight_decay w
    m = beta1 m + (1 - beta1) g'            mean of the gradients, from m = 0
    v = beta2 v + (1 - beta2) g'^2          mean of their squares, from v = 0
    w -= learning_rate m^ / (sqrt(v^) + eps)

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) undo the pull of the zeros that the means start from. An element
    of m below the smallest normal number becomes 0, and one of v where eps is so large that this changes nothing in w.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    m, v : ndarray (N,)
        Updated in place; zeros before the first step.
    t : int
        The number of this step, from 1.
    learning_rate, beta1, beta2, eps, weight_decay : float
    """
    rate = learning_rate / (1 - _power(beta1, t))
    root_scale = 1 / math.sqrt(1 - _power(beta2, t))
    g = g + weight_decay * w
    m[...] = beta1 * m + (1 - beta1) * g
    _settle(m)
    v[...] = beta2 * v + (1 - beta2) * (g * g)
    real = np.finfo(v.dtype)
    if root_scale * math.sqrt(real.tiny) < eps * float(real.epsneg) / 4:
        _settle(v)
    w -= rate * m / (np.sqrt(v) * root_scale + eps)


def _settle(mean):
    """Set to 0 what is too small to be a normal number: arithmetic with such numbers is slow."""
    mean[np.abs(mean) < np.finfo(mean.dtype).tiny] = 0


def _power(base, t):
    """base^t by repeated squaring: multiplications alone, so that every machine gets the same bits."""
    result = 1.0
    while t:
        if t & 1:
            result *= base
        base *= base
        t >>= 1
    return result
