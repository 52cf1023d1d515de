"""Losses: what is minimised, and how a minibatch's terms become one number. The formulas are in ops and reference."""

from ._support.declarative import Declared, choice, described, named, number


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
    smoothing : float
        Label smoothing; 0 where the loss has none.
    class_weights : tuple of float or None
        One weight for each class; None where the loss has none.

    Notes
    -----
    With weights of the rows s_b, the rows' losses l_b add up to sum_b s_b l_b, and "mean" divides that by the mass:
    sum_b s_b, times O for a mean over elements. With class weights w and labels y the mass is sum_b s_b w[y_b]. Where
    the mass is 0, so are loss and gradient.
    """

    code = None
    code_labels = None
    mean_over = "elements"
    smoothing = 0.0
    class_weights = None
    fields = ("reduction",)

    def __init__(self, reduction="mean"):
        self._set(reduction=choice("reduction", reduction, ("mean", "sum")))

    def parameters(self, outputs):
        """The loss's own numbers for a network of so many outputs.

        Returns
        -------
        tuple of float
            One for each output: the weight of the positive term (binary cross-entropy with pos_weight), delta (Huber),
            or the quantile level (pinball). The other losses: empty.

        Raises
        ------
        ValueError
            If the loss was given several numbers, and not one for each output.
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
    label_smoothing : float, default 0
        eps in [0, 1): the target becomes (1 - eps) target + eps / C.
    class_weights : sequence of float, optional
        One for each class, at least 0: a term counts so many times.

    Attributes
    ----------
    label_smoothing : float
    class_weights : tuple of float or None

    Raises
    ------
    TypeError
        If label_smoothing or a weight is not a number, or class_weights is not a sequence.
    ValueError
        If label_smoothing is not in [0, 1), a weight is below 0 or not finite, or there is none.

    Notes
    -----
    Targets are integer class numbers (B,) in [0, C), or probabilities (B, C). With class weights w the mean over labels
    y divides by sum_b w[y_b], that over probabilities by B, as torch.nn.CrossEntropyLoss does. Label smoothing: Szegedy
    et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016.
    """

    name = "softmax_cross_entropy"
    code = 1
    code_labels = 0
    mean_over = "batch"
    fields = ("reduction", "label_smoothing", "class_weights")

    def __init__(self, reduction="mean", label_smoothing=0.0, class_weights=None):
        super().__init__(reduction)
        self._set(label_smoothing=number("label_smoothing", label_smoothing, least=0, below=1))
        if class_weights is not None:
            if not _is_sequence(class_weights):
                raise TypeError(f"class_weights must be a sequence of numbers or None, got {described(class_weights)}")
            class_weights = _numbers("class_weights", class_weights, "a sequence of numbers or None", least=0)
        self._set(class_weights=class_weights)

    @property
    def smoothing(self):
        return self.label_smoothing

    def parameters(self, outputs):
        """Empty: this loss has none.

        Raises
        ------
        ValueError
            If there are class weights, and not one for each output.
        """
        if self.class_weights is not None:
            _one_each("class_weights", self.class_weights, "weights", outputs)
        return ()


class BinaryCrossEntropy(Loss):
    """-p t log s(z) - (1 - t) log(1 - s(z)) with the sigmoid s, one for each output. z are logits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.
    pos_weight : float or sequence of float, optional
        p, the weight of the positive term, at least 0: one for all outputs, or one for each. None: 1.

    Attributes
    ----------
    pos_weight : float, tuple of float or None

    Raises
    ------
    TypeError
        If a weight is not a number.
    ValueError
        If a weight is below 0 or not finite, or there is none.

    Notes
    -----
    Targets t are probabilities (B, O); or (B,) where O is 1. With 0 and 1 for each of O labels that do not exclude each
    other this is the loss of multi-label classification.
    """

    name = "binary_cross_entropy"
    code = 2
    code_weighted = 3  # the code of a loss with pos_weight
    fields = ("reduction", "pos_weight")

    def __init__(self, reduction="mean", pos_weight=None):
        super().__init__(reduction)
        if pos_weight is not None:
            self._set(code=self.code_weighted)
            pos_weight = _numbers("pos_weight", pos_weight, "a number, a sequence of numbers or None", least=0)
        self._set(pos_weight=pos_weight)

    def parameters(self, outputs):
        """The weight of each output's positive term; empty without pos_weight.

        Raises
        ------
        ValueError
            If there are several weights, and not one for each output.
        """
        if self.pos_weight is None:
            return ()
        if isinstance(self.pos_weight, float):
            return (self.pos_weight,) * outputs
        return _one_each("pos_weight", self.pos_weight, "weights", outputs)


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


class MeanAbsoluteError(Loss):
    """|y - target|.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O); or (B,) where O is 1. The gradient at y = target is 0.
    """

    name = "mean_absolute_error"
    code = 5


class Huber(Loss):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - target.

    Parameters
    ----------
    delta : float, default 1
        Above 0: where the square becomes a straight line.
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
        If delta is not above 0.

    Notes
    -----
    Targets are floats (B, O); or (B,) where O is 1. Source: Huber, Robust Estimation of a Location Parameter, Annals of
    Mathematical Statistics 35 (1964).
    """

    name = "huber"
    code = 6
    fields = ("delta", "reduction")

    def __init__(self, delta=1.0, reduction="mean"):
        super().__init__(reduction)
        self._set(delta=number("delta", delta, above=0))

    def parameters(self, outputs):
        """delta for each output."""
        return (self.delta,) * outputs


class Poisson(Loss):
    """exp(z) - target z: the negative log-likelihood of a Poisson distribution. z is the logarithm of its rate.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all elements, or sum.

    Notes
    -----
    Targets are floats (B, O), counts as a rule; or (B,) where O is 1. The constant log(target!) is dropped, as
    torch.nn.PoissonNLLLoss drops it by default: losses may be negative.
    """

    name = "poisson"
    code = 7


class Pinball(Loss):
    """The quantile loss u (tau - [u < 0]), u = target - y: least, in the mean, where y is the tau-quantile.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        The levels tau, strictly between 0 and 1: one for all outputs, or several that the outputs take in turn.
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
        self._set(quantiles=_numbers("quantiles", quantiles, "a number or a sequence of numbers", above=0, below=1))

    def parameters(self, outputs):
        """The level of each output; of Q levels, output j has number j modulo Q.

        Raises
        ------
        ValueError
            If the number of outputs is not a multiple of that of the levels.
        """
        if isinstance(self.quantiles, float):
            return (self.quantiles,) * outputs
        if outputs % len(self.quantiles):
            raise ValueError(f"quantiles has {len(self.quantiles)} levels; there are {outputs} outputs")
        return self.quantiles * (outputs // len(self.quantiles))


def _is_sequence(value):
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict, set))


def _numbers(name, value, expected, **limits):
    """A float, or a tuple of them where the value is a sequence. limits: those of `number`."""
    if not _is_sequence(value):
        return number(name, value, **limits)
    try:
        values = list(value)
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {described(value)}") from None
    if not values:
        raise ValueError(f"{name} must be {expected}, got an empty one")
    return tuple(number(f"{name}[{i}]", each, **limits) for i, each in enumerate(values))


def _one_each(name, values, what, outputs):
    if len(values) != outputs:
        raise ValueError(f"{name} has {len(values)} {what}; there are {outputs} outputs")
    return values


LOSSES = (
    SoftmaxCrossEntropy,
    BinaryCrossEntropy,
    MeanSquaredError,
    MeanAbsoluteError,
    Huber,
    Poisson,
    Pinball,
)


def loss(value):
    """A loss from its name or from the object itself.

    Parameters
    ----------
    value : str or Loss
        The `name` of one of the classes above, or an object.

    Raises
    ------
    TypeError
        If it is neither a name nor a loss.
    ValueError
        If there is no loss of that name.
    """
    return named("loss", value, Loss, LOSSES)
