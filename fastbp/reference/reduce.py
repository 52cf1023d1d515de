"""Sums and checks over whole arrays, of any shape."""

import numpy as np


def sum_squares(x):
    """sum_i x_i^2, as a float: the squared norm. inf when it overflows the dtype of x."""
    return float(np.sum(x * x))


def all_finite(x):
    """Whether no element is nan or infinite."""
    return bool(np.isfinite(x).all())


def add(a, b):
    """c = a + b, element by element; a and b have one shape."""
    if a.shape != b.shape:
        raise ValueError(f"b has shape {b.shape}; a has {a.shape}")
    return a + b
