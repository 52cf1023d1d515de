"""Initialisers: the distributions of the initial parameters.

They describe a distribution; the compiled core and `fastbp.reference` draw from it. I and O are the inputs and outputs
of the layer, for both its W (I, O) and its b (O,).
"""

from typing import ClassVar

from ._support.declarative import Declared, named, number

RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")


class Initializer(Declared):
    """Base class of the initialisers.

    Attributes
    ----------
    matrices_only : bool
        Whether the initialiser is for W only.
    """

    matrices_only: ClassVar[bool] = False


class Zeros(Initializer):
    """All elements 0."""

    name = "zeros"


class Constant(Initializer):
    """All elements equal to one number.

    Parameters
    ----------
    value : float
        Finite.
    """

    name = "constant_value"
    fields = ("value",)
    required = ("value",)

    value: float

    def __init__(self, value: float) -> None:
        self._set(value=number("value", value))


class HeUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(6 / I), for relu (He et al., Delving Deep into Rectifiers, ICCV 2015)."""

    name = "he_uniform"


class HeNormal(Initializer):
    """Normal with mean 0 and variance 2 / I, for relu (He et al., Delving Deep into Rectifiers, ICCV 2015)."""

    name = "he_normal"


class GlorotUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(6 / (I + O)) (Glorot and Bengio, Understanding the Difficulty of Training Deep
    Feedforward Neural Networks, AISTATS 2010)."""

    name = "glorot_uniform"


class GlorotNormal(Initializer):
    """Normal with mean 0 and variance 2 / (I + O) (Glorot and Bengio, AISTATS 2010)."""

    name = "glorot_normal"


class LeCunUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(3 / I) (LeCun et al., Efficient BackProp, 1998)."""

    name = "lecun_uniform"


class LeCunNormal(Initializer):
    """Normal with mean 0 and variance 1 / I, for selu (Klambauer et al., Self-Normalizing Neural Networks, 2017)."""

    name = "lecun_normal"


class Orthogonal(Initializer):
    """gain Q, where Q has orthonormal columns, or orthonormal rows if it has more columns than rows. For W only.

    Q is the factor of a QR decomposition, with positive diagonal of R, of a matrix of standard normal numbers. It is
    uniformly distributed over all such matrices.

    Parameters
    ----------
    gain : float, default 1
        Finite.

    Notes
    -----
    Source: Saxe, McClelland, Ganguli, Exact Solutions to the Nonlinear Dynamics of Learning, ICLR 2014.
    """

    name = "orthogonal"
    fields = ("gain",)
    matrices_only = True

    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(gain=number("gain", gain))


class TorchLinear(Initializer):
    """Uniform on (-r, r), r = sqrt(1 / I): the initial values of both W and b in torch.nn.Linear."""

    name = "torch_linear"


class Uniform(Initializer):
    """Uniform on [low, high).

    Parameters
    ----------
    low, high : float
        Finite, low below high.

    Raises
    ------
    TypeError, ValueError
        If one is not a finite number, or low is not below high.
    """

    name = "uniform"
    fields = ("low", "high")
    required = ("low", "high")

    low: float
    high: float

    def __init__(self, low: float, high: float) -> None:
        low, high = number("low", low), number("high", high)
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self._set(low=low, high=high)


class Normal(Initializer):
    """Normal with mean 0 and standard deviation std.

    Parameters
    ----------
    std : float
        Finite, greater than 0.
    """

    name = "normal"
    fields = ("std",)
    required = ("std",)

    std: float

    def __init__(self, std: float) -> None:
        self._set(std=number("std", std, above=0))


# The initialisers that have a name as an argument; the others need a number.
INITIALIZERS = (
    Zeros,
    HeUniform,
    HeNormal,
    GlorotUniform,
    GlorotNormal,
    LeCunUniform,
    LeCunNormal,
    Orthogonal,
    TorchLinear,
)


def initializer(name: str, value: str | Initializer) -> Initializer:
    """An initialiser, given as its name or as an object. `name` is the argument's, for errors."""
    return named(name, value, Initializer, INITIALIZERS)


def of_bias(name: str, value: str | Initializer) -> Initializer:
    """The same, for a b: not one that is for matrices only."""
    found = initializer(name, value)
    if found.matrices_only:
        raise ValueError(f"{name} must not be {found.name!r}, which is for matrices")
    return found


def default(activation: str) -> Initializer:
    """The default initialiser of W in a dense layer with the activation of this name."""
    if activation == "selu":
        return LeCunNormal()
    return HeUniform() if activation in RECTIFIERS else GlorotUniform()
