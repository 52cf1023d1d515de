"""``fastbp predict``, ``evaluate`` and ``info``: what is done with a model that was trained."""

import csv
import io
import os
import sys
import warnings

import numpy as np

from .. import __version__, _core, network
from .._support import storage
from ..tabular import columns as table
from ..tabular.reading import counted, shortened
from . import data, messages

DIGITS = {"float32": 7, "float64": 15}  # that are written


def predict(options, progress):
    """Write a line of predictions for each row."""
    data.refuse_same({"MODEL": options.model, "DATA": options.data, "--output": options.output})
    if options.output is not None:
        storage.check_destination("--output", options.output)
    net, encoding, rows = _read(options, target=False)
    outputs = net.predict(encoding.inputs.encode(rows.inputs, net.dtype))
    columns = encoding.target.decode(outputs)
    digits = DIGITS[net.dtype.name]
    texts = [
        values if values.dtype == object else [f"{value:.{digits}g}" for value in values.tolist()]
        for values in columns.values()
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*texts))
    if options.output is None:
        sys.stdout.write(text.getvalue())
        return
    storage.write_whole(options.output, lambda file: file.write(text.getvalue().encode()))
    print(f"{counted(len(rows), 'prediction')} in {options.output}: {', '.join(columns)}")


def evaluate(options, progress):
    """Say how well a model predicts data whose target is known."""
    net, encoding, rows = _read(options, target=True)
    if isinstance(encoding.target, table.Classes):
        _warn_of_unknown(encoding.target, rows.target)
    outputs = net.predict(encoding.inputs.encode(rows.inputs, net.dtype))
    print(f"{options.data}: {counted(len(rows), 'row')}")
    for line in messages.scores(encoding.target, outputs, rows.target):
        print(line)
    if isinstance(encoding.target, table.Classes):
        print("\n".join(messages.of_each_class(encoding.target, outputs, rows.target)))


def _warn_of_unknown(target, values):
    """Say which values are no class of the target."""
    unknown = values[target.encode(values) < 0]
    if len(unknown):
        names = shortened(sorted(set(unknown)), lambda value: repr(value) if isinstance(value, str) else f"{value:g}")
        warnings.warn(
            f"column {target.column!r} holds {names} in {counted(len(unknown), 'row')}, which no row trained on had: "
            "no prediction of theirs is right",
            stacklevel=2,
        )


def _read(options, target):
    net, encoding = table.load(options.model)
    return net, encoding, data.of_model(options.data, encoding, target, options.delimiter, options.inputs)


def info(options, progress):
    """Say what a file holds, or what fastbp this is."""
    lines = _of_fastbp() if options.model is None else _of_model(options.model)
    for name, value in lines:
        print(f"{name:<16} {value}")


def _of_fastbp():
    yield "fastbp", __version__
    yield "instruction set", f"{_core.isa()} (available: {', '.join(_core.isas_available())})"
    yield "threads", f"{_core.threads()} of {_core.cores()} cores"
    yield "build", f"{_core.compiler()}, {os.path.abspath(_core.__file__)}"
    yield "Python", sys.version.split()[0]
    yield "NumPy", np.__version__


def _of_model(path):
    description, vectors = storage.read(path, network.expected_vectors)
    net = network.Network.from_description(description["network"], vectors)
    yield "net", f"{messages.shape(net)}, {counted(len(net.parameters), 'parameter')} of {net.dtype}, seed {net.seed}"
    for i, layer in enumerate(net.layers):
        yield "" if i else "layers", repr(layer)
    if "trainer" in description:
        record = description["trainer"]
        yield "trained", f"{counted(record['epochs'], 'epoch')}, {counted(record['steps'], 'update')}"
        yield "", f"{record['optimizer']['kind']}, {record['loss']['kind']}"
    if "table" not in description:
        yield "predicts", "numbers: the file holds no table, fastbp.load reads it"
        return
    _, encoding = table.load(path)
    yield "predicts", messages.of_target(encoding.target)
    inputs = encoding.inputs
    if isinstance(inputs, table.ArrayInputs):
        yield "from", f"{counted(inputs.width, 'number')} a row, {'as they are' if inputs.mean is None else 'scaled'}"
        return
    for i, column in enumerate(inputs.columns):
        yield "" if i else "from", f"{column.column}: {messages.of_column(column)}"
