"""The number of threads of an epoch, chosen by measurement while it runs.

Results do not depend on the number of threads, so it may change between two slices of an epoch. On a machine that is
busy with other work more threads than free cores are slower than fewer: parts of a minibatch wait for the part whose
core is taken.
"""

from __future__ import annotations

TRIAL = 0.03  # seconds that another number of threads is tried for
PERIOD = 1.0  # seconds between two trials
GAIN = 1.05  # a number of threads is left for another one that is faster by this factor


class ThreadTuner:
    """Chooses among the numbers of threads most, most / 2, most / 4, ..., 1.

    Parameters
    ----------
    most : int >= 1
        The upper bound.

    Attributes
    ----------
    most : int
        As given.
    threads : int
        The number to use in the next slice.

    Notes
    -----
    The number in use is tried against its lower and its upper neighbour in turn: first once it has been in use for
    `TRIAL` seconds, then every `PERIOD` seconds. A neighbour that wins is kept, and the next trial follows at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._numbers = [most]
        while self._numbers[-1] > 1:
            self._numbers.append(self._numbers[-1] // 2)
        self._place = 0  # in `_numbers`, of the number in use
        self._tried: int | None = None  # the place of the number on trial
        self._direction = 1
        self._wait = TRIAL  # seconds of use before the next trial
        self._rows = self._seconds = 0.0
        self._rate = 0.0  # rows a second of the number in use

    @property
    def threads(self) -> int:
        return self._numbers[self._place if self._tried is None else self._tried]

    @property
    def seconds(self) -> float:
        """The longest useful slice: what is left of a trial, or of the time before one."""
        return max((self._wait if self._tried is None else TRIAL) - self._seconds, 1e-3)

    def measured(self, rows: int, seconds: float) -> None:
        """Take note of a slice that used `threads`.

        Parameters
        ----------
        rows : int
            Rows of the data that it processed.
        seconds : float
        """
        self._rows += rows
        self._seconds += seconds
        if self._seconds < (self._wait if self._tried is None else TRIAL):
            return
        rate = self._rows / self._seconds
        self._rows = self._seconds = 0.0
        if self._tried is None:
            self._rate = rate
            self._tried = self._neighbour()
        elif rate > GAIN * self._rate:
            self._place, self._rate, self._tried = self._tried, rate, None
            self._wait = TRIAL
        else:
            self._direction = -self._direction
            self._tried, self._wait = None, PERIOD

    def _neighbour(self) -> int | None:
        """The place of the next number to try; None where there is no other."""
        for direction in (self._direction, -self._direction):
            place = self._place + direction
            if 0 <= place < len(self._numbers):
                self._direction = direction
                return place
        return None
