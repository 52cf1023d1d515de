"""Losses. Each returns the loss, a float, and its gradient with respect to the first argument, in that one's dtype.

`reduction` "sum" adds the terms up; "mean" divides that sum by B for softmax cross-entropy, and by the number of
elements B O for the losses that take each element for itself. The gradient is that of the number returned.

All raise TypeError for an argument of the wrong kind, and ValueError for shapes that do not fit, an unknown
reduction, and the mean of no rows.
"""

from numpy import ndarray

from .. import _core
from ..checks import array, integers, kind, rows
from ..declarative import choice
from ..losses import BinaryCrossEntropy, MeanSquaredError, Pinball, SoftmaxCrossEntropy


def softmax_cross_entropy(z, target, reduction="mean"):
    """-sum_c t_bc log p_bc with p = softmax(z) by row; the mean is over the batch.

    Parameters
    ----------
    z : ndarray (B, C)
        Logits.
    target : ndarray of integers (B,), or of the dtype of z (B, C)
        Class numbers in [0, C): t_bc = [c = target_b]. Or the probabilities t themselves.
    reduction : {"mean", "sum"}, default "mean"

    Returns
    -------
    loss : float
    dz : ndarray (B, C)
        p_bc sum_k t_bk - t_bc, divided by B for the mean. (The sum is 1 for probabilities.)

    Raises
    ------
    TypeError
        If z is not an array of float32 or float64, or target is not one of integers or of the dtype of z.
    ValueError
        If the shapes do not fit, a label is not in [0, C), or the mean of no rows is asked for.

    Notes
    -----
    With m_b = max_c z_bc: log p_bc = (z_bc - m_b) - log sum_k exp(z_bk - m_b).
    """
    try:
        code = SoftmaxCrossEntropy.code_labels if target.ndim == 1 else SoftmaxCrossEntropy.code
        return _core.loss(code, z, target, None, _SUM[reduction])
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    if not (isinstance(target, ndarray) and target.dtype.kind in "iu"):
        if isinstance(target, ndarray) and target.ndim == 1:
            raise TypeError(f"target must be an integer array of class numbers where it is 1-D, got {kind(target)}")
        return _checked_loss("z", z, target, reduction, SoftmaxCrossEntropy.code, None)
    z = array("z", z, 2)
    target = integers("target", target)
    rows("target", target, z.shape[0], "z")
    return _core.loss(SoftmaxCrossEntropy.code_labels, z, target, None, _is_sum(reduction))


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
    A term is computed as max(z, 0) - z t + log1p(exp(-|z|)), which does not overflow.
    """
    return _loss("z", z, target, reduction, BinaryCrossEntropy.code)


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
    return _loss("y", y, target, reduction, MeanSquaredError.code)


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

    Raises
    ------
    TypeError
        Also if a level is not a number.
    ValueError
        Also if a level is not between 0 and 1, or there are several and not one for each column.
    """
    try:
        return _core.loss(Pinball.code, y, target, quantiles, _SUM[reduction])
    except (ArithmeticError, KeyError, TypeError, ValueError):
        pass
    return _checked_loss("y", y, target, reduction, Pinball.code, Pinball(quantiles))


_SUM = {"mean": False, "sum": True}


def _loss(name, y, target, reduction, code):
    try:
        return _core.loss(code, y, target, None, _SUM[reduction])
    except (KeyError, TypeError, ValueError):
        pass
    return _checked_loss(name, y, target, reduction, code, None)


def _checked_loss(name, y, target, reduction, code, pinball_of):
    y = array(name, y, 2)
    target = array("target", target, 2, y.dtype)
    if y.shape != target.shape:
        raise ValueError(f"target has shape {target.shape}; {name} has {y.shape}")
    levels = None if pinball_of is None else pinball_of.parameters(y.shape[1])
    return _core.loss(code, y, target, levels, _is_sum(reduction))


def _is_sum(reduction):
    return choice("reduction", reduction, ("mean", "sum")) == "sum"
