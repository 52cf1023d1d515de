"""L-BFGS for full batches: SciPy's minimiser, driven by the core's loss and gradient."""

import numpy as np

from .._support.network_steps import parameter_slices
from ..errors import DivergenceError
from . import python_loss


def minimize(trainer, data, run):
    """Train until SciPy's L-BFGS-B says it has converged, or the run ends; an iteration is an epoch of one update.

    Parameters
    ----------
    trainer : Trainer
        Its optimiser is `LBFGS`.
    data : (x, target, code, weights)
    run : fitting.Run

    Raises
    ------
    ImportError
        Without SciPy.
    DivergenceError
        When the loss is not finite at the point to begin at.
    """
    optimize = scipy_optimize()
    net, optimizer = trainer.net, trainer.optimizer
    plan = trainer._plan_for(data.code, len(data.x), whole=True)
    trainer._gradient[...] = 0  # of what is frozen it stays 0
    parts = [slice(W.start, (b or W).stop) for W, _, b in parameter_slices(net._steps)]
    best = net.parameters.copy()  # the last iteration's
    last = {}

    def value_and_gradient(w):
        net.parameters[...] = w
        if trainer._custom:
            loss = python_loss.gradient(trainer, plan, data, None, True)
        else:
            loss = plan.gradient(data.x, data.target, None, data.weights, True, trainer.steps)
        last.update(loss=loss, gradient=trainer._gradient.astype(np.float64), at=w.copy())
        return loss, last["gradient"]

    def after(w):
        if not np.array_equal(w, last["at"]):  # the line search ended at a point it had seen before
            value_and_gradient(w)
        net.parameters[...] = w
        best[...] = net.parameters
        trainer.steps += 1
        trainer._updates.last_loss = last["loss"]
        layers = np.array([np.square(last["gradient"][part]).sum() for part in parts])
        run.end_epoch(last["loss"], float(np.square(last["gradient"]).sum()), layers, 1, 1.0)
        if not run.goes_on():
            raise StopIteration
        run.begin_epoch()

    run.begin_epoch()
    loss, _ = value_and_gradient(best.astype(np.float64))
    if not np.isfinite(loss):
        raise DivergenceError("loss", trainer.epochs, 0, loss, trainer._updates.last_loss, 1.0, {})
    try:
        optimize.minimize(
            value_and_gradient,
            best.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=after,
            options={
                "maxiter": run.epochs,
                "maxfun": 50 * run.epochs + 100,
                "maxcor": optimizer.history,
                "gtol": optimizer.tolerance_gradient,
                "ftol": optimizer.tolerance_change,
            },
        )
    finally:
        net.parameters[...] = best


def scipy_optimize():
    """scipy.optimize, where it is installed."""
    try:
        from scipy import optimize
    except ImportError as error:
        raise ImportError("LBFGS needs SciPy: pip install 'fastbp[scipy]'") from error
    return optimize
