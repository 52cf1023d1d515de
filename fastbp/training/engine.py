"""The training engine: all that training changes, and the calls into the core that change it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _core
from .._support import arguments, random_streams
from .._support.plan_spec import PlanSpec, PlanVectors
from ..errors import DivergenceError
from ..losses import Loss
from ..network import BLOCK, Network, aligned_vector, plan_rows
from ..optimizers import Optimizer
from ..schedules import Constant
from .data import Data
from .settings import Counts, Settings
from .thread_tuner import ThreadTuner

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAUSE = 0.05  # seconds in C between two returns to Python, which handle signals and callbacks


class Minibatches(NamedTuple):
    """The minibatches of a pass over the data.

    Attributes
    ----------
    size : int
        Rows of a minibatch; the last one may have fewer.
    accumulate : int
        Minibatches that share an update.
    """

    size: int
    accumulate: int = 1


class Pass(NamedTuple):
    """The result of one pass over the data.

    Attributes
    ----------
    loss : float
        The mean of the updates' losses, weighted by `mass`.
    mass : float
        The sum of the weights of the rows.
    squared_norm : float
        The sum over the updates of |gradient|^2.
    updates : int
    """

    loss: float
    mass: float
    squared_norm: float
    updates: int


class Engine:
    """The state of training, and the operations of the core on it.

    Parameters
    ----------
    net : Network
        Trained in place.
    settings : Settings
    loss : Loss or None
        The loss that the core computes; None where the loss is a Python function.
    whole : bool
        Whether each minibatch goes through the net at once, rather than in blocks of rows.
    counts : Counts, optional
        How far training has come. Default: the beginning.

    Attributes
    ----------
    net, loss
        As given.
    settings : Settings
        The optimiser in it may be replaced: see `replace_optimizer`.
    gradient : (P,) array
        The gradient of the last minibatch, or of the last update.
    moments : tuple of (P,) arrays
        The state of the optimiser. May be changed in place, between two updates.
    averaged : (P,) array or None
        The moving average of the parameters.
    schedule_state : dict
    steps, epochs : int
        Updates and epochs done.
    updates : _core.Updates
        The counter of the updates, the last finite loss, and the lock: ``with engine.updates: ...``.
    running : _core.Plan or None
        The plan whose epoch is under way.
    plans : dict of int to (_core.Plan, int)
        For each number of a loss in the core its plan, and the upper bound on the rows that it takes.
    fast : _core.Plan or None
        The plan of the last step, for another step like it; None after any change that could make it the wrong one.
    planned : tuple of Step
        ``net.steps`` for which `fast` and the other plans were made.
    constant_rate : float or None
        The learning rate of all updates; None where it changes.
    batch_norms : bool
        Whether a batch norm learns, so that a minibatch needs two rows.
    some_frozen : bool
        Whether some parameters are frozen: the core does not write their elements of `gradient`.

    Raises
    ------
    TypeError, ValueError
        When loss or optimiser do not go with the net.
    """

    def __init__(
        self, net: Network, settings: Settings, loss: Loss | None, whole: bool, counts: Counts | None = None
    ) -> None:
        _check_constants(settings.optimizer, net.dtype)
        if loss is not None:
            for value in loss.distinct_parameters(net.outputs):  # raises where there is another number of outputs
                arguments.representable(f"a parameter of {loss!r}", value, net.dtype)
        if counts is None:
            counts = Counts(0, 0, settings.schedule.initial_state)
        self.net = net
        self.settings = settings
        self.loss = loss
        self.epochs = counts.epochs
        self.schedule_state = counts.schedule_state
        self.updates = _core.Updates(counts.steps)
        size, optimizer = len(net.parameters), settings.optimizer
        self.gradient = aligned_vector(size, net.dtype)
        self.moments = tuple(aligned_vector(size, net.dtype) for _ in range(optimizer.moments))
        for moment, start in zip(self.moments, optimizer.initial_moments, strict=True):
            moment[...] = start
        self.averaged = None
        if settings.average is not None:
            self.averaged = aligned_vector(size, net.dtype)
            self.averaged[...] = net.parameters
        self.running: Any = None
        self._tuner = ThreadTuner(1)
        self._whole_minibatches = whole
        self._set_constant_rate()
        self.drop_plans()

    @property
    def steps(self) -> int:
        done: int = self.updates.done
        return done

    @steps.setter
    def steps(self, value: int) -> None:
        self.updates.done = value

    def replace_optimizer(self, optimizer: Optimizer) -> None:
        """Continue with another optimiser of the same class; its state is kept.

        Raises
        ------
        ValueError
            When it keeps another state.
        RuntimeError
            While an epoch is under way.
        """
        ours = self.settings.optimizer
        if type(optimizer) is not type(ours) or optimizer.moments != ours.moments:
            raise ValueError(f"optimizer must keep the same state as {ours!r}, got {optimizer!r}: make another Trainer")
        _check_constants(optimizer, self.net.dtype)
        with self.updates:
            self.refuse_in_epoch()
            self.settings = self.settings._replace(optimizer=optimizer)
            self._set_constant_rate()
            if optimizer.constants != ours.constants:
                self.drop_plans()

    # ----------------------------------------------------------------------------------------------- learning rates

    def _set_constant_rate(self) -> None:
        settings = self.settings
        constant = settings.schedule == Constant() and settings.optimizer.code is not None
        self.constant_rate = settings.optimizer.learning_rate if constant else None

    def rate(self, updates: int) -> float:
        """The learning rate of the update that follows `updates` others.

        Raises
        ------
        ValueError
            When the schedule gives a factor that is negative or not finite.
        """
        if self.constant_rate is not None:
            return self.constant_rate
        settings = self.settings
        position = updates if settings.schedule.unit == "step" else self.epochs
        factor = settings.schedule.factor(position, self.schedule_state)
        rate: float = settings.optimizer.learning_rate * factor
        if not 0 <= rate < float("inf"):
            raise ValueError(
                f"schedule must give factors that are finite and at least 0, got a learning rate of {rate}"
            )
        return rate

    def rates(self, count: int) -> NDArray[Any]:
        """The learning rates of the next `count` updates."""
        done = self.updates.done
        if self.constant_rate is not None or self.settings.schedule.unit == "epoch":
            return np.full(count, self.rate(done))
        return np.array([self.rate(done + i) for i in range(count)])

    def count_epoch(self) -> int:
        """Count an epoch, and return the number of epochs done."""
        self.epochs += 1
        return self.epochs

    def advance_schedule(self, watched: float) -> None:
        """Show the loss of an epoch to the schedule."""
        self.schedule_state = self.settings.schedule.advance(self.schedule_state, watched)

    # -------------------------------------------------------------------------------------------------------- plans

    def drop_plans(self) -> None:
        """Forget all plans: the next call makes new ones. A plan keeps the data of its last epoch alive."""
        self.plans: dict[int, tuple[Any, int]] = {}
        self.fast: Any = None
        self.planned = steps = self.net.steps
        self.batch_norms = any(step.kind == "batch_norm" and not step.frozen for step in steps)
        self.some_frozen = any(step.frozen for step in steps)
        self._whole = self.batch_norms or self._whole_minibatches

    def plan_for(self, code: int, rows: int, whole: bool = False) -> Any:
        """A plan for minibatches.

        Parameters
        ----------
        code : int
            The number of the loss in the core; -1: none.
        rows : int
            Rows of the largest minibatch.
        whole : bool
            True in training: with batch norms, or a loss that is a Python function, a minibatch then goes through the
            net at once.

        Returns
        -------
        _core.Plan
        """
        if self.net.steps is not self.planned:  # layers have been frozen or unfrozen
            self.drop_plans()
        rows = rows if whole and self._whole else plan_rows(rows)
        plan, most = self.plans.get(code, (None, 0))
        if rows > most or plan.outdated:
            plan, most = self._new_plan(code, rows), rows
            if rows >= BLOCK and not self._whole:
                most = sys.maxsize  # the plan takes any number of rows, a block at a time
            self.plans[code] = plan, most
        return plan

    def _new_plan(self, code: int, rows: int) -> Any:
        net, settings, loss = self.net, self.settings, self.loss
        optimizer = settings.optimizer
        spec = PlanSpec(
            dtype=net.dtype.name,
            layers=net.records,
            rows=rows,
            whole=self._whole,
            threads=settings.n_threads or 0,
            loss=code,
            loss_parameters=() if loss is None else loss.parameters(net.outputs),
            reduction_sum=loss is not None and loss.reduction == "sum",
            smoothing=0.0 if loss is None else loss.smoothing,
            class_weights=None if loss is None else loss.class_weights,
            optimizer=None if optimizer.code is None else optimizer.constants,
            clip_norm=settings.clip_norm or 0.0,
            clip_value=settings.clip_value or 0.0,
            average_decay=settings.average or 0.0,
            seed=settings.seed,
            dropout_stream=random_streams.dropout(0),
        )
        slots: list[NDArray[Any] | None] = [None, None, None]
        for slot, moment in zip(optimizer.slots, self.moments, strict=True):
            slots[slot] = moment
        vectors = PlanVectors(
            net.parameters, self.gradient, (slots[0], slots[1], slots[2]), self.averaged, net.statistics
        )
        return _core.Plan(spec, vectors)

    # ------------------------------------------------------------------------------------------------------ refusals

    def refuse_in_epoch(self) -> None:
        """Raise RuntimeError while an epoch is under way.

        The lock lets its own thread in again: a signal's handler, for one, that runs between two slices of an epoch.
        """
        if self.running is not None:
            raise RuntimeError(
                "this trainer is in an epoch: what changes its parameters or gradient has to wait for its end"
            )

    def refuse_single_rows(self, name: str, rows: int, batch_size: int) -> None:
        """Raise ValueError where minibatches of `batch_size` out of `rows` rows leave a batch norm a single row."""
        if self.net.steps is not self.planned:
            self.drop_plans()
        if self.batch_norms and (batch_size == 1 or rows % batch_size == 1):
            raise ValueError(
                f"{name} has {rows} rows, so that minibatches of {batch_size} leave one of a single row, whose "
                "variance a BatchNorm cannot tell: it needs two at least"
            )

    def divergence(
        self, status: int, step: int, loss: float, rate: float, history: dict[str, list[Any]] | None = None
    ) -> DivergenceError:
        """The error for a status of the core that is not OK. history: that of the fit under way; None: of a step."""
        what = "loss" if status == _core.LOSS_NOT_FINITE else "gradient"  # the core itself raises for lack of memory
        epoch = None if history is None else self.epochs
        return DivergenceError(what, epoch, step, loss, self.updates.last_loss, float(rate), history or {})

    # ------------------------------------------------------------------------------------------------------- updates

    def counted(self, plan: Any, update: Callable[..., tuple[Any, ...]], *values: Any) -> tuple[Any, ...]:
        """Call a method of a plan that makes an update, and count the update.

        The update is counted even when a signal's handler raises an exception: handlers run after the method has
        returned, when the update has been made.
        """
        updates = self.updates
        try:
            return update(*values)
        finally:  # no call stands here: a handler could run after it
            if plan.updates > updates.done:
                updates.done = plan.updates

    def apply(self, gradient: NDArray[Any]) -> None:
        """Make one update with a gradient that is given. The lock is held.

        Raises
        ------
        DivergenceError
        """
        code = -1 if self.loss is None else self.loss.code
        plan, done = self.plan_for(code, 1), self.steps
        self.gradient[...] = gradient
        rate = self.rate(done)
        status, _, _ = self.counted(plan, plan.update, 0.0, 0.0, rate, done, False)
        if status:
            raise self.divergence(status, self.steps, 0.0, rate)

    def run_epoch(
        self,
        plan: Any,
        data: Data,
        order: NDArray[Any] | None,
        minibatches: Minibatches,
        rates: NDArray[Any],
        layer_squares: NDArray[Any],
        updates_to_pause: Callable[[], int],
        paused: Callable[[], bool],
    ) -> int | None:
        """Make one pass over the data in the core. The lock is held.

        Parameters
        ----------
        plan : _core.Plan
        data : Data
        order : int64 array or None
            The rows to take, in this order; None: all, in their own order.
        minibatches : Minibatches
        rates : float64 array
            The learning rate of each update.
        layer_squares : (L,) float64 array
            The |gradient|^2 of each parametric layer is added to it in every update.
        updates_to_pause : function () -> int
            Upper bound on the number of updates before the next call of `paused`; 0: none.
        paused : function () -> bool
            Called between two updates, every 50 ms at most; True gives the pass up.

        Returns
        -------
        int or None
            The status of the core; None when the pass was given up.
        """
        updates = self.updates
        plan.begin_epoch(
            data.x,
            data.target,
            minibatches.size,
            order,
            rates,
            updates.done,
            data.weights,
            minibatches.accumulate,
            layer_squares,
        )
        self.running = plan
        try:
            status = self._run_slice(plan, minibatches, updates_to_pause())
            while status == _core.PAUSED:
                updates.done = plan.t
                if plan.step_count:
                    updates.last_loss = plan.last_loss
                if paused():
                    return None
                status = self._run_slice(plan, minibatches, plan.step_count + updates_to_pause())
        finally:
            updates.done = plan.t  # no call stands here: a signal's handler could run after it
            self.running = None
        if plan.step_count:
            updates.last_loss = plan.last_loss
        return status

    def _run_slice(self, plan: Any, minibatches: Minibatches, pause_step: int) -> int:
        """Go on with an epoch in the core for 50 ms at most, and return the status of the core.

        Where the user sets no number of threads, the tuner chooses it.
        """
        most = 1 if self.settings.n_threads else plan.threads_for(minibatches.size * minibatches.accumulate)
        if most == 1:
            status: int = plan.run(PAUSE, pause_step)
            return status
        if self._tuner.most != most:
            self._tuner = ThreadTuner(most)
        tuner, before, started = self._tuner, plan.rows_done, time.perf_counter()
        status = plan.run(min(PAUSE, tuner.seconds), pause_step, tuner.threads)
        tuner.measured(plan.rows_done - before, time.perf_counter() - started)
        return status

    # ------------------------------------------------------------------------------------------------- losses

    def evaluate(self, data: Data) -> float:
        """The loss of the core on data in prediction, without penalties."""
        assert self.loss is not None
        plan = self.plan_for(data.code, len(data.x))
        total = mass = 0.0
        at_once = self.net.rows_in_a_slice()
        for start in range(0, len(data.x), at_once):
            part = slice(start, start + at_once)
            weights = None if data.weights is None else data.weights[part]
            loss, part_mass = plan.loss(data.x[part], data.target[part], weights)
            total += loss
            mass += part_mass
        if self.loss.reduction == "sum":
            return total
        return total / mass if mass else 0.0

    def example_gradients(self, data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
        """The loss (rows,) and the gradient (rows, P) of each example, without penalties."""
        rows = len(data.x)
        losses = np.empty(rows)
        gradients = np.zeros((rows, len(self.gradient)), self.gradient.dtype)
        plan, at_once = self.plan_for(data.code, rows), self.net.rows_in_a_slice()
        for start in range(0, rows, at_once):
            part = slice(start, start + at_once)
            plan.example_gradients(data.x[part], data.target[part], losses[part], gradients[part])
        return losses, gradients

    def example_gradient_norms(self, data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
        """The loss and the norm of the gradient of each example, both (rows,), without penalties."""
        rows = len(data.x)
        losses, squares = np.empty(rows), np.empty(rows)
        plan, at_once = self.plan_for(data.code, rows), self.net.rows_in_a_slice()
        for start in range(0, rows, at_once):
            part = slice(start, start + at_once)
            plan.example_norms(data.x[part], data.target[part], losses[part], squares[part])
        return losses, np.sqrt(squares)

    # -------------------------------------------------------------------------------------------- files and copies

    def catch_up(self) -> None:
        """Count the updates of an epoch under way, for a handler that saves or copies; the epoch does not count."""
        if self.running is not None:
            self.steps = self.running.t

    def counts(self) -> Counts:
        """How far training has come."""
        return Counts(self.steps, self.epochs, self.schedule_state)

    def vectors(self) -> dict[str, NDArray[Any]]:
        """The vectors of a file besides those of the net: the state of the optimiser and the average."""
        vectors = {f"moment{i + 1}": moment for i, moment in enumerate(self.moments)}
        return vectors if self.averaged is None else vectors | {"average": self.averaged}

    def restore(self, counts: Counts, vectors: dict[str, NDArray[Any]]) -> None:
        """Take over counts, and the vectors that `vectors` names."""
        self.steps, self.epochs, self.schedule_state = counts
        for name, vector in self.vectors().items():
            vector[...] = vectors[name]


def _check_constants(optimizer: Optimizer, dtype: np.dtype[Any]) -> None:
    for field in optimizer.fields:
        arguments.representable(f"{field} of the optimizer", getattr(optimizer, field), dtype)
