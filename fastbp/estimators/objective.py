"""The objective of an estimator, in terms of fastbp's losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..losses import Loss

if TYPE_CHECKING:
    from ..training.loss_function import LossFunction


class Objective(NamedTuple):
    """A multiple of a loss of fastbp: fastbp's losses are means over rows and outputs, scikit-learn's over rows alone.

    The net is trained on the loss without the factor. The results are the same when penalties, learning rates and
    Adam's epsilon are rescaled: see `penalty`, `rate` and `epsilon`.

    Attributes
    ----------
    loss : Loss or function
    scale : float
        scikit-learn minimises scale * loss + alpha / 2 |W|^2 / rows of the minibatch.
    report : float
        loss_curve_ has report * loss + offset.
    offset : float
        The terms that the loss leaves out because they do not depend on the net.
    """

    loss: Loss | LossFunction
    scale: float = 1.0
    report: float = 1.0
    offset: float = 0.0

    def penalty(self, alpha: float, mass: float) -> float:
        """l2 of the layers; mass: the sum of the weights of the rows of a minibatch."""
        return alpha / mass / self.scale if mass > 0 else 0.0

    def rate(self, rate: float) -> float:
        """The learning rate of SGD, whose steps are proportional to the gradient."""
        return rate * self.scale

    def epsilon(self, epsilon: float) -> float:
        """The epsilon of Adam, which is added to the magnitude of the gradient."""
        return epsilon / self.scale

    def reported(self, loss: float) -> float:
        """An element of loss_curve_, from a loss with penalties."""
        return self.report * loss + self.offset
