"""The estimator for quantiles."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score
from sklearn.utils._param_validation import Interval

from ..losses import Pinball
from .base import CONSTRAINTS
from .docstrings import documented
from .objective import Objective
from .regressor import NumbersMLP

if TYPE_CHECKING:
    from numpy.typing import NDArray


@documented
class QuantileMLPRegressor(RegressorMixin, NumbersMLP):  # type: ignore[misc]  # scikit-learn has no annotations
    """Multi-layer perceptron that predicts one quantile, or several with one net.

    Parameters
    ----------
    quantiles : float or array-like of float, default=0.5
        The levels, strictly between 0 and 1: a number, or several such as (0.1, 0.5, 0.9).
    {parameters}
    monotone : bool, default=True
        Sort the quantiles predicted for a row, so that the quantile of a higher level is never the smaller one.

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MLPRegressor : For the mean.

    Notes
    -----
    The loss is the pinball loss (Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978), summed over the
    outputs. Sorting never makes quantiles worse (Chernozhukov, Fernandez-Val and Galichon, Quantile and
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
        **CONSTRAINTS,
        "quantiles": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "monotone": ["boolean"],
    }

    def __init__(
        self,
        quantiles: Any = 0.5,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        normalization: str | None = None,
        dtype: Any = None,
        n_threads: int | None = None,
        monotone: bool = True,
    ) -> None:
        self._keep(locals())

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the quantiles of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        q : ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            In the order of `quantiles`; without the last dimension where `quantiles` is a number.
        """
        q = self._quantiles(self._outputs(X))
        q = q[:, 0] if q.shape[1] == 1 else q
        return q[..., 0] if isinstance(self.quantiles, Real) else q

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The D^2 score of the pinball loss: 1 - loss / (loss of the best constants), averaged over the quantiles.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            At most 1; 0 for predictions that are the quantiles of y for all rows. For each quantile it is
            `d2_pinball_score` of scikit-learn.
        """
        return self._score_of(self._outputs(X), y, sample_weight)

    def _levels(self) -> list[float]:
        levels = [self.quantiles] if isinstance(self.quantiles, Real) else list(self.quantiles)
        if not levels or not all(isinstance(level, Real) and 0 < float(level) < 1 for level in levels):
            raise ValueError(f"quantiles must hold numbers between 0 and 1, got {self.quantiles}")
        return [float(level) for level in levels]

    def _quantiles(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """The net's outputs as predictions (rows, targets, levels)."""
        levels = np.array(self._levels())
        q = outputs.reshape(len(outputs), -1, len(levels))
        if self.monotone:
            in_order = np.argsort(levels, kind="stable")
            q = np.sort(q, axis=2)[:, :, np.argsort(in_order, kind="stable")]
        return q

    def _width(self, target: NDArray[Any]) -> int:
        return int(target.shape[1]) * len(self._levels())

    def _objective(self, target: NDArray[Any], weights: Any) -> Objective:
        return Objective(Pinball(self._levels()), self._width(target))

    def _score_of(self, outputs: NDArray[Any], target: Any, weights: Any) -> float:
        q = self._quantiles(outputs)
        return float(
            np.mean(
                [
                    d2_pinball_score(target, q[:, :, i].reshape(np.shape(target)), sample_weight=weights, alpha=level)
                    for i, level in enumerate(self._levels())
                ]
            )
        )
