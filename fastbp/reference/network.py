"""A network: its flat parameter vector, and every kind of step forward and backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._support import random_streams
from .._support.declarative import described, flag
from .._support.declarative import seed as check_seed
from .._support.network_steps import (
    parameter_count,
    parameter_slices,
    parametric_steps,
    statistics_slices,
    steps_of,
    with_frozen,
)
from . import activation as act
from .dense import dense_backward, dense_forward
from .dropout import dropout_backward, dropout_forward
from .initial_values import initial_values
from .norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_predict,
    batch_norm_running,
    layer_norm_backward,
    layer_norm_forward,
)
from .softmax import softmax_backward, softmax_forward

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._support.network_steps import Step
    from ..layers import Layer

# ---------------------------------------------------------------------------------------------------- kinds of steps
#
# A forward pass takes a minibatch through the steps, and a backward pass takes the gradient through them in reverse. An
# object of these classes is one step of one pass: `forward` saves in it the arrays that `backward` needs. Both get
# `past`, a stack with an array for each residual block that is open: the value on its skip connection in the forward
# pass, the gradient of that value in the backward pass.


class Training(NamedTuple):
    """The random numbers of a training pass: they determine the elements that Dropout drops.

    Attributes
    ----------
    seed : int
        The seed of the trainer.
    draw : int
        The number of the update, from 0.
    first_row : int
        The number of the minibatch's first row among the rows of that update: above 0 only where several minibatches
        share an update.
    """

    seed: int
    draw: int
    first_row: int


class _Step(ABC):
    """One step of one pass.

    Attributes
    ----------
    step : network_steps.Step
    parameters : tuple
        (W, b) or (gamma, beta), views of the flat vector; None for a parameter that the step lacks.
    gradients : sequence
        Those of the parameters, set by `backward`.
    training : Training or None
        None: prediction.
    """

    def __init__(self, step: Step, parameters: tuple[Any, Any], training: Training | None) -> None:
        self.step = step
        self.parameters = parameters
        self.training = training
        self.gradients: Sequence[Any] = (None, None)

    @abstractmethod
    def forward(self, x: Any, past: list[Any]) -> Any:
        """The output for x. past: a stack of what open residual blocks keep."""

    @abstractmethod
    def backward(self, dy: Any, past: list[Any]) -> Any:
        """The gradient at x, from the one at the output."""


class _Dense(_Step):
    """y = f(x W + b). Saves x and y."""

    def forward(self, x: Any, past: list[Any]) -> Any:
        self.x = x
        self.y = dense_forward(x, *self.parameters, self.step.activation)
        return self.y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        W, _ = self.parameters
        dx, *self.gradients = dense_backward(dy, self.x, W, self.y, self.step.activation)
        return dx


class _ResidualBegin(_Step):
    """The beginning of a block y = x + f(x): x is the input of f and of the skip connection. Backward adds the two
    gradients."""

    def forward(self, x: Any, past: list[Any]) -> Any:
        past.append(x)
        return x

    def backward(self, dy: Any, past: list[Any]) -> Any:
        return dy + past.pop()


class _Projection(_Step):
    """The projection of a block y = x P + f(x): the skip connection carries x P, and f(x) is not changed. Saves x."""

    def forward(self, fx: Any, past: list[Any]) -> Any:
        P, _ = self.parameters
        self.x = past.pop()
        past.append(dense_forward(self.x, P))
        return fx

    def backward(self, dfx: Any, past: list[Any]) -> Any:
        P, _ = self.parameters
        dx, dP, _ = dense_backward(past.pop(), self.x, P)
        self.gradients = dP, None
        past.append(dx)
        return dfx


class _ResidualEnd(_Step):
    """The end of a block: y = x + f(x), with x from the skip connection. Backward gives the gradient to f and to it."""

    def forward(self, fx: Any, past: list[Any]) -> Any:
        return past.pop() + fx

    def backward(self, dy: Any, past: list[Any]) -> Any:
        past.append(dy)
        return dy


class _Activation(_Step):
    """y = f(x). Saves y, or x where the derivative is computed from it."""

    def forward(self, x: Any, past: list[Any]) -> Any:
        y = act.forward(x, self.step.activation)
        self.saved = x if self.step.activation.from_z else y
        return y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        return act.backward(dy, self.saved, self.step.activation)


class _Softmax(_Step):
    """y = softmax(x) of each row. Saves y."""

    def forward(self, x: Any, past: list[Any]) -> Any:
        self.y = softmax_forward(x)
        return self.y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        return softmax_backward(dy, self.y)


class _Dropout(_Step):
    """y = x mask in training, x in prediction. Saves the mask: None in prediction.

    `number` counts the dropout steps of the network: each has a stream of random numbers.
    """

    def __init__(self, step: Step, parameters: tuple[Any, Any], training: Training | None, number: int) -> None:
        super().__init__(step, parameters, training)
        self.number = number

    def forward(self, x: Any, past: list[Any]) -> Any:
        self.mask = None
        if self.training is None:
            return x
        seed, draw, first_row = self.training
        y, self.mask = dropout_forward(
            x, self.step.layer.rate, seed, random_streams.dropout(self.number), draw, first_row
        )
        return y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        return dy if self.mask is None else dropout_backward(dy, self.mask)


class _LayerNorm(_Step):
    """y = f(z), z = gamma xhat + beta, with xhat of mean 0 and variance 1 in each row. Saves x, mean, rstd and y."""

    def forward(self, x: Any, past: list[Any]) -> Any:
        self.x = x
        z, self.mean, self.rstd = layer_norm_forward(x, *self.parameters, self.step.layer.eps)
        self.y = act.forward(z, self.step.activation)
        return self.y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        gamma, _ = self.parameters
        dz = act.backward(dy, self.y, self.step.activation)
        dx, *self.gradients = layer_norm_backward(dz, self.x, self.mean, self.rstd, gamma)
        return dx


class _BatchNorm(_Step):
    """y = f(z), z = gamma (x - mean) / sqrt(variance + eps) + beta, with mean and variance of each column.

    In training they are those of the minibatch, and the gradient includes their dependence on x. In prediction, and
    when frozen, they are the running statistics, which are constants. Saves x, mean, variance and y.

    `running` is (mean, variance), views of the flat vector of statistics.
    """

    def __init__(
        self, step: Step, parameters: tuple[Any, Any], training: Training | None, running: tuple[Any, Any]
    ) -> None:
        super().__init__(step, parameters, training)
        self.running = running
        self.of_minibatch = training is not None and not step.frozen

    def forward(self, x: Any, past: list[Any]) -> Any:
        self.x = x
        eps = self.step.layer.eps
        if self.of_minibatch:
            z, self.mean, self.variance = batch_norm_forward(x, *self.parameters, eps)
        else:
            self.mean, self.variance = (statistic.copy() for statistic in self.running)
            z = batch_norm_predict(x, self.mean, self.variance, *self.parameters, eps)
        self.y = act.forward(z, self.step.activation)
        return self.y

    def backward(self, dy: Any, past: list[Any]) -> Any:
        gamma, _ = self.parameters
        dz = act.backward(dy, self.y, self.step.activation)
        eps = self.step.layer.eps
        if self.of_minibatch:
            dx, *self.gradients = batch_norm_backward(dz, self.x, self.mean, self.variance, gamma, eps)
            return dx
        rstd = 1 / np.sqrt(self.variance + self.variance.dtype.type(eps))
        self.gradients = (dz * ((self.x - self.mean) * rstd)).sum(axis=0), dz.sum(axis=0)
        return dz * rstd if gamma is None else dz * (gamma * rstd)

    def update_running(self) -> None:
        """Update the running statistics with those of the minibatch of this pass."""
        if self.of_minibatch:
            batch_norm_running(*self.running, self.mean, self.variance, len(self.x), self.step.layer.momentum)


_KINDS: dict[str, Any] = {
    "dense": _Dense,
    "residual_begin": _ResidualBegin,
    "projection": _Projection,
    "residual_end": _ResidualEnd,
    "activation": _Activation,
    "softmax": _Softmax,
    "dropout": _Dropout,
    "layer_norm": _LayerNorm,
    "batch_norm": _BatchNorm,
}


# --------------------------------------------------------------------------------------------------------- the network


class Network:
    """A network of layers, each of which takes the output of the one before.

    Parameters
    ----------
    inputs : int
        Width of the input, at least 1.
    layers : sequence of Layer
        At least one: see `fastbp.layers`.
    dtype : {"float32", "float64"}, default "float32"
        The type of parameters, gradients and all intermediate values.
    seed : int, default 0
        In [0, 2^64). Determines the initial parameters.

    Attributes
    ----------
    inputs, outputs : int
    layers : tuple of Layer
    dtype : numpy.dtype
    seed : int
    parameters : ndarray (P,)
        All parameters: for each parametric layer W row by row, then b; or gamma, then beta. Assigning copies into it.
    statistics : ndarray (S,)
        Running mean, then variance, of each batch norm, initially 0 and 1. May be changed in place.
    weights : tuple of (ndarray (I, O), ndarray (O,) or None) or (ndarray (O,), ndarray (O,))
        W and b of each dense layer, gamma and beta of each norm, P and None of each projection, in the order of the
        flat vector. Views of `parameters`, which may be changed in place.
    n_threads : None
        An attribute of the compiled network; this one has a single thread.

    Notes
    -----
    By default initial weights are uniform on (-r, r), and biases 0. r = sqrt(6 / I) for a layer with relu or a similar
    activation (He et al., Delving Deep into Rectifiers, ICCV 2015); r = sqrt(6 / (I + O)) for projections and for other
    layers except those with selu (Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural
    Networks, AISTATS 2010). The gamma of a norm is 1, its beta 0.
    """

    def __init__(self, inputs: int, layers: Sequence[Layer], dtype: Any = "float32", seed: int = 0) -> None:
        self.steps = steps_of(inputs, layers)
        self.inputs = self.steps[0].inputs
        self.outputs = self.steps[-1].outputs
        self.layers = tuple(layers)
        self.dtype = real_dtype(dtype)
        self.seed = check_seed("seed", seed)
        self.n_threads: int | None = None
        self._parameters: Any = np.zeros(parameter_count(self.steps), self.dtype)
        self.weights = views(self._parameters, self.steps)
        running = statistics_slices(self.steps)
        self._statistics = np.zeros(running[-1][1].stop if running else 0, self.dtype)
        self._running = [(self._statistics[mean], self._statistics[variance]) for mean, variance in running]
        for _, variance in self._running:
            variance[...] = 1
        for number, (step, (W, b)) in enumerate(zip(parametric_steps(self.steps), self.weights, strict=True)):
            of_W, of_b = step.initializers
            widths = step.inputs, step.outputs
            with np.errstate(over="ignore", under="ignore"):
                W[...] = initial_values(of_W, W.shape, *widths, self.seed, random_streams.initialisation(number))
                if b is not None:
                    b[...] = initial_values(
                        of_b, b.shape, *widths, self.seed, random_streams.bias_initialisation(number)
                    )
        refuse_nonfinite("parameters", self._parameters)

    @property
    def parameters(self) -> Any:
        return self._parameters

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        vector = real_array("parameters", values, self.dtype)
        if vector.shape != self._parameters.shape:
            raise ValueError(f"parameters has shape {vector.shape}; the network has {self._parameters.shape}")
        refuse_nonfinite("parameters", vector)
        self._parameters[...] = vector

    @property
    def statistics(self) -> NDArray[Any]:
        return self._statistics

    def set_vectors(self, vectors: dict[str, NDArray[Any]]) -> None:
        """Set parameters and statistics, or one of them: the values of `vectors`, by these names."""
        for name, values in vectors.items():
            getattr(self, name)[...] = values

    def predict(self, X: ArrayLike, allow_nonfinite: bool = False) -> NDArray[Any]:
        """The network's raw outputs: logits, for a classifier.

        Parameters
        ----------
        X : ndarray (rows, inputs), or an object that NumPy makes such an array of
            float32 or float64, converted to the network's dtype; or uint8, divided by 255.
        allow_nonfinite : bool, default False
            Whether X may hold nan and inf.

        Returns
        -------
        ndarray (rows, outputs)
            In the network's dtype. Dropout drops nothing, and batch norms use their running statistics.

        Raises
        ------
        TypeError
            If X is not an array of float32, float64 or uint8.
        ValueError
            If X is of the wrong shape, or not finite.
        """
        x = rows_of_inputs("X", X, self, flag("allow_nonfinite", allow_nonfinite))
        with np.errstate(all="ignore"):
            y: NDArray[Any] = self.forward(x)[0]
        return y

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """The derivatives of the outputs of each row with respect to the inputs of that row, in prediction.

        Parameters
        ----------
        X : ndarray (rows, inputs), or an object that NumPy makes such an array of
            float32 or float64, converted to the network's dtype; or uint8, divided by 255.

        Returns
        -------
        ndarray (rows, outputs, inputs)
            J[r, o, i] = dy[r, o] / dX[r, i] with y = predict(X). No row depends on another in prediction: row r of the
            gradient of sum_r y[r, o] with respect to X is the gradient of y[r, o], so that J[:, o] is that gradient.

        Raises
        ------
        TypeError
            If X is not an array of float32, float64 or uint8.
        ValueError
            If X is of the wrong shape, has no rows, or is not finite.
        """
        x = rows_of_inputs("X", X, self)
        if not len(x):
            raise ValueError(f"X must have at least 1 row, got shape {x.shape}")
        jacobian = np.empty((len(x), self.outputs, self.inputs), self.dtype)
        with np.errstate(all="ignore"):
            for o in range(self.outputs):
                y, done = self.forward(x)
                dy = np.zeros_like(y)
                dy[:, o] = 1
                jacobian[:, o], _ = self.backward(dy, done)
        return jacobian

    def freeze(self, *numbers: int) -> None:
        """Freeze some layers: their gradient is 0 in training, and no update changes them.

        Parameters
        ----------
        *numbers : int
            Indices into `weights`, except those of projections.

        Raises
        ------
        TypeError, ValueError
            If a number is not such an index; nothing has changed then.
        """
        self._set_frozen(numbers, True)

    def unfreeze(self, *numbers: int) -> None:
        """Let layers learn again: the reverse of `freeze`.

        Parameters
        ----------
        *numbers : int
            Indices into `weights`.

        Raises
        ------
        TypeError, ValueError
            If a number is not such an index, or that of a projection; nothing has changed then.
        """
        self._set_frozen(numbers, False)

    def _set_frozen(self, numbers: tuple[int, ...], frozen: bool) -> None:
        self.layers = with_frozen(self.inputs, self.layers, numbers, frozen)
        self.steps = steps_of(self.inputs, self.layers)

    def forward(self, x: Any, training: Training | None = None) -> tuple[Any, list[Any]]:
        """The output of the last step, and the steps of this pass with the arrays that `backward` needs.

        Parameters
        ----------
        x : ndarray (B, inputs)
        training : Training, optional
            None: prediction. Dropout drops nothing, and batch norms use their running statistics.

        Returns
        -------
        y : ndarray (B, outputs)
        done : list of _Step
        """
        weights, running, dropouts = iter(self.weights), iter(self._running), 0
        done: list[Any] = []
        for step in self.steps:
            parameters = next(weights) if step.shapes[0] is not None else (None, None)
            more: tuple[Any, ...] = ()
            if step.kind == "dropout":
                more = (dropouts,)
                dropouts += 1
            elif step.kind == "batch_norm":
                more = (next(running),)
            done.append(_KINDS[step.kind](step, parameters, training, *more))
        past: list[Any] = []
        for part in done:
            x = part.forward(x, past)
        return x, done

    def backward(self, dy: Any, done: list[Any]) -> tuple[Any, Any]:
        """Gradients of the input and the parameters, from dy (B, outputs) and the list `done` that forward returned.

        Returns
        -------
        dx : ndarray (B, inputs)
        gradient : ndarray (P,)
            Laid out as `parameters`. 0 for frozen layers.
        """
        past: list[Any] = []
        for step in reversed(done):
            dy = step.backward(dy, past)
        gradient = np.zeros_like(self._parameters)
        learning = [step for step in done if step.parameters[0] is not None]
        for step, into in zip(learning, views(gradient, self.steps), strict=True):
            for part, values in zip(into, step.gradients, strict=True):
                if part is not None and not step.step.frozen:
                    part[...] = values
        return dy, gradient

    def update_statistics(self, done: list[Any]) -> None:
        """Update the running statistics with those of a minibatch; done: from its forward pass."""
        for step in done:
            if step.step.kind == "batch_norm":
                step.update_running()


def views(flat: Any, steps: Iterable[Step]) -> tuple[tuple[Any, Any], ...]:
    """Views of a vector (P,) for each step with parameters: W (I, O) and b (O,) or None, or gamma and beta (O,)."""
    return tuple((flat[W].reshape(shape), None if b is None else flat[b]) for W, shape, b in parameter_slices(steps))


# Checks: an error names the argument, the expected value and the given one.


def real_dtype(dtype: Any) -> np.dtype[Any]:
    """numpy's float32 or float64."""
    found: np.dtype[Any] | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if dtype is None or found is None:
        raise TypeError(f"dtype must be 'float32' or 'float64', got {described(dtype)}")
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {found.name!r}")
    return found


def arrayed(name: str, x: Any) -> Any:
    """An object that offers ``__array__`` or DLPack as an array; any other object unchanged."""
    if isinstance(x, (np.ndarray, np.generic, type)):
        return x
    if not hasattr(x, "__array__") and not hasattr(x, "__dlpack__"):
        return x
    try:
        found = np.asarray(x) if hasattr(x, "__array__") else np.from_dlpack(x)
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
        raise TypeError(f"{name} must be an array that NumPy can read, got {described(x)}: {error}") from error
    if found.dtype == object:
        raise TypeError(f"{name} must hold numbers of one kind, got {described(x)} that becomes an object array")
    return found


def real_array(name: str, x: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of float32 or float64, converted to `dtype`; numbers out of its range become infinite."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a float32 or float64 array, got {described(x)}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be a float32 or float64 array, got {x.dtype} array")
    with np.errstate(over="ignore"):
        converted: NDArray[Any] = x.astype(dtype, copy=False)
    return converted


def refuse_nonfinite(name: str, x: NDArray[Any]) -> None:
    """Raise ValueError for an array that holds nan or inf."""
    finite = np.isfinite(x)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {x[where]} at [{', '.join(map(str, where))}]")


def rows_of_inputs(name: str, x: Any, network: Network, allow_nonfinite: bool = False) -> NDArray[Any]:
    """x (B, inputs) in the network's dtype. uint8 values are divided by 255."""
    x = arrayed(name, x)
    if isinstance(x, np.ndarray) and x.dtype == np.uint8:
        x = x.astype(network.dtype) / 255
    rows = real_array(name, x, network.dtype)
    if rows.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, {network.inputs}), got shape {rows.shape}")
    if rows.shape[1] != network.inputs:
        raise ValueError(f"{name} has {rows.shape[1]} columns; the network takes {network.inputs}")
    if not allow_nonfinite:
        refuse_nonfinite(name, rows)
    return rows
