"""Optimiser steps, and what is done to gradients and weights around them: all in place.

All arrays have one shape, which may be any, and one dtype. Scalars are formed in float64 and rounded once to that
dtype. Formulas and names of hyperparameters are PyTorch's.

What is updated must be contiguous, aligned and writeable, and share no memory with another argument that is updated:
ValueError otherwise. TypeError for an argument that is not
an array of float32 or float64, or whose dtype differs from that of w; ValueError for shapes that differ and
hyperparameters out of range. Nothing is changed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def sgd_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real] | None = None,
    learning_rate: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
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
    _core.sgd_step(w, g, v, learning_rate, momentum, weight_decay, nesterov)


def adam_step(
    w: NDArray[Real],
    g: NDArray[Real],
    m: NDArray[Real],
    v: NDArray[Real],
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
    _core.adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay, decoupled)


def rmsprop_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real],
    buffer: NDArray[Real] | None = None,
    mean: NDArray[Real] | None = None,
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
    _core.rmsprop_step(w, g, v, buffer, mean, learning_rate, alpha, eps, weight_decay, momentum, centered)


def adagrad_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real],
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
    _core.adagrad_step(w, g, v, t, learning_rate, rate_decay, weight_decay, eps)


def penalty(w: NDArray[Real], g: NDArray[Real], l1: float = 0.0, l2: float = 0.0) -> float:
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
    return _core.penalty(w, g, l1, l2)


def clip_by_norm(g: NDArray[Real], limit: float, eps: float = 1e-6) -> float:
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
    return _core.clip_by_norm(g, limit, eps)


def clip_by_value(g: NDArray[Real], limit: float) -> None:
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
    _core.clip_by_value(g, limit)


def weight_average(average: NDArray[Real], w: NDArray[Real], decay: float) -> None:
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
    _core.weight_average(average, w, decay)
