"""Phrases that messages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 row", "1,797 rows"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shortened(names: Sequence[str], form: Callable[[str], str] = repr, most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(form, names[:most])) + more
