"""The nets of the board: their widths, their data, and the operations of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastbp as fb

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Net(NamedTuple):
    """A net and its training. An epoch has `rows` rows: enough to time in NumPy, few enough to wait for."""

    widths: tuple[int, ...]
    batch: int
    rows: int
    optimizer: str  # "sgd", "momentum" or "adam"
    least_ratio: float = 1.5  # the least ratio of the NumPy twin's time to fastbp's
    activation: str = "relu"
    loss: str = "softmax_cross_entropy"
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """The widths, and the activation unless it is ReLU."""
        widths = "-".join(str(width) for width in self.widths)
        return widths if self.activation == "relu" else f"{widths} {self.activation}"

    @property
    def update(self) -> str:
        """The optimiser, as tables write it."""
        return {"sgd": "SGD", "adam": "Adam"}.get(self.optimizer, self.optimizer)

    def layers(self) -> list[fb.Dense]:
        """The layers, as `fastbp.Network` takes them."""
        *hidden, outputs = self.widths[1:]
        return [*(fb.Dense(units, self.activation) for units in hidden), fb.Dense(outputs)]

    def optimizer_object(self) -> Any:
        """The optimiser, as `fastbp.Trainer` takes it."""
        if self.optimizer == "adam":
            return fb.Adam(self.learning_rate)
        return fb.SGD(self.learning_rate, momentum=0.9 if self.optimizer == "momentum" else 0.0)

    def start(self, dtype: str = "float32") -> fb.Network:
        """The network that all contestants start from."""
        return fb.Network(self.widths[0], self.layers(), dtype=dtype)

    def steps(self, rows: int | None = None) -> int:
        """The number of minibatches in an epoch."""
        return -(-(rows or self.rows) // self.batch)

    def flops(self, rows: int | None = None) -> int:
        """Floating-point operations in the products of an epoch: x W, x^T dz and, except in the first layer, dz W^T."""
        sizes = [inputs * outputs for inputs, outputs in zip(self.widths, self.widths[1:])]
        return 2 * (rows or self.rows) * (3 * sum(sizes) - sizes[0])

    def forward_flops(self, rows: int) -> int:
        """Floating-point operations in the products of a prediction."""
        return 2 * rows * sum(inputs * outputs for inputs, outputs in zip(self.widths, self.widths[1:]))

    def parameters_count(self) -> int:
        """The number of parameters."""
        return sum((inputs + 1) * outputs for inputs, outputs in zip(self.widths, self.widths[1:]))

    def data(self, rows: int | None = None, dtype: str = "float32") -> tuple[NDArray[Any], NDArray[Any]]:
        """X (rows, inputs), and targets that a net can learn: those of a random linear map."""
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


# The nets of the board's first table, in its order.
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

# Nets with which other libraries are shown.
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
