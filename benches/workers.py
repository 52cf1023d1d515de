"""Worker processes, one for each library and number of threads, which take commands over a pipe."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path

from . import measure

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300  # seconds after which a worker that does not answer is ended
# Variables by which the libraries choose the number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTBP_NUM_THREADS")
# Variables that change which kernels the peers choose. Workers get them from `limits` or not at all.
KERNELS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "TORCHINDUCTOR_CPP_MARCH",
)
ISAS = ("avx2",)  # what `limits` knows


class Refused(RuntimeError):
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
    isa : str or None
        The instruction set that the library is limited to, one of ISAS; None: the library chooses.
    """

    def __init__(self, peer, core, isa=None):
        self.peer, self.core = peer, core
        ours, theirs = Pipe()
        self.errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "benches.worker", str(theirs.fileno()), "all" if core is None else str(core)]
        self.process = subprocess.Popen(
            [*command, json.dumps(None if core is None else 1), json.dumps(peer)],
            cwd=ROOT,
            env=environment(None if core is None else 1, isa),
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C reaches this process alone: `end` ends the worker and its children
        )
        theirs.close()
        self.pipe = ours

    def send(self, command, *arguments):
        """Send a command; `receive` returns the answer."""
        try:
            self.pipe.send((command, arguments))
        except OSError:
            pass  # the worker has ended: `receive` says how

    def receive(self, patience=PATIENCE):
        """The answer to the last command (of a new worker, the library's description of itself). Raises Refused."""
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
        """End the worker and all processes that it started."""
        self.pipe.close()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def environment(threads, isa=None):
    """The variables of a worker: those of this process without THREADS and KERNELS, and `settings`."""
    kept = {name: value for name, value in os.environ.items() if name not in (*THREADS, *KERNELS)}
    return kept | settings(threads, isa)


def settings(threads, isa=None):
    """The variables that the board sets for a worker: {name: value}.

    Parameters
    ----------
    threads : int or None
        None: as many as the library takes by itself.
    isa : str or None
        The instruction set that every library is limited to; None: no limit.
    """
    given = {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    if threads is not None:
        given |= dict.fromkeys(THREADS, str(threads))
    return given | (limits() if isa == "avx2" else {})


def limits():
    """The variables that limit every library to AVX2.

    One library cannot be limited: YNNPACK, which makes JAX's products, asks the processor. Without YNNPACK JAX's
    products are up to half as fast with AVX2, so it stays, and on a processor with AVX-512 JAX keeps that advantage.
    """
    numpy = measure.numpy_avx512()
    return {
        "FASTBP_ISA": "avx2",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2".strip(),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "TORCHINDUCTOR_CPP_MARCH": "native -mno-avx512f",
        **({"NPY_DISABLE_CPU_FEATURES": " ".join(numpy)} if numpy else {}),
    }
