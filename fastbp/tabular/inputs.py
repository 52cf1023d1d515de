"""Columns of a table, or of an array, as the inputs of a net."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.declarative import Declared, integer, number
from .._support.wording import counted, shortened
from .checks import text, texts
from .kinds import column_kind, hint, resembles_numbers
from .scaling import moments, standardised

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from .reading import Table

MOST_CATEGORIES = 100  # of a column of text


class NumberColumn(Declared):
    """A column of numbers: one input, centred and scaled; missing values are filled.

    Parameters
    ----------
    column : str
        The name of the column.
    fill : float
        The value in place of a missing one: the median.
    mean, deviation : float
        The input is (value - mean) / deviation, or 0 where the deviation is 0.
    """

    name = "number_column"
    fields = required = ("column", "fill", "mean", "deviation")
    width = 1
    column: str
    fill: float
    mean: float
    deviation: float

    def __init__(self, column: str, fill: float, mean: float, deviation: float):
        self._set(
            column=text("column", column),
            fill=number("fill", fill),
            mean=number("mean", mean),
            deviation=number("deviation", deviation, least=0),
        )

    @classmethod
    def learn(cls, column: str, values: NDArray[np.float64]) -> NumberColumn:
        """Take fill value, mean and deviation from the training rows; nan stands for a missing value."""
        present = values[~np.isnan(values)]
        if not len(present):
            raise ValueError(f"column {column!r} has no value in the rows to train on")
        fill = float(np.median(present))
        mean, deviation = moments(column, np.where(np.isnan(values), fill, values))
        return cls(column, fill, mean, deviation)

    def encode(self, table: Table, out: NDArray[np.floating[Any]]) -> None:
        """Write the input to `out`, an array of shape (rows, 1)."""
        values = table.numbers(self.column)
        values = np.where(np.isnan(values), self.fill, values)
        with np.errstate(over="ignore"):
            out[:, 0] = standardised(values, self.mean, self.deviation)
        wrong = np.flatnonzero(~np.isfinite(out[:, 0]))
        if len(wrong):
            raise ValueError(f"{table.cell(self.column, wrong[0])} is too large to scale")


class TextColumn(Declared):
    """A column of text: one input for each category, 1 where the cell is that category and 0 elsewhere.

    Parameters
    ----------
    column : str
        The name of the column.
    categories : sequence of str
        The texts that have an input, in the order of the inputs; "" stands for a missing value.
    """

    name = "text_column"
    fields = required = ("column", "categories")
    column: str
    categories: tuple[str, ...]

    def __init__(self, column: str, categories: Iterable[str]):
        self._set(column=text("column", column), categories=texts("categories", categories))

    @property
    def width(self) -> int:
        """The number of inputs."""
        return len(self.categories)

    @classmethod
    def learn(cls, column: str, cells: NDArray[np.object_]) -> TextColumn:
        """Take the categories from the cells of the training rows."""
        categories = sorted(set(cells))
        if len(categories) > MOST_CATEGORIES:
            raise ValueError(
                f"column {column!r} is text with {len(categories)} different values{hint(cells)}, and "
                f"{MOST_CATEGORIES} are the most that become inputs: leave it out with --drop {shlex.quote(column)}"
            )
        return cls(column, categories)

    def encode(self, table: Table, out: NDArray[np.floating[Any]]) -> None:
        """Write the inputs to `out`, an array of shape (rows, categories).

        A cell that is none of the categories gives zeros alone, and a warning.
        """
        cells = table.column(self.column)
        index = {category: i for i, category in enumerate(self.categories)}
        codes = np.array([index.get(cell, -1) for cell in cells])
        unknown = cells[codes < 0]
        if len(unknown):
            names = shortened([repr(cell) if cell else "a missing value" for cell in sorted(set(unknown))], str)
            warnings.warn(
                f"column {self.column!r} holds {names} in {counted(len(unknown), 'row')}, which no training row had: "
                "taken as none of its categories",
                stacklevel=2,
            )
        out[...] = 0
        known = np.flatnonzero(codes >= 0)
        out[known, codes[known]] = 1


class TableInputs(Declared):
    """The inputs of a net from the columns of a table.

    Parameters
    ----------
    columns : sequence of NumberColumn and TextColumn
        A table's columns are found by name: their order, and other columns, do not matter.
    """

    name = "table_inputs"
    fields = required = ("columns",)
    columns: tuple[NumberColumn | TextColumn, ...]

    def __init__(self, columns: Iterable[NumberColumn | TextColumn]):
        columns = tuple(columns)
        for column in columns:
            if not isinstance(column, (NumberColumn, TextColumn)):
                raise TypeError(f"columns must be of NumberColumn and TextColumn, got {column!r}")
        self._set(columns=columns)

    @property
    def width(self) -> int:
        """The number of inputs."""
        return sum(column.width for column in self.columns)

    def encode(self, table: Table, dtype: DTypeLike = np.float32) -> NDArray[np.floating[Any]]:
        """The inputs for the rows of a table.

        Parameters
        ----------
        table : Table
        dtype : dtype

        Returns
        -------
        (rows, width) array

        Raises
        ------
        ValueError
            When a column is not there, or a cell of a column of numbers is not a finite number, naming its line.

        Warns
        -----
        UserWarning
            For text that no training row had.
        """
        X: NDArray[np.floating[Any]] = np.empty((len(table), self.width), dtype)
        start = 0
        for column in self.columns:
            column.encode(table, X[:, start : start + column.width])
            start += column.width
        return X


class ArrayInputs(Declared):
    """The inputs of a net from the columns of an array: as they are, or filled, centred and scaled.

    Parameters
    ----------
    width : int
        The number of columns.
    fill, mean, deviation : sequence of float, or None
        As for `NumberColumn`, one for each column. None: the columns are taken as they are.
    """

    name = "array_inputs"
    fields = ("width", "fill", "mean", "deviation")
    required = ("width",)
    width: int
    fill: tuple[float, ...] | None
    mean: tuple[float, ...] | None
    deviation: tuple[float, ...] | None

    def __init__(
        self,
        width: int,
        fill: Iterable[float] | None = None,
        mean: Iterable[float] | None = None,
        deviation: Iterable[float] | None = None,
    ):
        self._set(width=integer("width", width, least=1))
        for field, values in (("fill", fill), ("mean", mean), ("deviation", deviation)):
            if values is not None:
                values = tuple(number(field, value) for value in values)
                if len(values) != self.width:
                    raise ValueError(f"{field} has {len(values)} elements; width is {self.width}")
            self._set(**{field: values})

    @classmethod
    def learn(cls, X: NDArray[Any]) -> ArrayInputs:
        """Take fill values, means and deviations from the training rows."""
        columns = [NumberColumn.learn(f"X[:, {i}]", X[:, i].astype(np.float64)) for i in range(X.shape[1])]
        return cls(
            len(columns),
            [column.fill for column in columns],
            [column.mean for column in columns],
            [column.deviation for column in columns],
        )

    def encode(self, X: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """The inputs for the rows of an array.

        Parameters
        ----------
        X : (rows, width) array
        dtype : dtype
            The dtype of the result. uint8 columns that are taken as they are stay uint8.

        Returns
        -------
        (rows, width) array

        Raises
        ------
        ValueError
            When X has another shape.
        """
        if X.ndim != 2 or X.shape[1] != self.width:
            raise ValueError(f"X must have 2 dimensions and {self.width} columns, got shape {X.shape}")
        if self.fill is None or self.mean is None or self.deviation is None:
            return X if X.dtype == np.uint8 else X.astype(dtype, copy=False)
        X = X.astype(np.float64)
        X = np.where(np.isnan(X), self.fill, X)
        return standardised(X, np.array(self.mean), np.array(self.deviation)).astype(dtype)


def learn_inputs(table: Table, names: Sequence[str], rows: NDArray[Any], text: Collection[str] = ()) -> TableInputs:
    """Decide how columns become inputs.

    Parameters
    ----------
    table : Table
    names : sequence of str
        The columns to take.
    rows : array of int
        The training rows: fill values, scales and categories come from these alone.
    text : collection of str
        Columns to take as text, whatever they hold.

    Returns
    -------
    TableInputs

    Raises
    ------
    ValueError
        Naming a column that does not exist, has no values, is text with more than 100 different values, or mostly holds
        numbers and something else in some line.

    Warns
    -----
    UserWarning
        For a column of text that looks like numbers, for example with a decimal comma.
    """
    columns: list[NumberColumn | TextColumn] = []
    for name in names:
        if column_kind(table, name, name in text) == "number":
            columns.append(NumberColumn.learn(name, table.numbers(name)[rows]))
            continue
        cells = table.column(name)
        columns.append(TextColumn.learn(name, cells[rows]))
        if name not in text and resembles_numbers(cells):
            warnings.warn(
                f"column {name!r} is taken as text{hint(cells)}; if that is right, say --text {shlex.quote(name)}",
                stacklevel=2,
            )
    return TableInputs(columns)
