"""The program: it parses the command line, calls the command, and turns its errors into one line and a status."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from ..errors import DivergenceError
from .options import PROGRAM, parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str or None
        None: the arguments of the process.

    Returns
    -------
    int
        The exit status: 0; 2 for wrong usage or wrong data, 1 for training that diverged and other failures, both with
        one line on stderr; 130 after Ctrl-C.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the stream was closed, as by >&-
            setattr(sys, name, open(os.devnull, "w"))
    options = parser().parse_args(arguments)
    progress = Progress()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: _say("warning", message)
            _command(options.command)(options, progress)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        progress.end()
        _say("error", progress.interrupted)
        return 130
    except BrokenPipeError:
        # The reader of our output has left: the interpreter must not flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DivergenceError, MemoryError) as error:
        progress.end()
        _say("error", str(error) or "out of memory")
        return 1
    except OSError as error:
        progress.end()
        known = error.filename is not None and error.strerror is not None
        _say("error", f"{error.filename}: {error.strerror}" if known else error)
        return 2
    except (ValueError, TypeError, ImportError) as error:
        progress.end()
        _say("error", error)
        return 2


def _say(kind: str, what: object) -> None:
    """Print one line on stderr."""
    print(f"{PROGRAM}: {kind}: {' '.join(str(what).split())}", file=sys.stderr, flush=True)


def _command(name: str) -> Callable[[argparse.Namespace, Progress], None]:
    """The function of a command. Only its modules are imported."""
    if name == "train":
        from . import train

        return train.run
    if name == "bench":
        from ..bench import command

        return lambda options, progress: command.run(
            options.nets, options.rounds, options.threads, options.json, progress
        )
    from . import model

    return {"predict": model.predict, "evaluate": model.evaluate, "info": model.info}[name]


class Progress:
    """Progress on stdout: one line, overwritten each time, on a terminal; one line each time elsewhere.

    Attributes
    ----------
    in_place : bool
        Whether stdout is a terminal.
    interrupted : str
        The message of the program after Ctrl-C.
    """

    def __init__(self) -> None:
        self.in_place = sys.stdout.isatty()
        self.interrupted = "interrupted"
        self._written = 0  # characters of the line to overwrite

    def show(self, text: str) -> None:
        """Show a text in place of the one before."""
        if self.in_place:
            print(f"\r{text:<{self._written}}", end="", flush=True)
            self._written = len(text)
        else:
            print(text, flush=True)

    def clear(self) -> None:
        """Wipe the line."""
        if self.in_place:
            print(f"\r{'':<{self._written}}\r", end="", flush=True)
        self._written = 0

    def end(self) -> None:
        """Leave the line as it stands."""
        if self._written:
            print(flush=True)
            self._written = 0
