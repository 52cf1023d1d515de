"""Training: a net, a loss, an optimiser and its state."""

import sys
from time import perf_counter

import numpy as np

from . import _core, checks, declarative, losses, optimizers, storage, streams
from .errors import DivergenceError
from .network import BLOCK, Network, aligned_vector, expected_vectors, plan_rows

MOST_THREADS = 256
OF_PROBABILITIES = ("softmax_cross_entropy", "binary_cross_entropy")  # float targets must lie in [0, 1]
PAUSE = 0.05  # seconds in C between two looks at signals


class Trainer:
    """Trains a net: its loss, its optimiser, and their state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str or loss
        "softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error", "pinball", or an object such as
        ``Pinball([0.1, 0.5, 0.9])``.
    optimizer : str or optimiser
        "adam", "sgd", or an object such as ``Adam(3e-4)``.
    seed : int in [0, 2**64)
        The order of the rows in epoch e is a function of (seed, e).
    n_threads : int or None
        At most so many threads; None: as many as there are cores. Fewer are used where more cannot pay. The results
        have the same bits for any number.

    Attributes
    ----------
    net, loss, seed, n_threads
        As given; a loss by name has become an object.
    optimizer : optimiser
        May be replaced by another of the same class, to change the learning rate for one; its state is kept.
    steps : int
        Updates done.
    epochs : int
        Epochs done, over all calls of `fit`.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind or value.

    Notes
    -----
    X and x are arrays of float32 or float64, and of the net's dtype after conversion where it differs; anything else is
    refused, and so are nan and inf. Targets, y, are

    - for softmax cross-entropy integer class numbers (rows,), or probabilities (rows, outputs);
    - for the other losses floats (rows, outputs), or (rows,) when the net has one output.

    A trainer may be used from several threads, one call after the other. It can be copied and pickled.
    """

    def __init__(self, net, loss="softmax_cross_entropy", optimizer="adam", seed=0, n_threads=None):
        if not isinstance(net, Network):
            raise TypeError(f"net must be a Network, got {declarative.described(net)}")
        loss = losses.loss(loss)
        loss.parameters(net.outputs)
        optimizer = optimizers.optimizer(optimizer)
        seed = declarative.seed("seed", seed)
        if n_threads is not None:
            n_threads = declarative.integer("n_threads", n_threads, 1, MOST_THREADS)
        self._set_up(net, loss, optimizer, seed, n_threads, 0, 0)

    def _set_up(self, net, loss, optimizer, seed, n_threads, steps, epochs):
        _check_constants(optimizer, net.dtype)
        self._net = net
        self._loss = loss
        self._optimizer = optimizer
        self._seed = seed
        self._n_threads = n_threads
        self.epochs = epochs
        size, dtype = len(net.parameters), net.dtype
        self._gradient = aligned_vector(size, dtype)
        self._moments = [aligned_vector(size, dtype) for _ in range(optimizer.moments)]
        self._learning_rate = optimizer.learning_rate
        self._inputs, self._outputs, self._dtype = net.inputs, net.outputs, dtype
        self._updates = _core.Updates(steps)  # their count, the last loss that was finite, and the trainer's lock
        self._running, self._in_epoch = None, False  # the plan whose epoch is under way
        self._drop_plans()

    def _drop_plans(self):
        self._plans = {}  # code of the loss -> (plan, the most rows to give it)
        self._fast = None  # the plan of the last step, for one like it

    net = property(lambda self: self._net)
    loss = property(lambda self: self._loss)
    seed = property(lambda self: self._seed)
    n_threads = property(lambda self: self._n_threads)

    @property
    def steps(self):
        return self._updates.done

    @steps.setter
    def steps(self, value):
        self._updates.done = value

    @property
    def optimizer(self):
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value):
        value = optimizers.optimizer(value)
        ours = self._optimizer
        if type(value) is not type(ours) or value.moments != ours.moments:
            raise ValueError(f"optimizer must keep the same state as {ours!r}, got {value!r}: make another Trainer")
        _check_constants(value, self._dtype)
        with self._updates:
            self._refuse_in_epoch()
            self._optimizer = value
            self._learning_rate = value.learning_rate
            if value.constants != ours.constants:
                self._drop_plans()

    def __repr__(self):
        return (
            f"Trainer({self._net!r}, loss={self._loss!r}, optimizer={self._optimizer!r}, seed={self._seed}, "
            f"n_threads={self._n_threads})"
        )

    # ------------------------------------------------------------------------------------------------- training

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
        """Train for some epochs.

        Parameters
        ----------
        X : (rows, inputs) float32 or float64 array, rows >= 1
        y : array
            Targets: see the class.
        epochs : int >= 1
        batch_size : int in 1 .. rows, or None
            Rows in a minibatch; the last of an epoch may have fewer. None: 32, or all rows where there are fewer.
        validation : (X, y) or None
            Data whose loss is taken after every epoch.
        shuffle : bool
            Take the rows of each epoch in a random order, rather than as they stand.
        tolerance : float >= 0 or None
            Stop after the first epoch in which every parameter moved by less.
        allow_nonfinite : bool
            Do not look for nan and inf in X, nor in that of validation. (Training on them ends in a DivergenceError.)
        verbose : bool
            Print a line after each epoch.

        Returns
        -------
        dict of lists, one element an epoch
            "loss": mean of the minibatches' losses, weighted by their rows; "gradient_norm": root mean square of the
            norms of the minibatches' gradients (of a full batch: the norm); "val_loss", when validation is given;
            "seconds": time of the epoch, validation included.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was expected and what came; nothing is changed then.
        DivergenceError
            When a minibatch's loss or gradient is nan or inf. The parameters are those before it.
        KeyboardInterrupt
            Ctrl-C is heard every 50 ms, between two updates. Parameters, optimiser and `steps` are those after the last
            update, the epoch does not count: `fit`, `save` and the rest may be called again.
        """
        net = self._net
        allow_nonfinite = declarative.flag("allow_nonfinite", allow_nonfinite)
        X, target, code = self._checked("X", "y", X, y, allow_nonfinite)
        rows = len(X)
        epochs = declarative.integer("epochs", epochs, 1)
        batch_size = min(32, rows) if batch_size is None else declarative.integer("batch_size", batch_size, 1)
        if batch_size > rows:
            raise ValueError(f"batch_size is {batch_size}; X has {rows} rows")
        shuffle = declarative.flag("shuffle", shuffle)
        verbose = declarative.flag("verbose", verbose)
        if tolerance is not None:
            tolerance = declarative.number("tolerance", tolerance, least=0)
        history = {"loss": [], "gradient_norm": [], "seconds": []}
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise TypeError(f"validation must be a pair (X, y) or None, got {declarative.described(validation)}")
            validation = self._checked("validation[0]", "validation[1]", *validation, allow_nonfinite)
            history["val_loss"] = []

        with self._updates:
            self._refuse_in_epoch()
            try:
                plan = self._plan_for(code, batch_size)
                rates = np.full(-(-rows // batch_size), self._learning_rate)
                for _ in range(epochs):
                    started = perf_counter()
                    before = None if tolerance is None else net.parameters.copy()
                    order = (
                        _core.random_permutation(self._seed, streams.shuffle(self.epochs), rows) if shuffle else None
                    )
                    self._run_epoch(plan, X, target, batch_size, order, rates, history)
                    self.epochs += 1
                    history["loss"].append(plan.loss_sum / rows)
                    history["gradient_norm"].append((plan.squared_norm_sum / plan.step_count) ** 0.5)
                    if validation is not None:
                        history["val_loss"].append(self._evaluate(*validation))
                    history["seconds"].append(perf_counter() - started)
                    if verbose:
                        values = ", ".join(f"{key} {values[-1]:.6g}" for key, values in history.items())
                        print(f"epoch {self.epochs}: {values}", flush=True)
                    if tolerance is not None and np.abs(net.parameters - before).max() < tolerance:
                        break
            finally:
                self._drop_plans()  # a plan holds on to the data of its last epoch
        return history

    def _run_epoch(self, plan, X, target, batch_size, order, rates, history):
        updates = self._updates
        plan.begin_epoch(X, target, batch_size, order, rates, updates.done)
        self._running, self._in_epoch = plan, True
        try:
            status = plan.run(PAUSE)
            while status == _core.PAUSED:
                status = plan.run(PAUSE)
        finally:
            updates.done = plan.t  # not `steps`: no call stands here, as a signal's handler could run after it
            self._running, self._in_epoch = None, False
        if status != _core.OK:
            what = _what_diverged(status)
            if plan.step_count:
                updates.last_loss = plan.last_loss
            raise DivergenceError(
                what, self.epochs, plan.step_count, plan.failed_loss, updates.last_loss, self._learning_rate, history
            )
        updates.last_loss = plan.last_loss

    def step(self, x, y):
        """Make one update, for one minibatch: for online and reinforcement learning.

        Parameters
        ----------
        x : (rows, inputs) float32 or float64 array, rows >= 1
            Quickest when contiguous.
        y : array
            Targets: see the class. Quickest when contiguous, labels of int64 or int32.

        Returns
        -------
        float
            The minibatch's loss before the update.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value; no update is made.
        DivergenceError
            When the loss or its gradient is nan or inf though x and y are not; no update is made.
        """
        plan = self._fast
        if plan is not None:
            loss = plan.try_step(x, y, self._learning_rate, self._updates)
            if loss is not None:
                return loss
        with self._updates as updates:
            self._refuse_in_epoch()
            x, target, code = self._checked("x", "y", x, y)
            plan = self._fast = self._plan_for(code, len(x))
            try:
                status, loss = plan.step(x, target, self._learning_rate, updates.done)
            finally:
                # A signal's handler that raises does so right after the call, which made its update. No call stands
                # here: a handler could run after it.
                if plan.updates > updates.done:
                    updates.done = plan.updates
            if status:
                raise DivergenceError(
                    _what_diverged(status), None, updates.done, loss, updates.last_loss, self._learning_rate, {}
                )
            updates.last_loss = loss
            return loss

    # ------------------------------------------------------------------------------- losses and their gradients

    def value_and_grad(self, x, y, inputs=False):
        """The loss of a minibatch and its gradient, without an update.

        Parameters
        ----------
        x : (rows, inputs) float32 or float64 array, rows >= 1
        y : array
            Targets: see the class.
        inputs : bool
            Also return the gradient with respect to x.

        Returns
        -------
        loss : float
        gradient : (P,) array
            In the order of `net.parameters`.
        dx : (rows, inputs) array
            Only with inputs=True.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        inputs = declarative.flag("inputs", inputs)
        x, target, code = self._checked("x", "y", x, y)
        dx = np.empty_like(x) if inputs else None
        with self._updates:
            self._refuse_in_epoch()
            loss = self._plan_for(code, len(x)).gradient(x, target, dx)
            gradient = self._gradient.copy()
        return (loss, gradient, dx) if inputs else (loss, gradient)

    def example_gradients(self, x, y):
        """The loss and the gradient of each example, as if it were a minibatch of one.

        Parameters
        ----------
        x : (rows, inputs) float32 or float64 array, rows >= 1
        y : array
            Targets: see the class.

        Returns
        -------
        losses : (rows,) float64 array
        gradients : (rows, P) array
            Each in the order of `net.parameters`.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        x, target, code = self._checked("x", "y", x, y)
        rows = len(x)
        values = np.empty(rows)
        gradients = np.empty((rows, len(self._gradient)), self._dtype)
        with self._updates:
            plan = self._plan_for(code, rows)
            at_once = self._net.rows_in_a_slice()
            for start in range(0, rows, at_once):
                part = slice(start, start + at_once)
                plan.example_gradients(x[part], target[part], values[part], gradients[part])
        return values, gradients

    def evaluate(self, X, y):
        """The loss on data, without an update.

        Parameters
        ----------
        X : (rows, inputs) float32 or float64 array, rows >= 1
        y : array
            Targets: see the class.

        Returns
        -------
        float
            With the loss's reduction over all rows.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        data = self._checked("X", "y", X, y)
        with self._updates:
            return self._evaluate(*data)

    def _evaluate(self, X, target, code):
        rows = len(X)
        plan = self._plan_for(code, rows)
        at_once = self._net.rows_in_a_slice()
        total = 0.0
        for start in range(0, rows, at_once):
            total += plan.loss(X[start : start + at_once], target[start : start + at_once])
        return total / self._loss.terms(rows, self._net.outputs)

    # --------------------------------------------------------------------------------------------------- checks

    def _checked(self, x_name, y_name, x, y, allow_nonfinite=None):
        """x and y as the core takes them, and the code of the loss for such targets."""
        loss, outputs = self._loss, self._outputs
        code = loss.code if loss.code_labels is None or getattr(y, "ndim", None) == 2 else loss.code_labels
        if not allow_nonfinite and _core.ready(x, y, self._dtype.itemsize, self._inputs, outputs, code):
            return x, y, code
        x = self._net.checked_inputs(x_name, x, allow_nonfinite)
        rows = len(x)
        if loss.code_labels is not None:
            if not (isinstance(y, np.ndarray) and y.ndim == 2 and y.dtype.kind == "f"):
                return x, checks.labels(y_name, y, rows, outputs, x_name), loss.code_labels
        target = checks.targets(y_name, y, rows, outputs, self._dtype, x_name)
        checks.finite(y_name, target, "targets must be finite")
        if loss.name in OF_PROBABILITIES and not (target.min() >= 0 and target.max() <= 1):
            where = np.unravel_index(np.argmax((target < 0) | (target > 1)), target.shape)
            raise ValueError(
                f"{y_name} must hold probabilities in [0, 1], got {target[where]} in row {where[0]}, column {where[1]}"
            )
        return x, target, loss.code

    def _refuse_in_epoch(self):
        # The lock lets its own thread in again: a signal's handler, say, that runs between two slices of an epoch.
        if self._in_epoch:
            raise RuntimeError(
                "this trainer is in an epoch: what changes its parameters or gradient has to wait for its end"
            )

    def _catch_up(self):
        """Count the updates of an epoch under way, for a handler that saves or copies; the epoch does not count."""
        if self._in_epoch:
            self.steps = self._running.t

    def _plan_for(self, code, rows):
        plan, most = self._plans.get(code, (None, 0))
        if rows > most or plan.outdated:
            net, rows = self._net, plan_rows(rows)
            plan = _core.Plan(
                self._dtype.name,
                net._records,
                rows,
                self._n_threads or 0,
                code,
                self._loss.parameters(net.outputs),
                self._loss.reduction == "sum",
                self._optimizer.constants,
                net.parameters,
                self._gradient,
                *self._moments,
            )
            self._plans[code] = plan, rows if rows < BLOCK else sys.maxsize  # a full block takes any number of rows
        return plan

    # ------------------------------------------------------------------------------------------ files and copies

    def save(self, path):
        """Write net, loss, optimiser and their state to a file, whole or not at all: a run can be resumed from it.

        Parameters
        ----------
        path : str or path
            Ends in .npz or .safetensors: see `Network.save`. `fastbp.load` reads the net alone from it.

        Raises
        ------
        TypeError, ValueError, ImportError, OSError
            As for `Network.save`.
        """
        with self._updates:
            self._catch_up()
            checks.finite("parameters", self._net.parameters, "a file holds finite parameters only")
            description = {
                "loss": self._loss.to_dict(),
                "optimizer": self._optimizer.to_dict(),
                "seed": self._seed,
                "steps": self.steps,
                "epochs": self.epochs,
                "moments": len(self._moments),
            }
            vectors = {f"moment{i + 1}": moment for i, moment in enumerate(self._moments)}
            storage.write(
                path,
                {"network": self._net.description(), "trainer": description},
                {"parameters": self._net.parameters, **vectors},
            )

    @classmethod
    def load(cls, path, n_threads=None):
        """Read a trainer, with a net of its own, from a file that `save` wrote. Training goes on to the same bits.

        Parameters
        ----------
        path : str or path
        n_threads : int or None
            As for the class.

        Returns
        -------
        Trainer

        Raises
        ------
        ValueError
            Naming the file and what is wrong with it.
        TypeError, ImportError, OSError
            For a path of another type; without the safetensors package; when the file cannot be read.
        """
        if n_threads is not None:
            n_threads = declarative.integer("n_threads", n_threads, 1, MOST_THREADS)
        parts = None

        def expect(description):
            nonlocal parts
            if "network" in description and "trainer" not in description:
                raise ValueError("it holds a network and no trainer: read it with fastbp.load")
            expected = expected_vectors(description)
            trainer = description["trainer"]
            loss = losses.Loss.from_dict(trainer["loss"])
            optimizer = optimizers.Optimizer.from_dict(trainer["optimizer"])
            if optimizer.moments != trainer["moments"]:
                raise ValueError(f"moments is {trainer['moments']}; {optimizer!r} keeps {optimizer.moments}")
            seed = declarative.seed("seed", trainer["seed"])
            counts = [declarative.integer(name, trainer[name], 0, 2**63) for name in ("steps", "epochs")]
            parts = loss, optimizer, seed, n_threads, *counts
            return expected

        description, vectors = storage.read(path, expect)
        net = Network.from_description(description["network"], vectors["parameters"])
        try:
            parts[0].parameters(net.outputs)
        except ValueError as error:
            raise ValueError(f"{path}: its header makes no sense: {error}") from error
        return cls._of(net, *parts, [vectors[f"moment{i + 1}"] for i in range(parts[1].moments)])

    @classmethod
    def _of(cls, net, loss, optimizer, seed, n_threads, steps, epochs, moments):
        trainer = cls.__new__(cls)
        trainer._set_up(net, loss, optimizer, seed, n_threads, steps, epochs)
        for ours, given in zip(trainer._moments, moments, strict=True):
            ours[...] = given
        return trainer

    def __reduce__(self):
        # Copies as pickles: a copy that shared the state would be the same trainer twice.
        self._catch_up()
        arguments = (self._net, self._loss, self._optimizer, self._seed, self._n_threads, self.steps, self.epochs)
        return type(self)._of, (*arguments, self._moments)

    def __copy__(self):
        import copy

        return copy.deepcopy(self)


def _check_constants(optimizer, dtype):
    for field in optimizer.fields:
        checks.representable(f"{field} of the optimizer", getattr(optimizer, field), dtype)


def _what_diverged(status):
    return "loss" if status == _core.LOSS_NOT_FINITE else "gradient"  # a lack of memory has been raised by the core
