"""Files of a trainer, and the checkpoints of a fit, which hold its history and the state of its callbacks, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import network
from .._support import storage
from .._support.declarative import described, integer
from ..network import Network
from ..optimizers import Optimizer
from . import settings as settings_
from .engine import Engine
from .history import LISTS
from .settings import Counts, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = dict[str, NDArray[Any]]
    State = tuple[dict[str, Any], Vectors]  # the record and the vectors of a callback


class Loaded(NamedTuple):
    """The contents of a trainer's file; `vectors` holds those of `Engine.snapshot`, and others."""

    net: Network
    settings: Settings
    counts: Counts
    vectors: Vectors


def write(path: Any, engine: Engine, fit: dict[str, Any] | None = None, fit_vectors: Vectors | None = None) -> None:
    """Write a trainer to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
    engine : Engine
    fit : dict, optional
        The record of a fit under way, for a checkpoint.
    fit_vectors : dict of str to 1-D array, optional

    Raises
    ------
    TypeError, ValueError, ImportError, OSError
        As for `Network.save`, ValueError also for a state of the optimiser or an average that `check_state` refuses;
        TypeError where the loss or the schedule is a function.
    """
    counts, vectors = engine.snapshot()
    record = settings_.to_record(engine.settings, counts)
    description = {"network": engine.net.description(), "trainer": record}
    if fit is not None:
        description["fit"] = fit
    storage.write(path, description, {**vectors, **(fit_vectors or {})}, expected_vectors)


def expected_vectors(description: dict[str, Any]) -> dict[str, storage.Expected]:
    """The vectors in a trainer's file of this description, as `storage.read` takes them."""
    expected = network.expected_vectors(description)
    if "trainer" not in description:
        return expected
    optimizer = Optimizer.from_dict(description["trainer"]["optimizer"])
    return expected | _expected_moments(optimizer, expected["parameters"])


def _expected_moments(optimizer: Optimizer, like_parameters: storage.Expected) -> dict[str, storage.Expected]:
    return {
        f"moment{i + 1}": like_parameters._replace(at_least_0=(slice(None),) if squares else ())
        for i, squares in enumerate(optimizer.squares)
    }


def check_state(net: Network, settings: Settings, vectors: Vectors) -> None:
    """Refuse vectors, under the names of `Engine.snapshot`, that no trainer of this net can have.

    Raises
    ------
    KeyError, ValueError
        For another name; for another dtype or size, nan, inf, or a mean or sum of squares below 0.
    """
    like_parameters = storage.Expected(net.dtype, len(net.parameters))
    expected = _expected_moments(settings.optimizer, like_parameters) | {"average": like_parameters}
    own = net.vectors()
    net.check_vectors({name: vector for name, vector in vectors.items() if name in own})
    for name, vector in vectors.items():
        if name not in own:
            storage.check_vector(name, vector, expected[name])


def read(path: Any, n_threads: int | None) -> Loaded:
    """Read a trainer from a file that `write` wrote.

    Raises
    ------
    ValueError
        Naming the file and what is wrong with it.
    TypeError, ImportError, OSError
        For a path of another type; without the safetensors package; when the file cannot be read.
    """
    found: list[tuple[Settings, Counts]] = []

    def expect(description: dict[str, Any]) -> Any:
        if "network" in description and "trainer" not in description:
            raise storage.OtherContents("it holds a network and no trainer: read it with fastbp.load")
        expected = expected_vectors(description)
        found.append(settings_.from_record(description["trainer"], n_threads))
        return expected

    description, vectors = storage.read(path, expect)
    return Loaded(Network.from_description(description["network"], vectors), *found[-1], vectors)


class FitFiles:
    """The checkpoints of one fit.

    Parameters
    ----------
    engine : Engine
    require_checkpoints : function () -> None
        Raises an error where a checkpoint does not go with the way in which epochs are made: see `Way`.
    settings : dict
        The settings of the fit, which must be the same when it is resumed; "epochs" may differ.
    marks : function () -> dict of str to int or None
        Returns checksums of the data, which must be the same as well.
    """

    def __init__(
        self,
        engine: Engine,
        require_checkpoints: Callable[[], None],
        settings: dict[str, Any],
        marks: Callable[[], dict[str, int | None]],
    ) -> None:
        self._engine = engine
        self._require_checkpoints = require_checkpoints
        self._settings = {name: value for name, value in settings.items() if name != "epochs"}
        self._marks_of_data = marks
        self._marks: dict[str, int | None] = {}

    def check_destination(self, path: Any) -> None:
        """Refuse a trainer or a path that no checkpoint could be written for, or to.

        Raises
        ------
        TypeError, ValueError, ImportError, OSError
        """
        self._require_checkpoints()
        self._engine.settings.schedule.to_dict()  # raises where it is a function
        storage.check_destination("path", storage.checked_path(path))
        self._marks = self._marks_of_data()

    def write(
        self,
        path: Any,
        epoch: int,
        history: dict[str, list[Any]],
        states: Sequence[tuple[str, dict[str, Any], Vectors]],
    ) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        path : str or path
        epoch : int
            Epochs of the fit that are done.
        history : dict of lists
        states : sequence of (str, dict, dict)
            The class, the record and the vectors of each callback that has a state.
        """
        vectors = {
            f"callback{i}.{name}": vector
            for i, (_, _, arrays) in enumerate(states)
            for name, vector in arrays.items()
            if len(vector)
        }
        record = {
            "epoch": epoch,
            "settings": self._settings,
            "marks": self._marks,
            "history": {name: [_to_plain(value) for value in values] for name, values in history.items()},
            "callbacks": [{"name": name, "state": state} for name, state, _ in states],
            "vectors": {name: len(vector) for name, vector in vectors.items()},
        }
        write(path, self._engine, record, vectors)

    def read(
        self,
        path: Any,
        entries: list[str],
        callbacks: list[str],
        check_state: Callable[[int, dict[str, Any], Vectors], None],
    ) -> tuple[int, dict[str, list[Any]], list[State]]:
        """Read a checkpoint of this fit; net and engine take over its state.

        Parameters
        ----------
        path : str or path
        entries : list of str
            The names in the history of this fit.
        callbacks : list of str
            The classes of its callbacks that have a state.
        check_state : function (int, dict, dict) -> None
            Raises TypeError, ValueError, LookupError, AttributeError or OverflowError where record and vectors are no
            state of the callback of that number.

        Returns
        -------
        epoch : int
            Epochs of the fit that are done.
        history : dict of lists
        states : list of (dict, dict)
            The record and the vectors of each callback.

        Raises
        ------
        ValueError
            When the file is no checkpoint, or one of another trainer or fit; nothing has changed then.
        """
        engine = self._engine
        found: list[Counts] = []

        def expect(description: dict[str, Any]) -> Any:
            expected = expected_vectors(description)
            if "fit" in description:
                found.append(settings_.from_record(description["trainer"], None)[1])
                _check_fit(description["fit"])
            return expected

        description, vectors = storage.read(path, expect)
        self._refuse_other_trainer(path, description, vectors)
        fit = description["fit"]
        self._refuse_other_fit(path, fit, entries, callbacks)
        states = [_state(i, kept, vectors) for i, kept in enumerate(fit["callbacks"])]
        for i, (record, arrays) in enumerate(states):
            try:
                check_state(i, record, arrays)
            except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
                raise ValueError(f"{path}: what it kept of {callbacks[i]} makes no sense: {error}") from error
        engine.restore(found[-1], vectors)
        history = {name: [_from_plain(name, value) for value in values] for name, values in fit["history"].items()}
        return fit["epoch"], history, states

    def _refuse_other_trainer(self, path: Any, description: dict[str, Any], vectors: Vectors) -> None:
        engine = self._engine
        if "fit" not in description:
            reader = "fastbp.Trainer.load" if "trainer" in description else "fastbp.load"
            raise ValueError(f"{path}: it is no checkpoint of a fit: read it with {reader}")
        if description["network"] != engine.net.description():
            theirs = Network.from_description(description["network"], vectors)
            raise ValueError(f"{path}: its net is another: {_short(theirs)}; this one is {_short(engine.net)}")
        for name, value in settings_.to_record(engine.settings, engine.counts()).items():
            there = description["trainer"].get(name)
            if name not in Counts._fields and there != value:
                raise ValueError(f"{path}: its trainer has another {name}: {there}; this one has {value}")

    def _refuse_other_fit(self, path: Any, fit: dict[str, Any], entries: list[str], callbacks: list[str]) -> None:
        for name, value in self._settings.items():
            there = fit["settings"].get(name)
            if there != value:
                raise ValueError(f"{path}: its fit had {name} {there}, and this one has {value}")
        for name, mark in self._marks.items():
            if fit["marks"].get(name) != mark:
                raise ValueError(f"{path}: its fit had other {name}")
        names = [callback["name"] for callback in fit["callbacks"]]
        if names != callbacks:
            raise ValueError(f"{path}: its fit had callbacks with a state {names}, and this one has {callbacks}")
        if list(fit["history"]) != entries:
            raise ValueError(f"{path}: its history has {list(fit['history'])}, and this one {entries}")


def _check_fit(record: dict[str, Any]) -> None:
    """Refuse a record of a fit that `FitFiles.write` cannot have written.

    Raises
    ------
    TypeError, ValueError, KeyError
    """
    epoch = integer("epoch", record["epoch"], least=0)
    for name, kind in (("settings", dict), ("marks", dict), ("history", dict), ("callbacks", list), ("vectors", dict)):
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {described(record[name])}")
    for callback in record["callbacks"]:
        if not (isinstance(callback["name"], str) and isinstance(callback["state"], dict)):
            raise TypeError("callbacks must have a name and a state")
    for name, values in record["history"].items():
        if not isinstance(values, list) or len(values) != epoch:
            raise ValueError(f"history must have {epoch} figures of {name!r}")
        for value in values:
            _from_plain(name, value)


def _state(number: int, kept: dict[str, Any], vectors: Vectors) -> State:
    prefix = f"callback{number}."
    arrays = {name.removeprefix(prefix): vector for name, vector in vectors.items() if name.startswith(prefix)}
    return kept["state"], arrays


def _short(net: Network) -> str:
    text = repr(net)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _to_plain(value: Any) -> Any:
    """An element of the history as JSON holds it, which has neither nan nor inf."""
    if isinstance(value, list):
        return [_to_plain(element) for element in value]
    return value if math.isfinite(value) else repr(float(value))


def _from_plain(name: str, value: Any) -> Any:
    """An element of an entry of the history, read from a file."""
    if name not in LISTS:
        return float(value)
    if not isinstance(value, list):
        raise TypeError(f"an element of {name!r} must be a list, got {described(value)}")
    return [float(element) for element in value]
