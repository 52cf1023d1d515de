"""Training: a net, a loss, an optimiser and its state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import optimizers
from ._support import arguments, declarative
from .network import Network, checked_threads
from .training import checkpoint, fit, settings
from .training.batches import are_batches
from .training.engine import Engine
from .training.history import History
from .training.run import Run, refuse_with_batches
from .training.ways import chosen_way

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .callbacks import Callback
    from .losses import Loss
    from .optimizers import Optimizer
    from .schedules import Schedule
    from .training.loss_function import LossFunction


def _read_only(path: str) -> Any:
    return property(attrgetter(path))


class Trainer:
    """Trains a net: its loss, its optimiser, and their state.

    Parameters
    ----------
    net : Network
        Trained in place.
    loss : str, loss or function
        The name of a loss (see `fastbp.losses`), an object such as ``Pinball([0.1, 0.5, 0.9])``, or a function
        (output, target) -> (loss, doutput) that returns the loss of a minibatch and its gradient. Output and doutput
        are arrays (rows, outputs); target holds the rows of y for this minibatch.
    optimizer : str or optimiser
        The name of an optimiser (see `fastbp.optimizers`), or an object such as ``Adam(3e-4)``.
    seed : int in [0, 2**64)
        The order of the rows in epoch e is a function of (seed, e), and the elements that dropout drops in update t are
        a function of (seed, t).
    n_threads : int or None
        Upper bound on the number of threads; None: the number of cores. Small nets use fewer. The results have the
        same bits for any number.
    schedule : Schedule, function or None
        Factor of the optimiser's learning rate: an object such as ``Cosine(1000)``, or a function of the number of
        updates done. None: 1.
    clip_norm : float > 0 or None
        Upper bound on the norm of the gradient of an update: a longer gradient is scaled down.
    clip_value : float > 0 or None
        Each element of the gradient is limited to -clip_value .. clip_value. Not together with clip_norm.
    average : float in [0, 1) or None
        Keep an exponential moving average of the parameters: average = decay average + (1 - decay) parameters after
        each update, beginning with the parameters after the first update.

    Attributes
    ----------
    net, loss, seed, n_threads, schedule, clip_norm, clip_value, average
        As given; a loss given by name has become an object, and so has a schedule.
    averaged : (P,) array or None
        The moving average of the parameters, None without one.
    optimizer : optimiser
        May be replaced by another of the same class, for instance to change the learning rate; its state is kept.
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
    - arrays of uint8, whose values are scaled by 1/255.

    Rows are converted when the minibatch is gathered: X is not copied, whatever its dtype and strides. It may be
    Fortran-ordered or a slice, or larger than memory in an ``np.memmap``. Contiguous rows are the fastest. Data,
    targets and weights may also be objects that NumPy makes an array of by ``__array__`` or DLPack: a DataFrame, a
    tensor of PyTorch on the CPU, an array of JAX. Other objects are refused, and so are nan and inf. Targets, y, are

    - for softmax cross-entropy integer class numbers (rows,), or probabilities (rows, outputs);
    - for the other losses floats (rows, outputs), or (rows,) when the net has one output;
    - for Pinball with Q levels also (rows, outputs / Q), or (rows,) where outputs is Q: the outputs are the Q levels of
      the first target, then those of the second.

    Penalties of layers (l1, l2) are part of the loss that is minimised, and that `step`, `fit` and `value_and_grad`
    report. An update takes the gradient with penalties, clips it, applies the optimiser, and updates the average.

    A trainer may be used from several threads. Calls that make updates or gradients follow each other: each waits for
    the end of the one before. `evaluate`, `save` and copies do not wait: they see the state after a whole update, also
    while `fit` runs. It can be copied and pickled.
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
            raise TypeError(f"net must be a Network, got {declarative.described(net)}")
        checked = settings.checked_settings(loss, optimizer, seed, n_threads, schedule, clip_norm, clip_value, average)
        self._set_up(net, checked)

    def _set_up(self, net: Network, checked: settings.Settings, counts: settings.Counts | None = None) -> None:
        self._way = chosen_way(net, checked, counts)
        self._engine = self._way.engine

    engine: Engine = _read_only("_engine")  # for the other modules of fastbp
    net: Network = _read_only("_engine.net")
    loss: Loss | LossFunction = _read_only("_engine.settings.loss")
    seed: int = _read_only("_engine.settings.seed")
    n_threads: int | None = _read_only("_engine.settings.n_threads")
    schedule: Schedule = _read_only("_engine.settings.schedule")
    clip_norm: float | None = _read_only("_engine.settings.clip_norm")
    clip_value: float | None = _read_only("_engine.settings.clip_value")
    average: float | None = _read_only("_engine.settings.average")
    averaged: NDArray[Any] | None = _read_only("_engine.averaged")

    @property
    def steps(self) -> int:
        return self._engine.steps

    @steps.setter
    def steps(self, value: int) -> None:
        self._engine.steps = settings.checked_count("steps", value)

    @property
    def epochs(self) -> int:
        return self._engine.epochs

    @epochs.setter
    def epochs(self, value: int) -> None:
        self._engine.epochs = settings.checked_count("epochs", value)

    @property
    def optimizer(self) -> Optimizer:
        return self._engine.settings.optimizer

    @optimizer.setter
    def optimizer(self, value: str | Optimizer) -> None:
        self._engine.replace_optimizer(optimizers.optimizer(value))

    def __repr__(self) -> str:
        extra = "".join(f", {name}={value!r}" for name, value in self._engine.settings.used.items())
        return (
            f"Trainer({self.net!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, seed={self.seed}, "
            f"n_threads={self.n_threads}{extra})"
        )

    def averaged_network(self) -> Network:
        """A copy of the net whose parameters are the moving average.

        Returns
        -------
        Network

        Raises
        ------
        RuntimeError
            When the trainer keeps no average.
        """
        if self.averaged is None:
            raise RuntimeError("this trainer keeps no average: make it with average=0.999, for one")
        import copy  # in functions, where it is seldom needed: the import of fastbp stays quick

        net = copy.copy(self.net)
        average, statistics = self.net.lock.copies(self.averaged, self.net.statistics)
        net.set_vectors({"parameters": average, "statistics": statistics})
        return net

    # ----------------------------------------------------------------------------------------------------- training

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
        """Train for some epochs.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            See the class. Or an iterable of batches (x, y) or (x, y, sample_weight), such as a list, a DataLoader of
            PyTorch, or, for one epoch, a generator. Each batch is a minibatch; their order is kept.
        y : array
            Targets: see the class. None for an iterable.
        epochs : int >= 1
            With `LBFGS` the number of its iterations.
        batch_size : int in 1 .. rows, or None
            Rows in a minibatch; the last of an epoch may have fewer. None: 32, or all rows where there are fewer. With
            `LBFGS` None or all rows. With a `BatchNorm` no minibatch may have a single row.
        validation : (X, y), (X, y, sample_weight), float in (0, 1) or None
            Data whose loss is computed after every epoch; or the share of the rows that is held out for that, chosen by
            the seed.
        shuffle : bool
            Take the rows of each epoch in a random order, rather than in their own.
        tolerance : float >= 0 or None
            Stop after the first epoch in which every parameter changed by less.
        allow_nonfinite : bool
            Do not check X, and X of the validation data, for nan and inf. (Training on them ends in a DivergenceError.)
        verbose : bool
            Print a line after each epoch.
        sample_weight : (rows,) array of floats >= 0, or None
            A minibatch's loss is sum w l / sum w over its rows, with the reduction "sum" sum w l.
        accumulate : int >= 1
            Minibatches in an update, whose gradient is that of the mean over all their rows.
        class_weight : (C,) array, dict of class number to weight, "balanced" or None
            Multiplies the rows' weights by those of their classes, where y is class numbers. Classes that are missing
            in a dict have weight 1; balanced: rows / (C * rows of the class), where C counts the classes that occur.
        metrics : str, function, list of these, or dict of name to function
            Figures to compute after every epoch: "accuracy", "top_5" (or another number), "r2", "mean_absolute_error",
            "mean_squared_error", or a function (output, target) -> float, whose output is that of `Network.predict`.
            They are computed on the validation data, without weights, and on all data where there are none.
        callbacks : callback, function of the run, or list of these
            See `fastbp.callbacks`: `EarlyStopping`, `Checkpoint`, `Log`, `MaxTime`, `ProgressBar`, or a class of your
            own. A function is called after every epoch.

        Returns
        -------
        History
            A dict of lists with one element for each epoch. "loss": mean of the updates' losses, penalties included,
            weighted by the weights of their rows; "gradient_norm": root mean square of the norms of the updates'
            gradients (of a full batch: the norm), before clipping; "layer_gradient_norms": a list of such norms, one
            for each element of `net.weights`; "learning_rate": that of the last update; "val_loss", with validation;
            metrics, with validation "val_" before their names; "seconds": time of the epoch, validation included.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was expected and what came; nothing is changed then.
        DivergenceError
            When a minibatch's loss or gradient is nan or inf, or its update would make parameters, the state of the
            optimiser or running statistics so. All are those before it.
        KeyboardInterrupt
            Ctrl-C is handled every 50 ms. Parameters, optimiser and `steps` are those after the last update, the epoch
            does not count: `fit`, `save` and other methods may be called again.
        """
        allow_nonfinite = declarative.flag("allow_nonfinite", allow_nonfinite)
        epochs = declarative.integer("epochs", epochs, 1)
        if y is None and are_batches(X):
            refuse_with_batches(batch_size, validation, sample_weight, accumulate, class_weight)
            task = fit.of_batches(self._way, X, epochs, validation, allow_nonfinite, class_weight)
        else:
            task = fit.of_arrays(
                self._way,
                X,
                y,
                epochs,
                batch_size,
                validation,
                shuffle,
                allow_nonfinite,
                sample_weight,
                accumulate,
                class_weight,
            )
        return task.run(self, metrics, callbacks, tolerance, verbose)

    def step(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Make one update, for one minibatch: for online and reinforcement learning.

        Parameters
        ----------
        x : (rows, inputs) array, rows >= 1
            See the class. Fastest when contiguous and of float32 or float64. With a `BatchNorm` two rows at least.
        y : array
            Targets: see the class. Fastest when contiguous, labels of int64 or int32.
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
            When the loss or its gradient is nan or inf though x and y are not, or the update would make parameters, the
            state of the optimiser or running statistics so; no update is made.
        """
        engine = self._engine
        plan = engine.fast
        if plan is not None and sample_weight is None and engine.net.steps is engine.planned:
            rate = engine.constant_rate
            if rate is None:
                rate = engine.rate(engine.steps)
            loss: float | None = plan.try_step(x, y, rate, engine.updates)
            if loss is not None:
                return loss
        with engine.updates:
            engine.refuse_in_epoch()
            self._way.require_minibatches("step")
            return self._way.step(self._way.data("x", "y", x, y, "sample_weight", sample_weight))

    def apply(self, gradient: ArrayLike) -> None:
        """Make one update with a gradient that is given: a sum of several gradients, that of another loss, or the mean
        over machines.

        Parameters
        ----------
        gradient : (P,) float32 or float64 array
            In the order of `net.parameters`, as `value_and_grad` returns it. Penalties are not added; it is clipped as
            any other gradient.

        Raises
        ------
        TypeError, ValueError
            When it is not a finite array of that shape.
        DivergenceError
            When the update would make parameters or the state of the optimiser nan or inf; none is made.
        """
        engine = self._engine
        vector = arguments.converted(arguments.array("gradient", gradient, 1), self.net.dtype)
        if vector.shape != engine.gradient.shape:
            raise ValueError(f"gradient has {len(vector)} elements; the network has {len(engine.gradient)}")
        arguments.finite("gradient", vector, "a gradient must be finite")
        with engine.updates:
            engine.refuse_in_epoch()
            self._way.require_minibatches("apply")
            engine.apply(vector)

    # ---------------------------------------------------------------------------------- losses and their gradients

    def value_and_grad(
        self,
        x: ArrayLike,
        y: ArrayLike,
        inputs: bool = False,
        sample_weight: ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[Any, ...]:
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
            As in the next update: dropout drops, and batch norms use the statistics of x, which must have two rows
            then; running statistics do not change. False: as in prediction.

        Returns
        -------
        loss : float
        gradient : (P,) array
            In the order of `net.parameters`; 0 for frozen layers.
        dx : (rows, inputs) array
            Only with inputs=True; for uint8, with respect to x / 255.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong kind or value.
        """
        engine = self._engine
        inputs = declarative.flag("inputs", inputs)
        training = declarative.flag("training", training)
        minibatch = self._way.data("x", "y", x, y, "sample_weight", sample_weight)
        dx = np.empty(minibatch.x.shape, self.net.dtype) if inputs else None
        with engine.updates:
            engine.refuse_in_epoch()
            if training:
                engine.refuse_single_rows("x", len(minibatch.x), len(minibatch.x))
            loss = self._way.gradient(minibatch, dx, training)
            gradient = engine.gradient.copy()
        return (loss, gradient, dx) if inputs else (loss, gradient)

    def example_gradients(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
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
        Dropout drops nothing, and batch norms use their running statistics.
        """
        examples = self._way.data("x", "y", x, y)
        self._way.require_core_loss("example_gradients")
        with self._engine.updates:
            return self._engine.example_gradients(examples)

    def example_gradient_norms(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """The loss of each example and the norm of its gradient, without forming the gradient.

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
        examples = self._way.data("x", "y", x, y)
        self._way.require_core_loss("example_gradient_norms")
        with self._engine.updates:
            self._engine.refuse_in_epoch()
            return self._engine.example_gradient_norms(examples)

    def evaluate(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
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
        all_data = self._way.data("X", "y", X, y, "sample_weight", sample_weight)
        return self._way.evaluate(all_data)

    # ------------------------------------------------------------------------------------------------ files and copies

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write net, loss, optimiser and their state to a file, whole or not at all, so that training can be resumed.

        Parameters
        ----------
        path : str or path
            Ends in .npz or .safetensors: see `Network.save`. `fastbp.load` reads the net alone from it.

        Raises
        ------
        TypeError, ValueError, ImportError, OSError
            As for `Network.save`.
        """
        checkpoint.write(path, self._engine)

    @classmethod
    def load(cls, path: str | os.PathLike[str], n_threads: int | None = None) -> Trainer:
        """Read a trainer, with a net of its own, from a file that `save` wrote. Training resumes with the same bits.

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
        loaded = checkpoint.read(path, checked_threads(n_threads))
        try:
            return cls._of(*loaded)
        except ValueError as error:  # the loss or the optimiser does not go with the net
            raise ValueError(f"{path}: its header makes no sense: {error}") from error

    @classmethod
    def _of(
        cls, net: Network, checked: settings.Settings, counts: settings.Counts, vectors: dict[str, NDArray[Any]]
    ) -> Trainer:
        """A trainer from its parts; vectors: those of `Engine.snapshot`."""
        trainer = cls.__new__(cls)
        trainer._set_up(net, checked, counts)
        trainer._engine.restore(counts, vectors)
        return trainer

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has a state of its own, as a pickle has: with a shared state it would be the same trainer.
        # The net, which comes after this state, may be trained on by then: the vectors hold its parameters, too.
        engine = self._engine
        counts, vectors = engine.snapshot()
        return type(self)._unpickled, (engine.net, engine.settings, counts, vectors)

    @classmethod
    def _unpickled(
        cls, net: Network, checked: settings.Settings, counts: settings.Counts, vectors: dict[str, NDArray[Any]]
    ) -> Trainer:
        checkpoint.check_state(net, checked, vectors)
        return cls._of(net, checked, counts, vectors)

    def __copy__(self) -> Trainer:
        import copy

        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Trainer:
        import copy

        # Unlike a pickle, a copy may have any state.
        return self._of(*copy.deepcopy(self.__reduce__()[1], memo))
