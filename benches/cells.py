"""The cells of the board: the work that is timed, and the least time that it could take."""

from typing import NamedTuple

from fastbp.bench import nets


class Cell(NamedTuple):
    """Training a net for an epoch, updating it in single steps called from Python, or predicting with it."""

    mode: str  # "train", "step" or "predict"
    net: nets.Net
    rows: int  # of an epoch, or of a prediction
    dtype: str = "float32"

    @property
    def name(self) -> str:
        what = {
            "train": f"batch {self.net.batch} {self.net.update}",
            "step": f"step of {self.net.batch} {self.net.update}",
            "predict": "1 row" if self.rows == 1 else f"{self.rows} rows",
        }[self.mode]
        return f"{self.net.name} {what}" + " float64" * (self.dtype == "float64")

    @property
    def steps(self) -> int:
        """The number of steps in an epoch; of a prediction, 1."""
        return 1 if self.mode == "predict" else self.net.steps(self.rows)

    @property
    def flops(self) -> float:
        """Floating-point operations in the products of a step or of a prediction."""
        if self.mode == "predict":
            return self.net.forward_flops(self.rows)
        return self.net.flops(self.rows) / self.steps

    def moved(self, cache: int | None) -> float:
        """Bytes that a step must move between the core and memory, when the last-level cache holds `cache` bytes.

        Whatever fits in the cache stays there and counts nothing. In training, the data (X and targets of an epoch),
        when they exceed the cache: the rows of the minibatch, read once. Weights, gradient and moments, when they
        exceed it together: weights and moments, read and written once. In prediction, rows and outputs when they
        exceed the cache, once; the weights when they exceed it, read once. Gradients and activations are assumed to
        stay in the cache whatever their size, so the figure is a lower bound.

        Parameters
        ----------
        cache : int or None
            None: the size is not known, and everything is assumed to fit.

        Returns
        -------
        float
        """
        net, item = self.net, 8 if self.dtype == "float64" else 4
        if cache is None:
            return 0
        weights = item * net.parameters_count()
        if self.mode == "predict":
            data = item * self.rows * (net.widths[0] + net.widths[-1])
            return (data if data > cache else 0) + (weights if weights > cache else 0)
        target = 8 if net.loss == "softmax_cross_entropy" else item * net.widths[-1]
        row = item * net.widths[0] + target
        moments = {"sgd": 0, "momentum": 1, "adam": 2}[net.optimizer]
        rows = row * self.rows / self.steps if row * self.rows > cache else 0
        return rows + (2 * (1 + moments) * weights if (2 + moments) * weights > cache else 0)

    def least_seconds(self, peak: float, bandwidth: float, cache: int | None) -> float:
        """The least time of a step, on a core that does `peak` floating-point operations and moves `bandwidth` bytes
        a second."""
        return max(self.flops / peak, self.moved(cache) / bandwidth)


# Single steps: the nets, and {batch: steps in an epoch}. Over more steps of Adam, rounding leads float32 astray: see
# `verify.TOLERANCES`.
STEPPED = [*nets.BOARD[1:4], nets.BOARD[5], nets.MORE[3], nets.BOARD[6]]
BATCHES = {1: 64, 32: 16, 256: 16}


def all_cells(mode: str = "all", text: str | None = None) -> list[Cell]:
    """The cells of a mode, or of "all". text: strings with commas between them, one of which the name must contain."""
    training = [Cell("train", net, net.rows) for net in nets.ALL]
    training += [Cell("train", net, net.rows, "float64") for net in nets.DOUBLE]
    steps = [
        Cell("step", net._replace(batch=batch, rows=batch * count), batch * count)
        for net in STEPPED
        for batch, count in BATCHES.items()
    ]
    distinct = list({(net.widths, net.activation): net for net in reversed(nets.ALL)}.values())[::-1]
    prediction = [
        Cell("predict", net, rows)
        for net in distinct
        for rows in ((1, 100, 1000) if net is nets.MORE[0] else (1, 1000))
    ]
    found = [cell for cell in training + steps + prediction if mode in (cell.mode, "all")]
    return [cell for cell in found if not text or any(part in cell.name for part in text.split(",") if part)]
