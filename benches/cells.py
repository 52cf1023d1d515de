"""The cells of the board: what is timed, and the least that it could take."""

from typing import NamedTuple

from fastbp.bench import nets


class Cell(NamedTuple):
    """Training a net (an epoch of it), or predicting so many rows with it."""

    mode: str  # "train" or "predict"
    net: nets.Net
    rows: int  # of an epoch, or of a prediction
    dtype: str = "float32"

    @property
    def name(self):
        what = f"batch {self.net.batch}" if self.mode == "train" else "1 row" if self.rows == 1 else f"{self.rows} rows"
        return f"{self.net.name} {what}" + " float64" * (self.dtype == "float64")

    @property
    def steps(self):
        """How many steps the time of a contestant's sample is of: updates, or one prediction."""
        return self.net.steps(self.rows) if self.mode == "train" else 1

    @property
    def flops(self):
        """Floating-point operations in the products of a step."""
        if self.mode == "train":
            return self.net.flops(self.rows) / self.steps
        return self.net.forward_flops(self.rows)

    def moved(self, cache):
        """Bytes that a step must move between the core and memory, when the last-level cache holds `cache` bytes.

        What fits in the cache stays there and counts nothing. In training, the data (X and targets of an epoch), when
        they exceed the cache: the minibatch's rows, read once. Weights, gradient and moments, when they exceed it
        together: weights and moments, read and written once. In prediction, rows and outputs when they exceed the
        cache, once; the weights when they exceed it, read once. Gradients and activations are taken to stay in the
        cache whatever their size, so that this is less than any program moves.

        Parameters
        ----------
        cache : int or None
            None: not known, and everything is taken to fit.

        Returns
        -------
        int
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

    def least_seconds(self, peak, bandwidth, cache):
        """What a step takes at least, on a core with so many floating-point operations and bytes a second."""
        return max(self.flops / peak, self.moved(cache) / bandwidth)


def all_cells(mode="all", text=None):
    """The cells of a mode ("train", "predict" or "all") whose name contains `text`, training first."""
    training = [Cell("train", net, net.rows) for net in nets.ALL]
    training += [Cell("train", net, net.rows, "float64") for net in nets.DOUBLE]
    distinct = list({(net.widths, net.activation): net for net in reversed(nets.ALL)}.values())[::-1]
    prediction = [Cell("predict", net, rows) for net in distinct for rows in (1, 1000)]
    found = training * (mode != "predict") + prediction * (mode != "train")
    return [cell for cell in found if not text or text in cell.name]
