"""Layers and activations: the elements of a network.

Each is described by its hyperparameters and computes nothing. Throughout, B is the batch.
"""

from collections.abc import Sequence
from typing import ClassVar

from . import initializers
from ._support.declarative import Declared, described, flag, integer, named, number
from .initializers import Initializer

WIDEST = 2**31 - 1  # upper bound on the number of outputs of a layer


class Layer(Declared):
    """Base class of the layers.

    Attributes
    ----------
    frozen : bool
        Whether training leaves the layer's parameters as they are.
    """

    frozen: bool = False


class Activation(Layer):
    """Base class of the activations y = f(z), applied to each element. An activation is also a layer of its own.

    Attributes
    ----------
    name : str
        The name that `Dense` accepts: "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu",
        "gelu", "gelu_tanh", "silu".
    code : int
        The activation's number in the C core (enum fbp_activation).
    alpha : float
        The only parameter (negative_slope, beta or alpha); 0.0 for an activation without one.
    from_z : bool
        Whether the derivative is computed from z, because it is not a function of y.
    """

    code: ClassVar[int]
    alpha: float = 0.0
    from_z: ClassVar[bool] = False


class Identity(Activation):
    """f(z) = z."""

    name = "identity"
    code = 0


class ReLU(Activation):
    """f(z) = max(z, 0)."""

    name = "relu"
    code = 1


class LeakyReLU(Activation):
    """f(z) = z for z > 0, else negative_slope z.

    Parameters
    ----------
    negative_slope : float, default 0.01
        Finite, at least 0.
    """

    name = "leaky_relu"
    code = 2
    fields = ("negative_slope",)

    negative_slope: float

    def __init__(self, negative_slope: float = 0.01) -> None:
        self._set(negative_slope=number("negative_slope", negative_slope, least=0))

    @property
    def alpha(self) -> float:  # type: ignore[override]
        return self.negative_slope


class Sigmoid(Activation):
    """f(z) = 1 / (1 + exp(-z))."""

    name = "sigmoid"
    code = 3


class Tanh(Activation):
    """f(z) = tanh(z)."""

    name = "tanh"
    code = 4


class Softplus(Activation):
    """f(z) = log(1 + exp(beta z)) / beta.

    Parameters
    ----------
    beta : float, default 1
        Finite, greater than 0.
    """

    name = "softplus"
    code = 5
    fields = ("beta",)

    beta: float

    def __init__(self, beta: float = 1.0) -> None:
        self._set(beta=number("beta", beta, above=0))

    @property
    def alpha(self) -> float:  # type: ignore[override]
        return self.beta


class ELU(Activation):
    """f(z) = z for z > 0, else alpha (exp(z) - 1).

    Parameters
    ----------
    alpha : float, default 1
        Finite, at least 0.

    Notes
    -----
    Source: Clevert, Unterthiner, Hochreiter, Fast and Accurate Deep Network Learning by Exponential Linear Units,
    arXiv:1511.07289, 2015.
    """

    name = "elu"
    code = 6
    fields = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        self._set(alpha=number("alpha", alpha, least=0))


class SELU(Activation):
    """f(z) = s z for z > 0, else s a (exp(z) - 1), with s = 1.0507... and a = 1.6732...

    Notes
    -----
    With weights initialised by "lecun_normal", a layer keeps mean 0 and variance 1 of its input. Source: Klambauer et
    al., Self-Normalizing Neural Networks, arXiv:1706.02515, 2017.
    """

    name = "selu"
    code = 7


class GELU(Activation):
    """f(z) = z Phi(z), where Phi is the cumulative distribution function of the standard normal distribution.

    Notes
    -----
    Source: Hendrycks, Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016.
    """

    name = "gelu"
    code = 8
    from_z = True


class GELUTanh(Activation):
    """f(z) = z (1 + tanh(u)) / 2, u = sqrt(2/pi) (z + 0.044715 z^3), within 0.0005 of `GELU`.

    Notes
    -----
    Source: Hendrycks, Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016.
    """

    name = "gelu_tanh"
    code = 9
    from_z = True


class SiLU(Activation):
    """f(z) = z / (1 + exp(-z)), also called swish.

    Notes
    -----
    Source: Hendrycks, Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016.
    """

    name = "silu"
    code = 10
    from_z = True


ACTIVATIONS = (Identity, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus, ELU, SELU, GELU, GELUTanh, SiLU)


def activation(value: str | Activation) -> Activation:
    """An activation, given as its name or as an object.

    Parameters
    ----------
    value : str or Activation
        "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "gelu_tanh", "silu", or
        an object.

    Returns
    -------
    Activation

    Raises
    ------
    TypeError
        If value is neither a name nor an activation.
    ValueError
        If no activation has that name.
    """
    return named("activation", value, Activation, ACTIVATIONS)


class Dense(Layer):
    """y = f(x W + b), x (B, inputs), W (inputs, units), b (units,), y (B, units).

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    activation : str or Activation, default "identity"
        f: its name, or an object such as ``LeakyReLU(0.2)``.
    bias : bool, default True
        Whether the layer has b.
    weight_init : str, Initializer or None
        Initialiser of W. None: "he_uniform" for relu, leaky_relu, elu, gelu, gelu_tanh and silu, "lecun_normal" for
        selu, otherwise "glorot_uniform".
    bias_init : str or Initializer, default "zeros"
        Initialiser of b.
    l1, l2 : float, default 0
        Finite, at least 0. The penalty l1 sum |w| + l2/2 sum w^2, over all elements w of W, is added to the loss.
    penalize_bias : bool, default False
        Whether the penalties apply to b as well.
    frozen : bool, default False
        Whether training leaves W and b unchanged. The backward pass stops at the first layer that learns.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a number is out of range, or an activation or initialiser does not exist.
    """

    name = "dense"
    fields = ("units", "activation", "bias", "weight_init", "bias_init", "l1", "l2", "penalize_bias", "frozen")
    required = ("units",)

    units: int
    activation: Activation
    bias: bool
    weight_init: Initializer | None
    bias_init: Initializer
    l1: float
    l2: float
    penalize_bias: bool

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        bias: bool = True,
        weight_init: str | Initializer | None = None,
        bias_init: str | Initializer = "zeros",
        l1: float = 0.0,
        l2: float = 0.0,
        penalize_bias: bool = False,
        frozen: bool = False,
    ) -> None:
        self._set(
            units=integer("units", units, least=1, most=WIDEST),
            activation=named("activation", activation, Activation, ACTIVATIONS),
            bias=flag("bias", bias),
            weight_init=None if weight_init is None else initializers.initializer("weight_init", weight_init),
            bias_init=initializers.of_bias("bias_init", bias_init),
            l1=number("l1", l1, least=0),
            l2=number("l2", l2, least=0),
            penalize_bias=flag("penalize_bias", penalize_bias),
            frozen=flag("frozen", frozen),
        )

    @property
    def initial_weights(self) -> Initializer:
        """The initialiser of W: `weight_init`, or the default for the activation."""
        return self.weight_init or initializers.default(self.activation.name)


class Residual(Layer):
    """y = x + f(x), or y = x P + f(x), where f is the composition of the given layers.

    Parameters
    ----------
    layers : sequence of Layer
        At least one.
    projection : bool or None
        Whether the skip connection multiplies x by a learned matrix P (inputs, outputs of f), without bias, initialised
        by "glorot_uniform". None: only where f changes the width.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    TypeError
        If layers is not a sequence, or an element is not a layer.
    ValueError
        If layers is empty.
    """

    name = "residual"
    fields = ("layers", "projection")
    required = ("layers",)

    layers: tuple[Layer, ...]
    projection: bool | None

    def __init__(self, layers: Sequence[Layer], projection: bool | None = None) -> None:
        self._set(
            layers=checked_layers("layers", layers),
            projection=None if projection is None else flag("projection", projection),
        )


class Dropout(Layer):
    """In training, each element of y is 0 with probability rate, otherwise x / (1 - rate); in prediction y = x.

    Parameters
    ----------
    rate : float, default 0.5
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        If rate is not a number in [0, 1).

    Notes
    -----
    The elements that are dropped are a function of the trainer's seed, the number of the update, the layer, and the
    element's row and column in the minibatch. Source: Srivastava et al., Dropout, JMLR 15, 2014; scaled in training.
    """

    name = "dropout"
    fields = ("rate",)

    rate: float

    def __init__(self, rate: float = 0.5) -> None:
        self._set(rate=number("rate", rate, least=0, below=1))


class Norm(Layer):
    """Base class of LayerNorm and BatchNorm."""

    eps: float
    affine: bool


class LayerNorm(Norm):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with the mean and variance of each row.

    The variance is divided by the width of the row.

    Parameters
    ----------
    eps : float, default 1e-5
        Finite, greater than 0.
    affine : bool, default True
        Whether the layer has gamma and beta, both of shape (width,) and learned; initially 1 and 0.
    frozen : bool, default False
        Whether training leaves gamma and beta unchanged.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Source: Ba, Kiros, Hinton, Layer Normalization, arXiv:1607.06450, 2016.
    """

    name = "layer_norm"
    fields = ("eps", "affine", "frozen")

    def __init__(self, eps: float = 1e-5, affine: bool = True, frozen: bool = False) -> None:
        self._set(eps=number("eps", eps, above=0), affine=flag("affine", affine), frozen=flag("frozen", frozen))


class BatchNorm(Norm):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with the mean and variance of each column.

    Training takes the statistics of the minibatch, which must have at least two rows; the variance is divided by the
    number of rows. It also updates the running statistics: running = (1 - momentum) running + momentum statistic, with
    a variance divided by rows - 1. Prediction takes the running statistics, which are initially 0 and 1.

    Parameters
    ----------
    momentum : float, default 0.1
        In (0, 1].
    eps : float, default 1e-5
        Finite, greater than 0.
    affine : bool, default True
        Whether the layer has gamma and beta, both of shape (width,) and learned; initially 1 and 0.
    frozen : bool, default False
        Whether training leaves gamma, beta and the running statistics unchanged, and normalises by the latter.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Source: Ioffe, Szegedy, Batch Normalization, ICML 2015; conventions of torch.nn.BatchNorm1d.
    """

    name = "batch_norm"
    fields = ("momentum", "eps", "affine", "frozen")

    momentum: float

    def __init__(self, momentum: float = 0.1, eps: float = 1e-5, affine: bool = True, frozen: bool = False) -> None:
        momentum = number("momentum", momentum, above=0)
        if momentum > 1:
            raise ValueError(f"momentum must be at most 1, got {momentum}")
        self._set(
            momentum=momentum,
            eps=number("eps", eps, above=0),
            affine=flag("affine", affine),
            frozen=flag("frozen", frozen),
        )


class Softmax(Layer):
    """y_j = exp(x_j) / sum_k exp(x_k), row by row.

    A classifier does not end in this layer: the cross-entropies take logits.
    """

    name = "softmax"


def checked_layers(name: str, layers: object) -> tuple[Layer, ...]:
    """The layers of a list or tuple that is not empty."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"{name} must be a list of layers, got {described(layers)}")
    if not layers:
        raise ValueError(f"{name} must hold at least one layer, got none")
    for position, layer in enumerate(layers):
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"{name}[{position}] must be a layer, got the class {layer.__name__}")
        if not isinstance(layer, Layer):
            raise TypeError(f"{name}[{position}] must be a layer, got {described(layer)}")
    return tuple(layers)
