"""The dense layer y = f(x W + b)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..layers import activation as activation_of
from . import activation as act

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..layers import Activation


def dense_forward(
    x: NDArray[Any], W: NDArray[Any], b: NDArray[Any] | None = None, activation: str | Activation = "identity"
) -> NDArray[Any]:
    """y = f(x W + b).

    Parameters
    ----------
    x : ndarray (B, I)
    W : ndarray (I, O)
    b : ndarray (O,), optional
        No bias when None.
    activation : str or Activation, default "identity"
        f.

    Returns
    -------
    y : ndarray (B, O)
    """
    z = x @ W
    if b is not None:
        z = z + b
    return act.forward(z, activation)


def dense_backward(
    dy: NDArray[Any],
    x: NDArray[Any],
    W: NDArray[Any],
    y: NDArray[Any] | None = None,
    activation: str | Activation = "identity",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gradients of the layer's input and parameters, from the gradient at its output.

    With z = x W + b and dz = dy f'(z): z_bo = sum_i x_bi W_io + b_o, so
    dx_bi = sum_o dz_bo W_io, dW_io = sum_b x_bi dz_bo, db_o = sum_b dz_bo.

    Parameters
    ----------
    dy : ndarray (B, O)
    x : ndarray (B, I)
        The layer's input: forward's argument.
    W : ndarray (I, O)
    y : ndarray (B, O), optional
        The layer's output, from which f' is computed: forward's result. Not needed for the identity.
    activation : str or Activation, default "identity"
        f. Not gelu, gelu_tanh or silu, whose derivatives are computed from z.

    Returns
    -------
    dx : ndarray (B, I)
    dW : ndarray (I, O)
    db : ndarray (O,)

    Raises
    ------
    ValueError
        If y is needed and None, or f' is computed from z.
    """
    f = activation_of(activation)
    if f.from_z:
        raise ValueError(
            f"activation must have a derivative that is computed from y, got {f.name}: make z by dense_forward without "
            f"activation, y by {f.name}_forward(z), and the dy to pass here, without activation, by "
            f"{f.name}_backward(dy, z)"
        )
    if y is None:
        if f.name != "identity":
            raise ValueError(f"y is needed for the derivative of {f.name}: pass what dense_forward returned")
        dz = dy
    else:
        dz = act.backward(dy, y, f)
    dx = dz @ W.T
    dW = x.T @ dz
    db = dz.sum(axis=0)
    return dx, dW, db
