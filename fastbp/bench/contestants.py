"""Who trains the nets, and who predicts with them: fastbp, its NumPy twin, and NumPy as one writes it by hand.

A contestant in training is made from a net, its data and a number of threads (None: as many as there are).
`epochs(count)` trains and returns the seconds each epoch took, permutation included; `parameters()` gives all weights
in the order of `fastbp.Network.parameters`; `restart()` goes back to the start, weights and moments. All start from the
same weights, and with shuffle=False do the same updates, as `verify` checks.

A contestant in prediction is made from a net, X and a number of threads, and `predict()` returns the outputs as a NumPy
array: logits, or with `probabilities` true what softmax or sigmoid makes of them. `verify_outputs` checks them.
"""

import math
from time import perf_counter

import numpy as np

import fastbp as fb

from .. import reference


class Fastbp:
    name = "fastbp"
    module = fb

    def __init__(self, net, X, y, threads=None):
        self.net, self.X, self.y, self.threads = net, X, y, threads
        self.restart()

    def restart(self):
        net = self.net
        model = self.module.Network(net.widths[0], net.layers(), dtype=self.X.dtype.name)
        self.trainer = self.module.Trainer(model, net.loss, net.optimizer_object(), n_threads=self.threads)

    def epochs(self, count, shuffle=True):
        batch = min(self.net.batch, len(self.X))
        history = self.trainer.fit(self.X, self.y, epochs=count, batch_size=batch, shuffle=shuffle)
        return history["seconds"]

    def step(self, x, target):
        """One update with a minibatch. Returns the loss before it."""
        return self.trainer.step(x, target)

    def parameters(self):
        return self.trainer.net.parameters


class Twin(Fastbp):
    name = "twin"
    module = reference


class ByHand:
    """What somebody who knows NumPy well writes for this one job: no checks, results in place wherever that is plain,
    no gradient at the inputs, one flat vector for the optimiser."""

    name = "by hand"

    def __init__(self, net, X, y, threads=None):
        self.net, self.X, self.y = net, X, y
        self.start = net.start(X.dtype.name).parameters
        self.w, self.g, self.m, self.v, self.scratch = (np.empty_like(self.start) for _ in range(5))
        self.weights, self.gradients = self._views(self.w), self._views(self.g)
        self.restart()

    def restart(self):
        self.w[...] = self.start
        self.m[...] = self.v[...] = 0
        self.t = 0
        self.random = np.random.default_rng(0)

    def _views(self, flat):
        views, at = [], 0
        for inputs, outputs in zip(self.net.widths, self.net.widths[1:]):
            size = inputs * outputs
            views.append((flat[at : at + size].reshape(inputs, outputs), flat[at + size : at + size + outputs]))
            at += size + outputs
        return views

    def parameters(self):
        return self.w

    def epochs(self, count, shuffle=True):
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

    def step(self, x, target):
        """One update with a minibatch. Returns the loss before it."""
        loss = self._gradient(x, target)
        if self.net.optimizer == "adam":
            self._adam()
        else:
            self._sgd()
        return loss

    def _gradient(self, x, target):
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
        return loss

    @staticmethod
    def _softmax_cross_entropy(z, labels):
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
    def _binary_cross_entropy(z, t):
        e = np.exp(-np.abs(z))
        loss = float((np.maximum(z, 0) - z * t + np.log1p(e)).mean())
        dz = np.where(z >= 0, 1, e) / (1 + e)
        dz -= t
        dz /= z.size
        return loss, dz

    @staticmethod
    def _mean_squared_error(y, t):
        y -= t
        loss = float(np.vdot(y, y)) / y.size
        y *= 2 / y.size
        return loss, y

    def _sgd(self):
        g = self.g
        if self.net.optimizer == "momentum":
            self.v *= 0.9
            self.v += g
            g = self.v
        np.multiply(g, self.net.learning_rate, out=self.scratch)
        self.w -= self.scratch

    def _adam(self, beta1=0.9, beta2=0.999, eps=1e-8):
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
    name = "fastbp"
    module = fb
    probabilities = False

    def __init__(self, net, X, threads=None):
        self.net, self.X = self.module.Network(net.widths[0], net.layers(), dtype=X.dtype.name), X

    def predict(self):
        return self.net.predict(self.X)


class ByHandPrediction:
    name = "by hand"
    probabilities = False

    def __init__(self, net, X, threads=None):
        self.net, self.X = net, X
        self.weights = net.start(X.dtype.name).weights

    def predict(self):
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
