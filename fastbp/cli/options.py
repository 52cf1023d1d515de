"""The options of the commands. Parsing them imports nothing of the package but its version."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .. import __version__

PROGRAM = "fastbp"


def parser() -> argparse.ArgumentParser:
    """The parser of ``fastbp``; `command` names the command among what it returns."""
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND ...",
        example="Example: fastbp train houses.csv --target price -o houses.npz\n"
        "         fastbp predict houses.npz new.csv -o predictions.csv",
        description="Train dense networks on a CPU, and predict with them, from tables, arrays and images.",
        epilog="fastbp COMMAND --help shows a command's options. Exit status: 0; 2 for wrong usage or data; 1 when\n"
        "training diverged; 130 after Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=PROGRAM, required=True)
    _add_train(commands.add_parser)
    _add_predict_and_evaluate(commands.add_parser)
    _add_info(commands.add_parser)
    _add_bench(commands.add_parser)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose help begins with an example, and whose errors are one line."""

    def __init__(self, example: str = "", **keywords: Any):
        super().__init__(**keywords, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.example = example

    def format_help(self) -> str:
        return f"{self.example}\n\n{super().format_help()}"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:  # raised here, by the parser of the command, the error names the help of the command
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {message} ({self.prog} --help shows the options)\n")
        raise AssertionError("exit returned")


def _add_train(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    train = add_parser(
        "train",
        help="train a net on a table, arrays or images, and save it",
        usage="%(prog)s [DATA] [--target NAME] [-o MODEL] [options]",
        example="Example: fastbp train houses.csv --target price -o houses.npz\n"
        "         fastbp train flowers.csv --target species --drop id --layers 64,64 --plot training.png\n"
        "         fastbp train houses.csv --target price --quantiles 0.1,0.5,0.9\n"
        "         fastbp train mnist/ --layers 256 --epochs 20",
        description="Train a net, say how well it predicts rows held out, and save it with all that is needed to\n"
        "predict from another file of the same kind.\n\n"
        "DATA is a CSV file with names in its first line (.gz too), a .npz file with arrays X and y, a folder with\n"
        "MNIST's four files, or the word digits for the digits that come with fastbp, which is the default.\n\n"
        "In a CSV file numbers are scaled to mean 0 and deviation 1, and missing ones filled with the median; text,\n"
        "dates included, becomes an input for each of its values. All this is learnt from the training rows alone.",
    )
    train.add_argument("data", metavar="DATA", nargs="?", help="what to train on (default: digits)")
    option = train.add_argument_group("what is learnt").add_argument
    option("--target", metavar="NAME", help="the column to predict; in a .npz file the array (default: y)")
    option("--drop", metavar="NAME", action="append", default=[], help="a column to leave out; may be repeated")
    option("--text", metavar="NAME", action="append", default=[], help="a column of numbers to take as text: codes")
    option(
        "--task",
        choices=["classification", "regression"],
        help="default: classification for text and for at most 20 different integers, else regression",
    )
    option("--quantiles", type=_levels, metavar="Q,Q", help="learn quantiles of a number, such as 0.1,0.5,0.9")
    option("--log-target", action="store_true", help="learn the logarithm of a number: prices, populations")
    option("--balanced", action="store_true", help="give all classes the same weight, whatever their number of rows")
    option(
        "--validation",
        type=_share,
        metavar="SHARE",
        help="rows held out, which end the training and choose the best epoch (default: 0.2, at most 10,000 rows)",
    )
    option("--test", type=_share, metavar="SHARE", help="rows not used until the end (default: 0; digits: 0.2)")
    _add_reading(option)

    option = train.add_argument_group("the net").add_argument
    option(
        "--layers",
        type=_widths,
        default=(128, 64),
        metavar="N,N",
        help="units of the hidden layers, or none for a linear model (default: 128,64)",
    )
    option("--activation", default="relu", metavar="NAME", help="relu (default), tanh, silu, gelu, selu, ...")
    option("--dropout", type=_share, metavar="RATE", help="after each hidden layer (default: 0.1)")
    option("--norm", choices=["layer", "batch"], help="normalise before each activation")
    option("--dtype", choices=["float32", "float64"], default="float32", help="default: float32")

    option = train.add_argument_group("training").add_argument
    option(
        "--loss",
        choices=["mean_squared_error", "mean_absolute_error", "huber", "poisson"],
        help="the loss for numbers (default: mean_squared_error; poisson is for counts)",
    )
    option(
        "--optimizer",
        choices=["adamw", "adam", "sgd", "rmsprop", "adagrad", "lbfgs"],
        default="adamw",
        help="default: adamw; sgd has a momentum of 0.9; lbfgs takes all rows at once and needs SciPy",
    )
    option("--learning-rate", type=_number, metavar="X", help="default: 0.003 for adamw and adam")
    option("--weight-decay", type=_number, metavar="X", help="default: 0.1 for adamw, else 0")
    option(
        "--schedule",
        choices=["plateau", "cosine", "one_cycle", "exponential", "constant"],
        help="how the learning rate changes (default: plateau, lower whenever the validation stops improving)",
    )
    option("--clip-norm", type=_number, metavar="X", help="limit the norm of the gradient")
    option("--epochs", type=_whole(1), default=200, metavar="N", help="largest number of epochs (default: 200)")
    option("--batch-size", type=_whole(1), metavar="N", help="rows in a minibatch (default: 32 to 256, by the rows)")
    option(
        "--patience",
        type=_whole(0),
        default=20,
        metavar="N",
        help="stop after N epochs without a better validation, and keep the best; 0: never stop early (default: 20)",
    )
    option("--seed", type=_whole(0, 2**64 - 1), default=0, metavar="N", help="one seed, one model (default: 0)")
    option("--threads", type=_whole(1, 256), metavar="N", help="default: FASTBP_NUM_THREADS, else all cores")

    option = train.add_argument_group("what is written").add_argument
    option("-o", "--output", metavar="MODEL", help="the model, .npz or .safetensors (default: model.npz)")
    option(
        "--checkpoint", metavar="FILE", help="a .npz file written after each epoch; the same command resumes from it"
    )
    option("--log", metavar="FILE", help="a line for each epoch, .csv or .jsonl")
    option("--plot", metavar="FILE", help="a picture of losses, learning rate and gradients, .png or .svg")
    option("-v", "--verbose", action="store_true", help="print a line for each epoch")
    option(
        "--compare",
        action=argparse.BooleanOptionalAction,
        help="also train the NumPy twin for three epochs: its time, and whether it agrees (default: with digits)",
    )


def _add_predict_and_evaluate(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    predict = add_parser(
        "predict",
        help="predict the rows of a file",
        usage="%(prog)s MODEL DATA [-o FILE]",
        example="Example: fastbp predict houses.npz new.csv -o predictions.csv",
        description="Write a CSV file with a line for each row of DATA, in its order: the class and the probability\n"
        "of each class, or numbers in the units of the target, or a column for each quantile. DATA must have the\n"
        "columns the model was trained on, in any order; others are ignored, the target among them.",
    )
    evaluate = add_parser(
        "evaluate",
        help="say how well a model predicts data whose target is known",
        usage="%(prog)s MODEL DATA",
        example="Example: fastbp evaluate houses.npz sold.csv",
        description="Predict the rows of DATA and compare with its target: accuracy, and how many rows of each class\n"
        "are found; or R2 and the mean error in the units of the target; or the share of rows below each quantile.",
    )
    for command in (predict, evaluate):
        command.add_argument("model", metavar="MODEL", help="a file that fastbp train wrote")
        command.add_argument(
            "data", metavar="DATA", help="of the kind the model was trained on; of MNIST the test images"
        )
        _add_reading(command.add_argument)
    predict.add_argument("-o", "--output", metavar="FILE", help="default: print them")


def _add_info(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    info = add_parser(
        "info",
        help="describe a model, or fastbp and the machine",
        usage="%(prog)s [MODEL]",
        example="Example: fastbp info houses.npz",
        description="Print a model's layers, what it predicts and from which columns. Without MODEL: version,\n"
        "instruction sets, threads and build.",
    )
    info.add_argument("model", metavar="MODEL", nargs="?", help="a file that fastbp wrote")


def _add_reading(option: Callable[..., Any]) -> None:
    """Options that say how DATA is read: cli/data.py takes them."""
    option("--inputs", metavar="NAME", default="X", help="in a .npz file, the array to predict from (default: X)")
    option("--delimiter", type=_character, metavar="C", help="of a CSV file (default: , ; tab or |, by its first line)")


def _add_bench(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    bench = add_parser(
        "bench",
        help="time training against NumPy written by hand",
        usage="%(prog)s [options]",
        example="Example: fastbp bench --nets 784-128 --threads one",
        description="Train a dozen nets, each checked first against the NumPy twin, and print microseconds a step\n"
        "beside those of NumPy written by hand. About 20 seconds.",
    )
    option = bench.add_argument
    option("--nets", metavar="TEXT", help="only nets whose name contains TEXT, such as 784-128")
    option("--rounds", type=_whole(1), default=3, metavar="N", help="interleaved rounds (default: %(default)s)")
    option(
        "--threads",
        choices=["one", "all", "both"],
        default="both",
        help="one thread on one core, a thread for each core, or both in turn (default: %(default)s)",
    )
    option("--json", metavar="FILE", help="write all results, the time of every round included")


# ---------------------------------------------------------------------------------------------------- types of options


def _whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number in {least} .. {most}, got {text!r}")
        return value

    return whole


def _real(text: str, below: float) -> float | None:
    """The number that a text stands for, when it is at least 0 and below a bound."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < below else None


def _number(text: str) -> float:
    value = _real(text, float("inf"))
    if value is None:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


def _share(text: str) -> float:
    value = _real(text, 1)
    if value is None:
        raise argparse.ArgumentTypeError(f"must be a share, at least 0 and below 1, got {text!r}")
    return value


def _levels(text: str) -> Sequence[float]:
    levels = [level for level in (_real(level, 1) for level in text.split(",")) if level]
    if len(levels) <= text.count(",") or sorted(set(levels)) != levels:
        raise argparse.ArgumentTypeError(f"must be levels that increase, between 0 and 1, as 0.1,0.5,0.9, got {text!r}")
    return levels


def _widths(text: str) -> Sequence[int]:
    if text == "none":
        return ()
    whole = _whole(1)
    try:
        return tuple(whole(width) for width in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be whole numbers from 1, as 128,64, or none, got {text!r}") from None


def _character(text: str) -> str:
    text = "\t" if text == "\\t" else text
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"must be one character, or \\t, got {text!r}")
    return text
