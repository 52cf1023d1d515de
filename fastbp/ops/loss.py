"""Losses. Each returns the loss, a float, and its gradient with respect to the first argument, in that one's dtype.

`reduction` "sum" adds the terms up; "mean" divides that sum by B for softmax cross-entropy, and by the number of
elements B O for the losses that take each element for itself. The gradient is that of the number returned.

`sample_weight`, an array of float32 or float64 (B,), finite and at least 0: row b counts s_b times. Its terms are
multiplied by s_b, and a mean divides by sum_b s_b in place of B. Where that is 0, so are loss and gradient.

All raise TypeError for an argument of the wrong kind, and ValueError for shapes that do not fit, an unknown
reduction, weights that are not as above, and the mean of no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ..losses import (
    BinaryCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Pinball,
    Poisson,
    SoftmaxCrossEntropy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeAlias

    from numpy.typing import NDArray

    from .._support.arguments import Real, Reals

    Reduction: TypeAlias = Literal["mean", "sum"]

_NO_SMOOTHING = 0.0


def softmax_cross_entropy(
    z: NDArray[Real],
    target: NDArray[Any],
    reduction: Reduction = "mean",
    label_smoothing: float = _NO_SMOOTHING,
    class_weights: Sequence[float] | NDArray[Any] | None = None,
    sample_weight: Reals | None = None,
) -> tuple[float, NDArray[Real]]:
    """-sum_c t_bc log p_bc with p = softmax(z) by row; the mean is over the batch.

    Parameters
    ----------
    z : ndarray (B, C)
        Logits.
    target : ndarray of integers (B,), or of the dtype of z (B, C)
        Class numbers in [0, C): t_bc = [c = target_b]. Or the probabilities t themselves.
    reduction : {"mean", "sum"}, default "mean"
    label_smoothing : float, default 0
        eps in [0, 1): t_bc becomes (1 - eps) t_bc + eps / C.
    class_weights : sequence of C floats, optional
        w_c, at least 0: t_bc becomes w_c t_bc, after smoothing. The mean over labels then divides by
        sum_b s_b w[target_b]; that over probabilities by sum_b s_b all the same.
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dz : ndarray (B, C)
        p_bc sum_k t_bk - t_bc, divided by B for the mean. (The sum is 1 for probabilities.)

    Raises
    ------
    TypeError
        If z is not an array of float32 or float64, target is not one of integers or of the dtype of z, or
        label_smoothing or a weight is not a number.
    ValueError
        If the shapes do not fit, a label is not in [0, C), label_smoothing or a weight is out of its range, or the mean
        of no rows is asked for.

    Notes
    -----
    With m_b = max_c z_bc: log p_bc = (z_bc - m_b) - log sum_k exp(z_bk - m_b). Smoothing, weights and means are those
    of torch.nn.CrossEntropyLoss.
    """
    weights = None
    if sample_weight is not None or class_weights is not None or label_smoothing is not _NO_SMOOTHING:
        weights = sample_weight, label_smoothing, class_weights
    return _core.loss(SoftmaxCrossEntropy.code, z, target, None, reduction, weights)


def binary_cross_entropy(
    z: NDArray[Real],
    target: NDArray[Real],
    reduction: Reduction = "mean",
    pos_weight: float | Sequence[float] | NDArray[Any] | None = None,
    sample_weight: Reals | None = None,
) -> tuple[float, NDArray[Real]]:
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

    Raises
    ------
    TypeError
        Also if a weight is not a number.
    ValueError
        Also if a weight is below 0 or not finite, or there are several and not one for each column.

    Notes
    -----
    A term is computed as max(z, 0) - z t + log1p(exp(-|z|)), which does not overflow. With pos_weight it is
    p t softplus(-z) + (1 - t) softplus(z), softplus(z) = max(z, 0) + log1p(exp(-|z|)).
    """
    code = BinaryCrossEntropy.code if pos_weight is None else BinaryCrossEntropy.code_weighted
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(code, z, target, pos_weight, reduction, weights)


def mean_squared_error(
    y: NDArray[Real], target: NDArray[Real], reduction: Reduction = "mean", sample_weight: Reals | None = None
) -> tuple[float, NDArray[Real]]:
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
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(MeanSquaredError.code, y, target, None, reduction, weights)


def mean_absolute_error(
    y: NDArray[Real], target: NDArray[Real], reduction: Reduction = "mean", sample_weight: Reals | None = None
) -> tuple[float, NDArray[Real]]:
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
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(MeanAbsoluteError.code, y, target, None, reduction, weights)


def huber(
    y: NDArray[Real],
    target: NDArray[Real],
    delta: float = 1.0,
    reduction: Reduction = "mean",
    sample_weight: Reals | None = None,
) -> tuple[float, NDArray[Real]]:
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
        d, brought into [-delta, delta], divided by B O for the mean.

    Raises
    ------
    TypeError
        Also if delta is not a number.
    ValueError
        Also if delta is not above 0.
    """
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(Huber.code, y, target, delta, reduction, weights)


def poisson(
    z: NDArray[Real], target: NDArray[Real], reduction: Reduction = "mean", sample_weight: Reals | None = None
) -> tuple[float, NDArray[Real]]:
    """exp(z) - target z, the negative log-likelihood of counts whose rate is exp(z); the mean is over all elements.

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
        Without the constant log(target!), as torch.nn.PoissonNLLLoss has it by default: it may be negative.
    dz : ndarray (B, O)
        exp(z) - target, divided by B O for the mean.
    """
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(Poisson.code, z, target, None, reduction, weights)


def pinball(
    y: NDArray[Real],
    target: NDArray[Real],
    quantiles: float | Sequence[float] | NDArray[Any] = 0.5,
    reduction: Reduction = "mean",
    sample_weight: Reals | None = None,
) -> tuple[float, NDArray[Real]]:
    """u (tau - [u < 0]) with u = target - y; the mean is over all elements.

    Its expected value is least where y is the tau-quantile of the target (Koenker and Bassett, Regression Quantiles,
    Econometrica 46, 1978).

    Parameters
    ----------
    y : ndarray (B, O)
    target : ndarray (B, O)
    quantiles : float or sequence of floats, default 0.5
        tau, strictly between 0 and 1: one for all columns, or Q of them, where O is a multiple of Q: column j takes
        number j modulo Q.
    reduction : {"mean", "sum"}, default "mean"
    sample_weight : ndarray (B,), optional

    Returns
    -------
    loss : float
    dy : ndarray (B, O)
        [u < 0] - tau, divided by B O for the mean. At u = 0, where there is a kink, -tau.

    Raises
    ------
    TypeError
        Also if a level is not a number.
    ValueError
        Also if a level is not between 0 and 1, or the number of columns is not a multiple of that of the levels.
    """
    weights = None if sample_weight is None else (sample_weight, 0.0, None)
    return _core.loss(Pinball.code, y, target, quantiles, reduction, weights)
