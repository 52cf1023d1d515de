"""PyTorch, with tensors in memory: eager with a fused optimiser, and with torch.compile.

The compiled form is the whole step as one graph: loss and gradient by `torch.func.grad_and_value`, then the update in
place. That is its quickest form: compiling the loss alone, with the fused optimiser beside it, costs more in calls than
it saves, and is slower than eager. `cpp_wrapper` spares some more of Python's time.

Rows are gathered for the whole epoch at once or minibatch by minibatch, whichever a trial finds quicker. A single step
takes NumPy arrays through `torch.from_numpy`, which copies nothing. Predictions are eager or by a frozen TorchScript
trace, whichever a trial finds quicker; in the compiled form the weights are arguments, which is quicker than compiling
the module, frozen or not.
"""

import warnings
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional as F

from fastbp.bench.timing import seconds_a_call

from . import measure
from .steps import Steps

LOSSES = {
    "softmax_cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "mean_squared_error": F.mse_loss,
}


def use_threads(threads):
    if threads is not None:
        torch.set_num_threads(threads)


def tensors(net, dtype):
    """The weights at the start as PyTorch holds them: W (outputs, inputs), b, W, b, ..."""
    start = net.start(dtype.name)
    return [torch.tensor(a) for W, b in start.weights for a in (np.ascontiguousarray(W.T), b)]


def flat(parameters):
    """The weights as fastbp holds them: one vector, W (inputs, outputs)."""
    return np.concatenate([p.detach().numpy().T.ravel() for p in parameters])


def module(net, dtype):
    """The net as an nn.Module, with the weights of the start."""
    layers = []
    for i, (inputs, outputs) in enumerate(zip(net.widths, net.widths[1:])):
        if i:
            layers.append(torch.nn.ReLU() if net.activation == "relu" else torch.nn.Tanh())
        layers.append(torch.nn.Linear(inputs, outputs, dtype=torch.float64 if dtype == np.float64 else torch.float32))
    return torch.nn.Sequential(*layers)


def copy(to, values):
    with torch.no_grad():
        for parameter, value in zip(to, values):
            parameter.copy_(value)


class Eager:
    """A step of the module, with a fused optimiser."""

    name = "PyTorch"

    def __init__(self, net, X, y, threads=None):
        use_threads(threads)
        self.net, self.dtype = net, X.dtype
        self.start = tensors(net, X.dtype)
        self.build()
        self.restart()

    def build(self):
        self.module = module(self.net, self.dtype)
        self.loss = LOSSES[self.net.loss]

    def restart(self):
        torch.manual_seed(0)
        copy(self.module.parameters(), self.start)
        parameters, rate = self.module.parameters(), self.net.learning_rate
        if self.net.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
        else:
            momentum = 0.9 if self.net.optimizer == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum, fused=True)

    def update(self, x, y):
        """One update. Returns the loss before it, a tensor."""
        self.optimizer.zero_grad()
        loss = self.loss(self.module(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def parameters(self):
        return flat(self.module.parameters())


class Epochs:
    """A mixin: whole epochs of tensors in memory."""

    def __init__(self, net, X, y, threads=None):
        super().__init__(net, X, y, threads)
        self.rows = len(X)
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        self.gather_at_once = True
        if self.rows > net.batch:
            self.gather_at_once = self._trial(True) < self._trial(False)
        self.restart()

    def _trial(self, at_once):
        self.gather_at_once = at_once
        return min(self.epochs(3)[1:])

    def minibatches(self, order):
        X, y, batch = self.X, self.y, self.net.batch
        if self.gather_at_once:
            return zip(X.index_select(0, order).split(batch), y.index_select(0, order).split(batch))
        return ((X.index_select(0, chosen), y.index_select(0, chosen)) for chosen in order.split(batch))

    def epochs(self, count, shuffle=True):
        seconds = []
        for _ in range(count):
            started = perf_counter()
            order = torch.randperm(self.rows) if shuffle else torch.arange(self.rows)
            for x, y in self.minibatches(order):
                loss = self.update(x, y)
            loss.item()
            seconds.append(perf_counter() - started)
        return seconds


class ByStep(Steps):
    """A mixin: single steps from NumPy arrays."""

    def step(self, x, target):
        return self.update(torch.from_numpy(x), torch.from_numpy(target)).item()


class Training(Epochs, Eager):
    """Whole epochs, eager."""


class Step(ByStep, Eager):
    """One step from Python, eager."""


def forward(net, weights, x):
    """The outputs, as a function of tensors."""
    for i in range(0, len(weights), 2):
        x = F.linear(x, weights[i], weights[i + 1])
        if i + 2 < len(weights):
            x = torch.relu(x) if net.activation == "relu" else torch.tanh(x)
    return x


def compiled(function):
    """The function compiled. Functions compiled before are forgotten: after eight versions of the same lines, one for
    each net, PyTorch would run the next uncompiled."""
    torch.compiler.reset()
    return torch.compile(function, dynamic=False, options={"cpp_wrapper": True})


class Compiled(Eager):
    """A step as one compiled graph."""

    name = "PyTorch compiled"

    def build(self):
        self.weights, self.m, self.v = ([torch.empty_like(a) for a in self.start] for _ in range(3))
        # The count of steps has a dimension: without one, in float64, it would be compiled as a constant.
        self.t = torch.empty(1, dtype=self.start[0].dtype)
        self.whole_step = compiled(step_of(self.net))

    def restart(self):
        torch.manual_seed(0)
        copy(self.weights, self.start)
        for moment in (*self.m, *self.v, self.t):
            moment.zero_()

    def update(self, x, y):
        return self.whole_step(self.weights, self.m, self.v, self.t, x, y)

    def parameters(self):
        return flat(self.weights)


class CompiledTraining(Epochs, Compiled):
    """Whole epochs, compiled."""


class CompiledStep(ByStep, Compiled):
    """One step from Python, compiled."""


def step_of(net):
    """A step as a function of tensors, which writes to weights, m, v and t and returns the loss."""

    def loss(weights, x, y):
        return LOSSES[net.loss](forward(net, weights, x), y)

    def step(weights, m, v, t, x, y):
        gradients, value = torch.func.grad_and_value(loss)(weights, x, y)
        rate = net.learning_rate
        if net.optimizer == "sgd":
            for w, g in zip(weights, gradients):
                w.sub_(g, alpha=rate)
        elif net.optimizer == "momentum":
            for w, m_, g in zip(weights, m, gradients):
                m_.mul_(0.9).add_(g)
                w.sub_(m_, alpha=rate)
        else:
            t.add_(1)
            length, scale = rate / (1 - 0.9**t), torch.rsqrt(1 - 0.999**t)
            for w, m_, v_, g in zip(weights, m, v, gradients):
                m_.mul_(0.9).add_(g, alpha=0.1)
                v_.mul_(0.999).addcmul_(g, g, value=0.001)
                w.sub_(length * m_ / (v_.sqrt() * scale + 1e-8))
        return value

    return step


class Prediction:
    """Eager, or TorchScript."""

    name = "PyTorch"
    probabilities = False

    def __init__(self, net, X, threads=None):
        use_threads(threads)
        self.X, self.tensor = X, torch.from_numpy(X)
        self.build(net)

    def build(self, net):
        eager = module(net, self.X.dtype)
        copy(eager.parameters(), tensors(net, self.X.dtype))
        with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, but still there
            traced = torch.jit.freeze(torch.jit.trace(eager.eval(), self.tensor))
        seconds = {form: self._trial(form) for form in (eager, traced)}
        self.forward = min(seconds, key=seconds.get)

    def _trial(self, form):
        self.forward = form
        for _ in range(3):  # TorchScript optimises in its first runs
            self.predict()
        return seconds_a_call(self.predict, 0.01, 3)[0]

    def predict(self):
        with torch.inference_mode():
            return self.forward(self.tensor).numpy()


class CompiledPrediction(Prediction):
    name = "PyTorch compiled"

    def build(self, net):
        self.weights = tensors(net, self.X.dtype)
        self.forward = compiled(lambda weights, x: forward(net, weights, x))

    def predict(self):
        with torch.inference_mode():
            return self.forward(self.weights, self.tensor).numpy()


def about() -> dict:
    """The version, the instruction set, the number of threads, and the BLAS (NumPy's among them)."""
    return {
        "version": torch.__version__,
        "isa": torch.backends.cpu.get_cpu_capability().lower(),
        "threads": torch.get_num_threads(),
        "mkl": torch.backends.mkl.is_available(),
        "blas": measure.blas(),
    }
