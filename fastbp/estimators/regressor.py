"""The estimator for numbers."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ..losses import Huber, Loss, MeanAbsoluteError, MeanSquaredError, Pinball, Poisson
from ..training.python_loss import is_function
from .base import BaseMLP, stochastic
from .docstrings import documented
from .objective import Objective

LOSSES = {
    "squared_error": MeanSquaredError(),
    "absolute_error": MeanAbsoluteError(),
    "huber": Huber(),
    "poisson": Poisson(),
}
OF_NUMBERS = (MeanSquaredError, MeanAbsoluteError, Huber, Poisson, Pinball)


class NumbersMLP(BaseMLP):
    """What the estimators share whose targets are numbers."""

    _y_numeric = True

    def _checked_target(self, y, dtype, reset):
        return y.reshape(len(y), -1).astype(dtype, copy=False)

    def _width(self, target):
        return target.shape[1]

    def _output_activation(self):
        return "identity"

    def fit(self, X, y, sample_weight=None, validation_set=None):
        """Train on data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, at least 0.
        validation_set : (X, y) or (X, y, sample_weight), default=None
            Data whose score is taken after every epoch, and with early_stopping decides, instead of a share of X.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation_set)

    @available_if(stochastic)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch, from where the training before ended.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)


@documented
class MLPRegressor(RegressorMixin, NumbersMLP):
    """Multi-layer perceptron for regression: scikit-learn's MLPRegressor on fastbp's core.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "poisson"}, loss or function, default="squared_error"
        What is minimised, summed over the outputs. With "poisson" the net tells the logarithm of what is predicted.
        Also an object such as ``fb.Huber(2.0)``, or a function (output, target) -> (loss, doutput) as `fastbp.Trainer`
        takes it, which are minimised as they are.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    QuantileMLPRegressor : Several quantiles rather than the mean.
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
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), Loss, callable],
    }

    def __init__(
        self,
        loss="squared_error",
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
    ):
        self._keep(locals())

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._prediction(self._outputs(X))

    def _prediction(self, outputs):
        if self.out_activation_ == "exp":
            outputs = np.exp(outputs)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _checked_target(self, y, dtype, reset):
        y = super()._checked_target(y, dtype, reset)
        if self._of_counts() and (y.min() < 0 or y.sum() == 0):
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson'.")
        return y

    def _of_counts(self):
        return self.loss == "poisson" or isinstance(self.loss, Poisson)

    def _output_activation(self):
        return "exp" if self._of_counts() else "identity"

    def _objective(self, target, weights):
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

    def _score_of(self, outputs, target, weights):
        return r2_score(target, self._prediction(outputs), sample_weight=weights)
