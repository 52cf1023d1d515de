"""The task of one call of `Trainer.fit`: its data and settings after all checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from .._support.declarative import flag, integer
from .batches import Batches
from .checkpoint import FitFiles
from .data import Data, held_out, split, validation_parts
from .engine import Minibatches
from .run import Counters, Run, Watched
from .way import Way

if TYPE_CHECKING:
    from .history import History


class Task(NamedTuple):
    """The data and settings of one call of `Trainer.fit`.

    Attributes
    ----------
    way : Way
    settings : dict
        "epochs", "rows", "batch_size", "accumulate", "shuffle": see `Run`.
    data : Data or None
        The training data; None where they come in batches.
    validation : Data or None
    train : function (Run) -> None
        Makes the epochs of a run. The engine's lock is held.
    """

    way: Way
    settings: dict[str, Any]
    data: Data | None
    validation: Data | None
    train: Callable[[Run], None]

    def run(self, trainer: Any, metrics: Any, callbacks: Any, tolerance: Any, verbose: Any) -> History:
        """Train, and return the history.

        Parameters
        ----------
        trainer : Trainer
            Is passed on to callbacks, as `run.trainer`.
        metrics, callbacks, tolerance, verbose
            As `Trainer.fit` takes them.

        Returns
        -------
        History
        """
        way, data, validation = self.way, self.data, self.validation
        engine = way.engine
        net = engine.net
        measured = data if validation is None else validation
        watched = Watched(
            None if validation is None else lambda: way.evaluate(validation),
            None if measured is None else lambda: (net.predict(measured.x, allow_nonfinite=True), measured.target),
        )
        kept = {**self.settings, "validation": None if validation is None else len(validation.x)}
        files = FitFiles(engine, way.require_checkpoints, kept, dict if data is None else data.marks)
        updates = engine.updates
        counters = Counters(lambda: updates.done, engine.count_epoch)
        around = (metrics, callbacks, tolerance, verbose)
        run = Run(trainer, net, engine.settings.loss, counters, self.settings, watched, *around, files=files)
        with updates:
            engine.refuse_in_epoch()
            try:
                with run:
                    self.train(run)
            finally:
                engine.drop_plans()  # a plan keeps the data of its last epoch alive
        return run.history


def of_batches(
    way: Way, source: Iterable[Any], epochs: int, validation: Any, allow_nonfinite: bool, class_weight: Any
) -> Task:
    """The task of a fit on an iterable of batches; arguments as `Trainer.fit` takes them.

    Raises
    ------
    TypeError, ValueError
    """
    way.require_minibatches("an iterable of batches")
    given = None if validation is None else _validation_data(way, validation, allow_nonfinite)
    settings = {"epochs": epochs, "rows": None, "batch_size": None, "accumulate": 1, "shuffle": False}
    batches = Batches(source)
    return Task(way, settings, None, given, lambda run: way.train_batches(run, batches, allow_nonfinite, class_weight))


def of_arrays(
    way: Way,
    X: Any,
    y: Any,
    epochs: int,
    batch_size: Any,
    validation: Any,
    shuffle: Any,
    allow_nonfinite: bool,
    sample_weight: Any,
    accumulate: Any,
    class_weight: Any,
) -> Task:
    """The task of a fit on arrays; arguments as `Trainer.fit` takes them.

    Raises
    ------
    TypeError, ValueError
    """
    data = way.data("X", "y", X, y, "sample_weight", sample_weight, allow_nonfinite)
    if class_weight is not None:
        data = way.class_weighted(data, class_weight)
    chosen = given = None
    count = held_out(validation, len(data.x))
    if count is not None:
        rest, held = split(_core.random_permutation, way.engine.settings.seed, len(data.x), count)
        given = data.of_rows(held)
        data, chosen = way.chosen(data, rest)
    elif validation is not None:
        given = _validation_data(way, validation, allow_nonfinite)
    rows = len(data.x) if chosen is None else len(chosen)
    size = way.batch_size(batch_size, rows)
    accumulate = min(integer("accumulate", accumulate, 1), -(-rows // size))
    shuffle = flag("shuffle", shuffle)
    settings = {"epochs": epochs, "rows": rows, "batch_size": size, "accumulate": accumulate, "shuffle": shuffle}
    minibatches = Minibatches(size, accumulate)
    return Task(way, settings, data, given, lambda run: way.train(run, data, chosen, minibatches, shuffle))


def _validation_data(way: Way, validation: Any, allow_nonfinite: bool) -> Data:
    X, y, weights = validation_parts(validation)
    return way.data("validation[0]", "validation[1]", X, y, "validation[2]", weights, allow_nonfinite)
