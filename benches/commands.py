"""Shared by the commands of this folder: errors in one line, progress on a terminal."""

import argparse
import os
import sys


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in the options in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


def finish(program, run, options):
    """The exit status of run(options); an error becomes a line on stderr and 1, Ctrl-C a line and 130."""
    try:
        return run(options)
    except BrokenPipeError:  # the reader of stdout has closed it: the interpreter must not try to flush it once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        what, status = "interrupted", 130
    except (OSError, ValueError, ImportError, MemoryError, RuntimeError) as error:
        what, status = str(error) or type(error).__name__, 1
    progress("")
    print(f"{program}: {' '.join(what.split())}", file=sys.stderr)
    return status


def progress(text):
    """Write over the line on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{text:<100}\r", end="", file=sys.stderr, flush=True)
