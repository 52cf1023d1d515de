"""Processes, one for each library and number of threads, that are told over a pipe what to do."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300  # seconds until a worker that does not answer is given up
# Variables by which the libraries choose their threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Refused(Exception):
    """A worker did not do as told. `status` is "cannot", "differs" or "failed"; the message says why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Worker:
    """A library in a process of its own.

    Parameters
    ----------
    peer : Peer
    core : int or None
        The core it is pinned to, with one thread; None: all cores, and as many threads as the library takes by itself.
    """

    def __init__(self, peer, core):
        self.peer, self.core = peer, core
        ours, theirs = Pipe()
        self.errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "benches.worker", str(theirs.fileno()), "all" if core is None else str(core)]
        self.process = subprocess.Popen(
            [*command, json.dumps(None if core is None else 1), json.dumps(peer)],
            cwd=ROOT,
            env=environment(None if core is None else 1),
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is ours: `end` sees to the worker and to whatever it started
        )
        theirs.close()
        self.pipe = ours

    def send(self, command, *arguments):
        """Tell it what to do; `receive` brings the answer."""
        try:
            self.pipe.send((command, arguments))
        except OSError:
            pass  # it has ended: `receive` says how

    def receive(self, patience=PATIENCE):
        """The answer to the last command (or, of a new worker, what it says of itself). Raises Refused."""
        try:
            if not self.pipe.poll(patience):
                self.end()
                raise Refused("failed", f"no answer for {patience} seconds")
            status, result = self.pipe.recv()
        except (EOFError, OSError):
            raise Refused("failed", self._how_it_ended()) from None
        if status != "done":
            raise Refused(status, result)
        return result

    def ask(self, command, *arguments):
        self.send(command, *arguments)
        return self.receive()

    def _how_it_ended(self):
        self.end()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{how}: {lines[-1]}" if lines else how

    @property
    def alive(self):
        return self.process.poll() is None

    def end(self):
        """End it and all it started."""
        self.pipe.close()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def environment(threads):
    """The variables of a worker: those of this process, but for threads, and JAX on the CPU."""
    kept = {name: value for name, value in os.environ.items() if name not in (*THREADS, "FASTBP_NUM_THREADS")}
    kept |= {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        kept |= dict.fromkeys((*THREADS, "FASTBP_NUM_THREADS"), str(threads))
    return kept
