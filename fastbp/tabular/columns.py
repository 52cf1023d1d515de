"""How columns become inputs and targets, and outputs become columns: encodings."""

import re
import shlex
import warnings

import numpy as np

from .._support import storage
from .._support.declarative import Declared, flag, integer, number
from ..network import Network, expected_vectors
from .reading import Cells, counted, read, reals, shortened

__all__ = [
    "ArrayInputs",
    "Cells",
    "Classes",
    "Encoding",
    "NumberColumn",
    "Quantity",
    "TableInputs",
    "TextColumn",
    "learn_inputs",
    "learn_target",
    "load",
    "probabilities",
    "read",
    "save",
    "target_values",
]

VERSION = 1  # of what a file says under "table"
MOST_CATEGORIES = 100  # of a column of text
MOST_CLASSES = 20  # of a target of integers that nobody said is one of classes
NUMBERS = re.compile(r"[-+]?\d[\d.,' ]*$")  # that a person reads as one
# Text that a person may take for something else, and what to say of it.
HINTS = {
    re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d\d(\d\d)?"): " (dates are text)",
    NUMBERS: " (numbers are written as 1234.5)",
}


# --------------------------------------------------------------------------------------------------------------- inputs


class NumberColumn(Declared):
    """A column of numbers: filled where one is missing, centred and scaled.

    Parameters
    ----------
    column : str
        Its name.
    fill : float
        The median, for values that are missing.
    mean, deviation : float
        (value - mean) / deviation is the input; it is 0 where the deviation is.
    """

    name = "number_column"
    fields = required = ("column", "fill", "mean", "deviation")
    width = 1

    def __init__(self, column, fill, mean, deviation):
        self._set(
            column=_text("column", column),
            fill=number("fill", fill),
            mean=number("mean", mean),
            deviation=number("deviation", deviation, least=0),
        )

    @classmethod
    def learn(cls, column, values):
        """From the values of the rows to train on, nan where one is missing."""
        present = values[~np.isnan(values)]
        if not len(present):
            raise ValueError(f"column {column!r} has no value in the rows to train on")
        fill = float(np.median(present))
        mean, deviation = _moments(column, np.where(np.isnan(values), fill, values))
        return cls(column, fill, mean, deviation)

    def encode(self, cells, out):
        """Fill the (rows, 1) array `out`."""
        values = cells.reals(self.column)
        values = np.where(np.isnan(values), self.fill, values)
        with np.errstate(over="ignore"):
            out[:, 0] = _standardised(values, self.mean, self.deviation)
        wrong = np.flatnonzero(~np.isfinite(out[:, 0]))
        if len(wrong):
            raise ValueError(f"{cells.cell(self.column, wrong[0])} is too large to scale")


class TextColumn(Declared):
    """A column of text: one input for each category, 1 where the cell is that and else 0.

    Parameters
    ----------
    column : str
        Its name.
    categories : sequence of str
        "" stands for a value that is missing.
    """

    name = "text_column"
    fields = required = ("column", "categories")

    def __init__(self, column, categories):
        self._set(column=_text("column", column), categories=_texts("categories", categories))

    @property
    def width(self):
        return len(self.categories)

    @classmethod
    def learn(cls, column, cells):
        """From the cells of the rows to train on."""
        categories = sorted(set(cells))
        if len(categories) > MOST_CATEGORIES:
            raise ValueError(
                f"column {column!r} is text with {len(categories)} different values{_hint(cells)}, and "
                f"{MOST_CATEGORIES} are the most that become inputs: leave it out with --drop {shlex.quote(column)}"
            )
        return cls(column, categories)

    def encode(self, cells, out):
        """Fill the (rows, categories) array `out`: zeros alone, with a warning, for a cell that is none of them."""
        texts = cells.column(self.column)
        index = {category: i for i, category in enumerate(self.categories)}
        codes = np.array([index.get(text, -1) for text in texts])
        unknown = texts[codes < 0]
        if len(unknown):
            names = shortened([repr(text) if text else "a missing value" for text in sorted(set(unknown))], str)
            warnings.warn(
                f"column {self.column!r} holds {names} in {counted(len(unknown), 'row')}, which no row trained on had: "
                "taken as none of its categories",
                stacklevel=2,
            )
        out[...] = 0
        known = np.flatnonzero(codes >= 0)
        out[known, codes[known]] = 1


class TableInputs(Declared):
    """What a net takes of a table.

    Parameters
    ----------
    columns : sequence of NumberColumn and TextColumn
        Found by name: the order of a file's columns, and others it has, do not matter.
    """

    name = "table_inputs"
    fields = required = ("columns",)

    def __init__(self, columns):
        columns = tuple(columns)
        for column in columns:
            if not isinstance(column, (NumberColumn, TextColumn)):
                raise TypeError(f"columns must be of number_column and text_column, got {column!r}")
        self._set(columns=columns)

    @property
    def width(self):
        return sum(column.width for column in self.columns)

    def encode(self, cells, dtype=np.float32):
        """The inputs of a net: (rows, width) array.

        Parameters
        ----------
        cells : Cells
        dtype : dtype
            What to round to in the end.

        Raises
        ------
        ValueError
            When a column is not there, or a cell of a column of numbers is something else; naming it.

        Warns
        -----
        UserWarning
            For text that no row trained on had.
        """
        X = np.empty((len(cells), self.width), dtype)
        start = 0
        for column in self.columns:
            column.encode(cells, X[:, start : start + column.width])
            start += column.width
        return X


class ArrayInputs(Declared):
    """What a net takes of an array: its columns as they are, or filled, centred and scaled each.

    Parameters
    ----------
    width : int
        Columns.
    fill, mean, deviation : sequence of float, or None
        As of `NumberColumn`, for each column. None: as they are, and a net divides uint8 by 255.
    """

    name = "array_inputs"
    fields = ("width", "fill", "mean", "deviation")
    required = ("width",)

    def __init__(self, width, fill=None, mean=None, deviation=None):
        self._set(width=integer("width", width, least=1))
        for field, values in (("fill", fill), ("mean", mean), ("deviation", deviation)):
            if values is not None:
                values = tuple(number(field, value) for value in values)
                if len(values) != self.width:
                    raise ValueError(f"{field} has {len(values)} elements; width is {self.width}")
            self._set(**{field: values})

    @classmethod
    def learn(cls, X):
        """From the rows to train on."""
        columns = [NumberColumn.learn(f"X[:, {i}]", X[:, i].astype(np.float64)) for i in range(X.shape[1])]
        return cls(
            len(columns), *([getattr(column, field) for column in columns] for field in ("fill", "mean", "deviation"))
        )

    def encode(self, X, dtype=np.float32):
        """The inputs of a net: (rows, width) array.

        Parameters
        ----------
        X : (rows, width) array
        dtype : dtype
            What to round to in the end, unless X is of uint8.

        Raises
        ------
        ValueError
            When X has another shape.
        """
        if X.ndim != 2 or X.shape[1] != self.width:
            raise ValueError(f"X must have 2 dimensions and {self.width} columns, got shape {X.shape}")
        if self.mean is None:
            return X if X.dtype == np.uint8 else X.astype(dtype, copy=False)
        X = X.astype(np.float64)
        X = np.where(np.isnan(X), self.fill, X)
        return _standardised(X, np.array(self.mean), np.array(self.deviation)).astype(dtype)


# --------------------------------------------------------------------------------------------------------------- target


class Classes(Declared):
    """A target of classes that exclude each other: logits for each of them.

    Parameters
    ----------
    column : str
        The target's name.
    classes : sequence of str
        The classes in the order of the outputs.
    integers : bool
        Whether they are integers: then 1, 1.0 and 1e0 are one class.
    """

    name = "classes"
    fields = ("column", "classes", "integers")
    required = ("column", "classes")

    def __init__(self, column, classes, integers=False):
        self._set(
            column=_text("column", column), classes=_texts("classes", classes), integers=flag("integers", integers)
        )

    @property
    def outputs(self):
        return len(self.classes)

    @classmethod
    def learn(cls, column, values):
        """From an array of str, or of integers in any dtype of numbers."""
        if values.dtype == object:
            return cls(column, sorted(set(values)))
        return cls(column, [str(int(value)) for value in np.unique(values)], True)

    def encode(self, values):
        """The number of each value's class, -1 for one that is none of them: (rows,) int64 array.

        Parameters
        ----------
        values : (rows,) array
            Of str, or of numbers.
        """
        if values.dtype != object:
            values = [str(int(value)) if value == np.floor(value) else "" for value in values]
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(value, -1) for value in values], np.int64)

    def decode(self, outputs):
        """What a net's outputs say, column by column: {name: (rows,) array}.

        Parameters
        ----------
        outputs : (rows, classes) array
            Logits.

        Returns
        -------
        dict of str to array
            Under the target's name the likeliest class; then the probability of each.
        """
        names = np.array(self.classes, object)
        p = probabilities(outputs)
        return {self.column: names[outputs.argmax(axis=1)]} | {
            f"probability_{name}": p[:, i] for i, name in enumerate(self.classes)
        }


class Quantity(Declared):
    """A target of numbers, one or several: centred and scaled.

    Parameters
    ----------
    columns : sequence of str
        The targets' names.
    mean, deviation : sequence of float
        value = mean + deviation output, for each target.
    log : bool
        Whether that is the logarithm of the value.
    quantiles : sequence of float, or None
        The levels, when the outputs are quantiles: the levels of the first target, then those of the second.
    """

    name = "quantity"
    fields = ("columns", "mean", "deviation", "log", "quantiles")
    required = ("columns", "mean", "deviation")

    def __init__(self, columns, mean, deviation, log=False, quantiles=None):
        self._set(
            columns=_texts("columns", columns),
            mean=tuple(number("mean", value) for value in mean),
            deviation=tuple(number("deviation", value, above=0) for value in deviation),
            log=flag("log", log),
            quantiles=None if quantiles is None else tuple(number("quantiles", q, above=0, below=1) for q in quantiles),
        )
        if self.quantiles is not None and list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must increase, got {', '.join(map(str, self.quantiles))}")
        if not len(self.columns) == len(self.mean) == len(self.deviation):
            raise ValueError("columns, mean and deviation must have as many elements as each other")

    @property
    def outputs(self):
        return len(self.columns) * len(self.quantiles or (0,))

    @classmethod
    def learn(cls, columns, values, scale="standard", quantiles=None):
        """From the values of the rows to train on: (rows, targets) float64 array. scale: as for `learn_target`."""
        for column, of in zip(columns, values.T):
            if scale == "log" and not of.min() > 0:
                raise ValueError(f"target {column!r} has no logarithm: its least value is {of.min():g}")
            if scale == "counts" and not (of.min() >= 0 and of.max() > 0):
                raise ValueError(f"target {column!r} must be counts, which are at least 0, got {of.min():g}")
        if scale == "counts":
            return cls(columns, np.log(values.mean(axis=0)), np.ones(len(columns)), True, quantiles)
        values = np.log(values) if scale == "log" else values
        moments = [_moments(column, of) for column, of in zip(columns, values.T)]
        return cls(columns, [m for m, _ in moments], [d or 1.0 for _, d in moments], scale == "log", quantiles)

    def encode(self, values):
        """The outputs that would be right: (rows, targets) float64 array, from the values in that shape."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(values) if self.log else values
        return (values - self.mean) / self.deviation

    def values(self, outputs):
        """The outputs in the units of the target: (rows, targets) float64 array, (rows, targets, levels) of quantiles.

        Quantiles are put in order: a higher level is never below a lower one.
        """
        outputs = np.asarray(outputs, np.float64)
        outputs = outputs.reshape(len(outputs), len(self.columns), -1)
        if self.quantiles is not None:
            outputs = np.sort(outputs, axis=2)
        with np.errstate(over="ignore"):
            values = outputs * np.array(self.deviation)[:, None] + np.array(self.mean)[:, None]
            values = np.exp(values) if self.log else values
        return values[:, :, 0] if self.quantiles is None else values

    def decode(self, outputs):
        """What a net's outputs say, column by column: {name: (rows,) array}.

        Parameters
        ----------
        outputs : (rows, outputs) array

        Returns
        -------
        dict of str to array
            Each target's name; of quantiles, name_level for each level.
        """
        values = self.values(outputs)
        if self.quantiles is None:
            return dict(zip(self.columns, values.T))
        return {
            f"{column}_{level:g}": values[:, i, j]
            for i, column in enumerate(self.columns)
            for j, level in enumerate(self.quantiles)
        }


def probabilities(logits):
    """The softmax of logits: (rows, classes) float64 array."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


# ------------------------------------------------------------------------------------------------------------- encoding


class Encoding(Declared):
    """How a table becomes what a net takes, and what it gives becomes columns of a table.

    Parameters
    ----------
    inputs : TableInputs or ArrayInputs
    target : Classes or Quantity
    """

    name = "encoding"
    fields = required = ("inputs", "target")

    def __init__(self, inputs, target):
        if not isinstance(inputs, (TableInputs, ArrayInputs)) or not isinstance(target, (Classes, Quantity)):
            raise TypeError(f"inputs and target must be those of a table, got {inputs!r} and {target!r}")
        self._set(inputs=inputs, target=target)


def learn_inputs(cells, names, rows, text=()):
    """How columns become inputs.

    Parameters
    ----------
    cells : Cells
    names : sequence of str
        Of the columns to take.
    rows : array of int
        The rows to learn from: those to train on.
    text : sequence of str
        Columns to take as text whatever is in them.

    Returns
    -------
    TableInputs

    Raises
    ------
    ValueError
        Naming a column that does not exist, has no value, is text with more than 100 different values, or holds numbers
        for the most part and something else in some line.

    Warns
    -----
    UserWarning
        For a column of text that looks like numbers: with a decimal comma, say.
    """
    columns = []
    for name in names:
        texts = cells.column(name)
        values, wrong = reals(texts)
        present = int((texts != "").sum())
        if not present:
            raise ValueError(f"column {name!r} has no values: leave it out with --drop {shlex.quote(name)}")
        if name in text or 2 * len(wrong) >= present:
            columns.append(TextColumn.learn(name, texts[rows]))
            hint = _hint(texts)
            if name not in text and hint == HINTS[NUMBERS] and all(map(NUMBERS.match, filter(None, texts))):
                warnings.warn(
                    f"column {name!r} is taken as text{hint}; if that is right, say --text {shlex.quote(name)}",
                    stacklevel=2,
                )
        elif len(wrong):
            raise ValueError(
                f"{cells.cell(name, wrong[0])} is not a finite number, as {present - len(wrong)} of the column's "
                f"{present} cells are: mend it, or use --text {shlex.quote(name)} or --drop {shlex.quote(name)}"
            )
        else:
            columns.append(NumberColumn.learn(name, values[rows]))
    return TableInputs(columns)


def target_values(cells, name, task=None):
    """A target's column: an array of str for text, of float64 for numbers.

    Parameters
    ----------
    cells : Cells
        No value of the column is missing.
    name : str
    task : {"classification", "regression"} or None
        As for `learn_target`.

    Raises
    ------
    ValueError
        Naming the column, when there is none of that name, or the line of a cell that is no number, when the others
        are or when the task is regression.
    """
    values, wrong = reals(cells.column(name))
    if not len(wrong):
        return values
    if task == "regression" or task is None and 2 * len(wrong) < len(values):
        hint = "" if task else ": mend it, or use --task classification"
        raise ValueError(f"{cells.cell(name, wrong[0])} is not a finite number{hint}")
    return cells.column(name)


def learn_target(column, values, rows, task=None, scale="standard", quantiles=None):
    """How a target becomes what a net gives.

    Parameters
    ----------
    column : str
        Its name.
    values : (rows,) or (rows, targets) array
        Numbers of any dtype, or an array of str; none is missing.
    rows : array of int
        The rows to learn from: those to train on. (Classes are taken from all.)
    task : {"classification", "regression"} or None
        None: classification of text, and of at most 20 different integers that have five rows or more on average.
    scale : {"standard", "log", "counts"}
        How numbers are scaled: to mean 0 and deviation 1; so after a logarithm; or divided by their mean, for a net
        whose output is the logarithm of the rate of counts.
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
                f"{_hint(values) if is_text else ''}: too few of each"
            )
        if len(target.classes) < 2:
            raise ValueError(f"target {column!r} is {target.classes[0]} in all rows: there is nothing to learn")
        return target
    if is_text:
        raise ValueError(f"target {column!r} must be numbers for regression")
    values = values.astype(np.float64)
    names = [column] if values.ndim == 1 else [f"{column}_{i}" for i in range(values.shape[1])]
    return Quantity.learn(names, values.reshape(len(values), -1)[rows], scale, quantiles)


def _are_integers(values):
    return bool((values == np.floor(values)).all() and (np.abs(values) < 2**53).all())


def _are_few(different, rows):
    return len(different) <= MOST_CLASSES and 5 * len(different) <= rows


# ---------------------------------------------------------------------------------------------------------------- files


def save(path, net, encoding):
    """Write a net and the encoding of its table to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        As for `Network.save`, and `fastbp.load` reads the net from it.
    net : Network
    encoding : Encoding

    Raises
    ------
    TypeError, ValueError, ImportError, OSError
        As for `Network.save`.
    """
    record = {"version": VERSION, **encoding.to_dict()}
    storage.write(path, {"network": net.description(), "table": record}, net.vectors())


def load(path):
    """Read a net and the encoding of its table from a file that `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    net : Network
    encoding : Encoding

    Raises
    ------
    ValueError
        Naming the file and what is wrong with it, as for `Network.load`; or that it holds a net alone.
    TypeError, ImportError, OSError
        As for `Network.load`.
    """
    encoding = None

    def expect(description):
        nonlocal encoding
        if "table" not in description:
            raise storage.OtherContents(
                "it holds a network and no table: fastbp.load reads it, and its outputs stay numbers"
            )
        record = dict(description["table"])
        version = record.pop("version")
        if version != VERSION:
            raise storage.OtherContents(f"its table is of version {version}; this fastbp reads version {VERSION}")
        encoding = Encoding.from_dict(record)
        return expected_vectors(description)

    description, vectors = storage.read(path, expect)
    net = Network.from_description(description["network"], vectors)
    if (net.inputs, net.outputs) != (encoding.inputs.width, encoding.target.outputs):
        raise ValueError(f"{path}: its network and its table do not fit each other")
    return net, encoding


# -------------------------------------------------------------------------------------------------------------- helpers


def _moments(column, values):
    """Mean and deviation of the values, the latter 0 where they are all the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite(deviation):
        raise ValueError(f"column {column!r} holds numbers too large to scale")
    return mean, deviation if values.min() < values.max() else 0.0


def _hint(texts):
    """What to say of a column of text that looks like something else: by its first value."""
    first = next(filter(None, texts), "")
    return next((hint for pattern, hint in HINTS.items() if pattern.match(first)), "")


def _standardised(values, mean, deviation):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, (values - mean) / deviation, 0.0)


def _text(name, value):
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")
    return value


def _texts(name, values):
    return tuple(_text(name, value) for value in values)
