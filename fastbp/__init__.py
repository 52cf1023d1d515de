"""fastbp: the fastest way to train a dense network on a CPU.

C kernels do the forward pass, the backward pass and the update; ``fastbp.reference`` says in NumPy what they compute.

>>> import fastbp as fb
>>> net = fb.Network(784, [fb.Dense(128, "relu"), fb.Dense(10)])
>>> trainer = fb.Trainer(net, loss="softmax_cross_entropy", optimizer=fb.Adam(1e-3))
>>> history = trainer.fit(X, y, epochs=10, batch_size=128)  # doctest: +SKIP
"""

from importlib import import_module

from . import callbacks, cpu, initializers, ops, schedules
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
from .trainer import Trainer
from .training.history import History

__version__ = "0.1.0"

# What a training script may do without is imported when it is first used. Name: its module.
_LATER = {
    "reference": "reference",
    "MLPClassifier": "estimators",  # not in __all__: `from fastbp import *` shall not need scikit-learn
    "MLPRegressor": "estimators",
    "QuantileMLPRegressor": "estimators",
    "check_gradient": "derivatives",
    "check_network": "derivatives",
    "hessian_vector_product": "derivatives",
    "numerical_gradient": "derivatives",
    "numerical_jacobian": "derivatives",
    "load_digits": "datasets",
    "load_mnist": "datasets",
    "tabular": "tabular",
}

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
    "hessian_vector_product",
    "initializers",
    "load",
    "load_digits",
    "load_mnist",
    "numerical_gradient",
    "numerical_jacobian",
    "ops",
    "reference",
    "schedules",
    "tabular",
]


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_LATER[name]}", __name__)
    value = module if _LATER[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LATER})
