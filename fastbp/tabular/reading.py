"""CSV files as tables of text. pandas reads them; the csv module finds the line of a cell for error messages."""

from __future__ import annotations

import csv
import gzip
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .._support.wording import shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Cells that stand for a missing value, in lower case; "" stands for all of them in a Table.
MISSING = frozenset(("", "na", "n/a", "<na>", "nan", "null", "none", "?"))
DELIMITERS = ",;\t|"


class Table:
    """The rows of a CSV file as text.

    Attributes
    ----------
    path : str
        The file.
    names : list of str
        The names of the columns, in the order of the file.
    """

    def __init__(self, path: str, frame: Any, delimiter: str, parsed: dict[str, NDArray[np.float64]] | None = None):
        self.path = path
        self.names: list[str] = list(frame.columns)
        self._frame = frame  # the cells as they stand in the file; its index numbers the records, 0 is the header
        self._delimiter = delimiter
        self._parsed = parsed or {}  # results of `parsed`

    def __len__(self) -> int:
        return len(self._frame)

    def column(self, name: str) -> NDArray[np.object_]:
        """The cells of a column without the spaces around them: an array of str, "" for a missing value.

        Raises
        ------
        ValueError
            When there is no column of that name.
        """
        codes, texts = self._distinct(name)
        return texts[codes]

    def parsed(self, name: str) -> NDArray[np.float64]:
        """A column as float64: nan for a missing value, inf for a cell that is not a finite number.

        Raises
        ------
        ValueError
            When there is no column of that name.
        """
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers as float64, nan for a missing value.

        Raises
        ------
        ValueError
            When there is no column of that name; for the first cell that is not a finite number, naming its line.
        """
        values = self.parsed(name)
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            raise ValueError(f"{self.cell(name, wrong[0])} is not a finite number")
        return values

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Whether each cell of a column stands for a missing value."""
        return np.isnan(self.parsed(name))

    def take(self, rows: NDArray[Any]) -> Table:
        """The table of some rows, given by their positions or by an array of bool."""
        parsed = {name: values[rows] for name, values in self._parsed.items()}
        return Table(self.path, self._frame.iloc[rows], self._delimiter, parsed)

    def cell(self, name: str, row: int) -> str:
        """The place and the text of a cell: the beginning of an error message."""
        text = self.column(name)[row]
        text = text if len(text) <= 40 else text[:37] + "..."
        number = self._frame.index[row]
        line = next((line for i, (line, _) in enumerate(_records(self.path, self._delimiter)) if i == number), "?")
        return f"{self.path}, line {line}, column {name!r}: {text!r}"

    def _series(self, name: str) -> Any:
        if name not in self._frame.columns:
            raise ValueError(f"{self.path} has no column {name!r}; it has {shortened(self.names)}")
        return self._frame[name]

    def _distinct(self, name: str) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
        """The different texts of a column, and for each cell the position of its text."""
        codes, cells = self._series(name).factorize()
        texts = [cell.strip() for cell in cells]
        return codes, np.array(["" if text.lower() in MISSING else text for text in texts], object)

    def _parse(self, name: str) -> NDArray[np.float64]:
        try:  # the quick way, for a column of numbers without gaps
            values: NDArray[np.float64] = self._series(name).to_numpy(np.float64)
            if np.isfinite(values).all():
                return values
        except ValueError:
            pass
        codes, texts = self._distinct(name)
        return np.array([_number(text) for text in texts])[codes]


def _number(text: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def read(path: str | os.PathLike[str], delimiter: str | None = None) -> Table:
    """Read a CSV file, gzipped if its name ends in .gz.

    Parameters
    ----------
    path : str or path
        Text in UTF-8, with the names of the columns in the first line. A column without a name, usually an index, is
        left out.
    delimiter : str or None
        The ASCII character between two cells. None: the most frequent of comma, semicolon, tab and bar in the first
        line.

    Returns
    -------
    Table

    Raises
    ------
    ImportError
        Without pandas.
    ValueError
        When the file is not such a table: two columns of one name, a line with more cells than the header, bytes that
        are not UTF-8, no rows; or when it is a pipe.
    OSError
        When the file cannot be read.

    Notes
    -----
    Spaces around a cell do not count. Empty cells, cells that a short line lacks, and NA, N/A, <NA>, nan, null, none
    and ?, in capitals or not, are missing values.
    """
    path = str(path)
    os.stat(path)  # raises FileNotFoundError
    if not os.path.isfile(path):
        raise ValueError(f"{path}: must be a file, which is read more than once: a pipe will not do")
    if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise ValueError(
            f"delimiter must be one ASCII character other than a quote or the end of a line: {delimiter!r}"
        )
    try:
        delimiter = delimiter or _guessed_delimiter(path)
        frame = _read_frame(path, delimiter)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip data ({error})") from None
    header = [] if frame is None else [name.strip() for name in frame.iloc[0]]
    if not any(header):
        raise ValueError(f"{path}: the first line must hold the names of the columns")
    named = [i for i, name in enumerate(header) if name]
    (name, count), *_ = Counter(header[i] for i in named).most_common(1)
    if count > 1:
        raise ValueError(f"{path}: two columns have the name {name!r}")
    if len(frame) == 1:
        raise ValueError(f"{path}: has no rows under its header")
    frame = frame.iloc[1:, named]
    frame.columns = [header[i] for i in named]
    return Table(path, frame, delimiter)


def _read_frame(path: str, delimiter: str) -> Any:
    """The records of a file as a DataFrame of str, the header as its first row; None for an empty file."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("CSV files are read with pandas: pip install 'fastbp[table]'") from error
    try:
        return pandas.read_csv(
            path,
            delimiter=delimiter,
            header=None,
            dtype=object,
            na_filter=False,
            encoding="utf-8",
            compression="gzip" if path.endswith(".gz") else None,
            engine="c",
        )
    except pandas.errors.EmptyDataError:
        return None
    except pandas.errors.ParserError as error:
        raise _located(path, delimiter, error) from None


def _located(path: str, delimiter: str, error: Exception) -> ValueError:
    """What pandas could not parse, with the line of the file; pandas counts records."""
    try:
        records = _records(path, delimiter)
        line, header = next(records)
        for line, cells in records:
            if len(cells) > len(header):
                return ValueError(f"{path}, line {line}: has {len(cells)} cells; the header has {len(header)}")
    except csv.Error:
        return ValueError(f"{path}: {error}")
    if "EOF inside string" in str(error):
        return ValueError(f"{path}, line {line}: a quote opens a cell and nothing closes it")
    return ValueError(f"{path}: {error}")


def _records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line in which each record of a file begins, and its cells; the header comes first.

    Lines that are empty or hold spaces alone are not records, as for pandas.
    """
    with _opened(path) as file:
        reader, line = csv.reader(file, delimiter=delimiter), 1
        for cells in reader:
            if len(cells) > 1 or cells and (not cells[0] or cells[0].strip(" \t")):
                yield line, cells
            line = reader.line_num + 1


def _guessed_delimiter(path: str) -> str:
    with _opened(path) as file:
        first = next(filter(str.strip, file), "")
    return max(DELIMITERS, key=first.count)


def _opened(path: str) -> TextIO:
    opened: Any = gzip.open if path.endswith(".gz") else open
    file: TextIO = opened(path, "rt", encoding="utf-8-sig", newline="")
    return file
