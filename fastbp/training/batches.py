"""Iterables of batches, for data that do not fit in memory or are generated while training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, TypeGuard

from .._support.declarative import described

NO_BATCHES = (str, bytes, bytearray, memoryview, Mapping, Set, type)


def are_batches(X: object) -> TypeGuard[Iterable[Any]]:
    """Whether X is an iterable of batches, rather than an array or an object that NumPy makes an array of.

    Parameters
    ----------
    X : object

    Returns
    -------
    bool
        True for lists, generators, a DataLoader of PyTorch, ...; their elements are not looked at.
    """
    arrays = ("__array__", "__dlpack__", "shape")  # the last one for sparse matrices
    return isinstance(X, Iterable) and not isinstance(X, NO_BATCHES) and not any(hasattr(X, name) for name in arrays)


class Batches:
    """An iterable of minibatches, iterated over once in each epoch.

    Parameters
    ----------
    source : iterable
        Of pairs (x, y) or triples (x, y, sample_weight), tuples or lists, as a trainer takes them. An iterator, such as
        a generator, lasts for one epoch only.
    name : str
        The caller's name of it, for error messages.

    Attributes
    ----------
    epochs : int
        Epochs begun.
    """

    def __init__(self, source: Iterable[Any], name: str = "X") -> None:
        self._source = source
        self._name = name
        self.epochs = 0

    def epoch(self) -> Iterator[tuple[Any, Any, Any]]:
        """Iterate over the batches of another epoch.

        Yields
        ------
        x, y, sample_weight
            The elements of the batch; None where it has no weights.

        Raises
        ------
        TypeError
            A batch is neither a pair nor a triple.
        ValueError
            There is no batch: a generator, for one, was exhausted in the epoch before.
        """
        self.epochs += 1
        number = 0
        for number, batch in enumerate(self._source, 1):
            yield self._checked(batch, number)
        if number == 0:
            raise ValueError(self._no_batches())

    def _checked(self, batch: Any, number: int) -> tuple[Any, Any, Any]:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            came = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else described(batch)
            raise TypeError(
                f"{self._name} must give batches (x, y) or (x, y, sample_weight), got {came} as batch {number}"
            )
        x, y, weights = (*batch, None)[:3]
        return x, y, weights

    def _no_batches(self) -> str:
        if self.epochs == 1:
            return f"{self._name} gave no batches"
        if isinstance(self._source, Iterator):
            return (
                f"{self._name} gave no batches in epoch {self.epochs}: a {type(self._source).__name__} can be gone "
                "through once. Train for one epoch, or give what begins anew each time, such as a list or a DataLoader"
            )
        return f"{self._name} gave no batches in epoch {self.epochs}"
