"""Epochs with a loss that is a Python function, which is called between the forward and the backward pass.

The function is called once for each minibatch, outside the core. An epoch takes longer than with a loss of the core by
these calls and the work of the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._support import arguments
from .._support.declarative import described
from ..network import Network
from .data import Data
from .engine import Engine, Minibatches, Pass
from .loss_function import call
from .run import Run
from .settings import Counts, Settings
from .way import MinibatchWay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .loss_function import LossFunction


class PythonLoss(MinibatchWay):
    """Epochs whose loss is a Python function."""

    def __init__(self, net: Network, settings: Settings, function: LossFunction, counts: Counts | None = None) -> None:
        self.engine = Engine(net, settings, None, whole=True, counts=counts)
        self.function = function

    def of(self, net: Network) -> PythonLoss:
        return PythonLoss(net, self.engine.settings, self.function)

    def require_core_loss(self, what: str) -> None:
        raise ValueError(f"{what} does not go with a loss that is a function")

    def require_checkpoints(self) -> None:
        raise TypeError("loss is a function, which a checkpoint cannot hold")

    def checked(self, x_name: str, y_name: str, x: Any, y: Any, allow_nonfinite: bool | None) -> Data:
        x = self.engine.net.checked_inputs(x_name, x, allow_nonfinite)
        y = np.asarray(y)
        if y.ndim == 0:
            raise ValueError(f"{y_name} must have at least 1 dimension, got {described(y)}")
        arguments.rows(y_name, y, len(x), x_name)
        return Data(x, y, -1, None)

    def class_weighted(self, data: Data, class_weight: Any) -> Data:
        raise ValueError("class_weight goes with class numbers as y, and with softmax_cross_entropy")

    def gradient(self, data: Data, dx: NDArray[Any] | None, training: bool) -> float:
        engine = self.engine
        plan = engine.plan_for(data.code, len(data.x), whole=True)
        if engine.some_frozen:
            engine.gradient[...] = 0
        loss = self._forward_and_backward(plan, data.x, data.target, training, dx=dx)
        penalties: float = plan.add_penalties()
        return loss + penalties

    def evaluate(self, data: Data) -> float:
        return call(self.function, self.engine.net.predict(data.x, allow_nonfinite=True), data.target)[0]

    def update(self, plan: Any, data: Data, rate: float) -> tuple[int, float]:
        engine = self.engine
        loss = self._forward_and_backward(plan, data.x, data.target)
        status, loss, _ = plan.update(loss, len(data.x), rate, engine.updates, True)
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
        engine, size = self.engine, minibatches.size
        order = np.arange(len(data.x)) if order is None else order
        rows, most = len(order), size * minibatches.accumulate
        total = squared_norm = 0.0
        for number, rate in enumerate(rates):
            chosen = order[number * most : (number + 1) * most]
            loss = 0.0
            for first_row in range(0, len(chosen), size):
                part = chosen[first_row : first_row + size]
                share = len(part) / len(chosen)
                x, target = data.x[part], data.target[part]
                loss += share * self._forward_and_backward(plan, x, target, True, first_row, share)
            status, loss, square = plan.update(loss, len(chosen), rate, engine.updates, True, layer_squares)
            if status != _core.OK:
                raise engine.divergence(status, before + number, loss, rate, run.history)
            engine.updates.last_loss = loss
            total += loss * len(chosen)
            squared_norm += square
            if number + 1 < len(rates) and run.paused():
                return None
        return Pass(total / rows, rows, squared_norm, len(rates))

    def _forward_and_backward(
        self,
        plan: Any,
        x: NDArray[Any],
        target: NDArray[Any],
        training: bool = True,
        first_row: int = 0,
        share: float = 1.0,
        dx: NDArray[Any] | None = None,
    ) -> float:
        """The loss of a minibatch that begins at row `first_row` of the rows of an update. `share` times its gradient
        becomes the gradient of the engine; where the minibatch is not the first one, it is added to that gradient."""
        net = self.engine.net
        output = np.empty((len(x), net.outputs), net.dtype)
        plan.forward_kept(x, output, training, self.engine.steps, first_row)
        loss, doutput = call(self.function, output, target)
        plan.backward(doutput if share == 1 else doutput * np.asarray(share, doutput.dtype), first_row > 0, dx)
        return loss
