"""A list of layers as a sequence of steps, and where each step's parameters lie in the flat vector.

The steps are the form of a network that both the compiled core and the NumPy twin run: residual blocks become part of
one flat sequence, and an activation that follows a dense layer or a norm is part of that layer's step where its
derivative can be computed from its output.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..initializers import Constant, GlorotUniform, Initializer, Zeros
from ..layers import WIDEST, Activation, Dense, Identity, Layer, Norm, Residual, checked_layers
from .declarative import integer
from .plan_spec import LayerRecord

KINDS = (
    "dense",
    "residual_begin",
    "residual_end",
    "projection",
    "activation",
    "softmax",
    "dropout",
    "layer_norm",
    "batch_norm",
)  # in the order of enum fbp_layer_kind


class Step(NamedTuple):
    """One step of a network.

    Attributes
    ----------
    kind : str
        One of KINDS. "projection" is the matrix on the skip connection of a residual block: it multiplies the input of
        the block, and the "residual_end" that follows adds the product.
    inputs, outputs : int
        Widths; equal for all kinds but "dense" and "projection".
    bias : bool
        Whether a dense step has b; whether a norm has gamma and beta.
    activation : Activation
        f of a dense step, a norm or an activation; identity for the other kinds. Only a step of kind "activation" may
        have one with `from_z`.
    layer : Layer or None
        The layer that the step was made from; None for a projection and the ends of a residual block.
    """

    kind: str
    inputs: int
    outputs: int
    bias: bool
    activation: Activation
    layer: Any  # its class follows from `kind`, which a type checker cannot see

    @property
    def shapes(self) -> tuple[tuple[int, ...] | None, tuple[int] | None]:
        """The shapes of the step's two parameters, W and b or gamma and beta; None for one that the step lacks."""
        if self.kind in ("dense", "projection"):
            return (self.inputs, self.outputs), (self.outputs,) if self.bias else None
        if self.kind in ("layer_norm", "batch_norm") and self.bias:
            return (self.outputs,), (self.outputs,)
        return None, None

    @property
    def frozen(self) -> bool:
        """Whether training leaves the step's parameters unchanged."""
        return self.layer is not None and self.layer.frozen

    @property
    def initializers(self) -> tuple[Initializer, Initializer]:
        """The initialisers of the step's two parameters: W and b, or gamma and beta."""
        if self.kind == "dense":
            return self.layer.initial_weights, self.layer.bias_init
        return GlorotUniform() if self.kind == "projection" else Constant(1.0), Zeros()

    @property
    def record(self) -> LayerRecord:
        """The step in numbers, as the compiled core takes it."""
        layer = self.layer
        return LayerRecord(
            kind=KINDS.index(self.kind),
            inputs=self.inputs,
            outputs=self.outputs,
            bias=self.bias,
            activation=self.activation.code,
            alpha=self.activation.alpha,
            frozen=self.frozen,
            rate=getattr(layer, "rate", getattr(layer, "momentum", 0.0)),
            eps=getattr(layer, "eps", 0.0),
            l1=getattr(layer, "l1", 0.0),
            l2=getattr(layer, "l2", 0.0),
            penalize_bias=getattr(layer, "penalize_bias", False),
        )


def steps_of(inputs: int, layers: Sequence[Layer]) -> tuple[Step, ...]:
    """The steps of a network.

    Parameters
    ----------
    inputs : int
        Width of the network's input, at least 1.
    layers : sequence of Layer

    Returns
    -------
    tuple of Step
        A residual block becomes "residual_begin" (keep the input), the steps of its layers, "projection" where the
        block has one, and "residual_end" (add the input that was kept). An activation that follows a dense layer or a
        norm without one becomes part of that step. An activation whose derivative is computed from z is always a step
        of its own, even where a dense layer names it.

    Raises
    ------
    TypeError
        If inputs is not an integer, or layers is not a list of layers.
    ValueError
        If inputs is below 1, the list is empty, one layer object with parameters appears twice, or a residual block
        without a projection ends in another width than it begins with.
    """
    inputs = integer("inputs", inputs, least=1, most=WIDEST)
    steps: list[Step] = []
    _append_steps(inputs, checked_layers("layers", layers), "layers", steps, {})
    return tuple(steps)


def _append_steps(width: int, layers: Sequence[Layer], where: str, steps: list[Step], seen: dict[int, str]) -> int:
    """Append the steps of `layers` to `steps` and return the width of the last one. `seen` maps the id of a layer to
    its place, for error messages."""
    begin = len(steps)
    for position, layer in enumerate(layers):
        here = f"{where}[{position}]"
        if isinstance(layer, (Dense, Norm, Residual)):
            if id(layer) in seen:
                raise ValueError(
                    f"{here} is the same object as {seen[id(layer)]}: layers do not share parameters, make one for each"
                )
            seen[id(layer)] = here
        if isinstance(layer, Dense):
            steps.append(Step("dense", width, layer.units, layer.bias, Identity(), layer))
            width = layer.units
            _append_activation(steps, layer.activation)
        elif isinstance(layer, Activation):
            takes_one = len(steps) > begin and steps[-1].kind in ("dense", "layer_norm", "batch_norm")
            if takes_one and steps[-1].activation == Identity():
                _append_activation(steps, layer)
            else:
                steps.append(Step("activation", width, width, False, layer, layer))
        elif isinstance(layer, Residual):
            steps.append(Step("residual_begin", width, width, False, Identity(), None))
            end = _append_steps(width, layer.layers, f"{here}.layers", steps, seen)
            if layer.projection or (layer.projection is None and end != width):
                steps.append(Step("projection", width, end, False, Identity(), None))
            elif end != width:
                raise ValueError(
                    f"{here} takes {width} inputs and its last layer has {end} units; a residual block without "
                    "projection must end in the width it begins with"
                )
            width = end
            steps.append(Step("residual_end", width, width, False, Identity(), None))
        else:
            affine = isinstance(layer, Norm) and layer.affine
            steps.append(Step(layer.name, width, width, affine, Identity(), layer))
    return width


def _append_activation(steps: list[Step], activation: Activation) -> None:
    """Apply an activation to the output of the last step: as part of it, or as a new step where backward needs z."""
    if activation.from_z:
        steps.append(Step("activation", steps[-1].outputs, steps[-1].outputs, False, activation, activation))
    else:
        steps[-1] = steps[-1]._replace(activation=activation)


def with_frozen(inputs: int, layers: Sequence[Layer], numbers: Iterable[int], frozen: bool) -> tuple[Layer, ...]:
    """A copy of the layers in which some are frozen, or no longer frozen.

    Parameters
    ----------
    inputs : int
        Width of the network's input.
    layers : sequence of Layer
    numbers : iterable of int
        Indices into `parametric_steps`.
    frozen : bool

    Returns
    -------
    tuple of Layer

    Raises
    ------
    TypeError, ValueError
        If a number is not an index of a step, or is that of a projection.
    """
    candidates = parametric_steps(steps_of(inputs, layers))
    chosen: dict[int, Layer] = {}
    for number_ in numbers:
        layer = candidates[integer("number of a layer", number_, least=0, most=len(candidates) - 1)].layer
        if layer is None:
            raise ValueError(f"layer {number_} is a residual block's projection, which cannot be frozen")
        chosen[id(layer)] = layer.replaced(frozen=frozen)

    def replaced(layer: Layer) -> Layer:
        if isinstance(layer, Residual):
            return layer.replaced(layers=[replaced(inner) for inner in layer.layers])
        return chosen.get(id(layer), layer)

    return tuple(replaced(layer) for layer in layers)


def parametric_steps(steps: Iterable[Step]) -> list[Step]:
    """The steps that have parameters, in the order of `parameter_slices`."""
    return [step for step in steps if step.shapes[0] is not None]


def parameter_slices(steps: Iterable[Step]) -> list[tuple[slice, tuple[int, ...], slice | None]]:
    """Where each step's parameters lie in the flat vector: W row by row, then b, or gamma and beta, step after step.

    Parameters
    ----------
    steps : iterable of Step

    Returns
    -------
    list of (slice, tuple of int, slice or None)
        For each step with parameters the slice of W or gamma, its shape, and the slice of b or beta, None without bias.
    """
    found, start = [], 0
    for step in steps:
        shape, bias_shape = step.shapes
        if shape is None:
            continue
        end = start + math.prod(shape)
        bias_end = end + (bias_shape[0] if bias_shape else 0)
        found.append((slice(start, end), shape, slice(end, bias_end) if bias_shape else None))
        start = bias_end
    return found


def parameter_count(steps: Iterable[Step]) -> int:
    """The number of elements of all parameters together."""
    return sum(math.prod(shape) for step in steps for shape in step.shapes if shape is not None)


def statistics_slices(steps: Iterable[Step]) -> list[tuple[slice, slice]]:
    """Where the running statistics of each batch norm lie in their flat vector.

    Parameters
    ----------
    steps : iterable of Step

    Returns
    -------
    list of (slice, slice)
        For each "batch_norm" step the slices of the mean and of the variance.
    """
    found, start = [], 0
    for step in steps:
        if step.kind == "batch_norm":
            middle, end = start + step.outputs, start + 2 * step.outputs
            found.append((slice(start, middle), slice(middle, end)))
            start = end
    return found
