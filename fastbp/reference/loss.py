"""Losses. Each returns the loss, a float, and its gradient with respect to the first argument, in its dtype.

`reduction` "sum" adds the terms; "mean" divides the sum by B for softmax cross-entropy, and by B O, the number of
elements, for the other losses. The gradient is that of the returned loss.

Parameters of losses are checked by the classes of `fastbp.losses`.

`sample_weight` s (B,) multiplies the terms of row b by s_b; "mean" then divides by sum_b s_b in place of B. If that is
0, loss and gradient are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import losses
from .._support.declarative import choice
from .activation import sigmoid_forward

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..losses import Loss, Reduction


def _reduced(
    terms: NDArray[Any],
    dz: NDArray[Any],
    reduction: Reduction,
    sample_weight: NDArray[Any] | None,
    row_mass: float | NDArray[Any],
) -> tuple[float, NDArray[Any]]:
    """sum_b s_b terms_b and its gradient s_b dz_b, both divided by sum_b s_b row_mass_b for reduction "mean".

    terms and dz have shape (B, O); row_mass, the divisor's share of a row of weight 1, is a number or (B,).
    """
    choice("reduction", reduction, ("mean", "sum"))
    rows = len(dz)
    s = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if s.shape != (rows,):
        raise ValueError(f"sample_weight has shape {s.shape}; expected ({rows},)")
    if not np.all((0 <= s) & (s < np.inf)):
        raise ValueError("sample_weight must be finite and at least 0")
    if reduction == "mean" and dz.size == 0:
        raise ValueError("the mean of no terms is not defined: there are no rows")
    mass = float(np.sum(s * row_mass)) if reduction == "mean" else 1.0
    if mass == 0:
        return 0.0, np.zeros_like(dz)
    loss = float(np.sum(s * terms.sum(axis=1, dtype=np.float64))) / mass
    return loss, dz * (s / mass).astype(dz.dtype).reshape(rows, 1)


def _same_shape(name: str, a: NDArray[Any], target: NDArray[Any]) -> None:
    if a.shape != target.shape:
        raise ValueError(f"target has shape {target.shape}; {name} has {a.shape}")


def _held(name: str, values: float | Sequence[float], y: NDArray[Any]) -> NDArray[Any]:
    """Numbers, in the dtype of y."""
    given = np.asarray(values, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        found = given.astype(y.dtype)
    lost = given[np.isinf(found) | ((found == 0) != (given == 0))]
    if lost.size:
        raise ValueError(f"{name} must be a number that {y.dtype} holds, got {lost[0]}")
    return found


def softmax_cross_entropy(
    z: NDArray[Any],
    target: NDArray[Any],
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | NDArray[Any] | None = None,
    sample_weight: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]:
    """-sum_c t_bc log p_bc with p = softmax(z) by row; the mean is over the batch.

    Parameters
    ----------
    z : ndarray (B, C)
        Logits.
    target : ndarray of integers (B,), or of floats (B, C)
        Class numbers in [0, C), t_bc = [c = target_b]; or the probabilities t.
    reduction : {"mean", "sum"}, default "mean"
    label_smoothing : float, default 0
        eps in [0, 1): t_bc becomes (1 - eps) t_bc + eps / C.
    class_weights : sequence of C floats, optional
        w_c, at least 0: t_bc becomes w_c t_bc, after smoothing. "mean" then divides by sum_b s_b w[target_b] for class
        numbers, and by sum_b s_b for probabilities.
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dz : ndarray (B, C)
        p_bc sum_k t_bk - t_bc, divided by B for the mean. (The sum is 1 for probabilities.)

    Notes
    -----
    With m_b = max_c z_bc: log p_bc = (z_bc - m_b) - log sum_k exp(z_bk - m_b). Smoothing, weights and means are those
    of torch.nn.CrossEntropyLoss. A term with t_bc = 0 is 0, even if log p_bc is -inf.
    """
    rows, classes = z.shape
    if not classes:
        raise ValueError("z must have at least one column")
    loss = losses.SoftmaxCrossEntropy(reduction, label_smoothing, class_weights)
    loss.distinct_parameters(classes)  # raises where there is another number of weights
    label_smoothing, class_weights = loss.label_smoothing, loss.class_weights
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    row_mass: float | NDArray[Any] = 1.0
    if target.dtype.kind in "iu":
        if target.shape != (rows,):
            raise ValueError(f"target has shape {target.shape}; expected ({rows},), one label for each row of z")
        if rows and not (0 <= target.min() and target.max() < classes):
            raise ValueError(
                f"target must hold class numbers from 0 to {classes - 1}, got {target.min()} to {target.max()}"
            )
        if class_weights is not None:
            row_mass = np.asarray(class_weights, np.float64)[target]
        t = np.zeros_like(z)
        t[np.arange(rows), target] = 1
    else:
        _same_shape("z", z, target)
        t = target
    if label_smoothing:
        t = (1 - label_smoothing) * t + label_smoothing / classes
    if class_weights is not None:
        t = _held("class_weights", class_weights, z) * t
    terms = -np.multiply(t, log_p, out=np.zeros_like(z), where=t != 0)
    dz = np.exp(log_p) * t.sum(axis=1, keepdims=True) - t
    return _reduced(terms, dz, reduction, sample_weight, row_mass)


def binary_cross_entropy(
    z: NDArray[Any],
    target: NDArray[Any],
    reduction: Reduction = "mean",
    pos_weight: float | Sequence[float] | NDArray[Any] | None = None,
    sample_weight: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]:
    """-p t log s(z) - (1 - t) log(1 - s(z)) with the sigmoid s; the mean is over all elements.

    Parameters
    ----------
    z : ndarray (B, O)
        Logits.
    target : ndarray (B, O)
        t, in [0, 1].
    reduction : {"mean", "sum"}, default "mean"
    pos_weight : float or sequence of O floats, optional
        p, at least 0: one for all columns, or one for each. None: 1.
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dz : ndarray (B, O)
        (1 - t) s(z) - p t s(-z), which is s(z) - t without pos_weight; divided by B O for the mean.

    Notes
    -----
    With log s(z) = z - softplus(z) = -softplus(-z) and log(1 - s(z)) = -softplus(z) a term is softplus(z) - z t; with
    pos_weight p t softplus(-z) + (1 - t) softplus(z). softplus(z) = max(z, 0) + log1p(exp(-|z|)) does not overflow.
    """
    _same_shape("z", z, target)
    rest = np.log1p(np.exp(-np.abs(z)))
    if pos_weight is None:
        terms = np.maximum(z, 0) - z * target + rest
        dz = sigmoid_forward(z) - target
    else:
        weights = losses.BinaryCrossEntropy(reduction, pos_weight).distinct_parameters(z.shape[1])
        positive = _held("pos_weight", weights, z) * target
        terms = positive * (np.maximum(-z, 0) + rest) + (1 - target) * (np.maximum(z, 0) + rest)
        dz = (1 - target) * sigmoid_forward(z) - positive * sigmoid_forward(-z)
    return _reduced(terms, dz, reduction, sample_weight, z.shape[1])


def mean_squared_error(
    y: NDArray[Any], target: NDArray[Any], reduction: Reduction = "mean", sample_weight: NDArray[Any] | None = None
) -> tuple[float, NDArray[Any]]:
    """(y - target)^2, without a factor 1/2; the mean is over all elements.

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        2 (y - target), divided by B O for the mean.
    """
    _same_shape("y", y, target)
    d = y - target
    return _reduced(d * d, 2 * d, reduction, sample_weight, y.shape[1])


def mean_absolute_error(
    y: NDArray[Any], target: NDArray[Any], reduction: Reduction = "mean", sample_weight: NDArray[Any] | None = None
) -> tuple[float, NDArray[Any]]:
    """|y - target|; the mean is over all elements.

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        The sign of y - target, 0 at 0, divided by B O for the mean.
    """
    _same_shape("y", y, target)
    d = y - target
    return _reduced(np.abs(d), np.sign(d), reduction, sample_weight, y.shape[1])


def huber(
    y: NDArray[Any],
    target: NDArray[Any],
    delta: float = 1.0,
    reduction: Reduction = "mean",
    sample_weight: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - target; the mean is over all elements.

    Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35, 1964.

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    delta : float, default 1
        Above 0.
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        d clipped to [-delta, delta], divided by B O for the mean.
    """
    _same_shape("y", y, target)
    limit = _held("delta", losses.Huber(delta, reduction).delta, y)
    d = y - target
    terms = np.where(np.abs(d) <= limit, d * d / 2, limit * (np.abs(d) - limit / 2))
    return _reduced(terms, np.clip(d, -limit, limit), reduction, sample_weight, y.shape[1])


def poisson(
    z: NDArray[Any], target: NDArray[Any], reduction: Reduction = "mean", sample_weight: NDArray[Any] | None = None
) -> tuple[float, NDArray[Any]]:
    """exp(z) - target z, the Poisson negative log-likelihood with rate exp(z); the mean is over all elements.

    Parameters
    ----------
    z : ndarray (B, O)
        The logarithm of the rate.
    target : ndarray (B, O)
        Counts, or any reals.
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
        Without the constant log(target!), as by default in torch.nn.PoissonNLLLoss: it may be negative.
    dz : ndarray (B, O)
        exp(z) - target, divided by B O for the mean.
    """
    _same_shape("z", z, target)
    rate = np.exp(z)
    return _reduced(rate - target * z, rate - target, reduction, sample_weight, z.shape[1])


def pinball(
    y: NDArray[Any],
    target: NDArray[Any],
    quantiles: float | Sequence[float] | NDArray[Any] = 0.5,
    reduction: Reduction = "mean",
    sample_weight: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]:
    """u (tau - [u < 0]) with u = target - y; the mean is over all elements.

    Its expected value is least where y is the tau-quantile of the target (Koenker and Bassett, Regression Quantiles,
    Econometrica 46, 1978).

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    quantiles : float or sequence of floats, default 0.5
        tau, strictly between 0 and 1: one for all columns, or Q of them, Q a divisor of O, of which column j has number
        j modulo Q.
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        [u < 0] - tau, divided by B O for the mean; -tau at the kink u = 0.
    """
    _same_shape("y", y, target)
    tau = _held("quantiles", losses.Pinball(quantiles, reduction).parameters(y.shape[1]), y)
    u = target - y
    below = (u < 0).astype(y.dtype)
    return _reduced(u * (tau - below), below - tau, reduction, sample_weight, y.shape[1])


def mass(loss: Loss, target: NDArray[Any], outputs: int, sample_weight: NDArray[Any] | None = None) -> float:
    """The weight sum of these rows, by which "mean" divides; 1 for reduction "sum". loss: an object of `fastbp.losses`.

    It is sum_b s_b, times O for a mean over elements; with class weights w and labels y, sum_b s_b w[y_b]. The weight
    sum of several minibatches together is the sum of theirs.
    """
    if loss.reduction == "sum":
        return 1.0
    s = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if loss.class_weights is not None and target.dtype.kind in "iu":
        s = s * np.asarray(loss.class_weights)[target]
    return float(s.sum()) * (1 if loss.mean_over == "batch" else outputs)


def of(
    loss: Loss,
    z: NDArray[Any],
    target: NDArray[Any],
    sample_weight: NDArray[Any] | None = None,
    divisor: float | None = None,
) -> tuple[float, NDArray[Any]]:
    """Loss and gradient for an object of `fastbp.losses`, whose `name` is that of a function of this module.

    divisor: the divisor of the sum; None: the weight sum of these rows. If it is 0, loss and gradient are 0.
    """
    arguments = {field: getattr(loss, field) for field in loss.fields}
    function = globals()[loss.name]
    if divisor is None:
        return function(z, target, sample_weight=sample_weight, **arguments)
    if divisor == 0:
        return 0.0, np.zeros_like(z)
    total, dz = function(z, target, sample_weight=sample_weight, **{**arguments, "reduction": "sum"})
    return total / divisor, dz / dz.dtype.type(divisor)
