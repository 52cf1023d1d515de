"""The interface of the three ways to make an epoch, and the loops over minibatches that two of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._support import arguments, random_streams
from .._support.declarative import integer
from .batches import Batches
from .data import Data
from .engine import Engine, Minibatches, Pass
from .run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network import Network


class Way(ABC):
    """One way to make an epoch: it is chosen once, when a trainer is made.

    Methods that change the state of training, or its gradient, are called with `Engine.updates` held.

    Attributes
    ----------
    engine : Engine
    """

    engine: Engine

    # ----------------------------------------------------------------------------- requirements: all are met by default

    def require_minibatches(self, what: str) -> None:  # noqa: B027
        """Raise ValueError where `what`, which works on minibatches, does not go with this way."""

    def require_core_loss(self, what: str) -> None:  # noqa: B027
        """Raise ValueError where `what`, which needs a loss computed in the core, does not go with this way."""

    def require_checkpoints(self) -> None:  # noqa: B027
        """Raise ValueError or TypeError where a checkpoint does not go with this way."""

    # ---------------------------------------------------------------------------------------------------------- data

    @abstractmethod
    def checked(self, x_name: str, y_name: str, x: Any, y: Any, allow_nonfinite: bool | None) -> Data:
        """x and y as the core takes them, without weights. allow_nonfinite None: the caller has no such argument."""

    @abstractmethod
    def class_weighted(self, data: Data, class_weight: Any) -> Data:
        """The data with their rows weighted by class.

        Raises
        ------
        TypeError, ValueError
            When class_weight is wrong, or does not go with the loss or the targets.
        """

    def data(
        self,
        x_name: str,
        y_name: str,
        x: Any,
        y: Any,
        weights_name: str = "",
        weights: Any = None,
        allow_nonfinite: bool | None = None,
    ) -> Data:
        """x, y and the weights of rows as the core takes them; the names are those of the arguments, for errors.

        Raises
        ------
        TypeError, ValueError
        """
        data = self.checked(x_name, y_name, x, y, allow_nonfinite)
        if weights is None:
            return data
        self.require_core_loss(weights_name)
        weights = arguments.arrayed(weights_name, weights)
        return data._replace(weights=arguments.row_weights(weights_name, weights, len(data.x), x_name))

    def chosen(self, data: Data, rows: NDArray[Any]) -> tuple[Data, NDArray[Any] | None]:
        """Data and the numbers of their rows to train on, where only `rows` are trained on; None: all."""
        return data, rows

    def batch_size(self, given: Any, rows: int) -> int:
        """The rows of a minibatch out of `rows` rows, from the argument `batch_size`.

        Raises
        ------
        TypeError, ValueError
        """
        size = integer("batch_size", min(32, rows) if given is None else given, 1)
        if size > rows:
            raise ValueError(f"batch_size is {size}; X has {rows} rows")
        return size

    # ------------------------------------------------------------------------------------- one minibatch, all the data

    @abstractmethod
    def gradient(self, data: Data, dx: NDArray[Any] | None, training: bool) -> float:
        """The loss of a minibatch, penalties included; its gradient goes to that of the engine, and to dx."""

    @abstractmethod
    def evaluate(self, data: Data) -> float:
        """The loss on data in prediction, without penalties."""

    @abstractmethod
    def step(self, data: Data) -> float:
        """Make one update, and return the loss before it.

        Raises
        ------
        DivergenceError
        """

    # -------------------------------------------------------------------------------------------------------- epochs

    @abstractmethod
    def train(self, run: Run, data: Data, chosen: NDArray[Any] | None, minibatches: Minibatches, shuffle: bool) -> None:
        """Make the epochs of a run over arrays.

        Parameters
        ----------
        run : Run
            Is told when an epoch begins and ends, and says when to stop.
        data : Data
        chosen : int64 array or None
            The rows to train on; None: all.
        minibatches : Minibatches
        shuffle : bool
            Take the rows in another order in each epoch.
        """

    @abstractmethod
    def train_batches(self, run: Run, source: Batches, allow_nonfinite: bool, class_weight: Any) -> None:
        """Make the epochs of a run over an iterable of batches."""


class MinibatchWay(Way):
    """Epochs of minibatches, each update from the next rows."""

    @abstractmethod
    def of(self, net: Network) -> MinibatchWay:
        """The same way for another net of the same layers, with an engine of its own."""

    @abstractmethod
    def update(self, plan: Any, data: Data, rate: float) -> tuple[int, float]:
        """Make and count one update; return the status of the core, and the loss."""

    @abstractmethod
    def run_epoch(
        self,
        plan: Any,
        data: Data,
        order: NDArray[Any] | None,
        minibatches: Minibatches,
        rates: NDArray[Any],
        layer_squares: NDArray[Any],
        run: Run,
        before: int = 0,
    ) -> Pass | None:
        """One pass over the data; None when the run gives it up.

        Parameters
        ----------
        plan, data, order, minibatches, rates, layer_squares
            As for `Engine.run_epoch`.
        run : Run
        before : int
            Updates of this epoch before the pass, for the error.

        Raises
        ------
        DivergenceError
        """

    def batch_size(self, given: Any, rows: int) -> int:
        size = super().batch_size(given, rows)
        self.engine.refuse_single_rows("X", rows, size)
        return size

    def step(self, data: Data) -> float:
        engine, rows = self.engine, len(data.x)
        engine.refuse_single_rows("x", rows, rows)
        plan = engine.plan_for(data.code, rows, whole=True)
        rate = engine.rate(engine.steps)
        status, loss = self.update(plan, data, rate)
        if status:
            raise engine.divergence(status, engine.steps, loss, rate)
        engine.updates.last_loss = loss
        return loss

    def train(self, run: Run, data: Data, chosen: NDArray[Any] | None, minibatches: Minibatches, shuffle: bool) -> None:
        engine, order = self.engine, chosen
        rows = len(data.x) if chosen is None else len(chosen)
        while run.goes_on():
            run.begin_epoch()
            plan = engine.plan_for(data.code, minibatches.size, whole=True)
            if shuffle:
                stream = random_streams.shuffle(engine.epochs)
                order = _core.random_permutation(engine.settings.seed, stream, rows)
                order = order if chosen is None else chosen[order]
            rates = engine.rates(-(-rows // (minibatches.size * minibatches.accumulate)))
            layer_squares = np.zeros(plan.learned_count)
            done = self.run_epoch(plan, data, order, minibatches, rates, layer_squares, run)
            if done is None:
                return
            run.end_epoch(done.loss, done.squared_norm, layer_squares, done.updates, rates[-1])

    def train_batches(self, run: Run, source: Batches, allow_nonfinite: bool, class_weight: Any) -> None:
        engine = self.engine
        while run.goes_on():
            run.begin_epoch()
            total = mass = squared_norm = 0.0
            layer_squares, updates, rate = np.zeros(len(engine.net.weights)), 0, 0.0
            for number, (x, y, weights) in enumerate(source.epoch()):
                x_name, y_name, weights_name = (f"{name} of batch {number + 1}" for name in ("x", "y", "sample_weight"))
                data = self.data(x_name, y_name, x, y, weights_name, weights, allow_nonfinite)
                if class_weight is not None:
                    data = self.class_weighted(data, class_weight)
                rows = len(data.x)
                engine.refuse_single_rows(x_name, rows, rows)
                plan = engine.plan_for(data.code, rows, whole=True)
                rates, squares = engine.rates(1), np.zeros(plan.learned_count)
                done = self.run_epoch(plan, data, None, Minibatches(rows), rates, squares, run, number)
                if done is None or run.paused():
                    return
                total, mass = total + done.loss * done.mass, mass + done.mass
                squared_norm += done.squared_norm
                layer_squares += squares
                updates, rate = updates + 1, rates[0]
            run.end_epoch(total / mass if mass else 0.0, squared_norm, layer_squares, updates, rate)
