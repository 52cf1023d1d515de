"""The estimator for classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from ..losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from ..ops import sigmoid_forward, softmax_forward
from ..training.loss_function import is_function
from .base import CONSTRAINTS, BaseMLP, stochastic
from .docstrings import documented
from .objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray


@documented
class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]  # scikit-learn has no annotations
    """Multi-layer perceptron for classification: scikit-learn's MLPClassifier on fastbp's core.

    Parameters
    ----------
    {parameters}
    class_weight : dict, list of dict or "balanced", default=None
        A factor of the weights of the rows of each class: {class: weight}, or with "balanced" those that give all
        classes the same sum of weights. For labels that do not exclude each other a list of dicts, one for each.
    loss : "log_loss", loss or function, default="log_loss"
        The loss that is minimised. ``fb.SoftmaxCrossEntropy(label_smoothing=0.1)`` (three classes or more),
        ``fb.BinaryCrossEntropy(pos_weight=...)`` (two classes, or labels that do not exclude each other) and functions
        (output, target) -> (loss, doutput), as `fastbp.Trainer` takes them, are minimised without a factor.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, or the numbers of the labels that do not exclude each other.
    {attributes}

    See Also
    --------
    MLPRegressor : For numbers.

    Examples
    --------
    >>> from fastbp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> MLPClassifier(random_state=1, max_iter=300).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints = {
        **CONSTRAINTS,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "loss": [StrOptions({"log_loss"}), Loss, callable],
    }
    _y_numeric = False

    def __init__(
        self,
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
        class_weight: Any = None,
        loss: Any = "log_loss",
    ) -> None:
        self._keep(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_set: Any = None) -> Self:
        """Train on data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes; or for labels that do not exclude each other 1 where a row has the label, else 0.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each row, at least 0.
        validation_set : (X, y) or (X, y, sample_weight), default=None
            Data whose accuracy is computed after every epoch; with early_stopping they replace the rows held out.

        Returns
        -------
        self : MLPClassifier
        """
        self._fit(X, y, sample_weight, validation_set)
        return self

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one more epoch.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array-like of shape (n_classes,), default=None
            All classes. Required in the first call.

        Returns
        -------
        self : MLPClassifier
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' does not go with partial_fit, which has not seen all classes yet")
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the classes of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        outputs = self._outputs(X)
        classes: NDArray[Any]
        if self.out_activation_ == "softmax":
            classes = self.classes_[outputs.argmax(axis=1)]
        else:
            outputs = outputs.ravel() if self.n_outputs_ == 1 else outputs
            classes = self._label_binarizer.inverse_transform(outputs, threshold=0)
        return classes

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probabilities of classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        outputs = self._outputs(X)
        p: NDArray[Any]
        if self.out_activation_ == "softmax":
            p = softmax_forward(outputs)
            return p
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        p = sigmoid_forward(outputs)
        return np.hstack([1 - p, p]) if self.n_outputs_ == 1 else p

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Predict the logarithms of the probabilities of classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        p = self.predict_proba(X)
        np.log(p, out=p)
        return p

    def _checked_target(self, y: Any, dtype: Any, reset: bool) -> Any:
        """Class numbers (rows,) under softmax, else 0 and 1 (rows, outputs)."""
        if reset:
            check_classification_targets(y)
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        if self._label_binarizer.y_type_ == "multiclass":
            return np.searchsorted(self.classes_, y)
        return self._label_binarizer.transform(y).astype(dtype)

    def _width(self, target: NDArray[Any]) -> int:
        return len(self.classes_) if target.ndim == 1 else int(target.shape[1])

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _strata(self, target: NDArray[Any]) -> Any:
        return target.astype(bool) if self.n_outputs_ == 1 else None

    def _class_weights(self, target: NDArray[Any]) -> Any:
        if self.class_weight is None:
            return None
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return compute_sample_weight(self.class_weight, target.astype(int))
        numbers = target if target.ndim == 1 else target.ravel().astype(int)
        return compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[numbers])[numbers]

    def _objective(self, target: NDArray[Any], weights: Any) -> Objective:
        softmax = target.ndim == 1
        outputs = self._width(target)
        if isinstance(self.loss, str):
            return Objective(SoftmaxCrossEntropy()) if softmax else Objective(BinaryCrossEntropy(), outputs, outputs)
        expected = SoftmaxCrossEntropy if softmax else BinaryCrossEntropy
        if not is_function(self.loss) and not isinstance(self.loss, expected):
            raise ValueError(
                f"loss must be of the class {expected.__name__} for classes_={self.classes_}, got {self.loss!r}"
            )
        return Objective(self.loss)

    def _score_of(self, outputs: NDArray[Any], target: Any, weights: Any) -> float:
        if target.ndim == 1:
            right = outputs.argmax(axis=1) == target
        else:
            right = ((outputs > 0) == (target > 0)).all(axis=1)
        return float(np.average(right, weights=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
