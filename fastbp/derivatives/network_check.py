"""The check of a whole network: every gradient of a loss against central differences, and the layer at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import ops, reference
from .._support import random_streams
from .._support.declarative import Declared, described, flag, integer, number
from .._support.declarative import seed as check_seed
from .._support.network_steps import parameter_count, parameter_slices, statistics_slices, steps_of
from ..errors import GradientError
from ..layers import Identity, Layer, Residual
from ..network import Network
from ..reference.network import rows_of_inputs
from ..trainer import Trainer
from . import numerical

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..losses import Loss
    from ..training.loss_function import LossFunction

    AnyNetwork = Network | reference.Network
    Floats = NDArray[np.float64]


class NetworkReport(NamedTuple):
    """The result of `check_network`. str() makes a table of it.

    Attributes
    ----------
    ok : bool
        Whether all errors are within the tolerance.
    worst : str
        The part of the network with the largest error.
    errors : dict of str to float
        The largest relative error of each part: "loss: ...", "inputs", and each parameter array that learns, as
        "layers[2] (Dense(units=10)): W".
    checked : dict of str to (int, int)
        The number of elements of each part that were compared, and the number of all its elements.
    """

    ok: bool
    worst: str
    errors: dict[str, float]
    checked: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        width = max(map(len, self.errors))
        lines = [f"{'part':<{width}}  relative error  elements"]
        for name, error in self.errors.items():
            some, all_ = self.checked[name]
            lines.append(f"{name:<{width}}  {error:<14.2e}  {f'{some} of {all_}' if some < all_ else all_}")
        return "\n".join([*lines, "ok" if self.ok else f"wrong; the largest error is in {self.worst}"])


def check_network(
    net: AnyNetwork,
    loss: str | Loss | LossFunction,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    training: bool = True,
    elements: int = 200,
    seed: int = 0,
    eps: float | None = None,
    tolerance: float = 1e-6,
) -> NetworkReport:
    """Check the gradients of a loss with respect to parameters, inputs and output of a network by central differences.

    Parameters
    ----------
    net : Network
        Of ``fastbp`` or ``fastbp.reference``. It is not changed: a copy in float64 is checked.
    loss : str, Loss or callable
        As for `Trainer`, including a function (output, target) -> (loss, doutput).
    X : ndarray (rows, inputs)
        A minibatch; a few rows are enough.
    y : ndarray
        Targets: see `Trainer`.
    sample_weight : ndarray of float32 or float64 (rows,), optional
        As for `Trainer.fit`.
    training : bool, default True
        Whether dropout is active, with the same elements in every evaluation, and batch norms take the statistics of X.
        Otherwise as in prediction.
    elements : int, default 200
        Upper bound on the number of elements of each part (a W, a b, X, ...) that are compared, chosen at random.
    seed : int, default 0
        Of the elements that dropout drops and of those that are compared.
    eps : float, optional
        The step of the differences: see `numerical_gradient`.
    tolerance : float, default 1e-6
        Upper bound on the relative errors: see `check_gradient`.

    Returns
    -------
    NetworkReport
        ok, worst, errors (a dict: part of the network -> largest relative error) and checked. print() makes a table.

    Raises
    ------
    GradientError
        If a gradient is wrong. It names the layer whose backward pass (or forward pass) is at fault, or the loss. The
        report is its attribute `report`.
    TypeError, ValueError
        If an argument is of the wrong kind, shape or value, or a loss is not finite.

    Notes ----- A layer with a wrong backward pass makes the gradients of all layers before it wrong. To find that
    layer, the ends of the network are checked: the last layer with the loss, the last two layers, and so on. The first
    end with an error begins with the layer at fault.

    An element with an error is compared again with smaller steps and with one-sided differences, so that a ReLU that
    switches within a step does not count. If the two sides differ for every step, as for an input of 0 in a network
    without biases, there is no derivative, and the element is left out. So are frozen parameters, whose gradient is 0.

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
    whole: Any = _part_of(net, net.layers, 0)
    X = rows_of_inputs("X", X, whole)
    parts = search.parts(whole, X, "inputs")  # the first use of loss and y, which checks them
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
            f"[{', '.join(map(str, fault.place))}], got {fault.got:.10g}, a relative error of {fault.error:.3g} where "
            f"{tolerance:g} is accepted\n{report}",
            fault.place,
            fault.expected,
            fault.got,
            fault.error,
        )
        error.report = report
        raise error
    return report


class _Part(NamedTuple):
    """A part of the network: its elements and their gradient as vectors, the loss f as a function of the elements, and
    the number of the random stream that chooses the elements to compare."""

    name: str
    shape: tuple[int, ...]
    x: Floats
    gradient: Floats
    f: Callable[[Any], float]
    stream: int


class _Comparison(NamedTuple):
    """The element of a part with the largest error."""

    name: str
    error: float
    place: tuple[int, ...]
    expected: float
    got: float
    checked: int
    size: int


class _Search(NamedTuple):
    """The arguments of `check_network`, and the steps of the check."""

    loss: Any
    y: Any
    sample_weight: Any
    training: bool
    elements: int
    seed: int
    eps: float
    tolerance: float

    def parts(
        self, net: AnyNetwork, X: Any, inputs_name: str, first: int = 0, training: bool | None = None
    ) -> list[_Part]:
        """The parts of a network in float64: its parameters, layer by layer, then X. Its layers are numbered from
        `first`. Evaluating a part's f changes the network temporarily."""
        make: Any = Trainer if isinstance(net, Network) else reference.Trainer
        trainer = make(net, self.loss, "sgd", seed=self.seed)
        options = {"sample_weight": self.sample_weight, "training": self.training if training is None else training}
        _, gradient, dx = trainer.value_and_grad(X, self.y, inputs=True, **options)
        found: list[_Part] = []
        for name, place, shape in _parameters_of(net.layers, net.inputs, first):

            def at_parameters(values: Any, place: slice = place) -> float:
                before = net.parameters[place].copy()
                net.parameters[place] = values
                try:
                    return float(trainer.value_and_grad(X, self.y, **options)[0])
                finally:
                    net.parameters[place] = before

            stream = len(found) + 1
            found.append(_Part(name, shape, net.parameters[place].copy(), gradient[place], at_parameters, stream))

        def at_inputs(values: Any) -> float:
            return float(trainer.value_and_grad(values.reshape(X.shape), self.y, **options)[0])

        return [*found, _Part(inputs_name, X.shape, X.ravel(), dx.ravel(), at_inputs, 0)]

    def compared(self, part: _Part) -> _Comparison:
        """The largest error of a part."""
        size = part.x.size
        chosen = np.arange(size)
        if size > self.elements:
            chosen = np.sort(
                ops.random_permutation(self.seed, random_streams.check(part.stream), size)[: self.elements]
            )
        both = [numerical.difference(part.f, part.x, (int(i),), self.eps, ()) for i in chosen]
        expected, f_sizes = np.array(both).T
        got = part.gradient[chosen]
        scale = numerical.scale(expected, part.x[chosen], f_sizes)
        errors = numerical.relative_errors(got, expected, scale)
        at_kinks = 0
        while errors.max() > self.tolerance:
            worst = int(errors.argmax())
            closer, at_kink = self._closer(part, (int(chosen[worst]),), scale[worst])
            again = numerical.relative_errors(got[worst], closer, scale[worst])
            if again.min() <= self.tolerance:
                expected[worst], errors[worst] = closer[again.argmin()], again.min()
            elif at_kink and np.isfinite(got[worst]):
                errors[worst] = 0
                at_kinks += 1
            else:
                break
        worst = int(errors.argmax())
        place = tuple(int(i) for i in np.unravel_index(chosen[worst], part.shape))
        element = float(errors[worst]), place, float(expected[worst]), float(got[worst])
        return _Comparison(part.name, *element, len(chosen) - at_kinks, size)

    def _closer(self, part: _Part, index: tuple[int, ...], scale: Any) -> tuple[Any, bool]:
        """The derivative with respect to an element by shorter and by one-sided differences; and whether the two sides
        differ for every step, so that there is no derivative."""
        centred = [numerical.difference(part.f, part.x, index, self.eps / by, ())[0] for by in (4, 16)]
        left, right = np.array(
            [numerical.one_sided_differences(part.f, part.x, index, self.eps / by) for by in (1, 4)]
        ).T
        apart = numerical.relative_errors(left, right, scale).min() > 10 * self.tolerance
        sides = [numerical.relative_errors(side[0], side[1], scale).max() for side in (left, right)]
        return np.array([*centred, *left, *right]), bool(apart and max(sides) < 10 * self.tolerance)

    def fault(self, net: AnyNetwork, X: Any) -> _Comparison | None:
        """The element at fault: the worst of the shortest end of the network that has an error; None if no end has."""
        for first in reversed(range(len(net.layers))):
            end = _part_of(net, net.layers[first:], first)
            before = _part_of(net, net.layers[:first], 0).predict(X) if first else X
            where = f"layers[{first}]"
            parts = self.parts(end, before, f"{where} ({_name_of(net.layers[first])}): its inputs", first)
            for part in parts:
                if part.name.startswith(where):
                    comparison = self.compared(part)
                    if comparison.error > self.tolerance:
                        return comparison
        return None


def _part_of(net: AnyNetwork, layers: Sequence[Layer], first: int) -> AnyNetwork:
    """Layers of a network, from number `first`, as a network in float64 with copies of parameters and statistics."""
    before = steps_of(net.inputs, net.layers[:first]) if first else ()
    part = type(net)(before[-1].outputs if before else net.inputs, list(layers), dtype="float64", seed=net.seed)
    start = parameter_count(before)
    part.parameters[...] = net.parameters[start : start + len(part.parameters)]
    running = statistics_slices(before)
    start = running[-1][1].stop if running else 0
    part.statistics[...] = net.statistics[start : start + len(part.statistics)]
    return part


def _parameters_of(layers: Sequence[Layer], inputs: int, first: int = 0) -> list[tuple[str, slice, tuple[int, ...]]]:
    """(name, slice of the flat vector, shape) of each W, b, gamma, beta and P that learns."""
    names: dict[int, str] = {}
    blocks: list[str] = []

    def name_all(layers: Sequence[Layer], where: str, first: int) -> None:
        for number_, layer in enumerate(layers, first):
            names[id(layer)] = f"{where}[{number_}] ({_name_of(layer)})"
            if isinstance(layer, Residual):
                blocks.append(names[id(layer)])
                name_all(layer.layers, f"{where}[{number_}].layers", 0)

    name_all(layers, "layers", first)
    steps = steps_of(inputs, layers)
    places, begun = iter(parameter_slices(steps)), iter(blocks)
    open_: list[str] = []  # residual blocks around the step
    found = []
    for step in steps:
        if step.kind == "residual_begin":
            open_.append(next(begun))
        elif step.kind == "residual_end":
            open_.pop()
        if step.shapes[0] is None:
            continue
        W, shape, b = next(places)
        name = open_[-1] if step.kind == "projection" else names[id(step.layer)]
        of_W, of_b = {"dense": ("W", "b"), "projection": ("P", "")}.get(step.kind, ("gamma", "beta"))
        if not step.frozen:
            found.append((f"{name}: {of_W}", W, shape))
            if b is not None:
                found.append((f"{name}: {of_b}", b, (b.stop - b.start,)))
    return found


def _name_of(thing: object) -> str:
    """A layer or a loss in an error message."""
    if isinstance(thing, Residual):  # its repr has all its layers
        return "Residual"
    return repr(thing) if isinstance(thing, Declared) else getattr(thing, "__name__", str(thing))
