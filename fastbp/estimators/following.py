"""The callback of an estimator: scikit-learn's bookkeeping after each epoch, and its rules for when to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..callbacks import Callback
from .objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network import Network
    from ..trainer import Trainer
    from ..training.run import Run

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class LearningRate:
    """The learning rate of an estimator.

    Parameters
    ----------
    initial : float
    rule : {"constant", "invscaling", "adaptive"}
    power : float
        The exponent of invscaling.

    Attributes
    ----------
    learning_rate : float
    """

    def __init__(self, initial: float, rule: str, power: float) -> None:
        self.initial = self.learning_rate = initial
        self.rule = rule
        self.power = power

    def epoch_end(self, rows_seen: int) -> None:
        """Follow the rule after an epoch; rows_seen: over the estimator's life."""
        if self.rule == "invscaling":
            self.learning_rate = float(self.initial) / (rows_seen + 1) ** self.power

    def without_improvement(self, message: str, verbose: bool) -> bool:
        """Whether to stop, after many epochs without an improvement. An adaptive rate is lowered before that."""
        stop = self.rule != "adaptive" or self.learning_rate <= 1e-6
        if stop:
            message += " Learning rate too small. Stopping." if self.rule == "adaptive" else " Stopping."
        else:
            self.learning_rate /= 5.0
            message += f" Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(message)
        return stop


class Progress:
    """The state of stochastic training that one call of fit or partial_fit leaves to the next.

    Attributes
    ----------
    rate : LearningRate or None
        None before the first fit.
    without_improvement : int
        Epochs since the last improvement.
    best : (parameters, statistics) or None
        Copies of those with the best validation score, with early stopping.
    """

    def __init__(self) -> None:
        self.rate: LearningRate | None = None
        self.without_improvement = 0
        self.best: dict[str, NDArray[Any]] | None = None

    def keep_best(self, net: Network) -> None:
        """Copy the parameters of the net as the best ones."""
        self.best = {"parameters": net.parameters.copy(), "statistics": net.statistics.copy()}


class Following(Callback):
    """Follows a fit: sets the attributes of the estimator, and stops the fit.

    Parameters
    ----------
    estimator : BaseMLP
        Its public attributes are read and set.
    progress : Progress
    rate : LearningRate
        That of `progress`.
    objective : Objective
    score : function (outputs, target, weights) -> float
        The score of the validation data.
    validation : (X, target, weights) or None
        Encoded as for the trainer.
    early : bool
        Stop by the validation score, and keep the best parameters.

    Attributes
    ----------
    stopped : bool
        Whether the fit ended because nothing improved.
    """

    def __init__(
        self,
        estimator: Any,
        progress: Progress,
        rate: LearningRate,
        objective: Objective,
        score: Callable[[NDArray[Any], Any, Any], float],
        validation: tuple[Any, Any, Any] | None,
        early: bool,
    ) -> None:
        self.estimator = estimator
        self.progress = progress
        self.rate = rate
        self.objective = objective
        self.score = score
        self.validation = validation
        self.early = early
        self.stopped = False

    def epoch_end(self, run: Run) -> None:
        estimator, progress, rate = self.estimator, self.progress, self.rate
        estimator.n_iter_ += 1
        estimator.t_ += run.rows
        estimator.loss_ = self.objective.reported(run.history["loss"][-1])
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if self.validation is not None:
            self._validate(run.net, *self.validation)
        if not self.early:
            self._compare_losses()
        before = rate.learning_rate
        rate.epoch_end(estimator.t_)
        if progress.without_improvement > estimator.n_iter_no_change:
            self.stopped = rate.without_improvement(self._message(), estimator.verbose)
            if self.stopped:
                run.stop()
            else:
                progress.without_improvement = 0
        if rate.learning_rate != before:
            self._change_rate(run.trainer, before, rate.learning_rate)

    def train_end(self, run: Run) -> None:
        """With early stopping, restore the best parameters, even after an error."""
        if self.early and self.progress.best is not None:
            run.net.set_vectors(self.progress.best)

    def diverged(self, error: Exception) -> None:
        """Handle a loss or gradient that is not finite: with early stopping the best parameters are the result."""
        if not self.early:
            raise ValueError(NOT_FINITE) from error
        self.estimator.validation_scores_.append(float("nan"))
        warnings.warn(
            f"Training diverged in iteration {self.estimator.n_iter_ + 1}: the parameters with the best validation "
            "score are taken.",
            ConvergenceWarning,
            stacklevel=5,
        )

    def _change_rate(self, trainer: Trainer, before: float, after: float) -> None:
        """Change the learning rate of SGD. The momentum of scikit-learn is a sum of steps, that of fastbp and PyTorch a
        sum of gradients: it is rescaled so that past steps keep the learning rate they were made with."""
        trainer.optimizer = trainer.optimizer.replaced(learning_rate=self.objective.rate(after))
        for momentum in trainer.engine.moments:
            momentum *= before / after if after > 0 else 0

    def _message(self) -> str:
        estimator = self.estimator
        what = "Validation score" if self.early else "Training loss"
        return (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
            "consecutive epochs."
        )

    def _validate(self, net: Network, X: Any, target: Any, weights: Any) -> None:
        estimator, progress = self.estimator, self.progress
        outputs = net.predict(X, allow_nonfinite=True)
        with np.errstate(over="ignore"):
            finite = np.isfinite(outputs).all()
            score = float(self.score(outputs, target, weights)) if finite else float("nan")
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if not self.early:
            return
        worse = score < estimator.best_validation_score_ + estimator.tol
        progress.without_improvement = progress.without_improvement + 1 if worse else 0
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            progress.keep_best(net)

    def _compare_losses(self) -> None:
        estimator, progress = self.estimator, self.progress
        worse = estimator.loss_ > estimator.best_loss_ - estimator.tol
        progress.without_improvement = progress.without_improvement + 1 if worse else 0
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
