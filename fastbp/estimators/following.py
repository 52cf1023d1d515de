"""What happens after each epoch of an estimator: scikit-learn's bookkeeping and its rules for when to stop."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


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


class Following:
    """Follows a fit: a callback that keeps the estimator's attributes, and stops it.

    Parameters
    ----------
    estimator : BaseMLP
    objective : Objective
    rows : int
        Of the training data.
    validation : (X, target, weights) or None
        Encoded as for the trainer.
    early : bool
        Stop by the validation score, and keep the best parameters.
    """

    def __init__(self, estimator, objective, rows, validation, early):
        self.estimator = estimator
        self.objective = objective
        self.rows = rows
        self.validation = validation
        self.early = early

    def epoch_end(self, trainer, loss):
        """Take note of an epoch; says whether it was the last."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += self.rows
        estimator.loss_ = self.objective.reported(loss)
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if self.validation is not None:
            self._validate(trainer.net)
        if not self.early:
            self._compare_losses()
        rate = estimator._optimizer
        before = rate.learning_rate
        rate.epoch_end(estimator.t_)
        stop = self._stuck(rate)
        if rate.learning_rate != before:
            trainer.optimizer = trainer.optimizer.replaced(learning_rate=self.objective.rate(rate.learning_rate))
        return stop

    def _stuck(self, rate):
        estimator = self.estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if self.early else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} "
            "consecutive epochs."
        )
        stop = rate.without_improvement(message, estimator.verbose)
        if not stop:
            estimator._no_improvement_count = 0
        return stop

    def _validate(self, net):
        estimator = self.estimator
        X, target, weights = self.validation
        outputs = net.predict(X, allow_nonfinite=True)
        score = estimator._score_of(outputs, target, weights) if np.isfinite(outputs).all() else np.nan
        self._scored(float(score))
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if self.early:
            self._compare_scores(net, score)

    def _scored(self, score):
        self.estimator.validation_scores_.append(score)

    def _compare_scores(self, net, score):
        estimator = self.estimator
        estimator._no_improvement_count = (
            estimator._no_improvement_count + 1 if score < estimator.best_validation_score_ + estimator.tol else 0
        )
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = float(score)
            estimator._best = net.parameters.copy(), net.statistics.copy()

    def _compare_losses(self):
        estimator = self.estimator
        improved = estimator.loss_ <= estimator.best_loss_ - estimator.tol
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)

    def diverged(self, error):
        """After a minibatch whose loss or gradient is not finite: with early stopping the best parameters are good."""
        if not self.early:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            ) from error
        self._scored(np.nan)
        warnings.warn(
            f"Training diverged in iteration {self.estimator.n_iter_ + 1}: the parameters with the best validation "
            "score are taken.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def train_end(self, net):
        """With early stopping, back to the best parameters."""
        if self.early:
            net.parameters[...], net.statistics[...] = self.estimator._best
