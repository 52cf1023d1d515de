"""Callbacks: objects that observe a fit while it runs, and may end it."""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable, Iterable
from io import FileIO
from typing import TYPE_CHECKING, Any

from ._support import storage
from ._support.declarative import choice, described, flag, integer, number
from .metrics import LARGER_IS_BETTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .training.run import Run


class Callback:
    """Base class, whose methods do nothing. `Trainer.fit` calls them with its `fastbp.training.run.Run`.

    Attributes
    ----------
    stride : int or None
        `batch_end` is called after each update whose number over the trainer's life is a multiple of stride; None:
        never.
    """

    stride: int | None = None

    def train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def batch_end(self, run: Run) -> None:
        """After an update whose number, `run.steps`, is a multiple of `stride`. Parameters may not be changed before
        the end of the epoch."""

    def pause(self, run: Run) -> None:
        """Whenever training returns to Python: about every 50 ms, and before `batch_end`."""

    def epoch_end(self, run: Run) -> None:
        """After an epoch; `run.history` has its entries."""

    def train_end(self, run: Run) -> None:
        """After the last epoch, or after an error or Ctrl-C, which `run.failed` then holds."""

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state of this callback that a checkpoint has to keep.

        Returns
        -------
        record : dict
            Of values that JSON can hold.
        vectors : dict of str to 1-D array of the net's dtype
        """
        return {}, {}

    def check_state(self, run: Run, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        """Refuse a state in a checkpoint that `state` cannot have returned, before anything is changed.

        Raises
        ------
        TypeError, ValueError, KeyError, AttributeError or OverflowError
        """

    def set_state(self, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        """Take over a state from a checkpoint."""


class EarlyStopping(Callback):
    """Stops a fit when a figure no longer improves, and restores the parameters of the best epoch.

    Parameters
    ----------
    monitor : str, optional
        An entry of the history. Default: "val_loss" where there is validation, else "loss".
    patience : int, default 10
        The number of epochs without an improvement after which the fit is stopped, at least 1.
    min_delta : float, default 0
        A smaller change is no improvement.
    mode : {"min", "max"}, optional
        Whether the figure is to become small or large. Default: "max" for accuracies and r2, else "min".
    restore_best : bool, default True
        Whether the net gets the parameters and running statistics of the best epoch at the end. After an error or
        Ctrl-C it keeps the latest ones.

    Attributes
    ----------
    best : float or None
        The best figure so far.
    best_epoch : int
        The epoch of the fit that had it, from 1; 0 before.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of an entry of the history or None, got {described(monitor)}")
        self.monitor = monitor
        self.patience = integer("patience", patience, least=1)
        self.min_delta = number("min_delta", min_delta, least=0)
        self.mode = None if mode is None else choice("mode", mode, ("min", "max"))
        self.restore_best = flag("restore_best", restore_best)
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self._weights: dict[str, NDArray[Any]] = {}

    def train_begin(self, run: Run) -> None:
        self._name = self.monitor or ("val_loss" if "val_loss" in run.history else "loss")
        if self._name not in run.history.figures:
            raise ValueError(f"monitor is {self._name!r}; the history has {', '.join(run.history.figures)}")
        larger = self._name.removeprefix("val_").startswith(LARGER_IS_BETTER)
        self._sign = 1 if (self.mode or ("max" if larger else "min")) == "max" else -1
        if run.epoch == 0:
            self._forget()
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop()  # as the fit that wrote the checkpoint did

    def epoch_end(self, run: Run) -> None:
        value = run.history[self._name][-1]
        if not math.isnan(value) and (
            self.best is None or self._sign * value > self._sign * self.best + self.min_delta
        ):
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best:
                self._weights = {"parameters": run.net.parameters.copy(), "statistics": run.net.statistics.copy()}
        if run.epoch - self.best_epoch >= self.patience:
            run.stop()

    def train_end(self, run: Run) -> None:
        if run.failed is None:
            run.net.set_vectors(self._weights)  # a file holds no statistics of a net without batch norms

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        best = self.best if self.best is None or math.isfinite(self.best) else repr(self.best)  # JSON has no inf
        return {"best": best, "best_epoch": self.best_epoch}, self._weights

    def check_state(self, run: Run, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        if record["best"] is not None:
            float(record["best"])
        integer("best_epoch", record["best_epoch"], least=0)
        run.net.check_vectors(vectors)

    def set_state(self, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        self.best = None if record["best"] is None else float(record["best"])
        self.best_epoch, self._weights = record["best_epoch"], vectors


class MaxTime(Callback):
    """Stops a fit after a time. The epoch under way then does not count, though its updates were made.

    Parameters
    ----------
    seconds : float
        Above 0, from the beginning of the fit. The fit may take 50 ms longer, or one update where that takes longer.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = number("seconds", seconds, above=0)

    def train_begin(self, run: Run) -> None:
        self._end = time.monotonic() + self.seconds

    def pause(self, run: Run) -> None:
        if time.monotonic() >= self._end:
            run.stop()

    epoch_end = pause


class Checkpoint(Callback):
    """Writes a file from which the same call of `fit` resumes, with the same bits as if it had never stopped.

    Parameters
    ----------
    path : str or path
        Ends in .npz or .safetensors. It is written whole or not at all (see `Trainer.save`), so that it can be read
        after a crash at any moment. `Trainer.load` and `fastbp.load` read it, too.
    epochs : int, default 1
        The number of epochs between two writes; it is also written after the last epoch.
    seconds : float, optional
        The least time between two writes; it is always written after the last epoch.
    resume : bool, default True
        Whether a fit by a trainer that has made no update yet resumes from an existing file: net, optimiser, history
        and callbacks take over its state, and the remaining epochs are made. A script then only has to be started
        again. False: an existing file is replaced.

    Notes
    -----
    The bits are the same when the fit gets the same data and arguments. The file of another net, loss, optimiser,
    number of rows, targets or weights of rows is refused; a change of X is not noticed. It is written at the end of an
    epoch: an epoch that was interrupted is made again from its beginning. It does not go with `LBFGS`, whose memory of
    gradients is SciPy's.
    """

    def __init__(
        self, path: str | os.PathLike[str], epochs: int = 1, seconds: float | None = None, resume: bool = True
    ) -> None:
        self.path = path
        self.epochs = integer("epochs", epochs, least=1)
        self.seconds = 0.0 if seconds is None else number("seconds", seconds, least=0)
        self.resume = flag("resume", resume)

    def train_begin(self, run: Run) -> None:
        run.check_destination(self.path)
        if self.resume and run.steps == 0 and os.path.exists(self.path):
            run.restore(self.path)
        self._written, self._time = run.epoch, time.monotonic()

    def epoch_end(self, run: Run) -> None:
        due = run.epoch - self._written >= self.epochs and time.monotonic() - self._time >= self.seconds
        if due or run.stopped or run.epoch == run.epochs:
            run.save(self.path)
            self._written, self._time = run.epoch, time.monotonic()


class Log(Callback):
    """Writes the history to a file, one line after each epoch.

    Parameters
    ----------
    path : str or path
        Ends in .csv (comma-separated numbers below a line of names) or .jsonl (a JSON object on each line, with the
        norms of the layers' gradients, too). An existing file is replaced when the fit begins; a fit that a
        `Checkpoint` resumes writes the lines of the earlier epochs again. Where a write fails, as on a full disk, the
        fit ends with an OSError, and the file holds whole lines.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if not isinstance(text, str):
            raise TypeError(f"path must be a str or a path, got {described(path)}")
        if not text.endswith((".csv", ".jsonl")):
            raise ValueError(f"path must end in .csv or .jsonl, got {text}")
        self.path = text
        self._file: FileIO | None = None

    def train_begin(self, run: Run) -> None:
        begin = self._lines(run, range(run.history.epochs), header=True)
        storage.write_whole(self.path, lambda file: file.write(begin))
        self._file = open(self.path, "ab", buffering=0)

    def epoch_end(self, run: Run) -> None:
        assert self._file is not None
        storage.append_whole(self._file, self._lines(run, [run.history.epochs - 1]))

    def _lines(self, run: Run, epochs: Iterable[int], header: bool = False) -> bytes:
        """The lines of these epochs, from 0. header: whether the line of names comes first, where there is one."""
        rows = [
            {"epoch": epoch + 1, **{name: values[epoch] for name, values in run.history.items()}} for epoch in epochs
        ]
        if not self.path.endswith(".csv"):
            import json

            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        import csv

        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["epoch", *run.history.figures], extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def train_end(self, run: Run) -> None:
        if self._file is not None:
            self._file.close()


class ProgressBar(Callback):
    """A bar of the updates done, by tqdm: on a terminal's standard error or in a notebook. Nothing where the output is
    neither, and a line for each epoch where tqdm is not installed.
    """

    def train_begin(self, run: Run) -> None:
        self._bar: Any = None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        total = run.updates_an_epoch and run.epochs * run.updates_an_epoch
        # disable=None: only where the output is a terminal. The bar of a notebook ignores it.
        self._bar = tqdm(total=total, unit="update", disable=None, initial=run.epoch * (run.updates_an_epoch or 0))
        self._before = run.steps

    def pause(self, run: Run) -> None:
        if self._bar is not None:
            steps = run.steps
            self._bar.update(steps - self._before)
            self._before = steps

    def epoch_end(self, run: Run) -> None:
        if self._bar is None:
            run.print_line()
            return
        self.pause(run)
        shown = [name for name in run.history if name.startswith("val_")] or ["loss"]
        self._bar.set_description(f"epoch {run.epoch} of {run.epochs}", refresh=False)
        self._bar.set_postfix({name: f"{run.history[name][-1]:.4g}" for name in shown})

    def train_end(self, run: Run) -> None:
        if self._bar is not None:
            self._bar.close()


class _Function(Callback):
    """A function that is called after each epoch."""

    def __init__(self, function: Callable[[Run], object]) -> None:
        self._function = function

    def epoch_end(self, run: Run) -> None:
        self._function(run)


def checked(callbacks: Any) -> list[Callback]:
    """Callbacks as a list of `Callback`.

    Parameters
    ----------
    callbacks : Callback, function of the run, or list or tuple of these

    Returns
    -------
    list of Callback

    Raises
    ------
    TypeError, ValueError
        For an object of another type; for a stride that is neither None nor at least 1.
    """
    if isinstance(callbacks, Callback) or callable(callbacks):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks must be callbacks or functions of the run, got {described(callbacks)}")
    found = []
    for callback in callbacks:
        if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
            raise TypeError(f"callbacks must hold callbacks and functions of the run, got {described(callback)}")
        found.append(callback if isinstance(callback, Callback) else _Function(callback))
        if found[-1].stride is not None:
            integer("stride", found[-1].stride, least=1)
    return found
