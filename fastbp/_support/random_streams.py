"""The registry of random streams: which stream of numbers each use draws from.

All randomness in fastbp is a function of (seed, stream, position): see `fastbp.ops.random_bits`. A stream's number has
the use in the bits from 40 up and a number within the use (a layer, an epoch) in the 40 bits below, so that two uses
with the same seed share no numbers. No other module computes a stream's number.
"""

_BITS = 40  # of the number within a use

# The uses. Another number for a use changes the results of every seed.
INITIALISATION = 1
SHUFFLE = 2
BIAS_INITIALISATION = 3
DROPOUT = 4
CHECK = 5
VALIDATION = 6
TRAIN_TEST_SPLIT = 7


def _stream(use: int, number: int) -> int:
    if not 0 <= number < 1 << _BITS:
        raise ValueError(f"the number of a random stream must be at least 0 and below 2^{_BITS}, got {number}")
    return use << _BITS | number


def initialisation(layer: int) -> int:
    """The initial W of a step with parameters; steps are numbered from 0 in the order of the flat vector."""
    return _stream(INITIALISATION, layer)


def bias_initialisation(layer: int) -> int:
    """The initial b of a step with parameters, numbered like `initialisation`."""
    return _stream(BIAS_INITIALISATION, layer)


def shuffle(epoch: int) -> int:
    """The order of the rows in an epoch, numbered from 0 over a trainer's life."""
    return _stream(SHUFFLE, epoch)


def dropout(layer: int) -> int:
    """The elements that a dropout step drops; dropout steps are numbered from 0. Consecutive layers have consecutive
    streams, which the core relies on."""
    return _stream(DROPOUT, layer)


def check(part: int) -> int:
    """The elements of one part of a network that `check_network` compares."""
    return _stream(CHECK, part)


def validation() -> int:
    """The rows that `Trainer.fit` holds out for validation."""
    return _stream(VALIDATION, 0)


def train_test_split() -> int:
    """The order of the rows in `fastbp.datasets.train_test_split`."""
    return _stream(TRAIN_TEST_SPLIT, 0)
