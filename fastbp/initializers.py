"""Initialisers: how the parameters of a layer begin.

They say what is drawn; `fastbp._support.initial_values` and ``fastbp.reference.initial_values`` draw it. For a dense layer of I inputs and O
outputs, W and b alike:
"""

from ._support.declarative import Declared, named, number

RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")


class Initializer(Declared):
    """Base class of the initialisers.

    Attributes
    ----------
    matrices_only : bool
        Whether it is for W alone.
    """

    matrices_only = False


class Zeros(Initializer):
    """0."""

    name = "zeros"


class Constant(Initializer):
    """One number everywhere.

    Parameters
    ----------
    value : float
        Finite.
    """

    name = "constant_value"
    fields = ("value",)
    required = ("value",)

    def __init__(self, value):
        self._set(value=number("value", value))


class HeUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(6 / I): for relu (He et al., Delving Deep into Rectifiers, ICCV 2015)."""

    name = "he_uniform"


class HeNormal(Initializer):
    """Normal with mean 0 and variance 2 / I: for relu (He et al., Delving Deep into Rectifiers, ICCV 2015)."""

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
    """Normal with mean 0 and variance 1 / I: for selu (Klambauer et al., Self-Normalizing Neural Networks, 2017)."""

    name = "lecun_normal"


class Orthogonal(Initializer):
    """gain Q, where Q has orthonormal columns, or orthonormal rows where there are more columns than rows.

    Q of Q R of a matrix of normal numbers, the diagonal of R positive: spread evenly over all such matrices. For W
    alone.

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

    def __init__(self, gain=1.0):
        self._set(gain=number("gain", gain))


class TorchLinear(Initializer):
    """Uniform on (-r, r), r = sqrt(1 / I): how torch.nn.Linear begins, both W and b."""

    name = "torch_linear"


class Uniform(Initializer):
    """Uniform on [low, high).

    Parameters
    ----------
    low, high : float
        Finite, low below high.
    """

    name = "uniform"
    fields = ("low", "high")
    required = ("low", "high")

    def __init__(self, low, high):
        low, high = number("low", low), number("high", high)
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self._set(low=low, high=high)


class Normal(Initializer):
    """Normal with mean 0 and this standard deviation.

    Parameters
    ----------
    std : float
        Finite, greater than 0.
    """

    name = "normal"
    fields = ("std",)
    required = ("std",)

    def __init__(self, std):
        self._set(std=number("std", std, above=0))


# Those that a name alone may stand for; the others need a number.
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


def initializer(name, value):
    """An initialiser from its name or from the object itself."""
    return named(name, value, Initializer, INITIALIZERS)


def of_bias(name, value):
    """An initialiser of b."""
    found = initializer(name, value)
    if found.matrices_only:
        raise ValueError(f"{name} must not be {found.name!r}, which is for matrices")
    return found


def default(activation):
    """The initialiser of W in a layer with this activation."""
    if activation == "selu":
        return LeCunNormal()
    return HeUniform() if activation in RECTIFIERS else GlorotUniform()
