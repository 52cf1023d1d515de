"""The instruction set, the cores and the threads that fastbp uses.

The kernels are built for several instruction sets. Importing fastbp chooses the best one that the processor and the
operating system support, or the one that the environment variable ``FASTBP_ISA`` names (``portable``, ``avx2``,
``avx512``, ``neon``); the import fails with a ValueError if it is not available. ``FASTBP_NUM_THREADS`` is the upper
bound on the number of threads of a call that sets none. Where it is not set, the bound is the number of cores that this
process may use, and at most ``OMP_NUM_THREADS``. All are read once, at import.

The cores that this process may use are those of its affinity; in a container with a CPU quota (control groups of
version 1 or 2), at most the quota rounded down, and at least one.

The instruction sets with fused multiply-add (avx2, avx512, neon) give the same bits; portable rounds each product.
"""

import os

try:
    from . import _core
except ImportError as error:
    if error.name != __package__:  # the extension module is there, and failed to load
        raise
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    raise ImportError(
        f"fastbp in {folder} is not compiled: run 'pip install .' there, or start Python elsewhere"
    ) from None

from ._support.cpu_quota import cpu_quota

__all__ = ["available", "cores", "isa", "threads", "use"]

_quota = cpu_quota()
_core.set_core_quota(0 if _quota is None else max(1, int(_quota)))


def isa() -> str:
    """The instruction set in use.

    Returns
    -------
    str
        "portable", "avx2", "avx512" or "neon".
    """
    return _core.isa()


def available() -> tuple[str, ...]:
    """The instruction sets that this build contains and this machine can run.

    Returns
    -------
    tuple of str
        In ascending order; the last one is the default.
    """
    return _core.isas_available()


def use(name: str) -> None:
    """Switch this process to another instruction set.

    Operations switch at once, networks and trainers with their next call.

    Parameters
    ----------
    name : str
        One of `available()`.

    Raises
    ------
    ValueError
        If the instruction set is not available.
    """
    _core.use_isa(name)


def cores() -> int:
    """The number of cores that this process may use: those of its affinity, within the CPU quota of its container.

    Returns
    -------
    int
    """
    return _core.cores()


def threads() -> int:
    """The upper bound on the number of threads of a call that sets none.

    This is ``FASTBP_NUM_THREADS`` if set, otherwise the number of cores, and at most ``OMP_NUM_THREADS``.

    Returns
    -------
    int
    """
    return _core.threads()
