"""Tables: CSV files in, arrays for a net out, and its outputs back in the words and units of the table.

`read` takes a CSV as text, through pandas where it is installed and else through the csv module. `learn` looks at some
of its rows, those to train on, and returns an `Encoding`: how columns of numbers and of text become inputs, and how
outputs become classes or numbers. `save` writes it beside the net into one file, as plain data under "table", and
`load` brings both back. `fastbp.load` reads the net alone from such a file.

>>> from fastbp import table
>>> net, encoding = table.load("model.npz")  # doctest: +SKIP
>>> X = encoding.inputs.encode(table.read("new.csv"))  # doctest: +SKIP
>>> columns = encoding.target.decode(net.predict(X))  # doctest: +SKIP
"""

import csv
import gzip
import re
import warnings
from itertools import compress

import numpy as np

from . import storage
from .declarative import Declared, flag, number
from .network import Network, expected_vectors

VERSION = 1  # of what a file says under "table"
MOST_CATEGORIES = 100  # of a column of text
MOST_CLASSES = 20  # of a target of integers that nobody said is one of classes
# What stands for a value that is not there, in small letters.
MISSING = frozenset(("", "na", "n/a", "<na>", "nan", "null", "none", "?"))
DELIMITERS = ",;\t|"
DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d\d(\d\d)?")


# -------------------------------------------------------------------------------------------------------------- reading


class Cells:
    """A table as text.

    Attributes
    ----------
    path : str
        The file it is from.
    names : list of str
        Of the columns, in the order of the file.
    numbers : (rows,) int64 array
        Of the rows, as they stand in the file: 0 is the first after the header.
    """

    def __init__(self, path, columns, numbers, delimiter):
        self.path = path
        self.names = list(columns)
        self.numbers = numbers
        self._columns = columns
        self._delimiter = delimiter

    def __len__(self):
        return len(self.numbers)

    def column(self, name):
        """The cells of a column: an array of str, where "" stands for whatever means that there is no value.

        Raises
        ------
        ValueError
            Naming the column, when there is none of that name.
        """
        if name not in self._columns:
            raise ValueError(f"{self.path} has no column {name!r}; it has {_shortened(self.names)}")
        return self._columns[name]

    def reals(self, name):
        """A column of numbers as float64, nan where there is no value.

        Raises
        ------
        ValueError
            Naming column and line of the first cell that is something else, or infinite.
        """
        values, wrong = _reals(self.column(name))
        if len(wrong):
            raise ValueError(f"{self._cell(name, wrong[0])} is not a finite number")
        return values

    def take(self, rows):
        """The table of these rows: an array of numbers, or of bool."""
        columns = {name: cells[rows] for name, cells in self._columns.items()}
        return Cells(self.path, columns, self.numbers[rows], self._delimiter)

    def _cell(self, name, row):
        """Where a cell stands and what it holds: the beginning of a message."""
        text = self._columns[name][row]
        text = text if len(text) <= 40 else text[:37] + "..."
        return f"{self.path}, line {self._line(row)}, column {name!r}: {text!r}"

    def _line(self, row):
        """The line of the file in which a row begins."""
        with _opened(self.path) as file:
            found, start = -2, 1  # the header is the row before number 0
            reader = csv.reader(file, delimiter=self._delimiter)
            for fields in reader:
                found += _is_row(fields)
                if found == self.numbers[row]:
                    break
                start = reader.line_num + 1
        return start


def read(path, delimiter=None, engine=None):
    """Read a CSV file, gzipped if its name ends in .gz.

    Parameters
    ----------
    path : str or path
        Text in UTF-8, with the names of the columns in the first line. A column without a name, an index as a rule, is
        left out.
    delimiter : str or None
        What stands between two cells. None: the one of comma, semicolon, tab and bar that the first line has most of.
    engine : {"pandas", "csv"} or None
        What reads it. None: pandas where it is installed.

    Returns
    -------
    Cells

    Raises
    ------
    ValueError
        When the file is not such a table: two columns of one name, a line with more cells than the header, bytes that
        are not UTF-8, no rows.
    OSError, ImportError
        When it cannot be read; without pandas, when it was asked for.

    Notes
    -----
    Spaces around a cell do not count. Empty cells, those of a line that ends early, and NA, N/A, <NA>, nan, null, none
    and ?, in capitals or not, are values that are missing.
    """
    path = str(path)
    try:
        with _opened(path) as file:
            if delimiter is None:
                delimiter = max(DELIMITERS, key=file.readline().count)
                file.seek(0)
            columns = _read(path, file, delimiter, engine)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip data ({error})") from None
    rows = len(next(iter(columns.values()), ()))
    if not rows:
        raise ValueError(f"{path}: has no rows under its header")
    return Cells(path, {name: _stripped(cells) for name, cells in columns.items()}, np.arange(rows), delimiter)


def _opened(path):
    return (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8-sig", newline="")


def _read(path, file, delimiter, engine):
    """The columns with a name: {name: cells}."""
    header = [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    if not any(header):
        raise ValueError(f"{path}: the first line must hold the names of the columns")
    for number_, name in enumerate(header):
        if name and name in header[:number_]:
            raise ValueError(f"{path}: two columns have the name {name!r}")
    columns = None
    if engine != "csv":
        try:
            import pandas
        except ImportError:
            if engine == "pandas":
                raise
        else:
            columns = _by_pandas(pandas, file, len(header), delimiter)
    if columns is None:  # no pandas, or what it could not read: whose line the csv module can tell
        file.seek(0)
        columns = _by_csv(path, file, len(header), delimiter)
    return dict(compress(zip(header, columns), header))


def _by_pandas(pandas, file, width, delimiter):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # a line with more cells than the header
            frame = pandas.read_csv(
                file,
                header=None,
                names=range(width),
                index_col=False,
                dtype=str,
                na_filter=False,
                delimiter=delimiter,
                engine="c",
            )
    except (pandas.errors.ParserError, pandas.errors.ParserWarning):
        return None
    return [frame[i].to_numpy(object) for i in range(width)]


def _by_csv(path, file, width, delimiter):
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    rows = []
    try:
        next(reader)
        for row in reader:
            if not _is_row(row):
                continue
            if len(row) > width:
                raise ValueError(f"{path}, line {reader.line_num}: has {len(row)} cells; the header has {width}")
            rows.append(row + [""] * (width - len(row)))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    columns = np.empty((width, len(rows)), object)
    for i, cells in enumerate(zip(*rows)):
        columns[i] = cells
    return columns


def _is_row(fields):
    """Whether a line is one of the table: those that are empty are not."""
    return len(fields) > 1 or bool(fields and fields[0].strip())


def _stripped(cells):
    found = np.empty(len(cells), object)
    found[:] = ["" if (cell := text.strip()).lower() in MISSING else cell for text in cells]
    return found


def _reals(cells):
    """The cells as float64, nan where one is empty; and the numbers of those that are no finite numbers."""
    try:
        values = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        values = np.array([_real(cell) for cell in cells])
    return values, np.flatnonzero(~np.isfinite(values) & (cells != ""))


def _real(cell):
    try:
        return float(cell) if cell else np.nan
    except ValueError:
        return np.inf


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
            raise ValueError(f"column {column!r} has no value in the rows to train on: leave it out with --drop")
        fill = float(np.median(present))
        mean, deviation = _moments(column, np.where(np.isnan(values), fill, values))
        return cls(column, fill, mean, deviation)

    def encode(self, cells):
        """(rows, 1) float64 array."""
        values = cells.reals(self.column)
        values = np.where(np.isnan(values), self.fill, values)
        return _standardised(values, self.mean, self.deviation)[:, None]


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
            dates = " (dates are text)" if DATE.match(categories[-1]) else ""
            raise ValueError(
                f"column {column!r} is text with {len(categories)} different values{dates}, and {MOST_CATEGORIES} are "
                f"the most that become inputs: leave it out with --drop {column!r}"
            )
        return cls(column, categories)

    def encode(self, cells):
        """(rows, categories) float64 array: zeros alone, with a warning, for a cell that is none of them."""
        texts = cells.column(self.column)
        index = {category: i for i, category in enumerate(self.categories)}
        codes = np.array([index.get(text, -1) for text in texts])
        unknown = texts[codes < 0]
        if len(unknown):
            names = _shortened([repr(text) if text else "a missing value" for text in sorted(set(unknown))], str)
            warnings.warn(
                f"column {self.column!r} holds {names} in {_count(len(unknown), 'row')}, which no row trained on had: "
                "taken as none of its categories",
                stacklevel=2,
            )
        return (codes[:, None] == np.arange(self.width)).astype(np.float64)


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
            X[:, start : start + column.width] = column.encode(cells)
            start += column.width
        return X


class ArrayInputs(Declared):
    """What a net takes of an array: its columns as they are, or filled, centred and scaled each.

    Parameters
    ----------
    width : int
        Columns.
    fill, mean, deviation : sequence of float, or None
        As of `NumberColumn`, for each column. None: as they are, which suits pixels.
    """

    name = "array_inputs"
    fields = ("width", "fill", "mean", "deviation")
    required = ("width",)

    def __init__(self, width, fill=None, mean=None, deviation=None):
        self._set(width=int(number("width", width, least=1)))
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
            What to round to in the end; pixels of uint8 stay as they are.

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
        if not len(self.columns) == len(self.mean) == len(self.deviation):
            raise ValueError("columns, mean and deviation must have as many elements as each other")

    @property
    def outputs(self):
        return len(self.columns) * len(self.quantiles or (0,))

    @classmethod
    def learn(cls, columns, values, log=False, quantiles=None, scaled=True):
        """From the values of the rows to train on: (rows, targets) float64 array. scaled: centre and scale them."""
        if log:
            for column, of in zip(columns, values.T):
                if not of.min() > 0:
                    raise ValueError(f"target {column!r} has no logarithm: its least value is {of.min():g}")
            values = np.log(values)
        moments = [_moments(column, of) if scaled else (0.0, 1.0) for column, of in zip(columns, values.T)]
        return cls(columns, [m for m, _ in moments], [d or 1.0 for _, d in moments], log or not scaled, quantiles)

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
    """
    columns = []
    for name in names:
        texts = cells.column(name)
        values, wrong = _reals(texts)
        present = int((texts != "").sum())
        if not present:
            raise ValueError(f"column {name!r} has no values: leave it out with --drop {name!r}")
        if name in text or 2 * len(wrong) >= present:
            columns.append(TextColumn.learn(name, texts[rows]))
        elif len(wrong):
            raise ValueError(
                f"{cells._cell(name, wrong[0])} is not a finite number, as {present - len(wrong)} of the column's "
                f"{present} cells are: mend it, or use --text {name!r} or --drop {name!r}"
            )
        else:
            columns.append(NumberColumn.learn(name, values[rows]))
    return TableInputs(columns)


def learn_target(column, values, rows, task=None, **options):
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
    **options
        For `Quantity.learn`: log, quantiles, scaled.

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
        if len(target.classes) < 2:
            raise ValueError(f"target {column!r} is {target.classes[0]!r} in all rows: there is nothing to learn")
        return target
    if is_text:
        raise ValueError(f"target {column!r} must be numbers for regression")
    values = values.astype(np.float64)
    names = [column] if values.ndim == 1 else [f"{column}_{i}" for i in range(values.shape[1])]
    return Quantity.learn(names, values.reshape(len(values), -1)[rows], **options)


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
            raise ValueError("it holds a network and no table: fastbp.load reads it, and its outputs stay numbers")
        record = dict(description["table"])
        version = record.pop("version")
        if version != VERSION:
            raise ValueError(f"its table is of version {version}; this fastbp reads version {VERSION}")
        encoding = Encoding.from_dict(record)
        return expected_vectors(description)

    description, vectors = storage.read(path, expect)
    net = Network.from_description(description["network"], vectors)
    if (net.inputs, net.outputs) != (encoding.inputs.width, encoding.target.outputs):
        raise ValueError(f"{path}: its network and its table do not fit each other")
    return net, encoding


# --------------------------------------------------------------------------------------------------------------- helpers


def _moments(column, values):
    """Mean and deviation of the values, the latter 0 where they are all the same."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite(deviation):
        raise ValueError(f"column {column!r} holds numbers too large to scale")
    return mean, deviation if values.min() < values.max() else 0.0


def _standardised(values, mean, deviation):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, (values - mean) / deviation, 0.0)


def _text(name, value):
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")
    return value


def _texts(name, values):
    return tuple(_text(name, value) for value in values)


def _shortened(names, form=repr, most=8):
    """Some names in a row, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(form, names[:most])) + more


def _count(number_, noun):
    return f"{number_:,} {noun}{'' if number_ == 1 else 's'}"
