"""The net, the trainer and the arguments of `Trainer.fit` that the options of ``fastbp train`` ask for."""

from __future__ import annotations

import argparse
from typing import Any

from .. import layers, losses, optimizers, schedules
from ..network import Network
from ..tabular import Classes, Encoding, Quantity
from ..trainer import Trainer

DROPOUT = 0.1
PATIENCE = 20
# Defaults of the command line: learning rates for a schedule that lowers them, and a weight decay that suits tables and
# images.
OPTIMIZERS: dict[str, tuple[Any, dict[str, float]]] = {
    "adamw": (optimizers.AdamW, {"learning_rate": 3e-3, "weight_decay": 0.1}),
    "adam": (optimizers.Adam, {"learning_rate": 3e-3}),
    "sgd": (optimizers.SGD, {"learning_rate": 3e-2, "momentum": 0.9}),
    "rmsprop": (optimizers.RMSprop, {"learning_rate": 1e-3}),
    "adagrad": (optimizers.Adagrad, {"learning_rate": 3e-2}),
}
LBFGS = "lbfgs"
LOSSES: dict[str, Any] = {
    "mean_squared_error": losses.MeanSquaredError,
    "mean_absolute_error": losses.MeanAbsoluteError,
    "huber": losses.Huber,
    "poisson": losses.Poisson,
}
NORMS: dict[str, Any] = {"layer": layers.LayerNorm, "batch": layers.BatchNorm}
LAST_RATE = 0.01  # the learning rate at the end of an exponential schedule, as a share of the first


def network(encoding: Encoding, options: argparse.Namespace) -> Network:
    """The net."""
    dropout = options.dropout
    if dropout is None:
        dropout = 0.0 if options.optimizer == LBFGS else DROPOUT
    activation = layers.activation(options.activation)
    stack: list[Any] = []
    for units in options.layers:
        if options.norm:
            stack += [layers.Dense(units), NORMS[options.norm](), activation]
        else:
            stack.append(layers.Dense(units, activation))
        if dropout:
            stack.append(layers.Dropout(dropout))
    stack.append(layers.Dense(encoding.target.outputs))
    return Network(encoding.inputs.width, stack, dtype=options.dtype, seed=options.seed)


def trainer(net: Network, encoding: Encoding, rows: int, options: argparse.Namespace) -> Trainer:
    """The trainer of that net for a number of training rows."""
    updates = -(-rows // _batch_size(rows, options))
    return Trainer(
        net,
        loss=_loss(encoding.target, options),
        optimizer=_optimizer(options),
        seed=options.seed,
        n_threads=options.threads,
        schedule=_schedule(updates, options),
        clip_norm=options.clip_norm,
    )


def fit_arguments(encoding: Encoding, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `Trainer.fit`, except data and callbacks."""
    target = encoding.target
    if isinstance(target, Classes):
        metrics = ["accuracy"]
    elif options.balanced:
        raise ValueError("--balanced goes with classes")
    else:
        metrics = ["r2"] if not target.log and target.quantiles is None else []
    return {
        "epochs": options.epochs,
        "batch_size": _batch_size(rows, options),
        "class_weight": "balanced" if options.balanced else None,
        "metrics": metrics,
        "verbose": options.verbose,
    }


def _loss(target: Classes | Quantity, options: argparse.Namespace) -> Any:
    if isinstance(target, Classes):
        if options.loss is not None or options.quantiles is not None or options.log_target:
            raise ValueError(
                f"--loss, --quantiles and --log-target are for numbers, and {target.column!r} is taken as classes: "
                "--task regression takes integers as numbers"
            )
        return losses.SoftmaxCrossEntropy()
    if target.quantiles is not None:
        if options.loss is not None:
            raise ValueError("--loss does not go with --quantiles, which have a loss of their own")
        return losses.Pinball(target.quantiles)
    if options.loss == "poisson" and options.log_target:
        raise ValueError("--log-target does not go with --loss poisson, which is for counts")
    return LOSSES[options.loss or "mean_squared_error"]()


def _optimizer(options: argparse.Namespace) -> Any:
    given = {"learning_rate": options.learning_rate, "weight_decay": options.weight_decay}
    given = {name: value for name, value in given.items() if value is not None}
    if options.optimizer == LBFGS:
        for name in given:
            raise ValueError(f"--{name.replace('_', '-')} does not go with --optimizer lbfgs")
        return optimizers.LBFGS()
    optimizer, defaults = OPTIMIZERS[options.optimizer]
    return optimizer(**{**defaults, **given})


def _schedule(updates: int, options: argparse.Namespace) -> Any:
    """The schedule of the learning rate for a number of updates in an epoch."""
    name, length = options.schedule, options.epochs * updates
    if options.optimizer == LBFGS:
        if name is not None:
            raise ValueError("--schedule does not go with --optimizer lbfgs, whose steps come from a line search")
        return None
    if name == "constant":
        return schedules.Constant()
    if name == "cosine":
        return schedules.Cosine(length)
    if name == "one_cycle":
        return schedules.OneCycle(length)
    if name == "exponential":
        return schedules.Exponential(LAST_RATE ** (1 / length))
    return schedules.ReduceOnPlateau(0.3, max((options.patience or PATIENCE) // 3, 1))


def _batch_size(rows: int, options: argparse.Namespace) -> int:
    """The option, or about a hundredth of the rows: a power of two from 32 to 256."""
    if options.batch_size is not None:
        if options.batch_size > rows:
            raise ValueError(f"--batch-size is {options.batch_size}; there are {rows} rows to train on")
        return int(options.batch_size)
    if options.optimizer == LBFGS:
        return rows
    size = min(1 << max(min((rows // 100).bit_length() - 1, 8), 5), rows)
    while options.norm == "batch" and rows % size == 1:  # a minibatch of a single row has no variance
        size -= 1
    return size
