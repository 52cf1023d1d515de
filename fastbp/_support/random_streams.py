"""Which stream of random numbers belongs to what.

All randomness is a function of (seed, stream, position): see ``random_bits``. Streams are numbered here, once, so that
no two uses share numbers: the use in the bits from 40 up, which one of its kind in the 40 bits below.
"""

_INITIALISATION = 1
_SHUFFLE = 2
_BIAS_INITIALISATION = 3
_DROPOUT = 4
_CHECK = 5
_VALIDATION = 6


def initialisation(layer):
    """The stream of the initial W of a step with parameters, numbered from 0 in the order of the flat vector."""
    return _INITIALISATION << 40 | layer


def shuffle(epoch):
    """The stream of the order of rows in an epoch, numbered from 0 over a trainer's life."""
    return _SHUFFLE << 40 | epoch


def bias_initialisation(layer):
    """The stream of the initial b of a step with parameters, numbered like `initialisation`."""
    return _BIAS_INITIALISATION << 40 | layer


def dropout(layer):
    """The stream of what a dropout step drops, numbered from 0 in the order of the net's dropout steps."""
    return _DROPOUT << 40 | layer


def check(part):
    """The stream of which elements a check of a network looks at, in each of its parts."""
    return _CHECK << 40 | part


def validation(part):
    """The stream of which rows are held out, part 0: for the validation of a fit."""
    return _VALIDATION << 40 | part
