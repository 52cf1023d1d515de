"""Optimiser steps, penalties, gradient clipping and weight averages, all in place. All arrays have shape (N,).

Scalars are computed in float64 and rounded once to the dtype of w. Hyperparameters are checked by the classes of
`fastbp.optimizers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import flag, integer, number
from ..optimizers import SGD, Adagrad, Adam, RMSprop

if TYPE_CHECKING:
    from numpy.typing import NDArray


def of(
    optimizer: Any,
    w: NDArray[Any],
    g: NDArray[Any],
    moments: Sequence[NDArray[Any]],
    t: int,
    learning_rate: float | None = None,
) -> None:
    """Update t, from 1, by an optimiser of `fastbp.optimizers`. `learning_rate` replaces the optimiser's, unless None.

    moments: the state vectors, in the order of the optimiser's `slots`.
    """
    if optimizer.code is None:
        raise ValueError(f"{optimizer!r} takes no steps")
    rate = optimizer.learning_rate if learning_rate is None else learning_rate
    slots = dict(zip(optimizer.slots, moments, strict=True))
    state: list[Any] = [slots.get(slot) for slot in range(3)]
    given = {name: getattr(optimizer, name) for name in optimizer.fields if name != "learning_rate"}
    given.pop("initial_accumulator", None)
    if optimizer.name == "sgd":
        sgd_step(w, g, state[0], rate, **given)
    elif optimizer.name in ("adam", "adamw"):
        adam_step(w, g, state[0], state[1], t, rate, decoupled=optimizer.decoupled, **given)
    elif optimizer.name == "rmsprop":
        rmsprop_step(w, g, state[0], state[1], state[2], rate, **given)
    else:
        adagrad_step(w, g, state[0], t, rate, **given)


def sgd_step(
    w: NDArray[Any],
    g: NDArray[Any],
    v: NDArray[Any] | None = None,
    learning_rate: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """g' = g + weight_decay w; v = momentum v + g'; w -= learning_rate v.

    Without momentum, v is g' and there is no state. With Nesterov momentum, w -= learning_rate (g' + momentum v). As in
    PyTorch's SGD, the learning rate is not part of v. Elements of v below the smallest normal number are flushed to
    zero.

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
    TypeError, ValueError
        If a hyperparameter is refused by `fastbp.optimizers.SGD`, or momentum is not 0 and v is None.
    """
    SGD(learning_rate, momentum, weight_decay, nesterov)
    g = g + weight_decay * w
    if momentum != 0:
        if v is None:
            raise ValueError("v is needed when momentum is not 0: zeros before the first step")
        v[...] = momentum * v + g
        _flush(v)
        g = g + momentum * v if nesterov else v
    w -= learning_rate * g


def adam_step(
    w: NDArray[Any],
    g: NDArray[Any],
    m: NDArray[Any],
    v: NDArray[Any],
    t: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Step t of Adam (Kingma and Ba, ICLR 2015, Algorithm 1), with weight decay added to the gradient.

    g' = g + weight_decay w
    m = beta1 m + (1 - beta1) g'            mean of the gradients, from m = 0
    v = beta2 v + (1 - beta2) g'^2          mean of their squares, from v = 0
    w -= learning_rate m^ / (sqrt(v^) + eps)

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) correct the bias of means that start from 0. Decoupled weight
    decay (AdamW: Loshchilov and Hutter, ICLR 2019, Algorithm 2) takes g' = g and begins with w -= learning_rate
    weight_decay w. Elements of m below the smallest normal number are flushed to zero; those of v only if eps makes
    them negligible.

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
        Whether weight decay shrinks w in place of being added to the gradient.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is refused by `fastbp.optimizers.Adam`, t is not an integer in [1, 2^63), or decoupled is
        not a bool.
    """
    Adam(learning_rate, beta1, beta2, eps, weight_decay)
    t, decoupled = _step_number(t), flag("decoupled", decoupled)
    rate = learning_rate / (1 - _power(beta1, t))
    root_scale = 1 / math.sqrt(1 - _power(beta2, t))
    if decoupled:
        w -= (learning_rate * weight_decay) * w
    else:
        g = g + weight_decay * w
    m[...] = beta1 * m + (1 - beta1) * g
    _flush(m)
    v[...] = beta2 * v + (1 - beta2) * (g * g)
    _flush_square(v, eps, root_scale)
    w -= rate * m / (np.sqrt(v) * root_scale + eps)


def rmsprop_step(
    w: NDArray[Any],
    g: NDArray[Any],
    v: NDArray[Any],
    buffer: NDArray[Any] | None = None,
    mean: NDArray[Any] | None = None,
    learning_rate: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> None:
    """A step of RMSprop (Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012).

    g' = g + weight_decay w
    v = alpha v + (1 - alpha) g'^2          mean of the squares of the gradients
    q = g' / (sqrt(v) + eps)
    w -= learning_rate q

    The centred variant (Graves, Generating Sequences with Recurrent Neural Networks, 2013) has mean = alpha mean +
    (1 - alpha) g', and v - mean^2 under the root, or 0 where rounding makes that negative. With momentum, buffer =
    momentum buffer + q, and w -= learning_rate buffer. Elements of mean and buffer below the smallest normal number are
    flushed to zero; those of v only if eps makes them negligible.

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
    TypeError, ValueError
        If a hyperparameter is refused by `fastbp.optimizers.RMSprop`, momentum is not 0 and buffer is None, or centered
        is True and mean is None.
    """
    RMSprop(learning_rate, alpha, eps, weight_decay, momentum, centered)
    if momentum != 0 and buffer is None:
        raise ValueError("buffer is needed when momentum is not 0: zeros before the first step")
    if centered and mean is None:
        raise ValueError("mean is needed when centered: zeros before the first step")
    g = g + weight_decay * w
    v[...] = alpha * v + (1 - alpha) * (g * g)
    _flush_square(v, eps)
    square = v
    if centered and mean is not None:
        mean[...] = alpha * mean + (1 - alpha) * g
        _flush(mean)
        square = np.maximum(v - mean * mean, 0)
    step = g / (np.sqrt(square) + eps)
    if momentum != 0 and buffer is not None:
        buffer[...] = momentum * buffer + step
        _flush(buffer)
        step = buffer
    w -= learning_rate * step


def adagrad_step(
    w: NDArray[Any],
    g: NDArray[Any],
    v: NDArray[Any],
    t: int,
    learning_rate: float = 1e-2,
    rate_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
) -> None:
    """Step t of Adagrad (Duchi, Hazan and Singer, JMLR 2011).

    g' = g + weight_decay w
    v = v + g'^2                            sum of the squares of the gradients
    w -= learning_rate / (1 + (t - 1) rate_decay) g' / (sqrt(v) + eps)

    Elements of v below the smallest normal number are flushed to zero if eps makes them negligible.

    Parameters
    ----------
    w : ndarray (N,)
        Updated in place.
    g : ndarray (N,)
    v : ndarray (N,)
        Updated in place; zeros, or the initial value of the sum, before the first step.
    t : int
        The number of this step, from 1.
    learning_rate, rate_decay, weight_decay, eps : float

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is refused by `fastbp.optimizers.Adagrad`, or t is not an integer in [1, 2^63).
    """
    Adagrad(learning_rate, rate_decay, weight_decay, eps=eps)
    t = _step_number(t)
    g = g + weight_decay * w
    v += g * g
    _flush_square(v, eps)
    w -= learning_rate / (1 + (t - 1) * rate_decay) * g / (np.sqrt(v) + eps)


def penalty(w: NDArray[Any], g: NDArray[Any], l1: float = 0.0, l2: float = 0.0) -> float:
    """l1 sum_i |w_i| + l2/2 sum_i w_i^2, as a float. Its gradient is added to g: g += l1 sign(w) + l2 w.

    l1 and l2 are at least 0. A term with factor 0 is left out.
    """
    l1, l2 = number("l1", l1, least=0), number("l2", l2, least=0)
    value = 0.0
    if l1 != 0:
        g += l1 * np.sign(w)
        value += l1 * float(np.sum(np.abs(w)))
    if l2 != 0:
        g += l2 * w
        value += l2 / 2 * float(np.sum(w * w))
    return value


def clip_by_norm(g: NDArray[Any], limit: float, eps: float = 1e-6) -> float:
    """g *= limit / (|g| + eps), with the Euclidean norm, if that factor is below 1. Returns the norm before clipping.

    As PyTorch's clip_grad_norm_. limit is above 0, eps at least 0. If the norm overflows the dtype of g, it is inf, and
    finite elements become 0.
    """
    limit, eps = number("limit", limit, above=0), number("eps", eps, least=0)
    norm = math.sqrt(float(np.sum(g * g)))
    if limit < norm + eps:
        g *= limit / (norm + eps)
    return norm


def clip_by_value(g: NDArray[Any], limit: float) -> None:
    """g = min(max(g, -limit), limit), element by element, with limit above 0. nan stays nan."""
    limit = number("limit", limit, above=0)
    np.clip(g, -limit, limit, out=g)


def weight_average(average: NDArray[Any], w: NDArray[Any], decay: float) -> None:
    """average += (1 - decay) (w - average): an exponential moving average of the weights.

    decay is in [0, 1). Elements of average below the smallest normal number are flushed to zero. The initial average is
    a copy of w.
    """
    decay = number("decay", decay, least=0, below=1)
    average += (1 - decay) * (w - average)
    _flush(average)


def _step_number(t: int) -> int:
    return integer("t", t, least=1, most=2**63 - 1)


def _flush(mean: NDArray[Any]) -> None:
    """Flush subnormal numbers to zero: arithmetic with them is slow."""
    mean[np.abs(mean) < np.finfo(mean.dtype).tiny] = 0


def _flush_square(v: NDArray[Any], eps: float, root_scale: float = 1.0) -> None:
    """The same for v, if eps + root_scale sqrt(v) equals eps for every subnormal v."""
    real = np.finfo(v.dtype)
    if root_scale * math.sqrt(real.tiny) < eps * float(real.epsneg) / 4:
        _flush(v)


def _power(base: float, t: int) -> float:
    """base^t by repeated squaring: multiplications only, so that every machine gets the same bits."""
    result = 1.0
    while t:
        if t & 1:
            result *= base
        base *= base
        t >>= 1
    return result
