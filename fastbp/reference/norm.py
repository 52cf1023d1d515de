"""Layer norm and batch norm: y = gamma (x - mean) / sqrt(variance + eps) + beta.

Mean and variance are those of a row (layer norm) or of a column (batch norm) of x; the variance is divided by the
number of elements.
"""

import numpy as np


def layer_norm_forward(x, gamma=None, beta=None, eps=1e-5):
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
        For backward.
    """
    mean, variance = _statistics(x, axis=1)
    rstd = _rstd(variance, eps)
    y = _affine((x - mean[:, None]) * rstd[:, None], gamma, beta)
    return y, mean, rstd


def layer_norm_backward(dy, x, mean, rstd, gamma=None):
    """Gradients of the layer's input and parameters, from the gradient at its output.

    With g = dy gamma, the gradient at xhat. xhat depends on x itself and through mean and rstd on its whole row:
    dxhat_j/dx_i = rstd (delta_ij - 1/N - xhat_i xhat_j / N), so dx = rstd (g - average(g) - xhat average(g xhat)).

    Parameters
    ----------
    dy : ndarray (B, N)
    x : ndarray (B, N)
        Forward's argument.
    mean, rstd : ndarray (B,)
        What forward returned.
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


def batch_norm_forward(x, gamma=None, beta=None, eps=1e-5):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with statistics of each column: training.

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
        For backward, and for `batch_norm_running`. The variance is divided by B.
    """
    mean, variance = _statistics(x, axis=0)
    return batch_norm_predict(x, mean, variance, gamma, beta, eps), mean, variance


def batch_norm_backward(dy, x, mean, variance, gamma=None, eps=1e-5):
    """Gradients of the layer's input and parameters, from the gradient at its output, in training.

    As in a layer norm, but that averages are taken over each column; gamma is the same for all that is averaged:
    dx = gamma rstd (dy - average(dy) - xhat average(dy xhat)).

    Parameters
    ----------
    dy : ndarray (B, N)
    x : ndarray (B, N)
        Forward's argument.
    mean, variance : ndarray (N,)
        What forward returned.
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


def batch_norm_predict(x, mean, variance, gamma=None, beta=None, eps=1e-5):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with statistics that are given: prediction.

    Parameters
    ----------
    x : ndarray (B, N)
    mean, variance : ndarray (N,)
        The running ones.
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5

    Returns
    -------
    y : ndarray (B, N)
    """
    return _affine((x - mean) * _rstd(variance, eps), gamma, beta)


def batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum=0.1):
    """Draw running statistics towards those of a minibatch, in place.

    running_mean += momentum (mean - running_mean), and the same for the variance with variance rows / (rows - 1), the
    unbiased estimate, as torch.nn.BatchNorm1d has it.

    Parameters
    ----------
    running_mean, running_variance : ndarray (N,)
        Updated in place.
    mean, variance : ndarray (N,)
        What batch_norm_forward returned.
    rows : int
        Of the minibatch, at least 2.
    momentum : float, default 0.1
        In (0, 1].
    """
    running_mean += momentum * (mean - running_mean)
    running_variance += momentum * (variance * (rows / (rows - 1)) - running_variance)


def _statistics(x, axis):
    """Mean and variance along an axis. E[x^2] - mean^2 would cancel where the mean is large."""
    mean = x.mean(axis=axis, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axis)
    return mean.reshape(variance.shape), variance


def _rstd(variance, eps):
    return 1 / np.sqrt(variance + eps)


def _affine(xhat, gamma, beta):
    z = xhat if gamma is None else gamma * xhat
    return z if beta is None else z + beta
