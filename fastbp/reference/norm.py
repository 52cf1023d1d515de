"""Layer norm and batch norm: y = gamma (x - mean) / sqrt(variance + eps) + beta.

Mean and variance are taken over each row (layer norm) or each column (batch norm) of x. The variance is divided by the
number of elements. eps is above 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import integer, number
from ..layers import BatchNorm

if TYPE_CHECKING:
    from numpy.typing import NDArray


def layer_norm_forward(
    x: NDArray[Any], gamma: NDArray[Any] | None = None, beta: NDArray[Any] | None = None, eps: float = 1e-5
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """y = gamma xhat + beta, xhat = (x - mean) rstd, rstd = 1 / sqrt(variance + eps), with statistics of each row.

    Parameters
    ----------
    x : ndarray (B, N)
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5

    Returns
    -------
    y : ndarray (B, N)
    mean, rstd : ndarray (B,)
        Arguments of backward.
    """
    mean, variance = _statistics(x, axis=1)
    rstd = _rstd(variance, eps)
    y = _affine((x - mean[:, None]) * rstd[:, None], gamma, beta)
    return y, mean, rstd


def layer_norm_backward(
    dy: NDArray[Any], x: NDArray[Any], mean: NDArray[Any], rstd: NDArray[Any], gamma: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gradients of the layer's input and parameters, from the gradient at its output.

    g = dy gamma is the gradient at xhat. xhat depends on x directly, and on the whole row through mean and rstd:
    dxhat_j/dx_i = rstd (delta_ij - 1/N - xhat_i xhat_j / N), so dx = rstd (g - average(g) - xhat average(g xhat)).

    Parameters
    ----------
    dy : ndarray (B, N)
    x : ndarray (B, N)
        Forward's argument.
    mean, rstd : ndarray (B,)
        Results of forward.
    gamma : ndarray (N,), optional
        Forward's argument.

    Returns
    -------
    dx : ndarray (B, N)
    dgamma, dbeta : ndarray (N,)
    """
    rstd = rstd[:, None]
    xhat = (x - mean[:, None]) * rstd
    g = dy if gamma is None else dy * gamma
    dx = rstd * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def batch_norm_forward(
    x: NDArray[Any], gamma: NDArray[Any] | None = None, beta: NDArray[Any] | None = None, eps: float = 1e-5
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with the statistics of each column, as in training.

    Parameters
    ----------
    x : ndarray (B, N)
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5

    Returns
    -------
    y : ndarray (B, N)
    mean, variance : ndarray (N,)
        Arguments of backward and of `batch_norm_running`. The variance is divided by B.
    """
    mean, variance = _statistics(x, axis=0)
    return batch_norm_predict(x, mean, variance, gamma, beta, eps), mean, variance


def batch_norm_backward(
    dy: NDArray[Any],
    x: NDArray[Any],
    mean: NDArray[Any],
    variance: NDArray[Any],
    gamma: NDArray[Any] | None = None,
    eps: float = 1e-5,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gradients of the layer's input and parameters, from the gradient at its output, in training.

    As for a layer norm, with averages over columns, within which gamma is constant:
    dx = gamma rstd (dy - average(dy) - xhat average(dy xhat)).

    Parameters
    ----------
    dy : ndarray (B, N)
    x : ndarray (B, N)
        Forward's argument.
    mean, variance : ndarray (N,)
        Results of forward.
    gamma : ndarray (N,), optional
        Forward's argument.
    eps : float, default 1e-5
        Forward's argument.

    Returns
    -------
    dx : ndarray (B, N)
    dgamma, dbeta : ndarray (N,)
    """
    rstd = _rstd(variance, eps)
    xhat = (x - mean) * rstd
    dx = rstd * (dy - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0))
    return dx if gamma is None else gamma * dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def batch_norm_predict(
    x: NDArray[Any],
    mean: NDArray[Any],
    variance: NDArray[Any],
    gamma: NDArray[Any] | None = None,
    beta: NDArray[Any] | None = None,
    eps: float = 1e-5,
) -> NDArray[Any]:
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with given statistics, as in prediction.

    Parameters
    ----------
    x : ndarray (B, N)
    mean, variance : ndarray (N,)
        The running statistics.
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5

    Returns
    -------
    y : ndarray (B, N)
    """
    _not_empty(x, 0)
    return _affine((x - mean) * _rstd(variance, eps), gamma, beta)


def batch_norm_running(
    running_mean: NDArray[Any],
    running_variance: NDArray[Any],
    mean: NDArray[Any],
    variance: NDArray[Any],
    rows: int,
    momentum: float = 0.1,
) -> None:
    """Update running statistics from those of a minibatch, in place.

    running_mean += momentum (mean - running_mean); for the variance the same with the unbiased estimate,
    variance rows / (rows - 1), as in torch.nn.BatchNorm1d.

    Parameters
    ----------
    running_mean, running_variance : ndarray (N,)
        Updated in place.
    mean, variance : ndarray (N,)
        Results of batch_norm_forward.
    rows : int
        Number of rows of the minibatch, at least 2.
    momentum : float, default 0.1
        In (0, 1].

    Raises
    ------
    TypeError, ValueError
        If rows or momentum is not such a number.
    """
    rows = integer("rows", rows, least=2, most=2**63 - 1)
    momentum = BatchNorm(momentum).momentum
    running_mean += momentum * (mean - running_mean)
    running_variance += momentum * (variance * (rows / (rows - 1)) - running_variance)


def _statistics(x: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and variance along an axis. E[x^2] - mean^2 would suffer from cancellation if the mean is large."""
    _not_empty(x, axis)
    mean = x.mean(axis=axis, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axis)
    return mean.reshape(variance.shape), variance


def _not_empty(x: NDArray[Any], axis: int) -> None:
    if x.shape[axis] == 0:
        raise ValueError(f"x must have at least one {('row', 'column')[axis]}, got shape {x.shape}")


def _rstd(variance: NDArray[Any], eps: float) -> NDArray[Any]:
    return 1 / np.sqrt(variance + number("eps", eps, above=0))


def _affine(xhat: NDArray[Any], gamma: NDArray[Any] | None, beta: NDArray[Any] | None) -> NDArray[Any]:
    z = xhat if gamma is None else gamma * xhat
    return z if beta is None else z + beta
