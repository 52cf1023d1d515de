"""The solver lbfgs: SciPy's L-BFGS-B over the loss and gradient of the core."""

import warnings

import numpy as np
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from .following import NOT_FINITE


def minimize(estimator, trainer, objective, X, target, weights):
    """Train on the full batch; n_iter_ and loss_ are set.

    Parameters
    ----------
    estimator : BaseMLP
    trainer : Trainer
        Its net is changed.
    objective : Objective
    X, target, weights : arrays, as the trainer takes them
    """
    parameters = trainer.net.parameters

    def value_and_gradient(w):
        parameters[...] = w
        loss, gradient = trainer.value_and_grad(X, target, sample_weight=weights)
        return objective.scale * loss, objective.scale * gradient.astype(np.float64)

    def show(intermediate_result):
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
