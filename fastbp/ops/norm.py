"""Layer norm and batch norm: y = gamma (x - mean) / sqrt(variance + eps) + beta.

Mean and variance are those of a row (layer norm) or of a column (batch norm) of x; the variance is divided by the
number of elements. A variance of 0 gives y = beta.

All raise TypeError for an argument that is not an array of float32 or float64, or whose dtype differs from that of the
first, and ValueError for shapes that do not fit, x without a column (layer norm) or a row (batch norm), and eps that is
not finite and above 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def layer_norm_forward(
    x: NDArray[Real], gamma: NDArray[Real] | None = None, beta: NDArray[Real] | None = None, eps: float = 1e-5
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """y = gamma xhat + beta, xhat = (x - mean) rstd, rstd = 1 / sqrt(variance + eps), with statistics of each row.

    Parameters
    ----------
    x : ndarray (B, N)
        An inf or a nan makes its row nan.
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5
        Finite, above 0.

    Returns
    -------
    y : ndarray (B, N)
    mean, rstd : ndarray (B,)
        For backward.

    Notes
    -----
    Source: Ba, Kiros, Hinton, Layer Normalization, arXiv:1607.06450, 2016.
    """
    return _core.layer_norm_forward(x, gamma, beta, eps)


def layer_norm_backward(
    dy: NDArray[Real], x: NDArray[Real], mean: NDArray[Real], rstd: NDArray[Real], gamma: NDArray[Real] | None = None
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """Gradients of the layer's input and parameters, from the gradient at its output.

    With g = dy gamma, and averages over each row:
    dx = rstd (g - average(g) - xhat average(g xhat)), dgamma = the sum of dy xhat over the batch, dbeta that of dy.

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
    return _core.layer_norm_backward(dy, x, mean, rstd, gamma)


def batch_norm_forward(
    x: NDArray[Real], gamma: NDArray[Real] | None = None, beta: NDArray[Real] | None = None, eps: float = 1e-5
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with statistics of each column: training.

    Parameters
    ----------
    x : ndarray (B, N)
        An inf or a nan makes its column nan.
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5
        Finite, above 0.

    Returns
    -------
    y : ndarray (B, N)
    mean, variance : ndarray (N,)
        For backward, and for `batch_norm_running`. The variance is divided by B.

    Notes
    -----
    Source: Ioffe, Szegedy, Batch Normalization, ICML 2015.
    """
    return _core.batch_norm_forward(x, gamma, beta, eps)


def batch_norm_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    gamma: NDArray[Real] | None = None,
    eps: float = 1e-5,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
    """Gradients of the layer's input and parameters, from the gradient at its output, in training.

    With averages over each column:
    dx = gamma rstd (dy - average(dy) - xhat average(dy xhat)), dgamma = the sum of dy xhat, dbeta that of dy.

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
    return _core.batch_norm_backward(dy, x, mean, variance, gamma, eps)


def batch_norm_predict(
    x: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    gamma: NDArray[Real] | None = None,
    beta: NDArray[Real] | None = None,
    eps: float = 1e-5,
) -> NDArray[Real]:
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with statistics that are given: prediction.

    Parameters
    ----------
    x : ndarray (B, N)
    mean, variance : ndarray (N,)
        The running ones.
    gamma, beta : ndarray (N,), optional
        1 and 0 when None.
    eps : float, default 1e-5
        Finite, above 0.

    Returns
    -------
    y : ndarray (B, N)
    """
    return _core.batch_norm_predict(x, mean, variance, gamma, beta, eps)


def batch_norm_running(
    running_mean: NDArray[Real],
    running_variance: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    rows: int,
    momentum: float = 0.1,
) -> None:
    """Draw running statistics towards those of a minibatch, in place.

    running_mean += momentum (mean - running_mean), and the same for the variance with variance rows / (rows - 1), the
    unbiased estimate, as torch.nn.BatchNorm1d has it.

    Parameters
    ----------
    running_mean, running_variance : ndarray (N,)
        Updated in place: contiguous, aligned, writeable and without memory in common, or ValueError.
    mean, variance : ndarray (N,)
        What batch_norm_forward returned.
    rows : int
        Of the minibatch, at least 2.
    momentum : float, default 0.1
        In (0, 1].
    """
    _core.batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum)
