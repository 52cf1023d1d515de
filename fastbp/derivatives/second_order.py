"""Second derivatives of a training loss, by forward mode over the twin's backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import reference
from .._support.declarative import described, flag
from ..reference.network import Training, real_array, refuse_nonfinite, views
from ..reference.objective import Objective
from ..trainer import Trainer
from .forward_mode import Dual

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..network import Network


def hessian_vector_product(
    trainer: Trainer | reference.Trainer,
    x: ArrayLike,
    y: ArrayLike,
    v: ArrayLike,
    training: bool = True,
    sample_weight: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """The product H v of the Hessian of the loss of a minibatch, penalties included, and a vector.

    Parameters
    ----------
    trainer : Trainer
        Of ``fastbp`` or ``fastbp.reference``. It is not changed.
    x : ndarray (rows, inputs)
    y : ndarray
        Targets: see `Trainer`.
    v : ndarray of float32 or float64 (P,)
        In the layout of ``net.parameters``. Elements for frozen layers count as 0.
    training : bool, default True
        Whether to compute the loss as the next update would: dropout is active, and batch norms take the statistics of
        x. Otherwise as in prediction.
    sample_weight : ndarray of float32 or float64 (rows,), optional
        As for `Trainer.fit`.

    Returns
    -------
    ndarray of float64 (P,)
        sum_j H_ij v_j, with H_ij the second derivatives of the loss of ``trainer.value_and_grad`` with respect to the
        parameters that learn; 0 for frozen layers.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or the loss is a function with an operation that
        `fastbp.derivatives.forward_mode` does not have.
    ValueError
        If an argument is of the wrong shape or value.

    Notes
    -----
    Computed in float64 for every dtype of the network, and exact up to rounding: no differences are taken. The twin's
    backward pass runs once, with parameters whose tangent is v; the tangent of its gradient is H v. The cost is that of
    three such passes, in NumPy. Source: Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 6,
    1994.

    At a kink of an activation, its second derivative is taken from one side. A loss that is a function must compute its
    gradient by NumPy from the output that it is called with; a number obtained from it by float() is a constant here.
    """
    if not isinstance(trainer, (Trainer, reference.Trainer)):
        raise TypeError(f"trainer must be a Trainer, got {described(trainer)}")
    training = flag("training", training)
    parameters = trainer.net.parameters.astype(np.float64)
    v = real_array("v", v, np.dtype(np.float64))
    if v.shape != parameters.shape:
        raise ValueError(f"v has shape {v.shape}; the network's parameters have {parameters.shape}")
    refuse_nonfinite("v", v)
    net = _DualNetwork(trainer.net)
    objective = _DualObjective(net, trainer.loss)
    data = objective.checked("x", x, "y", y, "sample_weight", sample_weight)
    if training:
        objective.refuse_single_rows("x", len(data.x), len(data.x))
    net.put(Dual(parameters, np.where(objective.learns(), v, 0)))
    with np.errstate(all="ignore"):
        _, gradient, _, _ = objective.gradient(data, Training(trainer.seed, trainer.steps, 0) if training else None)
        objective.add_penalties(gradient)
    product: NDArray[np.float64] = gradient.tangent
    return product


class _DualNetwork(reference.Network):
    """The twin of a network, in float64, whose parameters may be a `Dual`."""

    def __init__(self, net: Network | reference.Network) -> None:
        super().__init__(net.inputs, net.layers, "float64", net.seed)
        self.statistics[...] = net.statistics

    def put(self, parameters: Any) -> None:
        """Take these parameters, without a copy."""
        self._parameters = parameters
        self.weights = views(parameters, self.steps)


class _DualObjective(Objective):
    """The loss of such a network."""

    def loss_at(self, z: Any, data: Any, weight: float) -> tuple[float, Any]:
        if not self.custom or not isinstance(z, Dual):
            return super().loss_at(z, data, weight)
        result = self.loss(z.copy(), data.y)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
        dz = result[1] if isinstance(result[1], Dual) else np.asarray(result[1], np.float64)
        if dz.shape != z.shape:
            raise ValueError(f"loss must return a gradient of shape {z.shape}, got {dz.shape}")
        return float(result[0]), dz
