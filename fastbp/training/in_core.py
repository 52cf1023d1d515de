"""Epochs with a loss of the core: one call of C for many minibatches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._support import arguments
from ..losses import Loss
from ..network import Network
from .data import Data, by_class
from .engine import Engine, Minibatches, Pass
from .run import Run
from .settings import Counts, Settings
from .way import MinibatchWay

if TYPE_CHECKING:
    from numpy.typing import NDArray


class InCore(MinibatchWay):
    """Epochs whose loss the core computes."""

    def __init__(self, net: Network, settings: Settings, loss: Loss, counts: Counts | None = None) -> None:
        self.engine = Engine(net, settings, loss, whole=False, counts=counts)
        self.loss = loss
        self._of_probabilities = _core.loss_traits()[loss.code]["probabilities"]  # float targets are in [0, 1]
        self._sizes = (net.dtype.itemsize, net.inputs, net.outputs)

    def of(self, net: Network) -> InCore:
        return InCore(net, self.engine.settings, self.loss)

    def checked(self, x_name: str, y_name: str, x: Any, y: Any, allow_nonfinite: bool | None) -> Data:
        loss = self.loss
        y = arguments.arrayed(y_name, y)
        labels = loss.code_labels
        code = loss.code if labels is None or getattr(y, "ndim", None) == 2 else labels
        if not allow_nonfinite and _core.ready(x, y, *self._sizes, code):
            return Data(x, y, code, None)
        net = self.engine.net
        x = net.checked_inputs(x_name, x, allow_nonfinite)
        rows = len(x)
        if labels is not None and not (isinstance(y, np.ndarray) and y.ndim == 2 and y.dtype.kind == "f"):
            return Data(x, arguments.labels(y_name, y, rows, net.outputs, x_name), labels, None)
        target = arguments.targets(y_name, self._for_levels(y), rows, net.outputs, net.dtype, x_name)
        arguments.finite(y_name, target, "targets must be finite")
        if self._of_probabilities and not (target.min() >= 0 and target.max() <= 1):
            where = np.unravel_index(np.argmax((target < 0) | (target > 1)), target.shape)
            raise ValueError(
                f"{y_name} must hold probabilities in [0, 1], got {target[where]} in row {where[0]}, column {where[1]}"
            )
        return Data(x, target, loss.code, None)

    def _for_levels(self, y: Any) -> Any:
        """Targets of which each stands once for all quantile levels of the loss, repeated for each level."""
        levels = getattr(self.loss, "quantiles", None)
        if not isinstance(levels, tuple) or not isinstance(y, np.ndarray) or y.ndim not in (1, 2):
            return y
        columns = 1 if y.ndim == 1 else y.shape[1]
        if columns * len(levels) != self.engine.net.outputs:
            return y
        return np.repeat(y.reshape(len(y), columns), len(levels), axis=1)

    def class_weighted(self, data: Data, class_weight: Any) -> Data:
        if data.code != self.loss.code_labels:
            raise ValueError("class_weight goes with class numbers as y, and with softmax_cross_entropy")
        return data.weighted(by_class("class_weight", class_weight, data.target, self.engine.net.outputs))

    def gradient(self, data: Data, dx: NDArray[Any] | None, training: bool) -> float:
        engine = self.engine
        plan = engine.plan_for(data.code, len(data.x), whole=training)
        if engine.some_frozen:
            engine.gradient[...] = 0
        loss: float = plan.gradient(data.x, data.target, dx, data.weights, training, engine.updates.done)
        return loss

    def evaluate(self, data: Data) -> float:
        return self.engine.evaluate(data)

    def update(self, plan: Any, data: Data, rate: float) -> tuple[int, float]:
        engine = self.engine
        if not engine.batch_norms:  # with batch norms the plan may have to grow with the minibatch
            engine.fast = plan
        status, loss = plan.step(data.x, data.target, rate, engine.updates, data.weights)
        return status, loss

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
        engine = self.engine
        status = engine.run_epoch(
            plan, data, order, minibatches, rates, layer_squares, run.updates_to_pause, run.paused
        )
        if status is None:
            return None
        count = plan.step_count
        if status != _core.OK:
            raise engine.divergence(status, before + count, plan.failed_loss, float(rates[count]), run.history)
        return Pass(plan.mean_loss, plan.mass_sum, plan.squared_norm_sum, count)
