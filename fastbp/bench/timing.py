"""Times: samples in interleaved rounds, and their ratios."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from .cores import ALL_CORES, numpy_threads

if TYPE_CHECKING:
    from .contestants import Contestant

# Seconds until OpenBLAS's threads are asleep: after a product they keep their cores busy for up to 2^26 ticks.
SETTLE = 0.05


def seconds_a_call(f: Callable[[], object], seconds: float = 0.05, rounds: int = 5) -> tuple[float, float]:
    """Best and median time of one call, from `rounds` rounds that take about `seconds` together."""
    f()
    calls = 1
    while True:
        started = perf_counter()
        for _ in range(calls):
            f()
        taken = perf_counter() - started
        if taken > seconds / rounds or calls > 1 << 24:
            break
        calls = max(2 * calls, int(calls * seconds / rounds / max(taken, 1e-9)))
    times = [taken / calls]
    for _ in range(rounds - 1):
        started = perf_counter()
        for _ in range(calls):
            f()
        times.append((perf_counter() - started) / calls)
    return min(times), statistics.median(times)


def sample(one: Contestant, seconds: float) -> float:
    """The mean time of a contestant's epochs, in seconds.

    Every sample starts from the initial weights, so that all rounds do the same work. Its first epoch, which touches
    new memory and finds the caches filled by another contestant, does not count. As many epochs follow as take
    `seconds`, at least one.
    """
    gc.collect()
    gc.disable()
    try:
        one.restart()
        (first,) = one.epochs(1)
        times = one.epochs(max(1, math.ceil(seconds / first)))
        return sum(times) / len(times)
    finally:
        gc.enable()


def race(
    contestants: Sequence[Contestant],
    rounds: int,
    seconds: float,
    one_core: bool,
    threads_of_numpy: int | None = None,
) -> dict[str, list[float]]:
    """Time all contestants in turn, round after round.

    Parameters
    ----------
    contestants : sequence of Contestant
    rounds : int
    seconds : float
        The least time of a sample.
    one_core : bool
        Whether this thread is bound to one core, which the caller did.
    threads_of_numpy : int or None
        The number of NumPy's threads, unless on one core. None: one for each core.

    Returns
    -------
    dict of str to list of float
        The seconds of an epoch in each round, by the contestant's name.
    """
    if not one_core:
        numpy_threads(threads_of_numpy or len(ALL_CORES))
    times: dict[str, list[float]] = {one.name: [] for one in contestants}
    for _ in range(rounds):
        for one in contestants:
            if not one_core:
                sleep(SETTLE)
            times[one.name].append(sample(one, seconds))
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float]:
    """How many times as long `slow` takes: the ratio of the best times, and the median of the rounds' ratios."""
    return min(slow) / min(fast), statistics.median(a / b for a, b in zip(slow, fast))


def noise(times: Sequence[float]) -> float:
    """The median time divided by the best, less 1."""
    return statistics.median(times) / min(times) - 1
