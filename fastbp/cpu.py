"""The instruction set and the cores that fastbp uses.

The kernels are built for several instruction sets, and the best one that the processor and the operating system
support is chosen when fastbp is imported. The environment variable ``FASTBP_ISA`` (``portable``, ``avx2``,
``avx512``, ``neon``) chooses another; a name that is not available makes the import fail with a ValueError.
``FASTBP_NUM_THREADS`` limits the threads where a call does not say how many. Both are read once, at import.

Those with fused multiply-add (avx2, avx512, neon) give the same bits; portable rounds each multiplication.
"""

import os
from importlib import import_module

try:
    _core = import_module("._core", __package__)
except ModuleNotFoundError as error:
    if error.name != f"{__package__}._core":
        raise
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    raise ImportError(
        f"fastbp in {folder} is not compiled: run 'pip install .' there, or start Python elsewhere"
    ) from None

__all__ = ["available", "cores", "isa", "threads", "use"]


def isa():
    """The instruction set in use.

    Returns
    -------
    str
        "portable", "avx2", "avx512" or "neon".
    """
    return _core.isa()


def available():
    """The instruction sets that this build has kernels for and this machine can run.

    Returns
    -------
    tuple of str
        From the plainest to the best, which is what is used when nothing else is asked for.
    """
    return _core.isas_available()


def use(name):
    """Use another instruction set from now on, in this process.

    Operations change over at once; networks and trainers with their next call.

    Parameters
    ----------
    name : str
        One of `available()`.

    Raises
    ------
    ValueError
        If it is not available.
    """
    _core.use_isa(name)


def cores():
    """The number of cores this process may run on.

    Returns
    -------
    int
    """
    return _core.cores()


def threads():
    """The number of threads used at most where a call does not say: FASTBP_NUM_THREADS, or else the number of cores.

    Returns
    -------
    int
    """
    return _core.threads()
