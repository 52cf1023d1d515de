"""The choice of the number of threads, with given speeds instead of a clock."""

import pytest

from fastbp.training.thread_tuner import ThreadTuner


def run(tuner, speeds, seconds, slice_=0.05):
    """Run the tuner for some seconds; speeds: rows a second for each number of threads. Returns the rows processed."""
    rows = time = 0.0
    while time < seconds:
        length = min(slice_, tuner.seconds)
        done = speeds[tuner.threads] * length
        tuner.measured(done, length)
        rows, time = rows + done, time + length
    return rows


@pytest.mark.parametrize("best", [1, 2, 4, 8])
def test_the_fastest_number_is_found(best):
    speeds = {n: 1000 / (1 + abs(n - best)) for n in (8, 4, 2, 1)}
    tuner = ThreadTuner(8)
    run(tuner, speeds, 1)
    rows = run(tuner, speeds, 20)
    assert rows > 0.95 * 20 * speeds[best], "most of the time goes to the fastest number, little to trials"


@pytest.mark.parametrize("slice_", [1e-4, 0.01, 0.05])
def test_a_core_that_is_taken_and_given_back(slice_):
    tuner = ThreadTuner(2)
    quiet, busy = {2: 1900, 1: 1000}, {2: 500, 1: 1000}
    assert run(tuner, quiet, 5, slice_) > 0.9 * 5 * 1900
    run(tuner, busy, 2.5, slice_)
    assert run(tuner, busy, 5, slice_) > 0.9 * 5 * 1000
    run(tuner, quiet, 2.5, slice_)
    assert run(tuner, quiet, 5, slice_) > 0.9 * 5 * 1900


def test_a_gain_within_the_noise_changes_nothing():
    tuner = ThreadTuner(2)
    rows = run(tuner, {2: 1000, 1: 1040}, 10)
    assert rows < 10.05 * 1000 + 0.1 * 10 * 40, "one thread is used in trials only"


def test_one_thread_is_one_thread():
    tuner = ThreadTuner(1)
    run(tuner, {1: 1000}, 3)
    assert tuner.threads == 1
