"""DATA of a command: a CSV file, a .npz file, a folder in the format of MNIST, or the bundled digits."""

from __future__ import annotations

import argparse
import os
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import datasets, tabular
from .._support.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Inputs = tabular.Table | NDArray[Any]
    Task = Literal["classification", "regression"]

DIGITS = "digits"  # the word for the bundled digits
ARRAYS = ".npz"


class Rows:
    """Some rows of data, with their target.

    Attributes
    ----------
    inputs : Table, or (rows, columns) array
    target : (rows,) or (rows, targets) array
        Numbers, or an object array of str.
    """

    def __init__(self, inputs: Inputs, target: NDArray[Any]):
        self.inputs = inputs
        self.target = target

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Some of these rows, given by their positions or by an array of bool."""
        inputs = self.inputs.take(rows) if isinstance(self.inputs, tabular.Table) else self.inputs[rows]
        return Rows(inputs, self.target[rows])


def kind(path: str | None) -> Literal["digits", "mnist", "arrays", "table"]:
    """What kind of data a path names; None stands for the digits."""
    if path is None or path == DIGITS and not os.path.exists(path):
        return "digits"
    if os.path.isdir(path):
        return "mnist"
    return "arrays" if path.endswith(ARRAYS) else "table"


def refuse_same(files: dict[str, str | None]) -> None:
    """Refuse to write over a file that is read, or to write two things to one file.

    Parameters
    ----------
    files : dict of str to str or None
        Paths by the name of their argument; files that are read come first.

    Raises
    ------
    ValueError
    """
    found: dict[str, str] = {}
    for name, path in files.items():
        if path is not None:
            first = found.setdefault(os.path.realpath(path), name)
            if first != name:
                raise ValueError(f"{name} must be another file than {first}, got {path} for both")


def training_data(options: argparse.Namespace) -> tuple[Rows, Rows | None, str]:
    """The rows to train on, the test rows of data that has its own, and the target's name."""
    path = options.data
    found = kind(path)
    if found in ("digits", "mnist"):
        if options.target is not None:
            raise ValueError("--target goes with a CSV or a .npz file: the target of images is their digit")
        if found == "digits":
            return Rows(*datasets.load_digits()), None, "digit"
        X, y, X_test, y_test = datasets.load_mnist(path)
        return Rows(X, y), Rows(X_test, y_test), "digit"
    if found == "arrays":
        name = options.target or "y"
        return _rows_of_arrays(path, options, name), None, name
    table = _read_table(path, options)
    name = options.target
    if name is None:
        raise ValueError(f"--target NAME is missing: {path} has the columns {', '.join(map(repr, table.names))}")
    return _with_target_column(table, name, options.task), None, name


def inputs_for_model(encoding: tabular.Encoding, options: argparse.Namespace) -> Inputs:
    """What a model is to predict from: a table or an array."""
    found = _kind_for_model(encoding, options.data)
    if found == "table":
        return _read_table(options.data, options)
    if found == "arrays":
        return _read_arrays(options.data, options)[0]
    return datasets.load_digits()[0] if found == "digits" else datasets.load_mnist(options.data)[2]


def rows_for_model(encoding: tabular.Encoding, options: argparse.Namespace) -> Rows:
    """The rows, with their target, to compare a model's predictions with."""
    found = _kind_for_model(encoding, options.data)
    target = encoding.target
    if found == "digits":
        return Rows(*datasets.load_digits())
    if found == "mnist":
        return Rows(*datasets.load_mnist(options.data)[2:])
    names = [target.column] if isinstance(target, tabular.Classes) else list(target.columns)
    if found == "table":
        is_text = isinstance(target, tabular.Classes) and not target.integers
        table = _read_table(options.data, options)
        return _with_target_column(table, names[0], "classification" if is_text else "regression")
    name = names[0] if len(names) == 1 else names[0].rpartition("_")[0]
    return _rows_of_arrays(options.data, options, name)


def _kind_for_model(encoding: tabular.Encoding, path: str) -> str:
    found = kind(path)
    of_table = isinstance(encoding.inputs, tabular.TableInputs)
    if of_table != (found == "table"):
        wanted = "a table: DATA must be a CSV file" if of_table else "arrays: DATA must be a .npz file or images"
        raise ValueError(f"the model was trained on {wanted}, got {path}")
    return found


# -------------------------------------------------------------------------------------------------------------- tables


def _read_table(path: str, options: argparse.Namespace) -> tabular.Table:
    return tabular.read(path, options.delimiter)


def _with_target_column(table: tabular.Table, name: str, task: Task | None) -> Rows:
    """The rows of a table whose target is known, and the target."""
    missing = table.missing(name)
    if missing.all():
        raise ValueError(f"column {name!r} of {table.path} has no values")
    if missing.any():
        _warn_of_left_out(missing.sum(), name)
        table = table.take(~missing)
    return Rows(table, tabular.target_values(table, name, task))


def _warn_of_left_out(count: int, name: str) -> None:
    warnings.warn(f"{counted(int(count), 'row')} without a value of {name!r} left out", stacklevel=2)


# -------------------------------------------------------------------------------------------------------------- arrays


def _read_arrays(path: str, options: argparse.Namespace, *targets: str) -> list[NDArray[Any]]:
    """Arrays of a .npz file: the inputs as numbers (rows, columns), and the targets of these names."""
    inputs = options.inputs
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in (inputs, *targets):
                if name not in file:
                    raise ValueError(f"{path} has no array {name!r}; it has {', '.join(map(repr, file.files))}")
            X, *others = (_read_array(path, file, name) for name in (inputs, *targets))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: truncated or damaged, or not a .npz file ({error})") from None
    if X.dtype.kind not in "fiub" or X.ndim < 2 or not X.size:
        raise ValueError(f"{path}: {inputs!r} must be numbers (rows, columns), got {X.dtype} of shape {X.shape}")
    return [X.reshape(len(X), -1), *others]


def _read_array(path: str, file: Any, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = file[name]
        return array
    except ValueError as error:
        raise ValueError(
            f"{path}: {name!r} cannot be read ({error}): save numbers, or text as of a str dtype with .astype(str)"
        ) from None


def _rows_of_arrays(path: str, options: argparse.Namespace, name: str) -> Rows:
    """The rows of a .npz file whose target, the array of that name, is known."""
    X, y = _read_arrays(path, options, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind not in "fiubU" or y.ndim not in (1, 2) or len(y) != len(X):
        raise ValueError(
            f"{name!r} must be numbers or text, one for each of the {len(X)} rows, got {y.dtype} of shape {y.shape}"
        )
    if y.dtype.kind == "U":
        return Rows(X, y.astype(object))
    rows = Rows(X, y.astype(np.float64))
    missing = np.isnan(rows.target.reshape(len(y), -1)).any(axis=1)
    if missing.any():
        _warn_of_left_out(missing.sum(), name)
        rows = rows.take(~missing)
    if not np.isfinite(rows.target).all() or not len(rows):
        raise ValueError(f"{name!r} must hold finite numbers")
    return rows
