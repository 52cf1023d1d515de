"""Training: a net, a loss, an optimiser and its state."""

import sys
from collections import namedtuple

import numpy as np

from . import _core, losses, optimizers, schedules
from ._support import arguments, declarative, random_streams, storage
from ._support.plan_spec import PlanSpec, PlanVectors
from .errors import DivergenceError
from .network import BLOCK, MOST_THREADS, Network, aligned_vector, expected_vectors, plan_rows
from .training import batches, full_batch, python_loss
from .training import in_core as epochs_
from .training import run as fitting

OF_PROBABILITIES = ("softmax_cross_entropy", "binary_cross_entropy")  # float targets must lie in [0, 1]
PLAIN = {"schedule": schedules.Constant(), "clip_norm": None, "clip_value": None, "average": None}

Data = namedtuple("Data", ("x", "target", "code", "weights"))  # checked; the loss's code; weights of rows or None


class Trainer:
    """Trains a net: its loss, its optimiser, and their state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str, loss or function
        The name of a loss (see `fastbp.losses`), an object such as ``Pinball([0.1, 0.5, 0.9])``, or a function
        (output, target) -> (loss, doutput) of arrays (rows, outputs) and what there is of y for these rows, that gives
        a minibatch's loss and its gradient (rows, outputs).
    optimizer : str or optimiser
        The name of an optimiser (see `fastbp.optimizers`), or an object such as ``Adam(3e-4)``.
    seed : int in [0, 2**64)
        The order of the rows in epoch e is a function of (seed, e), and what dropout drops in update t of (seed, t).
    n_threads : int or None
        At most so many threads; None: as many as there are cores. Fewer are used where more cannot pay. The results
        have the same bits for any number.
    schedule : Schedule, function or None
        Factor of the optimiser's learning rate: an object such as ``Cosine(1000)``, or a function of the number of
        updates done. None: 1.
    clip_norm : float > 0 or None
        Scale each update's gradient down to this norm where it is longer.
    clip_value : float > 0 or None
        Limit each element of the gradient to -clip_value .. clip_value. Not together with clip_norm.
    average : float in [0, 1) or None
        Keep an exponential moving average of the parameters: average = decay average + (1 - decay) parameters after
        each update, from the parameters after the first.

    Attributes
    ----------
    net, loss, seed, n_threads, schedule, clip_norm, clip_value, average
        As given; a loss by name has become an object, and so has a schedule.
    averaged : (P,) array or None
        The moving average of the parameters, None without one.
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
    X and x, (rows, inputs), are

    - arrays of float32 or float64, converted to the net's dtype where it differs;
    - arrays of uint8, which are pixels: n in 0 .. 255 stands for n / 255.

    Rows are converted minibatch by minibatch as they are gathered, so that no copy of X is made, whatever its dtype and
    its strides: it may be Fortran-ordered or a slice, or larger than memory in an ``np.memmap``. Quickest is what is
    contiguous in each row. Data, targets and weights may also be what NumPy makes an array of by ``__array__`` or
    DLPack: a DataFrame, a tensor of PyTorch on the CPU, an array of JAX. Anything else is refused, and so are nan and
    inf. Targets, y, are

    - for softmax cross-entropy integer class numbers (rows,), or probabilities (rows, outputs);
    - for the other losses floats (rows, outputs), or (rows,) when the net has one output;
    - for Pinball with Q levels also (rows, outputs / Q), or (rows,) where outputs is Q: the outputs are the Q levels of
      the first target, then those of the second.

    Penalties of layers (l1, l2) join the loss that is minimised, and that `step`, `fit` and `value_and_grad` report. An
    update takes the gradient with penalties, then clips it, then follows the optimiser, then the average.

    A trainer may be used from several threads, one call after the other. It can be copied and pickled.
    """

    def __init__(
        self,
        net,
        loss="softmax_cross_entropy",
        optimizer="adam",
        seed=0,
        n_threads=None,
        schedule=None,
        clip_norm=None,
        clip_value=None,
        average=None,
    ):
        if not isinstance(net, Network):
            raise TypeError(f"net must be a Network, got {declarative.described(net)}")
        if n_threads is not None:
            n_threads = declarative.integer("n_threads", n_threads, 1, MOST_THREADS)
        if clip_norm is not None and clip_value is not None:
            raise ValueError("clip_norm and clip_value must not both be given")
        settings = {
            "loss": loss if python_loss.is_function(loss) else losses.loss(loss),
            "optimizer": optimizers.optimizer(optimizer),
            "seed": declarative.seed("seed", seed),
            "n_threads": n_threads,
            "schedule": schedules.schedule(schedule),
            "clip_norm": None if clip_norm is None else declarative.number("clip_norm", clip_norm, above=0),
            "clip_value": None if clip_value is None else declarative.number("clip_value", clip_value, above=0),
            "average": None if average is None else declarative.number("average", average, least=0, below=1),
        }
        if isinstance(settings["optimizer"], optimizers.LBFGS):
            for name, plain in PLAIN.items():
                if settings[name] != plain:
                    raise ValueError(f"{name} does not go with LBFGS, whose steps come of a line search")
        self._set_up(net, settings)

    def _set_up(self, net, settings, steps=0, epochs=0, schedule_state=None):
        loss, optimizer = settings["loss"], settings["optimizer"]
        _check_constants(optimizer, net.dtype)
        if not python_loss.is_function(loss):
            for value in loss.parameters(net.outputs):  # which raises where they do not fit
                arguments.representable(f"a parameter of {loss!r}", value, net.dtype)
        self._net = net
        self._settings = settings
        self._loss = loss
        self._custom = python_loss.is_function(loss)
        self._optimizer = optimizer
        self._seed = settings["seed"]
        self._schedule = settings["schedule"]
        self._schedule_state = self._schedule.initial_state if schedule_state is None else schedule_state
        self._set_constant_rate()
        self.epochs = epochs
        size, dtype = len(net.parameters), net.dtype
        self._gradient = aligned_vector(size, dtype)
        self._moments = [aligned_vector(size, dtype) for _ in range(optimizer.moments)]
        for moment, start in zip(self._moments, optimizer.initial_moments, strict=True):
            moment[...] = start
        self._averaged = None
        if settings["average"] is not None:
            self._averaged = aligned_vector(size, dtype)
            self._averaged[...] = net.parameters
        self._inputs, self._outputs, self._dtype = net.inputs, net.outputs, dtype
        self._updates = _core.Updates(steps)  # their count, the last loss that was finite, and the trainer's lock
        self._running, self._in_epoch = None, False  # the plan whose epoch is under way
        self._drop_plans()

    def _set_constant_rate(self):
        """The learning rate of all updates, None where it changes: a step asks for it without a call."""
        constant = self._schedule == schedules.Constant() and not isinstance(self._optimizer, optimizers.LBFGS)
        self._constant_rate = self._optimizer.learning_rate if constant else None

    def _drop_plans(self):
        self._plans = {}  # code of the loss -> (plan, the most rows to give it)
        self._fast = None  # the plan of the last step, for one like it
        self._planned = steps = self._net._steps  # what they were made for: freezing makes others
        self._batch_norms = any(step.kind == "batch_norm" and not step.frozen for step in steps)
        self._some_frozen = any(step.frozen for step in steps)
        self._whole = self._batch_norms or self._custom  # minibatches go through the net at once

    net = property(lambda self: self._net)
    loss = property(lambda self: self._loss)
    seed = property(lambda self: self._seed)
    n_threads = property(lambda self: self._settings["n_threads"])
    schedule = property(lambda self: self._schedule)
    clip_norm = property(lambda self: self._settings["clip_norm"])
    clip_value = property(lambda self: self._settings["clip_value"])
    average = property(lambda self: self._settings["average"])
    averaged = property(lambda self: self._averaged)

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
            self._optimizer = self._settings["optimizer"] = value
            self._set_constant_rate()
            if value.constants != ours.constants:
                self._drop_plans()

    def __repr__(self):
        changed = ((name, self._settings[name]) for name, plain in PLAIN.items() if self._settings[name] != plain)
        extra = "".join(f", {name}={value!r}" for name, value in changed)
        return (
            f"Trainer({self._net!r}, loss={self._loss!r}, optimizer={self._optimizer!r}, seed={self._seed}, "
            f"n_threads={self.n_threads}{extra})"
        )

    def averaged_network(self):
        """A copy of the net whose parameters are the moving average.

        Returns
        -------
        Network

        Raises
        ------
        RuntimeError
            When the trainer keeps no average.
        """
        if self._averaged is None:
            raise RuntimeError("this trainer keeps no average: make it with average=0.999, for one")
        net = self._net.__copy__()
        net.parameters = self._averaged
        return net

    def _rate(self, updates):
        """The learning rate of the update that comes after so many."""
        if self._constant_rate is not None:
            return self._constant_rate
        position = updates if self._schedule.unit == "step" else self.epochs
        rate = self._optimizer.learning_rate * self._schedule.factor(position, self._schedule_state)
        if not 0 <= rate < float("inf"):
            raise ValueError(
                f"schedule must give factors that are finite and at least 0, got a learning rate of {rate}"
            )
        return rate

    def _rates(self, updates, count):
        """The learning rates of the next updates, as many as `count`."""
        if self._constant_rate is not None or self._schedule.unit == "epoch":
            return np.full(count, self._rate(updates))
        return np.array([self._rate(updates + i) for i in range(count)])

    # ------------------------------------------------------------------------------------------------- training

    def fit(
        self,
        X,
        y=None,
        epochs=1,
        batch_size=None,
        validation=None,
        shuffle=True,
        tolerance=None,
        allow_nonfinite=False,
        verbose=False,
        sample_weight=None,
        accumulate=1,
        class_weight=None,
        metrics=(),
        callbacks=(),
    ):
        """Train for some epochs.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            See the class. Or an iterable of batches (x, y) or (x, y, sample_weight), such as a list, a DataLoader of
            PyTorch, or, for one epoch, a generator. Each is a minibatch, in the order they come in.
        y : array
            Targets: see the class. None for an iterable.
        epochs : int >= 1
            With `LBFGS` the number of its iterations.
        batch_size : int in 1 .. rows, or None
            Rows in a minibatch; the last of an epoch may have fewer. None: 32, or all rows where there are fewer. With
            `LBFGS` None or all rows. With a `BatchNorm` no minibatch may have a single row.
        validation : (X, y), (X, y, sample_weight), float in (0, 1) or None
            Data whose loss is taken after every epoch; or the share of the rows that is held out for that, drawn by
            the seed.
        shuffle : bool
            Take the rows of each epoch in a random order, rather than as they stand.
        tolerance : float >= 0 or None
            Stop after the first epoch in which every parameter moved by less.
        allow_nonfinite : bool
            Do not look for nan and inf in X, nor in that of validation. (Training on them ends in a DivergenceError.)
        verbose : bool
            Print a line after each epoch.
        sample_weight : (rows,) array of floats >= 0, or None
            A minibatch's loss is sum w l / sum w over its rows, with the reduction "sum" sum w l.
        accumulate : int >= 1
            Minibatches to an update, whose gradient is that of the mean over all their rows.
        class_weight : (C,) array, dict of class number to weight, "balanced" or None
            Multiplies the rows' weights by those of their classes, where y is class numbers. Classes that a dict lacks
            weigh 1; balanced: rows / (C * rows of the class), C counting the classes that occur.
        metrics : str, function, list of these, or dict of name to function
            Figures to take after every epoch: "accuracy", "top_5" (or another number), "r2", "mean_absolute_error",
            "mean_squared_error", or a function (output, target) -> float of what `Network.predict` gives. They are of
            the validation's data, without weights, and of all data where there is no validation.
        callbacks : callback, function of the run, or list of these
            See `fastbp.callbacks`: `EarlyStopping`, `Checkpoint`, `Log`, `MaxTime`, `ProgressBar`, or one's own. A
            function is called after every epoch.

        Returns
        -------
        History
            A dict of lists, one element an epoch. "loss": mean of the updates' losses, penalties included, weighted by
            what their rows weigh; "gradient_norm": root mean square of the norms of the updates' gradients (of a full
            batch: the norm), before clipping; "layer_gradient_norms": a list of such, one for each element of
            `net.weights`; "learning_rate": that of the last update; "val_loss", when validation is given; metrics,
            "val_" before their names when it is; "seconds": time of the epoch, validation included.

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
        allow_nonfinite = declarative.flag("allow_nonfinite", allow_nonfinite)
        epochs = declarative.integer("epochs", epochs, 1)
        if y is None and batches.are_batches(X):
            fitting.refuse_with_batches(batch_size, validation, sample_weight, accumulate, class_weight)
            return self._fit_batches(
                X, epochs, validation, tolerance, allow_nonfinite, verbose, class_weight, metrics, callbacks
            )
        data = self._data("X", "y", X, y, "sample_weight", sample_weight, allow_nonfinite)
        if class_weight is not None:
            data = self._class_weighted(data, class_weight)
        data, chosen, validation = self._validation(data, validation, allow_nonfinite)
        rows = len(data.x) if chosen is None else len(chosen)
        whole = isinstance(self._optimizer, optimizers.LBFGS)
        batch_size = self._checked_batch(batch_size, rows, whole)
        accumulate = min(declarative.integer("accumulate", accumulate, 1), -(-rows // batch_size))
        shuffle = declarative.flag("shuffle", shuffle)
        settings = {
            "epochs": epochs,
            "rows": rows,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "shuffle": shuffle,
        }
        run = self._run(settings, data, validation, metrics, callbacks, tolerance, verbose)
        if whole:
            return self._while_locked(run, lambda: full_batch.minimize(self, data, run))
        return self._while_locked(run, lambda: epochs_.train(self, run, data, chosen, batch_size, accumulate, shuffle))

    def _fit_batches(
        self, source, epochs, validation, tolerance, allow_nonfinite, verbose, class_weight, metrics, callbacks
    ):
        """`fit` with an iterable of batches."""
        self._refuse_lbfgs("an iterable of batches")
        if validation is not None:
            validation = self._given(validation, allow_nonfinite)
        settings = {"epochs": epochs, "rows": None, "batch_size": None, "accumulate": 1, "shuffle": False}
        run = self._run(settings, None, validation, metrics, callbacks, tolerance, verbose)
        source = batches.Batches(source)
        return self._while_locked(run, lambda: epochs_.train_batches(self, run, source, allow_nonfinite, class_weight))

    def _run(self, settings, data, validation, metrics, callbacks, tolerance, verbose):
        """A `fitting.Run`; metrics are of `data` where there is no validation."""
        watched = data if validation is None else validation
        return fitting.Run(
            self,
            {**settings, "validation": None if validation is None else len(validation.x)},
            metrics,
            callbacks,
            tolerance,
            verbose,
            None if validation is None else lambda: self._evaluate(validation),
            watched and (lambda: (self._net.predict(watched.x, allow_nonfinite=True), watched.target)),
            lambda: _marks_of(data),
        )

    def _while_locked(self, run, train):
        with self._updates:
            self._refuse_in_epoch()
            try:
                with run:
                    train()
            finally:
                self._drop_plans()  # a plan holds on to the data of its last epoch
        return run.history

    def _validation(self, data, validation, allow_nonfinite):
        """The data to train on, which of their rows (None: all), and those of the validation, or None."""
        count = fitting.held_out(validation, len(data.x))
        if count is None:
            if validation is None:
                return data, None, None
            return data, None, self._given(validation, allow_nonfinite)
        chosen, held = fitting.split(_core.random_permutation, self._seed, len(data.x), count)
        validation = _rows_of(data, held)
        if isinstance(self._optimizer, optimizers.LBFGS):
            return _rows_of(data, chosen), None, validation
        return data, chosen, validation

    def _given(self, validation, allow_nonfinite):
        """Validation that was given, checked."""
        if len(validation) not in (2, 3):
            raise TypeError(f"validation must be (X, y) or (X, y, sample_weight), got {len(validation)} elements")
        X, y, weights = (*validation, None)[:3]
        return self._data("validation[0]", "validation[1]", X, y, "validation[2]", weights, allow_nonfinite)

    def _class_weighted(self, data, class_weight):
        if self._custom or data.code != self._loss.code_labels:
            raise ValueError("class_weight goes with class numbers as y, and with softmax_cross_entropy")
        weights = fitting.by_class("class_weight", class_weight, data.target, self._outputs)
        return data._replace(weights=weights if data.weights is None else weights * data.weights)

    def _advance_schedule(self, watched):
        self._schedule_state = self._schedule.advance(self._schedule_state, watched)

    def _checked_batch(self, batch_size, rows, whole):
        """The rows of a minibatch; whole: of all the data, for LBFGS."""
        for step in self._net._steps if whole else ():
            if step.kind == "dropout" or step.kind == "batch_norm" and not step.frozen:
                raise ValueError(f"LBFGS does not go with {step.layer!r}: it needs a loss of the parameters alone")
        if batch_size is None:
            batch_size = rows if whole else min(32, rows)
        batch_size = declarative.integer("batch_size", batch_size, 1)
        if batch_size > rows:
            raise ValueError(f"batch_size is {batch_size}; X has {rows} rows")
        if whole and batch_size < rows:
            raise ValueError(f"batch_size is {batch_size}; with LBFGS it must be None or all {rows} rows")
        self._refuse_single_rows("X", rows, batch_size)
        return batch_size

    def _refuse_single_rows(self, name, rows, batch_size):
        if self._net._steps is not self._planned:
            self._drop_plans()
        if self._batch_norms and (batch_size == 1 or rows % batch_size == 1):
            raise ValueError(
                f"{name} has {rows} rows, so that minibatches of {batch_size} leave one of a single row, whose "
                "variance a BatchNorm cannot tell: it needs two at least"
            )

    def _diverged(self, status, step, loss, rate, history):
        what = "loss" if status == _core.LOSS_NOT_FINITE else "gradient"  # a lack of memory has been raised by the core
        epoch = None if history is None else self.epochs
        raise DivergenceError(what, epoch, step, loss, self._updates.last_loss, float(rate), history or {})

    def step(self, x, y, sample_weight=None):
        """Make one update, for one minibatch: for online and reinforcement learning.

        Parameters
        ----------
        x : (rows, inputs) array, rows >= 1
            See the class. Quickest when contiguous and of float32 or float64. With a `BatchNorm` two rows at least.
        y : array
            Targets: see the class. Quickest when contiguous, labels of int64 or int32.
        sample_weight : (rows,) array of floats >= 0, or None
            As for `fit`.

        Returns
        -------
        float
            The minibatch's loss before the update, penalties included.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value; no update is made.
        DivergenceError
            When the loss or its gradient is nan or inf though x and y are not; no update is made.
        """
        plan = self._fast
        if plan is not None and sample_weight is None and self._net._steps is self._planned:
            rate = self._constant_rate
            loss = plan.try_step(x, y, self._rate(self.steps) if rate is None else rate, self._updates)
            if loss is not None:
                return loss
        with self._updates as updates:
            self._refuse_in_epoch()
            self._refuse_lbfgs("step")
            data = self._data("x", "y", x, y, "sample_weight", sample_weight)
            self._refuse_single_rows("x", len(data.x), len(data.x))
            plan = self._plan_for(data.code, len(data.x), whole=True)
            rate = self._rate(updates.done)
            try:
                if self._custom:
                    status, loss = python_loss.step(self, plan, data, rate, updates.done)
                else:
                    if not self._batch_norms:  # whose plan may have to grow with the minibatch
                        self._fast = plan
                    status, loss = plan.step(data.x, data.target, rate, updates.done, data.weights)
            finally:
                # A signal's handler that raises does so right after the call, which made its update. No call stands
                # here: a handler could run after it.
                if plan.updates > updates.done:
                    updates.done = plan.updates
            if status:
                self._diverged(status, updates.done, loss, rate, None)
            updates.last_loss = loss
            return loss

    def apply(self, gradient):
        """Make one update with a gradient of one's own: the sum of several, that of other losses, the mean over
        machines.

        Parameters
        ----------
        gradient : (P,) float32 or float64 array
            In the order of `net.parameters`, as `value_and_grad` gives it, with the penalties that are wanted. It is
            clipped as any other.

        Raises
        ------
        TypeError, ValueError
            When it is not a finite array of that shape.
        """
        gradient = arguments.converted(arguments.array("gradient", gradient, 1), self._dtype)
        if gradient.shape != self._gradient.shape:
            raise ValueError(f"gradient has {len(gradient)} elements; the network has {len(self._gradient)}")
        arguments.finite("gradient", gradient, "a gradient must be finite")
        with self._updates as updates:
            self._refuse_in_epoch()
            self._refuse_lbfgs("apply")
            plan = self._plan_for(self._code, 1)
            self._gradient[...] = gradient
            rate = self._rate(updates.done)
            try:
                status, _, _ = plan.update(0.0, 0.0, rate, updates.done, False)
            finally:
                if plan.updates > updates.done:
                    updates.done = plan.updates
            if status:
                self._diverged(status, updates.done, 0.0, rate, None)

    # ------------------------------------------------------------------------------- losses and their gradients

    def value_and_grad(self, x, y, inputs=False, sample_weight=None, training=True):
        """The loss of a minibatch, penalties included, and its gradient, without an update.

        Parameters
        ----------
        x : (rows, inputs) array, rows >= 1
            See the class.
        y : array
            Targets: see the class.
        inputs : bool
            Also return the gradient with respect to x.
        sample_weight : (rows,) array of floats >= 0, or None
            As for `fit`.
        training : bool
            As in the update that comes next: dropout drops, and batch norms take the statistics of x, which must have
            two rows then; running statistics stay. Otherwise as in prediction.

        Returns
        -------
        loss : float
        gradient : (P,) array
            In the order of `net.parameters`; 0 for frozen layers.
        dx : (rows, inputs) array
            Only with inputs=True; of pixels n with respect to n / 255.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        inputs = declarative.flag("inputs", inputs)
        training = declarative.flag("training", training)
        data = self._data("x", "y", x, y, "sample_weight", sample_weight)
        dx = np.empty(data.x.shape, self._dtype) if inputs else None
        with self._updates:
            self._refuse_in_epoch()
            if training:
                self._refuse_single_rows("x", len(data.x), len(data.x))
            plan = self._plan_for(data.code, len(data.x), whole=training or self._custom)
            if self._some_frozen:
                self._gradient[...] = 0  # what is frozen is not written, and may have learnt before
            if self._custom:
                loss = python_loss.gradient(self, plan, data, dx, training)
            else:
                loss = plan.gradient(data.x, data.target, dx, data.weights, training, self._updates.done)
            gradient = self._gradient.copy()
        return (loss, gradient, dx) if inputs else (loss, gradient)

    def example_gradients(self, x, y):
        """The loss and the gradient of each example, as if it were a minibatch of one, without penalties.

        Parameters
        ----------
        x : (rows, inputs) array, rows >= 1
            See the class.
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
            For an argument of the wrong kind or value, or a loss that is a function.

        Notes
        -----
        Dropout drops nothing, and batch norms take their running statistics.
        """
        data = self._data("x", "y", x, y)
        self._refuse_custom("example_gradients")
        rows = len(data.x)
        values = np.empty(rows)
        gradients = np.zeros((rows, len(self._gradient)), self._dtype)
        with self._updates:
            plan = self._plan_for(data.code, rows)
            for part in self._parts(rows):
                plan.example_gradients(data.x[part], data.target[part], values[part], gradients[part])
        return values, gradients

    def example_gradient_norms(self, x, y):
        """The loss of each example and the norm of its gradient, which is not formed.

        Parameters
        ----------
        x : (rows, inputs) array, rows >= 1
            See the class.
        y : array
            Targets: see the class.

        Returns
        -------
        losses, norms : (rows,) float64 arrays
            Those of `example_gradients`.

        Raises
        ------
        TypeError, ValueError
            As for `example_gradients`.

        Notes
        -----
        Source: Goodfellow, Efficient Per-Example Gradient Computations, arXiv:1510.01799, 2015.
        """
        data = self._data("x", "y", x, y)
        self._refuse_custom("example_gradient_norms")
        rows = len(data.x)
        values, squares = np.empty(rows), np.empty(rows)
        with self._updates:
            self._refuse_in_epoch()
            plan = self._plan_for(data.code, rows)
            for part in self._parts(rows):
                plan.example_norms(data.x[part], data.target[part], values[part], squares[part])
        return values, np.sqrt(squares)

    def evaluate(self, X, y, sample_weight=None):
        """The loss on data in prediction, without penalties.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            See the class.
        y : array
            Targets: see the class.
        sample_weight : (rows,) array of floats >= 0, or None
            As for `fit`.

        Returns
        -------
        float
            With the loss's reduction over all rows.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        data = self._data("X", "y", X, y, "sample_weight", sample_weight)
        with self._updates:
            return self._evaluate(data)

    def _evaluate(self, data):
        if self._custom:
            return python_loss.value(self, data)
        plan = self._plan_for(data.code, len(data.x))
        total = mass = 0.0
        for part in self._parts(len(data.x)):
            weights = None if data.weights is None else data.weights[part]
            loss, part_mass = plan.loss(data.x[part], data.target[part], weights)
            total += loss
            mass += part_mass
        if self._loss.reduction == "sum":
            return total
        return total / mass if mass else 0.0

    def _parts(self, rows):
        """Slices of so many rows that Ctrl-C is soon heard."""
        at_once = self._net.rows_in_a_slice()
        return (slice(start, start + at_once) for start in range(0, rows, at_once))

    # --------------------------------------------------------------------------------------------------- checks

    def _data(self, x_name, y_name, x, y, weights_name=None, weights=None, allow_nonfinite=None):
        """x, y and the weights of rows as the core takes them."""
        x, target, code = self._checked(x_name, y_name, x, y, allow_nonfinite)
        if weights is not None:
            self._refuse_custom(weights_name)
            weights = arguments.row_weights(weights_name, arguments.arrayed(weights_name, weights), len(x), x_name)
        return Data(x, target, code, weights)

    @property
    def _code(self):
        """The loss's number in the core, for float targets."""
        return -1 if self._custom else self._loss.code

    def _checked(self, x_name, y_name, x, y, allow_nonfinite=None):
        """x and y as the core takes them, and the code of the loss for such targets."""
        loss, outputs = self._loss, self._outputs
        if self._custom:
            x = self._net.checked_inputs(x_name, x, allow_nonfinite)
            return x, python_loss.checked_target(y_name, y, len(x), x_name), -1
        y = arguments.arrayed(y_name, y)
        code = loss.code if loss.code_labels is None or getattr(y, "ndim", None) == 2 else loss.code_labels
        if not allow_nonfinite and _core.ready(x, y, self._dtype.itemsize, self._inputs, outputs, code):
            return x, y, code
        x = self._net.checked_inputs(x_name, x, allow_nonfinite)
        rows = len(x)
        if loss.code_labels is not None:
            if not (isinstance(y, np.ndarray) and y.ndim == 2 and y.dtype.kind == "f"):
                return x, arguments.labels(y_name, y, rows, outputs, x_name), loss.code_labels
        target = arguments.targets(y_name, self._for_levels(y), rows, outputs, self._dtype, x_name)
        arguments.finite(y_name, target, "targets must be finite")
        if loss.name in OF_PROBABILITIES and not (target.min() >= 0 and target.max() <= 1):
            where = np.unravel_index(np.argmax((target < 0) | (target > 1)), target.shape)
            raise ValueError(
                f"{y_name} must hold probabilities in [0, 1], got {target[where]} in row {where[0]}, column {where[1]}"
            )
        return x, target, loss.code

    def _for_levels(self, y):
        """For a loss of several quantile levels, targets that stand once for all of them, each as often as there are
        levels."""
        levels = getattr(self._loss, "quantiles", None)
        if not isinstance(levels, tuple) or not isinstance(y, np.ndarray) or y.ndim not in (1, 2):
            return y
        columns = 1 if y.ndim == 1 else y.shape[1]
        if columns * len(levels) != self._outputs:
            return y
        return np.repeat(y.reshape(len(y), columns), len(levels), axis=1)

    def _refuse_custom(self, what):
        if self._custom:
            raise ValueError(f"{what} does not go with a loss that is a function")

    def _refuse_lbfgs(self, what):
        if isinstance(self._optimizer, optimizers.LBFGS):
            raise ValueError(f"{what} does not go with LBFGS, which needs all the data: use fit")

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

    def _plan_for(self, code, rows, whole=False):
        """A plan for minibatches of so many rows; whole: they are to go through the net at once if the net is such."""
        if self._net._steps is not self._planned:
            self._drop_plans()
        rows = rows if whole and self._whole else plan_rows(rows)
        plan, most = self._plans.get(code, (None, 0))
        if rows > most or plan.outdated:
            self._plans[code] = plan, _ = self._new_plan(code, rows), rows
            if rows >= BLOCK and not self._whole:
                self._plans[code] = plan, sys.maxsize  # a full block takes any number of rows
        return plan

    def _new_plan(self, code, rows):
        net, loss, settings, optimizer = self._net, self._loss, self._settings, self._optimizer
        moments = [None, None, None]
        for slot, moment in zip(optimizer.slots, self._moments, strict=True):
            moments[slot] = moment
        spec = PlanSpec(
            dtype=self._dtype.name,
            layers=net._records,
            rows=rows,
            whole=self._whole,
            threads=self.n_threads or 0,
            loss=code,
            loss_parameters=() if self._custom else loss.parameters(net.outputs),
            reduction_sum=not self._custom and loss.reduction == "sum",
            smoothing=0.0 if self._custom else loss.smoothing,
            class_weights=None if self._custom else loss.class_weights,
            optimizer=None if isinstance(optimizer, optimizers.LBFGS) else optimizer.constants,
            clip_norm=settings["clip_norm"] or 0.0,
            clip_value=settings["clip_value"] or 0.0,
            average_decay=settings["average"] or 0.0,
            seed=self._seed,
            dropout_stream=random_streams.dropout(0),
        )
        vectors = PlanVectors(net.parameters, self._gradient, tuple(moments), self._averaged, net.statistics)
        return _core.Plan(spec, vectors)

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
            self._write(path)

    def _write(self, path, fit=None, fit_vectors=None):
        """`save`, with the record of a fit under way and its vectors for a checkpoint."""
        arguments.finite("parameters", self._net.parameters, "a file holds finite parameters only")
        if self._custom:
            raise TypeError("loss is a function, which a file cannot hold: save the network alone with net.save")
        vectors = {f"moment{i + 1}": moment for i, moment in enumerate(self._moments)}
        if self._averaged is not None:
            vectors["average"] = self._averaged
        description = {"network": self._net.description(), "trainer": self._description()}
        if fit is not None:
            description["fit"] = fit
        storage.write(path, description, {**self._net.vectors(), **vectors, **(fit_vectors or {})})

    def _description(self):
        settings = self._settings
        return {
            "loss": self._loss.to_dict(),
            "optimizer": self._optimizer.to_dict(),
            "seed": self._seed,
            "steps": self.steps,
            "epochs": self.epochs,
            "moments": len(self._moments),
            "schedule": self._schedule.to_dict(),
            "schedule_state": self._schedule_state,
            **{name: settings[name] for name in ("clip_norm", "clip_value", "average")},
        }

    def _check_checkpoint(self, path):
        """Refuse what a checkpoint could not be written for, or to."""
        if isinstance(self._optimizer, optimizers.LBFGS):
            raise ValueError("a checkpoint does not go with LBFGS: its memory of gradients is SciPy's")
        if self._custom:
            raise TypeError("loss is a function, which a checkpoint cannot hold")
        self._schedule.to_dict()
        storage.check_destination("path", storage.checked_path(path))

    def _restore(self, path, check, agrees):
        """Take over the state in a checkpoint of a trainer like this one; gives the fit's record and vectors.

        check: a function of the record, which raises an error where it is none of any fit.
        agrees: a function of the record and the vectors, which raises ValueError where they are not those of such a
            fit; nothing has been changed by then.
        """
        state = None

        def expect(description):
            nonlocal state
            expected = expected_vectors(description)
            if "fit" in description:
                _, state = _read_settings(description["trainer"], None)
                check(description["fit"])
            return expected

        description, vectors = storage.read(path, expect)
        if "fit" not in description:
            reader = "fastbp.Trainer.load" if "trainer" in description else "fastbp.load"
            raise ValueError(f"{path}: it is no checkpoint of a fit: read it with {reader}")
        if description["network"] != self._net.description():
            theirs = Network.from_description(description["network"], vectors)
            raise ValueError(f"{path}: its net is another: {_short(theirs)}; this one is {_short(self._net)}")
        for name, value in self._description().items():
            theirs = description["trainer"].get(name)
            if name not in ("steps", "epochs", "schedule_state") and theirs != value:
                raise ValueError(f"{path}: its trainer has another {name}: {theirs}; this one has {value}")
        agrees(description["fit"], vectors)
        self.steps, self.epochs, self._schedule_state = state
        self._net.parameters[...] = vectors.pop("parameters")
        self._net.statistics[...] = vectors.pop("statistics", self._net.statistics)
        for i, moment in enumerate(self._moments):
            moment[...] = vectors.pop(f"moment{i + 1}")
        if self._averaged is not None:
            self._averaged[...] = vectors.pop("average")
        return description["fit"], vectors

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
        settings = state = None

        def expect(description):
            nonlocal settings, state
            if "network" in description and "trainer" not in description:
                raise storage.OtherContents("it holds a network and no trainer: read it with fastbp.load")
            expected = expected_vectors(description)
            settings, state = _read_settings(description["trainer"], n_threads)
            return expected

        description, vectors = storage.read(path, expect)
        net = Network.from_description(description["network"], vectors)
        moments = [vectors[f"moment{i + 1}"] for i in range(settings["optimizer"].moments)]
        try:
            return cls._of(net, settings, state, moments, vectors.get("average"))
        except ValueError as error:  # the loss or the optimiser does not go with the net
            raise ValueError(f"{path}: its header makes no sense: {error}") from error

    @classmethod
    def _of(cls, net, settings, state, moments, averaged):
        """A trainer from its parts. state: steps, epochs and that of the schedule."""
        trainer = cls.__new__(cls)
        trainer._set_up(net, dict(settings), *state)
        for ours, given in zip(trainer._moments, moments, strict=True):
            ours[...] = given
        if averaged is not None:
            trainer._averaged[...] = averaged
        return trainer

    def __reduce__(self):
        # Copies as pickles: a copy that shared the state would be the same trainer twice.
        self._catch_up()
        state = (self.steps, self.epochs, self._schedule_state)
        return type(self)._of, (self._net, self._settings, state, self._moments, self._averaged)

    def __copy__(self):
        import copy

        return copy.deepcopy(self)


def _marks_of(data):
    """What tells a checkpoint that the data are others, without a pass over x; nothing for batches."""
    import zlib

    if data is None:
        return {}
    vectors = {"targets": data.target, "weights of rows": data.weights}
    return {
        name: None if vector is None else zlib.crc32(np.ascontiguousarray(vector)) for name, vector in vectors.items()
    }


def _short(net):
    text = repr(net)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _rows_of(data, rows):
    weights = None if data.weights is None else data.weights[rows]
    return data._replace(x=data.x[rows], target=data.target[rows], weights=weights)


def _check_constants(optimizer, dtype):
    for field in optimizer.fields:
        arguments.representable(f"{field} of the optimizer", getattr(optimizer, field), dtype)


def _read_settings(record, n_threads):
    """The settings of a trainer and its state from a file's record."""
    optimizer = optimizers.Optimizer.from_dict(record["optimizer"])
    if optimizer.moments != record["moments"]:
        raise ValueError(f"moments is {record['moments']}; {optimizer!r} keeps {optimizer.moments}")
    schedule = schedules.Constant()
    if record.get("schedule") is not None:
        schedule = schedules.Schedule.from_dict(record["schedule"])
    settings = {
        "loss": losses.Loss.from_dict(record["loss"]),
        "optimizer": optimizer,
        "seed": declarative.seed("seed", record["seed"]),
        "n_threads": n_threads,
        "schedule": schedule,
    }
    for name, range_ in (
        ("clip_norm", {"above": 0}),
        ("clip_value", {"above": 0}),
        ("average", {"least": 0, "below": 1}),
    ):
        value = record.get(name)
        settings[name] = None if value is None else declarative.number(name, value, **range_)
    counts = [declarative.integer(name, record[name], 0, 2**63) for name in ("steps", "epochs")]
    return settings, (*counts, schedule.checked_state(record.get("schedule_state", schedule.initial_state)))
