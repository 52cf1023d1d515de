"""The contestants of the benchmarks: fastbp, its NumPy twin, and NumPy written by hand, in training and in prediction.

A contestant is made from a net, its data and an upper bound on the number of threads (None: a thread for each core).
All start from the same weights, and without shuffling do the same updates, as `verify` checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import fastbp as fb

from .. import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .nets import Net

    Views = list[tuple[NDArray[Any], NDArray[Any]]]


class Contestant(Protocol):
    """A contestant in training."""

    name: str

    def restart(self) -> None:
        """Return to the initial weights and moments."""

    def epochs(self, count: int, shuffle: bool = True) -> Sequence[float]:
        """Train, and return the seconds of each epoch, the permutation included."""

    def parameters(self) -> NDArray[Any]:
        """All weights, in the order of `fastbp.Network.parameters`."""


class Predictor(Protocol):
    """A contestant in prediction."""

    name: str
    X: NDArray[Any]
    probabilities: bool  # whether `predict` returns softmax or sigmoid of the logits

    def predict(self) -> NDArray[Any]:
        """The outputs for X."""


class Fastbp:
    """fastbp in training."""

    name = "fastbp"
    module: ModuleType = fb

    def __init__(self, net: Net, X: NDArray[Any], y: NDArray[Any], threads: int | None = None):
        self.net, self.X, self.y, self.threads = net, X, y, threads
        self.restart()

    def restart(self) -> None:
        net = self.net
        model = self.module.Network(net.widths[0], net.layers(), dtype=self.X.dtype.name)
        self.trainer = self.module.Trainer(model, net.loss, net.optimizer_object(), n_threads=self.threads)

    def epochs(self, count: int, shuffle: bool = True) -> list[float]:
        batch = min(self.net.batch, len(self.X))
        history = self.trainer.fit(self.X, self.y, epochs=count, batch_size=batch, shuffle=shuffle)
        seconds: list[float] = history["seconds"]
        return seconds

    def step(self, x: NDArray[Any], target: NDArray[Any]) -> float:
        """One update with a minibatch. Returns the loss before it."""
        loss: float = self.trainer.step(x, target)
        return loss

    def parameters(self) -> NDArray[Any]:
        parameters: NDArray[Any] = self.trainer.net.parameters
        return parameters


class Twin(Fastbp):
    """The NumPy twin in training."""

    name = "twin"
    module = reference


class ByHand:
    """NumPy as an expert writes it for this one job: no checks, results in place wherever that is simple, no gradient
    at the inputs, one flat vector for the optimiser."""

    name = "by hand"

    def __init__(self, net: Net, X: NDArray[Any], y: NDArray[Any], threads: int | None = None):
        self.net, self.X, self.y = net, X, y
        self.start: NDArray[Any] = net.start(X.dtype.name).parameters
        self.w, self.g, self.m, self.v, self.scratch = (np.empty_like(self.start) for _ in range(5))
        self.weights, self.gradients = self._views(self.w), self._views(self.g)
        self.restart()

    def restart(self) -> None:
        self.w[...] = self.start
        self.m[...] = self.v[...] = 0
        self.t = 0
        self.random = np.random.default_rng(0)

    def _views(self, flat: NDArray[Any]) -> Views:
        """W and b of each layer in a flat vector."""
        views: Views = []
        at = 0
        for inputs, outputs in zip(self.net.widths, self.net.widths[1:]):
            size = inputs * outputs
            views.append((flat[at : at + size].reshape(inputs, outputs), flat[at + size : at + size + outputs]))
            at += size + outputs
        return views

    def parameters(self) -> NDArray[Any]:
        return self.w

    def epochs(self, count: int, shuffle: bool = True) -> list[float]:
        seconds = []
        rows, batch = len(self.X), self.net.batch
        for _ in range(count):
            started = perf_counter()
            order = self.random.permutation(rows) if shuffle else np.arange(rows)
            loss = 0.0
            for i in range(0, rows, batch):
                chosen = order[i : i + batch]
                loss += self.step(self.X[chosen], self.y[chosen]) * len(chosen)
            seconds.append(perf_counter() - started)
        return seconds

    def step(self, x: NDArray[Any], target: NDArray[Any]) -> float:
        """One update with a minibatch. Returns the loss before it."""
        loss = self._gradient(x, target)
        if self.net.optimizer == "adam":
            self._adam()
        else:
            self._sgd()
        return loss

    def _gradient(self, x: NDArray[Any], target: NDArray[Any]) -> float:
        """Write the gradient of a minibatch to `g`; return its loss."""
        values = [x]
        for W, b in self.weights:
            z = values[-1] @ W
            z += b
            if len(values) < len(self.weights):
                if self.net.activation == "relu":
                    np.maximum(z, 0, out=z)
                else:
                    np.tanh(z, out=z)
            values.append(z)
        loss, dz = getattr(self, "_" + self.net.loss)(values.pop(), target)
        for layer in reversed(range(len(self.weights))):
            h, (W, _), (dW, db) = values[layer], self.weights[layer], self.gradients[layer]
            np.matmul(h.T, dz, out=dW)
            dz.sum(axis=0, out=db)
            if layer:
                dz = dz @ W.T
                dz *= h > 0 if self.net.activation == "relu" else 1 - h * h
        return float(loss)

    @staticmethod
    def _softmax_cross_entropy(z: NDArray[Any], labels: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        rows = np.arange(len(z))
        z -= z.max(axis=1, keepdims=True)
        of_label = z[rows, labels]
        np.exp(z, out=z)
        sums = z.sum(axis=1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - of_label).mean())
        z /= sums * len(z)
        z[rows, labels] -= 1 / len(z)
        return loss, z

    @staticmethod
    def _binary_cross_entropy(z: NDArray[Any], t: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        e = np.exp(-np.abs(z))
        loss = float((np.maximum(z, 0) - z * t + np.log1p(e)).mean())
        dz = np.where(z >= 0, 1, e) / (1 + e)
        dz -= t
        dz /= z.size
        return loss, dz

    @staticmethod
    def _mean_squared_error(y: NDArray[Any], t: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        y -= t
        loss = float(np.vdot(y, y)) / y.size
        y *= 2 / y.size
        return loss, y

    def _sgd(self) -> None:
        g = self.g
        if self.net.optimizer == "momentum":
            self.v *= 0.9
            self.v += g
            g = self.v
        np.multiply(g, self.net.learning_rate, out=self.scratch)
        self.w -= self.scratch

    def _adam(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.t += 1
        w, g, m, v, scratch = self.w, self.g, self.m, self.v, self.scratch
        np.multiply(g, 1 - beta1, out=scratch)
        m *= beta1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v *= beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch *= 1 / math.sqrt(1 - beta2**self.t)
        scratch += eps
        np.divide(m, scratch, out=scratch)
        scratch *= self.net.learning_rate / (1 - beta1**self.t)
        w -= scratch


class FastbpPrediction:
    """fastbp in prediction."""

    name = "fastbp"
    module: ModuleType = fb
    probabilities = False

    def __init__(self, net: Net, X: NDArray[Any], threads: int | None = None):
        self.net, self.X = self.module.Network(net.widths[0], net.layers(), dtype=X.dtype.name), X

    def predict(self) -> NDArray[Any]:
        outputs: NDArray[Any] = self.net.predict(self.X)
        return outputs


class ByHandPrediction:
    """NumPy by hand in prediction."""

    name = "by hand"
    probabilities = False

    def __init__(self, net: Net, X: NDArray[Any], threads: int | None = None):
        self.net, self.X = net, X
        self.weights = net.start(X.dtype.name).weights

    def predict(self) -> NDArray[Any]:
        y = self.X
        for i, (W, b) in enumerate(self.weights):
            y = y @ W
            y += b
            if i + 1 < len(self.weights):
                if self.net.activation == "relu":
                    np.maximum(y, 0, out=y)
                else:
                    np.tanh(y, out=y)
        return y
