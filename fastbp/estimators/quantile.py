"""The estimator for quantiles."""

from numbers import Real

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score
from sklearn.utils._param_validation import Interval

from ..losses import Pinball
from .base import BaseMLP
from .docstrings import documented
from .objective import Objective
from .regressor import NumbersMLP


@documented
class QuantileMLPRegressor(RegressorMixin, NumbersMLP):
    """Multi-layer perceptron that predicts a quantile, or several with one net.

    Parameters
    ----------
    quantiles : float or array-like of float, default=0.5
        The levels, strictly between 0 and 1: a number, or several such as (0.1, 0.5, 0.9).
    {parameters}
    monotone : bool, default=True
        Sort the quantiles that are predicted for a row, so that those of higher levels are not below others.

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MLPRegressor : For the mean.

    Notes
    -----
    What is minimised is the pinball loss (Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978), summed
    over the outputs. Sorting never makes quantiles worse (Chernozhukov, Fernandez-Val and Galichon, Quantile and
    Probability Curves Without Crossing, Econometrica 78, 2010).

    Examples
    --------
    >>> from fastbp import QuantileMLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> QuantileMLPRegressor((0.1, 0.5, 0.9), random_state=1, max_iter=50).fit(X, y).predict(X).shape
    (200, 3)
    """

    _parameter_constraints = {
        **BaseMLP._parameter_constraints,
        "quantiles": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "monotone": ["boolean"],
    }

    def __init__(
        self,
        quantiles=0.5,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        normalization=None,
        dtype=None,
        n_threads=None,
        monotone=True,
    ):
        self._keep(locals())

    def predict(self, X):
        """Predict the quantiles of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        q : ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            In the order of `quantiles`; without the last dimension where that is a number.
        """
        q = self._quantiles(self._outputs(X))
        q = q[:, 0] if q.shape[1] == 1 else q
        return q[..., 0] if isinstance(self.quantiles, Real) else q

    def score(self, X, y, sample_weight=None):
        """What share of the pinball loss of the best constants the predictions spare, in the mean over the quantiles.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            At most 1; 0 is that of the quantiles of y for all rows. For each quantile `d2_pinball_score` of
            scikit-learn.
        """
        return self._score_of(self._outputs(X), y, sample_weight)

    def _levels(self):
        levels = [self.quantiles] if isinstance(self.quantiles, Real) else list(self.quantiles)
        if not levels or not all(isinstance(level, Real) and 0 < level < 1 for level in levels):
            raise ValueError(f"quantiles must hold numbers between 0 and 1, got {self.quantiles}")
        return [float(level) for level in levels]

    def _quantiles(self, outputs):
        """(rows, targets, levels) of the net's outputs."""
        levels = np.array(self._levels())
        q = outputs.reshape(len(outputs), -1, len(levels))
        if self.monotone:
            in_order = np.argsort(levels, kind="stable")
            q = np.sort(q, axis=2)[:, :, np.argsort(in_order, kind="stable")]
        return q

    def _width(self, target):
        return target.shape[1] * len(self._levels())

    def _objective(self, target, weights):
        return Objective(Pinball(self._levels()), self._width(target))

    def _score_of(self, outputs, target, weights):
        q = self._quantiles(outputs)
        return float(
            np.mean(
                [
                    d2_pinball_score(target, q[:, :, i].reshape(np.shape(target)), sample_weight=weights, alpha=level)
                    for i, level in enumerate(self._levels())
                ]
            )
        )
