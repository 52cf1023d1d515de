"""The dense layer y = f(x W + b)."""

from .. import _core
from .._support.arguments import array
from ..layers import ACTIVATIONS
from ..layers import activation as to_activation


def _numbers(activation):
    """An activation as the core takes it."""
    f = to_activation(activation)
    return f.code, f.alpha


_BY_NAME = {f.name: _numbers(f.name) for f in ACTIVATIONS}


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
    try:
        code, alpha = _BY_NAME[activation] if type(activation) is str else _numbers(activation)
        return _core.dense_forward(x, W, b, code, alpha)
    except (KeyError, TypeError, ValueError):
        pass
    code, alpha = _numbers(activation)
    x = array("x", x, 2)
    dtype = x.dtype
    W = array("W", W, 2, dtype)
    O = _outputs(x, W)
    if b is not None:
        b = array("b", b, 1, dtype)
        if b.shape[0] != O:
            raise ValueError(f"b has {b.shape[0]} elements; W has {O} columns")
    return _core.dense_forward(x, W, b, code, alpha)


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
        f. None whose derivative is computed from z: gelu, gelu_tanh, silu.

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
        If the shapes do not fit, there is no such activation, y is needed and not given, or f' is computed from z.
    """
    try:
        code, alpha = _BY_NAME[activation] if type(activation) is str else _numbers(activation)
        return _core.dense_backward(dy, x, W, y, code, alpha)
    except (KeyError, TypeError, ValueError):
        pass
    code, alpha = _numbers(activation)
    _refuse_from_z(to_activation(activation))
    dy = array("dy", dy, 2)
    dtype = dy.dtype
    x = array("x", x, 2, dtype)
    W = array("W", W, 2, dtype)
    O = _outputs(x, W)
    _same("dy", dy, x, O)
    if y is not None:
        y = array("y", y, 2, dtype)
        _same("y", y, x, O)
    elif code:
        name = to_activation(activation).name
        raise ValueError(f"y is needed for the derivative of {name}: pass what dense_forward returned")
    return _core.dense_backward(dy, x, W, y, code, alpha)


def _refuse_from_z(f):
    if f.from_z:
        raise ValueError(
            f"activation must have a derivative that is computed from y, got {f.name}: make z by dense_forward without "
            f"activation, y by {f.name}_forward(z), and the dy to pass here, without activation, by "
            f"{f.name}_backward(dy, z)"
        )


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
