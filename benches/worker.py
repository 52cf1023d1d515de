"""The process in which one library works: ``python -m benches.worker PIPE CORE PEER``, started by `workers`.

It pins itself to a core before it imports any package that could look at the cores. Then it takes commands from the
pipe, (command, arguments) in, (status, result) out, until the pipe is closed.
"""

import os
import sys

if __name__ == "__main__" and sys.argv[2] != "all" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[2])})

import json
from multiprocessing.connection import Connection

from fastbp.bench import timing, verify

from . import measure, steps
from .peers import CannotDo, Peer


class Work:
    """The commands of a worker: every public method is one."""

    def __init__(self, peer, threads):
        self.classes, self.about = peer.classes()
        self.threads = threads
        self.one = None

    def load(self, cell):
        """Make the library's contestant for the cell, and verify it."""
        self.one, self.cell = None, cell
        if cell.mode == "predict":
            X, _ = cell.net.data(cell.rows, cell.dtype)
            self.one = self.classes["predict"](cell.net, X, self.threads)
            verify.verify_outputs(cell.net, self.one)
            return
        if cell.dtype == "float32":
            # The sharp check: float64, on three minibatches, by a contestant of its own.
            self._trained(cell, min(cell.rows, 3 * cell.net.batch), "float64")
        self.one = self._trained(cell, cell.rows, cell.dtype)

    def _trained(self, cell, rows, dtype):
        """A verified contestant in training."""
        net, data = cell.net, cell.net.data(rows, dtype)
        one = self.classes[cell.mode](net, *data, self.threads)
        verify.verify_epoch(net, data, [one])
        if cell.mode == "step":
            steps.verify_loss(net, data, one)
        return one

    def sample(self, seconds):
        """Seconds of a step, or of a prediction: the mean of as many as take `seconds`."""
        if self.cell.mode == "predict":
            return timing.seconds_a_call(self.one.predict, seconds, 1)[0]
        return timing.sample(self.one, seconds) / self.cell.steps

    def peak(self, dtype):
        """(floating-point operations a second that this core can do at this moment, how they were measured)"""
        measure.peak.cache_clear()
        found = measure.peak(dtype)
        return 1e9 * found.gflops, found.source

    def bandwidth(self):
        """Bytes a second between this core and memory, at this moment."""
        measure.bandwidth.cache_clear()
        return measure.bandwidth()

    def describe(self):
        return self.about()


def serve(pipe, work):
    """Carry out the commands that arrive over the pipe, and answer each, until the pipe is closed."""
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = "done", getattr(work, command)(*arguments)
        except CannotDo as error:
            answer = "cannot", str(error)
        except verify.OtherResults as error:
            answer = "differs", str(error)
        except Exception as error:  # whatever a library may raise: the board goes on without it
            answer = "failed", f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
        pipe.send(answer)


def main():
    handle, _, threads, peer = sys.argv[1:]
    pipe = Connection(int(handle))
    try:
        work = Work(Peer(*json.loads(peer)), json.loads(threads))
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())}"))
        return
    pipe.send(("done", work.describe()))
    serve(pipe, work)


if __name__ == "__main__":
    main()
