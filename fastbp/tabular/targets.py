"""A target as classes or numbers: what a net learns, and the columns that its outputs become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._support.declarative import Declared, flag, number
from .checks import text, texts
from .kinds import hint
from .scaling import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .reading import Table

    Task = Literal["classification", "regression"]
    Scale = Literal["standard", "log", "counts"]

MOST_CLASSES = 20  # of a target of integers, unless the task is given


class Classes(Declared):
    """A target of classes that exclude each other: one output, a logit, for each.

    Parameters
    ----------
    column : str
        The name of the target.
    classes : sequence of str
        The classes in the order of the outputs.
    integers : bool
        Whether the classes are integers: then 1, 1.0 and 1e0 are one class.
    """

    name = "classes"
    fields = ("column", "classes", "integers")
    required = ("column", "classes")
    column: str
    classes: tuple[str, ...]
    integers: bool

    def __init__(self, column: str, classes: Iterable[str], integers: bool = False):
        self._set(column=text("column", column), classes=texts("classes", classes), integers=flag("integers", integers))

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.classes)

    @classmethod
    def learn(cls, column: str, values: NDArray[Any]) -> Classes:
        """Take the classes from an array of str, or of integers in any dtype of numbers."""
        if values.dtype == object:
            return cls(column, sorted(set(values)))
        return cls(column, [str(int(value)) for value in np.unique(values)], True)

    def encode(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The position of each value's class, -1 for a value that is not a class.

        Parameters
        ----------
        values : (rows,) array
            Of str, or of numbers.

        Returns
        -------
        (rows,) int64 array
        """
        names = values if values.dtype == object else [str(int(v)) if v == np.floor(v) else "" for v in values]
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(name, -1) for name in names], np.int64)

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The outputs of a net as columns.

        Parameters
        ----------
        outputs : (rows, classes) array
            Logits.

        Returns
        -------
        dict of str to (rows,) array
            Under the target's name the most likely class; then the probability of each class.
        """
        names = np.array(self.classes, object)
        p = probabilities(outputs)
        return {self.column: names[outputs.argmax(axis=1)]} | {
            f"probability_{name}": p[:, i] for i, name in enumerate(self.classes)
        }


class Quantity(Declared):
    """A target of one or several numbers, centred and scaled.

    Parameters
    ----------
    columns : sequence of str
        The names of the targets.
    mean, deviation : sequence of float
        value = mean + deviation * output, for each target.
    log : bool
        Whether the left side is the logarithm of the value.
    quantiles : sequence of float, or None
        The levels, when the outputs are quantiles: all levels of the first target, then those of the second.
    """

    name = "quantity"
    fields = ("columns", "mean", "deviation", "log", "quantiles")
    required = ("columns", "mean", "deviation")
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    log: bool
    quantiles: tuple[float, ...] | None

    def __init__(
        self,
        columns: Iterable[str],
        mean: Iterable[float],
        deviation: Iterable[float],
        log: bool = False,
        quantiles: Iterable[float] | None = None,
    ):
        self._set(
            columns=texts("columns", columns),
            mean=tuple(number("mean", value) for value in mean),
            deviation=tuple(number("deviation", value, above=0) for value in deviation),
            log=flag("log", log),
            quantiles=None if quantiles is None else tuple(number("quantiles", q, above=0, below=1) for q in quantiles),
        )
        if self.quantiles is not None and list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must increase, got {', '.join(map(str, self.quantiles))}")
        if not len(self.columns) == len(self.mean) == len(self.deviation):
            raise ValueError(
                "columns, mean and deviation must have equally many elements, got "
                f"{len(self.columns)}, {len(self.mean)} and {len(self.deviation)}"
            )

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.columns) * len(self.quantiles or (0,))

    @classmethod
    def learn(
        cls,
        columns: Sequence[str],
        values: NDArray[np.float64],
        scale: Scale = "standard",
        quantiles: Sequence[float] | None = None,
    ) -> Quantity:
        """Take means and deviations from the training rows.

        Parameters
        ----------
        columns : sequence of str
        values : (rows, targets) float64 array
        scale, quantiles
            As for `learn_target`.
        """
        for name, column in zip(columns, values.T):
            if scale == "log" and not column.min() > 0:
                raise ValueError(f"target {name!r} has no logarithm: its least value is {column.min():g}")
            if scale == "counts" and not (column.min() >= 0 and column.max() > 0):
                raise ValueError(f"target {name!r} must be counts, which are at least 0, got {column.min():g}")
        if scale == "counts":
            return cls(columns, np.log(values.mean(axis=0)), np.ones(len(columns)), True, quantiles)
        values = np.log(values) if scale == "log" else values
        scales = [moments(name, column) for name, column in zip(columns, values.T)]
        means, deviations = [mean for mean, _ in scales], [deviation or 1.0 for _, deviation in scales]
        return cls(columns, means, deviations, scale == "log", quantiles)

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The outputs that give these values; both are arrays of shape (rows, targets)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(values) if self.log else values
        outputs: NDArray[np.float64] = (values - np.array(self.mean)) / np.array(self.deviation)
        return outputs

    def values(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """The outputs in the units of the target.

        Returns
        -------
        (rows, targets) float64 array, or (rows, targets, levels) for quantiles
            The quantiles of a row are sorted: a higher level is never below a lower one.
        """
        outputs = np.asarray(outputs, np.float64)
        outputs = outputs.reshape(len(outputs), len(self.columns), -1)
        if self.quantiles is not None:
            outputs = np.sort(outputs, axis=2)
        with np.errstate(over="ignore"):
            values: NDArray[np.float64] = outputs * np.array(self.deviation)[:, None] + np.array(self.mean)[:, None]
            values = np.exp(values) if self.log else values
        return values[:, :, 0] if self.quantiles is None else values

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """The outputs of a net as columns.

        Parameters
        ----------
        outputs : (rows, outputs) array

        Returns
        -------
        dict of str to (rows,) array
            Under each target's name its values; for quantiles under name_level, for each level.
        """
        values = self.values(outputs)
        if self.quantiles is None:
            return dict(zip(self.columns, values.T))
        return {
            f"{column}_{level:g}": values[:, i, j]
            for i, column in enumerate(self.columns)
            for j, level in enumerate(self.quantiles)
        }


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The softmax of logits, in float64.

    Parameters
    ----------
    logits : (rows, classes) array

    Returns
    -------
    (rows, classes) float64 array
    """
    logits = np.asarray(logits, np.float64)
    p: NDArray[np.float64] = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p


def target_values(table: Table, name: str, task: Task | None = None) -> NDArray[Any]:
    """The column of a target: an array of float64 when all its values are numbers, of str for text.

    Parameters
    ----------
    table : Table
        No value of the column is missing.
    name : str
    task : {"classification", "regression"} or None
        As for `learn_target`.

    Raises
    ------
    ValueError
        When there is no column of that name; for a cell that is not a finite number, naming its line, when most others
        are or when the task is regression.
    """
    values = table.parsed(name)
    wrong = np.flatnonzero(np.isinf(values))
    if not len(wrong):
        return values
    if task == "regression" or task is None and 2 * len(wrong) < len(values):
        advice = "" if task else ": mend it, or use --task classification"
        raise ValueError(f"{table.cell(name, wrong[0])} is not a finite number{advice}")
    return table.column(name)


def learn_target(
    column: str,
    values: NDArray[Any],
    rows: NDArray[Any],
    task: Task | None = None,
    scale: Scale = "standard",
    quantiles: Sequence[float] | None = None,
) -> Classes | Quantity:
    """Decide how a target becomes the outputs of a net.

    Parameters
    ----------
    column : str
        The name of the target.
    values : (rows,) or (rows, targets) array
        Numbers of any dtype, or an array of str. No value is missing.
    rows : array of int
        The training rows: scales come from these alone. Classes come from all rows.
    task : {"classification", "regression"} or None
        None: classification for text, and for at most 20 different integers with at least five rows each on average.
    scale : {"standard", "log", "counts"}
        How numbers are scaled: to mean 0 and deviation 1; the same after a logarithm; or divided by their mean, for a
        net whose output is the logarithm of the rate of counts.
    quantiles : sequence of float or None
        The levels, for a net whose outputs are quantiles of numbers.

    Returns
    -------
    Classes or Quantity

    Raises
    ------
    ValueError
        When the target does not suit the task.
    """
    is_text = values.dtype == object
    if task is None:
        few = not is_text and values.ndim == 1 and _are_integers(values) and _are_few(np.unique(values), len(values))
        task = "classification" if is_text or few else "regression"
    if task == "classification":
        if values.ndim != 1 or not is_text and not _are_integers(values):
            raise ValueError(f"target {column!r} must be text or integers for classification")
        target = Classes.learn(column, values)
        if 2 * len(target.classes) > len(values):
            raise ValueError(
                f"target {column!r} has {len(target.classes)} classes in {len(values)} rows"
                f"{hint(values) if is_text else ''}: too few of each"
            )
        if len(target.classes) < 2:
            raise ValueError(f"target {column!r} is {target.classes[0]} in all rows: there is nothing to learn")
        return target
    if is_text:
        raise ValueError(f"target {column!r} must be numbers for regression")
    values = values.astype(np.float64)
    names = [column] if values.ndim == 1 else [f"{column}_{i}" for i in range(values.shape[1])]
    return Quantity.learn(names, values.reshape(len(values), -1)[rows], scale, quantiles)


def _are_integers(values: NDArray[Any]) -> bool:
    return bool((values == np.floor(values)).all() and (np.abs(values) < 2**53).all())


def _are_few(different: NDArray[Any], rows: int) -> bool:
    return len(different) <= MOST_CLASSES and 5 * len(different) <= rows
