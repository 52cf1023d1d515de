"""The data of a fit: checked arrays, the rows held out for validation, and the weights of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._support import random_streams
from .._support.declarative import described, integer, number

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Data(NamedTuple):
    """Arrays after all checks, in the form that the core takes.

    Attributes
    ----------
    x : (rows, inputs) array
    target : array with one element or row for each row of x
    code : int
        The number of the loss in the core for such targets; -1 where the loss is a Python function.
    weights : (rows,) float64 array or None
    """

    x: NDArray[Any]
    target: NDArray[Any]
    code: int
    weights: NDArray[Any] | None

    def of_rows(self, rows: NDArray[Any]) -> Data:
        """A copy that holds some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return self._replace(x=self.x[rows], target=self.target[rows], weights=weights)

    def weighted(self, factors: NDArray[Any]) -> Data:
        """The same data with the weight of each row multiplied by a factor."""
        return self._replace(weights=factors if self.weights is None else factors * self.weights)

    def marks(self) -> dict[str, int | None]:
        """Checksums by which a checkpoint tells these data from others, without a pass over x."""
        import zlib

        vectors = {"targets": self.target, "weights of rows": self.weights}
        return {
            name: None if vector is None else zlib.crc32(np.ascontiguousarray(vector).data)
            for name, vector in vectors.items()
        }


def held_out(validation: object, rows: int) -> int | None:
    """The number of rows that a `validation` given as a share holds out.

    Parameters
    ----------
    validation : object
        The argument of `fit`.
    rows : int

    Returns
    -------
    int or None
        None where `validation` is data, or None.

    Raises
    ------
    TypeError
        When `validation` is neither a share, nor data, nor None.
    ValueError
        When the share is not in (0, 1), or leaves no row on one of the two sides.
    """
    if validation is None or isinstance(validation, (tuple, list)):
        return None
    if isinstance(validation, (bool, str)) or not isinstance(validation, (float, np.floating)):
        raise TypeError(
            "validation must be (X, y), (X, y, sample_weight), a share of the rows such as 0.1, or None, "
            f"got {described(validation)}"
        )
    count = round(number("validation", validation, above=0, below=1) * rows)
    if not 0 < count < rows:
        raise ValueError(f"validation is {validation}, which of {rows} rows leaves {count} to one side")
    return count


def split(
    random_permutation: Callable[[int, int, int], NDArray[Any]], seed: int, rows: int, count: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows to train on and the `count` rows held out, as functions of the seed; both in ascending order."""
    order = random_permutation(seed, random_streams.validation(), rows)
    return np.sort(order[count:]), np.sort(order[:count])


def validation_parts(validation: Any) -> tuple[Any, Any, Any]:
    """X, y and sample_weight (or None) of a `validation` given as data.

    Raises
    ------
    TypeError
        When it has neither two elements nor three.
    """
    if len(validation) not in (2, 3):
        raise TypeError(f"validation must be (X, y) or (X, y, sample_weight), got {len(validation)} elements")
    X, y, weights = (*validation, None)[:3]
    return X, y, weights


def by_class(name: str, class_weight: Any, labels: NDArray[Any], classes: int) -> NDArray[Any]:
    """The weight of each row, given the weights of the classes.

    Parameters
    ----------
    name : str
        The name of the argument, for error messages.
    class_weight : (C,) array, dict of class number to weight, or "balanced"
        Classes that are missing in a dict have weight 1. Balanced: rows / (C * rows of that class), where C is the
        number of classes that occur.
    labels : ndarray of class numbers (rows,)
    classes : int

    Returns
    -------
    ndarray of float64 (rows,)

    Raises
    ------
    TypeError, ValueError
        When class_weight is of another kind, or a weight is not finite and at least 0.
    """
    weights = np.ones(classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"{name} must be 'balanced', an array or a dict, got {class_weight!r}")
        counts = np.bincount(labels, minlength=classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, dict):
        for label, weight in class_weight.items():
            label = integer(f"a class in {name}", label, least=0, most=classes - 1)
            weights[label] = number(f"{name}[{label}]", weight, least=0)
    else:
        try:
            weights = np.asarray(class_weight)
        except ValueError:  # lists of different lengths
            weights = np.array(None)
        if weights.dtype.kind not in "fiu" or weights.ndim != 1:
            raise TypeError(f"{name} must be 'balanced', an array or a dict, got {described(class_weight)}")
        if len(weights) != classes:
            raise ValueError(f"{name} has {len(weights)} elements; the network has {classes} outputs")
        weights = weights.astype(np.float64)
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            raise ValueError(f"{name} must be finite and at least 0, got {weights[wrong[0]]} for class {wrong[0]}")
    weights_of_rows: NDArray[Any] = weights[labels]
    return weights_of_rows
