"""How well a net predicts, in words."""

import numpy as np

from ..layers import Dense, Residual
from ..tabular.columns import Classes, TableInputs, TextColumn, probabilities
from ..tabular.reading import counted, shortened

MOST_LISTED = 20  # classes that get a line each


def say_data(path, rows, encoding):
    """Print what was read."""
    inputs = encoding.inputs
    what = f"{path or 'digits'}: {counted(len(rows), 'row')}"
    if not isinstance(inputs, TableInputs):
        print(f"{what} of {counted(inputs.width, 'number')}")
        return
    texts = sum(isinstance(column, TextColumn) for column in inputs.columns)
    numbers = len(inputs.columns) - texts
    parts = [f"{count} of {kind}" for count, kind in ((numbers, "numbers"), (texts, "text")) if count]
    missing = sum(int((rows.inputs.column(column.column) == "").sum()) for column in inputs.columns)
    filled = f"; {counted(missing, 'missing value')}" if missing else ""
    print(f"{what}; columns: {' and '.join(parts)}, {counted(inputs.width, 'input')}{filled}")


def say_target(target, values, asked):
    """Print what is predicted. asked: the target is of the user's choosing."""
    hint = ""
    if isinstance(target, Classes):
        hint = "; --task regression takes them as numbers" if target.integers and asked else ""
    elif values.ndim == 1:
        hint = f"; it goes from {quantity(values.min())} to {quantity(values.max())}"
    print(f"predicting {of_target(target)}{hint}")


def of_target(target):
    """What is predicted."""
    if isinstance(target, Classes):
        names = shortened(target.classes, str if target.integers else repr, 10)
        return f"{target.column!r}, one of {len(target.classes)} classes: {names}"
    names = ", ".join(map(repr, target.columns))
    scale = ", by its logarithm" if target.log else ""
    if target.quantiles is None:
        return f"{names}, {'numbers' if len(target.columns) > 1 else 'a number'}{scale}"
    return f"quantiles {', '.join(f'{level:g}' for level in target.quantiles)} of {names}{scale}"


def shape(net):
    """The widths of a net's layers, as in 784-128-10."""

    def widths(layers):
        for layer in layers:
            if isinstance(layer, Dense):
                yield layer.units
            elif isinstance(layer, Residual):
                yield from widths(layer.layers)

    return "-".join(map(str, [net.inputs, *widths(net.layers)]))


def scores(target, outputs, values):
    """What to say of predictions.

    Parameters
    ----------
    target : Classes or Quantity
    outputs : (rows, outputs) array
        Of the net.
    values : array
        What was right, as the table has it.

    Returns
    -------
    list of str
        A line each.
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


def _of_classes(target, outputs, values):
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


def of_each_class(target, outputs, values):
    """A line for each class, where there are not too many: how many rows of it are found, and how sure its name is."""
    labels, chosen = target.encode(values), outputs.argmax(axis=1)
    lines = []
    for i, name in enumerate(target.classes[:MOST_LISTED]):
        mine = labels == i
        found = int((mine & (chosen == i)).sum())
        claimed = int((chosen == i).sum())
        share = f"{found / mine.sum():.1%} found" if mine.any() else "none there"
        sure = f"right in {found / claimed:.1%} when named" if claimed else "never named"
        lines.append(f"  {name}: {counted(int(mine.sum()), 'row')}, {share}; {sure}")
    if len(target.classes) > MOST_LISTED:
        lines.append(f"  and {len(target.classes) - MOST_LISTED} more classes")
    return lines


def _of_numbers(name, predicted, values, constant):
    left = float(np.square(values - predicted).sum())
    total = float(np.square(values - values.mean()).sum())
    error, of_constant = np.abs(values - predicted).mean(), np.abs(values - constant).mean()
    return [
        f"R2 of {name!r} {1 - left / total:.4f}" if total else f"R2 is not defined: all of {name!r} is the same",
        f"mean absolute error {quantity(error)} in its units; always saying {quantity(constant)} it would be "
        f"{quantity(of_constant)}",
    ]


def _of_quantiles(name, levels, predicted, values):
    below = "; ".join(
        f"{np.mean(values < predicted[:, j]):.1%} lie below quantile {level:g}" for j, level in enumerate(levels)
    )
    lines = [f"{name}: {below}"]
    if len(levels) > 1:
        low, high = min(levels), max(levels)
        inside = (values >= predicted.min(axis=1)) & (values <= predicted.max(axis=1))
        width = quantity(np.median(np.ptp(predicted, axis=1)))
        lines.append(
            f"between the outer two: {inside.mean():.1%} ({high - low:.0%} wanted), {width} apart in the median"
        )
    return lines


def quantity(value):
    """A number as text, to four digits or the unit."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def of_column(column):
    """What a net takes of a column."""
    if isinstance(column, TextColumn):
        names = [name or "(missing)" for name in column.categories]
        return f"text: {shortened(names, str)}"
    mean, deviation, fill = map(quantity, (column.mean, column.deviation, column.fill))
    return f"a number, {mean} on average with deviation {deviation}; {fill} where missing"
