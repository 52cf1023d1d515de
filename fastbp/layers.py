"""Layers and activations: what a network is made of, and where each layer's parameters lie in the flat vector.

A network is a list of `Dense` and `Residual` layers. `plan` checks such a list and flattens it into steps, which is the
form that both the compiled core and the NumPy twin run.
"""

from collections import namedtuple

from .declarative import Declared, described, flag, integer, named, number

MOST = 2**31 - 1  # widest layer


class Activation(Declared):
    """Base class of the activations y = f(z), applied to each element.

    Attributes
    ----------
    name : str
        The name `Dense` takes: "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus".
    code : int
        The activation's number in the C core (enum fbp_activation).
    alpha : float
        Its one parameter (negative_slope or beta); 0.0 where there is none.
    """

    code = None
    alpha = 0.0


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


ACTIVATIONS = (Identity, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus)


def activation(value):
    """An activation from its name or from the object itself.

    Parameters
    ----------
    value : str or Activation
        "identity", "relu", "leaky_relu", "sigmoid", "tanh", "softplus", or an object.

    Raises
    ------
    TypeError
        If it is neither a name nor an activation.
    ValueError
        If there is no activation of that name.
    """
    return named("activation", value, Activation, ACTIVATIONS)


class Layer(Declared):
    """Base class of the layers."""


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

    Raises
    ------
    TypeError
        If units is not an integer, activation neither name nor object, or bias not a bool.
    ValueError
        If units is below 1, or there is no activation of that name.
    """

    name = "dense"
    fields = ("units", "activation", "bias")
    required = ("units",)

    def __init__(self, units, activation="identity", bias=True):
        self._set(
            units=integer("units", units, least=1, most=MOST),
            activation=named("activation", activation, Activation, ACTIVATIONS),
            bias=flag("bias", bias),
        )


class Residual(Layer):
    """y = x + f(x), with f the layers given, one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        At least one. The last must be as wide as the input of the first.

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
    fields = ("layers",)
    required = ("layers",)

    def __init__(self, layers):
        self._set(layers=sequence("layers", layers))


def sequence(name, layers):
    """A tuple of layers from a list or tuple of at least one."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"{name} must be a list of layers, got {described(layers)}")
    if not layers:
        raise ValueError(f"{name} must hold at least one layer, got none")
    for position, layer in enumerate(layers):
        if isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"{name}[{position}] must be a layer, got the class {layer.__name__}")
        if not isinstance(layer, (Dense, Residual)):
            raise TypeError(f"{name}[{position}] must be a Dense or Residual layer, got {described(layer)}")
    return tuple(layers)


class Step(namedtuple("Step", ("kind", "inputs", "outputs", "bias", "activation"))):
    """One step of a network.

    Attributes
    ----------
    kind : {"dense", "residual_begin", "residual_end"}
    inputs, outputs : int
        Widths. At the ends of a residual block both are its width.
    bias : bool
        False at the ends of a residual block.
    activation : Activation
        Identity at the ends of a residual block.
    """

    __slots__ = ()

    @property
    def record(self):
        """The step in numbers, as the C core takes it: (kind, inputs, outputs, bias, activation, alpha)."""
        kind = ("dense", "residual_begin", "residual_end").index(self.kind)
        return (kind, self.inputs, self.outputs, int(self.bias), self.activation.code, self.activation.alpha)


def plan(inputs, layers):
    """The steps of a network.

    Parameters
    ----------
    inputs : int
        Width of the network's input, at least 1.
    layers : sequence of Layer

    Returns
    -------
    tuple of Step
        A residual block becomes "residual_begin" (keep the input), the steps of its layers, "residual_end" (add it).

    Raises
    ------
    TypeError
        If inputs is not an integer, or layers not a list of layers.
    ValueError
        If inputs is below 1, there is no layer, one layer object appears twice, or a residual block ends in another
        width than it begins with.
    """
    inputs = integer("inputs", inputs, least=1, most=MOST)
    steps = []
    _flatten(inputs, sequence("layers", layers), "layers", steps, {})
    return tuple(steps)


def _flatten(width, layers, where, steps, seen):
    """Appends the steps of `layers` to `steps`; returns the width they end in. seen: id of a layer -> where it is."""
    for position, layer in enumerate(layers):
        here = f"{where}[{position}]"
        if id(layer) in seen:
            raise ValueError(
                f"{here} is the same object as {seen[id(layer)]}: layers do not share parameters, make one for each"
            )
        seen[id(layer)] = here
        if isinstance(layer, Dense):
            steps.append(Step("dense", width, layer.units, layer.bias, layer.activation))
            width = layer.units
        else:
            steps.append(Step("residual_begin", width, width, False, Identity()))
            end = _flatten(width, layer.layers, f"{here}.layers", steps, seen)
            if end != width:
                raise ValueError(
                    f"{here} takes {width} inputs and its last layer has {end} units; a residual block must end in the "
                    "width it begins with"
                )
            steps.append(Step("residual_end", width, width, False, Identity()))
    return width


def count(steps):
    """How many parameters the steps have."""
    return sum(step.inputs * step.outputs + step.bias * step.outputs for step in steps if step.kind == "dense")


def slices(steps):
    """Where each dense step's parameters lie in the flat vector: W row by row, then b, layer after layer.

    Parameters
    ----------
    steps : tuple of Step

    Returns
    -------
    list of (slice, tuple of int, slice or None)
        For each dense step the slice of W, the shape of W (inputs, outputs), and the slice of b, None without bias.
    """
    found, start = [], 0
    for step in steps:
        if step.kind != "dense":
            continue
        end = start + step.inputs * step.outputs
        bias_end = end + step.bias * step.outputs
        found.append((slice(start, end), (step.inputs, step.outputs), slice(end, bias_end) if step.bias else None))
        start = bias_end
    return found
