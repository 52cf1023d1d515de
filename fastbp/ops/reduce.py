"""Sums and checks over whole arrays, of any shape."""

from .. import _core
from .._support.arguments import array


def sum_squares(x):
    """sum_i x_i^2, as a float: the squared norm. inf when it overflows the dtype of x.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    float
        Summed in sixteen (float64: eight) partial sums, which a fixed tree adds up.

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64.
    """
    try:
        return _core.sum_squares(x)
    except (TypeError, ValueError):
        pass
    return _core.sum_squares(array("x", x))


def all_finite(x):
    """Whether no element is nan or infinite.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    bool

    Raises
    ------
    TypeError
        If x is not an array of float32 or float64.
    """
    try:
        return _core.all_finite(x)
    except (TypeError, ValueError):
        pass
    return _core.all_finite(array("x", x))


def add(a, b):
    """c = a + b, element by element.

    Parameters
    ----------
    a, b : ndarray of one shape

    Returns
    -------
    c : ndarray of that shape

    Raises
    ------
    TypeError
        If an argument is not an array of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes differ.
    """
    try:
        return _core.add(a, b)
    except (TypeError, ValueError):
        pass
    a = array("a", a)
    b = array("b", b, None, a.dtype)
    if a.shape != b.shape:
        raise ValueError(f"b has shape {b.shape}; a has {a.shape}")
    return _core.add(a, b)
