"""Every operation of fastbp in use, for type checkers: see public_names.py. Checked once more for the twin's."""

import numpy as np

from fastbp import Tanh, ops

x = np.ones((4, 3), np.float32)
labels = np.zeros(4, np.int64)
z = ops.dense_forward(x, np.ones((3, 5), np.float32), np.zeros(5, np.float32), "tanh")
dx, dW, db = ops.dense_backward(z, x, np.ones((3, 5), np.float32), z, Tanh())
ops.gemm(x, x, transpose_b=True)
for forward, backward in (
    (ops.identity_forward, ops.identity_backward), (ops.relu_forward, ops.relu_backward),
    (ops.sigmoid_forward, ops.sigmoid_backward), (ops.tanh_forward, ops.tanh_backward),
    (ops.selu_forward, ops.selu_backward), (ops.gelu_forward, ops.gelu_backward),
    (ops.gelu_tanh_forward, ops.gelu_tanh_backward), (ops.silu_forward, ops.silu_backward),
    (ops.softmax_forward, ops.softmax_backward),
):  # fmt: skip
    backward(x, forward(x))
ops.leaky_relu_backward(x, ops.leaky_relu_forward(x, 0.1), 0.1)
ops.softplus_backward(x, ops.softplus_forward(x, 2.0), 2.0)
ops.elu_backward(x, ops.elu_forward(x, alpha=0.5), alpha=0.5)
ops.dropout_backward(x, ops.dropout_forward(x, 0.5, 1, 2, 3)[1])
gamma = np.ones(3, np.float32)
normed, mean, rstd = ops.layer_norm_forward(x, gamma, gamma)
ops.layer_norm_backward(x, x, mean, rstd, gamma)
normed, mean, variance = ops.batch_norm_forward(x)
ops.batch_norm_backward(x, x, mean, variance)
ops.batch_norm_predict(x, mean, variance)
ops.batch_norm_running(mean, variance, mean, variance, 4, 0.1)
value, dz = ops.softmax_cross_entropy(x, labels, "mean", 0.1, class_weights=[1.0, 1.0, 2.0])
value, dz = ops.binary_cross_entropy(x, x, pos_weight=2.0)
for elementwise in (ops.mean_squared_error, ops.mean_absolute_error, ops.poisson):
    value, dz = elementwise(x, x, "sum", sample_weight=np.ones(4))
value, dz = ops.huber(x, x, 2.0)
value, dz = ops.pinball(x, x, quantiles=[0.1, 0.5, 0.9])
w, g, v, m = np.ones((4, 6))
ops.sgd_step(w, g, v, 0.1, momentum=0.9, nesterov=True)
ops.adam_step(w, g, m, v, 1, 1e-3, decoupled=True)
ops.rmsprop_step(w, g, v, m, centered=False)
ops.adagrad_step(w, g, v, 1)
ops.penalty(w, g, l1=0.1)
ops.clip_by_norm(g, 1.0)
ops.clip_by_value(g, 1.0)
ops.weight_average(v, w, 0.9)
ops.add(w, g)
print(ops.sum_squares(w), ops.all_finite(w))
ops.random_bits(0, 1, 5)
ops.random_uniform(0, 1, 5)
ops.random_normal(0, 1, 5)
ops.random_permutation(0, 1, 5)
