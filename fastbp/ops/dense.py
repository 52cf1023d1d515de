"""The dense layer y = f(x W + b)."""

from numpy import empty

from .. import _core
from ..checks import array
from ..layers import ACTIVATIONS
from ..layers import activation as to_activation

_BY_NAME = {f.name: f() for f in ACTIVATIONS}


def dense_forward(x, W, b=None, activation="identity"):
    """y = f(x W + b).

    Parameters
    ----------
    x : ndarray (B, I)
    W : ndarray (I, O)
        I and O at least 1.
    b : ndarray (O,), optional
        No bias when None.
    activation : str or Activation, default "identity"
        f.

    Returns
    -------
    y : ndarray (B, O)

    Raises
    ------
    TypeError
        If an array is not one of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit, or there is no such activation.
    """
    f = _activation(activation)
    x = array("x", x, 2)
    dtype = x.dtype
    W = array("W", W, 2, dtype)
    O = _outputs(x, W)
    if b is not None:
        b = array("b", b, 1, dtype)
        if b.shape[0] != O:
            raise ValueError(f"b has {b.shape[0]} elements; W has {O} columns")
    y = empty((x.shape[0], O), dtype)
    _core.dense_forward(x, W, b, f.code, f.alpha, y)
    return y


def dense_backward(dy, x, W, y=None, activation="identity"):
    """Gradients of the layer's input and parameters, from the gradient at its output.

    With z = x W + b and dz = dy f'(z): dx = dz W^T, dW = x^T dz, db = the sum of dz over the batch.

    Parameters
    ----------
    dy : ndarray (B, O)
    x : ndarray (B, I)
        The layer's input: forward's argument.
    W : ndarray (I, O)
        I and O at least 1.
    y : ndarray (B, O), optional
        The layer's output: forward's result. f' is computed from it. Not needed for the identity.
    activation : str or Activation, default "identity"
        f.

    Returns
    -------
    dx : ndarray (B, I)
    dW : ndarray (I, O)
    db : ndarray (O,)
        Zeros, like dW, when B is 0.

    Raises
    ------
    TypeError
        If an array is not one of float32 or float64, or the dtypes differ.
    ValueError
        If the shapes do not fit, there is no such activation, or y is needed and not given.
    """
    f = _activation(activation)
    dy = array("dy", dy, 2)
    dtype = dy.dtype
    x = array("x", x, 2, dtype)
    W = array("W", W, 2, dtype)
    O = _outputs(x, W)
    _same("dy", dy, x, O)
    if y is not None:
        y = array("y", y, 2, dtype)
        _same("y", y, x, O)
    elif f.code:
        raise ValueError(f"y is needed for the derivative of {f.name}: pass what dense_forward returned")
    dx = empty(x.shape, dtype)
    dW = empty(W.shape, dtype)
    db = empty(O, dtype)
    _core.dense_backward(dy, x, W, y, f.code, f.alpha, dx, dW, db)
    return dx, dW, db


def _activation(value):
    return _BY_NAME[value] if type(value) is str and value in _BY_NAME else to_activation(value)


def _outputs(x, W):
    I, O = W.shape
    if x.shape[1] != I:
        raise ValueError(f"x has {x.shape[1]} columns; W takes {I}")
    if not I or not O:
        raise ValueError(f"W must have at least one row and one column, got shape {W.shape}")
    return O


def _same(name, dy, x, O):
    if dy.shape[1] != O:
        raise ValueError(f"{name} has {dy.shape[1]} columns; W has {O}")
    if dy.shape[0] != x.shape[0]:
        raise ValueError(f"{name} has {dy.shape[0]} rows; x has {x.shape[0]}")
