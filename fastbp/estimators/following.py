"""What happens after each epoch of an estimator: scikit-learn's bookkeeping and its rules for when to stop."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..callbacks import Callback

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
        Of invscaling.

    Attributes
    ----------
    learning_rate : float
    """

    def __init__(self, initial, rule, power):
        self.initial = self.learning_rate = initial
        self.rule = rule
        self.power = power

    def epoch_end(self, rows_seen):
        if self.rule == "invscaling":
            self.learning_rate = float(self.initial) / (rows_seen + 1) ** self.power

    def without_improvement(self, message, verbose):
        """Says whether to stop, for nothing has improved for long. An adaptive rate falls before that."""
        stop = self.rule != "adaptive" or self.learning_rate <= 1e-6
        if stop:
            message += " Learning rate too small. Stopping." if self.rule == "adaptive" else " Stopping."
        else:
            self.learning_rate /= 5.0
            message += f" Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(message)
        return stop


class Following(Callback):
    """Follows a fit: keeps the estimator's attributes, and stops it.

    Parameters
    ----------
    estimator : BaseMLP
    objective : Objective
    validation : (X, target, weights) or None
        Encoded as for the trainer.
    early : bool
        Stop by the validation score, and keep the best parameters.

    Attributes
    ----------
    stopped : bool
        Whether the fit ended because nothing improved.
    """

    def __init__(self, estimator, objective, validation, early):
        self.estimator = estimator
        self.objective = objective
        self.validation = validation
        self.early = early
        self.stopped = False

    def epoch_end(self, run):
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += run.rows
        estimator.loss_ = self.objective.reported(run.history["loss"][-1])
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if self.validation is not None:
            self._validate(run.net)
        if not self.early:
            self._compare_losses()
        rate = estimator._optimizer
        before = rate.learning_rate
        rate.epoch_end(estimator.t_)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.stopped = rate.without_improvement(self._message(), estimator.verbose)
            if self.stopped:
                run.stop()
            else:
                estimator._no_improvement_count = 0
        if rate.learning_rate != before:
            self._change_rate(run.trainer, before, rate.learning_rate)

    def train_end(self, run):
        """With early stopping, back to the best parameters, whatever ended the fit."""
        if self.early:
            run.net.parameters[...], run.net.statistics[...] = self.estimator._best

    def diverged(self, error):
        """After a minibatch whose loss or gradient is not finite: with early stopping the best parameters are good."""
        if not self.early:
            raise ValueError(NOT_FINITE) from error
        self.estimator.validation_scores_.append(float("nan"))
        warnings.warn(
            f"Training diverged in iteration {self.estimator.n_iter_ + 1}: the parameters with the best validation "
            "score are taken.",
            ConvergenceWarning,
            stacklevel=5,
        )

    def _change_rate(self, trainer, before, after):
        """Another learning rate for SGD. scikit-learn's momentum is one of steps, fastbp's and PyTorch's of gradients:
        it is rescaled so that the steps of the past keep the learning rate they had."""
        trainer.optimizer = trainer.optimizer.replaced(learning_rate=self.objective.rate(after))
        for momentum in trainer._moments:
            momentum *= before / after if after > 0 else 0

    def _message(self):
        estimator = self.estimator
        what = "Validation score" if self.early else "Training loss"
        return (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
            "consecutive epochs."
        )

    def _validate(self, net):
        estimator = self.estimator
        X, target, weights = self.validation
        outputs = net.predict(X, allow_nonfinite=True)
        with np.errstate(over="ignore"):
            finite = np.isfinite(outputs).all()
            score = float(estimator._score_of(outputs, target, weights)) if finite else float("nan")
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if not self.early:
            return
        worse = score < estimator.best_validation_score_ + estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best = net.parameters.copy(), net.statistics.copy()

    def _compare_losses(self):
        estimator = self.estimator
        worse = estimator.loss_ > estimator.best_loss_ - estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
