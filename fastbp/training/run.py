"""One call of `Trainer.fit`: what happens around its epochs, for the compiled trainer and for its twin."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import callbacks as callbacks_
from .. import metrics as metrics_
from .._support.declarative import described, flag, number
from .history import History

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from .checkpoint import FitFiles


class Counters(NamedTuple):
    """Functions by which a run reads and advances the counts of its trainer.

    Attributes
    ----------
    steps : function () -> int
        Updates done, over all fits.
    count_epoch : function (float) -> int
        Is called after each epoch with its loss; with validation, with the loss of the validation data. Counts the
        epoch, shows the loss to the schedule, and returns the number of epochs done, over all fits.
    """

    steps: Callable[[], int]
    count_epoch: Callable[[float], int]


class Watched(NamedTuple):
    """Functions by which a run measures the net after each epoch.

    Attributes
    ----------
    validation_loss : function () -> float, or None
        None: there are no validation data.
    outputs : function () -> (output, target), or None
        The arrays that metrics are computed from; None: there are none.
    """

    validation_loss: Callable[[], float] | None
    outputs: Callable[[], tuple[NDArray[Any], NDArray[Any]]] | None


def refuse_with_batches(
    batch_size: Any, validation: Any, sample_weight: Any, accumulate: Any, class_weight: Any
) -> None:
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


class Run:
    """A fit under way, as callbacks see it.

    Parameters
    ----------
    trainer : Trainer
        Of ``fastbp`` or ``fastbp.reference``. It is there for callbacks: the run itself does not use it.
    net : Network
    loss : Loss or function
    counters : Counters
    settings : dict
        "epochs", "rows", "batch_size" (both None where the data come in batches) and "accumulate".
    watched : Watched
    metrics, callbacks, tolerance, verbose
        As `Trainer.fit` takes them.
    files : FitFiles, optional
        Writes and reads the checkpoints; None: there can be none.

    Attributes
    ----------
    trainer : Trainer
    net : Network
    history : History
        With entries for the epochs done.
    epoch : int
        Epochs of this fit that are done, those before a checkpoint included.
    epochs : int
        The argument of `fit`.
    rows : int or None
        Rows of an epoch; None when they come from an iterable.
    batch_size : int or None
    steps : int
        Updates done, over all fits of the trainer.
    updates_an_epoch : int or None
    stopped : bool
        Whether `stop` was called.
    failed : BaseException or None
        In `train_end`: the exception that ended the fit.
    """

    def __init__(
        self,
        trainer: Any,
        net: Any,
        loss: Any,
        counters: Counters,
        settings: dict[str, Any],
        watched: Watched,
        metrics: Any,
        callbacks: Any,
        tolerance: Any,
        verbose: Any,
        files: FitFiles | None = None,
    ) -> None:
        self.trainer, self.net = trainer, net
        self.epochs: int = settings["epochs"]
        self.rows: int | None = settings["rows"]
        self.batch_size: int | None = settings["batch_size"]
        self.updates_an_epoch: int | None = None
        if self.rows is not None and self.batch_size is not None:
            self.updates_an_epoch = -(-self.rows // (self.batch_size * settings["accumulate"]))
        self.epoch, self.stopped = 0, False
        self.failed: BaseException | None = None
        self._counters, self._watched, self._files = counters, watched, files
        self._tolerance = None if tolerance is None else number("tolerance", tolerance, least=0)
        self._verbose = flag("verbose", verbose)
        resolved = metrics_.resolve(metrics, loss)
        if resolved and watched.outputs is None:
            raise ValueError("metrics need validation where the data come from an iterable")
        found = callbacks_.checked(callbacks)
        checkpoints: list[callbacks_.Callback]
        checkpoints = [callback for callback in found if isinstance(callback, callbacks_.Checkpoint)]
        self._others = [callback for callback in found if not isinstance(callback, callbacks_.Checkpoint)]
        # A checkpoint sets the state of the other callbacks before they begin, and writes it after their `epoch_end`.
        self._beginning, self._ending = checkpoints + self._others, self._others + checkpoints
        self._strides = [callback.stride for callback in found if callback.stride is not None]
        prefix = "" if watched.validation_loss is None else "val_"
        self._columns = {prefix + name: function for name, function in resolved.items()}
        names = ["loss", "gradient_norm", "layer_gradient_norms", "learning_rate"]
        names += [] if watched.validation_loss is None else ["val_loss"]
        taken = [name for name in self._columns if name in [*names, "seconds"]]
        if taken:
            raise ValueError(f"the history has another {taken[0]!r}: give the metric a name of its own")
        self.history = History({name: [] for name in [*names, *self._columns, "seconds"]})

    @property
    def steps(self) -> int:
        return self._counters.steps()

    def stop(self) -> None:
        """End the fit: after this epoch, or at once when called within one, which then does not count."""
        self.stopped = True

    # ------------------------------------------------------------------------------------------ for the training loop

    def __enter__(self) -> Run:
        self._ends = ExitStack()
        with ExitStack() as ends:
            for callback in self._beginning:
                ends.push(self._end_of(callback))
                callback.train_begin(self)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._ends.__exit__(kind, error, traceback)

    def _end_of(self, callback: callbacks_.Callback) -> Callable[..., None]:
        def end(_: Any, error: BaseException | None, __: Any) -> None:
            self.failed = error
            callback.train_end(self)

        return end

    def goes_on(self) -> bool:
        """Whether another epoch is to be made."""
        return self.epoch < self.epochs and not self.stopped

    def begin_epoch(self) -> None:
        """Has to be called before each epoch."""
        self._started = time.perf_counter()
        self._before = None if self._tolerance is None else self.net.parameters.copy()
        if self._strides:
            self._seen = self.steps

    def updates_to_pause(self) -> int:
        """Upper bound on the number of updates before the next call of `paused`; 0: none."""
        if not self._strides:
            return 0
        steps = self.steps
        return min(stride - steps % stride for stride in self._strides)

    def paused(self) -> bool:
        """Has to be called now and then between two updates; returns whether the epoch is to be given up."""
        for callback in self._ending:
            callback.pause(self)
        self._batch_ends()
        return self.stopped

    def _batch_ends(self) -> None:
        if not self._strides:
            return
        steps = self.steps
        if steps == self._seen:
            return
        self._seen = steps
        for callback in self._ending:
            if callback.stride is not None and steps % callback.stride == 0:
                callback.batch_end(self)

    def end_epoch(
        self, loss: float, squared_norm: float, layer_squares: NDArray[Any], updates: int, rate: float
    ) -> None:
        """Count an epoch, add to the history, and call the callbacks.

        Parameters
        ----------
        loss : float
            The mean of the updates' losses.
        squared_norm, layer_squares : float, (L,) array
            The sums over the updates of |gradient|^2, of all parameters and of those of each layer.
        updates : int
        rate : float
            The learning rate of the last update.
        """
        history, watched = self.history, self._watched
        self._batch_ends()
        history["loss"].append(loss)
        history["gradient_norm"].append(math.sqrt(squared_norm / updates))
        history["layer_gradient_norms"].append(np.sqrt(layer_squares / updates).tolist())
        history["learning_rate"].append(float(rate))
        to_schedule = loss
        if watched.validation_loss is not None:
            to_schedule = watched.validation_loss()
            history["val_loss"].append(to_schedule)
        if self._columns and watched.outputs is not None:
            output, target = watched.outputs()
            for name, function in self._columns.items():
                history[name].append(_figure(name, function(output, target)))
        self._epochs_of_trainer = self._counters.count_epoch(to_schedule)
        self.epoch += 1
        history["seconds"].append(time.perf_counter() - self._started)
        if self._before is not None and np.abs(self.net.parameters - self._before).max(initial=0) < self._tolerance:
            self.stop()
        if self._verbose:
            self.print_line()
        for callback in self._ending:
            callback.epoch_end(self)

    def print_line(self) -> None:
        """Print the last epoch's entries."""
        values = ", ".join(f"{name} {self.history[name][-1]:.6g}" for name in self.history.figures)
        print(f"epoch {self._epochs_of_trainer}: {values}", flush=True)

    # ------------------------------------------------------------------------------------------------ for checkpoints

    def check_destination(self, path: Any) -> None:
        """Refuse a path that a checkpoint could not be written to, or a trainer that cannot write one.

        Raises
        ------
        TypeError, ValueError, OSError
        """
        if self._files is None:
            raise TypeError("a checkpoint needs fastbp.Trainer: its twin writes no files")
        self._files.check_destination(path)

    def save(self, path: Any) -> None:
        """Write the trainer and the state of this fit to a file; `check_destination` comes first."""
        assert self._files is not None
        states = [(type(callback).__name__, *callback.state()) for callback in self._keeping()]
        self._files.write(path, self.epoch, self.history, states)

    def restore(self, path: Any) -> None:
        """Resume the fit from a file that `save` wrote; `check_destination` comes first.

        Raises
        ------
        ValueError
            When the file is of another fit; nothing has changed then.
        """
        assert self._files is not None
        callbacks = self._keeping()

        def check_state(index: int, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
            callbacks[index].check_state(self, record, vectors)

        names = [type(callback).__name__ for callback in callbacks]
        self.epoch, history, states = self._files.read(path, list(self.history), names, check_state)
        for callback, state in zip(callbacks, states, strict=True):
            callback.set_state(*state)
        for name, values in history.items():
            self.history[name][:] = values

    def _keeping(self) -> list[callbacks_.Callback]:
        """The callbacks with a state that a checkpoint keeps."""
        return [callback for callback in self._others if any(callback.state())]


def _figure(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the metric {name!r} must return a number, got {described(value)}") from error
