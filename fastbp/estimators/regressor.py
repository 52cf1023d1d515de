"""The estimator for numbers, and the base of the two for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ..losses import Huber, Loss, MeanAbsoluteError, MeanSquaredError, Pinball, Poisson
from ..training.loss_function import is_function
from .base import CONSTRAINTS, BaseMLP, stochastic
from .docstrings import documented
from .objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOSSES = {
    "squared_error": MeanSquaredError(),
    "absolute_error": MeanAbsoluteError(),
    "huber": Huber(),
    "poisson": Poisson(),
}
OF_NUMBERS = (MeanSquaredError, MeanAbsoluteError, Huber, Poisson, Pinball)


class NumbersMLP(BaseMLP):
    """The base of the estimators whose targets are numbers."""

    _y_numeric = True

    def _checked_target(self, y: Any, dtype: Any, reset: bool) -> Any:
        return y.reshape(len(y), -1).astype(dtype, copy=False)

    def _width(self, target: NDArray[Any]) -> int:
        return int(target.shape[1])

    def _output_activation(self) -> str:
        return "identity"

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_set: Any = None) -> Self:
        """Train on data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each row, at least 0.
        validation_set : (X, y) or (X, y, sample_weight), default=None
            Data whose score is computed after every epoch; with early_stopping they replace the rows held out.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, validation_set)
        return self

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self


@documented
class MLPRegressor(RegressorMixin, NumbersMLP):  # type: ignore[misc]  # scikit-learn has no annotations
    """Multi-layer perceptron for regression: scikit-learn's MLPRegressor on fastbp's core.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "poisson"}, loss or function, default="squared_error"
        The loss that is minimised, summed over the outputs. With "poisson" the output of the net is the logarithm of
        the prediction. An object such as ``fb.Huber(2.0)``, or a function (output, target) -> (loss, doutput), as
        `fastbp.Trainer` takes it, is minimised without a factor.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    QuantileMLPRegressor : For quantiles rather than the mean.
    MLPClassifier : For classes.

    Examples
    --------
    >>> from fastbp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints = {
        **CONSTRAINTS,
        "loss": [StrOptions(set(LOSSES)), Loss, callable],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
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
    ) -> None:
        self._keep(locals())

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._prediction(self._outputs(X))

    def _prediction(self, outputs: NDArray[Any]) -> NDArray[Any]:
        if self.out_activation_ == "exp":
            outputs = np.exp(outputs)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _checked_target(self, y: Any, dtype: Any, reset: bool) -> Any:
        y = super()._checked_target(y, dtype, reset)
        if self._of_counts() and (y.min() < 0 or y.sum() == 0):
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson'.")
        return y

    def _of_counts(self) -> bool:
        return self.loss == "poisson" or isinstance(self.loss, Poisson)

    def _output_activation(self) -> str:
        return "exp" if self._of_counts() else "identity"

    def _objective(self, target: NDArray[Any], weights: Any) -> Objective:
        if not isinstance(self.loss, str):
            if not is_function(self.loss) and not isinstance(self.loss, OF_NUMBERS):
                raise ValueError(f"loss must be one for numbers, such as Huber(), got {self.loss!r}")
            if isinstance(getattr(self.loss, "quantiles", None), tuple):
                raise ValueError(f"loss is {self.loss!r}: QuantileMLPRegressor is for several quantiles")
            return Objective(self.loss)
        loss, outputs = LOSSES[self.loss], target.shape[1]
        if self.loss == "squared_error":
            return Objective(loss, outputs / 2, 1 / 2)
        if self.loss != "poisson":
            return Objective(loss, outputs)
        constant = np.where(target > 0, target * np.log(np.where(target > 0, target, 1)), 0) - target
        return Objective(loss, outputs, outputs, float(np.average(constant, axis=0, weights=weights).sum()))

    def _score_of(self, outputs: NDArray[Any], target: Any, weights: Any) -> float:
        return float(r2_score(target, self._prediction(outputs), sample_weight=weights))
