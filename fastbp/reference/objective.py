"""The objective of training: the loss of a network on minibatches, its penalties, and their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._support.declarative import described
from .._support.network_steps import parameter_slices, parametric_steps
from ..training.data import by_class
from ..training.loss_function import is_function
from . import loss as losses
from . import optimizer as optimizers
from .network import Network, Training, arrayed, real_array, refuse_nonfinite, rows_of_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..losses import Loss
    from ..training.loss_function import LossFunction


class Data(NamedTuple):
    """A minibatch, or all data: rows, their targets, and their weights or None."""

    x: NDArray[Any]
    y: NDArray[Any]
    weights: NDArray[Any] | None

    def of_rows(self, rows: NDArray[Any] | slice) -> Data:
        """Some of the rows."""
        return Data(self.x[rows], self.y[rows], None if self.weights is None else self.weights[rows])


class Objective:
    """The loss of a network on data.

    Parameters
    ----------
    net : Network
    loss : Loss or function
        A function (output, target) -> (loss, doutput) returns the loss and its gradient (B, outputs).

    Raises
    ------
    ValueError
        If the loss does not go with the number of outputs.
    """

    def __init__(self, net: Network, loss: Loss | LossFunction) -> None:
        self.net = net
        self.loss: Any = loss
        self.custom = is_function(loss)
        if not is_function(loss):
            loss.parameters(net.outputs)  # raises where there is another number of outputs

    # ------------------------------------------------------------------------------------------------ loss and gradient

    def weight(self, data: Data) -> float:
        """The sum of the weights of the rows, each times that of its class where y holds class numbers."""
        weights = np.ones(len(data.x)) if data.weights is None else data.weights
        if not self.custom and self.loss.class_weights is not None and data.y.ndim == 1:
            weights = weights * np.array(self.loss.class_weights)[data.y]
        return float(weights.sum())

    def loss_at(self, z: Any, data: Data, weight: float) -> tuple[float, Any]:
        """Loss and gradient at z (B, outputs): the share of these rows in an update whose rows weigh `weight`."""
        if not self.custom:
            loss, dz = losses.of(self.loss, z, data.y, data.weights, divisor=self.loss.terms(weight, self.net.outputs))
            return loss, dz
        loss, dz = called(self.loss, z.copy(), data.y)
        share = len(data.x) / weight
        return share * loss, dz if share == 1 else dz * dz.dtype.type(share)

    def value(self, data: Data) -> float:
        """The loss in prediction, without penalties."""
        with np.errstate(all="ignore"):
            z, _ = self.net.forward(data.x)
            return self.loss_at(z, data, self.weight(data))[0]

    def gradient(
        self, data: Data, training: Training | None, weight: float | None = None
    ) -> tuple[float, Any, Any, Any]:
        """The loss of a minibatch, its gradient (P,), dx (B, inputs), and the values that the forward pass kept."""
        z, kept = self.net.forward(data.x, training)
        loss, dz = self.loss_at(z, data, self.weight(data) if weight is None else weight)
        dx, gradient = self.net.backward(dz, kept)
        return loss, gradient, dx, kept

    def add_penalties(self, gradient: Any) -> float:
        """Add the gradients of the penalties of the layers that learn; returns the sum of the penalties."""
        total = 0.0
        for step, (W, _, b) in zip(parametric_steps(self.net.steps), parameter_slices(self.net.steps)):
            if step.kind == "dense" and not step.frozen:
                for part in (W, b) if step.layer.penalize_bias and b is not None else (W,):
                    w, g = self.net.parameters[part], gradient[part]
                    total += optimizers.penalty(w, g, step.layer.l1, step.layer.l2)
        return total

    def learns(self) -> NDArray[Any]:
        """Which parameters are not frozen: bools (P,)."""
        learns = np.ones(len(self.net.parameters), bool)
        for step, (W, _, b) in zip(parametric_steps(self.net.steps), parameter_slices(self.net.steps)):
            learns[W.start : (b or W).stop] = not step.frozen
        return learns

    # ----------------------------------------------------------------------------------------------------------- checks

    def checked(
        self,
        x_name: str,
        x: Any,
        y_name: str,
        y: Any,
        weights_name: str = "",
        weights: Any = None,
        allow_nonfinite: bool = False,
    ) -> Data:
        """Data after all checks: x (B, inputs); targets, int64 (B,) or the network's dtype (B, outputs); float64
        weights (B,) or None.

        Raises
        ------
        TypeError, ValueError
        """
        x = rows_of_inputs(x_name, x, self.net, allow_nonfinite)
        if len(x) == 0:
            raise ValueError(f"{x_name} must have at least 1 row, got shape {x.shape}")
        y = self._checked_targets(y_name, arrayed(y_name, y), x_name, len(x))
        if weights is not None:
            self.require_core_loss(weights_name)
            weights = real_array(weights_name, arrayed(weights_name, weights), np.dtype(np.float64))
            if weights.shape != (len(x),):
                raise ValueError(f"{weights_name} has shape {weights.shape}; expected ({len(x)},)")
            refuse_nonfinite(weights_name, weights)
            if weights.min() < 0:
                where = int(weights.argmin())
                raise ValueError(f"{weights_name}[{where}] is {weights[where]}; weights must be at least 0")
        return Data(x, y, weights)

    def _checked_targets(self, y_name: str, y: Any, x_name: str, rows: int) -> Any:
        if self.custom:
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

    def class_weighted(self, data: Data, class_weight: Any) -> Data:
        """The data with the weight of each row multiplied by that of its class; None: as they are.

        Raises
        ------
        TypeError, ValueError
        """
        if class_weight is None:
            return data
        if self.custom or self.loss.name != "softmax_cross_entropy" or data.y.ndim != 1:
            raise ValueError("class_weight goes with class numbers as y, and with softmax_cross_entropy")
        weights = by_class("class_weight", class_weight, data.y, self.net.outputs)
        return Data(data.x, data.y, weights if data.weights is None else weights * data.weights)

    def refuse_single_rows(self, name: str, rows: int, batch_size: int) -> None:
        """Raise ValueError where a batch norm would have to compute the variance of a single row."""
        batch_norms = any(step.kind == "batch_norm" and not step.frozen for step in self.net.steps)
        if batch_norms and (batch_size == 1 or rows % batch_size == 1):
            raise ValueError(
                f"{name} gives a minibatch of a single row, whose variance a BatchNorm cannot tell: "
                "it needs two at least"
            )

    def require_core_loss(self, what: str) -> None:
        """Raise ValueError where the loss is a function."""
        if self.custom:
            raise ValueError(f"{what} does not go with a loss that is a function")


def called(function: Callable[..., Any], z: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """Call a loss function, and check its results: a float, and an array of the shape of z.

    Raises
    ------
    TypeError, ValueError
    """
    result = function(z, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
    value, dz = float(result[0]), np.asarray(result[1])
    if dz.dtype.kind not in "fiu":
        raise TypeError(f"loss must return an array of reals second, got {dz.dtype}")
    if dz.shape != z.shape:
        raise ValueError(f"loss must return a gradient of shape {z.shape}, got {dz.shape}")
    return value, dz.astype(z.dtype)
