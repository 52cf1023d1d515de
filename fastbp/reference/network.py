"""A network: its flat parameter vector, forward and backward."""

import numpy as np

from .. import initializers, streams
from ..declarative import described, flag
from ..declarative import seed as check_seed
from ..layers import count, learned, plan, slices
from .dense import dense_backward, dense_forward
from .initial import initial_values


class Network:
    """A network of dense layers and residual blocks.

    Parameters
    ----------
    inputs : int
        Width of the input, at least 1.
    layers : sequence of Layer
        `Dense` and `Residual` layers, at least one.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters, gradients and all that lies between.
    seed : int, default 0
        Of the initial weights, in [0, 2^64).

    Attributes
    ----------
    inputs, outputs : int
    layers : tuple of Layer
    dtype : numpy.dtype
    seed : int
    parameters : ndarray (P,)
        All parameters: for each dense layer W row by row, then b. Assigning copies into it.
    weights : tuple of (ndarray (I, O), ndarray (O,) or None)
        W and b of each dense layer: views into `parameters`, to be changed in place.

    Notes
    -----
    Unless a layer says otherwise, initial weights are uniform on (-r, r), and biases 0. r = sqrt(6 / I) for a layer
    with relu or its kin (He et al., Delving Deep into Rectifiers, ICCV 2015); otherwise r = sqrt(6 / (I + O)) (Glorot
    and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, AISTATS 2010), but for selu.
    Of norms gamma is 1 and beta 0.
    """

    def __init__(self, inputs, layers, dtype="float32", seed=0):
        self.steps = plan(inputs, layers)
        self.inputs = self.steps[0].inputs
        self.outputs = self.steps[-1].outputs
        self.layers = tuple(layers)
        self.dtype = real_dtype(dtype)
        self.seed = check_seed("seed", seed)
        self._parameters = np.zeros(count(self.steps), self.dtype)
        self.weights = views(self._parameters, self.steps)
        for number, (step, (W, b)) in enumerate(zip(learned(self.steps), self.weights, strict=True)):
            of_W, of_b = initializers.of_step(step)
            widths = step.inputs, step.outputs
            with np.errstate(over="ignore", under="ignore"):
                W[...] = initial_values(of_W, W.shape, *widths, self.seed, streams.initialisation(number))
                if b is not None:
                    b[...] = initial_values(of_b, b.shape, *widths, self.seed, streams.bias_initialisation(number))
        refuse_nonfinite("parameters", self._parameters)

    @property
    def parameters(self):
        return self._parameters

    @parameters.setter
    def parameters(self, values):
        values = real_array("parameters", values, self.dtype)
        if values.shape != self._parameters.shape:
            raise ValueError(f"parameters has shape {values.shape}; the network has {self._parameters.shape}")
        refuse_nonfinite("parameters", values)
        self._parameters[...] = values

    def predict(self, X, allow_nonfinite=False):
        """The network's raw outputs: logits, for a classifier.

        Parameters
        ----------
        X : ndarray (rows, inputs)
            float32 or float64; converted to the network's dtype.
        allow_nonfinite : bool, default False
            Whether X may hold nan and inf.

        Returns
        -------
        ndarray (rows, outputs)
            In the network's dtype.

        Raises
        ------
        TypeError
            If X is not an array of float32 or float64.
        ValueError
            If X is of the wrong shape, or not finite.
        """
        X = rows_of_inputs("X", X, self, flag("allow_nonfinite", allow_nonfinite))
        with np.errstate(all="ignore"):
            return self.forward(X)[-1]

    def forward(self, x):
        """The values between the steps: x (B, inputs) itself, then the output (B, O) of every step.

        This is all that backward needs. A residual block computes y = x + f(x): "residual_begin" passes x on and keeps
        it, "residual_end" adds it to f(x).
        """
        values, kept, weights = [x], [], iter(self.weights)
        for step in self.steps:
            x = values[-1]
            if step.kind == "dense":
                W, b = next(weights)
                y = dense_forward(x, W, b, step.activation)
            elif step.kind == "residual_begin":
                kept.append(x)
                y = x
            else:  # residual_end
                y = x + kept.pop()
            values.append(y)
        return values

    def backward(self, dy, values):
        """Gradients at the input and the parameters, from dy (B, outputs) and what forward returned.

        The steps in reverse. At a block's end, y = x + f(x), the gradient goes on into f and is kept for x; at its
        beginning the two gradients at x add up.

        Returns
        -------
        dx : ndarray (B, inputs)
        gradient : ndarray (P,)
            Laid out as `parameters`.
        """
        gradient = np.empty_like(self._parameters)
        kept, weights, gradients = [], reversed(self.weights), reversed(views(gradient, self.steps))
        for number, step in reversed(list(enumerate(self.steps))):
            x, y = values[number], values[number + 1]
            if step.kind == "dense":
                (W, b), (into_W, into_b) = next(weights), next(gradients)
                dx, dW, db = dense_backward(dy, x, W, y, step.activation)
                into_W[...] = dW
                if b is not None:
                    into_b[...] = db
            elif step.kind == "residual_end":
                kept.append(dy)
                dx = dy
            else:  # residual_begin
                dx = dy + kept.pop()
            dy = dx
        return dy, gradient


def views(flat, steps):
    """For each dense step the views W (I, O) and b (O,), or None, of a flat vector (P,)."""
    return tuple((flat[W].reshape(shape), None if b is None else flat[b]) for W, shape, b in slices(steps))


# Checks: an error names the argument, what was expected and what came.


def real_dtype(dtype):
    """numpy's float32 or float64."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if dtype is None or found is None:
        raise TypeError(f"dtype must be 'float32' or 'float64', got {described(dtype)}")
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {found.name!r}")
    return found


def real_array(name, x, dtype):
    """An array of float32 or float64, converted to `dtype`; what does not fit becomes infinite."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a float32 or float64 array, got {described(x)}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be a float32 or float64 array, got {x.dtype} array")
    with np.errstate(over="ignore"):
        return x.astype(dtype, copy=False)


def refuse_nonfinite(name, x):
    finite = np.isfinite(x)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {x[where]} at [{', '.join(map(str, where))}]")


def rows_of_inputs(name, x, network, allow_nonfinite=False):
    """x (B, inputs) in the network's dtype."""
    x = real_array(name, x, network.dtype)
    if x.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, {network.inputs}), got shape {x.shape}")
    if x.shape[1] != network.inputs:
        raise ValueError(f"{name} has {x.shape[1]} columns; the network takes {network.inputs}")
    if not allow_nonfinite:
        refuse_nonfinite(name, x)
    return x
