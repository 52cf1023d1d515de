"""The command line: ``fastbp``, and ``python -m fastbp``."""

from .program import main

__all__ = ["main"]
