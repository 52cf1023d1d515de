"""CSV files as columns of text: large ones through pandas where it is installed, else by the csv module; one result."""

import csv
import gzip
import os
import warnings
from itertools import chain, compress

import numpy as np

# What stands for a value that is not there, in small letters.
MISSING = frozenset(("", "na", "n/a", "<na>", "nan", "null", "none", "?"))
DELIMITERS = ",;\t|"
END = "end"  # a line of our own after the last, that an open quote swallows
PANDAS_FROM = 1 << 24  # bytes of a file: importing pandas takes longer than the csv module does for smaller ones


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
            raise ValueError(f"{self.path} has no column {name!r}; it has {shortened(self.names)}")
        return self._columns[name]

    def reals(self, name):
        """A column of numbers as float64, nan where there is no value.

        Raises
        ------
        ValueError
            Naming column and line of the first cell that is something else, or infinite.
        """
        values, wrong = reals(self.column(name))
        if len(wrong):
            raise ValueError(f"{self.cell(name, wrong[0])} is not a finite number")
        return values

    def take(self, rows):
        """The table of these rows: an array of numbers, or of bool."""
        columns = {name: cells[rows] for name, cells in self._columns.items()}
        return Cells(self.path, columns, self.numbers[rows], self._delimiter)

    def cell(self, name, row):
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
        What reads it. None: pandas where it is installed and the file is so large that importing it pays.

    Returns
    -------
    Cells

    Raises
    ------
    ValueError
        When the file is not such a table: two columns of one name, a line with more cells than the header, bytes that
        are not UTF-8, no rows. When it is a pipe.
    OSError, ImportError
        When it cannot be read; without pandas, when it was asked for.

    Notes
    -----
    Spaces around a cell do not count. Empty cells, those of a line that ends early, and NA, N/A, <NA>, nan, null, none
    and ?, in capitals or not, are values that are missing.
    """
    path = str(path)
    size = os.path.getsize(path)
    if not os.path.isfile(path):
        raise ValueError(f"{path}: must be a file, which is read more than once: a pipe will not do")
    if engine is None and size < PANDAS_FROM:
        engine = "csv"
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
    reader = csv.reader(chain(file, [END]), delimiter=delimiter)
    rows, start = [], 1
    try:
        for row in reader:
            if _is_row(row):
                if len(row) > width:
                    raise ValueError(f"{path}, line {start}: has {len(row)} cells; the header has {width}")
                rows.append(row + [""] * (width - len(row)))
                last = start
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    if rows.pop()[0] != END:
        raise ValueError(f"{path}, line {last}: a quote opens a cell and nothing closes it")
    del rows[0]  # the header
    columns = np.empty((width, len(rows)), object)
    for i, cells in enumerate(zip(*rows)):
        columns[i] = cells
    return columns


def _is_row(fields):
    """Whether a line is one of the table: those of spaces alone are not, as for pandas."""
    return len(fields) > 1 or bool(fields) and (not fields[0] or bool(fields[0].strip(" \t")))


def _stripped(cells):
    found = np.empty(len(cells), object)
    found[:] = ["" if (cell := text.strip()).lower() in MISSING else cell for text in cells]
    return found


def reals(cells):
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


def shortened(names, form=repr, most=8):
    """Some names in a row, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(form, names[:most])) + more


def counted(number_, noun):
    return f"{number_:,} {noun}{'' if number_ == 1 else 's'}"
