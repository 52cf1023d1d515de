"""The dense layer y = f(x W + b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _core
from ..layers import ACTIVATIONS, Activation
from ..layers import activation as to_activation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._support.arguments import Real


def _numbers(activation: str | Activation) -> tuple[int, float]:
    """An activation as the core takes it."""
    f = to_activation(activation)
    return f.code, f.alpha


def _numbers_from_y(activation: str | Activation) -> tuple[int, float]:
    """The same for an activation whose derivative is a function of y; refuse the others."""
    f = to_activation(activation)
    if f.from_z:
        raise ValueError(
            f"activation must have a derivative that is computed from y, got {f.name}: make z by dense_forward without "
            f"activation, y by {f.name}_forward(z), and the dy to pass here, without activation, by "
            f"{f.name}_backward(dy, z)"
        )
    return f.code, f.alpha


# The usual activations, so that a call need not make an object of the name.
_FORWARD = {f.name: _numbers(f.name) for f in ACTIVATIONS}
_BACKWARD = {f.name: _numbers(f.name) for f in ACTIVATIONS if not f.from_z}


def dense_forward(
    x: NDArray[Real], W: NDArray[Real], b: NDArray[Real] | None = None, activation: str | Activation = "identity"
) -> NDArray[Real]:
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
    code, alpha = _FORWARD[activation] if type(activation) is str and activation in _FORWARD else _numbers(activation)
    return _core.dense_forward(x, W, b, code, alpha)


def dense_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    W: NDArray[Real],
    y: NDArray[Real] | None = None,
    activation: str | Activation = "identity",
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]:
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
    code, alpha = (
        _BACKWARD[activation] if type(activation) is str and activation in _BACKWARD else _numbers_from_y(activation)
    )
    if y is None and code:
        name = to_activation(activation).name
        raise ValueError(f"y is needed for the derivative of {name}: pass what dense_forward returned")
    return _core.dense_backward(dy, x, W, y, code, alpha)
