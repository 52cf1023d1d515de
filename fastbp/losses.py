"""Losses, described by their hyperparameters. `fastbp.ops` and `fastbp.reference` compute them.

Throughout, B is the batch, O outputs and C classes.
"""

from collections.abc import Collection
from typing import Any, ClassVar, Literal, TypeGuard

from ._support.declarative import Declared, choice, described, named, number

Reduction = Literal["mean", "sum"]


class Loss(Declared):
    """Base class of the losses.

    Attributes
    ----------
    name : str
        The name of the loss, and of its function in ``ops`` and ``reference``.
    reduction : {"mean", "sum"}
    code : int
        The loss's number in the C core (enum fbp_loss) for float targets of shape (B, O).
    code_labels : int or None
        The same for integer targets of shape (B,); None if the loss takes no labels.
    mean_over : {"batch", "elements"}
        The divisor of "mean": B, or B O.
    smoothing : float
        Label smoothing; 0 for a loss without it.
    class_weights : tuple of float or None
        One weight for each class; None for a loss without them.

    Notes
    -----
    With weights s_b of the rows and losses l_b of the rows, the sum is sum_b s_b l_b. "mean" divides it by the weight
    sum: sum_b s_b, times O for a mean over elements; with class weights w and labels y, sum_b s_b w[y_b]. If the weight
    sum is 0, loss and gradient are 0.
    """

    code: int
    code_labels: ClassVar[int | None] = None
    mean_over: ClassVar[Literal["batch", "elements"]] = "elements"
    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    reduction: Reduction
    fields: ClassVar[tuple[str, ...]] = ("reduction",)

    def __init__(self, reduction: Reduction = "mean") -> None:
        self._set(reduction=choice("reduction", reduction, ("mean", "sum")))

    def parameters(self, outputs: int) -> tuple[float, ...]:
        """The parameters of the loss for a network with this number of outputs.

        Parameters
        ----------
        outputs : int

        Returns
        -------
        tuple of float
            One for each output: the weight of the positive term (binary cross-entropy with pos_weight), delta (Huber),
            or the quantile level (pinball). Empty for the other losses.

        Raises
        ------
        ValueError
            As `distinct_parameters`.
        """
        distinct = self.distinct_parameters(outputs)
        return distinct * (outputs // len(distinct)) if distinct else ()

    def distinct_parameters(self, outputs: int) -> tuple[float, ...]:
        """The numbers that `parameters` repeats for the outputs, as they were given.

        Parameters
        ----------
        outputs : int

        Returns
        -------
        tuple of float
            Output j has number j modulo their count. Empty for a loss without parameters.

        Raises
        ------
        ValueError
            If the loss does not go with this number of outputs: it was given several numbers, but not one for each (for
            pinball: the number of outputs is not a multiple of the number of levels).
        """
        return ()

    def terms(self, rows: float, outputs: int) -> float:
        """The divisor of the sum of the loss over a minibatch.

        Parameters
        ----------
        rows : float
            The number of rows, or the sum of their weights.
        outputs : int

        Returns
        -------
        float
            1 for reduction "sum"; otherwise rows, times outputs for a mean over elements.
        """
        if self.reduction == "sum":
            return 1
        return rows if self.mean_over == "batch" else rows * outputs


class SoftmaxCrossEntropy(Loss):
    """-log softmax(z)[target], for mutually exclusive classes. z are logits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over the batch, or sum.
    label_smoothing : float, default 0
        eps in [0, 1): the target becomes (1 - eps) target + eps / C.
    class_weights : sequence of float, optional
        The factor of each class's terms, at least 0.

    Attributes
    ----------
    label_smoothing : float
    class_weights : tuple of float or None

    Raises
    ------
    TypeError
        If label_smoothing or a weight is not a number, or class_weights is not a sequence.
    ValueError
        If label_smoothing is not in [0, 1), a weight is below 0 or not finite, or class_weights is empty.

    Notes
    -----
    Targets are integer class numbers (B,) in [0, C), or probabilities (B, C). With class weights w, "mean" divides by
    sum_b w[y_b] for labels y and by B for probabilities, as torch.nn.CrossEntropyLoss does. Label smoothing: Szegedy et
    al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016.
    """

    name = "softmax_cross_entropy"
    code = 1
    code_labels = 0
    mean_over = "batch"
    fields = ("reduction", "label_smoothing", "class_weights")

    label_smoothing: float

    def __init__(
        self,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        class_weights: Collection[float] | None = None,
    ) -> None:
        super().__init__(reduction)
        self._set(label_smoothing=number("label_smoothing", label_smoothing, least=0, below=1))
        if class_weights is not None:
            if not _is_sequence(class_weights):
                raise TypeError(f"class_weights must be a sequence of numbers or None, got {described(class_weights)}")
            weights = _numbers("class_weights", class_weights, "a sequence of numbers or None", least=0)
            self._set(class_weights=weights)
        else:
            self._set(class_weights=None)

    @property
    def smoothing(self) -> float:  # type: ignore[override]
        return self.label_smoothing

    def distinct_parameters(self, outputs: int) -> tuple[float, ...]:
        if self.class_weights is not None:
            _one_each("class_weights", self.class_weights, "weights", outputs)
        return ()


class BinaryCrossEntropy(Loss):
    """-p t log s(z) - (1 - t) log(1 - s(z)) for each output, with the sigmoid s. z are logits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.
    pos_weight : float or sequence of float, optional
        p, the factor of the positive term, at least 0: one for all outputs, or one for each. None: 1.

    Attributes
    ----------
    pos_weight : float, tuple of float or None

    Raises
    ------
    TypeError
        If a weight is not a number.
    ValueError
        If a weight is below 0 or not finite, or pos_weight is empty.

    Notes
    -----
    Targets t are probabilities (B, O), or (B,) if O is 1. With targets 0 and 1 for each of O independent labels this is
    the loss of multi-label classification.
    """

    name = "binary_cross_entropy"
    code = 2
    code_weighted: ClassVar[int] = 3  # the code of a loss with pos_weight
    fields = ("reduction", "pos_weight")

    pos_weight: float | tuple[float, ...] | None

    def __init__(self, reduction: Reduction = "mean", pos_weight: float | Collection[float] | None = None) -> None:
        super().__init__(reduction)
        if pos_weight is not None:
            self._set(code=self.code_weighted)
            pos_weight = _numbers("pos_weight", pos_weight, "a number, a sequence of numbers or None", least=0)
        self._set(pos_weight=pos_weight)

    def distinct_parameters(self, outputs: int) -> tuple[float, ...]:
        if self.pos_weight is None:
            return ()
        if isinstance(self.pos_weight, float):
            return (self.pos_weight,)
        return _one_each("pos_weight", self.pos_weight, "weights", outputs)


class MeanSquaredError(Loss):
    """(y - target)^2, without a factor 1/2.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O), or (B,) if O is 1.
    """

    name = "mean_squared_error"
    code = 4


class MeanAbsoluteError(Loss):
    """|y - target|.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O), or (B,) if O is 1. The gradient at y = target is 0.
    """

    name = "mean_absolute_error"
    code = 5


class Huber(Loss):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - target.

    Parameters
    ----------
    delta : float, default 1
        Greater than 0: the value of |d| where the square turns into a straight line.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Attributes
    ----------
    delta : float

    Raises
    ------
    TypeError
        If delta is not a number.
    ValueError
        If delta is not greater than 0.

    Notes
    -----
    Targets are floats (B, O), or (B,) if O is 1. Source: Huber, Robust Estimation of a Location Parameter, Annals of
    Mathematical Statistics 35 (1964).
    """

    name = "huber"
    code = 6
    fields = ("delta", "reduction")

    delta: float

    def __init__(self, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self._set(delta=number("delta", delta, above=0))

    def distinct_parameters(self, outputs: int) -> tuple[float, ...]:
        return (self.delta,)


class Poisson(Loss):
    """exp(z) - target z: the negative log-likelihood of a Poisson distribution. z is the logarithm of its rate.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O), usually counts, or (B,) if O is 1. The constant log(target!) is left out, as it is by
    default in torch.nn.PoissonNLLLoss: losses may be negative.
    """

    name = "poisson"
    code = 7


class Pinball(Loss):
    """The quantile loss u (tau - [u < 0]), u = target - y. Its expected value is least at the tau-quantile of target.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        The levels tau, strictly between 0 and 1: one for all outputs, or Q of them, of which output j has number
        j modulo Q.
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
        If a level is not strictly between 0 and 1, or quantiles is empty.

    Notes
    -----
    Targets are floats (B, O), or (B,) if O is 1. Source: Koenker and Bassett, Regression Quantiles,
    Econometrica 46 (1978).
    """

    name = "pinball"
    code = 8
    fields = ("quantiles", "reduction")

    quantiles: float | tuple[float, ...]

    def __init__(self, quantiles: float | Collection[float] = 0.5, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self._set(quantiles=_numbers("quantiles", quantiles, "a number or a sequence of numbers", above=0, below=1))

    def distinct_parameters(self, outputs: int) -> tuple[float, ...]:
        if isinstance(self.quantiles, float):
            return (self.quantiles,)
        if outputs % len(self.quantiles):
            raise ValueError(f"quantiles has {len(self.quantiles)} levels; there are {outputs} outputs")
        return self.quantiles


def _is_sequence(value: object) -> TypeGuard[Collection[Any]]:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict, set))


def _numbers(name: str, value: object, expected: str, **limits: float) -> float | tuple[float, ...]:
    """A float, or a tuple of floats if value is a sequence. limits: those of `number`."""
    if not _is_sequence(value):
        return number(name, value, **limits)
    try:
        values = list(value)
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {described(value)}") from None
    if not values:
        raise ValueError(f"{name} must be {expected}, got an empty one")
    return tuple(number(f"{name}[{i}]", each, **limits) for i, each in enumerate(values))


def _one_each(name: str, values: tuple[float, ...], what: str, outputs: int) -> tuple[float, ...]:
    if len(values) != outputs:
        raise ValueError(f"{name} has {len(values)} {what}; there are {outputs} outputs")
    return values


LOSSES: tuple[type[Loss], ...] = (
    SoftmaxCrossEntropy,
    BinaryCrossEntropy,
    MeanSquaredError,
    MeanAbsoluteError,
    Huber,
    Poisson,
    Pinball,
)


def loss(value: str | Loss) -> Loss:
    """A loss, given as its name or as an object.

    Parameters
    ----------
    value : str or Loss
        The `name` of one of the classes of this module, or an object.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError
        If value is neither a name nor a loss.
    ValueError
        If no loss has that name.
    """
    return named("loss", value, Loss, LOSSES)
