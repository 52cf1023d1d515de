"""The nets of the board: what is trained, on how much data, and what a step costs."""

from typing import NamedTuple

import numpy as np

import fastbp as fb


class Net(NamedTuple):
    """A net and how it is trained. `rows` is an epoch: long enough to time in NumPy, short enough to wait for."""

    widths: tuple
    batch: int
    rows: int
    optimizer: str  # "sgd", "momentum" or "adam"
    least_ratio: float = 1.5  # how many times as fast as the NumPy twin an epoch must be
    activation: str = "relu"
    loss: str = "softmax_cross_entropy"
    learning_rate: float = 1e-3

    @property
    def name(self):
        widths = "-".join(str(width) for width in self.widths)
        return widths if self.activation == "relu" else f"{widths} {self.activation}"

    @property
    def update(self):
        """The optimiser, as tables write it."""
        return {"sgd": "SGD", "adam": "Adam"}.get(self.optimizer, self.optimizer)

    def layers(self):
        *hidden, outputs = self.widths[1:]
        return [*(fb.Dense(units, self.activation) for units in hidden), fb.Dense(outputs)]

    def optimizer_object(self):
        if self.optimizer == "adam":
            return fb.Adam(self.learning_rate)
        return fb.SGD(self.learning_rate, momentum=0.9 if self.optimizer == "momentum" else 0.0)

    def start(self, dtype="float32"):
        """The network everybody starts from."""
        return fb.Network(self.widths[0], self.layers(), dtype=dtype)

    def steps(self, rows=None):
        """Minibatches in an epoch."""
        return -(-(rows or self.rows) // self.batch)

    def flops(self, rows=None):
        """Floating-point operations in the products of an epoch: x W, x^T dz and, but for the first layer, dz W^T."""
        sizes = [inputs * outputs for inputs, outputs in zip(self.widths, self.widths[1:])]
        return 2 * (rows or self.rows) * (3 * sum(sizes) - sizes[0])

    def forward_flops(self, rows):
        """Floating-point operations in the products of a prediction."""
        return 2 * rows * sum(inputs * outputs for inputs, outputs in zip(self.widths, self.widths[1:]))

    def parameters_count(self):
        return sum((inputs + 1) * outputs for inputs, outputs in zip(self.widths, self.widths[1:]))

    def data(self, rows=None, dtype="float32"):
        """X (rows, inputs) and targets, something to be learned: a random linear map."""
        rows = rows or self.rows
        inputs, outputs = self.widths[0], self.widths[-1]
        random = np.random.default_rng(0)
        X = random.standard_normal((rows, inputs), dtype=np.float32).astype(dtype, copy=False)
        z = X @ (random.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(dtype)
        if self.loss == "softmax_cross_entropy":
            return X, z.argmax(axis=1)
        if self.loss == "binary_cross_entropy":
            return X, (z > 0).astype(dtype)
        return X, np.tanh(z)


# The table of the design, in its order.
BOARD = [
    Net((4, 64, 64, 2), 1, 512, "adam", 5),
    Net((4, 64, 64, 2), 32, 32 * 400, "adam", 5),
    Net((16, 64, 32, 2), 64, 64 * 400, "adam", 5),
    Net((64, 128, 10), 64, 64 * 400, "sgd", 5),
    Net((784, 10), 1024, 1024 * 16, "sgd", 5),
    Net((784, 128, 10), 64, 64 * 128, "sgd"),
    Net((784, 256, 128, 10), 128, 128 * 32, "adam"),
    Net((784, 1024, 1024, 10), 256, 256 * 6, "adam"),
]

# What other libraries show themselves with.
OTHERS = [
    Net((4, 32, 16, 4), 10_000, 10_000, "adam", activation="tanh"),
    Net((24, 8, 2), 200, 200 * 200, "adam"),
    Net((28, 300, 300, 300, 300, 300, 1), 100, 100 * 20, "momentum", activation="tanh", loss="binary_cross_entropy"),
    Net((17, 256, 256, 6), 256, 256 * 20, "adam", activation="tanh", loss="mean_squared_error"),
]

# Widths and batches between those above, and wide nets trained one row at a time.
MORE = [
    Net((300, 900, 2), 100, 100 * 20, "sgd"),
    Net((50, 50, 50, 50, 50, 50, 50, 4), 100, 100 * 100, "adam", activation="tanh"),
    Net((512, 768, 768, 512, 100), 192, 192 * 6, "sgd"),
    Net((128, 256, 256, 8), 1, 1024, "sgd"),
    Net((128, 256, 256, 8), 1, 1024, "adam"),
]

ALL = BOARD + OTHERS + MORE

# Those also trained in float64.
DOUBLE = [BOARD[2], BOARD[5], BOARD[6]]
