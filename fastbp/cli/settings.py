"""A net, its trainer and the arguments of a fit from the options of ``fastbp train``."""

from .. import layers, losses, optimizers, schedules
from ..network import Network
from ..tabular.columns import Classes
from ..trainer import Trainer

DROPOUT = 0.1
PATIENCE = 20
# Unless the options say: rates for a schedule that lowers them, and a decay found to suit tables and images.
OPTIMIZERS = {
    "adamw": (optimizers.AdamW, {"learning_rate": 3e-3, "weight_decay": 0.1}),
    "adam": (optimizers.Adam, {"learning_rate": 3e-3}),
    "sgd": (optimizers.SGD, {"learning_rate": 3e-2, "momentum": 0.9}),
    "rmsprop": (optimizers.RMSprop, {"learning_rate": 1e-3}),
    "adagrad": (optimizers.Adagrad, {"learning_rate": 3e-2}),
}
LBFGS = "lbfgs"
LOSSES = {
    "mean_squared_error": losses.MeanSquaredError,
    "mean_absolute_error": losses.MeanAbsoluteError,
    "huber": losses.Huber,
    "poisson": losses.Poisson,
}
NORMS = {"layer": layers.LayerNorm, "batch": layers.BatchNorm}
LAST_RATE = 0.01  # at the end of an exponential schedule, as a share of the first


def network(encoding, options):
    """The net that the options ask for."""
    dropout = options.dropout
    if dropout is None:
        dropout = 0.0 if options.optimizer == LBFGS else DROPOUT
    activation = layers.activation(options.activation)
    stack = []
    for units in options.layers:
        if options.norm:
            stack += [layers.Dense(units), NORMS[options.norm](), activation]
        else:
            stack.append(layers.Dense(units, activation))
        if dropout:
            stack.append(layers.Dropout(dropout))
    stack.append(layers.Dense(encoding.target.outputs))
    return Network(encoding.inputs.width, stack, dtype=options.dtype, seed=options.seed)


def trainer(net, encoding, rows, options):
    """The trainer of that net for so many rows."""
    return Trainer(
        net,
        loss=_loss(encoding.target, options),
        optimizer=_optimizer(options),
        seed=options.seed,
        n_threads=options.threads,
        schedule=_schedule(-(-rows // _batch_size(rows, options)), options),
        clip_norm=options.clip_norm,
    )


def of_fit(encoding, rows, options):
    """Arguments of `Trainer.fit`, but for data and callbacks."""
    classes = isinstance(encoding.target, Classes)
    if options.balanced and not classes:
        raise ValueError("--balanced goes with classes")
    numbers = not classes and not encoding.target.log and encoding.target.quantiles is None
    return {
        "epochs": options.epochs,
        "batch_size": _batch_size(rows, options),
        "class_weight": "balanced" if options.balanced else None,
        "metrics": ["accuracy"] if classes else ["r2"] if numbers else [],
        "verbose": options.verbose,
    }


def _loss(target, options):
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
        raise ValueError("--log-target does not go with --loss poisson, which is of counts")
    return LOSSES[options.loss or "mean_squared_error"]()


def _optimizer(options):
    asked = {"learning_rate": options.learning_rate, "weight_decay": options.weight_decay}
    asked = {name: value for name, value in asked.items() if value is not None}
    if options.optimizer == LBFGS:
        for name in asked:
            raise ValueError(f"--{name.replace('_', '-')} does not go with --optimizer lbfgs")
        return optimizers.LBFGS()
    made, defaults = OPTIMIZERS[options.optimizer]
    return made(**{**defaults, **asked})


def _schedule(updates, options):
    """The schedule for so many updates an epoch."""
    name, length = options.schedule, options.epochs * updates
    if options.optimizer == LBFGS:
        if name is not None:
            raise ValueError("--schedule does not go with --optimizer lbfgs, whose steps come of a line search")
        return None
    return {
        "constant": schedules.Constant,
        "cosine": lambda: schedules.Cosine(length),
        "one_cycle": lambda: schedules.OneCycle(length),
        "exponential": lambda: schedules.Exponential(LAST_RATE ** (1 / length)),
        "plateau": lambda: schedules.ReduceOnPlateau(0.3, max((options.patience or PATIENCE) // 3, 1)),
    }[name or "plateau"]()


def _batch_size(rows, options):
    """Rows in a minibatch: about a hundredth of them, 32 at least and 256 at most, unless the options say."""
    if options.batch_size is not None:
        if options.batch_size > rows:
            raise ValueError(f"--batch-size is {options.batch_size}; there are {rows} rows to train on")
        return options.batch_size
    if options.optimizer == LBFGS:
        return rows
    size = min(1 << max(min((rows // 100).bit_length() - 1, 8), 5), rows)
    while options.norm == "batch" and rows % size == 1:  # a minibatch of a single row has no variance
        size -= 1
    return size
