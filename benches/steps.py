"""Training in single steps called from Python, each with the NumPy arrays of one minibatch."""

from time import perf_counter

import numpy as np

from fastbp.bench.contestants import Twin
from fastbp.bench.verify import OtherResults

# Greatest distance of a loss from the twin's, as a share of it.
TOLERANCES = {"float64": 1e-8, "float32": 1e-4}


class Steps:
    """A mixin before a contestant's class: an epoch is a call of its `step(x, target)` for each minibatch.

    `step` does one update and returns the loss before it, as a number or as an array of the library that is ready to be
    read. The rows keep their order: shuffling is the caller's business and is not timed.
    """

    def __init__(self, net, X, y, threads=None):
        super().__init__(net, X, y, threads)
        y = self.targets(y)
        self.minibatches = [(X[i : i + net.batch], y[i : i + net.batch]) for i in range(0, len(X), net.batch)]

    def targets(self, y):
        """The targets of all rows in the dtype that the library takes without a conversion."""
        return y

    def first_loss(self):
        """The loss of the first minibatch."""
        return float(self.step(*self.minibatches[0]))

    def epochs(self, count, shuffle=False):
        seconds = []
        for _ in range(count):
            started = perf_counter()
            for x, target in self.minibatches:
                self.step(x, target)
            seconds.append(perf_counter() - started)
        return seconds


def verify_loss(net, data, one):
    """Raise OtherResults unless the first step returns the loss that the twin's returns. Restarts `one`."""
    dtype = data[0].dtype.name
    expected = Twin(net, *data).step(*(array[: net.batch] for array in data))
    one.restart()
    got = one.first_loss()
    if not np.isclose(got, expected, rtol=TOLERANCES[dtype], atol=0):
        raise OtherResults(f"{one.name} returns a loss of {got} for {net.name}, the twin {expected}, {dtype}")
