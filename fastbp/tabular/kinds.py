"""What a column is: numbers or text."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .reading import Table

NUMBER_LIKE = re.compile(r"[-+]?\d[\d.,' ]*$")  # text that a person reads as a number
DATE_LIKE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d\d(\d\d)?")


def column_kind(table: Table, name: str, as_text: bool = False) -> Literal["number", "text"]:
    """Whether an input column holds numbers or text: text where at least half of its values are not numbers.

    as_text: it is text whatever it holds.

    Raises
    ------
    ValueError
        When the column has no values, or most of its values are numbers and some are not.
    """
    values = table.parsed(name)
    present, wrong = int(np.sum(~np.isnan(values))), np.flatnonzero(np.isinf(values))
    if not present:
        raise ValueError(f"column {name!r} has no values: leave it out with --drop {shlex.quote(name)}")
    if as_text or 2 * len(wrong) >= present:
        return "text"
    if len(wrong):
        raise ValueError(
            f"{table.cell(name, wrong[0])} is not a finite number, as {present - len(wrong)} of the column's "
            f"{present} cells are: mend it, or use --text {shlex.quote(name)} or --drop {shlex.quote(name)}"
        )
    return "number"


def resembles_numbers(texts: NDArray[np.object_]) -> bool:
    """Whether all values of a column of text look like numbers in another notation, such as 1.234,5, and not dates."""
    return appearance(texts) == "number" and all(NUMBER_LIKE.match(text) for text in texts if text)


def appearance(texts: NDArray[np.object_]) -> Literal["date", "number"] | None:
    """What the first value of a column of text looks like."""
    first = next(filter(None, texts), "")
    return "date" if DATE_LIKE.match(first) else "number" if NUMBER_LIKE.match(first) else None


def hint(texts: NDArray[np.object_]) -> str:
    """A remark, for a message, on a column of text whose first value looks like something else."""
    return {"date": " (dates are text)", "number": " (numbers are written as 1234.5)", None: ""}[appearance(texts)]
