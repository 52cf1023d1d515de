"""Metrics: functions of a network's output and the target that `Trainer.fit` reports beside the loss.

The output is that of `Network.predict`, hence logits for the cross-entropies. The target is the one given to `fit`:
class numbers (rows,), or an array (rows, outputs).
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ._support.declarative import described, listed

Array = np.ndarray[Any, np.dtype[Any]]
Metric = Callable[[Any, Any], float]

NAMES = ("accuracy", "top_k, k a number", "r2", "mean_absolute_error", "mean_squared_error")
LARGER_IS_BETTER = ("accuracy", "r2", "top_")  # beginnings of names


def accuracy(output: Array, target: Array) -> float:
    """The share of rows in which the target's class has the largest output.

    Parameters
    ----------
    output : ndarray (rows, classes)
    target : ndarray (rows,) of class numbers, or (rows, classes) of probabilities

    Returns
    -------
    float
    """
    return float(np.mean(output.argmax(axis=1) == _classes(target)))


def binary_accuracy(output: Array, target: Array) -> float:
    """The share of elements for which a positive logit means a target above 1/2, and the reverse.

    Parameters
    ----------
    output : ndarray (rows, outputs)
        Logits.
    target : ndarray (rows, outputs) or (rows,)
        Probabilities.

    Returns
    -------
    float
    """
    return float(np.mean((output > 0) == (_like(target, output) > 0.5)))


def top_k(output: Array, target: Array, k: int) -> float:
    """The share of rows in which fewer than k classes have a larger output than the target's class.

    Parameters
    ----------
    output : ndarray (rows, classes)
    target : ndarray (rows,) of class numbers, or (rows, classes) of probabilities
    k : int

    Returns
    -------
    float
    """
    own = np.take_along_axis(output, _classes(target)[:, None], axis=1)
    return float(np.mean((output > own).sum(axis=1) < k))


def r2(output: Array, target: Array) -> float:
    """The coefficient of determination, 1 - sum (y - t)^2 / sum (t - mean t)^2, averaged over columns.

    Parameters
    ----------
    output : ndarray (rows, outputs)
    target : ndarray (rows, outputs) or (rows,)

    Returns
    -------
    float
        A column with constant targets counts as 1 if all are predicted exactly, otherwise as 0, as in scikit-learn.
    """
    target = _like(target, output)
    left = np.square(target - output, dtype=np.float64).sum(axis=0)
    total = np.square(target - target.mean(axis=0, dtype=np.float64)).sum(axis=0)
    varies = total > 0
    return float(np.mean(np.where(varies, 1 - left / np.where(varies, total, 1), left == 0)))


def mean_absolute_error(output: Array, target: Array) -> float:
    """The mean of |y - t| over rows and columns.

    Parameters
    ----------
    output : ndarray (rows, outputs)
    target : ndarray (rows, outputs) or (rows,)

    Returns
    -------
    float
    """
    return float(np.mean(np.abs(output - _like(target, output)), dtype=np.float64))


def mean_squared_error(output: Array, target: Array) -> float:
    """The mean of (y - t)^2 over rows and columns.

    Parameters
    ----------
    output : ndarray (rows, outputs)
    target : ndarray (rows, outputs) or (rows,)

    Returns
    -------
    float
    """
    return float(np.mean(np.square(output - _like(target, output), dtype=np.float64)))


def resolve(metrics: Any, loss: Any) -> dict[str, Metric]:
    """The functions of the metrics that `Trainer.fit` was given.

    Parameters
    ----------
    metrics : str, function, list or tuple of these, or dict of name to function
    loss : Loss or function
        The loss of the trainer, on which the meaning of "accuracy" depends.

    Returns
    -------
    dict of str to function (output, target) -> float

    Raises
    ------
    TypeError, ValueError
        If an element is not a metric, or does not go with the loss.
    """
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    if isinstance(metrics, dict):
        for name, function in metrics.items():
            if not isinstance(name, str) or not callable(function):
                raise TypeError(f"metrics must map names to functions, got {described(name)}: {described(function)}")
        return dict(metrics)
    if not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics must be names, functions, or a dict of names to functions, got {described(metrics)}")
    found: dict[str, Metric] = {}
    for metric in metrics:
        if isinstance(metric, str):
            found[metric] = _named(metric, loss)
        elif callable(metric):
            found[getattr(metric, "__name__", type(metric).__name__)] = metric
        else:
            raise TypeError(f"metrics must hold names and functions, got {described(metric)}")
    if len(found) < len(metrics):
        raise ValueError("metrics must have names that differ: give a dict of names to functions")
    return found


def _named(name: str, loss: Any) -> Metric:
    kind = getattr(loss, "name", None)
    if name == "accuracy" and kind in ("softmax_cross_entropy", "binary_cross_entropy"):
        return accuracy if kind == "softmax_cross_entropy" else binary_accuracy
    k = re.fullmatch(r"top_([1-9]\d{0,8})", name)
    if k and kind == "softmax_cross_entropy":
        return lambda output, target: top_k(output, target, int(k[1]))
    if name == "accuracy" or k:
        raise ValueError(f"the metric {name!r} does not go with the loss {kind or 'given as a function'}")
    functions = {"r2": r2, "mean_absolute_error": mean_absolute_error, "mean_squared_error": mean_squared_error}
    if name not in functions:
        raise ValueError(f"metrics must be among {listed(NAMES)}, or functions, got {name!r}")
    if kind == "softmax_cross_entropy":
        raise ValueError(f"the metric {name!r} does not go with the loss {kind}")
    return functions[name]


def _classes(target: Array) -> Array:
    return target if target.ndim == 1 else target.argmax(axis=1)


def _like(target: Array, output: Array) -> Array:
    return target.reshape(output.shape)
