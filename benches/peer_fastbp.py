"""fastbp on the board."""

import fastbp as fb
from fastbp.bench.contestants import Fastbp, FastbpPrediction

from .steps import Steps

__all__ = ["Fastbp", "FastbpPrediction", "FastbpStep", "about"]


class FastbpStep(Steps, Fastbp):
    """`Trainer.step` from Python."""


def about() -> dict:
    """The version, the instruction set in use and the number of threads."""
    return {"version": fb.__version__, "isa": fb.cpu.isa(), "threads": fb.cpu.threads()}
