"""Second derivatives of a training loss, and the check of a whole network."""

import numpy as np

from . import reference
from .declarative import described, flag
from .dual import Dual
from .network import Network
from .reference.network import Training, real_array, refuse_nonfinite, views
from .trainer import Trainer


# ------------------------------------------------------------------------------------------------- second derivatives


def hessian_vector_product(trainer, x, y, v, training=True, sample_weight=None):
    """The product H v of the Hessian of the loss of a minibatch, penalties included, with a vector.

    Parameters
    ----------
    trainer : Trainer
        Of ``fastbp`` or of ``fastbp.reference``. Nothing in it changes.
    x : ndarray (rows, inputs)
    y : ndarray
        Targets: see `Trainer`.
    v : ndarray of float32 or float64 (P,)
        Laid out as ``net.parameters``. Elements for frozen layers count as 0.
    training : bool, default True
        As in the next update: Dropout drops, and batch norms take the statistics of x. Else as in prediction.
    sample_weight : ndarray of float32 or float64 (rows,), optional
        As for `Trainer.fit`.

    Returns
    -------
    ndarray of float64 (P,)
        sum_j H_ij v_j, with H_ij the second derivative of what ``trainer.value_and_grad`` returns first. 0 for frozen
        layers: H is the Hessian with respect to what learns.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind; or the loss is a function that does what `fastbp.dual` does not know.
    ValueError
        If an argument is of the wrong shape or value.

    Notes
    -----
    Computed in float64 whatever the net's dtype is, and exact but for rounding: no differences are taken. The twin's
    backward pass runs once, at parameters that carry the tangent v, and the tangent of its gradient is H v. That costs
    three such passes, in NumPy. Source: Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 6, 1994.

    Where an activation has a kink, its second derivative is taken from one side. A loss that is a function must compute
    its gradient by NumPy from the output it is given; a number that it takes with float() is a constant here.
    """
    if not isinstance(trainer, (Trainer, reference.Trainer)):
        raise TypeError(f"trainer must be a Trainer, got {described(trainer)}")
    training = flag("training", training)
    parameters = trainer.net.parameters.astype(np.float64)
    v = real_array("v", v, np.dtype(np.float64))
    if v.shape != parameters.shape:
        raise ValueError(f"v has shape {v.shape}; the network's parameters have {parameters.shape}")
    refuse_nonfinite("v", v)
    twin = _DualTrainer(_DualNetwork(trainer.net), trainer.loss, seed=trainer.seed)
    twin.steps = trainer.steps
    data = twin._checked("x", x, "y", y, "sample_weight", sample_weight)
    if training:
        twin._refuse_single_rows("x", len(data.x), len(data.x))
    twin.net.put(Dual(parameters, np.where(twin._learns(), v, 0)))
    with np.errstate(all="ignore"):
        _, gradient, _, _ = twin._gradient(data, Training(twin.seed, twin.steps, 0) if training else None)
        twin._add_penalties(gradient)
    return gradient.tangent


class _DualNetwork(reference.Network):
    """The twin of a net, in float64, whose parameters may be a `Dual`."""

    def __init__(self, net):
        super().__init__(net.inputs, net.layers, "float64", net.seed)
        self._statistics[...] = net.statistics

    def _begin(self):
        """Parameters are put in."""

    def put(self, parameters):
        self._parameters = parameters
        self.weights = views(parameters, self.steps)


class _DualTrainer(reference.Trainer):
    """A trainer of such a net."""

    def _loss(self, z, data, weight):
        if not self._custom or not isinstance(z, Dual):
            return super()._loss(z, data, weight)
        result = self.loss(z.copy(), data.y)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
        dz = result[1] if isinstance(result[1], Dual) else np.asarray(result[1], np.float64)
        if dz.shape != z.shape:
            raise ValueError(f"loss must return a gradient of shape {z.shape}, got {dz.shape}")
        return float(result[0]), dz
