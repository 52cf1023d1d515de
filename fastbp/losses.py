"""Losses: what is minimised, and how a minibatch's terms become one number. The formulas are in ops and reference."""

from .declarative import Declared, choice, described, named, number


class Loss(Declared):
    """Base class of the losses.

    Attributes
    ----------
    name : str
        The loss's name, which is that of its function in ``ops`` and ``reference``.
    reduction : {"mean", "sum"}
    code : int
        The loss's number in the C core (enum fbp_loss), for float targets of shape (B, O).
    code_labels : int or None
        The same for integer targets of shape (B,): None where the loss takes no labels.
    mean_over : {"batch", "elements"}
        What "mean" divides by: B, or B O.
    """

    code = None
    code_labels = None
    mean_over = "elements"
    fields = ("reduction",)

    def __init__(self, reduction="mean"):
        self._set(reduction=choice("reduction", reduction, ("mean", "sum")))

    def parameters(self, outputs):
        """The loss's own numbers for a network of so many outputs.

        Returns
        -------
        tuple of float
            Pinball: one quantile level for each output. The other losses: empty.
        """
        return ()

    def terms(self, rows, outputs):
        """What the sum of the loss over a minibatch is divided by: 1 for reduction "sum"."""
        if self.reduction == "sum":
            return 1
        return rows if self.mean_over == "batch" else rows * outputs


class SoftmaxCrossEntropy(Loss):
    """-log softmax(z)[target], for classes that exclude each other. z are logits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over the batch, or sum.

    Notes
    -----
    Targets are integer class numbers (B,) in [0, C), or probabilities (B, C).
    """

    name = "softmax_cross_entropy"
    code = 1
    code_labels = 0
    mean_over = "batch"


class BinaryCrossEntropy(Loss):
    """-t log s(z) - (1 - t) log(1 - s(z)) with the sigmoid s, one for each output. z are logits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are probabilities (B, O); or (B,) where O is 1.
    """

    name = "binary_cross_entropy"
    code = 2


class MeanSquaredError(Loss):
    """(y - target)^2, without a factor 1/2.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O); or (B,) where O is 1.
    """

    name = "mean_squared_error"
    code = 4


class Pinball(Loss):
    """The quantile loss u (tau - [u < 0]), u = target - y: least, in the mean, where y is the tau-quantile.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        The levels tau, strictly between 0 and 1: one for all outputs, or one for each.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Attributes
    ----------
    quantiles : float or tuple of float

    Raises
    ------
    TypeError
        If a level is not a number.
    ValueError
        If a level is not between 0 and 1, or there is none.

    Notes
    -----
    Targets are floats (B, O); or (B,) where O is 1. Source: Koenker and Bassett, Regression Quantiles,
    Econometrica 46 (1978).
    """

    name = "pinball"
    code = 8
    fields = ("quantiles", "reduction")

    def __init__(self, quantiles=0.5, reduction="mean"):
        super().__init__(reduction)
        self._set(quantiles=_levels(quantiles))

    def parameters(self, outputs):
        """The level of each output.

        Raises
        ------
        ValueError
            If there are several levels, and not one for each output.
        """
        if isinstance(self.quantiles, float):
            return (self.quantiles,) * outputs
        if len(self.quantiles) != outputs:
            raise ValueError(f"quantiles has {len(self.quantiles)} levels; there are {outputs} outputs")
        return self.quantiles


def _levels(quantiles):
    if isinstance(quantiles, (str, bytes, dict, set)) or not hasattr(quantiles, "__len__"):
        return number("quantiles", quantiles, above=0, below=1)
    try:
        levels = list(quantiles)
    except TypeError:
        raise TypeError(f"quantiles must be a number or a sequence of numbers, got {described(quantiles)}") from None
    if not levels:
        raise ValueError("quantiles must be a number or a sequence of numbers, got an empty one")
    return tuple(number(f"quantiles[{i}]", level, above=0, below=1) for i, level in enumerate(levels))


def loss(value):
    """A loss from its name or from the object itself.

    Parameters
    ----------
    value : str or Loss
        "softmax_cross_entropy", "binary_cross_entropy", "mean_squared_error", "pinball", or an object.

    Raises
    ------
    TypeError
        If it is neither a name nor a loss.
    ValueError
        If there is no loss of that name.
    """
    return named("loss", value, Loss, (SoftmaxCrossEntropy, BinaryCrossEntropy, MeanSquaredError, Pinball))
