"""Training: minibatch after minibatch forward, loss, backward, update."""

import math
from collections import namedtuple

import numpy as np

from .. import schedules
from .._support import random_streams
from .._support.declarative import Declared, described, flag, integer, number
from .._support.declarative import seed as check_seed
from .._support.network_steps import parameter_slices, parametric_steps
from ..errors import DivergenceError
from ..losses import loss as loss_of
from ..optimizers import LBFGS
from ..optimizers import optimizer as optimizer_of
from ..training.batches import Batches, are_batches
from ..training.run import Run, by_class, held_out, refuse_with_batches, split
from . import loss as losses
from . import optimizer as optimizers
from .network import Network, Training, arrayed, real_array, refuse_nonfinite, rows_of_inputs
from .reduce import sum_squares
from .rng import random_permutation

Data = namedtuple("Data", ("x", "y", "weights"))  # rows, their targets, and their weights or None


class Trainer:
    """A network with a loss, an optimiser and the optimiser's state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str, Loss or callable, default "softmax_cross_entropy"
        A function (output, target) -> (loss, doutput) takes what the net makes of a minibatch, (B, outputs), and what y
        holds for these rows, and returns the loss and its gradient (B, outputs).
    optimizer : str or Optimizer, default "adam"
    seed : int, default 0
        Of the order of rows in each epoch, and of what Dropout drops, in [0, 2^64).
    n_threads : int, optional
        At least 1. The compiled trainer's threads; here it changes nothing.
    schedule : Schedule or callable, optional
        The factor of the optimiser's learning rate, as a function of the updates or the epochs done. None: 1.
    clip_norm : float, optional
        Above 0. A gradient with a larger norm is multiplied by clip_norm / (norm + 1e-6).
    clip_value : float, optional
        Above 0. Elements of the gradient are brought into [-clip_value, clip_value]. Not with clip_norm.
    average : float, optional
        d in [0, 1). Keep an exponential moving average of the parameters: see `averaged`.

    Attributes
    ----------
    net, loss, seed, n_threads, schedule, clip_norm, clip_value, average
        As given, names replaced by objects.
    averaged : ndarray (P,) or None
        With `average` = d: the parameters after the first update, and from then on averaged += (1 - d) (w - averaged)
        after each. Before the first update the parameters the trainer was made with.
    optimizer : Optimizer
        May be replaced by one of the same class that keeps the same state: to change the learning rate, for one.
    steps : int
        Optimiser steps done.
    epochs : int
        Epochs done.

    Notes
    -----
    X and x are float32, float64, or uint8, whose values are divided by 255. They, targets and weights may be anything
    that NumPy makes an array of by ``__array__`` or DLPack.

    Targets are integer class numbers (B,) or probabilities (B, outputs) for softmax cross-entropy, and floats
    (B, outputs), or (B,) if there is one output, for the other losses. For Pinball with Q levels they may have
    outputs / Q columns, each of which stands for Q outputs next to each other. Floats are converted to the network's
    dtype. What a loss that is a function gets is y as it was given, as an array.

    An update is this; a loss or gradient that is not finite ends it before number 4, and nothing has changed:

    1. Forward, loss and backward of each of its minibatches. The loss is sum_b s_b l_b / mass, with the mass of all of
       them, so that the gradients of the minibatches add up.
    2. The penalties of the layers that learn join loss and gradient.
    3. The norm of the gradient: of all, and of each layer that has parameters. Frozen layers have the gradient 0.
    4. Clipping.
    5. The optimiser, on the parameters of the layers that learn.
    6. The average of those parameters.
    7. The running statistics, minibatch after minibatch.
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
            raise TypeError(f"net must be a Network of fastbp.reference, got {described(net)}")
        self.net = net
        self._custom = callable(loss) and not isinstance(loss, (Declared, type))
        self.loss = loss if self._custom else loss_of(loss)
        if not self._custom:
            self.loss.parameters(net.outputs)  # raises where they do not fit
        self._optimizer = optimizer_of(optimizer)
        self.seed = check_seed("seed", seed)
        self.n_threads = None if n_threads is None else integer("n_threads", n_threads, least=1)
        self.schedule = schedules.schedule(schedule)
        self._schedule_state = self.schedule.initial_state
        if clip_norm is not None and clip_value is not None:
            raise ValueError("clip_norm and clip_value must not both be given")
        self.clip_norm = None if clip_norm is None else number("clip_norm", clip_norm, above=0)
        self.clip_value = None if clip_value is None else number("clip_value", clip_value, above=0)
        self.average = None if average is None else number("average", average, least=0, below=1)
        self.averaged = None if average is None else net.parameters.copy()
        if isinstance(self._optimizer, LBFGS):
            unused = {"schedule": schedules.Constant(), "clip_norm": None, "clip_value": None, "average": None}
            for name, plain in unused.items():
                if getattr(self, name) != plain:
                    raise ValueError(f"{name} does not go with LBFGS, whose steps come of a line search")
        self.steps = 0
        self.epochs = 0
        self._moments = [np.full_like(net.parameters, start) for start in self._optimizer.initial_moments]
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

    # ---------------------------------------------------------------------------------------------------- training

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
        """Train on all rows, minibatch by minibatch, epoch after epoch.

        Parameters
        ----------
        X : ndarray (rows, inputs), or iterable
            An iterable gives batches (x, y) or (x, y, sample_weight), each a minibatch.
        y : ndarray, optional
            Targets: see the class. None for an iterable.
        epochs : int, default 1
            At least 1. How many more epochs, at most. With LBFGS, iterations.
        batch_size : int, or None: 32, or all rows where there are fewer
            From 1 to the number of rows. The last minibatch of an epoch may be smaller, but not of one row if there is
            a batch norm that learns. With LBFGS all rows, or None.
        validation : tuple (Xv, yv) or (Xv, yv, weights), or float in (0, 1), optional
            Data whose loss is taken after each epoch; or the share of the rows to hold out for that: the first of
            random_permutation(seed, random_streams.validation(), rows).
        shuffle : bool, default True
            Take the rows of epoch e, counted from 0 over the trainer's life, in the order
            random_permutation(seed, random_streams.shuffle(e), rows); else as they stand.
        tolerance : float, optional
            Stop after the first epoch in which no parameter moved by so much or more.
        allow_nonfinite : bool, default False
            Whether X may hold nan and inf.
        verbose : bool, default False
            Print a line for each epoch.
        sample_weight : ndarray of float32 or float64 (rows,), optional
            How often each row counts: finite, at least 0.
        accumulate : int, default 1
            At least 1. Minibatches to an update, which takes the gradient of their common mean. (Batch norms take each
            minibatch's own statistics.)
        class_weight : array (C,), dict of class number to weight, or "balanced", optional
            Multiplies the rows' weights by those of their classes, where y holds class numbers: see
            `fitting.by_class`.
        metrics : str, callable, list of these, or dict of str to callable, default ()
            Figures to take after each epoch: see `metrics.resolve`.
        callbacks : Callback, callable or list of these, default ()
            See `fastbp.callbacks`. No `Checkpoint`: the twin writes no files.

        Returns
        -------
        History
            A dict of lists.
            One element for each epoch of this call. "loss": mean of the updates' losses, penalties included, weighted
            by the weights of their rows (sample weight times class weight); "gradient_norm": root mean square of the
            norms of the updates' gradients, before clipping; "layer_gradient_norms": a list with the like for each
            element of ``net.weights``; "learning_rate": of the last update; "val_loss", if there is validation data;
            metrics, "val_" before their names if there is; "seconds": the epoch's time, validation included.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value; nothing has changed then.
        DivergenceError
            If a loss or gradient is not finite. The parameters are those before that update.
        """
        allow_nonfinite = flag("allow_nonfinite", allow_nonfinite)
        epochs = integer("epochs", epochs, least=1)
        settings = {"epochs": epochs, "rows": None, "batch_size": None, "accumulate": 1}
        if y is None and are_batches(X):
            refuse_with_batches(batch_size, validation, sample_weight, accumulate, class_weight)
            self._refuse_lbfgs("an iterable of batches")
            validation = self._checked_validation(validation, allow_nonfinite)
            run = self._run(settings, None, validation, metrics, callbacks, tolerance, verbose)
            with run:
                self._train_batches(run, Batches(X), class_weight, allow_nonfinite)
            return run.history
        data = self._checked("X", X, "y", y, "sample_weight", sample_weight, allow_nonfinite)
        data = self._class_weighted(data, class_weight)
        count = held_out(validation, len(data.x))
        if count is None:
            validation = self._checked_validation(validation, allow_nonfinite)
        else:
            chosen, held = split(random_permutation, self.seed, len(data.x), count)
            data, validation = _rows_of(data, chosen), _rows_of(data, held)
        rows = len(data.x)
        batch_size = self._checked_batch_size(batch_size, rows)
        accumulate = min(integer("accumulate", accumulate, least=1), -(-rows // batch_size))
        shuffle = flag("shuffle", shuffle)
        settings |= {"rows": rows, "batch_size": batch_size, "accumulate": accumulate}
        run = self._run(settings, data, validation, metrics, callbacks, tolerance, verbose)
        with run:
            if isinstance(self._optimizer, LBFGS):
                self._fit_lbfgs(data, run)
            else:
                self._train(run, data, batch_size, accumulate, shuffle)
        return run.history

    def _run(self, settings, data, validation, metrics, callbacks, tolerance, verbose):
        watched = data if validation is None else validation
        return Run(
            self,
            settings,
            metrics,
            callbacks,
            tolerance,
            verbose,
            None if validation is None else lambda: self._value(validation),
            watched and (lambda: (self.net.predict(watched.x, allow_nonfinite=True), watched.y)),
        )

    def _checked_validation(self, validation, allow_nonfinite):
        if validation is None:
            return None
        if len(validation) not in (2, 3):
            raise TypeError(f"validation must be (X, y) or (X, y, sample_weight), got {len(validation)} elements")
        X, y, weights = (*validation, None)[:3]
        return self._checked("validation[0]", X, "validation[1]", y, "validation[2]", weights, allow_nonfinite)

    def _class_weighted(self, data, class_weight):
        if class_weight is None:
            return data
        if self._custom or self.loss.name != "softmax_cross_entropy" or data.y.ndim != 1:
            raise ValueError("class_weight goes with class numbers as y, and with softmax_cross_entropy")
        weights = by_class("class_weight", class_weight, data.y, self.net.outputs)
        return data._replace(weights=weights if data.weights is None else weights * data.weights)

    def _train(self, run, data, batch_size, accumulate, shuffle):
        rows = len(data.x)
        while run.goes_on():
            run.begin_epoch()
            order = np.arange(rows)
            if shuffle:
                order = random_permutation(self.seed, random_streams.shuffle(self.epochs), rows)
            batches = [order[i : i + batch_size] for i in range(0, rows, batch_size)]
            updates = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
            done = []
            for update, batches in enumerate(updates):
                minibatches = [_rows_of(data, batch) for batch in batches]
                done.append(self._update(minibatches, self.epochs, update, run.history))
                if update + 1 < len(updates) and run.paused():
                    return
            _end_epoch(run, done)

    def _train_batches(self, run, source, class_weight, allow_nonfinite):
        while run.goes_on():
            run.begin_epoch()
            done = []
            for position, (x, y, weights) in enumerate(source.epoch(), 1):
                names = [f"{name} of batch {position}" for name in ("x", "y", "sample_weight")]
                data = self._checked(names[0], x, names[1], y, names[2], weights, allow_nonfinite)
                data = self._class_weighted(data, class_weight)
                self._refuse_single_rows(names[0], len(data.x), len(data.x))
                done.append(self._update([data], self.epochs, position - 1, run.history))
                if run.paused():
                    return
            _end_epoch(run, done)

    def _advance_schedule(self, watched):
        self._schedule_state = self.schedule.advance(self._schedule_state, watched)

    def step(self, x, y, sample_weight=None):
        """One update from one minibatch.

        Parameters
        ----------
        x : ndarray (B, inputs)
            Two rows at least if there is a batch norm that learns.
        y : ndarray
            Targets: see the class.
        sample_weight : ndarray of float32 or float64 (B,), optional
            How often each row counts: finite, at least 0.

        Returns
        -------
        float
            The loss before the update, penalties included.

        Raises
        ------
        TypeError, ValueError
            If x or y is of the wrong kind, shape or value, or the optimiser is LBFGS.
        DivergenceError
            If the loss or its gradient is not finite; nothing has changed then.
        """
        self._refuse_lbfgs("step")
        data = self._checked("x", x, "y", y, "sample_weight", sample_weight)
        self._refuse_single_rows("x", len(data.x), len(data.x))
        return self._update([data], None, self.steps, {}).loss

    def apply(self, gradient):
        """One update with a gradient that is given: that of another loss, or the mean of several machines'.

        Parameters
        ----------
        gradient : ndarray (P,)
            Laid out as ``net.parameters``. It is clipped like any other, and no penalties join it: `value_and_grad` has
            them in its gradient. Running statistics stay as they are.

        Raises
        ------
        TypeError, ValueError
            If it is of the wrong kind or shape or not finite, or the optimiser is LBFGS.
        """
        self._refuse_lbfgs("apply")
        gradient = real_array("gradient", gradient, self.net.dtype)
        if gradient.shape != self.net.parameters.shape:
            raise ValueError(f"gradient has shape {gradient.shape}; the network has {self.net.parameters.shape}")
        refuse_nonfinite("gradient", gradient)
        with np.errstate(all="ignore"):
            self._take(np.where(self._learns(), gradient, 0), self._learning_rate())

    # ------------------------------------------------------------------------------------ losses and their gradients

    def value_and_grad(self, x, y, inputs=False, sample_weight=None, training=True):
        """The loss of a minibatch, penalties included, and its gradient.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.
        inputs : bool, default False
            Whether to return the gradient with respect to x, too.
        sample_weight : ndarray of float32 or float64 (B,), optional
            How often each row counts: finite, at least 0.
        training : bool, default True
            As in the next update: Dropout drops, and batch norms take the statistics of x. Running ones stay as they
            are. Else as in prediction.

        Returns
        -------
        loss : float
        gradient : ndarray (P,)
            Laid out as ``net.parameters``. 0 for what is frozen.
        dx : ndarray (B, inputs)
            If `inputs`.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value.
        """
        inputs, training = flag("inputs", inputs), flag("training", training)
        data = self._checked("x", x, "y", y, "sample_weight", sample_weight)
        if training:
            self._refuse_single_rows("x", len(data.x), len(data.x))
        mode = Training(self.seed, self.steps, 0) if training else None
        with np.errstate(all="ignore"):
            loss, gradient, dx, _ = self._gradient(data, mode)
            loss += self._add_penalties(gradient)
        return (loss, gradient, dx) if inputs else (loss, gradient)

    def example_gradients(self, x, y):
        """The loss of each example and its gradient, each example as a minibatch of one, without penalties.

        Dropout passes all, and batch norms take their running statistics.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.

        Returns
        -------
        losses : ndarray of float64 (B,)
        gradients : ndarray (B, P)

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value, or the loss is a function.
        """
        data = self._checked("x", x, "y", y)
        self._refuse_custom("example_gradients")
        with np.errstate(all="ignore"):
            each = [self._gradient(_rows_of(data, slice(i, i + 1)), None) for i in range(len(data.x))]
        return np.array([loss for loss, *_ in each]), np.array([gradient for _, gradient, *_ in each])

    def example_gradient_norms(self, x, y):
        """The loss of each example and the norm of its gradient: those of `example_gradients`.

        Parameters
        ----------
        x : ndarray (B, inputs)
        y : ndarray
            Targets: see the class.

        Returns
        -------
        losses : ndarray of float64 (B,)
        norms : ndarray of float64 (B,)

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value, or the loss is a function.
        """
        losses, gradients = self.example_gradients(x, y)
        with np.errstate(all="ignore"):
            return losses, np.sqrt((gradients.astype(np.float64) ** 2).sum(axis=1))

    def evaluate(self, X, y, sample_weight=None):
        """The loss on all rows of X, taken as one minibatch, in prediction and without penalties.

        Parameters
        ----------
        X : ndarray (rows, inputs)
        y : ndarray
            Targets: see the class.
        sample_weight : ndarray of float32 or float64 (rows,), optional
            How often each row counts: finite, at least 0.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value.
        """
        return self._value(self._checked("X", X, "y", y, "sample_weight", sample_weight))

    def averaged_network(self):
        """A copy of the network whose parameters are the average.

        Returns
        -------
        Network

        Raises
        ------
        RuntimeError
            If the trainer keeps no average.
        """
        if self.averaged is None:
            raise RuntimeError("this trainer keeps no average: make it with average=0.999, for one")
        net = Network(self.net.inputs, self.net.layers, self.net.dtype, self.net.seed)
        net.parameters[...] = self.averaged
        net.statistics[...] = self.net.statistics
        return net

    # ------------------------------------------------------------------------------------------- parts of an update

    def _weight(self, data):
        """What the rows weigh together: the sum of their weights, each times that of its class where y is labels."""
        weights = np.ones(len(data.x)) if data.weights is None else data.weights
        if not self._custom and self.loss.class_weights is not None and data.y.ndim == 1:
            weights = weights * np.array(self.loss.class_weights)[data.y]
        return float(weights.sum())

    def _loss(self, z, data, weight):
        """Loss and gradient at z (B, outputs): the share that these rows have in all that weigh `weight` together."""
        if not self._custom:
            return losses.of(self.loss, z, data.y, data.weights, divisor=self.loss.terms(weight, self.net.outputs))
        loss, dz = called(self.loss, z.copy(), data.y)
        share = len(data.x) / weight
        return share * loss, dz if share == 1 else dz * dz.dtype.type(share)

    def _value(self, data):
        with np.errstate(all="ignore"):
            z, _ = self.net.forward(data.x)
            return self._loss(z, data, self._weight(data))[0]

    def _gradient(self, data, training, weight=None):
        """The loss of a minibatch, its gradient (P,), dx (B, inputs), and what the network's forward pass left."""
        z, done = self.net.forward(data.x, training)
        loss, dz = self._loss(z, data, self._weight(data) if weight is None else weight)
        dx, gradient = self.net.backward(dz, done)
        return loss, gradient, dx, done

    def _add_penalties(self, gradient):
        """Add those of the layers that learn to the gradient; returns their sum."""
        total = 0.0
        for step, (W, _, b) in zip(parametric_steps(self.net.steps), parameter_slices(self.net.steps)):
            if step.kind == "dense" and not step.frozen:
                for part in (W, b) if step.layer.penalize_bias and b is not None else (W,):
                    w, g = self.net.parameters[part], gradient[part]
                    total += optimizers.penalty(w, g, step.layer.l1, step.layer.l2)
        return total

    def _update(self, minibatches, epoch, number, history):
        """One update from the common mean of some minibatches. number: of the update, for the error."""
        rate = self._learning_rate()
        weight = sum(self._weight(data) for data in minibatches)
        loss, gradient, passes, first_row = 0.0, np.zeros_like(self.net.parameters), [], 0
        with np.errstate(all="ignore"):  # what is not finite shows in the results
            for data in minibatches:
                training = Training(self.seed, self.steps, first_row)
                its_loss, its_gradient, _, done = self._gradient(data, training, weight)
                loss += its_loss
                gradient += its_gradient
                passes.append(done)
                first_row += len(data.x)
            loss += self._add_penalties(gradient)
            squared_norms = sum_squares(gradient), self._layers_squared_norms(gradient)
            if not (math.isfinite(loss) and np.isfinite(gradient).all()):
                what = "gradient" if math.isfinite(loss) else "loss"
                raise DivergenceError(what, epoch, number, loss, self._last_loss, rate, history)
            self._last_loss = loss
            self._take(gradient, rate)
            for done in passes:
                self.net.update_statistics(done)
        return _Done(loss, weight, *squared_norms, rate)

    def _take(self, gradient, rate):
        """From the gradient to the parameters: clipping, the optimiser, the average."""
        if self.clip_value is not None:
            optimizers.clip_by_value(gradient, self.clip_value)
        if self.clip_norm is not None:
            optimizers.clip_by_norm(gradient, self.clip_norm)
        learns = self._learns()
        w, moments = self.net.parameters[learns], [moment[learns] for moment in self._moments]
        optimizers.of(self._optimizer, w, gradient[learns], moments, self.steps + 1, rate)
        self.net.parameters[learns] = w
        for moment, values in zip(self._moments, moments):
            moment[learns] = values
        if self.averaged is not None and self.steps == 0:
            self.averaged[...] = self.net.parameters
        elif self.averaged is not None:
            optimizers.weight_average(self.averaged, self.net.parameters, self.average)
        self.steps += 1

    def _learning_rate(self):
        """That of the next update."""
        position = self.steps if self.schedule.unit == "step" else self.epochs
        return self._optimizer.learning_rate * self.schedule.factor(position, self._schedule_state)

    def _learns(self):
        """Which parameters are not frozen: bools (P,)."""
        learns = np.ones(len(self.net.parameters), bool)
        for step, (W, _, b) in zip(parametric_steps(self.net.steps), parameter_slices(self.net.steps)):
            learns[W.start : (b or W).stop] = not step.frozen
        return learns

    def _layers_squared_norms(self, gradient):
        return np.array(
            [sum_squares(gradient[W.start : (b or W).stop]) for W, _, b in parameter_slices(self.net.steps)]
        )

    # --------------------------------------------------------------------------------------------------------- L-BFGS

    def _fit_lbfgs(self, data, run):
        """Iterations of SciPy's L-BFGS-B over all rows: an iteration counts as an update and as an epoch."""
        from scipy.optimize import minimize

        net, optimizer = self.net, self._optimizer
        for step in net.steps:
            if step.kind == "dropout" or step.kind == "batch_norm" and not step.frozen:
                raise ValueError(f"LBFGS does not go with {step.layer!r}: it needs a loss of the parameters alone")
        best = net.parameters.copy()  # what the last iteration left
        seen = {}

        def value_and_gradient(w):
            net.parameters[...] = w
            with np.errstate(all="ignore"):
                loss, gradient, _, _ = self._gradient(data, Training(self.seed, self.steps, 0))
                loss += self._add_penalties(gradient)
            seen.update(w=w.copy(), loss=loss, gradient=gradient)
            return loss, gradient.astype(np.float64)

        def after(w):
            if not np.array_equal(w, seen["w"]):
                value_and_gradient(w)
            net.parameters[...] = w
            best[...] = net.parameters
            self.steps += 1
            self._last_loss = loss = seen["loss"]
            squares = sum_squares(seen["gradient"]), self._layers_squared_norms(seen["gradient"])
            _end_epoch(run, [_Done(loss, self._weight(data), *squares, 1.0)])
            if not run.goes_on():
                raise StopIteration
            run.begin_epoch()

        run.begin_epoch()
        loss, _ = value_and_gradient(best.astype(np.float64))
        if not math.isfinite(loss):
            raise DivergenceError("loss", self.epochs, 0, loss, self._last_loss, 1.0, run.history)
        options = {
            "maxiter": run.epochs,
            "maxfun": 50 * run.epochs + 100,
            "maxcor": optimizer.history,
            "gtol": optimizer.tolerance_gradient,
            "ftol": optimizer.tolerance_change,
        }
        w = best.astype(np.float64)
        try:
            minimize(value_and_gradient, w, method="L-BFGS-B", jac=True, callback=after, options=options)
        finally:
            net.parameters[...] = best

    def _refuse_lbfgs(self, what):
        if isinstance(self._optimizer, LBFGS):
            raise ValueError(f"{what} does not go with LBFGS, which needs all the data: use fit")

    # --------------------------------------------------------------------------------------------------------- checks

    def _checked(self, x_name, x, y_name, y, weights_name=None, weights=None, allow_nonfinite=False):
        """All after all checks: x (B, inputs); targets, int64 (B,) or the network's dtype (B, outputs); float64 weights
        (B,) or None."""
        x = rows_of_inputs(x_name, x, self.net, allow_nonfinite)
        if len(x) == 0:
            raise ValueError(f"{x_name} must have at least 1 row, got shape {x.shape}")
        y = self._checked_targets(y_name, arrayed(y_name, y), x_name, len(x))
        if weights is not None:
            self._refuse_custom(weights_name)
            weights = real_array(weights_name, arrayed(weights_name, weights), np.dtype(np.float64))
            if weights.shape != (len(x),):
                raise ValueError(f"{weights_name} has shape {weights.shape}; expected ({len(x)},)")
            refuse_nonfinite(weights_name, weights)
            if weights.min() < 0:
                where = int(weights.argmin())
                raise ValueError(f"{weights_name}[{where}] is {weights[where]}; weights must be at least 0")
        return Data(x, y, weights)

    def _checked_targets(self, y_name, y, x_name, rows):
        if self._custom:
            y = np.asarray(y)
            if y.ndim == 0:
                raise ValueError(f"{y_name} must have at least 1 dimension, got {described(y)}")
            if len(y) != rows:
                raise ValueError(f"{y_name} has {len(y)} rows; {x_name} has {rows}")
            return y
        outputs = self.net.outputs
        labels = self.loss.code_labels is not None and not (isinstance(y, np.ndarray) and y.ndim == 2)
        if labels:
            if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu":
                came = f"{y.dtype} array" if isinstance(y, np.ndarray) else described(y)
                raise TypeError(f"{y_name} must be an integer array of class numbers, got {came}")
            if y.ndim != 1:
                raise ValueError(f"{y_name} must have 1 dimension, got shape {y.shape}")
        else:
            y = real_array(y_name, y, self.net.dtype)
            levels = getattr(self.loss, "quantiles", None)
            if y.ndim == 1 and outputs == (len(levels) if isinstance(levels, tuple) else 1):
                y = y.reshape(-1, 1)
            if isinstance(levels, tuple) and y.ndim == 2 and y.shape[1] * len(levels) == outputs:
                y = np.repeat(y, len(levels), axis=1)
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
        return y

    def _checked_batch_size(self, batch_size, rows):
        whole = isinstance(self._optimizer, LBFGS)
        if batch_size is None:
            batch_size = rows if whole else min(32, rows)
        batch_size = integer("batch_size", batch_size, least=1)
        if batch_size > rows:
            raise ValueError(f"batch_size must be at most the number of rows, {rows}, got {batch_size}")
        if whole and batch_size < rows:
            raise ValueError(f"batch_size is {batch_size}; with LBFGS it must be None or all {rows} rows")
        self._refuse_single_rows("X", rows, batch_size)
        return batch_size

    def _refuse_single_rows(self, name, rows, batch_size):
        """One row has no variance that a batch norm could take."""
        batch_norms = any(step.kind == "batch_norm" and not step.frozen for step in self.net.steps)
        if batch_norms and (batch_size == 1 or rows % batch_size == 1):
            raise ValueError(
                f"{name} gives a minibatch of a single row, whose variance a BatchNorm cannot tell: "
                "it needs two at least"
            )

    def _refuse_custom(self, what):
        if self._custom:
            raise ValueError(f"{what} does not go with a loss that is a function")


# What an update leaves for the history: its loss, what its rows weigh, the square of its gradient's norm, those of the
# layers, the learning rate.
_Done = namedtuple("_Done", ("loss", "weight", "squared_norm", "squared_norms", "rate"))


def _end_epoch(run, done):
    """done: of each update."""
    weight = sum(update.weight for update in done)
    loss = sum(update.loss * update.weight for update in done) / weight if weight else 0.0
    squared_norm = sum(update.squared_norm for update in done)
    run.end_epoch(loss, squared_norm, sum(update.squared_norms for update in done), len(done), done[-1].rate)


def _rows_of(data, rows):
    return Data(data.x[rows], data.y[rows], None if data.weights is None else data.weights[rows])


def called(function, z, target):
    """Loss and gradient from a loss that is a function, checked: a float, and an array like z."""
    result = function(z, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
    value, dz = float(result[0]), np.asarray(result[1])
    if dz.dtype.kind not in "fiu":
        raise TypeError(f"loss must return an array of reals second, got {dz.dtype}")
    if dz.shape != z.shape:
        raise ValueError(f"loss must return a gradient of shape {z.shape}, got {dz.shape}")
    return value, dz.astype(z.dtype)
