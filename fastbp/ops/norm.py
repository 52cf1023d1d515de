"""Layer norm and batch norm: y = gamma (x - mean) / sqrt(variance + eps) + beta.

Mean and variance are those of a row (layer norm) or of a column (batch norm) of x; the variance is divided by the
number of elements. A variance of 0 gives y = beta.

All raise TypeError for an argument that is not an array of float32 or float64, or whose dtype differs from that of the
first, and ValueError for shapes that do not fit, x without a column (layer norm) or a row (batch norm), and eps that is
not finite and above 0.
"""

from .. import _core
from .._support.arguments import array, in_place, integer, number


def layer_norm_forward(x, gamma=None, beta=None, eps=1e-5):
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
    try:
        return _core.layer_norm_forward(x, gamma, beta, eps)
    except (ArithmeticError, TypeError, ValueError):
        pass
    x = _x(x, 1)
    return _core.layer_norm_forward(x, _of_columns("gamma", gamma, x), _of_columns("beta", beta, x), _eps(eps))


def layer_norm_backward(dy, x, mean, rstd, gamma=None):
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
    try:
        return _core.layer_norm_backward(dy, x, mean, rstd, gamma)
    except (TypeError, ValueError):
        pass
    dy, x = _dy_and_x(dy, x, 1)
    mean, rstd = (_of_rows(name, value, x) for name, value in (("mean", mean), ("rstd", rstd)))
    return _core.layer_norm_backward(dy, x, mean, rstd, _of_columns("gamma", gamma, x))


def batch_norm_forward(x, gamma=None, beta=None, eps=1e-5):
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
    try:
        return _core.batch_norm_forward(x, gamma, beta, eps)
    except (ArithmeticError, TypeError, ValueError):
        pass
    x = _x(x, 0)
    return _core.batch_norm_forward(x, _of_columns("gamma", gamma, x), _of_columns("beta", beta, x), _eps(eps))


def batch_norm_backward(dy, x, mean, variance, gamma=None, eps=1e-5):
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
    try:
        return _core.batch_norm_backward(dy, x, mean, variance, gamma, eps)
    except (ArithmeticError, TypeError, ValueError):
        pass
    dy, x = _dy_and_x(dy, x, 0)
    mean, variance = (_of_columns(name, value, x, True) for name, value in (("mean", mean), ("variance", variance)))
    return _core.batch_norm_backward(dy, x, mean, variance, _of_columns("gamma", gamma, x), _eps(eps))


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
        Finite, above 0.

    Returns
    -------
    y : ndarray (B, N)
    """
    try:
        return _core.batch_norm_predict(x, mean, variance, gamma, beta, eps)
    except (ArithmeticError, TypeError, ValueError):
        pass
    x = _x(x, 0)
    mean, variance = (_of_columns(name, value, x, True) for name, value in (("mean", mean), ("variance", variance)))
    gamma, beta = _of_columns("gamma", gamma, x), _of_columns("beta", beta, x)
    return _core.batch_norm_predict(x, mean, variance, gamma, beta, _eps(eps))


def batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum=0.1):
    """Draw running statistics towards those of a minibatch, in place.

    running_mean += momentum (mean - running_mean), and the same for the variance with variance rows / (rows - 1), the
    unbiased estimate, as torch.nn.BatchNorm1d has it.

    Parameters
    ----------
    running_mean, running_variance : ndarray (N,)
        Updated in place: contiguous, aligned and writeable, or ValueError.
    mean, variance : ndarray (N,)
        What batch_norm_forward returned.
    rows : int
        Of the minibatch, at least 2.
    momentum : float, default 0.1
        In (0, 1].
    """
    try:
        _core.batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum)
        return
    except (ArithmeticError, TypeError, ValueError):
        pass
    running_mean = in_place("running_mean", running_mean)
    if running_mean.ndim != 1:
        raise ValueError(f"running_mean must have 1 dimension, got shape {running_mean.shape}")
    running_variance = in_place("running_variance", running_variance, running_mean.shape, running_mean.dtype)
    mean, variance = (array(name, x, 1, running_mean.dtype) for name, x in (("mean", mean), ("variance", variance)))
    for name, x in (("mean", mean), ("variance", variance)):
        if x.shape != running_mean.shape:
            raise ValueError(f"{name} has {len(x)} elements; running_mean has {len(running_mean)}")
    momentum = number("momentum", momentum, above=0)
    if momentum > 1:
        raise ValueError(f"momentum must be at most 1, got {momentum}")
    rows = integer("rows", rows, 2, 2**63 - 1)
    _core.batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum)


def _x(x, axis):
    x = array("x", x, 2)
    if not x.shape[axis]:
        raise ValueError(f"x must have at least one {('row', 'column')[axis]}, got shape {x.shape}")
    return x


def _dy_and_x(dy, x, axis):
    dy = array("dy", dy, 2)
    x = array("x", x, 2, dy.dtype)
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}; x has {x.shape}")
    return dy, _x(x, axis)


def _of_columns(name, value, x, needed=False):
    if value is None and not needed:
        return None
    value = array(name, value, 1, x.dtype)
    if len(value) != x.shape[1]:
        raise ValueError(f"{name} has {len(value)} elements; x has {x.shape[1]} columns")
    return value


def _of_rows(name, value, x):
    value = array(name, value, 1, x.dtype)
    if len(value) != x.shape[0]:
        raise ValueError(f"{name} has {len(value)} elements; x has {x.shape[0]} rows")
    return value


def _eps(eps):
    return number("eps", eps, above=0)
