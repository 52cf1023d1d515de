"""The settings of a trainer and the counts of its training: the parts of its state that are not vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import losses, optimizers, schedules
from .._support import declarative
from ..network import checked_threads
from .loss_function import is_function

if TYPE_CHECKING:
    from .loss_function import LossFunction

# The optional settings, with the values that have no effect.
UNUSED = {"schedule": schedules.Constant(), "clip_norm": None, "clip_value": None, "average": None}


# Upper bounds on counts to go on from: half of the updates that the core counts, and of the epochs with random streams.
MOST_OF = {"steps": 2**62, "epochs": 2**39}


class Settings(NamedTuple):
    """The arguments of `Trainer` after the checks that need no net; names have become objects."""

    loss: losses.Loss | LossFunction
    optimizer: optimizers.Optimizer
    seed: int
    n_threads: int | None
    schedule: schedules.Schedule
    clip_norm: float | None
    clip_value: float | None
    average: float | None

    @property
    def used(self) -> dict[str, Any]:
        """The optional settings that have an effect."""
        return {name: value for name, unused in UNUSED.items() if (value := getattr(self, name)) != unused}


class Counts(NamedTuple):
    """How far training has come: updates and epochs done, and the state of the schedule."""

    steps: int
    epochs: int
    schedule_state: dict[str, Any]


def checked_settings(
    loss: Any,
    optimizer: Any,
    seed: Any,
    n_threads: Any,
    schedule: Any,
    clip_norm: Any,
    clip_value: Any,
    average: Any,
) -> Settings:
    """The settings of a trainer from the arguments of `Trainer`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was expected and what came.
    """
    n_threads = checked_threads(n_threads)
    if clip_norm is not None and clip_value is not None:
        raise ValueError("clip_norm and clip_value must not both be given")
    return Settings(
        loss=loss if is_function(loss) else losses.loss(loss),
        optimizer=optimizers.optimizer(optimizer),
        seed=declarative.seed("seed", seed),
        n_threads=n_threads,
        schedule=schedules.schedule(schedule),
        clip_norm=_number_or_none("clip_norm", clip_norm, above=0),
        clip_value=_number_or_none("clip_value", clip_value, above=0),
        average=_number_or_none("average", average, least=0, below=1),
    )


def checked_count(name: str, value: Any) -> int:
    """A number of "steps" or "epochs", as an int.

    Raises
    ------
    TypeError, ValueError
        For another object, or a number below 0 or above its bound in `MOST_OF`.
    """
    return declarative.integer(name, value, 0, MOST_OF[name])


def from_record(record: dict[str, Any], n_threads: int | None) -> tuple[Settings, Counts]:
    """The settings and counts of a trainer from the record in a file.

    Raises
    ------
    TypeError, ValueError, KeyError
        When the record makes no sense.
    """
    optimizer = optimizers.Optimizer.from_dict(record["optimizer"])
    if optimizer.moments != record["moments"]:
        raise ValueError(f"moments is {record['moments']}; {optimizer!r} keeps {optimizer.moments}")
    schedule: schedules.Schedule = schedules.Constant()
    if record.get("schedule") is not None:
        schedule = schedules.Schedule.from_dict(record["schedule"])
    settings = Settings(
        loss=losses.Loss.from_dict(record["loss"]),
        optimizer=optimizer,
        seed=declarative.seed("seed", record["seed"]),
        n_threads=n_threads,
        schedule=schedule,
        clip_norm=_number_or_none("clip_norm", record.get("clip_norm"), above=0),
        clip_value=_number_or_none("clip_value", record.get("clip_value"), above=0),
        average=_number_or_none("average", record.get("average"), least=0, below=1),
    )
    steps, epochs = (checked_count(name, record[name]) for name in ("steps", "epochs"))
    state = schedule.checked_state(record.get("schedule_state", schedule.initial_state))
    return settings, Counts(steps, epochs, state)


def to_record(settings: Settings, counts: Counts) -> dict[str, Any]:
    """The record of a trainer in a file: settings and counts as JSON holds them.

    Raises
    ------
    TypeError
        When the loss or the schedule is a function.
    """
    if not isinstance(settings.loss, losses.Loss):
        raise TypeError("loss is a function, which a file cannot hold: save the network alone with net.save")
    return {
        "loss": settings.loss.to_dict(),
        "optimizer": settings.optimizer.to_dict(),
        "seed": settings.seed,
        "steps": counts.steps,
        "epochs": counts.epochs,
        "moments": settings.optimizer.moments,
        "schedule": settings.schedule.to_dict(),
        "schedule_state": counts.schedule_state,
        **{name: getattr(settings, name) for name in ("clip_norm", "clip_value", "average")},
    }


def _number_or_none(name: str, value: Any, **bounds: float) -> float | None:
    return None if value is None else declarative.number(name, value, **bounds)
