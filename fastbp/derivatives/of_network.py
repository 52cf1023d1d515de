"""Second derivatives of a training loss, and the check of a whole network."""

from collections import namedtuple

import numpy as np

from .. import ops, reference
from .._support import random_streams
from .._support.declarative import Declared, described, flag, integer, number
from .._support.declarative import seed as check_seed
from .._support.network_steps import parameter_count, parameter_slices, statistics_slices, steps_of
from ..errors import GradientError
from ..layers import Identity, Residual
from ..network import Network
from ..reference.network import Training, real_array, refuse_nonfinite, rows_of_inputs, views
from ..reference.objective import Objective
from ..trainer import Trainer
from . import numerical
from .forward_mode import Dual

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
        If an argument is of the wrong kind; or the loss is a function with an operation that
        `fastbp.derivatives.forward_mode` does not have.
    ValueError
        If an argument is of the wrong shape or value.

    Notes
    -----
    Computed in float64 whatever the net's dtype is, and exact but for rounding: no differences are taken. The twin's
    backward pass runs once, at parameters that carry the tangent v, and the tangent of its gradient is H v. That costs
    three such passes, in NumPy. Source: Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 6,
    1994.

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
    net = _DualNetwork(trainer.net)
    objective = _DualObjective(net, trainer.loss)
    data = objective.checked("x", x, "y", y, "sample_weight", sample_weight)
    if training:
        objective.refuse_single_rows("x", len(data.x), len(data.x))
    net.put(Dual(parameters, np.where(objective.learns(), v, 0)))
    with np.errstate(all="ignore"):
        _, gradient, _, _ = objective.gradient(data, Training(trainer.seed, trainer.steps, 0) if training else None)
        objective.add_penalties(gradient)
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


class _DualObjective(Objective):
    """The loss of such a net."""

    def loss_at(self, z, data, weight):
        if not self.custom or not isinstance(z, Dual):
            return super().loss_at(z, data, weight)
        result = self.loss(z.copy(), data.y)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss must return a pair (loss, doutput), got {described(result)}")
        dz = result[1] if isinstance(result[1], Dual) else np.asarray(result[1], np.float64)
        if dz.shape != z.shape:
            raise ValueError(f"loss must return a gradient of shape {z.shape}, got {dz.shape}")
        return float(result[0]), dz


# ----------------------------------------------------------------------------------------- the check of a whole network


class NetworkReport(namedtuple("NetworkReport", ("ok", "worst", "errors", "checked"))):
    """What `check_network` found. str() makes a table of it.

    Attributes
    ----------
    ok : bool
        Whether no error is above the tolerance.
    worst : str
        The part of the net with the largest error.
    errors : dict of str to float
        The largest relative error of each part: "loss: ...", "inputs", and for each layer that learns those of its
        parameters, as "layers[2] (Dense(units=10)): W".
    checked : dict of str to (int, int)
        How many elements of each part were compared, and how many there are.
    """

    __slots__ = ()

    def __str__(self):
        width = max(map(len, self.errors))
        lines = [f"{'part':<{width}}  relative error  elements"]
        for name, error in self.errors.items():
            some, all_ = self.checked[name]
            lines.append(f"{name:<{width}}  {error:<14.2e}  {f'{some} of {all_}' if some < all_ else all_}")
        return "\n".join([*lines, "ok" if self.ok else f"wrong; the largest error is in {self.worst}"])


def check_network(net, loss, X, y, sample_weight=None, training=True, elements=200, seed=0, eps=None, tolerance=1e-6):
    """Check the gradient of a loss with respect to all of a network against central differences.

    Parameters
    ----------
    net : Network
        Of ``fastbp`` or of ``fastbp.reference``. Nothing in it changes: a copy in float64 is checked.
    loss : str, Loss or callable
        As for `Trainer`: a function (output, target) -> (loss, doutput), too.
    X : ndarray (rows, inputs)
        A minibatch: a few rows are enough.
    y : ndarray
        Targets: see `Trainer`.
    sample_weight : ndarray of float32 or float64 (rows,), optional
        As for `Trainer.fit`.
    training : bool, default True
        Dropout drops, the same elements each time, and batch norms take the statistics of X. Else as in prediction.
    elements : int, default 200
        At most so many elements of each part (a W, a b, X, ...) are compared, at random; all where there are fewer.
    seed : int, default 0
        Of what Dropout drops, and of which elements are compared.
    eps : float, optional
        The step of the differences: see `numerical_gradient`.
    tolerance : float, default 1e-6
        The largest relative error to accept: see `check_gradient`.

    Returns
    -------
    NetworkReport
        ok, worst, errors (a dict: the part of the net -> the largest relative error) and checked. Print it.

    Raises
    ------
    GradientError
        If a gradient is wrong. It names the layer whose backward pass (or forward pass) is at fault, or the loss, and
        has the report as its attribute `report`.
    TypeError, ValueError
        If an argument is of the wrong kind, shape or value, or a loss is not finite.

    Notes
    -----
    A layer that passes a wrong gradient on makes all that come before it wrong. To find it, the net's tails are checked
    where something is wrong: the last layer with the loss, the last two, and so on. The first tail that is wrong begins
    with the layer at fault.

    An element that differs is compared with smaller steps and with differences from one side, too: a ReLU that switches
    within a step is no fault. Where the two sides differ however small the step is, as for an input of 0 in a net
    without biases, there is no derivative, and the element is left out. So is what is frozen: its gradient is 0.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network(3, [fb.Dense(4, "tanh"), fb.Dense(2)])
    >>> report = fb.check_network(net, "mean_squared_error", np.ones((5, 3)), np.zeros((5, 2)))
    >>> report.ok, list(report.errors)[1]
    (True, "layers[0] (Dense(units=4, activation=Tanh())): W")
    """
    if not isinstance(net, (Network, reference.Network)):
        raise TypeError(f"net must be a Network, got {described(net)}")
    search = _Search(
        loss,
        y,
        sample_weight,
        flag("training", training),
        integer("elements", elements, least=1),
        check_seed("seed", seed),
        numerical.step(eps),
        number("tolerance", tolerance, least=0),
    )
    whole = _part_of(net, net.layers, 0)
    X = rows_of_inputs("X", X, whole)
    parts = search.parts(whole, X, "inputs")  # the first thing that looks at loss and y
    end = _part_of(net, [Identity()], len(net.layers))
    of_loss = search.parts(end, whole.predict(X), f"loss: {_name_of(loss)}", training=False)
    found = [search.compared(part) for part in [*of_loss, *parts]]
    worst = max(found, key=lambda comparison: comparison.error)
    report = NetworkReport(
        worst.error <= tolerance,
        worst.name,
        {comparison.name: comparison.error for comparison in found},
        {comparison.name: (comparison.checked, comparison.size) for comparison in found},
    )
    if not report.ok:
        fault = found[0] if found[0].error > tolerance else search.fault(net, X) or worst
        error = GradientError(
            f"the gradient of {fault.name} is wrong: expected {fault.expected:.10g} by central differences at "
            f"[{', '.join(map(str, fault.index))}], got {fault.got:.10g}, a relative error of {fault.error:.3g} where "
            f"{tolerance:g} is accepted\n{report}",
            fault.index,
            fault.expected,
            fault.got,
            fault.error,
        )
        error.report = report
        raise error
    return report


# A part of what is checked: its name and shape, its elements as a vector of float64, their gradient, the loss as a
# function of them, and the stream that decides which are compared.
_Part = namedtuple("_Part", ("name", "shape", "x", "gradient", "f", "stream"))

# The element of a part that differs most.
_Comparison = namedtuple("_Comparison", ("name", "error", "index", "expected", "got", "checked", "size"))


class _Search(
    namedtuple("_Search", ("loss", "y", "sample_weight", "training", "elements", "seed", "eps", "tolerance"))
):
    """How to compare: the arguments of `check_network`."""

    __slots__ = ()

    def parts(self, net, X, inputs_name, first=0, training=None):
        """The parts of a net (in float64, changed while differences are taken): parameters, layer by layer, then X.
        Its layers are numbered from `first` on."""
        trainer = (Trainer if isinstance(net, Network) else reference.Trainer)(net, self.loss, "sgd", seed=self.seed)
        options = {"sample_weight": self.sample_weight, "training": self.training if training is None else training}
        _, gradient, dx = trainer.value_and_grad(X, self.y, inputs=True, **options)
        found = []
        for name, place, shape in _parameters_of(net.layers, net.inputs, first):

            def at_parameters(values, place=place):
                before = net.parameters[place].copy()
                net.parameters[place] = values
                try:
                    return trainer.value_and_grad(X, self.y, **options)[0]
                finally:
                    net.parameters[place] = before

            stream = len(found) + 1
            found.append(_Part(name, shape, net.parameters[place].copy(), gradient[place], at_parameters, stream))

        def at_inputs(values):
            return trainer.value_and_grad(values.reshape(X.shape), self.y, **options)[0]

        return [*found, _Part(inputs_name, X.shape, X.ravel(), dx.ravel(), at_inputs, 0)]

    def compared(self, part):
        """The largest error of a part."""
        size = part.x.size
        chosen = np.arange(size)
        if size > self.elements:
            chosen = np.sort(
                ops.random_permutation(self.seed, random_streams.check(part.stream), size)[: self.elements]
            )
        both = [numerical.difference(part.f, part.x, (i,), self.eps, ()) for i in chosen]
        expected, f_sizes = np.array(both).T
        got = part.gradient[chosen]
        scale = numerical.scale(expected, part.x[chosen], f_sizes)
        errors = numerical.relative_errors(got, expected, scale)
        at_kinks = 0
        while errors.max() > self.tolerance:
            worst = int(errors.argmax())
            closer, at_kink = self._closer(part, (chosen[worst],), scale[worst])
            again = numerical.relative_errors(got[worst], closer, scale[worst])
            if again.min() <= self.tolerance:
                expected[worst], errors[worst] = closer[again.argmin()], again.min()
            elif at_kink and np.isfinite(got[worst]):
                errors[worst] = 0
                at_kinks += 1
            else:
                break
        worst = int(errors.argmax())
        index = tuple(int(i) for i in np.unravel_index(chosen[worst], part.shape))
        element = float(errors[worst]), index, float(expected[worst]), float(got[worst])
        return _Comparison(part.name, *element, len(chosen) - at_kinks, size)

    def _closer(self, part, index, scale):
        """The derivative with respect to an element by differences that look less far, or to one side; and whether
        those of the two sides differ however short the step is: there is none then."""
        centred = [numerical.difference(part.f, part.x, index, self.eps / by, ())[0] for by in (4, 16)]
        left, right = np.array(
            [numerical.one_sided_differences(part.f, part.x, index, self.eps / by) for by in (1, 4)]
        ).T
        apart = numerical.relative_errors(left, right, scale).min() > 10 * self.tolerance
        stay = max(numerical.relative_errors(side[0], side[1], scale) for side in (left, right)) < 10 * self.tolerance
        return np.array([*centred, *left, *right]), bool(apart and stay)

    def fault(self, net, X):
        """The element at fault: of the shortest tail of the net that is wrong. None where no tail is."""
        for first in reversed(range(len(net.layers))):
            tail = _part_of(net, net.layers[first:], first)
            head = _part_of(net, net.layers[:first], 0).predict(X) if first else X
            where = f"layers[{first}]"
            parts = self.parts(tail, head, f"{where} ({_name_of(net.layers[first])}): its inputs", first)
            for part in parts:
                if part.name.startswith(where):
                    comparison = self.compared(part)
                    if comparison.error > self.tolerance:
                        return comparison
        return None


def _part_of(net, layers, first):
    """Some of a net's layers, from number `first` on, as a net in float64 with copies of parameters and statistics."""
    before = steps_of(net.inputs, net.layers[:first]) if first else ()
    part = type(net)(before[-1].outputs if before else net.inputs, list(layers), dtype="float64", seed=net.seed)
    start, end = parameter_count(before), parameter_count(before) + len(part.parameters)
    part.parameters[...] = net.parameters[start:end]
    start = statistics_slices(before)[-1][1].stop if statistics_slices(before) else 0
    part.statistics[...] = net.statistics[start : start + len(part.statistics)]
    return part


def _parameters_of(layers, inputs, first=0):
    """(name, place, shape) of each W, b, gamma, beta and P that learns; place is where it lies in the flat vector."""
    names, blocks = {}, []

    def name_all(layers, where, first):
        for number_, layer in enumerate(layers, first):
            names[id(layer)] = f"{where}[{number_}] ({_name_of(layer)})"
            if isinstance(layer, Residual):
                blocks.append(names[id(layer)])
                name_all(layer.layers, f"{where}[{number_}].layers", 0)

    name_all(layers, "layers", first)
    steps = steps_of(inputs, layers)
    places, begun, open_, found = iter(parameter_slices(steps)), iter(blocks), [], []
    for step in steps:
        if step.kind == "residual_begin":
            open_.append(next(begun))
        elif step.kind == "residual_end":
            open_.pop()
        if step.shapes[0] is None:
            continue
        W, shape, b = next(places)
        name = open_[-1] if step.kind == "projection" else names[id(step.layer)]
        of_W, of_b = {"dense": ("W", "b"), "projection": ("P", None)}.get(step.kind, ("gamma", "beta"))
        if not step.frozen:
            found.append((f"{name}: {of_W}", W, shape))
            if b is not None:
                found.append((f"{name}: {of_b}", b, (b.stop - b.start,)))
    return found


def _name_of(thing):
    """A layer or a loss, as an error names it."""
    if isinstance(thing, Residual):  # all its layers would be too long
        return "Residual"
    return repr(thing) if isinstance(thing, Declared) else getattr(thing, "__name__", str(thing))
