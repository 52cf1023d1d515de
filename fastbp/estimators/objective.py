"""What an estimator minimises, in terms of fastbp's losses."""

from collections import namedtuple


class Objective(namedtuple("Objective", ("loss", "scale", "report", "offset"))):
    """scale times a loss of fastbp's, which is a mean over rows and outputs where scikit-learn's is one over rows.

    The net is trained on the loss itself. That comes to the same when penalties, learning rates and Adam's epsilon are
    rescaled: see `penalty`, `rate` and `epsilon`.

    Attributes
    ----------
    loss : Loss or function
    scale : float
        What is minimised is scale * loss + alpha / 2 |W|^2 / rows of the minibatch.
    report : float
        loss_curve_ has report * loss + offset.
    offset : float
        What the loss leaves out because it does not depend on the net.
    """

    __slots__ = ()

    def __new__(cls, loss, scale=1.0, report=1.0, offset=0.0):
        return super().__new__(cls, loss, scale, report, offset)

    def penalty(self, alpha, mass):
        """l2 of the layers, for minibatches whose rows weigh so much."""
        return alpha / mass / self.scale if mass > 0 else 0.0

    def rate(self, rate):
        """SGD's learning rate, to which the size of the gradient matters."""
        return rate * self.scale

    def epsilon(self, epsilon):
        """Adam's epsilon, which stands beside the size of the gradient."""
        return epsilon / self.scale

    def reported(self, loss):
        """An element of loss_curve_, from a loss with penalties."""
        return self.report * loss + self.offset
