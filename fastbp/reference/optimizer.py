"""Optimiser steps, and what is done to gradients and weights around them: all in place, all arrays of shape (N,).

Scalars are formed in float64 and rounded once to the dtype of w.
"""

import math

import numpy as np


def of(optimizer, w, g, moments, t, learning_rate=None):
    """Update t, from 1, of an optimiser as `fastbp.optimizers` declares it, with another learning rate unless None.

    moments are its vectors, as many as it says, in the order of its `slots`.
    """
    if optimizer.code is None:
        raise ValueError(f"{optimizer!r} takes no steps")
    rate = optimizer.learning_rate if learning_rate is None else learning_rate
    slots = dict(zip(optimizer.slots, moments, strict=True))
    state = [slots.get(slot) for slot in range(3)]
    given = {name: getattr(optimizer, name) for name in optimizer.fields if name != "learning_rate"}
    given.pop("initial_accumulator", None)
    if optimizer.name == "sgd":
        sgd_step(w, g, state[0], rate, **given)
    elif optimizer.name in ("adam", "adamw"):
        adam_step(w, g, state[0], state[1], t, rate, decoupled=optimizer.decoupled, **given)
    elif optimizer.name == "rmsprop":
        rmsprop_step(w, g, *state, rate, **given)
    else:
        adagrad_step(w, g, state[0], t, rate, **given)


def sgd_step(w, g, v=None, learning_rate=1e-3, momentum=0.0, weight_decay=0.0, nesterov=False):
    """g' = g + weight_decay w; v = momentum v + g'; w -= learning_rate v.

    Without momentum v is g' itself, and no state is kept. With Nesterov's, w -= learning_rate (g' + momentum v). As in
    PyTorch's SGD, the learning rate is not part of v. An element of v below the smallest normal number becomes 0.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    v : ndarray (N,), optional
        Updated in place; zeros before the first step. Needed when momentum is not 0.
    learning_rate, momentum, weight_decay : float
    nesterov : bool
        Needs momentum.

    Raises
    ------
    ValueError
        If there is momentum and no v, or nesterov and no momentum.
    """
    if nesterov and momentum == 0:
        raise ValueError("nesterov is True; it needs a momentum above 0")
    if momentum != 0 and v is None:
        raise ValueError("v is needed when momentum is not 0: zeros before the first step")
    g = g + weight_decay * w
    if momentum != 0:
        v[...] = momentum * v + g
        _settle(v)
        g = g + momentum * v if nesterov else v
    w -= learning_rate * g


def adam_step(w, g, m, v, t, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False):
    """Step t of Adam (Kingma and Ba, ICLR 2015, Algorithm 1), with weight decay added to the gradient.

    g' = g + weight_decay w
    m = beta1 m + (1 - beta1) g'            mean of the gradients, from m = 0
    v = beta2 v + (1 - beta2) g'^2          mean of their squares, from v = 0
    w -= learning_rate m^ / (sqrt(v^) + eps)

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) undo the pull of the zeros that the means start from. Decoupled
    (AdamW: Loshchilov and Hutter, ICLR 2019, Algorithm 2), g' = g, and w -= learning_rate weight_decay w comes first.
    An element of m below the smallest normal number becomes 0, and one of v where eps is so large that this changes
    nothing in w.

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
    decoupled : bool
        Whether weight decay shrinks w itself rather than joining the gradient.
    """
    rate = learning_rate / (1 - _power(beta1, t))
    root_scale = 1 / math.sqrt(1 - _power(beta2, t))
    if decoupled:
        w -= (learning_rate * weight_decay) * w
    else:
        g = g + weight_decay * w
    m[...] = beta1 * m + (1 - beta1) * g
    _settle(m)
    v[...] = beta2 * v + (1 - beta2) * (g * g)
    _settle_square(v, eps, root_scale)
    w -= rate * m / (np.sqrt(v) * root_scale + eps)


def rmsprop_step(
    w,
    g,
    v,
    buffer=None,
    mean=None,
    learning_rate=1e-2,
    alpha=0.99,
    eps=1e-8,
    weight_decay=0.0,
    momentum=0.0,
    centered=False,
):
    """A step of RMSprop (Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012).

    g' = g + weight_decay w
    v = alpha v + (1 - alpha) g'^2          mean of the squares of the gradients
    q = g' / (sqrt(v) + eps)
    w -= learning_rate q

    Centred (Graves, Generating Sequences with Recurrent Neural Networks, 2013), mean = alpha mean + (1 - alpha) g', and
    v - mean^2, or 0 where rounding makes that negative, stands under the root. With momentum, buffer = momentum buffer
    + q, and w -= learning_rate buffer. An element of mean or buffer below the smallest normal number becomes 0, and one
    of v where eps is so large that this changes nothing in w.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    v : ndarray (N,)
        Updated in place; zeros before the first step.
    buffer, mean : ndarray (N,), optional
        Updated in place; zeros before the first step. Needed when momentum is not 0 and when centered.
    learning_rate, alpha, eps, weight_decay, momentum : float
    centered : bool

    Raises
    ------
    ValueError
        If there is momentum and no buffer, or centered and no mean.
    """
    if momentum != 0 and buffer is None:
        raise ValueError("buffer is needed when momentum is not 0: zeros before the first step")
    if centered and mean is None:
        raise ValueError("mean is needed when centered: zeros before the first step")
    g = g + weight_decay * w
    v[...] = alpha * v + (1 - alpha) * (g * g)
    _settle_square(v, eps)
    square = v
    if centered:
        mean[...] = alpha * mean + (1 - alpha) * g
        _settle(mean)
        square = np.maximum(v - mean * mean, 0)
    step = g / (np.sqrt(square) + eps)
    if momentum != 0:
        buffer[...] = momentum * buffer + step
        _settle(buffer)
        step = buffer
    w -= learning_rate * step


def adagrad_step(w, g, v, t, learning_rate=1e-2, rate_decay=0.0, weight_decay=0.0, eps=1e-10):
    """Step t of Adagrad (Duchi, Hazan and Singer, JMLR 2011).

    g' = g + weight_decay w
    v = v + g'^2                            sum of the squares of the gradients
    w -= learning_rate / (1 + (t - 1) rate_decay) g' / (sqrt(v) + eps)

    An element of v below the smallest normal number becomes 0 where eps is so large that this changes nothing in w.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    v : ndarray (N,)
        Updated in place; zeros before the first step, or what the sum is to begin with.
    t : int
        The number of this step, from 1.
    learning_rate, rate_decay, weight_decay, eps : float
    """
    g = g + weight_decay * w
    v += g * g
    _settle_square(v, eps)
    w -= learning_rate / (1 + (t - 1) * rate_decay) * g / (np.sqrt(v) + eps)


def penalty(w, g, l1=0.0, l2=0.0):
    """l1 sum_i |w_i| + l2/2 sum_i w_i^2, as a float; its gradient is added to g: g += l1 sign(w) + l2 w.

    A term whose factor is 0 is left out.
    """
    value = 0.0
    if l1 != 0:
        g += l1 * np.sign(w)
        value += l1 * float(np.sum(np.abs(w)))
    if l2 != 0:
        g += l2 * w
        value += l2 / 2 * float(np.sum(w * w))
    return value


def clip_by_norm(g, limit, eps=1e-6):
    """g *= limit / (|g| + eps), in the Euclidean norm, where that factor is below 1; returns the norm before.

    As in PyTorch's clip_grad_norm_. Where the norm overflows the dtype of g it is inf, and finite elements become 0.
    """
    norm = math.sqrt(float(np.sum(g * g)))
    if limit < norm + eps:
        g *= limit / (norm + eps)
    return norm


def clip_by_value(g, limit):
    """g = min(max(g, -limit), limit), element by element; a nan stays."""
    np.clip(g, -limit, limit, out=g)


def weight_average(average, w, decay):
    """average += (1 - decay) (w - average): an exponential moving average of the weights.

    An element of average below the smallest normal number becomes 0. The first time, average is a copy of w.
    """
    average += (1 - decay) * (w - average)
    _settle(average)


def _settle(mean):
    """Set to 0 what is too small to be a normal number: arithmetic with such numbers is slow."""
    mean[np.abs(mean) < np.finfo(mean.dtype).tiny] = 0


def _settle_square(v, eps, root_scale=1.0):
    """The same of v, where eps is so large that eps + root_scale sqrt(v) is eps for such a v."""
    real = np.finfo(v.dtype)
    if root_scale * math.sqrt(real.tiny) < eps * float(real.epsneg) / 4:
        _settle(v)


def _power(base, t):
    """base^t by repeated squaring: multiplications alone, so that every machine gets the same bits."""
    result = 1.0
    while t:
        if t & 1:
            result *= base
        base *= base
        t >>= 1
    return result
