"""Networks: layers over one flat parameter vector, predictions, files."""

import threading

import numpy as np

from . import _core
from . import layers as layers_
from ._support import arguments, declarative, network_steps, random_streams, storage
from ._support.initial_values import initial_values
from ._support.plan_spec import PlanSpec, PlanVectors

BLOCK = 256  # rows that the core takes through the net at once (FBP_BLOCK)
MOST_THREADS = 256
DTYPES = {"float32": arguments.FLOAT32, "float64": arguments.FLOAT64}
# Multiply-adds between two looks at signals in what is not an epoch: some milliseconds, some tens on a slow machine.
SLICE = 1 << 27


class Network:
    """A net of layers, one after the other.

    Parameters
    ----------
    inputs : int
        Columns of X.
    layers : list of layers
        `Dense`, activations such as `ReLU`, `Residual`, `Dropout`, `LayerNorm`, `BatchNorm`, `Softmax`. A classifier
        ends in identity: the losses take logits.
    dtype : "float32" or "float64"
        Of parameters, data and arithmetic.
    seed : int in [0, 2**64)
        The initial weights are a function of it. Unless a layer says otherwise (`weight_init` of `Dense`), every W is
        uniform in -bound .. bound, with bound sqrt(6 / inputs) for a layer that ends in relu or its kin (He et al.,
        Delving Deep into Rectifiers, ICCV 2015) and sqrt(6 / (inputs + outputs)) for the others but selu, and for
        projections of residual blocks (Glorot and Bengio, AISTATS 2010). Every b is 0; of norms gamma is 1 and beta 0.

    Attributes
    ----------
    inputs, outputs : int
    layers : tuple of layers
    dtype : numpy.dtype
    seed : int
    parameters : (P,) array of dtype
        All parameters in one vector: for each dense layer W row by row, then b; for each norm gamma, then beta. A
        residual block's projection comes after the block's layers. Change it in place or assign to it, which copies.
    statistics : (S,) array of dtype
        For each `BatchNorm` the running mean, then the running variance. Change it in place.
    weights : tuple of (W, b) and (gamma, beta)
        Views of `parameters`, for each layer that has some: W (inputs, outputs), b (outputs,), or None for a layer
        without bias; gamma and beta (width,). They are changed in place: ``net.weights[0][0][:] = W``.
    n_threads : int or None
        Predictions take at most so many threads; None, as in a new net: as many as there are cores. May be assigned
        to; neither files nor copies keep it.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong kind or value; for layers, see `fastbp.layers`.
    MemoryError
        When there is no memory for the parameters.

    Notes
    -----
    A net may be used from several threads. It can be copied and pickled.
    """

    def __init__(self, inputs, layers, dtype="float32", seed=0):
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

    def _set_up(self, layers, steps, dtype, seed):
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
        self._plan = None
        self._plan_rows = 0
        self._n_threads = None
        self._lock = threading.Lock()

    inputs = property(lambda self: self._inputs)
    outputs = property(lambda self: self._outputs)
    layers = property(lambda self: self._layers)
    dtype = property(lambda self: self._dtype)
    seed = property(lambda self: self._seed)
    weights = property(lambda self: self._weights)
    statistics = property(lambda self: self._statistics)

    @property
    def parameters(self):
        return self._parameters

    @parameters.setter
    def parameters(self, values):
        if values is self._parameters:  # net.parameters += ...
            return
        values = arguments.converted(arguments.array("parameters", values, 1), self._dtype)
        if values.shape != self._parameters.shape:
            raise ValueError(f"parameters has {len(values)} elements; the network has {len(self._parameters)}")
        arguments.finite("parameters", values, "parameters must be finite")
        self._parameters[...] = values

    @property
    def n_threads(self):
        return self._n_threads

    @n_threads.setter
    def n_threads(self, value):
        if value is not None:
            value = declarative.integer("n_threads", value, 1, MOST_THREADS)
        with self._lock:
            if value != self._n_threads:
                self._n_threads, self._plan = value, None

    def __repr__(self):
        return f"Network({self._inputs}, {list(self._layers)}, dtype={self._dtype.name!r}, seed={self._seed})"

    def freeze(self, *numbers):
        """Keep the parameters of some layers as they are from now on: no trainer changes them.

        Parameters
        ----------
        *numbers : int
            Numbers of layers as `weights` counts them. A frozen `BatchNorm` takes its running statistics in training,
            too.

        Raises
        ------
        TypeError, ValueError
            For what is not the number of a layer, or that of a projection, which has no layer of its own.

        Notes
        -----
        The layers in `layers` are replaced by such with ``frozen=True``, so that a file of the net remembers it.
        Backward work stops behind the first layer that learns. State that an optimiser has for frozen parameters stays
        too.
        """
        self._set_frozen(numbers, True)

    def unfreeze(self, *numbers):
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

    def _set_frozen(self, numbers, frozen):
        layers = network_steps.with_frozen(self._inputs, self._layers, numbers, frozen)
        steps = network_steps.steps_of(self._inputs, layers)
        with self._lock:
            self._layers, self._steps = layers, steps
            self._records = [step.record for step in steps]
            self._plan = None

    def predict(self, X, allow_nonfinite=False):
        """The outputs of the last layer.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            Of float32 or float64, converted to the net's dtype where it differs, or of uint8: pixels, of which n stands
            for n / 255. Or what NumPy makes such an array of by ``__array__`` or DLPack. It is converted block by
            block, whatever its strides: no copy is made. Quickest when contiguous.
        allow_nonfinite : bool
            Take nan and inf in X for what they are, rather than refusing them.

        Returns
        -------
        (rows, outputs) array of the net's dtype
            For a classifier these are logits: their argmax is the class, `fastbp.ops.softmax_forward` makes
            probabilities of them.

        Raises
        ------
        TypeError
            When X is not an array of float32, float64 or uint8.
        ValueError
            When X does not have two dimensions, a row at least and `inputs` columns, or holds nan or inf.
        """
        plan = self._plan
        if plan is not None and allow_nonfinite is False:
            y = plan.try_predict(X)
            if y is not None:
                return y
        X = self.checked_inputs("X", X, declarative.flag("allow_nonfinite", allow_nonfinite))
        rows = len(X)
        y = np.empty((rows, self._outputs), self._dtype)
        plan = self._plan_for(rows)
        at_once = self.rows_in_a_slice()
        for start in range(0, rows, at_once):
            plan.forward(X[start : start + at_once], y[start : start + at_once])
        return y

    def jacobian(self, X):
        """The derivative of each row's outputs with respect to that row's inputs, in prediction.

        Parameters
        ----------
        X : (rows, inputs) array, rows >= 1
            As for `predict`.

        Returns
        -------
        (rows, outputs, inputs) array of the net's dtype
            J[r, o, i] = dy[r, o] / dX[r, i] with y = predict(X); of pixels n it is with respect to n / 255.
            Dropout passes all, and batch norms take their running statistics, so that no row depends on another. At a
            kink, such as 0 of a ReLU, what training takes.

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
        Row o of a Jacobian is the gradient of output o: one pass forward and backward for each row and output.
        """
        X = self.checked_inputs("X", X)
        rows, outputs = len(X), self._outputs
        gradients = np.empty((rows * outputs, self._inputs), self._dtype)  # at the inputs: of output o of row r
        plan = _core.Plan(
            self._plan_spec(plan_rows(rows * outputs), [record._replace(frozen=True) for record in self._records]),
            # The gradient is never written: all layers are frozen.
            PlanVectors(self._parameters, np.empty_like(self._parameters), statistics=self._statistics),
        )
        y = np.empty((min(rows * outputs, BLOCK), outputs), self._dtype)
        for start in range(0, rows * outputs, BLOCK):
            part = gradients[start : start + BLOCK]
            numbers = np.arange(start, start + len(part))
            plan.forward_kept(X[numbers // outputs], y[: len(part)], False)
            dy = (numbers[:, None] % outputs == np.arange(outputs)).astype(self._dtype)
            plan.backward(dy, False, part)
        return gradients.reshape(rows, outputs, self._inputs)

    def _plan_spec(self, rows, records):
        return PlanSpec(self._dtype.name, records, rows, threads=self._n_threads or 0)

    def _plan_for(self, rows):
        rows = plan_rows(rows)
        with self._lock:
            plan = self._plan
            if plan is None or rows > self._plan_rows or plan.outdated:
                plan = _core.Plan(
                    self._plan_spec(rows, self._records), PlanVectors(self._parameters, statistics=self._statistics)
                )
                self._plan, self._plan_rows = plan, rows
            return plan

    def rows_in_a_slice(self):
        """How many rows a call may take at once so that Ctrl-C is soon heard."""
        return max(BLOCK, SLICE // max(len(self._parameters), self._inputs) // BLOCK * BLOCK)

    def checked_inputs(self, name, X, allow_nonfinite=None):
        """X as the core takes it, which converts what it gathers: (rows, inputs) with a row at least and, unless
        allowed, finite in the net's dtype. None: the caller offers no such switch."""
        X = arguments.inputs(name, X, self._inputs, "the network")
        if not len(X):
            raise ValueError(f"{name} must have at least 1 row, got shape {X.shape}")
        if allow_nonfinite is None:
            arguments.finite_inputs(name, X, self._dtype, f"{name} must be finite")
        elif not allow_nonfinite:
            arguments.finite_inputs(name, X, self._dtype)
        return X

    def save(self, path):
        """Write the net to a file, whole or not at all.

        Parameters
        ----------
        path : str or path
            Ends in .npz (NumPy's own format, without pickles) or .safetensors (needs the safetensors package).

        Raises
        ------
        TypeError, ValueError
            For a path of another type or ending, or parameters that are not finite.
        ImportError, OSError
            Without the safetensors package; when the file cannot be written.
        """
        arguments.finite("parameters", self._parameters, "a file holds finite parameters only")
        storage.write(path, {"network": self.description()}, self.vectors())

    @classmethod
    def load(cls, path):
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

    def description(self):
        """The architecture as JSON holds it: all but the parameters."""
        return {
            "inputs": self._inputs,
            "layers": [layer.to_dict() for layer in self._layers],
            "dtype": self._dtype.name,
            "seed": self._seed,
        }

    def vectors(self):
        """What a file of the net holds beside its `description`."""
        vectors = {"parameters": self._parameters}
        return vectors | {"statistics": self._statistics} if len(self._statistics) else vectors

    @classmethod
    def from_description(cls, description, vectors):
        """The net of a `description`, with its `vectors`."""
        net = cls.__new__(cls)
        net._set_up(*_parts(description))
        net._parameters[...] = vectors["parameters"]
        net._statistics[...] = vectors.get("statistics", net._statistics)
        return net

    def __getstate__(self):
        return {
            "layers": self._layers,
            "inputs": self._inputs,
            "dtype": self._dtype.name,
            "seed": self._seed,
            "parameters": self._parameters,
            "statistics": self._statistics,
        }

    def __setstate__(self, state):
        layers = state["layers"]
        self._set_up(layers, network_steps.steps_of(state["inputs"], layers), DTYPES[state["dtype"]], state["seed"])
        self._parameters[...] = state["parameters"]
        self._statistics[...] = state["statistics"]

    def __copy__(self):
        # A copy that shared the vector would be the same net twice: a net's copy is always deep.
        net = type(self).__new__(type(self))
        net.__setstate__(self.__getstate__())
        return net


def load(path):
    """Read a network from a file: see `Network.load`."""
    return Network.load(path)


def expected_vectors(description):
    """Which vectors stand in a file of this description: for `storage.read`."""
    _, steps, dtype, _ = _parts(description["network"])
    size = network_steps.parameter_count(steps)
    _check_constants(steps, dtype)
    expected = {"parameters": (dtype, size, True)}
    running = network_steps.statistics_slices(steps)
    # A variance of large numbers may be inf in a net that is well, and so may the square of a large gradient, which
    # Adam keeps.
    if running:
        expected["statistics"] = (dtype, running[-1][1].stop, False)
    if "trainer" in description:
        # The moments are the trainer's business; here they only must fit.
        moments = declarative.integer("moments", description["trainer"]["moments"], least=0, most=3)
        expected |= {f"moment{i + 1}": (dtype, size, False) for i in range(moments)}
        if description["trainer"].get("average") is not None:
            expected["average"] = (dtype, size, True)
        for name, length in description.get("fit", {}).get("vectors", {}).items():
            if not name.startswith("callback"):
                raise ValueError(f"a fit keeps no vector {name!r}")
            expected[name] = (dtype, declarative.integer(name, length, least=1), False)
    return expected


def plan_rows(rows):
    """For how many rows to make a plan that is to take `rows`: more than one block never pays, and powers of two keep
    a growing minibatch from making many."""
    return min(1 << (rows - 1).bit_length(), BLOCK)


def aligned_vector(size, dtype):
    """A vector of zeros that begins at a multiple of 64 bytes."""
    try:
        raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    except (MemoryError, ValueError, OverflowError):  # the latter two for a size that no address can say
        raise MemoryError(f"no memory for {size} parameters of {dtype}") from None
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _parts(description):
    """layers, steps, dtype and seed of a `description`."""
    layers = tuple(layers_.Layer.from_dict(record) for record in description["layers"])
    steps = network_steps.steps_of(description["inputs"], layers)
    return layers, steps, _dtype(description["dtype"]), declarative.seed("seed", description["seed"])


def _check_constants(steps, dtype):
    """Refuse numbers of layers that become infinite, or 0, in the net's dtype."""
    for step in steps:
        arguments.representable(f"the parameter of {step.activation!r}", step.activation.alpha, dtype)
        for field in ("eps", "l1", "l2"):
            arguments.representable(f"{field} of {step.layer!r}", getattr(step.layer, field, 0.0), dtype)


def _dtype(value):
    try:
        found = None if value is None else np.dtype(value)
    except TypeError:
        found = None
    if found is not None and found in DTYPES.values():
        return DTYPES[found.name]
    kind = ValueError if isinstance(value, (str, np.dtype, type)) else TypeError
    raise kind(f"dtype must be 'float32' or 'float64', got {value!r}")
