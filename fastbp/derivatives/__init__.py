"""Derivatives: by central differences, in forward mode, and of the loss of a whole network."""

from .network_check import NetworkReport, check_network
from .numerical import check_gradient, numerical_gradient, numerical_jacobian
from .second_order import hessian_vector_product

__all__ = [
    "NetworkReport",
    "check_gradient",
    "check_network",
    "hessian_vector_product",
    "numerical_gradient",
    "numerical_jacobian",
]
