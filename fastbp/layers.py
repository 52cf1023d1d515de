"""Layers and activations: what a network is made of, and where each layer's parameters lie in the flat vector.

A network is a list of layers. `plan` checks such a list and flattens it into steps, which is the
form that both the compiled core and the NumPy twin run.
"""

from . import initializers
from ._support.declarative import Declared, described, flag, integer, named, number

WIDEST = 2**31 - 1  # outputs of a layer


class Layer(Declared):
    """Base class of the layers.

    Attributes
    ----------
    frozen : bool
        Whether training leaves the layer's parameters as they are.
    """

    frozen = False


class Activation(Layer):
    """Base class of the activations y = f(z), applied to each element. An activation is a layer of its own, too.

    Attributes
    ----------
    name : str
        The name `Dense` takes: "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu",
        "gelu_tanh", "silu".
    code : int
        The activation's number in the C core (enum fbp_activation).
    alpha : float
        Its one parameter (negative_slope, beta or alpha); 0.0 where there is none.
    from_z : bool
        Whether the derivative is computed from z, since y does not tell it, rather than from y.
    """

    code = None
    alpha = 0.0
    from_z = False


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

    def __init__(self, negative_slope=0.01):
        self._set(negative_slope=number("negative_slope", negative_slope, least=0))

    @property
    def alpha(self):
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

    def __init__(self, beta=1.0):
        self._set(beta=number("beta", beta, above=0))

    @property
    def alpha(self):
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

    def __init__(self, alpha=1.0):
        self._set(alpha=number("alpha", alpha, least=0))


class SELU(Activation):
    """f(z) = s z for z > 0, else s a (exp(z) - 1), with s = 1.0507... and a = 1.6732...

    Notes
    -----
    Where weights begin as "lecun_normal", mean 0 and variance 1 go from layer to layer. Source: Klambauer et al.,
    Self-Normalizing Neural Networks, arXiv:1706.02515, 2017.
    """

    name = "selu"
    code = 7


class GELU(Activation):
    """f(z) = z Phi(z), where Phi is the distribution function of the standard normal law.

    Notes
    -----
    Source: Hendrycks, Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016.
    """

    name = "gelu"
    code = 8
    from_z = True


class GELUTanh(Activation):
    """f(z) = z (1 + tanh(u)) / 2, u = sqrt(2/pi) (z + 0.044715 z^3), which is within 0.0005 of `GELU`.

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


def activation(value):
    """An activation from its name or from the object itself.

    Parameters
    ----------
    value : str or Activation
        "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "gelu_tanh", "silu", or
        an object.

    Raises
    ------
    TypeError
        If it is neither a name nor an activation.
    ValueError
        If there is no activation of that name.
    """
    return named("activation", value, Activation, ACTIVATIONS)


class Dense(Layer):
    """y = f(x W + b), x (B, inputs), W (inputs, units), b (units,), y (B, units).

    Parameters
    ----------
    units : int
        Outputs of the layer, at least 1.
    activation : str or Activation, default "identity"
        f: its name, or an object such as ``LeakyReLU(0.2)``.
    bias : bool, default True
        Whether b is there.
    weight_init : str, Initializer or None
        How W begins. None: "he_uniform" where f is relu or one of its kin (leaky_relu, elu, gelu, gelu_tanh, silu),
        "lecun_normal" where it is selu, else "glorot_uniform".
    bias_init : str or Initializer, default "zeros"
        How b begins.
    l1, l2 : float, default 0
        Finite, at least 0. l1 sum |w| + l2/2 sum w^2, over all elements w of W, joins the loss that is minimised.
    penalize_bias : bool, default False
        Whether b has these penalties too.
    frozen : bool, default False
        Whether training leaves W and b as they are. Layers that come before the first layer that learns cost no
        backward work.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a number is out of range, or there is no activation or initialiser of that name.
    """

    name = "dense"
    fields = ("units", "activation", "bias", "weight_init", "bias_init", "l1", "l2", "penalize_bias", "frozen")
    required = ("units",)

    def __init__(
        self,
        units,
        activation="identity",
        bias=True,
        weight_init=None,
        bias_init="zeros",
        l1=0.0,
        l2=0.0,
        penalize_bias=False,
        frozen=False,
    ):
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
    def initial_weights(self):
        """The initialiser of W."""
        return self.weight_init or initializers.default(self.activation.name)


class Residual(Layer):
    """y = x + f(x), or y = x P + f(x), with f the layers given, one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        At least one.
    projection : bool or None
        Whether x goes through a learned matrix P (inputs, outputs of f), without bias, that begins as "glorot_uniform".
        None: where f ends in another width than it begins with.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    TypeError
        If layers is not a sequence, or an element is not a layer.
    ValueError
        If it is empty.
    """

    name = "residual"
    fields = ("layers", "projection")
    required = ("layers",)

    def __init__(self, layers, projection=None):
        self._set(
            layers=checked_layers("layers", layers),
            projection=None if projection is None else flag("projection", projection),
        )


class Dropout(Layer):
    """While training, each element is 0 with probability rate, and else x / (1 - rate); in prediction it is x.

    Parameters
    ----------
    rate : float, default 0.5
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        If rate is not such a number.

    Notes
    -----
    Which elements are dropped is a function of the trainer's seed, the number of the update, the layer and the
    element's row and column in the minibatch alone. Source: Srivastava et al., Dropout, JMLR 15, 2014; scaled while
    training.
    """

    name = "dropout"
    fields = ("rate",)

    def __init__(self, rate=0.5):
        self._set(rate=number("rate", rate, least=0, below=1))


class Norm(Layer):
    """Base class of LayerNorm and BatchNorm."""


class LayerNorm(Norm):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with mean and variance (divided by the width) of each row.

    Parameters
    ----------
    eps : float, default 1e-5
        Finite, greater than 0.
    affine : bool, default True
        Whether gamma and beta, (width,), are there and learned. They begin as 1 and 0.
    frozen : bool, default False
        Whether training leaves them as they are.

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

    def __init__(self, eps=1e-5, affine=True, frozen=False):
        self._set(eps=number("eps", eps, above=0), affine=flag("affine", affine), frozen=flag("frozen", frozen))


class BatchNorm(Norm):
    """y = gamma (x - mean) / sqrt(variance + eps) + beta, with mean and variance of each column.

    While training they are those of the minibatch (the variance divided by its rows), which must have two rows at
    least, and running = (1 - momentum) running + momentum statistic, the variance here divided by rows - 1. In
    prediction they are the running ones, which begin as 0 and 1.

    Parameters
    ----------
    momentum : float, default 0.1
        In (0, 1].
    eps : float, default 1e-5
        Finite, greater than 0.
    affine : bool, default True
        Whether gamma and beta, (width,), are there and learned. They begin as 1 and 0.
    frozen : bool, default False
        Whether training leaves them as they are, and takes the running statistics, which stay as they are too.

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

    def __init__(self, momentum=0.1, eps=1e-5, affine=True, frozen=False):
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

    For a classifier's last layer take none: its loss takes logits.
    """

    name = "softmax"


def checked_layers(name, layers):
    """A tuple of layers from a list or tuple of at least one."""
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
