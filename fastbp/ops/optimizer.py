"""Optimiser steps, and what is done to gradients and weights around them: all in place.

All arrays have one shape, which may be any, and one dtype. Scalars are formed in float64 and rounded once to that
dtype. Formulas and names of hyperparameters are PyTorch's.

What is updated must be contiguous, aligned and writeable: ValueError otherwise. TypeError for an argument that is not
an array of float32 or float64, or whose dtype differs from that of w; ValueError for shapes that differ and
hyperparameters out of range. Nothing is changed then.
"""

from .. import _core
from .._support.arguments import array, in_place, integer, number
from .._support.declarative import flag


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
        Updated in place; zeros before the first step. Needed when momentum is not 0, else left alone.
    learning_rate, weight_decay : float
        Finite, at least 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs momentum.

    Raises
    ------
    TypeError, ValueError
        See above; also if there is momentum and no v, or nesterov and no momentum.
    """
    try:
        _core.sgd_step(w, g, v, learning_rate, momentum, weight_decay, nesterov)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    w = in_place("w", w)
    g = _gradient(g, w)
    learning_rate = number("learning_rate", learning_rate, least=0)
    momentum = number("momentum", momentum, least=0, below=1)
    weight_decay = number("weight_decay", weight_decay, least=0)
    if flag("nesterov", nesterov) and not momentum:
        raise ValueError("nesterov is True; it needs a momentum above 0")
    v = _state("v", v, w, "momentum is not 0" if momentum else None)
    _core.sgd_step(w, g, v, learning_rate, momentum, weight_decay, flag("nesterov", nesterov))


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
    learning_rate, weight_decay : float
        Finite, at least 0.
    beta1, beta2 : float
        In [0, 1).
    eps : float
        Finite, above 0.
    decoupled : bool
        Whether weight decay shrinks w itself rather than joining the gradient.

    Raises
    ------
    TypeError, ValueError
        See above; also if t is not an integer from 1 on.
    """
    try:
        _core.adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay, decoupled)
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
        flag("decoupled", decoupled),
    )


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
        Updated in place; zeros before the first step. Needed when momentum is not 0 and when centered, else left alone.
    learning_rate, weight_decay : float
        Finite, at least 0.
    alpha, momentum : float
        In [0, 1).
    eps : float
        Finite, above 0.
    centered : bool

    Raises
    ------
    TypeError, ValueError
        See above; also if there is momentum and no buffer, or centered and no mean.
    """
    try:
        _core.rmsprop_step(w, g, v, buffer, mean, learning_rate, alpha, eps, weight_decay, momentum, centered)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    w = in_place("w", w)
    g = _gradient(g, w)
    v = in_place("v", v, w.shape, w.dtype)
    momentum = number("momentum", momentum, least=0, below=1)
    centered = flag("centered", centered)
    _core.rmsprop_step(
        w,
        g,
        v,
        _state("buffer", buffer, w, "momentum is not 0" if momentum else None),
        _state("mean", mean, w, "centered" if centered else None),
        number("learning_rate", learning_rate, least=0),
        number("alpha", alpha, least=0, below=1),
        number("eps", eps, above=0),
        number("weight_decay", weight_decay, least=0),
        momentum,
        centered,
    )


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
    learning_rate, rate_decay, weight_decay : float
        Finite, at least 0.
    eps : float
        Finite, above 0.

    Raises
    ------
    TypeError, ValueError
        See above; also if t is not an integer from 1 on.
    """
    try:
        _core.adagrad_step(w, g, v, t, learning_rate, rate_decay, weight_decay, eps)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    w = in_place("w", w)
    g = _gradient(g, w)
    v = in_place("v", v, w.shape, w.dtype)
    _core.adagrad_step(
        w,
        g,
        v,
        integer("t", t, 1, 2**63 - 1),
        number("learning_rate", learning_rate, least=0),
        number("rate_decay", rate_decay, least=0),
        number("weight_decay", weight_decay, least=0),
        number("eps", eps, above=0),
    )


def penalty(w, g, l1=0.0, l2=0.0):
    """l1 sum_i |w_i| + l2/2 sum_i w_i^2; its gradient is added to g: g += l1 sign(w) + l2 w.

    Parameters
    ----------
    w : ndarray (N,)
    g : ndarray (N,)
        Updated in place. sign(0) is 0.
    l1, l2 : float
        Finite, at least 0. A term whose factor is 0 is left out.

    Returns
    -------
    float
        The sums go as those of `sum_squares`; one that overflows the dtype of w is inf.

    Raises
    ------
    TypeError, ValueError
        See above.
    """
    try:
        return _core.penalty(w, g, l1, l2)
    except (ArithmeticError, TypeError, ValueError):
        pass
    g = in_place("g", g)
    return _core.penalty(_like("w", w, "g", g), g, number("l1", l1, least=0), number("l2", l2, least=0))


def clip_by_norm(g, limit, eps=1e-6):
    """g *= limit / (|g| + eps), in the Euclidean norm, where that factor is below 1: |g| becomes limit at most.

    As in PyTorch's clip_grad_norm_. Where the norm overflows the dtype of g it is inf, and finite elements become 0.

    Parameters
    ----------
    g : ndarray (N,)
        Updated in place.
    limit : float
        Finite, above 0.
    eps : float
        Finite, at least 0.

    Returns
    -------
    norm : float
        Of g before.

    Raises
    ------
    TypeError, ValueError
        See above.
    """
    try:
        return _core.clip_by_norm(g, limit, eps)
    except (ArithmeticError, TypeError, ValueError):
        pass
    return _core.clip_by_norm(in_place("g", g), number("limit", limit, above=0), number("eps", eps, least=0))


def clip_by_value(g, limit):
    """g = min(max(g, -limit), limit), element by element; a nan stays.

    Parameters
    ----------
    g : ndarray (N,)
        Updated in place.
    limit : float
        Finite, above 0.

    Raises
    ------
    TypeError, ValueError
        See above.
    """
    try:
        _core.clip_by_value(g, limit)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    _core.clip_by_value(in_place("g", g), number("limit", limit, above=0))


def weight_average(average, w, decay):
    """average += (1 - decay) (w - average): an exponential moving average of the weights.

    An element of average below the smallest normal number becomes 0.

    Parameters
    ----------
    average : ndarray (N,)
        Updated in place; a copy of w the first time.
    w : ndarray (N,)
    decay : float
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        See above.
    """
    try:
        _core.weight_average(average, w, decay)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    average = in_place("average", average)
    _core.weight_average(average, _like("w", w, "average", average), number("decay", decay, least=0, below=1))


def _gradient(g, w):
    return _like("g", g, "w", w)


def _like(name, x, other, like):
    """Check an array that is read: of the shape and dtype of another, `like`."""
    x = array(name, x, None, like.dtype)
    if x.shape != like.shape:
        raise ValueError(f"{name} has shape {x.shape}; {other} has {like.shape}")
    return x


def _state(name, x, w, needed):
    """Check a vector of state that may be None, unless it is needed; `needed` says when."""
    if x is not None:
        return in_place(name, x, w.shape, w.dtype)
    if needed:
        raise ValueError(f"{name} is needed when {needed}: zeros before the first step")
    return None
