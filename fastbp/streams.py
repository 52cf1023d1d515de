"""Which stream of random numbers belongs to what.

All randomness is a function of (seed, stream, position): see ``random_bits``. Streams are numbered here, once, so that
no two uses share numbers: the use in the bits from 40 up, which one of its kind in the 40 bits below.
"""

_INITIALISATION = 1
_SHUFFLE = 2
_DROPOUT = 3


def initialisation(layer):
    """The stream of the initial weights of a dense layer, numbered from 0 in the order of the flat vector."""
    return _INITIALISATION << 40 | layer


def shuffle(epoch):
    """The stream of the order of rows in an epoch, numbered from 0 over a trainer's life."""
    return _SHUFFLE << 40 | epoch


def dropout(layer):
    """The stream of a dropout layer, numbered from 0 among those of the net."""
    return _DROPOUT << 40 | layer
