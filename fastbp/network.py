"""Networks: layers over one flat parameter vector, predictions, files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from . import layers as layers_
from ._support import arguments, declarative, network_steps, random_streams, storage
from ._support.initial_values import initial_values
from ._support.plan_spec import PlanSpec, PlanVectors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ._support.network_steps import Step
    from ._support.plan_spec import LayerRecord
    from .layers import Layer

BLOCK = 256  # rows that the core takes through the net at once (FBP_BLOCK)
MOST_THREADS = 256
DTYPES: dict[str, np.dtype[Any]] = {"float32": arguments.FLOAT32, "float64": arguments.FLOAT64}
# Upper bound on the multiply-adds of a call that is no epoch, since signals wait for its end: they take a few
# milliseconds, tens of milliseconds on a slow machine.
SLICE = 1 << 27


def _read_only(name: str) -> Any:
    return property(attrgetter(name))


class Network:
    """A network of layers, each of which takes the output of the one before.

    Parameters
    ----------
    inputs : int
        Columns of X.
    layers : list of layers
        `Dense`, activations such as `ReLU`, `Residual`, `Dropout`, `LayerNorm`, `BatchNorm`, `Softmax`. A classifier
        has no activation at its end: the losses take logits.
    dtype : "float32" or "float64"
        The type of parameters, data and arithmetic.
    seed : int in [0, 2**64)
        Determines the initial parameters. By default (see `weight_init` of `Dense`), W is uniform in -bound .. bound,
        where bound is sqrt(6 / inputs) for a layer with relu or a similar activation (He et al., Delving Deep into
        Rectifiers, ICCV 2015), and sqrt(6 / (inputs + outputs)) for other layers except those with selu, and for
        projections of residual blocks (Glorot and Bengio, AISTATS 2010). b is 0; the gamma of a norm is 1, its beta 0.

    Attributes
    ----------
    inputs, outputs : int
    layers : tuple of layers
    dtype : numpy.dtype
    seed : int
    parameters : (P,) array of dtype
        All parameters in one vector: for each dense layer W row by row, then b; for each norm gamma, then beta. A
        residual block's projection follows the block's layers. May be changed in place, or assigned to, which copies.
    statistics : (S,) array of dtype
        For each `BatchNorm` the running mean, then the running variance. May be changed in place.
    weights : tuple of (W, b) and (gamma, beta)
        Views of `parameters` for each parametric layer: W (inputs, outputs), b (outputs,), or None for a layer
        without bias; gamma and beta (width,). They can be changed in place: ``net.weights[0][0][:] = W``.
    n_threads : int or None
        Upper bound on the number of threads of a prediction; None, the default: the number of cores. May be assigned
        to; neither files nor copies keep it.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind or value; for layers, see `fastbp.layers`.
    MemoryError
        When there is no memory for the parameters.

    Notes
    -----
    A net may be used from several threads, also while a trainer trains it in one of them: predictions, copies and files
    are those of the parameters after a whole update. It can be copied and pickled.
    """

    def __init__(self, inputs: int, layers: Sequence[Layer], dtype: Any = "float32", seed: int = 0) -> None:
        dtype = _dtype(dtype)
        seed = declarative.seed("seed", seed)
        steps = network_steps.steps_of(inputs, layers)
        self._set_up(tuple(layers), steps, dtype, seed)
        for number, (step, (W, b)) in enumerate(zip(network_steps.parametric_steps(steps), self._weights, strict=True)):
            of_W, of_b = step.initializers
            widths = step.inputs, step.outputs
            with np.errstate(over="ignore", under="ignore"):  # inf is refused below
                W[...] = initial_values(of_W, W.shape, *widths, seed, random_streams.initialisation(number))
                if b is not None:
                    b[...] = initial_values(of_b, b.shape, *widths, seed, random_streams.bias_initialisation(number))
        arguments.finite(
            "parameters", self._parameters, "an initialiser gave a number too large for the network's dtype"
        )

    def _set_up(self, layers: tuple[Layer, ...], steps: tuple[Step, ...], dtype: np.dtype[Any], seed: int) -> None:
        _check_constants(steps, dtype)
        self._layers = layers
        self._steps = steps
        self._dtype = dtype
        self._seed = seed
        self._inputs = steps[0].inputs
        self._outputs = steps[-1].outputs
        self._records = [step.record for step in steps]
        self._parameters = aligned_vector(network_steps.parameter_count(steps), dtype)
        running = network_steps.statistics_slices(steps)
        self._statistics = aligned_vector(running[-1][1].stop if running else 0, dtype)
        for _, variance in running:
            self._statistics[variance] = 1
        self._weights = tuple(
            (self._parameters[W].reshape(shape), None if b is None else self._parameters[b])
            for W, shape, b in network_steps.parameter_slices(steps)
        )
        self._plan: Any = None
        self._plan_rows = 0
        self._n_threads: int | None = None
        self._lock = _core.Lock()

    inputs: int = _read_only("_inputs")
    outputs: int = _read_only("_outputs")
    layers: tuple[Layer, ...] = _read_only("_layers")
    dtype: np.dtype[Any] = _read_only("_dtype")
    seed: int = _read_only("_seed")
    weights: tuple[tuple[NDArray[Any], NDArray[Any] | None], ...] = _read_only("_weights")
    statistics: NDArray[Any] = _read_only("_statistics")
    # For the other modules of fastbp: the steps of the layers (freezing layers replaces the tuple by another one), and
    # their records for the core. `Trainer.step` reads the steps in each call: an attrgetter is the fastest property.
    steps: tuple[Step, ...] = _read_only("_steps")
    records: list[LayerRecord] = _read_only("_records")
    # Is held whenever the core reads or writes the vectors: who holds it finds them as they are after a whole update.
    lock: _core.Lock = _read_only("_lock")

    @property
    def parameters(self) -> NDArray[Any]:
        return self._parameters

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        if values is self._parameters:  # net.parameters += ...
            return
        vector = arguments.converted(arguments.array("parameters", values, 1), self._dtype)
        if vector.shape != self._parameters.shape:
            raise ValueError(f"parameters has {len(vector)} elements; the network has {len(self._parameters)}")
        arguments.finite("parameters", vector, "parameters must be finite")
        self._lock.assign((self._parameters, vector))

    @property
    def n_threads(self) -> int | None:
        return self._n_threads

    @n_threads.setter
    def n_threads(self, value: int | None) -> None:
        value = checked_threads(value)
        with self._lock:
            if value != self._n_threads:
                self._n_threads, self._plan = value, None

    def __repr__(self) -> str:
        return f"Network({self._inputs}, {list(self._layers)}, dtype={self._dtype.name!r}, seed={self._seed})"

    def freeze(self, *numbers: int) -> None:
        """Freeze some layers: trainers no longer change their parameters.

        Parameters
        ----------
        *numbers : int
            Indices into `weights`. In training a frozen `BatchNorm` normalises by its running statistics.

        Raises
        ------
        TypeError, ValueError
            For a value that is not such an index, or the index of a projection, which is no layer of its own.

        Notes
        -----
        The layers in `layers` are replaced by copies with ``frozen=True``, which a file of the net keeps. The backward
        pass ends at the first layer that learns. The state that an optimiser has for frozen parameters stays, too.
        """
        self._set_frozen(numbers, True)

    def unfreeze(self, *numbers: int) -> None:
        """Let the parameters of some layers learn again: the reverse of `freeze`.

        Parameters
        ----------
        *numbers : int

        Raises
        ------
        TypeError, ValueError
            As for `freeze`.
        """
        self._set_frozen(numbers, False)

    def _set_frozen(self, numbers: tuple[int, ...], frozen: bool) -> None:
        layers = network_steps.with_frozen(self._inputs, self._layers, numbers, frozen)
        steps = network_steps.steps_of(self._inputs, layers)
        with self._lock:
            self._layers, self._steps = layers, steps
            self._records = [step.record for step in steps]
            self._plan = None

    def predict(self, X: ArrayLike, allow_nonfinite: bool = False) -> NDArray[Any]:
        """The outputs of the last layer.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            float32 or float64, which are converted to the net's dtype where it differs, or uint8, whose values are
            scaled by 1/255. Or an object that NumPy makes such an array of by ``__array__`` or DLPack. Rows are
            converted block by block, with any strides: X is not copied. Fastest when contiguous.
        allow_nonfinite : bool
            Compute with nan and inf in X, rather than refuse them.

        Returns
        -------
        (rows, outputs) array of the net's dtype
            For a classifier these are logits: their argmax is the class, and `fastbp.ops.softmax_forward` turns them
            into probabilities.

        Raises
        ------
        TypeError
            When X is not an array of float32, float64 or uint8.
        ValueError
            When X does not have two dimensions, a row at least and `inputs` columns, or holds nan or inf.
        """
        plan = self._plan
        if plan is not None and allow_nonfinite is False:
            quick: NDArray[Any] | None = plan.try_predict(X)
            if quick is not None:
                return quick
        x = self.checked_inputs("X", X, declarative.flag("allow_nonfinite", allow_nonfinite))
        rows = len(x)
        y = np.empty((rows, self._outputs), self._dtype)

        def forward(plan: Any, part: slice) -> None:
            plan.forward(x[part], y[part])

        self.in_slices(rows, self.rows_in_a_slice(), lambda vectors: self._plan_for(rows, vectors), forward)
        return y

    def jacobian(self, X: ArrayLike) -> NDArray[Any]:
        """The derivatives of the outputs of each row with respect to the inputs of that row, in prediction.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            As for `predict`.

        Returns
        -------
        (rows, outputs, inputs) array of the net's dtype
            J[r, o, i] = dy[r, o] / dX[r, i] with y = predict(X); for uint8, with respect to X / 255. Dropout drops
            nothing, and batch norms use their running statistics, so that no row depends on another. At a kink, such as
            0 of a ReLU, the derivative is that of training.

        Raises
        ------
        TypeError
            When X is not an array of float32, float64 or uint8.
        ValueError
            When X does not have two dimensions, a row at least and `inputs` columns, or holds nan or inf.
        MemoryError
            When there is no memory for the result.

        Notes
        -----
        Row o of a Jacobian is the gradient of output o: a forward and a backward pass for each row and output.
        """
        x = self.checked_inputs("X", X)
        rows, outputs = len(x), self._outputs
        gradients = np.empty((rows * outputs, self._inputs), self._dtype)  # of output o of row r, for each pair (r, o)
        spec = self._plan_spec(plan_rows(rows * outputs), [record._replace(frozen=True) for record in self._records])
        y = np.empty((min(rows * outputs, BLOCK), outputs), self._dtype)

        def plan_of(vectors: PlanVectors | None) -> Any:
            vectors = self.own_vectors() if vectors is None else vectors
            # The gradient is not written, since all steps are frozen.
            return _core.Plan(spec, vectors._replace(gradient=np.empty_like(self._parameters)))

        def backward(plan: Any, part: slice) -> None:
            of_part = gradients[part]
            numbers = np.arange(part.start, part.start + len(of_part))
            plan.forward_kept(x[numbers // outputs], y[: len(of_part)], False)
            dy = (numbers[:, None] % outputs == np.arange(outputs)).astype(self._dtype)
            plan.backward(dy, False, of_part)

        self.in_slices(rows * outputs, BLOCK, plan_of, backward)
        return gradients.reshape(rows, outputs, self._inputs)

    def in_slices(
        self,
        rows: int,
        at_once: int,
        plan_of: Callable[[PlanVectors | None], Any],
        work: Callable[[Any, slice], None],
    ) -> None:
        """Work on rows slice by slice, with the same parameters for all, though another thread may train the net.

        Parameters
        ----------
        rows, at_once : int
            All rows, and those of a slice.
        plan_of : function (PlanVectors or None) -> _core.Plan
            Returns a plan over these vectors; None: those of the net.
        work : function (_core.Plan, slice) -> None
            Is called for each slice; for all slices anew, where the parameters have changed on the way. The second time
            the plan is one over copies.
        """
        lock = self._lock
        with lock:
            changes, plan = lock.changes, plan_of(None)
        for start in range(0, rows, at_once):
            with lock:
                work(plan, slice(start, start + at_once))
                changed = lock.changes != changes
            if changed:
                break
        else:
            return
        plan = plan_of(self._copied_vectors())
        for start in range(0, rows, at_once):
            work(plan, slice(start, start + at_once))

    def own_vectors(self) -> PlanVectors:
        """The vectors of the net, for a plan that reads them."""
        return PlanVectors(self._parameters, statistics=self._statistics, lock=self._lock)

    def _copied_vectors(self) -> PlanVectors:
        parameters, statistics = self._lock.copies(self._parameters, self._statistics)
        return PlanVectors(parameters, statistics=statistics)

    def _plan_for(self, rows: int, vectors: PlanVectors | None) -> Any:
        rows = plan_rows(rows)
        if vectors is not None:
            return _core.Plan(self._plan_spec(rows, self._records), vectors)
        with self._lock:
            plan = self._plan
            if plan is None or rows > self._plan_rows or plan.outdated:
                plan = _core.Plan(self._plan_spec(rows, self._records), self.own_vectors())
                self._plan, self._plan_rows = plan, rows
            return plan

    def _plan_spec(self, rows: int, records: list[LayerRecord]) -> PlanSpec:
        """The description of a plan for predictions."""
        return PlanSpec(self._dtype.name, records, rows, threads=self._n_threads or 0)

    def rows_in_a_slice(self) -> int:
        """The number of rows that one call of the core may take, so that Ctrl-C is handled soon."""
        return max(BLOCK, SLICE // max(len(self._parameters), self._inputs) // BLOCK * BLOCK)

    def checked_inputs(self, name: str, X: Any, allow_nonfinite: bool | None = None) -> NDArray[Any]:
        """X as an array (rows, inputs) that the core takes and converts as it reads it.

        Parameters
        ----------
        name : str
            The name of the argument, for error messages.
        X : array
        allow_nonfinite : bool or None
            Whether X may hold numbers that are not finite in the net's dtype. None: it may not, and the function that
            was called has no argument of this name.

        Raises
        ------
        TypeError, ValueError
        """
        x: NDArray[Any] = arguments.inputs(name, X, self._inputs, "the network")
        if not len(x):
            raise ValueError(f"{name} must have at least 1 row, got shape {x.shape}")
        if allow_nonfinite is None:
            arguments.finite_inputs(name, x, self._dtype, f"{name} must be finite")
        elif not allow_nonfinite:
            arguments.finite_inputs(name, x, self._dtype)
        return x

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net to a file, whole or not at all.

        Parameters
        ----------
        path : str or path
            Ends in .npz (NumPy's own format, without pickles) or .safetensors (needs the safetensors package).

        Raises
        ------
        TypeError, ValueError
            For a path of another type or ending, parameters or statistics that are not finite, or a running variance
            below 0.
        ImportError, OSError
            Without the safetensors package; when the file cannot be written.
        """
        storage.write(path, {"network": self.description()}, self._copies(), expected_vectors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read a net from a file that `save` wrote, or `Trainer.save`.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Network

        Raises
        ------
        ValueError
            Naming the file and what is wrong with it.
        TypeError, ImportError, OSError
            For a path of another type; without the safetensors package; when the file cannot be read.
        """
        description, vectors = storage.read(path, expected_vectors)
        return cls.from_description(description["network"], vectors)

    def description(self) -> dict[str, Any]:
        """The net without its vectors, as JSON holds it."""
        return {
            "inputs": self._inputs,
            "layers": [layer.to_dict() for layer in self._layers],
            "dtype": self._dtype.name,
            "seed": self._seed,
        }

    def vectors(self) -> dict[str, NDArray[Any]]:
        """The vectors that a file of the net holds besides its `description`."""
        vectors = {"parameters": self._parameters}
        return vectors | {"statistics": self._statistics} if len(self._statistics) else vectors

    def set_vectors(self, vectors: dict[str, NDArray[Any]]) -> None:
        """Set parameters and statistics, or one of them, at once: the values of `vectors`, by these names."""
        own = self.vectors()
        self._lock.assign(*((own[name], values) for name, values in vectors.items() if name in own))

    def check_vectors(self, vectors: dict[str, NDArray[Any]]) -> None:
        """Refuse vectors that this net cannot have.

        Parameters
        ----------
        vectors : dict of str to array
            Under the names of the method `vectors`.

        Raises
        ------
        KeyError, ValueError
            For another name; for another dtype or size, nan, inf, or a running variance below 0.
        """
        expected = _expected(self._steps, self._dtype)
        for name, vector in vectors.items():
            storage.check_vector(name, vector, expected[name])

    @classmethod
    def from_description(cls, description: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> Network:
        """A net from its `description` and `vectors`, which it takes out of the dict: they need not be there twice."""
        net = cls.__new__(cls)
        net._set_up(*_parts(description))
        for name, vector in net.vectors().items():
            vector[...] = vectors.pop(name)
        return net

    def __getstate__(self) -> dict[str, Any]:
        return {
            "layers": self._layers,
            "inputs": self._inputs,
            "dtype": self._dtype.name,
            "seed": self._seed,
            **self._copies(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        layers = state["layers"]
        self._set_up(layers, network_steps.steps_of(state["inputs"], layers), DTYPES[state["dtype"]], state["seed"])
        vectors = {name: state[name] for name in self.vectors()}
        self.check_vectors(vectors)
        self._take(vectors)

    def _copies(self) -> dict[str, NDArray[Any]]:
        """Copies of the `vectors`, all of one moment."""
        own = self.vectors()
        return dict(zip(own, self._lock.copies(*own.values()), strict=True))

    def _take(self, vectors: dict[str, NDArray[Any]]) -> None:
        for name, vector in self.vectors().items():
            vector[...] = vectors[name]

    def __copy__(self) -> Network:
        # Every copy is a deep one: two nets with one vector would be the same net. Unlike a pickle, it may have any
        # values.
        net = type(self).__new__(type(self))
        net._set_up(self._layers, self._steps, self._dtype, self._seed)
        net._take(self._copies())
        return net

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self.__copy__()


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network from a file: see `Network.load`."""
    return Network.load(path)


def expected_vectors(description: dict[str, Any]) -> dict[str, storage.Expected]:
    """The vectors in a file of this description, as `storage.read` takes them."""
    _, steps, dtype, _ = _parts(description["network"])
    _check_constants(steps, dtype)
    expected = _expected(steps, dtype)
    if "trainer" in description:
        # Whether the optimiser keeps that number of moments is checked by the reader of the trainer's record.
        like_parameters = expected["parameters"]
        moments = declarative.integer("moments", description["trainer"]["moments"], least=0, most=3)
        expected |= {f"moment{i + 1}": like_parameters for i in range(moments)}
        if description["trainer"].get("average") is not None:
            expected["average"] = like_parameters
        for name, length in description.get("fit", {}).get("vectors", {}).items():
            if not name.startswith("callback"):
                raise ValueError(f"a fit keeps no vector {name!r}")
            # A callback knows whether its vectors may hold inf: see `Callback.check_state`.
            size = declarative.integer(name, length, least=1)
            expected[name] = storage.Expected(dtype, size, finite=False)
    return expected


def _expected(steps: tuple[Step, ...], dtype: np.dtype[Any]) -> dict[str, storage.Expected]:
    """The vectors of a net of these steps."""
    expected = {"parameters": storage.Expected(dtype, network_steps.parameter_count(steps))}
    running = network_steps.statistics_slices(steps)
    if running:
        variances = tuple(variance for _, variance in running)
        expected["statistics"] = storage.Expected(dtype, running[-1][1].stop, at_least_0=variances)
    return expected


def checked_threads(value: Any) -> int | None:
    """The argument `n_threads` as an int or None.

    Raises
    ------
    TypeError, ValueError
    """
    return None if value is None else declarative.integer("n_threads", value, 1, MOST_THREADS)


def plan_rows(rows: int) -> int:
    """The number of rows to make a plan for that is to take `rows`: at most a block, since a larger workspace is never
    faster, and a power of two, so that a growing minibatch needs few plans."""
    return min(1 << (rows - 1).bit_length(), BLOCK)


def aligned_vector(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A vector of zeros whose address is a multiple of 64 bytes."""
    try:
        raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    except (MemoryError, ValueError, OverflowError):  # the last two for a size above that of the address space
        raise MemoryError(f"no memory for {size} parameters of {dtype}") from None
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _parts(description: dict[str, Any]) -> tuple[tuple[Layer, ...], tuple[Step, ...], np.dtype[Any], int]:
    """layers, steps, dtype and seed of a `description`."""
    layers = tuple(layers_.Layer.from_dict(record) for record in description["layers"])
    steps = network_steps.steps_of(description["inputs"], layers)
    return layers, steps, _dtype(description["dtype"]), declarative.seed("seed", description["seed"])


def _check_constants(steps: tuple[Step, ...], dtype: np.dtype[Any]) -> None:
    """Refuse hyperparameters of layers that are infinite, or 0, in the net's dtype."""
    for step in steps:
        constants = [("the parameter", step.activation, step.activation.alpha)]
        constants += [(field, step.layer, getattr(step.layer, field, 0.0)) for field in ("eps", "l1", "l2")]
        for name, owner, value in constants:
            if not arguments.is_representable(value, dtype):  # the text of an owner takes time
                arguments.representable(f"{name} of {owner!r}", value, dtype)


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        found = None if value is None else np.dtype(value)
    except TypeError:
        found = None
    if found is not None and found in DTYPES.values():
        return DTYPES[found.name]
    kind = ValueError if isinstance(value, (str, np.dtype, type)) else TypeError
    raise kind(f"dtype must be 'float32' or 'float64', got {value!r}")
