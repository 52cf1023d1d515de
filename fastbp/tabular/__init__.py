"""Tables: CSV files in, arrays for a net out, and its outputs back in the words and units of the table.

`read` takes a CSV as text. `learn_inputs` and `learn_target` look at the rows to train on and say how columns become
inputs, and how outputs become classes or numbers: an `Encoding`. `save` writes it beside the net into one file, as
plain data under "table", and `load` brings both back; `fastbp.load` reads the net alone from it.

>>> from fastbp import tabular
>>> net, encoding = tabular.load("model.npz")  # doctest: +SKIP
>>> X = encoding.inputs.encode(tabular.read("new.csv"))  # doctest: +SKIP
>>> columns = encoding.target.decode(net.predict(X))  # doctest: +SKIP
"""

from .columns import (
    ArrayInputs,
    Classes,
    Encoding,
    NumberColumn,
    Quantity,
    TableInputs,
    TextColumn,
    learn_inputs,
    learn_target,
    load,
    probabilities,
    save,
    target_values,
)
from .reading import Cells, read

__all__ = [
    "ArrayInputs",
    "Cells",
    "Classes",
    "Encoding",
    "NumberColumn",
    "Quantity",
    "TableInputs",
    "TextColumn",
    "learn_inputs",
    "learn_target",
    "load",
    "probabilities",
    "read",
    "save",
    "target_values",
]
