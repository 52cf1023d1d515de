"""Schedules: how the learning rate changes from update to update."""

from .declarative import Declared


class Schedule(Declared):
    """Base class of the schedules."""
