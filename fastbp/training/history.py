"""The result of `Trainer.fit`: a dict of lists, which can be turned into a table or a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._support import storage
from .._support.declarative import described

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LISTS = ("layer_gradient_norms",)  # entries whose elements are lists, with one element for each layer


class History(dict[str, list[Any]]):
    """The history of a fit: a dict of lists with one element for each epoch.

    Notes
    -----
    `Trainer.fit` documents the entries. It is an ordinary dict: it can be pickled, written as JSON, and given to
    ``pandas.DataFrame``.
    """

    def to_frame(self) -> DataFrame:
        """The history as a table.

        Returns
        -------
        pandas.DataFrame
            A row for each epoch, numbered from 1 as index "epoch"; a column for each entry.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install 'fastbp[pandas]'") from error
        return pandas.DataFrame(self, index=pandas.RangeIndex(1, 1 + self.epochs, name="epoch"))

    @property
    def epochs(self) -> int:
        """The number of epochs in the history."""
        return len(self.get("loss", ()))

    @property
    def figures(self) -> list[str]:
        """The names of the entries that hold one number for each epoch."""
        return [name for name in self if name not in LISTS]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw losses, metrics, the norms of the gradients, and the learning rate, each over the epochs.

        Parameters
        ----------
        path : str or path, optional
            A file to write the picture to, whole or not at all; its ending chooses the format, .png by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            When there is no epoch to draw.
        TypeError, OSError
            When path is of another type, or cannot be written to.
        """
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a str or a path, got {described(path)}")
        if not self.epochs:
            raise ValueError("the history has no epoch to draw")
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'fastbp[plot]'") from error
        groups = self._groups()
        figure = Figure(figsize=(4.2 * len(groups), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        epochs = range(1, 1 + self.epochs)
        for axes, (title, curves) in zip(
            figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True
        ):
            for label, values in curves.items():
                faint = title == "gradient norm" and label != "all"
                axes.plot(
                    epochs, values, label=label, marker="." if self.epochs < 30 else "", alpha=0.5 if faint else 1
                )
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if title in ("gradient norm", "learning rate") and min(map(min, curves.values())) > 0:
                axes.set_yscale("log")
            if len(curves) > 1:
                axes.legend(fontsize="small")
        if path is not None:
            root, ending = os.path.splitext(os.fspath(path))
            ending = ending or ".png"
            storage.write_whole(root + ending, lambda file: figure.savefig(file, dpi=120, format=ending[1:]))
        return figure

    def _groups(self) -> dict[str, dict[str, Any]]:
        """The curves of each picture: title -> label -> values."""
        groups: dict[str, dict[str, Any]] = {"loss": {}, "metrics": {}, "gradient norm": {}, "learning rate": {}}
        for name, values in self.items():
            if name in ("loss", "val_loss"):
                groups["loss"]["training" if name == "loss" else "validation"] = values
            elif name == "learning_rate":
                groups["learning rate"][name] = values
            elif name == "gradient_norm":
                groups["gradient norm"]["all"] = values
            elif name == "layer_gradient_norms":
                for layer, norms in enumerate(zip(*values, strict=True)):
                    groups["gradient norm"][f"layer {layer}"] = norms
            elif name != "seconds":
                groups["metrics"][name.replace("val_", "validation ", 1).replace("_", " ")] = values
        return {title: curves for title, curves in groups.items() if curves}
