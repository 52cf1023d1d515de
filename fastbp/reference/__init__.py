"""The NumPy twin: readable code that defines what the operations, the network and the trainer compute.

Each function has the name and signature of the compiled function in ``fastbp.ops``; `Network` and `Trainer` have those
of ``fastbp``, without saving and loading. Functions compute in the dtype of their arguments. They refuse the numbers
that the compiled functions refuse, by the same errors, and leave most checks of arrays to these.

Letters: B batch, I inputs, O outputs, C classes, N elements; x W b z y; gradients dx dW db dz dy.
"""

from .activation import (
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    identity_backward,
    identity_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    selu_backward,
    selu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    softplus_backward,
    softplus_forward,
    tanh_backward,
    tanh_forward,
)
from .dense import dense_backward, dense_forward
from .dropout import dropout_backward, dropout_forward
from .gemm import gemm
from .loss import (
    binary_cross_entropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    pinball,
    poisson,
    softmax_cross_entropy,
)
from .network import Network
from .norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_predict,
    batch_norm_running,
    layer_norm_backward,
    layer_norm_forward,
)
from .optimizer import (
    adagrad_step,
    adam_step,
    clip_by_norm,
    clip_by_value,
    penalty,
    rmsprop_step,
    sgd_step,
    weight_average,
)
from .reduce import add, all_finite, sum_squares
from .rng import random_bits, random_normal, random_permutation, random_uniform
from .softmax import softmax_backward, softmax_forward
from .trainer import Trainer

__all__ = [
    "Network",
    "Trainer",
    "adagrad_step",
    "adam_step",
    "add",
    "all_finite",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_predict",
    "batch_norm_running",
    "binary_cross_entropy",
    "clip_by_norm",
    "clip_by_value",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "gemm",
    "huber",
    "identity_backward",
    "identity_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "mean_absolute_error",
    "mean_squared_error",
    "penalty",
    "pinball",
    "poisson",
    "random_bits",
    "random_normal",
    "random_permutation",
    "random_uniform",
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "selu_backward",
    "selu_forward",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "sum_squares",
    "tanh_backward",
    "tanh_forward",
    "weight_average",
]
