"""Checks of arguments that are texts."""

from __future__ import annotations

from collections.abc import Iterable

from .._support.declarative import described


def text(name: str, value: object) -> str:
    """The value, when it is a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {described(value)}")
    return value


def texts(name: str, values: Iterable[object]) -> tuple[str, ...]:
    """The values as a tuple, when each is a str."""
    return tuple(text(name, value) for value in values)
