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
        The state of the optimiser. Who changes it calls ``updates.moments_have_changed()``.
    averaged : (P,) array or None
        The moving average of the parameters.
    schedule_state : dict
    steps, epochs : int
        Updates and epochs done.
    updates : _core.Updates
        The counter of the updates, the last finite loss, and the lock: ``with engine.updates: ...``. Who reads vectors
        or counts needs `Network.lock` only.
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
        self.updates.moments_have_changed()
        self.averaged = None
        if settings.average is not None:
            self.averaged = aligned_vector(size, net.dtype)
            self.averaged[...] = net.parameters
        self._loss_plans: dict[int, tuple[Any, int]] = {}
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

    def count_epoch(self, watched: float) -> int:
        """Count an epoch, show its loss to the schedule, and return the number of epochs done."""
        state = self.settings.schedule.advance(self.schedule_state, watched)
        with self.net.lock:
            self.schedule_state = state
            self.epochs += 1
        return self.epochs

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

    def _loss_spec(self, code: int, rows: int) -> PlanSpec:
        """The description of a plan that computes losses."""
        net, settings, loss = self.net, self.settings, self.loss
        return PlanSpec(
            dtype=net.dtype.name,
            layers=net.records,
            rows=rows,
            threads=settings.n_threads or 0,
            loss=code,
            loss_parameters=() if loss is None else loss.parameters(net.outputs),
            reduction_sum=loss is not None and loss.reduction == "sum",
            smoothing=0.0 if loss is None else loss.smoothing,
            class_weights=None if loss is None else loss.class_weights,
        )

    def _loss_plan(self, code: int, rows: int, vectors: PlanVectors | None) -> Any:
        """A plan that computes losses, over the vectors; None: those of the net, whose lock is held."""
        rows, net = plan_rows(rows), self.net
        if vectors is not None:
            return _core.Plan(self._loss_spec(code, rows), vectors)
        plan, most = self._loss_plans.get(code, (None, 0))
        if rows > most or plan.outdated:
            plan = _core.Plan(self._loss_spec(code, rows), net.own_vectors())
            self._loss_plans[code] = plan, rows
        return plan

    def _new_plan(self, code: int, rows: int) -> Any:
        net, settings = self.net, self.settings
        optimizer = settings.optimizer
        spec = self._loss_spec(code, rows)._replace(
            whole=self._whole,
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
        moments = slots[0], slots[1], slots[2]
        vectors = net.own_vectors()._replace(gradient=self.gradient, moments=moments, average=self.averaged)
        return _core.Plan(spec, vectors)

    # ------------------------------------------------------------------------------------------------------ refusals

    def refuse_in_epoch(self) -> None:
        """Raise RuntimeError while an epoch, or another call of the core, is under way.

        The lock lets its own thread in again: a signal's handler, for one, that runs between two slices of an epoch.
        """
        refused = self.updates.running is not None
        for plan, _ in self.plans.values():
            refused = refused or plan.in_call
        if refused:
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
        # The core itself raises for lack of memory.
        what = {_core.LOSS_NOT_FINITE: "loss", _core.GRADIENT_NOT_FINITE: "gradient"}.get(status, "update")
        epoch = None if history is None else self.epochs
        return DivergenceError(what, epoch, step, loss, self.updates.last_loss, float(rate), history or {})

    # ------------------------------------------------------------------------------------------------------- updates

    def apply(self, gradient: NDArray[Any]) -> None:
        """Make one update with a gradient that is given. The lock is held.

        Raises
        ------
        DivergenceError
        """
        code = -1 if self.loss is None else self.loss.code
        plan, rate = self.plan_for(code, 1), self.rate(self.steps)
        self.gradient[...] = gradient
        status, _, _ = plan.update(0.0, 0.0, rate, self.updates, False)
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
            updates,
            data.weights,
            minibatches.accumulate,
            layer_squares,
        )
        updates.running = plan
        try:
            status = self._run_slice(plan, minibatches, updates_to_pause())
            while status == _core.PAUSED:
                if paused():
                    return None
                status = self._run_slice(plan, minibatches, plan.step_count + updates_to_pause())
        finally:
            updates.running = None
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
        """The loss of the core on data in prediction, without penalties. `updates` need not be held."""
        assert self.loss is not None
        net, rows = self.net, len(data.x)
        at_once = net.rows_in_a_slice()
        if rows <= at_once:
            with net.lock:
                total, mass = self._loss_plan(data.code, rows, None).loss(data.x, data.target, data.weights)
        else:
            total, mass = self._loss_in_slices(data, at_once)
        if self.loss.reduction == "sum":
            return total
        return total / mass if mass else 0.0

    def _loss_in_slices(self, data: Data, at_once: int) -> tuple[float, float]:
        rows = len(data.x)
        parts: dict[int, tuple[float, float]] = {}  # loss and mass of each slice

        def measure(plan: Any, part: slice) -> None:
            weights = None if data.weights is None else data.weights[part]
            parts[part.start] = plan.loss(data.x[part], data.target[part], weights)

        self.net.in_slices(rows, at_once, lambda vectors: self._loss_plan(data.code, rows, vectors), measure)
        total = mass = 0.0
        for part_loss, part_mass in parts.values():
            total += part_loss
            mass += part_mass
        return total, mass

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

    def counts(self) -> Counts:
        """How far training has come."""
        return Counts(self.steps, self.epochs, self.schedule_state)

    def snapshot(self) -> tuple[Counts, dict[str, NDArray[Any]]]:
        """How far training has come, and copies of all vectors, of the net as well: the state after a whole update.

        `updates` need not be held.
        """
        own, lock = self.vectors(), self.net.lock
        with lock:
            counts = self.counts()
            copies = lock.copies(*own.values())
        return counts, dict(zip(own, copies, strict=True))

    def restore(self, counts: Counts, vectors: dict[str, NDArray[Any]]) -> None:
        """Take over a `snapshot`."""
        own, lock = self.vectors(), self.net.lock
        with lock:
            self.steps, self.epochs, self.schedule_state = counts
            lock.assign(*((vector, vectors[name]) for name, vector in own.items() if name in vectors))
            self.updates.moments_have_changed()

    def vectors(self) -> dict[str, NDArray[Any]]:
        """The vectors of a file: those of the net, the state of the optimiser and the average."""
        vectors = self.net.vectors() | {f"moment{i + 1}": moment for i, moment in enumerate(self.moments)}
        return vectors if self.averaged is None else vectors | {"average": self.averaged}


def _check_constants(optimizer: Optimizer, dtype: np.dtype[Any]) -> None:
    for field in optimizer.fields:
        arguments.representable(f"{field} of the optimizer", getattr(optimizer, field), dtype)
