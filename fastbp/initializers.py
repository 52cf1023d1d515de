"""Initialisers: how the parameters of a layer begin."""

from .declarative import Declared, named

RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")


class Initializer(Declared):
    """Base class of the initialisers."""


class Zeros(Initializer):
    """0."""

    name = "zeros"


class HeUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(6 / inputs)."""

    name = "he_uniform"


class GlorotUniform(Initializer):
    """Uniform on (-r, r), r = sqrt(6 / (inputs + outputs))."""

    name = "glorot_uniform"


class LeCunNormal(Initializer):
    """Normal with variance 1 / inputs."""

    name = "lecun_normal"


INITIALIZERS = (Zeros, HeUniform, GlorotUniform, LeCunNormal)


def initializer(name, value):
    """An initialiser from its name or from the object itself."""
    return named(name, value, Initializer, INITIALIZERS)


def default(activation):
    """The initialiser of W in a layer with this activation."""
    if activation == "selu":
        return LeCunNormal()
    return HeUniform() if activation in RECTIFIERS else GlorotUniform()
