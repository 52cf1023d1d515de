"""Training: minibatch after minibatch forward, loss, backward, update."""

import math
import time

import numpy as np

from .. import streams
from ..declarative import described, flag, integer, number
from ..declarative import seed as check_seed
from ..errors import DivergenceError
from ..losses import loss as loss_of
from ..optimizers import optimizer as optimizer_of
from . import loss as losses
from .network import Network, Training, real_array, refuse_nonfinite, rows_of_inputs
from .optimizer import adam_step, sgd_step
from .reduce import sum_squares
from .rng import random_permutation


class Trainer:
    """A network with a loss, an optimiser and the optimiser's state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str or Loss, default "softmax_cross_entropy"
    optimizer : str or Optimizer, default "adam"
    seed : int, default 0
        Of the order of rows in each epoch, in [0, 2^64).
    n_threads : int, optional
        At least 1. The compiled trainer's threads; here it changes nothing.

    Attributes
    ----------
    net, loss, seed, n_threads
        As given, names replaced by objects.
    optimizer : Optimizer
        May be replaced by one of the same class that keeps the same state: to change the learning rate, for one.
    steps : int
        Optimiser steps done.
    epochs : int
        Epochs done.

    Notes
    -----
    Targets are integer class numbers (B,) or probabilities (B, outputs) for softmax cross-entropy, and floats
    (B, outputs), or (B,) if there is one output, for the other losses. Floats are converted to the network's dtype.
    """

    def __init__(self, net, loss="softmax_cross_entropy", optimizer="adam", seed=0, n_threads=None):
        if not isinstance(net, Network):
            raise TypeError(f"net must be a Network of fastbp.reference, got {described(net)}")
        self.net = net
        self.loss = loss_of(loss)
        self.loss.parameters(net.outputs)  # raises where they do not fit
        self._optimizer = optimizer_of(optimizer)
        self.seed = check_seed("seed", seed)
        self.n_threads = None if n_threads is None else integer("n_threads", n_threads, least=1)
        self.steps = 0
        self.epochs = 0
        self._state = [np.zeros_like(net.parameters) for _ in range(self.optimizer.moments)]
        self._last_loss = None  # of the last step

    @property
    def optimizer(self):
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value):
        value, ours = optimizer_of(value), self._optimizer
        if type(value) is not type(ours) or value.moments != ours.moments:
            raise ValueError(f"optimizer must keep the same state as {ours!r}, got {value!r}: make another Trainer")
        self._optimizer = value

    def fit(
        self,
        X,
        y,
        epochs=1,
        batch_size=None,
        validation=None,
        shuffle=True,
        tolerance=None,
        allow_nonfinite=False,
        verbose=False,
    ):
        """Train on all rows, minibatch by minibatch, epoch after epoch.

        Parameters
        ----------
        X : ndarray (rows, inputs)
        y : ndarray
            Targets: see the class.
        epochs : int, default 1
            At least 1. How many more epochs, at most.
        batch_size : int, or None: 32, or all rows where there are fewer
            From 1 to the number of rows. The last minibatch of an epoch may be smaller.
        validation : tuple (Xv, yv), optional
            Data whose loss is taken after each epoch.
        shuffle : bool, default True
            Take the rows of epoch e, counted from 0 over the trainer's life, in the order
            random_permutation(seed, streams.shuffle(e), rows); else as they stand.
        tolerance : float, optional
            Stop after the first epoch in which no parameter moved by so much or more.
        allow_nonfinite : bool, default False
            Whether X may hold nan and inf.
        verbose : bool, default False
            Print a line for each epoch.

        Returns
        -------
        dict of lists
            One number for each epoch of this call. "loss": mean of the minibatches' losses, weighted by their rows.
            "gradient_norm": root mean square of the norms of the minibatches' gradients; "seconds": the epoch's time,
            validation included; "val_loss", if there is validation data.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value; nothing has changed then.
        DivergenceError
            If a loss or gradient is not finite. The parameters are those before that minibatch.
        """
        allow_nonfinite = flag("allow_nonfinite", allow_nonfinite)
        X, y = self._checked("X", X, "y", y, allow_nonfinite)
        epochs = integer("epochs", epochs, least=1)
        batch_size = min(32, len(X)) if batch_size is None else integer("batch_size", batch_size, least=1)
        if batch_size > len(X):
            raise ValueError(f"batch_size must be at most the number of rows, {len(X)}, got {batch_size}")
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise TypeError(f"validation must be a pair (X, y), got {described(validation)}")
            validation = self._checked("validation[0]", validation[0], "validation[1]", validation[1], allow_nonfinite)
        shuffle = flag("shuffle", shuffle)
        tolerance = None if tolerance is None else number("tolerance", tolerance, least=0)
        verbose = flag("verbose", verbose)

        history = {"loss": [], "gradient_norm": [], "seconds": []}
        if validation is not None:
            history["val_loss"] = []
        for _ in range(epochs):
            start = time.perf_counter()
            before = self.net.parameters.copy()
            order = np.arange(len(X))
            if shuffle:
                order = random_permutation(self.seed, streams.shuffle(self.epochs), len(X))
            loss_sum = squared_norm_sum = 0.0
            batches = [order[i : i + batch_size] for i in range(0, len(X), batch_size)]
            for step, rows in enumerate(batches):
                loss, squared_norm = self._update(X[rows], y[rows], self.epochs, step, history)
                loss_sum += loss * len(rows)
                squared_norm_sum += squared_norm
            self.epochs += 1
            history["loss"].append(loss_sum / len(X))
            history["gradient_norm"].append(math.sqrt(squared_norm_sum / len(batches)))
            if validation is not None:
                history["val_loss"].append(self._value(*validation))
            history["seconds"].append(time.perf_counter() - start)
            if verbose:
                print(f"epoch {self.epochs}:", ", ".join(f"{key} {values[-1]:.6g}" for key, values in history.items()))
            if tolerance is not None and np.abs(self.net.parameters - before).max() < tolerance:
                break
        return history

    def step(self, x, y):
        """One update from one minibatch.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        TypeError, ValueError
            If x or y is of the wrong kind, shape or value.
        DivergenceError
            If the loss or its gradient is not finite; nothing has changed then.
        """
        x, y = self._checked("x", x, "y", y)
        loss, _ = self._update(x, y, None, self.steps, {})
        return loss

    def value_and_grad(self, x, y, inputs=False):
        """The loss of a minibatch and its gradient.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.
        inputs : bool, default False
            Whether to return the gradient with respect to x, too.

        Returns
        -------
        loss : float
        gradient : ndarray (P,)
            Laid out as ``net.parameters``.
        dx : ndarray (B, inputs)
            If `inputs`.
        """
        x, y = self._checked("x", x, "y", y)
        loss, gradient, dx = self._value_and_gradients(x, y)
        return (loss, gradient, dx) if flag("inputs", inputs) else (loss, gradient)

    def example_gradients(self, x, y):
        """The loss of each example and its gradient, each example as a minibatch of one.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.

        Returns
        -------
        losses : ndarray of float64 (B,)
        gradients : ndarray (B, P)
        """
        x, y = self._checked("x", x, "y", y)
        each = [self._value_and_gradients(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return np.array([loss for loss, _, _ in each]), np.array([gradient for _, gradient, _ in each])

    def evaluate(self, X, y):
        """The loss on all rows of X, taken as one minibatch.

        Parameters
        ----------
        X : ndarray (rows, inputs)
        y : ndarray
            Targets: see the class.

        Returns
        -------
        float
        """
        return self._value(*self._checked("X", X, "y", y))

    def _value(self, x, y):
        with np.errstate(all="ignore"):
            loss, _ = losses.of(self.loss, self.net.forward(x)[0], y)
        return loss

    def _value_and_gradients(self, x, y):
        """Loss, gradient (P,) and dx (B, inputs) of a minibatch."""
        with np.errstate(all="ignore"):  # what is not finite shows in the results
            z, done = self.net.forward(x, Training(self.seed, self.steps, 0))
            loss, dz = losses.of(self.loss, z, y)
            dx, gradient = self.net.backward(dz, done)
        return loss, gradient, dx

    def _update(self, x, y, epoch, step, history):
        """One step of the optimiser; returns the loss before it and the squared norm of the gradient."""
        loss, gradient, _ = self._value_and_gradients(x, y)
        with np.errstate(all="ignore"):
            squared_norm = sum_squares(gradient)
        if not (math.isfinite(loss) and np.isfinite(gradient).all()):
            what = "gradient" if math.isfinite(loss) else "loss"
            raise DivergenceError(what, epoch, step, loss, self._last_loss, self.optimizer.learning_rate, history)
        self._last_loss = loss
        self.steps += 1
        w = self.net.parameters
        hyperparameters = {field: getattr(self.optimizer, field) for field in self.optimizer.fields}
        with np.errstate(all="ignore"):
            if self.optimizer.name == "sgd":
                sgd_step(w, gradient, *self._state, **hyperparameters)
            else:
                adam_step(w, gradient, *self._state, self.steps, **hyperparameters)
        return loss, squared_norm

    def _checked(self, x_name, x, y_name, y, allow_nonfinite=False):
        """x (B, inputs) and the targets, int64 (B,) or the network's dtype (B, outputs), after all checks."""
        x = rows_of_inputs(x_name, x, self.net, allow_nonfinite)
        if len(x) == 0:
            raise ValueError(f"{x_name} must have at least 1 row, got shape {x.shape}")
        rows, outputs = len(x), self.net.outputs
        labels = self.loss.code_labels is not None and not (isinstance(y, np.ndarray) and y.ndim == 2)
        if labels:
            if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu":
                came = f"{y.dtype} array" if isinstance(y, np.ndarray) else described(y)
                raise TypeError(f"{y_name} must be an integer array of class numbers, got {came}")
            if y.ndim != 1:
                raise ValueError(f"{y_name} must have 1 dimension, got shape {y.shape}")
        else:
            y = real_array(y_name, y, self.net.dtype)
            if y.ndim == 1 and outputs == 1:
                y = y.reshape(-1, 1)
            if y.ndim != 2 or y.shape[1] != outputs:
                raise ValueError(f"{y_name} has shape {y.shape}; expected ({rows}, {outputs})")
            refuse_nonfinite(y_name, y)
        if len(y) != rows:
            raise ValueError(f"{y_name} has {len(y)} rows; {x_name} has {rows}")
        if self.loss.name.endswith("cross_entropy") and not labels and not (0 <= y.min() and y.max() <= 1):
            raise ValueError(f"{y_name} must hold probabilities in [0, 1], got {y.min()} to {y.max()}")
        if labels:
            wrong = np.flatnonzero((y < 0) | (y >= outputs))
            if wrong.size:
                raise ValueError(
                    f"{y_name} must hold class numbers from 0 to {outputs - 1}, got {y[wrong[0]]} at [{wrong[0]}]"
                )
            y = y.astype(np.int64, copy=False)
        return x, y
