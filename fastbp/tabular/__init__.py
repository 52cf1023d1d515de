"""CSV files as the inputs of a net, and its outputs in the words and units of the table.

`read` takes a CSV file, with pandas, as a `Table` of text. `learn_inputs` and `learn_target` look at the training rows
and decide how columns become inputs, and outputs become classes or numbers: together an `Encoding`. `save` writes it
with the net to one file, and `load` reads both back; `fastbp.load` reads the net alone from that file.

>>> from fastbp import tabular
>>> net, encoding = tabular.load("model.npz")  # doctest: +SKIP
>>> X = encoding.inputs.encode(tabular.read("new.csv"))  # doctest: +SKIP
>>> columns = encoding.target.decode(net.predict(X))  # doctest: +SKIP
"""

from .inputs import ArrayInputs, NumberColumn, TableInputs, TextColumn, learn_inputs
from .model_file import Encoding, load, save
from .reading import Table, read
from .targets import Classes, Quantity, learn_target, probabilities, target_values

__all__ = [
    "ArrayInputs",
    "Classes",
    "Encoding",
    "NumberColumn",
    "Quantity",
    "Table",
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
