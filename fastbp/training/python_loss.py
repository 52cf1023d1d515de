"""Losses that are Python functions: a step in parts, with the function called between forward and backward.

The function is called once a minibatch, outside the core: slower than a loss of the core, by the call and the work of
the function.
"""

import numbers

import numpy as np

from .. import _core
from .._support import arguments
from .._support.declarative import Declared, described


def is_function(loss):
    """Whether a trainer's loss is a function."""
    return callable(loss) and not isinstance(loss, (Declared, type))


def checked_target(name, y, rows, x_name):
    """y as an array of as many rows as x."""
    y = np.asarray(y)
    if y.ndim == 0:
        raise ValueError(f"{name} must have at least 1 dimension, got {described(y)}")
    arguments.rows(name, y, rows, x_name)
    return y


def call(function, output, target):
    """The loss and its gradient, checked: (float, array like output)."""
    result = function(output, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
    value, gradient = result
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, numbers.Real):
        raise TypeError(f"loss must return a number first, got {described(value)}")
    gradient = np.asarray(gradient)
    if gradient.dtype.kind not in "fiu":
        raise TypeError(f"loss must return an array of reals second, got {gradient.dtype}")
    if gradient.shape != output.shape:
        raise ValueError(f"loss must return a gradient of shape {output.shape}, got {gradient.shape}")
    return float(value), np.ascontiguousarray(gradient, output.dtype)


def gradient(trainer, plan, data, dx, training):
    """The loss of a minibatch with its penalties; its gradient goes to the trainer's."""
    value = _forward_and_backward(trainer, plan, data.x, data.target, training, trainer.steps, 0, 1.0, False, dx)
    return value + plan.add_penalties()


def value(trainer, data):
    """The loss of all data in prediction."""
    return call(trainer.loss, trainer.net.predict(data.x, allow_nonfinite=True), data.target)[0]


def step(trainer, plan, data, rate, updates):
    """One update; (status, loss)."""
    loss = _forward_and_backward(trainer, plan, data.x, data.target, True, updates, 0, 1.0, False, None)
    return plan.update(loss, len(data.x), rate, updates, True)[:2]


def run_epoch(trainer, plan, data, batch_size, accumulate, order, rates, layers, run, before=0):
    """One pass over the data, with so many updates of the epoch before it. Returns (mean loss, rows, sum of squared
    norms, updates), or None when it is given up; `layers` get theirs."""
    rows, most = len(data.x if order is None else order), batch_size * accumulate
    counts = trainer._updates
    total = squares = 0.0
    for number, rate in enumerate(rates):
        chosen = slice(number * most, min((number + 1) * most, rows))
        chosen = np.arange(rows)[chosen] if order is None else order[chosen]
        loss = 0.0
        for first in range(0, len(chosen), batch_size):
            part = chosen[first : first + batch_size]
            share = len(part) / len(chosen)
            loss += share * _forward_and_backward(
                trainer, plan, data.x[part], data.target[part], True, counts.done, first, share, first > 0, None
            )
        try:
            status, loss, square = plan.update(loss, len(chosen), rate, counts.done, True, layers)
        finally:
            if plan.updates > counts.done:
                counts.done = plan.updates
        if status != _core.OK:
            trainer._diverged(status, before + number, loss, rate, run.history)
        counts.last_loss = loss
        total += loss * len(chosen)
        squares += square
        if number + 1 < len(rates) and run.paused():
            return None
    return total / rows, rows, squares, len(rates)


def _forward_and_backward(trainer, plan, x, target, training, draw, first_row, share, accumulate, dx):
    """The loss; `share` times its gradient goes to the trainer's, added to what is there when `accumulate`."""
    output = np.empty((len(x), trainer.net.outputs), trainer.net.dtype)
    plan.forward_kept(x, output, training, draw, first_row)
    loss, doutput = call(trainer.loss, output, target)
    plan.backward(doutput if share == 1 else doutput * np.asarray(share, doutput.dtype), accumulate, dx)
    return loss
