"""The solver lbfgs: SciPy's L-BFGS-B, with loss and gradient from the core."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from ..trainer import Trainer
from .following import NOT_FINITE
from .objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray


def minimize(estimator: Any, trainer: Trainer, objective: Objective, X: Any, target: Any, weights: Any) -> None:
    """Train on the full batch.

    Parameters
    ----------
    estimator : BaseMLP
        Its n_iter_ and loss_ are set.
    trainer : Trainer
        Its net is changed.
    objective : Objective
    X, target, weights : arrays, as the trainer takes them

    Raises
    ------
    ValueError
        When the parameters become nan or inf.
    """
    parameters = trainer.net.parameters

    def value_and_gradient(w: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        parameters[...] = w
        loss, gradient = trainer.value_and_grad(X, target, sample_weight=weights)
        return objective.scale * loss, objective.scale * gradient.astype(np.float64)

    def show(intermediate_result: Any) -> None:
        if estimator.verbose:
            print(f"loss = {intermediate_result.fun:.8f}")

    result = optimize.minimize(
        value_and_gradient,
        parameters.astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        callback=show,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
    )
    parameters[...] = result.x
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    estimator.loss_ = result.fun / objective.scale * objective.report + objective.offset
    if not np.isfinite(parameters).all():
        raise ValueError(NOT_FINITE)
    if result.status != 0:
        text = f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) (status={result.status}):\n"
        text += f"{result.message}\n"
        if estimator.n_iter_ == estimator.max_iter:
            text += f"\nIncrease the number of iterations to improve the convergence (max_iter={estimator.max_iter})."
        text += "\nYou might also want to scale the data as shown in:\n    "
        text += "https://scikit-learn.org/stable/modules/preprocessing.html"
        warnings.warn(text, ConvergenceWarning, stacklevel=5)
