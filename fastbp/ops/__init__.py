"""The operations one by one: NumPy arrays in, NumPy arrays out, computed by the C kernels.

Every function has a twin of the same name and signature in ``fastbp.reference``, in plain NumPy.

Arrays are of float32 or float64, those of one call all of the same; results have that dtype too. An array that is not
contiguous or not aligned is copied first. Where an array is updated in place, that is refused instead. Results do not
share memory with arguments. An argument that is only read may share memory with one that is updated: it counts as it
was before the call. Two arguments that are updated may not.

Every function tries the core first, which takes arrays that are ready as they are and refuses the rest in few words.
Only then do the checks of `fastbp._support.arguments` get ready what can be, and say what is wrong with what cannot.

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

__all__ = [
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
