"""Losses. Each returns the loss, a float, and its gradient with respect to the first argument, in that one's dtype.

`reduction` "sum" adds the terms up; "mean" divides that sum by B for softmax cross-entropy, and by the number of
elements B O for the losses that take each element for itself. The gradient is that of the number returned.
"""

import numpy as np

from ..declarative import choice
from .activation import sigmoid_forward


def _reduced(terms, dz, reduction, count):
    """The sum of all terms and its gradient dz, both divided by `count` for reduction "mean"."""
    choice("reduction", reduction, ("mean", "sum"))
    loss = float(np.sum(terms, dtype=np.float64))
    if reduction == "sum":
        return loss, dz
    if count == 0:
        raise ValueError("the mean of no terms is not defined: there are no rows")
    return loss / count, dz / count


def _same_shape(name, a, target):
    if a.shape != target.shape:
        raise ValueError(f"target has shape {target.shape}; {name} has {a.shape}")


def softmax_cross_entropy(z, target, reduction="mean"):
    """-sum_c t_bc log p_bc with p = softmax(z) by row; the mean is over the batch.

    Parameters
    ----------
    z : ndarray (B, C)
        Logits.
    target : ndarray of integers (B,), or of floats (B, C)
        Class numbers in [0, C): t_bc = [c = target_b]. Or the probabilities t themselves.
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    dz : ndarray (B, C)
        p_bc sum_k t_bk - t_bc, divided by B for the mean. (The sum is 1 for probabilities.)

    Notes
    -----
    With m_b = max_c z_bc: log p_bc = (z_bc - m_b) - log sum_k exp(z_bk - m_b).
    """
    rows, classes = z.shape
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    if target.dtype.kind in "iu":
        if target.shape != (rows,):
            raise ValueError(f"target has shape {target.shape}; expected ({rows},), one label for each row of z")
        if rows and not (0 <= target.min() and target.max() < classes):
            raise ValueError(
                f"target must hold class numbers from 0 to {classes - 1}, got {target.min()} to {target.max()}"
            )
        each = np.arange(rows)
        terms = -log_p[each, target]
        dz = p
        dz[each, target] -= 1
    else:
        _same_shape("z", z, target)
        terms = -target * log_p
        dz = p * target.sum(axis=1, keepdims=True) - target
    return _reduced(terms, dz, reduction, rows)


def binary_cross_entropy(z, target, reduction="mean"):
    """-t log s(z) - (1 - t) log(1 - s(z)) with the sigmoid s; the mean is over all elements.

    Parameters
    ----------
    z : ndarray (B, O)
        Logits.
    target : ndarray (B, O)
        t, in [0, 1].
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    dz : ndarray (B, O)
        s(z) - t, divided by B O for the mean.

    Notes
    -----
    With log s(z) = z - softplus(z) and log(1 - s(z)) = -softplus(z) a term is softplus(z) - z t, and
    softplus(z) = max(z, 0) + log1p(exp(-|z|)) does not overflow.
    """
    _same_shape("z", z, target)
    terms = np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))
    return _reduced(terms, sigmoid_forward(z) - target, reduction, z.size)


def mean_squared_error(y, target, reduction="mean"):
    """(y - target)^2, without a factor 1/2; the mean is over all elements.

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        2 (y - target), divided by B O for the mean.
    """
    _same_shape("y", y, target)
    r = y - target
    return _reduced(r * r, 2 * r, reduction, y.size)


def pinball(y, target, quantiles=0.5, reduction="mean"):
    """u (tau - [u < 0]) with u = target - y; the mean is over all elements.

    Its expected value is least where y is the tau-quantile of the target (Koenker and Bassett, Regression Quantiles,
    Econometrica 46, 1978).

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    quantiles : float or sequence of O floats, default 0.5
        tau, strictly between 0 and 1: one for all columns, or one for each.
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        [u < 0] - tau, divided by B O for the mean. At u = 0, where there is a kink, -tau.
    """
    _same_shape("y", y, target)
    tau = np.asarray(quantiles, dtype=y.dtype)
    if tau.ndim and tau.shape != (y.shape[1],):
        raise ValueError(f"quantiles has {tau.size} levels; y has {y.shape[1]} columns")
    if not np.all((0 < tau) & (tau < 1)):
        raise ValueError(f"quantiles must lie strictly between 0 and 1, got {quantiles}")
    u = target - y
    below = (u < 0).astype(y.dtype)
    return _reduced(u * (tau - below), below - tau, reduction, y.size)


def of(loss, z, target):
    """Loss and gradient for an object of `losses`: SoftmaxCrossEntropy has the name of the function above."""
    return globals()[loss.name](z, target, **{field: getattr(loss, field) for field in loss.fields})
