"""The layers of an estimator's net, from its parameters."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from .. import layers as layers_
from .._support.declarative import described
from ..layers import Activation, BatchNorm, Dense, Dropout, Layer, LayerNorm

ACTIVATIONS = {cls.name for cls in layers_.ACTIVATIONS} | {"logistic"}
NORMS = {"layer": LayerNorm, "batch": BatchNorm}


def widths(hidden_layer_sizes: Any) -> list[int]:
    """The widths of the hidden layers.

    Raises
    ------
    ValueError
    """
    sizes = list(hidden_layer_sizes) if hasattr(hidden_layer_sizes, "__iter__") else [hidden_layer_sizes]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise ValueError(f"hidden_layer_sizes must hold integers, got {described(size)}")
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def activations(activation: Any, count: int) -> list[Activation]:
    """An activation for each hidden layer.

    Raises
    ------
    ValueError
    """
    given = [activation] * count if isinstance(activation, (str, Activation)) else list(activation)
    if len(given) != count:
        raise ValueError(f"activation has {len(given)} entries; there are {count} hidden layers")
    for value in given:
        if isinstance(value, str) and value not in ACTIVATIONS:
            raise ValueError(f"activation must hold names among {sorted(ACTIVATIONS)}, got {value!r}")
    return [layers_.activation("sigmoid" if isinstance(a, str) and a == "logistic" else a) for a in given]


def dropped(dropout: Any, count: int) -> list[float]:
    """The share of the outputs of each hidden layer that dropout drops.

    Raises
    ------
    ValueError
    """
    given = [dropout] * count if isinstance(dropout, Real) else list(dropout)
    if len(given) != count:
        raise ValueError(f"dropout has {len(given)} entries; there are {count} hidden layers")
    if not all(isinstance(share, Real) and 0 <= float(share) < 1 for share in given):
        raise ValueError(f"dropout must hold numbers in [0, 1), got {given}")
    return [float(share) for share in given]


def layers(estimator: Any, sizes: list[int], outputs: int, l2: float) -> tuple[Layer, ...]:
    """The layers of a net with hidden layers of these sizes; l2: the penalty of each dense layer."""
    found: list[Layer] = []
    each = zip(sizes, activations(estimator.activation, len(sizes)), dropped(estimator.dropout, len(sizes)))
    for size, activation, share in each:
        if estimator.normalization is None:
            found.append(Dense(size, activation, weight_init="zeros", l2=l2))
        else:
            found += [Dense(size, weight_init="zeros", l2=l2), NORMS[estimator.normalization](), activation]
        if share:
            found.append(Dropout(share))
    return (*found, Dense(outputs, weight_init="zeros", l2=l2))


def refuse_for_lbfgs(estimator: Any, sizes: list[int]) -> None:
    """Raise ValueError for layers with which the loss is not a function of the parameters alone."""
    if estimator.normalization == "batch" or any(dropped(estimator.dropout, len(sizes))):
        raise ValueError(
            "solver='lbfgs' goes neither with dropout nor with normalization='batch': it needs a loss of the "
            "parameters alone"
        )
