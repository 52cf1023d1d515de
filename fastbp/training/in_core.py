"""Epochs in the core: pass after pass over the data, with a look at signals and callbacks now and then."""

import numpy as np

from .. import _core
from .._support import random_streams
from . import python_loss

PAUSE = 0.05  # seconds in C between two looks at signals


def train(trainer, run, data, chosen, batch_size, accumulate, shuffle):
    """Epoch after epoch. chosen: the rows to take, None for all."""
    rows = run.rows
    one_pass = python_loss.run_epoch if trainer._custom else run_epoch
    while run.goes_on():
        run.begin_epoch()
        plan = trainer._plan_for(data.code, batch_size, whole=True)
        order = chosen
        if shuffle:
            order = _core.random_permutation(trainer._seed, random_streams.shuffle(trainer.epochs), rows)
            order = order if chosen is None else chosen[order]
        rates = trainer._rates(trainer.steps, -(-rows // (batch_size * accumulate)))
        layers = np.zeros(plan.learned_count)
        done = one_pass(trainer, plan, data, batch_size, accumulate, order, rates, layers, run)
        if done is None:
            break
        loss, _, squared_norm, updates = done
        run.end_epoch(loss, squared_norm, layers, updates, rates[-1])


def train_batches(trainer, run, source, allow_nonfinite, class_weight):
    """Epoch after epoch, each a pass over the source; every batch is a pass of its own for the core."""
    one_pass = python_loss.run_epoch if trainer._custom else run_epoch
    while run.goes_on():
        run.begin_epoch()
        layers, total, masses, squares = 0.0, 0.0, 0.0, 0.0
        for number, (x, y, weights) in enumerate(source.epoch(), 1):
            x_name, y_name, weights_name = (f"{name} of batch {number}" for name in ("x", "y", "sample_weight"))
            data = trainer._data(x_name, y_name, x, y, weights_name, weights, allow_nonfinite)
            if class_weight is not None:
                data = trainer._class_weighted(data, class_weight)
            rows = len(data.x)
            trainer._refuse_single_rows(x_name, rows, rows)
            plan = trainer._plan_for(data.code, rows, whole=True)
            rate = trainer._rates(trainer.steps, 1)
            its_layers = np.zeros(plan.learned_count)
            done = one_pass(trainer, plan, data, rows, 1, None, rate, its_layers, run, number - 1)
            if done is None or run.paused():
                return
            loss, mass, squared_norm, _ = done
            total, masses, squares = total + loss * mass, masses + mass, squares + squared_norm
            layers = layers + its_layers
        run.end_epoch(total / masses if masses else 0.0, squares, layers, number, rate[0])


def run_epoch(trainer, plan, data, batch_size, accumulate, order, rates, layers, run, before=0):
    """One pass over the data, with so many updates of the epoch before it: (mean loss, what it is divided by, sum
    of |gradient|^2, updates), or None when it is given up."""
    updates = trainer._updates
    plan.begin_epoch(data.x, data.target, batch_size, order, rates, updates.done, data.weights, accumulate, layers)
    trainer._running, trainer._in_epoch = plan, True
    try:
        status = plan.run(PAUSE, run.updates_to_pause())
        while status == _core.PAUSED:
            updates.done = plan.t
            if plan.step_count:
                updates.last_loss = plan.last_loss
            if run.paused():
                return None
            status = plan.run(PAUSE, plan.step_count + run.updates_to_pause())
    finally:
        updates.done = plan.t  # not `steps`: no call stands here, as a signal's handler could run after it
        trainer._running, trainer._in_epoch = None, False
    if plan.step_count:
        updates.last_loss = plan.last_loss
    if status != _core.OK:
        trainer._diverged(status, before + plan.step_count, plan.failed_loss, rates[plan.step_count], run.history)
    return plan.mean_loss, plan.mass_sum, plan.squared_norm_sum, plan.step_count
