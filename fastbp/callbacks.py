"""Callbacks: what may look at a fit while it runs, and end it."""

import math
import os
import time

from ._support.declarative import choice, described, flag, integer, number
from .metrics import LARGER_IS_BETTER
from .training.history import LISTS


class Callback:
    """Base class: does nothing. `Trainer.fit` calls its methods with the `fitting.Run` under way.

    Attributes
    ----------
    stride : int or None
        `batch_end` is called after every so many updates of the trainer's life; None: never.
    """

    stride = None

    def train_begin(self, run):
        """Before the first epoch."""

    def batch_end(self, run):
        """After an update whose number, `run.trainer.steps`, is a multiple of `stride`. What changes parameters has to
        wait for the epoch's end."""

    def pause(self, run):
        """Whenever training comes back to Python: about every 50 ms, and before `batch_end`."""

    def epoch_end(self, run):
        """After an epoch; `run.history` has its entries."""

    def train_end(self, run):
        """After the last epoch, or after an error or Ctrl-C, which is then in `run.failed`."""

    def state(self):
        """What a checkpoint has to keep of this callback.

        Returns
        -------
        record : dict
            What JSON can say.
        vectors : dict of str to 1-D array of the net's dtype
        """
        return {}, {}

    def check_state(self, run, record, vectors):
        """Refuse, before a checkpoint changes anything, what it kept but was no `state` of this callback.

        Raises
        ------
        TypeError, ValueError, KeyError, AttributeError or OverflowError
        """

    def set_state(self, record, vectors):
        """Go on from a `state` that a checkpoint kept."""


class EarlyStopping(Callback):
    """Stops when a figure no longer improves, and puts back the parameters it was best with.

    Parameters
    ----------
    monitor : str, optional
        An entry of the history. Without: "val_loss" where there is validation, else "loss".
    patience : int, default 10
        Stop after so many epochs without an improvement, at least 1.
    min_delta : float, default 0
        An improvement is one by more than this.
    mode : {"min", "max"}, optional
        Whether small or large is good. Without: "max" for accuracies and r2, else "min".
    restore_best : bool, default True
        Whether the net has at the end the parameters (and running statistics) of its best epoch. After an error or
        Ctrl-C it keeps those it has.

    Attributes
    ----------
    best : float or None
        The best figure so far.
    best_epoch : int
        The epoch of the fit that had it, from 1; 0 before.
    """

    def __init__(self, monitor=None, patience=10, min_delta=0.0, mode=None, restore_best=True):
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of an entry of the history or None, got {described(monitor)}")
        self.monitor = monitor
        self.patience = integer("patience", patience, least=1)
        self.min_delta = number("min_delta", min_delta, least=0)
        self.mode = None if mode is None else choice("mode", mode, ("min", "max"))
        self.restore_best = flag("restore_best", restore_best)
        self._forget()

    def _forget(self):
        self.best, self.best_epoch, self._weights = None, 0, {}

    def train_begin(self, run):
        self._name = self.monitor or ("val_loss" if "val_loss" in run.history else "loss")
        if self._name not in run.history or self._name in LISTS:
            names = ", ".join(name for name in run.history if name not in LISTS)
            raise ValueError(f"monitor is {self._name!r}; the history has {names}")
        larger = self._name.removeprefix("val_").startswith(LARGER_IS_BETTER)
        self._sign = 1 if (self.mode or ("max" if larger else "min")) == "max" else -1
        if run.epoch == 0:
            self._forget()
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop()  # as the fit that wrote the checkpoint did

    def epoch_end(self, run):
        value = run.history[self._name][-1]
        if not math.isnan(value) and (
            self.best is None or self._sign * value > self._sign * self.best + self.min_delta
        ):
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best:
                self._weights = {"parameters": run.net.parameters.copy(), "statistics": run.net.statistics.copy()}
        if run.epoch - self.best_epoch >= self.patience:
            run.stop()

    def train_end(self, run):
        if run.failed is None:
            for name, vector in self._weights.items():  # no statistics from the file of a net that has none
                getattr(run.net, name)[...] = vector

    def state(self):
        best = self.best if self.best is None or math.isfinite(self.best) else repr(self.best)  # JSON knows no inf
        return {"best": best, "best_epoch": self.best_epoch}, self._weights

    def check_state(self, run, record, vectors):
        if record["best"] is not None:
            float(record["best"])
        integer("best_epoch", record["best_epoch"], least=0)
        for name, vector in vectors.items():
            there = {"parameters": run.net.parameters, "statistics": run.net.statistics}[name]
            if vector.shape != there.shape:
                raise ValueError(f"{name} has {len(vector)} elements; the network has {len(there)}")

    def set_state(self, record, vectors):
        self.best = None if record["best"] is None else float(record["best"])
        self.best_epoch, self._weights = record["best_epoch"], vectors


class MaxTime(Callback):
    """Stops after a time. The epoch under way then does not count, though its updates were made.

    Parameters
    ----------
    seconds : float
        Above 0, from the beginning of the fit; met to within 50 ms, or an update where those take longer.
    """

    def __init__(self, seconds):
        self.seconds = number("seconds", seconds, above=0)

    def train_begin(self, run):
        self._end = time.monotonic() + self.seconds

    def pause(self, run):
        if time.monotonic() >= self._end:
            run.stop()

    epoch_end = pause


class Checkpoint(Callback):
    """Writes a file from which the same call of `fit` goes on, to the same bits as if it had never stopped.

    Parameters
    ----------
    path : str or path
        Ends in .npz or .safetensors. Written whole or not at all (see `Trainer.save`), so that it can be read after a
        crash at any moment. `Trainer.load` and `fastbp.load` read it, too.
    epochs : int, default 1
        Write after every so many epochs, and after the last.
    seconds : float, optional
        Do not write before so much time has passed since the last write; the last epoch's is always written.
    resume : bool, default True
        Whether a fit by a trainer that has made no update yet goes on from an existing file: its net, optimiser,
        history and callbacks take the file's state, and what is left of the epochs is done. A script then only has to
        be started again. Else an existing file is replaced.

    Notes
    -----
    A fit goes on to the same bits when it is given the same data and arguments; the file of another net, loss,
    optimiser, number of rows, targets, weights of rows and the like is refused. Other X are not noticed. It is written
    at ends of epochs: what was done of an epoch is done again. It does not go with `LBFGS`, whose memory of gradients
    is SciPy's.
    """

    def __init__(self, path, epochs=1, seconds=None, resume=True):
        self.path = path
        self.epochs = integer("epochs", epochs, least=1)
        self.seconds = 0.0 if seconds is None else number("seconds", seconds, least=0)
        self.resume = flag("resume", resume)

    def train_begin(self, run):
        run.check_destination(self.path)
        if self.resume and run.trainer.steps == 0 and os.path.exists(self.path):
            run.restore(self.path)
        self._written, self._time = run.epoch, time.monotonic()

    def epoch_end(self, run):
        due = run.epoch - self._written >= self.epochs and time.monotonic() - self._time >= self.seconds
        if due or run.stopped or run.epoch == run.epochs:
            run.save(self.path)
            self._written, self._time = run.epoch, time.monotonic()


class Log(Callback):
    """Writes the history to a file, a line after each epoch.

    Parameters
    ----------
    path : str or path
        Ends in .csv (comma-separated numbers under a line of names) or .jsonl (a JSON object a line, which has the
        norms of the layers' gradients, too). An existing file is replaced; a fit that a `Checkpoint` goes on with
        writes the lines before again.
    """

    def __init__(self, path):
        text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if not isinstance(text, str):
            raise TypeError(f"path must be a str or a path, got {described(path)}")
        if not text.endswith((".csv", ".jsonl")):
            raise ValueError(f"path must end in .csv or .jsonl, got {text}")
        self.path = text
        self._file = None

    def train_begin(self, run):
        import csv

        self._file = open(self.path, "w", newline="", encoding="utf-8")
        self._names = ["epoch", *(name for name in run.history if name not in LISTS)]
        if self.path.endswith(".csv"):
            self._writer = csv.DictWriter(self._file, self._names, extrasaction="ignore")
            self._writer.writeheader()
        for epoch in range(run.history.epochs):
            self._write(run, epoch)
        self._file.flush()

    def epoch_end(self, run):
        self._write(run, run.history.epochs - 1)
        self._file.flush()

    def _write(self, run, index):
        import json

        row = {"epoch": index + 1, **{name: values[index] for name, values in run.history.items()}}
        if self.path.endswith(".csv"):
            self._writer.writerow(row)
        else:
            self._file.write(json.dumps(row) + "\n")

    def train_end(self, run):
        if self._file is not None:
            self._file.close()


class ProgressBar(Callback):
    """A bar of the updates done, by tqdm: on a terminal's standard error or in a notebook. Nothing where the output is
    neither, and a line for each epoch where tqdm is not installed.
    """

    def train_begin(self, run):
        self._bar = None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        total = run.updates_an_epoch and run.epochs * run.updates_an_epoch
        # disable=None: only where the output is a terminal. A notebook's bar takes no notice of it.
        self._bar = tqdm(total=total, unit="update", disable=None, initial=run.epoch * (run.updates_an_epoch or 0))
        self._before = run.trainer.steps

    def pause(self, run):
        if self._bar is not None:
            steps = run.trainer.steps
            self._bar.update(steps - self._before)
            self._before = steps

    def epoch_end(self, run):
        if self._bar is None:
            run.print_line()
            return
        self.pause(run)
        shown = [name for name in run.history if name.startswith("val_")] or ["loss"]
        self._bar.set_description(f"epoch {run.epoch} of {run.epochs}", refresh=False)
        self._bar.set_postfix({name: f"{run.history[name][-1]:.4g}" for name in shown})

    def train_end(self, run):
        if self._bar is not None:
            self._bar.close()


class _Function(Callback):
    """A function that is called after each epoch."""

    def __init__(self, function):
        self.epoch_end = function


def checked(callbacks):
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
        For what is no callback; for a stride that is neither None nor at least 1.
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
