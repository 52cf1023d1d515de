"""JAX: an epoch is one jitted `lax.scan` over the minibatches, the update inside and the state donated.

The data stay on the device; the permutation comes from NumPy, which is quicker than `jax.random.permutation` (a sort on
the CPU), and rows are gathered in the scan, which is as quick as gathering them before it and much quicker where the
data exceed the caches. One flat parameter vector, unrolling, one-hot targets, promised bounds and other flags of XLA
were tried and gain nothing. In predictions the weights are constants, which spares passing them at every call.

A single step is one jitted call on the NumPy arrays (moving them to the device first takes 100 us more), the state kept
on the device and donated. The state is one array for each layer's weights or one flat vector, whichever a trial finds
quicker: fewer arrays shorten the call, and cutting the vector up takes time in wide nets.

float64 runs within `jax.enable_x64`, float32 outside it.
"""

import contextlib
import functools
import re
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .steps import Steps


def precision(dtype):
    """The context in which JAX has this dtype."""
    return jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext()


def forward(net, parameters, x):
    activation = jax.nn.relu if net.activation == "relu" else jnp.tanh
    *hidden, (W, b) = parameters
    for V, c in hidden:
        x = activation(x @ V + c)
    return x @ W + b


def loss(net, parameters, x, target):
    z = forward(net, parameters, x)
    if net.loss == "softmax_cross_entropy":
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, target[:, None], 1)[:, 0])
    if net.loss == "binary_cross_entropy":
        return jnp.mean(jnp.maximum(z, 0) - z * target + jnp.log1p(jnp.exp(-jnp.abs(z))))
    return jnp.mean((z - target) ** 2)


def update(net, parameters, g, m, v, t):
    """(parameters, m, v) after the update; t counts from 1."""
    rate, tree = net.learning_rate, jax.tree
    if net.optimizer == "sgd":
        return tree.map(lambda w, g: w - rate * g, parameters, g), m, v
    if net.optimizer == "momentum":
        m = tree.map(lambda m, g: 0.9 * m + g, m, g)
        return tree.map(lambda w, m: w - rate * m, parameters, m), m, v
    m = tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    t = t.astype(tree.leaves(g)[0].dtype)
    step, scale = rate / (1 - 0.9**t), jax.lax.rsqrt(1 - 0.999**t)
    return tree.map(lambda w, m, v: w - step * m / (jnp.sqrt(v) * scale + 1e-8), parameters, m, v), m, v


def zeros_of_moments(net, parameters):
    """(m, v) at the start; () for one that the optimiser has not."""
    count = {"sgd": 0, "momentum": 1, "adam": 2}[net.optimizer]
    return tuple(jax.tree.map(jnp.zeros_like, parameters) if i < count else () for i in range(2))


def one_step(net, loss, state, x, target):
    """(state, loss) after a minibatch. loss(net, parameters, x, target): a number."""
    parameters, m, v, t = state
    value, g = jax.value_and_grad(functools.partial(loss, net))(parameters, x, target)
    t = t + 1
    return (*update(net, parameters, g, m, v, t), t), value


def whole_epoch(net, state, order, X, y):
    """(state, mean loss) after the minibatches that the rows of `order` (steps, batch) choose."""

    def minibatch(state, chosen):
        return one_step(net, loss, state, X[chosen], y[chosen])

    state, losses = jax.lax.scan(minibatch, state, order)
    return state, losses.mean()


class Training:
    name = "JAX"

    def __init__(self, net, X, y, threads=None):
        jax.clear_caches()  # those of the previous net
        self.net, self.rows, self.dtype = net, len(X), X.dtype
        self.batch = min(net.batch, self.rows)
        with precision(self.dtype):
            self.X = jnp.asarray(X)
            self.y = jnp.asarray(y.astype(np.int32) if y.dtype.kind == "i" else y)
        self.run = jax.jit(functools.partial(whole_epoch, net), donate_argnums=0)
        self.restart()

    def restart(self):
        with precision(self.dtype):
            parameters = [(jnp.array(W), jnp.array(b)) for W, b in self.net.start(self.dtype.name).weights]
            state = parameters, *zeros_of_moments(self.net, parameters), jnp.array(0, jnp.int32)
            self.state = jax.block_until_ready(state)
        self.random = np.random.default_rng(0)

    def epochs(self, count, shuffle=True):
        with precision(self.dtype):
            return [self._epoch(shuffle) for _ in range(count)]

    def _epoch(self, shuffle):
        started = perf_counter()
        order = self.random.permutation(self.rows) if shuffle else np.arange(self.rows)
        order = order.astype(np.int32)
        whole = self.rows // self.batch * self.batch
        self.state, mean = self.run(self.state, order[:whole].reshape(-1, self.batch), self.X, self.y)
        if whole < self.rows:
            self.state, _ = self.run(self.state, order[None, whole:], self.X, self.y)
        jax.block_until_ready(self.state)
        float(mean)
        return perf_counter() - started

    def parameters(self):
        return np.concatenate([np.ravel(a) for layer in self.state[0] for a in layer])


class OneStep:
    """One step on the device."""

    name = "JAX"

    def __init__(self, net, X, y, threads=None):
        jax.clear_caches()
        self.net, self.dtype = net, X.dtype
        with precision(self.dtype):
            weights = [(jnp.array(W), jnp.array(b)) for W, b in net.start(X.dtype.name).weights]
            vector, self.layers = ravel_pytree(weights)
        self.forms = {
            "layers": (weights, jax.jit(functools.partial(one_step, net, loss), donate_argnums=0)),
            "vector": (vector, jax.jit(functools.partial(one_step, net, self.loss_of_vector), donate_argnums=0)),
        }

    def loss_of_vector(self, net, vector, x, target):
        return loss(net, self.layers(vector), x, target)

    def use(self, form):
        self.form = form
        self.start, self.run = self.forms[form]
        self.restart()

    def restart(self):
        with precision(self.dtype):
            parameters = jax.tree.map(jnp.array, self.start)
            state = parameters, *zeros_of_moments(self.net, parameters), jnp.array(0, jnp.int32)
            self.state = jax.block_until_ready(state)

    def step(self, x, target):
        self.state, value = self.run(self.state, x, target)
        return value.block_until_ready()

    def parameters(self):
        layers = self.layers(self.state[0]) if self.form == "vector" else self.state[0]
        return np.concatenate([np.ravel(a) for layer in layers for a in layer])


class Step(Steps, OneStep):
    """One step from Python, in the quicker form."""

    def __init__(self, net, X, y, threads=None):
        super().__init__(net, X, y, threads)
        seconds = {}
        for form in self.forms:
            self.use(form)
            seconds[form] = min(self.epochs(4)[1:])
        self.use(min(seconds, key=seconds.get))

    def targets(self, y):
        return y.astype(np.int32) if y.dtype.kind == "i" else y

    def first_loss(self):
        with precision(self.dtype):
            return super().first_loss()

    def epochs(self, count, shuffle=False):
        with precision(self.dtype):
            return super().epochs(count, shuffle)


class Prediction:
    name = "JAX"
    probabilities = False

    def __init__(self, net, X, threads=None):
        jax.clear_caches()
        self.X = X
        with precision(X.dtype):
            self.on_device = jnp.asarray(X)
            weights = [(jnp.array(W), jnp.array(b)) for W, b in net.start(X.dtype.name).weights]
        self.run = jax.jit(lambda x: forward(net, weights, x))

    def predict(self):
        return np.asarray(self.run(self.on_device).block_until_ready())


def isa() -> str | None:
    """The instruction set that XLA compiles for; None where an executable does not say. YNNPACK, which makes the
    products, chooses its own."""
    try:
        text = jax.jit(lambda x: x + 1).lower(1.0).compile().runtime_executable().serialize()
    except AttributeError:
        return None
    features = set(re.findall(rb"\+(avx\w*|neon)", text))
    return next((name for name in ("avx512f", "avx2", "avx", "neon") if name.encode() in features), None)


def about() -> dict:
    """The version, the device, and the instruction set."""
    return {"version": jax.__version__, "devices": str(jax.devices()), "isa": isa()}
