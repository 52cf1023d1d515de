"""One call of `Trainer.fit`: what is done around its epochs, the same for the compiled trainer and for its twin."""

import math
import time
from contextlib import ExitStack

import numpy as np

from .. import callbacks as callbacks_
from .. import metrics as metrics_
from .._support import random_streams
from .._support.declarative import described, flag, integer, number
from .history import LISTS, History


def held_out(validation, rows):
    """How many of the rows a `validation` that is a number holds out, None when it is none.

    Parameters
    ----------
    validation : object
        What `fit` was given.
    rows : int

    Returns
    -------
    int or None

    Raises
    ------
    ValueError
        When the share is not in (0, 1), or leaves no row to either side.
    """
    if validation is None or isinstance(validation, (tuple, list)):
        return None
    if isinstance(validation, (bool, str)) or not isinstance(validation, (float, np.floating)):
        raise TypeError(
            "validation must be (X, y), (X, y, sample_weight), a share of the rows such as 0.1, or None, "
            f"got {described(validation)}"
        )
    count = round(number("validation", validation, above=0, below=1) * rows)
    if not 0 < count < rows:
        raise ValueError(f"validation is {validation}, which of {rows} rows leaves {count} to one side")
    return count


def refuse_with_batches(batch_size, validation, sample_weight, accumulate, class_weight):
    """Refuse arguments of `fit` that do not go with an iterable of batches.

    Raises
    ------
    TypeError, ValueError
    """
    for name, value in (("batch_size", batch_size), ("sample_weight", sample_weight)):
        if value is not None:
            raise TypeError(f"{name} must be None where X is an iterable of batches, got {described(value)}")
    if validation is not None and not isinstance(validation, (tuple, list)):
        raise TypeError(
            "validation must be (X, y), (X, y, sample_weight) or None where X is an iterable of batches, "
            f"got {described(validation)}"
        )
    if accumulate != 1:
        raise ValueError(f"accumulate must be 1 where X is an iterable of batches, got {described(accumulate)}")
    if isinstance(class_weight, str):
        raise ValueError("class_weight must be an array or a dict where X is an iterable of batches")


def split(random_permutation, seed, rows, count):
    """The rows to train on and those held out, each in the order they stand in: functions of the seed."""
    order = random_permutation(seed, random_streams.validation(), rows)
    return np.sort(order[count:]), np.sort(order[:count])


def by_class(name, class_weight, labels, classes):
    """What rows weigh by their classes.

    Parameters
    ----------
    name : str
        Of the argument.
    class_weight : (C,) array, dict of class number to weight, or "balanced"
        Classes that a dict lacks weigh 1. Balanced: rows / (C * rows of that class), C counting classes that occur.
    labels : ndarray of class numbers (rows,)
    classes : int

    Returns
    -------
    ndarray of float64 (rows,)

    Raises
    ------
    TypeError, ValueError
        For what is no such thing, or weights that are not finite and at least 0.
    """
    weights = np.ones(classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"{name} must be 'balanced', an array or a dict, got {class_weight!r}")
        counts = np.bincount(labels, minlength=classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, dict):
        for label, weight in class_weight.items():
            label = integer(f"a class in {name}", label, least=0, most=classes - 1)
            weights[label] = number(f"{name}[{label}]", weight, least=0)
    else:
        try:
            weights = np.asarray(class_weight)
        except ValueError:  # lists of several lengths
            weights = np.array(None)
        if weights.dtype.kind not in "fiu" or weights.ndim != 1:
            raise TypeError(f"{name} must be 'balanced', an array or a dict, got {described(class_weight)}")
        if len(weights) != classes:
            raise ValueError(f"{name} has {len(weights)} elements; the network has {classes} outputs")
        weights = weights.astype(np.float64)
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            raise ValueError(f"{name} must be finite and at least 0, got {weights[wrong[0]]} for class {wrong[0]}")
    return weights[labels]


class Run:
    """A fit under way, as callbacks see it.

    Parameters
    ----------
    trainer : Trainer
        Of ``fastbp`` or ``fastbp.reference``.
    settings : dict
        "epochs", "rows" (None: unknown), "batch_size", "accumulate", and whatever else a checkpoint must agree with; it
        need not in the epochs.
    metrics, callbacks, tolerance, verbose
        As `Trainer.fit` takes them.
    validation_loss : function () -> float, or None
        None: there is no validation.
    outputs : function () -> (output, target), or None
        What metrics are of; None: nothing.
    marks : function () -> dict
        What tells other data from these, for a checkpoint: called once, where there is one.

    Attributes
    ----------
    trainer : Trainer
    net : Network
    history : History
        With entries for the epochs done.
    epoch : int
        Epochs of this fit that are done; those before a checkpoint count.
    epochs : int
        Epochs that are wanted.
    rows : int or None
        Rows an epoch takes; None when they come from an iterable.
    batch_size : int or None
    updates_an_epoch : int or None
    stopped : bool
        Whether `stop` was called.
    failed : BaseException or None
        In `train_end`: what ended the fit before its time.
    """

    def __init__(self, trainer, settings, metrics, callbacks, tolerance, verbose, validation_loss, outputs, marks=dict):
        self.trainer, self.net = trainer, trainer.net
        self.epochs, self.rows, self.batch_size = settings["epochs"], settings["rows"], settings["batch_size"]
        self.updates_an_epoch = self.rows and -(-self.rows // (self.batch_size * settings["accumulate"]))
        self.epoch, self.stopped, self.failed = 0, False, None
        self._settings = {name: value for name, value in settings.items() if name != "epochs"}
        self._tolerance = None if tolerance is None else number("tolerance", tolerance, least=0)
        self._verbose = flag("verbose", verbose)
        self._validation_loss, self._outputs, self._marks = validation_loss, outputs, marks
        self._metrics = metrics_.resolve(metrics, trainer.loss)
        if self._metrics and outputs is None:
            raise ValueError("metrics need validation where the data come from an iterable")
        found = callbacks_.checked(callbacks)
        checkpoints = [callback for callback in found if isinstance(callback, callbacks_.Checkpoint)]
        self._others = [callback for callback in found if not isinstance(callback, callbacks_.Checkpoint)]
        # A checkpoint sets the others' state before they begin, and writes it after they have seen the epoch.
        self._beginning, self._ending = checkpoints + self._others, self._others + checkpoints
        self._strides = [callback.stride for callback in found if callback.stride is not None]
        prefix = "" if validation_loss is None else "val_"
        self._columns = {prefix + name: function for name, function in self._metrics.items()}
        names = ["loss", "gradient_norm", "layer_gradient_norms", "learning_rate"]
        names += [] if validation_loss is None else ["val_loss"]
        taken = [name for name in self._columns if name in [*names, "seconds"]]
        if taken:
            raise ValueError(f"the history has another {taken[0]!r}: give the metric a name of its own")
        self.history = History({name: [] for name in [*names, *self._columns, "seconds"]})

    def stop(self):
        """End the fit: after this epoch, or at once when called within one, which then does not count."""
        self.stopped = True

    # ----------------------------------------------------------------------------------------- for the trainers

    def __enter__(self):
        self._ends = ExitStack()
        with ExitStack() as ends:
            for callback in self._beginning:
                ends.push(self._end_of(callback))
                callback.train_begin(self)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *failure):
        return self._ends.__exit__(*failure)

    def _end_of(self, callback):
        def end(_, error, __):
            self.failed = error
            callback.train_end(self)

        return end

    def goes_on(self):
        """Whether another epoch is to be made."""
        return self.epoch < self.epochs and not self.stopped

    def begin_epoch(self):
        self._started = time.perf_counter()
        self._before = None if self._tolerance is None else self.net.parameters.copy()
        self._seen = self.trainer.steps

    def updates_to_pause(self):
        """How many updates from now on may pass before `paused` has to be called; 0: any number."""
        steps = self.trainer.steps
        return min((stride - steps % stride for stride in self._strides), default=0)

    def paused(self):
        """Called between two updates; says whether the epoch is to be given up."""
        for callback in self._ending:
            callback.pause(self)
        self._batch_ends()
        return self.stopped

    def _batch_ends(self):
        steps = self.trainer.steps
        if steps == self._seen:
            return
        self._seen = steps
        for callback in self._ending:
            if callback.stride is not None and steps % callback.stride == 0:
                callback.batch_end(self)

    def end_epoch(self, loss, squared_norm, layers, updates, rate):
        """Count an epoch, and do what is done after each.

        Parameters
        ----------
        loss : float
            The mean of the updates' losses.
        squared_norm, layers : float, (L,) array
            Sums over the updates of |gradient|^2, and of that of each layer.
        updates : int
        rate : float
            The last learning rate.
        """
        trainer, history = self.trainer, self.history
        self._batch_ends()
        trainer.epochs += 1
        self.epoch += 1
        history["loss"].append(loss)
        history["gradient_norm"].append(math.sqrt(squared_norm / updates))
        history["layer_gradient_norms"].append(np.sqrt(layers / updates).tolist())
        history["learning_rate"].append(float(rate))
        watched = loss
        if self._validation_loss is not None:
            watched = self._validation_loss()
            history["val_loss"].append(watched)
        if self._columns:
            output, target = self._outputs()
            for name, function in self._columns.items():
                history[name].append(_figure(name, function(output, target)))
        trainer._advance_schedule(watched)
        history["seconds"].append(time.perf_counter() - self._started)
        if self._before is not None and np.abs(self.net.parameters - self._before).max(initial=0) < self._tolerance:
            self.stop()
        if self._verbose:
            self.print_line()
        for callback in self._ending:
            callback.epoch_end(self)

    def print_line(self):
        """Print the last epoch's entries."""
        values = ", ".join(f"{key} {of[-1]:.6g}" for key, of in self.history.items() if key not in LISTS)
        print(f"epoch {self.trainer.epochs}: {values}", flush=True)

    # ------------------------------------------------------------------------------------------- for checkpoints

    def check_destination(self, path):
        """Refuse a path that a checkpoint could not be written to, or a trainer that cannot write one."""
        write = getattr(self.trainer, "_check_checkpoint", None)
        if write is None:
            raise TypeError("a checkpoint needs fastbp.Trainer: its twin writes no files")
        write(path)
        self._data_marks = self._marks()

    def save(self, path):
        """Write the trainer, and what this fit needs to be gone on with."""
        kept = [(type(callback).__name__, *callback.state()) for callback in self._keeping()]
        vectors = {
            f"callback{i}.{name}": vector
            for i, (_, _, arrays) in enumerate(kept)
            for name, vector in arrays.items()
            if len(vector)
        }
        record = {
            "epoch": self.epoch,
            "settings": self._settings,
            "marks": self._data_marks,
            "history": {name: [_to_plain(value) for value in values] for name, values in self.history.items()},
            "callbacks": [{"name": name, "state": state} for name, state, _ in kept],
            "vectors": {name: len(vector) for name, vector in vectors.items()},
        }
        self.trainer._write(path, record, vectors)

    def restore(self, path):
        """Go on from a file that `save` wrote."""
        record, vectors = self.trainer._restore(
            path, _check_record, lambda record, vectors: self._agrees(path, record, vectors)
        )
        for callback, state, arrays in self._states(record, vectors):
            callback.set_state(state, arrays)
        for name, values in record["history"].items():
            self.history[name][:] = [_from_plain(name, value) for value in values]
        self.epoch = record["epoch"]

    def _keeping(self):
        """The callbacks that have a state to be kept."""
        return [callback for callback in self._others if any(callback.state())]

    def _states(self, record, vectors):
        """What a checkpoint kept of each callback: (callback, record, vectors)."""
        for i, (callback, kept) in enumerate(zip(self._keeping(), record["callbacks"], strict=True)):
            prefix = f"callback{i}."
            arrays = {name.removeprefix(prefix): of for name, of in vectors.items() if name.startswith(prefix)}
            yield callback, kept["state"], arrays

    def _agrees(self, path, record, vectors):
        """Refuse, before anything changes, what another fit left."""
        for name, value in self._settings.items():
            there = record["settings"].get(name)
            if there != value:
                raise ValueError(f"{path}: its fit had {name} {there}, and this one has {value}")
        for name, mark in self._data_marks.items():
            if record["marks"].get(name) != mark:
                raise ValueError(f"{path}: its fit had other {name}")
        names = [type(callback).__name__ for callback in self._keeping()]
        there = [callback["name"] for callback in record["callbacks"]]
        if names != there:
            raise ValueError(f"{path}: its fit had callbacks with a state {there}, and this one has {names}")
        if list(record["history"]) != list(self.history):
            raise ValueError(f"{path}: its history has {list(record['history'])}, and this one {list(self.history)}")
        for callback, state, arrays in self._states(record, vectors):
            try:
                callback.check_state(self, state, arrays)
            except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
                raise ValueError(
                    f"{path}: what it kept of {type(callback).__name__} makes no sense: {error}"
                ) from error


def _check_record(record):
    """Refuse what is no record of a fit, as `Run.save` writes it.

    Raises
    ------
    TypeError, ValueError, KeyError
    """
    epoch = integer("epoch", record["epoch"], least=0)
    for name, kind in (("settings", dict), ("marks", dict), ("history", dict), ("callbacks", list), ("vectors", dict)):
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {described(record[name])}")
    for callback in record["callbacks"]:
        if not (isinstance(callback["name"], str) and isinstance(callback["state"], dict)):
            raise TypeError("callbacks must have a name and a state")
    for name, values in record["history"].items():
        if not isinstance(values, list) or len(values) != epoch:
            raise ValueError(f"history must have {epoch} figures of {name!r}")
        for value in values:
            _from_plain(name, value)


def _figure(name, value):
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the metric {name!r} must return a number, got {described(value)}") from error


def _to_plain(value):
    """A figure as JSON holds it, which knows neither nan nor inf."""
    if isinstance(value, list):
        return [_to_plain(element) for element in value]
    return value if math.isfinite(value) else repr(float(value))


def _from_plain(name, value):
    """An element of an entry of the history."""
    if name not in LISTS:
        return float(value)
    if not isinstance(value, list):
        raise TypeError(f"an element of {name!r} must be a list, got {described(value)}")
    return [float(element) for element in value]
