"""Epochs over all the data at once: SciPy's L-BFGS-B, driven by loss and gradient of the whole data set."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .._support.network_steps import parameter_slices
from ..errors import DivergenceError
from ..optimizers import LBFGS
from .batches import Batches
from .data import Data
from .engine import Minibatches
from .run import Run
from .settings import Settings
from .way import MinibatchWay, Way

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FullBatch(Way):
    """Iterations of SciPy's L-BFGS-B: each is an epoch of one update.

    Parameters
    ----------
    inner : MinibatchWay
        Computes losses and gradients.
    optimizer : LBFGS
    """

    def __init__(self, inner: MinibatchWay, optimizer: LBFGS) -> None:
        self.engine = inner.engine
        self.inner = inner
        self.optimizer = optimizer

    def require_minibatches(self, what: str) -> NoReturn:
        raise ValueError(f"{what} does not go with LBFGS, which needs all the data: use fit")

    def require_core_loss(self, what: str) -> None:
        self.inner.require_core_loss(what)

    def require_checkpoints(self) -> None:
        raise ValueError("a checkpoint does not go with LBFGS: its memory of gradients is SciPy's")

    def checked(self, x_name: str, y_name: str, x: Any, y: Any, allow_nonfinite: bool | None) -> Data:
        return self.inner.checked(x_name, y_name, x, y, allow_nonfinite)

    def class_weighted(self, data: Data, class_weight: Any) -> Data:
        return self.inner.class_weighted(data, class_weight)

    def chosen(self, data: Data, rows: NDArray[Any]) -> tuple[Data, NDArray[Any] | None]:
        return data.of_rows(rows), None

    def batch_size(self, given: Any, rows: int) -> int:
        for step in self.engine.net.steps:
            if step.kind == "dropout" or step.kind == "batch_norm" and not step.frozen:
                raise ValueError(f"LBFGS does not go with {step.layer!r}: it needs a loss of the parameters alone")
        size = super().batch_size(rows if given is None else given, rows)
        if size < rows:
            raise ValueError(f"batch_size is {size}; with LBFGS it must be None or all {rows} rows")
        return size

    def gradient(self, data: Data, dx: NDArray[Any] | None, training: bool) -> float:
        return self.inner.gradient(data, dx, training)

    def evaluate(self, data: Data) -> float:
        return self.inner.evaluate(data)

    def step(self, data: Data) -> float:
        self.require_minibatches("step")

    def train_batches(self, run: Run, source: Batches, allow_nonfinite: bool, class_weight: Any) -> None:
        self.require_minibatches("an iterable of batches")

    def train(self, run: Run, data: Data, chosen: NDArray[Any] | None, minibatches: Minibatches, shuffle: bool) -> None:
        """Train until SciPy reports convergence, or the run ends.

        Raises
        ------
        ImportError
            Without SciPy.
        DivergenceError
            When the loss is not finite at the initial parameters.
        """
        optimize = scipy_optimize()
        engine, optimizer = self.engine, self.optimizer
        net = engine.net
        layers = [slice(W.start, (b or W).stop) for W, _, b in parameter_slices(net.steps)]
        trial = self.inner.of(copy.copy(net))  # at the points of the line search; the net itself sees whole iterations
        last: dict[str, Any] = {}

        def value_and_gradient(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            trial.engine.net.parameters[...] = w
            loss = trial.gradient(data, None, True)
            last.update(loss=loss, gradient=trial.engine.gradient.astype(np.float64), at=w.copy())
            return loss, last["gradient"]

        def after(w: NDArray[Any]) -> None:
            if not np.array_equal(w, last["at"]):  # the line search ended at a point it had seen before
                value_and_gradient(w)
            with net.lock:
                net.lock.assign((net.parameters, w))
                engine.steps += 1
            engine.updates.last_loss = last["loss"]
            squares = np.square(last["gradient"])
            layer_squares = np.array([squares[layer].sum() for layer in layers])
            run.end_epoch(last["loss"], float(squares.sum()), layer_squares, 1, 1.0)
            if not run.goes_on():
                raise StopIteration
            run.begin_epoch()

        run.begin_epoch()
        start = net.parameters.astype(np.float64)
        loss, _ = value_and_gradient(start)
        if not np.isfinite(loss):
            raise DivergenceError("loss", engine.epochs, 0, loss, engine.updates.last_loss, 1.0, {})
        optimize.minimize(
            value_and_gradient,
            start,
            method="L-BFGS-B",
            jac=True,
            callback=after,
            options={
                "maxiter": run.epochs,
                "maxfun": 50 * run.epochs + 100,
                "maxcor": optimizer.history,
                "gtol": optimizer.tolerance_gradient,
                "ftol": optimizer.tolerance_change,
            },
        )


def refuse_settings(settings: Settings) -> None:
    """Raise ValueError for settings of a trainer that do not go with L-BFGS."""
    for name in settings.used:
        raise ValueError(f"{name} does not go with LBFGS, whose steps come of a line search")


def scipy_optimize() -> Any:
    """The module scipy.optimize.

    Raises
    ------
    ImportError
        When SciPy is not installed.
    """
    try:
        from scipy import optimize
    except ImportError as error:
        raise ImportError("LBFGS needs SciPy: pip install 'fastbp[scipy]'") from error
    return optimize
