"""The command line: python -m fastbp {train, bench, info}."""

import argparse
import os
import sys
import time

import numpy as np

from . import __version__, _core, datasets, storage
from .layers import Dense
from .network import Network
from .optimizers import Adam
from .trainer import MOST_THREADS, Trainer

PROGRAM = "python -m fastbp"


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str or None
        Those of the process when None.

    Returns
    -------
    int
        The exit status: 0; 1 when something failed, 2 for a bad option, both with one line on stderr; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    progress = _Progress()
    try:
        options.run(options, progress)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        progress.end()
        return _failed(options.command, progress.interrupted, 130)
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        progress.end()
        known = error.filename is not None and error.strerror is not None
        return _failed(options.command, f"{error.filename}: {error.strerror}" if known else error, 1)
    except MemoryError as error:
        progress.end()
        return _failed(options.command, str(error) or "out of memory", 1)
    except (ValueError, TypeError, ArithmeticError, ImportError) as error:
        progress.end()
        return _failed(options.command, error, 1)


def _failed(command, what, status):
    print(f"{PROGRAM} {command}: {' '.join(str(what).split())}", file=sys.stderr)
    return status


# ------------------------------------------------------------------------------------------------------ options


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


def _parser():
    parser = _Parser(prog=PROGRAM, description="Train a dense network on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="{train,bench,info}", required=True)

    train = commands.add_parser(
        "train",
        help="train a classifier of handwritten digits, and time its NumPy twin",
        description="Train a classifier on the bundled 8 x 8 digits (1,797 of them, a few seconds), or on data in "
        "the format of MNIST. Prints losses, test accuracy and how long the NumPy twin takes for the same; saves the "
        "model.",
    )
    option = train.add_argument
    option("--data", metavar="FOLDER", help="four IDX files, as of MNIST, gzipped or not (default: the bundled digits)")
    option("--epochs", type=_whole(1), default=30, metavar="N", help="passes over the data (default: %(default)s)")
    option("--batch-size", type=_whole(1), default=32, metavar="N", help="rows in a minibatch (default: %(default)s)")
    option(
        "--hidden",
        type=_whole(1),
        nargs="+",
        default=[128],
        metavar="N",
        help="units of each hidden layer (default: 128)",
    )
    option("--learning-rate", type=_rate, default=1e-3, metavar="X", help="of Adam (default: %(default)s)")
    option(
        "--seed",
        type=_whole(0, 2**64 - 1),
        default=0,
        metavar="N",
        help="of weights, order of rows and split of the data (default: %(default)s)",
    )
    option(
        "--threads",
        type=_whole(1, MOST_THREADS),
        metavar="N",
        help="at most so many (default: FASTBP_NUM_THREADS, else all cores)",
    )
    option("--out", default="model.npz", metavar="FILE", help="the model: .npz or .safetensors (default: %(default)s)")
    option("--no-reference", action="store_true", help="do not run the NumPy twin")
    train.set_defaults(run=_train)

    bench = commands.add_parser(
        "bench",
        help="time training against NumPy written by hand",
        description="Train a dozen nets, each checked first against the NumPy twin, and print microseconds a step "
        "beside those of NumPy written by hand. About 20 seconds.",
    )
    option = bench.add_argument
    option("--nets", metavar="TEXT", help="only nets whose name contains TEXT, such as 784-128")
    option("--rounds", type=_whole(1), default=3, metavar="N", help="interleaved rounds (default: %(default)s)")
    option(
        "--threads",
        choices=["one", "all", "both"],
        default="both",
        help="one thread on one core, as many as there are cores, or both in turn (default: %(default)s)",
    )
    option("--json", metavar="FILE", help="write everything found, every round's time included")
    bench.set_defaults(run=_bench)

    info = "print version, instruction set, threads and build"
    commands.add_parser("info", help=info, description=f"{info.capitalize()}.").set_defaults(run=_info)
    return parser


def _whole(least, most=2**31 - 1):
    def whole(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number in {least} .. {most}, got {text!r}")
        return value

    return whole


def _rate(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


class _Progress:
    """One line that is written over on a terminal; a line each elsewhere."""

    def __init__(self):
        self.in_place = sys.stdout.isatty()
        self.written = 0
        self.interrupted = "interrupted"

    def show(self, text):
        if self.in_place:
            print(f"\r{text:<{self.written}}", end="", flush=True)
            self.written = len(text)
        else:
            print(text, flush=True)

    def clear(self):
        """Wipe the line."""
        if self.in_place:
            print(f"\r{'':<{self.written}}\r", end="", flush=True)
        self.written = 0

    def end(self):
        """Leave the line as it stands."""
        if self.written:
            print(flush=True)
            self.written = 0


# ----------------------------------------------------------------------------------------------------- commands


def _train(options, progress):
    _check_out(options.out)
    progress.interrupted = "interrupted; no model was saved"
    if options.data is None:
        X, y = datasets.load_digits()
        X, y, X_test, y_test = datasets.train_test_split(X, y, 0.2, options.seed)
        source = "the bundled digits"
    else:
        X, y, X_test, y_test = datasets.load_mnist(options.data)
        source = options.data
    classes = max(int(y.max()), int(y_test.max())) + 1
    X, y, X_val, y_val = datasets.train_test_split(X, y, 1 / 6, options.seed)
    if options.batch_size > len(X):
        raise ValueError(f"--batch-size is {options.batch_size}; there are {len(X)} rows to train on")
    data = X, y, options.batch_size, (X_val, y_val)

    layers = [*(Dense(units, "relu") for units in options.hidden), Dense(classes)]
    net = Network(X.shape[1], layers, seed=options.seed)
    trainer = Trainer(net, optimizer=Adam(options.learning_rate), seed=options.seed, n_threads=options.threads)
    shape = "-".join(str(width) for width in (X.shape[1], *options.hidden, classes))
    rows = f"{len(X)} rows to train on, {len(X_val)} to validate, {len(X_test)} to test"
    print(f"{source}: {rows}; net {shape}, {_core.isa()}", flush=True)
    seconds, first, last = _run(trainer, data, options.epochs, "epoch", progress)

    right = int((net.predict(X_test).argmax(axis=1) == y_test).sum())
    print(f"train loss       {trainer.evaluate(X, y):.4f}")
    print(f"validation loss  {trainer.evaluate(X_val, y_val):.4f}")
    print(f"test accuracy    {right / len(y_test):.2%} ({right} of {len(y_test)})")
    print(f"time             {seconds:.2f} s for {_epochs(options.epochs)}")
    net.save(options.out)
    print(f"model            {options.out}", flush=True)
    if options.no_reference:
        return

    from . import reference

    progress.interrupted = f"interrupted; the model is in {options.out}"
    # A whole run of the twin on the digits takes seconds; on as much as MNIST, minutes.
    epochs = options.epochs if options.data is None else 1
    twin = reference.Trainer(
        reference.Network(X.shape[1], layers, seed=options.seed),
        optimizer=Adam(options.learning_rate),
        seed=options.seed,
    )
    twin_seconds, _, twin_last = _run(twin, data, epochs, "NumPy twin: epoch", progress)
    if epochs < options.epochs:
        seconds /= options.epochs
    print(
        f"NumPy twin       {twin_seconds:.2f} s for {_epochs(epochs)}, {twin_seconds / seconds:.1f} times as long"
        + (" (an epoch on average)" if epochs < options.epochs else "")
    )
    ours = last if epochs == options.epochs else first
    error = abs(twin_last - ours) / max(abs(ours), 1e-30)
    verdict = "agrees with" if error < 0.01 else "DIFFERS from"
    print(f"                 its training loss in epoch {epochs}, {twin_last:.6f}, {verdict} {ours:.6f}")


def _run(trainer, data, epochs, label, progress):
    """Train, showing progress; the seconds it took, and the training loss of the first and of the last epoch."""
    X, y, batch_size, validation = data
    seconds, losses = 0.0, []
    for epoch in range(epochs):
        started = time.perf_counter()
        history = trainer.fit(X, y, epochs=1, batch_size=batch_size, validation=validation)
        seconds += time.perf_counter() - started
        losses.append(history["loss"][0])
        if progress.in_place or (epoch + 1) % max(1, epochs // 10) == 0:
            both = f"loss {losses[-1]:.4f}  validation {history['val_loss'][0]:.4f}"
            progress.show(f"{label} {epoch + 1}/{epochs}  {both}  {seconds:.2f} s")
    progress.end()
    return seconds, losses[0], losses[-1]


def _epochs(count):
    return f"{count} epoch{'s' * (count != 1)}"


def _check_out(path):
    """Refuse, before training, where the model cannot go."""
    storage.checked_path(path)
    storage.check_destination("--out", path)
    if path.endswith(".safetensors"):
        storage.safetensors_package()


def _bench(options, progress):
    from .bench import command

    command.run(options.nets, options.rounds, options.threads, options.json, progress)


def _info(options, progress):
    available = _core.isas_available()
    lines = {
        "fastbp": __version__,
        "instruction set": f"{_core.isa()} (available: {', '.join(available)})",
        "threads": f"{_core.threads()} of {_core.cores()} cores",
        "build": f"{_core.compiler()}, {os.path.abspath(_core.__file__)}",
        "Python": sys.version.split()[0],
        "NumPy": np.__version__,
    }
    for name, value in lines.items():
        print(f"{name:<16} {value}")
