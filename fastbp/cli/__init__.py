"""The command line: ``fastbp``, and ``python -m fastbp``.

program: the entry point. options: the options of the commands. train: ``fastbp train``, with settings (net, trainer and
fit from the options). model: ``predict``, ``evaluate`` and ``info``. data: what DATA names, as rows. messages: what is
printed about data, models and predictions.
"""

from .program import main

__all__ = ["main"]
