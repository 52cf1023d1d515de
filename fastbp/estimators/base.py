"""The base of the three estimators: their parameters, the net they make, and fit."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from ..errors import DivergenceError
from ..layers import Activation
from ..network import MOST_THREADS, Network
from ..optimizers import SGD, Adam
from ..trainer import Trainer
from . import architecture, threads
from .following import Following, LearningRate, Progress
from .full_batch import minimize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .objective import Objective

STOCHASTIC = ("sgd", "adam")
ROWS_OF_SPARSE = 4096  # rows of a sparse X that a prediction converts to a dense array at once

# The values of the parameters that the estimators share, as scikit-learn checks them.
CONSTRAINTS = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(architecture.ACTIVATIONS), Activation, "array-like"],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "normalization": [StrOptions(set(architecture.NORMS)), None],
    "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64}), None],
    "n_threads": [Interval(Integral, 1, MOST_THREADS, closed="both"), None],
}


def stochastic(estimator: Any) -> bool:
    """Whether the estimator has partial_fit.

    Raises
    ------
    AttributeError
        When it has not, as `sklearn.utils.metaestimators.available_if` wants it.
    """
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """The base of the estimators. Each has an `__init__` of its own, since scikit-learn reads the signature.

    A subclass defines:

    - ``_checked_target(y, dtype, reset)``: y encoded as the trainer takes it;
    - ``_objective(target, weights)``: the `Objective`;
    - ``_score_of(outputs, target, weights)``: the score of validation data;
    - ``_width(target)``: the number of outputs of the net;
    - ``_output_activation()``: `out_activation_`;
    - ``_strata(target)``: the classes of which validation data get equal shares, or None;
    - ``_class_weights(target)``: a weight for each row, or None.
    """

    _parameter_constraints = CONSTRAINTS
    _network: Network | None
    _trainer: Trainer | None

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Set the parameters, the `locals()` of `__init__`, as attributes without a change."""
        self.__dict__.update((name, value) for name, value in parameters.items() if name != "self")

    # --------------------------------------------------------------------------------------------------------- fit

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_set: Any = None, incremental: bool = False) -> None:
        if not (incremental and hasattr(self, "coefs_")):  # checks would take longer than the epoch of a partial_fit
            self._validate_params()
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        sizes = architecture.widths(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        anew = not hasattr(self, "classes_") or not (self.warm_start or incremental)
        X, target = self._validated(X, y, self._dtypes(first), first, anew)
        if validation_set is not None:
            validation_set = self._checked_validation(validation_set, X.dtype)
        weights = self._row_weights(X, target, sample_weight)
        # These checks come before coefs_ are changed, or made.
        self._objective(target, weights)
        architecture.layers(self, sizes, 1, 0.0)
        if self.solver == "lbfgs":
            architecture.refuse_for_lbfgs(self, sizes)
        self.n_outputs_ = self._width(target)
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize([X.shape[1], *sizes, self.n_outputs_], X.dtype)
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, target, weights, sizes)
        else:
            self._fit_stochastic(X, target, weights, validation_set, sizes, incremental)

    def _validated(self, X: Any, y: Any, dtype: Any, reset: bool, anew: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """X dense, and y encoded. reset: X may have other columns than before; anew: y may have other classes."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=self._y_numeric,
            dtype=dtype,
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1 and not sparse.issparse(y):
            y = column_or_1d(y, warn=True)
        return _dense(X), self._checked_target(y, X.dtype, anew)

    def _dtypes(self, first: bool) -> Any:
        """The dtype, or dtypes, that X is converted to: that of the net; before the first fit the parameter `dtype`, by
        default float64 or float32, whichever X has."""
        if not first and self.coefs_:
            dtype = np.asarray(self.coefs_[0]).dtype
            return dtype.type if dtype in (np.float32, np.float64) else np.float64
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype).type

    def _checked_validation(self, validation_set: Any, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        if not isinstance(validation_set, (tuple, list)) or len(validation_set) not in (2, 3):
            raise ValueError(
                f"validation_set must be a pair (X, y), or (X, y, sample_weight), got {type(validation_set).__name__}"
            )
        X, y, weights = (*validation_set, None)[:3]
        X, target = self._validated(X, y, dtype.type, False, False)
        if weights is not None:
            weights = _check_sample_weight(weights, X, dtype=np.float64, ensure_non_negative=True)
        return X, target, weights

    def _row_weights(self, X: Any, target: Any, sample_weight: Any) -> Any:
        """The weight of each row: sample_weight times the weight of its class; None where all are 1."""
        weights = self._class_weights(target)
        if sample_weight is None:
            return weights
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return sample_weight if weights is None else weights * sample_weight

    def _class_weights(self, target: Any) -> Any:
        return None

    def _strata(self, target: Any) -> Any:
        return None

    def _initialize(self, widths: list[int], dtype: Any) -> None:
        """Begin anew: initial parameters, drawn as in scikit-learn, and attributes."""
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(widths)
        self.out_activation_ = self._output_activation()
        names = [activation.name for activation in architecture.activations(self.activation, len(widths) - 2)]
        names += names[-1:] or ["identity"]  # the output layer is initialised as if it had the last activation
        self.coefs_, self.intercepts_ = [], []
        for inputs, outputs, name in zip(widths[:-1], widths[1:], names, strict=True):
            bound = np.sqrt((2.0 if name == "sigmoid" else 6.0) / (inputs + outputs))
            W = self._random_state.uniform(-bound, bound, (inputs, outputs))
            b = self._random_state.uniform(-bound, bound, outputs)
            self.coefs_.append(W.astype(dtype, copy=False))
            self.intercepts_.append(b.astype(dtype, copy=False))
        self._network = self._trainer = None
        if self.solver in STOCHASTIC:
            self._begin_curves()

    def _begin_curves(self) -> None:
        self.loss_curve_: list[float] = []
        self._state = Progress()
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_ = None if self.early_stopping else np.inf

    def _fit_stochastic(
        self, X: Any, target: Any, weights: Any, validation: Any, sizes: list[int], incremental: bool
    ) -> None:
        early = self.early_stopping
        if not hasattr(self, "loss_curve_"):  # a warm start after lbfgs
            self._begin_curves()
        progress = self._progress
        if early and validation is None:
            X, target, weights, validation = self._held_out(X, target, weights)
        batch_size = self._batch_size(len(X))
        mass = batch_size * (1.0 if weights is None else float(weights.mean()))
        objective = self._objective(target, weights)
        net = self._renewed_network(sizes, X.shape[1], self.n_outputs_, objective.penalty(self.alpha, mass), X.dtype)
        if validation is not None and getattr(self, "validation_scores_", None) is None:
            self.validation_scores_ = []
        if early and getattr(self, "best_validation_score_", None) is None:
            self.best_validation_score_ = -np.inf
            progress.keep_best(net)
        if not early and self.best_loss_ is None:
            self.best_loss_ = np.inf
        rate = progress.rate
        if not incremental or rate is None:
            rule = self.learning_rate if self.solver == "sgd" else "constant"
            progress.rate = rate = LearningRate(self.learning_rate_init, rule, self.power_t)
        optimizer = self._stochastic_optimizer(objective, rate.learning_rate)
        trainer = self._renewed_trainer(net, objective, optimizer, keep=incremental)
        following = Following(self, progress, rate, objective, self._score_of, validation, early)
        self.n_iter_ = 0
        try:
            trainer.fit(
                X,
                target,
                epochs=1 if incremental else self.max_iter,
                batch_size=batch_size,
                shuffle=self.shuffle,
                allow_nonfinite=True,
                sample_weight=weights,
                callbacks=following,
            )
        except DivergenceError as error:
            following.diverged(error)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        else:
            if not incremental and not following.stopped:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )

    def _fit_lbfgs(self, X: Any, target: Any, weights: Any, sizes: list[int]) -> None:
        mass = len(X) if weights is None else float(weights.sum())
        objective = self._objective(target, weights)
        net = self._renewed_network(sizes, X.shape[1], self.n_outputs_, objective.penalty(self.alpha, mass), X.dtype)
        trainer = self._renewed_trainer(net, objective, SGD(), keep=False)  # `minimize` makes the updates
        minimize(self, trainer, objective, X, target, weights)
        self._trainer = None

    def _held_out(self, X: Any, target: Any, weights: Any) -> tuple[Any, Any, Any, tuple[Any, Any, Any]]:
        """X, target and weights to train on, and a tuple of those to validate on."""
        arrays = [X, target] if weights is None else [X, target, weights]
        parts = train_test_split(
            *arrays,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(target),
        )
        train, held_out = parts[::2], parts[1::2]
        if len(held_out[0]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return *(*train, None)[:3], (*held_out, None)[:3]

    def _batch_size(self, rows: int) -> int:
        size = min(200, rows) if self.batch_size == "auto" else self.batch_size
        if size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
            )
            size = rows
        if self.normalization == "batch":
            while size > 2 and rows % size == 1:  # a batch norm cannot take a minibatch of one row
                size -= 1
        return int(size)

    # ----------------------------------------------------------------------------------------- the net, the trainer

    def _renewed_network(self, sizes: list[int], inputs: int, outputs: int, l2: float, dtype: Any) -> Network:
        """A net for these settings, with coefs_ and intercepts_: the present one where its layers are the same."""
        layers = architecture.layers(self, sizes, outputs, l2)
        net = getattr(self, "_network", None)
        if net is None or net.layers != layers or net.inputs != inputs or net.dtype != dtype:
            old, net = net, Network(inputs, layers, dtype)
            if old is not None and len(old.parameters) == len(net.parameters):  # coefs_ lack the parameters of norms
                net.parameters[...] = old.parameters
                if len(old.statistics) == len(net.statistics):
                    net.statistics[...] = old.statistics
        self._write_weights(net)
        net.n_threads = threads.allowed(self.n_threads)
        self._network = net
        return net

    def _renewed_trainer(self, net: Network, objective: Objective, optimizer: SGD | Adam, keep: bool) -> Trainer:
        """A trainer for the net. keep: the present one, or one that takes over the state of its optimiser."""
        old = self._trainer if keep and getattr(self, "_trainer", None) is not None else None
        n_threads = threads.allowed(self.n_threads)
        if old is not None and old.net is net and old.loss == objective.loss and old.n_threads == n_threads:
            return old
        seed = int(self._random_state.randint(2**31 - 1)) if old is None else old.seed
        trainer = Trainer(net, objective.loss, optimizer, seed, n_threads)
        if old is not None and len(old.engine.moments) == len(trainer.engine.moments):
            trainer.steps, trainer.epochs = old.steps, old.epochs
            for ours, theirs in zip(trainer.engine.moments, old.engine.moments, strict=True):
                ours[...] = theirs
        self._trainer = trainer
        return trainer

    def _stochastic_optimizer(self, objective: Objective, rate: float) -> SGD | Adam:
        if self.solver == "sgd":
            nesterov = self.nesterovs_momentum and self.momentum > 0
            return SGD(objective.rate(rate), self.momentum, nesterov=bool(nesterov))
        return Adam(rate, self.beta_1, self.beta_2, objective.epsilon(self.epsilon))

    @property
    def _progress(self) -> Progress:
        progress: Progress = self.__dict__.setdefault("_state", Progress())
        return progress

    # scikit-learn's names for parts of this state: its own tests use them.

    @property
    def _optimizer(self) -> LearningRate | None:
        return self._progress.rate

    @property
    def _no_improvement_count(self) -> int:
        return self._progress.without_improvement

    @_no_improvement_count.setter
    def _no_improvement_count(self, value: int) -> None:
        self._progress.without_improvement = value

    @staticmethod
    def _weights_of(net: Network) -> list[tuple[NDArray[Any], Any]]:
        """(W, b) of each dense layer."""
        return [(W, b) for W, b in net.weights if W.ndim == 2]

    def _write_weights(self, net: Network) -> None:
        """Copy coefs_ and intercepts_ into the net where they are not views of it; then they are its views."""
        views = self._weights_of(net)
        shapes = [(W.shape, b.shape) for W, b in views]
        ours = [(np.shape(W), np.shape(b)) for W, b in zip(self.coefs_, self.intercepts_)]
        if ours != shapes:
            raise ValueError(
                f"coefs_ have the shapes {[W for W, _ in ours]}; hidden_layer_sizes={self.hidden_layer_sizes} and the "
                f"data ask for {[W for W, _ in shapes]}"
            )
        for i, (W, b) in enumerate(views):
            if self.coefs_[i] is not W:
                W[...] = self.coefs_[i]
                self.coefs_[i] = W
            if self.intercepts_[i] is not b:
                b[...] = self.intercepts_[i]
                self.intercepts_[i] = b

    @property
    def network_(self) -> Network:
        """The `fastbp.Network` that was trained, which can be saved, for one."""
        check_is_fitted(self)
        if getattr(self, "_network", None) is None:  # coefs_ were set by the user
            sizes = [np.shape(W)[1] for W in self.coefs_]
            dtype = np.result_type(*self.coefs_, np.float32)
            self._network = Network(len(self.coefs_[0]), architecture.layers(self, sizes[:-1], sizes[-1], 0.0), dtype)
        net = self._network
        assert net is not None
        self._write_weights(net)
        return net

    # --------------------------------------------------------------------------------------------------- predictions

    def _outputs(self, X: Any) -> NDArray[Any]:
        """The outputs of the net: (rows, n_outputs_)."""
        net = self.network_
        net.n_threads = threads.allowed(self.n_threads)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=net.dtype.type, reset=False)
        if not sparse.issparse(X):
            return net.predict(X, allow_nonfinite=True)
        X = X.tocsr()
        parts = (X[first : first + ROWS_OF_SPARSE] for first in range(0, X.shape[0], ROWS_OF_SPARSE))
        return np.concatenate([net.predict(_dense(part), allow_nonfinite=True) for part in parts])

    # ------------------------------------------------------------------------------------- for scikit-learn and pickle

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if state.get("_network") is not None:  # coefs_ and intercepts_ are its views
            self._write_weights(state["_network"])
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        net: Network | None = getattr(self, "_network", None)
        if net is not None:
            views = self._weights_of(net)
            self.coefs_, self.intercepts_ = ([view[i] for view in views] for i in range(2))


def _dense(X: Any) -> Any:
    return X.toarray() if sparse.issparse(X) else X
