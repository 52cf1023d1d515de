"""scikit-learn's MLPClassifier and MLPRegressor: an epoch is one `partial_fit` over all the data.

That is one pass in shuffled minibatches, and quicker than a `partial_fit` for each minibatch, which would check its
arguments and encode its labels every time. A single step is a `partial_fit` of one minibatch. No penalty (alpha=0), and
the initial weights of the board put in place.

Left out: two classes under softmax, for which scikit-learn makes one logistic output.

The squared error is half of fastbp's, and its gradient is summed over the outputs rather than averaged: the learning
rate of SGD, or the eps of Adam, is scaled to make the same updates. scikit-learn adds Adam's eps to a second moment
without the correction of its bias; in the first hundred steps that has the effect of an eps about ten times as large.
So it gets a tenth, and the tolerance is wider.
"""

from time import perf_counter

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from . import measure
from .peers import CannotDo
from .steps import Steps


def model(net, X, y):
    """The estimator with the net's weights, as if it had been trained before."""
    softmax, outputs = net.loss == "softmax_cross_entropy", net.widths[-1]
    if softmax and outputs == 2:
        raise CannotDo("of two classes it makes one logistic output")
    if not softmax and net.loss != "mean_squared_error" and outputs > 1:
        raise CannotDo("several logistic outputs are another loss there")
    scale = outputs / 2 if net.loss == "mean_squared_error" else 1.0  # of its gradient over fastbp's
    adam = net.optimizer == "adam"
    estimator = (MLPRegressor if net.loss == "mean_squared_error" else MLPClassifier)(
        hidden_layer_sizes=net.widths[1:-1],
        activation=net.activation,
        solver="adam" if adam else "sgd",
        alpha=0.0,
        batch_size=min(net.batch, len(X)),
        learning_rate_init=net.learning_rate if adam else net.learning_rate / scale,
        momentum=0.9 if net.optimizer == "momentum" else 0.0,
        nesterovs_momentum=False,
        epsilon=1e-9 * scale,
        random_state=0,
    )
    # Allocates the arrays; the weights it learns here are overwritten.
    if net.loss == "mean_squared_error":
        estimator.partial_fit(X, y)
    else:
        estimator.partial_fit(X, y, classes=np.arange(max(outputs, 2)))
    put(estimator, net.start(X.dtype.name).weights)
    return estimator


def put(estimator, weights):
    """Overwrite the weights in place: the optimiser holds references to the arrays."""
    for to_W, to_b, (W, b) in zip(estimator.coefs_, estimator.intercepts_, weights):
        to_W[...], to_b[...] = W, b


class Training:
    name = "scikit-learn"
    tolerances = {"float64": 2e-2, "float32": 2e-2}

    def __init__(self, net, X, y, threads=None):
        self.net, self.X = net, X
        self.y = y.ravel().astype(int) if net.loss == "binary_cross_entropy" else y
        self.start = net.start(X.dtype.name).weights
        self.model = model(net, self.X, self.y)
        self.restart()

    def restart(self):
        put(self.model, self.start)
        del self.model._optimizer  # the next partial_fit makes a new one, its moments zero

    def epochs(self, count, shuffle=True):
        self.model.shuffle = shuffle
        seconds = []
        for _ in range(count):
            started = perf_counter()
            self.model.partial_fit(self.X, self.y)
            seconds.append(perf_counter() - started)
        return seconds

    def parameters(self):
        pairs = zip(self.model.coefs_, self.model.intercepts_)
        return np.concatenate([a.ravel() for pair in pairs for a in pair])


class Step(Steps, Training):
    """One step from Python: `partial_fit` of one minibatch."""

    def __init__(self, net, X, y, threads=None):
        super().__init__(net, X, y, threads)
        self.model.shuffle = False

    def targets(self, y):
        return self.y

    def step(self, x, target):
        self.model.partial_fit(x, target)
        return self.model.loss_ * (2 if self.net.loss == "mean_squared_error" else 1)


class Prediction:
    name = "scikit-learn"

    def __init__(self, net, X, threads=None):
        self.X = X
        rows = max(net.widths[-1], 2)
        data, target = net.data(rows, X.dtype.name)
        self.probabilities = net.loss != "mean_squared_error"
        if net.loss == "binary_cross_entropy":
            target = target.ravel().astype(int)
        self.model = model(net, data, target)
        self.binary = net.loss == "binary_cross_entropy"

    def predict(self):
        if not self.probabilities:
            return self.model.predict(self.X)
        p = self.model.predict_proba(self.X)
        return p[:, 1:] if self.binary else p


def about() -> dict:
    """The version, and NumPy's and SciPy's BLAS."""
    return {"version": sklearn.__version__, "isa": measure.numpy_isa(), "blas": measure.blas()}
