"""Lines about data, models and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.wording import counted, shortened
from ..layers import Dense, Residual
from ..tabular import Classes, NumberColumn, Quantity, Table, TableInputs, TextColumn, probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network import Network
    from ..tabular import Encoding
    from .data import Rows

MOST_LISTED = 20  # classes with a line of their own


def of_data(path: str | None, rows: Rows, encoding: Encoding) -> str:
    """What was read."""
    inputs, read = encoding.inputs, f"{path or 'digits'}: {counted(len(rows), 'row')}"
    if not isinstance(inputs, TableInputs) or not isinstance(rows.inputs, Table):
        return f"{read} of {counted(inputs.width, 'number')}"
    texts = sum(isinstance(column, TextColumn) for column in inputs.columns)
    kinds = [(len(inputs.columns) - texts, "numbers"), (texts, "text")]
    columns = " and ".join(f"{count} of {kind}" for count, kind in kinds if count)
    missing = sum(int(rows.inputs.missing(column.column).sum()) for column in inputs.columns)
    filled = f"; {counted(missing, 'missing value')}" if missing else ""
    return f"{read}; columns: {columns}, {counted(inputs.width, 'input')}{filled}"


def of_target(target: Classes | Quantity) -> str:
    """What a model predicts."""
    if isinstance(target, Classes):
        names = shortened(target.classes, str if target.integers else repr, 10)
        return f"{target.column!r}, one of {len(target.classes)} classes: {names}"
    names = ", ".join(map(repr, target.columns))
    scale = ", by its logarithm" if target.log else ""
    if target.quantiles is None:
        return f"{names}, {'numbers' if len(target.columns) > 1 else 'a number'}{scale}"
    return f"quantiles {', '.join(f'{level:g}' for level in target.quantiles)} of {names}{scale}"


def of_target_values(target: Classes | Quantity, values: NDArray[Any], may_be_numbers: bool) -> str:
    """What is predicted, and the range of the values that were read.

    may_be_numbers: integers that are taken as classes could be meant as numbers, which the line then mentions.
    """
    remark = ""
    if isinstance(target, Classes):
        remark = "; --task regression takes them as numbers" if target.integers and may_be_numbers else ""
    elif values.ndim == 1:
        remark = f"; it goes from {_rounded(values.min())} to {_rounded(values.max())}"
    return f"predicting {of_target(target)}{remark}"


def of_widths(net: Network) -> str:
    """The widths of a net's layers, as in 784-128-10."""

    def widths(layers: Sequence[Any]) -> Iterator[int]:
        for layer in layers:
            if isinstance(layer, Dense):
                yield layer.units
            elif isinstance(layer, Residual):
                yield from widths(layer.layers)

    return "-".join(map(str, [net.inputs, *widths(net.layers)]))


def of_column(column: NumberColumn | TextColumn) -> str:
    """How a column becomes inputs."""
    if isinstance(column, TextColumn):
        return f"text: {shortened([name or '(missing)' for name in column.categories], str)}"
    mean, deviation, fill = map(_rounded, (column.mean, column.deviation, column.fill))
    return f"a number, {mean} on average with deviation {deviation}; {fill} where missing"


def of_predictions(target: Classes | Quantity, outputs: NDArray[Any], values: NDArray[Any]) -> list[str]:
    """How well a net predicts.

    Parameters
    ----------
    target : Classes or Quantity
    outputs : (rows, outputs) array
        The outputs of the net.
    values : array
        The values of the target, as they were read.

    Returns
    -------
    list of str
        Lines.
    """
    if isinstance(target, Classes):
        return _of_classes(target, outputs, values)
    values = values.reshape(len(values), -1).astype(np.float64)
    predicted = target.values(outputs)
    constant = target.values(np.zeros((1, target.outputs)))
    lines = []
    for i, name in enumerate(target.columns):
        column = values[:, i]
        if target.quantiles is None:
            lines += _of_numbers(name, predicted[:, i], column, constant[0, i])
        else:
            lines += _of_quantiles(name, target.quantiles, predicted[:, i], column)
    return lines


def of_each_class(target: Classes, outputs: NDArray[Any], values: NDArray[Any]) -> list[str]:
    """For each of the first classes its recall and precision, in words."""
    labels, chosen = target.encode(values), outputs.argmax(axis=1)
    lines = []
    for i, name in enumerate(target.classes[:MOST_LISTED]):
        rows, named = labels == i, chosen == i
        found = int((rows & named).sum())
        recall = f"{found / rows.sum():.1%} found" if rows.any() else "none there"
        precision = f"right in {found / named.sum():.1%} when named" if named.any() else "never named"
        lines.append(f"  {name}: {counted(int(rows.sum()), 'row')}, {recall}; {precision}")
    if len(target.classes) > MOST_LISTED:
        lines.append(f"  and {len(target.classes) - MOST_LISTED} more classes")
    return lines


def _of_classes(target: Classes, outputs: NDArray[Any], values: NDArray[Any]) -> list[str]:
    labels = target.encode(values)
    right = outputs.argmax(axis=1) == labels
    known = labels >= 0
    counts = np.bincount(labels[known], minlength=target.outputs)
    most = int(counts.argmax())
    lines = [
        f"accuracy {right.mean():.2%} ({right.sum():,} of {len(right):,}); "
        f"always {target.classes[most]!r} would be right in {counts[most] / len(labels):.2%}"
    ]
    if known.any():
        loss = -np.log(np.maximum(probabilities(outputs)[known, labels[known]], 1e-300)).mean()
        lines.append(f"mean -log(probability of the right class) {loss:.4f}; of guessing {np.log(target.outputs):.4f}")
    return lines


def _of_numbers(name: str, predicted: NDArray[np.float64], values: NDArray[np.float64], constant: float) -> list[str]:
    residual = float(np.square(values - predicted).sum())
    total = float(np.square(values - values.mean()).sum())
    error, of_constant = float(np.abs(values - predicted).mean()), float(np.abs(values - constant).mean())
    return [
        f"R2 of {name!r} {1 - residual / total:.4f}" if total else f"R2 is not defined: all of {name!r} is the same",
        f"mean absolute error {_rounded(error)} in its units; always saying {_rounded(constant)} it would be "
        f"{_rounded(of_constant)}",
    ]


def _of_quantiles(
    name: str, levels: Sequence[float], predicted: NDArray[np.float64], values: NDArray[np.float64]
) -> list[str]:
    below = "; ".join(
        f"{np.mean(values < predicted[:, j]):.1%} lie below quantile {level:g}" for j, level in enumerate(levels)
    )
    lines = [f"{name}: {below}"]
    if len(levels) > 1:
        low, high = min(levels), max(levels)
        inside = (values >= predicted.min(axis=1)) & (values <= predicted.max(axis=1))
        width = _rounded(float(np.median(np.ptp(predicted, axis=1))))
        lines.append(
            f"between the outer two: {inside.mean():.1%} ({high - low:.0%} wanted), {width} apart in the median"
        )
    return lines


def _rounded(value: float) -> str:
    """A number as text, to four digits or to the unit."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
