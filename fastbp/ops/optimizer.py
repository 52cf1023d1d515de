"""Optimiser steps: w and the state are updated in place from the gradient g.

All arrays have one shape, which may be any, and one dtype. Scalars are formed in float64 and rounded once to that
dtype.

w and the state must be contiguous, aligned and writeable: ValueError otherwise. TypeError for an argument that is not
an array of float32 or float64, or whose dtype differs from that of w; ValueError for shapes that differ and
hyperparameters out of range. Nothing is changed then.
"""

from .. import _core
from ..checks import array, in_place, integer, number


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
        Updated in place; zeros before the first step. Needed when momentum is not 0, else left alone.
    learning_rate, weight_decay : float
        Finite, at least 0.
    momentum : float
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        See above; also if there is momentum and no v.
    """
    try:
        _core.sgd_step(w, g, v, learning_rate, momentum, weight_decay)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    w = in_place("w", w)
    g = _gradient(g, w)
    learning_rate = number("learning_rate", learning_rate, least=0)
    momentum = number("momentum", momentum, least=0, below=1)
    weight_decay = number("weight_decay", weight_decay, least=0)
    if v is not None:
        v = in_place("v", v, w.shape, w.dtype)
    elif momentum:
        raise ValueError("v is needed when momentum is not 0: zeros before the first step")
    _core.sgd_step(w, g, v, learning_rate, momentum, weight_decay)


def adam_step(w, g, m, v, t, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """Step t of Adam (Kingma and Ba, ICLR 2015, Algorithm 1), with weight decay added to the gradient.

    g' = g + weight_decay w
    m = beta1 m + (1 - beta1) g'            mean of the gradients, from m = 0
    v = beta2 v + (1 - beta2) g'^2          mean of their squares, from v = 0
    w -= learning_rate m^ / (sqrt(v^) + eps)

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) undo the pull of the zeros that the means start from. An element
    of m below the smallest normal number becomes 0.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    m, v : ndarray (N,)
        Updated in place; zeros before the first step.
    t : int
        The number of this step, from 1.
    learning_rate, weight_decay : float
        Finite, at least 0.
    beta1, beta2 : float
        In [0, 1).
    eps : float
        Finite, above 0.

    Raises
    ------
    TypeError, ValueError
        See above; also if t is not an integer from 1 on.
    """
    try:
        _core.adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    w = in_place("w", w)
    g = _gradient(g, w)
    m = in_place("m", m, w.shape, w.dtype)
    v = in_place("v", v, w.shape, w.dtype)
    _core.adam_step(
        w,
        g,
        m,
        v,
        integer("t", t, 1, 2**63 - 1),
        number("learning_rate", learning_rate, least=0),
        number("beta1", beta1, least=0, below=1),
        number("beta2", beta2, least=0, below=1),
        number("eps", eps, above=0),
        number("weight_decay", weight_decay, least=0),
    )


def _gradient(g, w):
    g = array("g", g, None, w.dtype)
    if g.shape != w.shape:
        raise ValueError(f"g has shape {g.shape}; w has {w.shape}")
    return g
