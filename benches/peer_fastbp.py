"""fastbp, as the package has it, on the board."""

import fastbp as fb
from fastbp.bench.contestants import Fastbp, FastbpPrediction

__all__ = ["Fastbp", "FastbpPrediction", "about"]


def about():
    """The version, and what the process was set up with."""
    return {"version": fb.__version__, "isa": fb.cpu.isa(), "threads": fb.cpu.threads()}
