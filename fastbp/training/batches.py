"""Data that come in batches: what is given instead of arrays when they do not fit in memory, or are made on the way."""

from collections.abc import Iterable, Iterator, Mapping, Set

from .._support.declarative import described

NO_BATCHES = (str, bytes, bytearray, memoryview, Mapping, Set, type)


def are_batches(X):
    """Whether X is to be gone through batch by batch: an iterable that is no array and does not offer itself as one.

    Parameters
    ----------
    X : object

    Returns
    -------
    bool
        True for lists, generators, a DataLoader of PyTorch, ...; what they give is not looked at.
    """
    arrays = ("__array__", "__dlpack__", "shape")  # the last one for sparse matrices
    return isinstance(X, Iterable) and not isinstance(X, NO_BATCHES) and not any(hasattr(X, name) for name in arrays)


class Batches:
    """An iterable of minibatches, gone through once an epoch.

    Parameters
    ----------
    source : iterable
        Gives pairs (x, y) or triples (x, y, sample_weight), tuples or lists, of what a trainer takes. An iterator, such
        as a generator, gives them for one epoch only.
    name : str
        What the caller calls it.

    Attributes
    ----------
    epochs : int
        Epochs begun.
    """

    def __init__(self, source, name="X"):
        self._source = source
        self._name = name
        self.epochs = 0

    def epoch(self):
        """Go through the batches once more.

        Yields
        ------
        x, y, sample_weight
            As they were given; None where there is no weight.

        Raises
        ------
        TypeError
            A batch is neither a pair nor a triple.
        ValueError
            There is no batch at all: a generator, say, has given all it had in the epoch before.
        """
        self.epochs += 1
        number = 0
        for number, batch in enumerate(self._source, 1):
            yield self._read(batch, number)
        if number == 0:
            raise ValueError(self._nothing())

    def _read(self, batch, number):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            came = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else described(batch)
            raise TypeError(
                f"{self._name} must give batches (x, y) or (x, y, sample_weight), got {came} as batch {number}"
            )
        return (*batch, None)[:3]

    def _nothing(self):
        if self.epochs == 1:
            return f"{self._name} gave no batches"
        if isinstance(self._source, Iterator):
            return (
                f"{self._name} gave no batches in epoch {self.epochs}: a {type(self._source).__name__} can be gone "
                "through once. Train for one epoch, or give what begins anew each time, such as a list or a DataLoader"
            )
        return f"{self._name} gave no batches in epoch {self.epochs}"
