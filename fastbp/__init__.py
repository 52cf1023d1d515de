"""fastbp: dense networks, trained fast on a CPU.

C kernels do the forward pass, the backward pass and the update; `fastbp.reference` defines in NumPy what they compute.

>>> import fastbp as fb
>>> net = fb.Network(784, [fb.Dense(128, "relu"), fb.Dense(10)])
>>> trainer = fb.Trainer(net, loss="softmax_cross_entropy", optimizer=fb.Adam(1e-3))
>>> history = trainer.fit(X, y, epochs=10, batch_size=128)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from . import cpu, errors, initializers, layers, losses, optimizers
from .errors import DivergenceError, GradientError
from .layers import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    GELUTanh,
    Identity,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .losses import (
    BinaryCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Pinball,
    Poisson,
    SoftmaxCrossEntropy,
)
from .network import Network, load
from .optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

if TYPE_CHECKING:
    from . import callbacks, datasets, derivatives, metrics, ops, reference, schedules, tabular
    from . import estimators as estimators
    from .datasets import load_digits, load_mnist
    from .derivatives import (
        check_gradient,
        check_network,
        hessian_vector_product,
        numerical_gradient,
        numerical_jacobian,
    )
    from .estimators import MLPClassifier as MLPClassifier
    from .estimators import MLPRegressor as MLPRegressor
    from .estimators import QuantileMLPRegressor as QuantileMLPRegressor
    from .trainer import Trainer
    from .training.history import History

__version__ = "0.1.0"

__all__ = [
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Dense",
    "DivergenceError",
    "Dropout",
    "ELU",
    "GELU",
    "GELUTanh",
    "GradientError",
    "History",
    "Huber",
    "Identity",
    "LBFGS",
    "LayerNorm",
    "LeakyReLU",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Network",
    "Pinball",
    "Poisson",
    "RMSprop",
    "ReLU",
    "Residual",
    "SELU",
    "SGD",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Tanh",
    "Trainer",
    "__version__",
    "callbacks",
    "check_gradient",
    "check_network",
    "cpu",
    "datasets",
    "derivatives",
    "errors",
    "hessian_vector_product",
    "initializers",
    "layers",
    "load",
    "load_digits",
    "load_mnist",
    "losses",
    "metrics",
    "numerical_gradient",
    "numerical_jacobian",
    "ops",
    "optimizers",
    "reference",
    "schedules",
    "tabular",
]

# Public names whose modules are imported on first use: prediction needs no trainer, and most training scripts need none
# of the others. Each with its module; "" if it is one.
_ON_FIRST_USE = {
    "callbacks": "",
    "check_gradient": "derivatives",
    "check_network": "derivatives",
    "datasets": "",
    "derivatives": "",
    "History": "training.history",
    "Trainer": "trainer",
    "hessian_vector_product": "derivatives",
    "load_digits": "datasets",
    "load_mnist": "datasets",
    "metrics": "",
    "numerical_gradient": "derivatives",
    "numerical_jacobian": "derivatives",
    "ops": "",
    "reference": "",
    "schedules": "",
    "tabular": "",
    # These need scikit-learn. They are not in __all__, so that `from fastbp import *` does not.
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "QuantileMLPRegressor": "estimators",
    "estimators": "",
}

if not TYPE_CHECKING:  # a type checker sees the imports above, and reports a name that does not exist

    def __getattr__(name):
        if name not in _ON_FIRST_USE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = _ON_FIRST_USE[name]
        module = import_module(f".{home or name}", __name__)
        value = getattr(module, name) if home else module
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_ON_FIRST_USE})
