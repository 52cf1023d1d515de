"""DATA of a command: a CSV file, a .npz file, a folder in the format of MNIST, or the bundled digits."""

import os
import warnings
import zipfile

import numpy as np

from .. import datasets
from ..tabular import columns as table
from ..tabular.reading import counted

DIGITS = "digits"  # stands for the bundled ones
ARRAYS = ".npz"


class Rows:
    """Some rows of data.

    Attributes
    ----------
    inputs : Cells, or (rows, columns) array
    target : (rows,) or (rows, targets) array, or None
        Numbers, or an object array of str.
    """

    def __init__(self, inputs, target=None):
        self.inputs = inputs
        self.target = target

    def __len__(self):
        return len(self.inputs)

    def take(self, rows):
        of_table = isinstance(self.inputs, table.Cells)
        target = None if self.target is None else self.target[rows]
        return Rows(self.inputs.take(rows) if of_table else self.inputs[rows], target)


def kind(path):
    """ "digits", "mnist", "arrays" or "table"."""
    if path is None or path == DIGITS and not os.path.exists(path):
        return "digits"
    if os.path.isdir(path):
        return "mnist"
    return "arrays" if path.endswith(ARRAYS) else "table"


def refuse_same(files):
    """Refuse to write over what is read, or two things to one file.

    Parameters
    ----------
    files : dict of str to str or None
        The paths by what they were given as, those that are read first.

    Raises
    ------
    ValueError
    """
    found = {}
    for name, path in files.items():
        if path is not None:
            first = found.setdefault(os.path.realpath(path), name)
            if first != name:
                raise ValueError(f"{name} must be another file than {first}, got {path} for both")


def of_training(options):
    """The rows to train on, and those to test with where the data has its own, or None; and the target's name."""
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
        return _with_target(_arrays(path, options.inputs, name), name), None, name
    cells = table.read(path, options.delimiter)
    name = options.target
    if name is None:
        raise ValueError(f"--target NAME is missing: {path} has the columns {', '.join(map(repr, cells.names))}")
    return _of_table(cells, name, options.task), None, name


def of_model(path, encoding, target, delimiter=None, inputs="X"):
    """The rows that a model is to predict from.

    Parameters
    ----------
    path : str
    encoding : Encoding
        The model's.
    target : bool
        Whether the target is needed, too.
    delimiter : str or None
    inputs : str
        Of a .npz file, the array's name.

    Returns
    -------
    Rows
    """
    found = kind(path)
    of_table = isinstance(encoding.inputs, table.TableInputs)
    if of_table != (found == "table"):
        wanted = "a table: DATA must be a CSV file" if of_table else "arrays: DATA must be a .npz file or images"
        raise ValueError(f"the model was trained on {wanted}, got {path}")
    of_classes = isinstance(encoding.target, table.Classes)
    columns = [encoding.target.column] if of_classes else list(encoding.target.columns)
    if found == "table":
        cells = table.read(path, delimiter)
        if not target:
            return Rows(cells)
        task = "classification" if of_classes and not encoding.target.integers else "regression"
        return _of_table(cells, columns[0], task)
    if found == "digits":
        return Rows(*datasets.load_digits())
    if found == "mnist":
        return Rows(*datasets.load_mnist(path)[2:])
    name = columns[0] if len(columns) == 1 else columns[0].rpartition("_")[0]
    rows = _arrays(path, inputs, name if target else None)
    return _with_target(rows, name) if target else rows


def _of_table(cells, name, task):
    present = cells.column(name) != ""
    if not present.any():
        raise ValueError(f"column {name!r} of {cells.path} has no values")
    if not present.all():
        _left_out(len(cells) - present.sum(), name)
        cells = cells.take(present)
    return Rows(cells, table.target_values(cells, name, task))


def _arrays(path, inputs, target):
    """The array of inputs in a .npz file, and that of the target unless its name is None."""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in (inputs, target):
                if name is not None and name not in file:
                    raise ValueError(f"{path} has no array {name!r}; it has {', '.join(map(repr, file.files))}")
            X = _array(path, file, inputs)
            y = None if target is None else _array(path, file, target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: truncated or damaged, or not a .npz file ({error})") from None
    if X.dtype.kind not in "fiub" or X.ndim < 2 or not X.size:
        raise ValueError(f"{path}: {inputs!r} must be numbers (rows, columns), got {X.dtype} of shape {X.shape}")
    return Rows(X.reshape(len(X), -1), y)


def _array(path, file, name):
    try:
        return file[name]
    except ValueError as error:
        raise ValueError(
            f"{path}: {name!r} cannot be read ({error}): save numbers, or text as of a str dtype with .astype(str)"
        ) from None


def _with_target(rows, name):
    y = rows.target
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind not in "fiubU" or y.ndim not in (1, 2) or len(y) != len(rows):
        raise ValueError(
            f"{name!r} must be numbers or text, one for each of the {len(rows)} rows, got {y.dtype} of shape {y.shape}"
        )
    if y.dtype.kind == "U":
        return Rows(rows.inputs, y.astype(object))
    rows = Rows(rows.inputs, y.astype(np.float64))
    missing = np.isnan(rows.target.reshape(len(y), -1)).any(axis=1)
    if missing.any():
        _left_out(missing.sum(), name)
        rows = rows.take(~missing)
    if not np.isfinite(rows.target).all() or not len(rows):
        raise ValueError(f"{name!r} must hold finite numbers")
    return rows


def _left_out(count, name):
    warnings.warn(f"{counted(int(count), 'row')} without a value of {name!r} left out", stacklevel=2)
