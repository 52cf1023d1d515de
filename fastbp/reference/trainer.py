"""Training: minibatch after minibatch forward, loss, backward, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import schedules
from .._support import random_streams
from .._support.declarative import described, flag, integer, number
from .._support.declarative import seed as check_seed
from .._support.network_steps import parameter_slices
from ..errors import DivergenceError
from ..losses import loss as loss_of
from ..optimizers import LBFGS
from ..optimizers import optimizer as optimizer_of
from ..training.batches import Batches, are_batches
from ..training.data import held_out, split, validation_parts
from ..training.loss_function import is_function
from ..training.run import Counters, Run, Watched, refuse_with_batches
from . import optimizer as optimizers
from .network import Network, Training, real_array, refuse_nonfinite
from .objective import Data, Objective
from .reduce import sum_squares
from .rng import random_permutation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..callbacks import Callback
    from ..losses import Loss
    from ..optimizers import Optimizer
    from ..schedules import Schedule
    from ..training.history import History
    from ..training.loss_function import LossFunction


class Update(NamedTuple):
    """The figures of an update that the history needs.

    Attributes
    ----------
    loss : float
    weight : float
        The sum of the weights of its rows.
    squared_norm : float
        |gradient|^2.
    layer_squares : (L,) array
        That of each layer that has parameters.
    rate : float
        The learning rate.
    """

    loss: float
    weight: float
    squared_norm: float
    layer_squares: NDArray[Any]
    rate: float


class Trainer:
    """A network with a loss, an optimiser and the optimiser's state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str, Loss or callable, default "softmax_cross_entropy"
        A function (output, target) -> (loss, doutput) takes the net's output for a minibatch, (B, outputs), and the
        rows of y for it, and returns the loss and its gradient (B, outputs).
    optimizer : str or Optimizer, default "adam"
    seed : int, default 0
        In [0, 2^64). Determines the order of the rows in each epoch, and the elements that Dropout drops.
    n_threads : int, optional
        At least 1. The number of threads of the compiled trainer; here it has no effect.
    schedule : Schedule or callable, optional
        The factor of the optimiser's learning rate, as a function of the updates or the epochs done. None: 1.
    clip_norm : float, optional
        Above 0. A gradient with a larger norm is multiplied by clip_norm / (norm + 1e-6).
    clip_value : float, optional
        Above 0. Elements of the gradient are limited to [-clip_value, clip_value]. Not with clip_norm.
    average : float, optional
        d in [0, 1). Keep an exponential moving average of the parameters: see `averaged`.

    Attributes
    ----------
    net, loss, seed, n_threads, schedule, clip_norm, clip_value, average
        As given, names replaced by objects.
    averaged : ndarray (P,) or None
        With `average` = d: the parameters after the first update, and from then on averaged += (1 - d) (w - averaged)
        after each. Before the first update: the parameters of the net when the trainer was made.
    optimizer : Optimizer
        May be replaced by one of the same class that keeps the same state, for instance to change the learning rate.
    steps : int
        Optimiser steps done.
    epochs : int
        Epochs done.

    Notes
    -----
    X and x are float32, float64, or uint8, whose values are divided by 255. X, targets and weights may be any objects
    that NumPy makes an array of by ``__array__`` or DLPack.

    Targets are integer class numbers (B,) or probabilities (B, outputs) for softmax cross-entropy, and floats
    (B, outputs), or (B,) if there is one output, for the other losses. For Pinball with Q levels they may have
    outputs / Q columns, each of which is the target of Q neighbouring outputs. Floats are converted to the network's
    dtype. A loss that is a function gets y without conversion, as an array.

    An update has these parts. A loss or gradient that is not finite ends it before number 4, and where numbers 5 to 7
    would give a number that is not finite they are not done; nothing has changed then:

    1. Forward, loss and backward of each of its minibatches. The loss is sum_b s_b l_b / mass, with the mass of all of
       them, so that the gradients of the minibatches add up.
    2. The penalties of the layers that learn are added to loss and gradient.
    3. The norm of the gradient: of all, and of each layer that has parameters. Frozen layers have the gradient 0.
    4. Clipping.
    5. The optimiser, on the parameters of the layers that learn.
    6. The average of those parameters.
    7. The running statistics, minibatch after minibatch.
    """

    def __init__(
        self,
        net: Network,
        loss: str | Loss | LossFunction = "softmax_cross_entropy",
        optimizer: str | Optimizer = "adam",
        seed: int = 0,
        n_threads: int | None = None,
        schedule: Schedule | Callable[[int], float] | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: float | None = None,
    ) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"net must be a Network of fastbp.reference, got {described(net)}")
        self.net = net
        self._objective = Objective(net, loss if is_function(loss) else loss_of(loss))
        self.loss = self._objective.loss
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
            unused: dict[str, Any] = {
                "schedule": schedules.Constant(),
                "clip_norm": None,
                "clip_value": None,
                "average": None,
            }
            for name, plain in unused.items():
                if getattr(self, name) != plain:
                    raise ValueError(f"{name} does not go with LBFGS, whose steps come of a line search")
        self.steps = 0
        self.epochs = 0
        self._moments = [np.full_like(net.parameters, start) for start in self._optimizer.initial_moments]
        self._last_loss: float | None = None  # of the last step

    @property
    def optimizer(self) -> Optimizer:
        return self._optimizer

    @optimizer.setter
    def optimizer(self, value: str | Optimizer) -> None:
        new, ours = optimizer_of(value), self._optimizer
        if type(new) is not type(ours) or new.moments != ours.moments:
            raise ValueError(f"optimizer must keep the same state as {ours!r}, got {new!r}: make another Trainer")
        self._optimizer = new

    # ---------------------------------------------------------------------------------------------------- training

    def fit(
        self,
        X: ArrayLike | Iterable[Any],
        y: ArrayLike | None = None,
        epochs: int = 1,
        batch_size: int | None = None,
        validation: tuple[Any, ...] | float | None = None,
        shuffle: bool = True,
        tolerance: float | None = None,
        allow_nonfinite: bool = False,
        verbose: bool = False,
        sample_weight: ArrayLike | None = None,
        accumulate: int = 1,
        class_weight: ArrayLike | dict[int, float] | str | None = None,
        metrics: Any = (),
        callbacks: Callback | Callable[[Run], object] | list[Any] | tuple[Any, ...] = (),
    ) -> History:
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
            From 1 to the number of rows. The last minibatch of an epoch may be smaller, but must not have a single row
            if there is a batch norm that learns. With LBFGS all rows, or None.
        validation : tuple (Xv, yv) or (Xv, yv, weights), or float in (0, 1), optional
            Data whose loss is computed after each epoch; or the share of the rows to hold out for that: the first of
            random_permutation(seed, random_streams.validation(), rows).
        shuffle : bool, default True
            Take the rows of epoch e, counted from 0 over the trainer's life, in the order
            random_permutation(seed, random_streams.shuffle(e), rows); else in their own order.
        tolerance : float, optional
            Stop after the first epoch in which every parameter changed by less.
        allow_nonfinite : bool, default False
            Whether X may hold nan and inf.
        verbose : bool, default False
            Print a line for each epoch.
        sample_weight : ndarray of float32 or float64 (rows,), optional
            How often each row counts: finite, at least 0.
        accumulate : int, default 1
            At least 1. Minibatches in an update, whose gradient is that of their common mean. (Batch norms use the
            statistics of each minibatch.)
        class_weight : array (C,), dict of class number to weight, or "balanced", optional
            Multiplies the rows' weights by those of their classes, where y holds class numbers: see
            `fastbp.training.data.by_class`.
        metrics : str, callable, list of these, or dict of str to callable, default ()
            Figures to compute after each epoch: see `fastbp.metrics.resolve`.
        callbacks : Callback, callable or list of these, default ()
            See `fastbp.callbacks`. No `Checkpoint`: the twin writes no files.

        Returns
        -------
        History
            A dict of lists with one element for each epoch of this call. "loss": mean of the updates' losses, penalties
            included, weighted by the weights of their rows (sample weight times class weight); "gradient_norm": root
            mean square of the norms of the updates' gradients, before clipping; "layer_gradient_norms": a list of such
            norms, one for each element of ``net.weights``; "learning_rate": of the last update; "val_loss", if there is
            validation data; metrics, with validation "val_" before their names; "seconds": the epoch's time, validation
            included.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value; nothing has changed then.
        DivergenceError
            If a loss or gradient is not finite, or parameters, the state of the optimiser or running statistics would
            not be after the update. All are those before that update.
        """
        objective = self._objective
        allow_nonfinite = flag("allow_nonfinite", allow_nonfinite)
        epochs = integer("epochs", epochs, least=1)
        settings: dict[str, Any] = {"epochs": epochs, "rows": None, "batch_size": None, "accumulate": 1}
        if y is None and are_batches(X):
            refuse_with_batches(batch_size, validation, sample_weight, accumulate, class_weight)
            self._refuse_lbfgs("an iterable of batches")
            given = self._validation_data(validation, allow_nonfinite)
            run = self._run(settings, None, given, metrics, callbacks, tolerance, verbose)
            with run:
                self._train_batches(run, Batches(X), class_weight, allow_nonfinite)
            return run.history
        data = objective.checked("X", X, "y", y, "sample_weight", sample_weight, allow_nonfinite)
        data = objective.class_weighted(data, class_weight)
        count = held_out(validation, len(data.x))
        if count is None:
            given = self._validation_data(validation, allow_nonfinite)
        else:
            chosen, held = split(random_permutation, self.seed, len(data.x), count)
            data, given = data.of_rows(chosen), data.of_rows(held)
        rows = len(data.x)
        batch_size = self._checked_batch_size(batch_size, rows)
        accumulate = min(integer("accumulate", accumulate, least=1), -(-rows // batch_size))
        shuffle = flag("shuffle", shuffle)
        settings |= {"rows": rows, "batch_size": batch_size, "accumulate": accumulate}
        run = self._run(settings, data, given, metrics, callbacks, tolerance, verbose)
        with run:
            if isinstance(self._optimizer, LBFGS):
                self._fit_lbfgs(self._optimizer, data, run)
            else:
                self._train(run, data, batch_size, accumulate, shuffle)
        return run.history

    def _run(self, settings: dict[str, Any], data: Data | None, validation: Data | None, *around: Any) -> Run:
        """around: metrics, callbacks, tolerance and verbose."""
        net, objective = self.net, self._objective
        measured = data if validation is None else validation
        watched = Watched(
            None if validation is None else lambda: objective.value(validation),
            None if measured is None else lambda: (net.predict(measured.x, allow_nonfinite=True), measured.y),
        )
        counters = Counters(lambda: self.steps, self._count_epoch)
        return Run(self, net, self.loss, counters, settings, watched, *around)

    def _count_epoch(self, watched: float) -> int:
        self._schedule_state = self.schedule.advance(self._schedule_state, watched)
        self.epochs += 1
        return self.epochs

    def _validation_data(self, validation: Any, allow_nonfinite: bool) -> Data | None:
        if validation is None:
            return None
        X, y, weights = validation_parts(validation)
        return self._objective.checked(
            "validation[0]", X, "validation[1]", y, "validation[2]", weights, allow_nonfinite
        )

    def _train(self, run: Run, data: Data, batch_size: int, accumulate: int, shuffle: bool) -> None:
        rows = len(data.x)
        while run.goes_on():
            run.begin_epoch()
            order = np.arange(rows)
            if shuffle:
                order = random_permutation(self.seed, random_streams.shuffle(self.epochs), rows)
            batches = [order[i : i + batch_size] for i in range(0, rows, batch_size)]
            updates = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
            done = []
            for number_, batches in enumerate(updates):
                minibatches = [data.of_rows(batch) for batch in batches]
                done.append(self._update(minibatches, self.epochs, number_, run.history))
                if number_ + 1 < len(updates) and run.paused():
                    return
            _end_epoch(run, done)

    def _train_batches(self, run: Run, source: Batches, class_weight: Any, allow_nonfinite: bool) -> None:
        objective = self._objective
        while run.goes_on():
            run.begin_epoch()
            done = []
            for position, (x, y, weights) in enumerate(source.epoch(), 1):
                names = [f"{name} of batch {position}" for name in ("x", "y", "sample_weight")]
                data = objective.checked(names[0], x, names[1], y, names[2], weights, allow_nonfinite)
                data = objective.class_weighted(data, class_weight)
                objective.refuse_single_rows(names[0], len(data.x), len(data.x))
                done.append(self._update([data], self.epochs, position - 1, run.history))
                if run.paused():
                    return
            _end_epoch(run, done)

    def step(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
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
            If the loss or its gradient is not finite, or parameters, the state of the optimiser or running statistics
            would not be; nothing has changed then.
        """
        self._refuse_lbfgs("step")
        data = self._objective.checked("x", x, "y", y, "sample_weight", sample_weight)
        self._objective.refuse_single_rows("x", len(data.x), len(data.x))
        return self._update([data], None, self.steps, {}).loss

    def apply(self, gradient: ArrayLike) -> None:
        """One update with a gradient that is given: that of another loss, or the mean over several machines.

        Parameters
        ----------
        gradient : ndarray (P,)
            Laid out as ``net.parameters``. It is clipped like any other gradient. Penalties are not added: the gradient
            of `value_and_grad` includes them. Running statistics do not change.

        Raises
        ------
        TypeError, ValueError
            If it is of the wrong kind or shape or not finite, or the optimiser is LBFGS.
        DivergenceError
            If parameters or the state of the optimiser would not be finite; nothing has changed then.
        """
        self._refuse_lbfgs("apply")
        vector = real_array("gradient", gradient, self.net.dtype)
        if vector.shape != self.net.parameters.shape:
            raise ValueError(f"gradient has shape {vector.shape}; the network has {self.net.parameters.shape}")
        refuse_nonfinite("gradient", vector)
        rate = self._learning_rate()
        if not self._take(np.where(self._objective.learns(), vector, 0), rate, []):
            raise DivergenceError("update", None, self.steps, 0.0, self._last_loss, rate, {})

    # ------------------------------------------------------------------------------------ losses and their gradients

    def value_and_grad(
        self,
        x: ArrayLike,
        y: ArrayLike,
        inputs: bool = False,
        sample_weight: ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[Any, ...]:
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
            As in the next update: Dropout drops, and batch norms use the statistics of x; running statistics do not
            change. Else as in prediction.

        Returns
        -------
        loss : float
        gradient : ndarray (P,)
            Laid out as ``net.parameters``. 0 for frozen layers.
        dx : ndarray (B, inputs)
            If `inputs`.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, shape or value.
        """
        inputs, training = flag("inputs", inputs), flag("training", training)
        objective = self._objective
        data = objective.checked("x", x, "y", y, "sample_weight", sample_weight)
        if training:
            objective.refuse_single_rows("x", len(data.x), len(data.x))
        mode = Training(self.seed, self.steps, 0) if training else None
        with np.errstate(all="ignore"):
            loss, gradient, dx, _ = objective.gradient(data, mode)
            loss += objective.add_penalties(gradient)
        return (loss, gradient, dx) if inputs else (loss, gradient)

    def example_gradients(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """The loss of each example and its gradient, each example as a minibatch of one, without penalties.

        Dropout drops nothing, and batch norms use their running statistics.

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
        data = self._objective.checked("x", x, "y", y)
        self._objective.require_core_loss("example_gradients")
        with np.errstate(all="ignore"):
            each = [self._objective.gradient(data.of_rows(slice(i, i + 1)), None) for i in range(len(data.x))]
        return np.array([loss for loss, *_ in each]), np.array([gradient for _, gradient, *_ in each])

    def example_gradient_norms(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
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

    def evaluate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
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
        return self._objective.value(self._objective.checked("X", X, "y", y, "sample_weight", sample_weight))

    def averaged_network(self) -> Network:
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

    def _update(self, minibatches: list[Data], epoch: int | None, number: int, history: dict[str, Any]) -> Update:
        """One update from the common mean of some minibatches. epoch, number, history: for the error."""
        objective = self._objective
        rate = self._learning_rate()
        weight = sum(objective.weight(data) for data in minibatches)
        loss, gradient, passes, first_row = 0.0, np.zeros_like(self.net.parameters), [], 0
        with np.errstate(all="ignore"):  # the results are checked
            for data in minibatches:
                training = Training(self.seed, self.steps, first_row)
                its_loss, its_gradient, _, done = objective.gradient(data, training, weight)
                loss += its_loss
                gradient += its_gradient
                passes.append(done)
                first_row += len(data.x)
            loss += objective.add_penalties(gradient)
            squared_norm, layer_squares = sum_squares(gradient), self._layer_squares(gradient)
            if not (math.isfinite(loss) and np.isfinite(gradient).all()):
                what = "gradient" if math.isfinite(loss) else "loss"
                raise DivergenceError(what, epoch, number, loss, self._last_loss, rate, history)
            if not self._take(gradient, rate, passes):
                raise DivergenceError("update", epoch, number, loss, self._last_loss, rate, history)
            self._last_loss = loss
        return Update(loss, weight, squared_norm, layer_squares, rate)

    def _take(self, gradient: NDArray[Any], rate: float, passes: list[list[Any]]) -> bool:
        """The parts of an update that follow the gradient: clipping, optimiser, average, running statistics.

        Returns
        -------
        bool
            False when something would not be finite; nothing has changed then.
        """
        vectors = [self.net.parameters, self.net.statistics, *self._moments]
        vectors += [] if self.averaged is None else [self.averaged]
        before = [vector.copy() for vector in vectors]
        with np.errstate(all="ignore"):  # the results are checked
            self._write(gradient, rate)
            for done in passes:
                self.net.update_statistics(done)
        if all(np.isfinite(vector).all() for vector in vectors):
            self.steps += 1
            return True
        for vector, values in zip(vectors, before, strict=True):
            vector[...] = values
        return False

    def _write(self, gradient: NDArray[Any], rate: float) -> None:
        if self.clip_value is not None:
            optimizers.clip_by_value(gradient, self.clip_value)
        if self.clip_norm is not None:
            optimizers.clip_by_norm(gradient, self.clip_norm)
        learns = self._objective.learns()
        w, moments = self.net.parameters[learns], [moment[learns] for moment in self._moments]
        optimizers.of(self._optimizer, w, gradient[learns], moments, self.steps + 1, rate)
        self.net.parameters[learns] = w
        for moment, values in zip(self._moments, moments):
            moment[learns] = values
        if self.averaged is not None and self.steps == 0:
            self.averaged[...] = self.net.parameters
        elif self.averaged is not None and self.average is not None:
            optimizers.weight_average(self.averaged, self.net.parameters, self.average)

    def _learning_rate(self) -> float:
        """The learning rate of the next update."""
        position = self.steps if self.schedule.unit == "step" else self.epochs
        factor = self.schedule.factor(position, self._schedule_state)
        rate: float = self._optimizer.learning_rate * factor
        return rate

    def _layer_squares(self, gradient: NDArray[Any]) -> NDArray[Any]:
        slices = [slice(W.start, (b or W).stop) for W, _, b in parameter_slices(self.net.steps)]
        return np.array([sum_squares(gradient[layer]) for layer in slices])

    # --------------------------------------------------------------------------------------------------------- L-BFGS

    def _fit_lbfgs(self, optimizer: LBFGS, data: Data, run: Run) -> None:
        """Iterations of SciPy's L-BFGS-B over all rows: an iteration counts as an update and as an epoch."""
        from scipy.optimize import minimize

        net, objective = self.net, self._objective
        for step in net.steps:
            if step.kind == "dropout" or step.kind == "batch_norm" and not step.frozen:
                raise ValueError(f"LBFGS does not go with {step.layer!r}: it needs a loss of the parameters alone")
        best = net.parameters.copy()  # those of the last iteration
        seen: dict[str, Any] = {}

        def value_and_gradient(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            net.parameters[...] = w
            with np.errstate(all="ignore"):
                loss, gradient, _, _ = objective.gradient(data, Training(self.seed, self.steps, 0))
                loss += objective.add_penalties(gradient)
            seen.update(w=w.copy(), loss=loss, gradient=gradient)
            return loss, gradient.astype(np.float64)

        def after(w: NDArray[Any]) -> None:
            if not np.array_equal(w, seen["w"]):
                value_and_gradient(w)
            net.parameters[...] = w
            best[...] = net.parameters
            self.steps += 1
            self._last_loss = loss = seen["loss"]
            squares = sum_squares(seen["gradient"]), self._layer_squares(seen["gradient"])
            _end_epoch(run, [Update(loss, objective.weight(data), *squares, 1.0)])
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

    def _refuse_lbfgs(self, what: str) -> None:
        if isinstance(self._optimizer, LBFGS):
            raise ValueError(f"{what} does not go with LBFGS, which needs all the data: use fit")

    def _checked_batch_size(self, batch_size: Any, rows: int) -> int:
        whole = isinstance(self._optimizer, LBFGS)
        if batch_size is None:
            batch_size = rows if whole else min(32, rows)
        size = integer("batch_size", batch_size, least=1)
        if size > rows:
            raise ValueError(f"batch_size must be at most the number of rows, {rows}, got {size}")
        if whole and size < rows:
            raise ValueError(f"batch_size is {size}; with LBFGS it must be None or all {rows} rows")
        self._objective.refuse_single_rows("X", rows, size)
        return size


def _end_epoch(run: Run, done: list[Update]) -> None:
    """Report the updates of an epoch to the run."""
    weight = sum(update.weight for update in done)
    loss = sum(update.loss * update.weight for update in done) / weight if weight else 0.0
    squared_norm = sum(update.squared_norm for update in done)
    layer_squares = np.sum([update.layer_squares for update in done], axis=0)
    run.end_epoch(loss, squared_norm, layer_squares, len(done), done[-1].rate)
