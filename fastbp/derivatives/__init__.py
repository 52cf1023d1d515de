"""Derivatives: by central differences, in forward mode, and of a whole network's loss."""

from .numerical import check_gradient, numerical_gradient, numerical_jacobian
from .of_network import check_network, hessian_vector_product

__all__ = [
    "check_gradient",
    "check_network",
    "hessian_vector_product",
    "numerical_gradient",
    "numerical_jacobian",
]
