"""Tables: how a CSV is read, what is learnt from its rows, and what a file remembers of it."""

import gzip
import json
import os
import sys

import numpy as np
import pytest

import fastbp as fb
from fastbp import tabular
from fastbp._support import storage
from fastbp.network import expected_vectors

pytest.importorskip("pandas")


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def columns(table):
    return {name: table.column(name).tolist() for name in table.names}


def rows_of(table):
    return np.arange(len(table))


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a,b\n1,x\n2,y\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\r\n1,x\r\n\r\n2,y", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("\ufeffa,b\n1,é\n", {"a": ["1"], "b": ["é"]}),
        (" a , b\n 1 ,  x y \n", {"a": ["1"], "b": ["x y"]}),
        ('a,b\n"1","x, ""y""\nz"\n', {"a": ["1"], "b": ['x, "y"\nz']}),
        ("a,b,c\n1\n2,y\n3,z,w\n", {"a": ["1", "2", "3"], "b": ["", "y", "z"], "c": ["", "", "w"]}),
        ("a\n1\n\n  \n3\n", {"a": ["1", "3"]}),
        ('a\n1\n""\n3', {"a": ["1", "", "3"]}),
        ('a,b\n"1"0,x"y"z\nend\n', {"a": ["10", "end"], "b": ['x"y"z', ""]}),
        ("a,b\nNA,nan\nN/A,Null\n?,None\n<NA>,\n", {"a": [""] * 4, "b": [""] * 4}),
        (",a\n0,1.50\n1,2\n", {"a": ["1.50", "2"]}),
        ("a;b\n1,5;x\n", {"a": ["1,5"], "b": ["x"]}),
        ("a\tb\n1\tx\n", {"a": ["1"], "b": ["x"]}),
        ("a|b\n1|x\n", {"a": ["1"], "b": ["x"]}),
        ("a,b\n#1,'x'\n", {"a": ["#1"], "b": ["'x'"]}),
        ("a,b\n007,TRUE\n1e3,False\n", {"a": ["007", "1e3"], "b": ["TRUE", "False"]}),
    ],
)
def test_read(tmp_path, text, expected):
    table = tabular.read(written(tmp_path, text))
    assert columns(table) == expected
    assert len(table) == len(next(iter(expected.values())))
    path = written(tmp_path, gzip.compress(text.encode()), "table.csv.gz")
    assert columns(tabular.read(path)) == expected


def test_a_delimiter_of_ones_own(tmp_path):
    assert columns(tabular.read(written(tmp_path, "a:b,c\n1:2\n"), ":")) == {"a": ["1"], "b,c": ["2"]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "table.csv: the first line must hold the names of the columns"),
        ("a,b\n", "table.csv: has no rows under its header"),
        ("a,b,a\n1,2,3\n", "table.csv: two columns have the name 'a'"),
        ("a,b\n1,2\n\n3,4,5\n", "table.csv, line 4: has 3 cells; the header has 2"),
        ("a,b\n1,2,3\n4,5,6\n", "table.csv, line 2: has 3 cells; the header has 2"),
        ('a,b\n1,2\n1,"x\n3,4\n', "table.csv, line 3: a quote opens a cell and nothing closes it"),
        ('a,b\n1,"', "table.csv, line 2: a quote opens"),
        (b"a,b\n1,\xe9\n", "table.csv: is not text in UTF-8 \\(byte 0xe9\\)"),
    ],
)
def test_what_is_no_table(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        tabular.read(written(tmp_path, text))


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="a.csv: must be a file, which is read more than once: a pipe will not do"):
        tabular.read(tmp_path / "a.csv")


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    for text in (whole[:-20], b"a,b\n1,2\n"):
        with pytest.raises(ValueError, match="table.csv.gz: damaged gzip data"):
            tabular.read(written(tmp_path, text, "table.csv.gz"))


def test_without_pandas(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="CSV files are read with pandas: pip install 'fastbp.table.'$"):
        tabular.read(written(tmp_path, "a\n1\n"))


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "§"])
def test_delimiters_that_are_refused(tmp_path, delimiter):
    with pytest.raises(ValueError, match="delimiter must be one ASCII character other than a quote or the end of a"):
        tabular.read(written(tmp_path, "a,b\n1,2\n"), delimiter)


def test_columns_and_rows(tmp_path):
    table = tabular.read(written(tmp_path, 'a,b\n1,x\n"2\n",y\n\n,z\nfour,w\n'))
    assert table.names == ["a", "b"] and len(table) == 4
    with pytest.raises(ValueError, match="table.csv has no column 'c'; it has 'a', 'b'$"):
        table.column("c")
    # The second row takes two lines, and an empty one follows.
    message = "table.csv, line 7, column 'a': 'four' is not a finite number"
    with pytest.raises(ValueError, match=message):
        table.numbers("a")
    with pytest.raises(ValueError, match=message):
        table.take(np.array([False, False, True, True])).numbers("a")
    assert np.array_equal(table.take(np.array([2, 0])).numbers("a"), [np.nan, 1.0], equal_nan=True)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_infinite_numbers(tmp_path, text):
    with pytest.raises(ValueError, match=f"line 3, column 'a': '{text}' is not a finite number"):
        tabular.read(written(tmp_path, f"a\n1\n{text}\n")).numbers("a")


# ------------------------------------------------------------------------------------------------------------- inputs

MIXED = "n,colour,m\n1,red,5\n2,blue,\n3,,5\n6,red,5\n100,green,7\n"


def test_what_is_learnt(tmp_path):
    table = tabular.read(written(tmp_path, MIXED))
    rows = np.arange(4)  # the last has no say
    inputs = tabular.learn_inputs(table, table.names, rows)
    assert inputs == tabular.TableInputs(
        [
            tabular.NumberColumn("n", 2.5, 3.0, np.std([1, 2, 3, 6])),
            tabular.TextColumn("colour", ["", "blue", "red"]),
            tabular.NumberColumn("m", 5.0, 5.0, 0.0),
        ]
    )
    assert inputs.width == 5
    X = inputs.encode(table.take(rows), np.float64)
    deviation = np.std([1, 2, 3, 6])
    expected = [[-2, 0, 0, 1, 0], [-1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [3, 0, 0, 1, 0]] / np.array(
        [deviation, 1, 1, 1, 1]
    )
    assert np.allclose(X, expected, rtol=1e-15, atol=0)
    with pytest.warns(UserWarning, match="column 'colour' holds 'green' in 1 row, which no training row had"):
        last = inputs.encode(table.take(np.array([4])))
    assert last.dtype == np.float32
    assert np.allclose(last, [[97 / deviation, 0, 0, 0, 0]])  # and a column that never varied stays 0


def test_numbers_are_rounded_as_python_rounds_them(tmp_path):
    """In columns with and without gaps, spaces and quotes."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(500, 3)) * 10.0 ** rng.integers(-300, 300, (500, 3))
    numbers[::7, 0] = np.nan
    lines = ["a,b,c"] + [
        ",".join(["NA" if np.isnan(a) else repr(a), f"{b:.17g}", f" {c:.3e} " if i % 2 else f'"{c!r}"'])
        for i, (a, b, c) in enumerate(numbers.tolist())
    ]
    table = tabular.read(written(tmp_path, "\n".join(lines)))
    assert np.array_equal(table.numbers("a"), numbers[:, 0], equal_nan=True)
    assert np.array_equal(table.numbers("b"), numbers[:, 1])
    assert np.array_equal(table.numbers("c")[::2], numbers[::2, 2])
    assert table.numbers("c")[1::2].tolist() == [float(f"{c:.3e}") for c in numbers[1::2, 2].tolist()]
    assert np.array_equal(table.missing("a"), np.isnan(numbers[:, 0])) and not table.missing("b").any()


def test_missing_values_and_unknown_text(tmp_path):
    table = tabular.read(written(tmp_path, "n,t\n1,x\n3,y\n8,x\n"))
    inputs = tabular.learn_inputs(table, ["n", "t"], rows_of(table))
    new = tabular.read(written(tmp_path, "t,other,n\n,a,\nz,b,3\nw,c,3\n"))
    with pytest.warns(UserWarning) as warned:
        X = inputs.encode(new, np.float64)
    assert X[0, 0] == X[1, 0] == (3 - 4) / np.std([1, 3, 8]) and not X[:, 1:].any()
    (warning,) = warned
    assert str(warning.message) == (
        "column 't' holds a missing value, 'w', 'z' in 3 rows, which no training row had: taken as none of its "
        "categories"
    )


def test_a_missing_column(tmp_path):
    table = tabular.read(written(tmp_path, "n,t\n1,x\n3,y\n"))
    inputs = tabular.learn_inputs(table, ["n", "t"], rows_of(table))
    with pytest.raises(ValueError, match="new.csv has no column 't'; it has 'n', 'u'"):
        inputs.encode(tabular.read(written(tmp_path, "n,u\n1,x\n", "new.csv")))


def test_kinds_of_columns(tmp_path):
    table = tabular.read(written(tmp_path, "code,mixed,day\n1,1,2020-01-01\n2,x,2020-01-02\n2,y,2020-01-02\n"))
    inputs = tabular.learn_inputs(table, table.names, rows_of(table), text=["code"])
    assert inputs.columns == (
        tabular.TextColumn("code", ["1", "2"]),
        tabular.TextColumn("mixed", ["1", "x", "y"]),
        tabular.TextColumn("day", ["2020-01-01", "2020-01-02"]),
    )


@pytest.mark.parametrize(
    "cells, message",
    [
        (["1", "2", "3 EUR", "4"], "line 4, column 'my column': '3 EUR' is not a finite number, as 3 of the column's 4 "
         "cells are: mend it, or use --text 'my column' or --drop 'my column'"),
        (["", "", ""], "column 'my column' has no values: leave it out with --drop 'my column'"),
        ([f"x{i}" for i in range(101)], "column 'my column' is text with 101 different values, and 100 are the most "
         "that become inputs: leave it out with --drop 'my column'"),
        ([f"{i % 12 + 1:02d}/{i % 28 + 1:02d}/{1990 + i}" for i in range(101)], "101 different values .dates are text"),
        ([f'"{i},50"' for i in range(101)], "101 different values .numbers are written as 1234.5., and 100"),
        (["1e308", "-1e308", "1e308"], "column 'my column' holds numbers too large to scale"),
    ],
)  # fmt: skip
def test_columns_that_are_refused(tmp_path, cells, message):
    table = tabular.read(written(tmp_path, "\n".join(["my column,b", *(f"{cell},1" for cell in cells)])))
    with pytest.raises(ValueError, match=message):
        tabular.learn_inputs(table, table.names, rows_of(table))


def test_text_that_looks_like_numbers(tmp_path, recwarn):
    path = written(tmp_path, "a;b;c\n1,5;x1;1.2.2020\n;x2;2.2.2020\n1.234,5;x1;2.2.2020\n")
    table = tabular.read(path)
    message = r"column 'a' is taken as text .numbers are written as 1234.5.; if that is right, say --text a$"
    with pytest.warns(UserWarning, match=message) as warned:
        inputs = tabular.learn_inputs(table, table.names, rows_of(table))
    assert len(warned) == 1 and inputs.columns[0] == tabular.TextColumn("a", ["", "1,5", "1.234,5"])
    recwarn.clear()
    tabular.learn_inputs(table, table.names, rows_of(table), text=["a"])
    assert not recwarn


def test_no_value_among_the_rows_trained_on(tmp_path):
    table = tabular.read(written(tmp_path, "a,b\n,1\n,2\n3,3\n"))
    with pytest.raises(ValueError, match="column 'a' has no value in the rows to train on"):
        tabular.learn_inputs(table, ["a"], np.arange(2))


def test_arrays():
    X = np.array([[1, 5], [3, 5], [np.nan, 5], [1, 5]])
    inputs = tabular.ArrayInputs.learn(X)
    assert inputs == tabular.ArrayInputs(2, [1, 5], [1.5, 5], [np.std([1, 3, 1, 1]), 0])
    encoded = inputs.encode(X)
    assert encoded.dtype == np.float32 and not encoded[:, 1].any()
    assert np.allclose(encoded[:, 0], (np.array([1, 3, 1, 1]) - 1.5) / np.std([1, 3, 1, 1]))
    with pytest.raises(ValueError, match=r"X must have 2 dimensions and 2 columns, got shape \(4, 3\)"):
        inputs.encode(np.zeros((4, 3)))
    pixels = np.zeros((2, 3), np.uint8)
    assert tabular.ArrayInputs(3).encode(pixels) is pixels
    assert tabular.ArrayInputs(3).encode(pixels.astype(float)).dtype == np.float32


# ------------------------------------------------------------------------------------------------------------- target


@pytest.mark.parametrize(
    "values, task, expected",
    [
        (np.array(["b", "a", "b", "a"] * 3, object), None, tabular.Classes("y", ["a", "b"])),
        (np.array([2.0, 0, 1] * 5), None, tabular.Classes("y", ["0", "1", "2"], True)),
        (np.array([-1, 1] * 5), "classification", tabular.Classes("y", ["-1", "1"], True)),
        (np.array([0.0, 2.0] * 8), "regression", tabular.Quantity(["y"], [1], [1])),
        (np.array([0.0, 1.5, 3.0] * 5), None, tabular.Quantity(["y"], [1.5], [np.sqrt(1.5)])),
        (np.repeat(np.arange(21.0), 5), None, tabular.Quantity(["y"], [10], [np.sqrt(110 / 3)])),
        (np.arange(8.0), None, tabular.Quantity(["y"], [3.5], [np.sqrt(5.25)])),
        (np.full(6, 2.0), "regression", tabular.Quantity(["y"], [2], [1])),
        (np.array([[0.0, 1], [2, 5]]), None, tabular.Quantity(["y_0", "y_1"], [1, 3], [1, 2])),
    ],
)
def test_the_task_is_chosen_from_the_target(values, task, expected):
    found = tabular.learn_target("y", values, rows_of(values), task)
    if isinstance(expected, tabular.Classes):
        assert found == expected
    else:
        assert found.columns == expected.columns and np.allclose(found.mean, expected.mean)
        assert np.allclose(found.deviation, expected.deviation)


@pytest.mark.parametrize(
    "values, options, message",
    [
        (np.array(["a", "b"], object), {"task": "regression"}, "target 'y' must be numbers for regression"),
        (np.array([0.5, 1, 1, 1]), {"task": "classification"}, "target 'y' must be text or integers"),
        (np.array(["a"] * 4, object), {}, "target 'y' is a in all rows: there is nothing to learn"),
        (np.array(list("abcdef"), object), {}, "target 'y' has 6 classes in 6 rows: too few of each"),
        (np.array([1.5, 0.0]), {"scale": "log"}, "target 'y' has no logarithm: its least value is 0"),
        (np.array([1.5, -1.0]), {"scale": "counts"}, "target 'y' must be counts"),
    ],
)
def test_targets_that_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        tabular.learn_target("y", values, rows_of(values), **options)


def test_target_values(tmp_path):
    table = tabular.read(written(tmp_path, "n,t,m\n1,a,1\n2,b,2\n3,c,x\n"))
    assert np.array_equal(tabular.target_values(table, "n"), [1.0, 2.0, 3.0])
    assert tabular.target_values(table, "t").tolist() == ["a", "b", "c"]
    assert tabular.target_values(table, "m", "classification").tolist() == ["1", "2", "x"]
    with pytest.raises(ValueError, match="line 4, column 'm': 'x' is not a finite number: mend it, or use --task"):
        tabular.target_values(table, "m")
    with pytest.raises(ValueError, match="line 2, column 't': 'a' is not a finite number$"):
        tabular.target_values(table, "t", "regression")


def test_classes():
    target = tabular.Classes("y", ["a", "b", "c"])
    assert target.encode(np.array(["c", "a", "z"], object)).tolist() == [2, 0, -1]
    outputs = np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], np.float32)) + 1000
    decoded = target.decode(outputs)
    assert list(decoded) == ["y", "probability_a", "probability_b", "probability_c"]
    assert decoded["y"].tolist() == ["b", "a"]
    assert np.allclose(decoded["probability_b"], [0.5, 0.1], rtol=1e-3)
    integers = tabular.Classes("y", ["0", "7"], True)
    assert integers.encode(np.array([7.0, 0.0, 7.5, 3.0])).tolist() == [1, 0, -1, -1]


def test_quantities():
    values = np.array([[1.0], [10.0], [100.0]])
    target = tabular.Quantity.learn(["y"], values, "log")
    assert np.allclose(target.encode(values), [[-np.sqrt(1.5)], [0], [np.sqrt(1.5)]])
    assert np.allclose(target.decode(target.encode(values))["y"], values[:, 0])
    counts = tabular.Quantity.learn(["y"], np.array([[0.0], [4.0]]), "counts")
    assert np.exp(counts.encode(np.array([[0.0], [4.0]]))).tolist() == [[0.0], [2.0]]
    assert np.allclose(counts.decode(np.zeros((1, 1)))["y"], 2)
    levels = tabular.Quantity(["a", "b"], [0, 100], [1, 10], quantiles=[0.1, 0.9])
    assert levels.outputs == 4
    decoded = levels.decode(np.array([[1.0, 2, 4, 3]]))  # the last two cross
    assert {name: of.tolist() for name, of in decoded.items()} == {
        "a_0.1": [1.0],
        "a_0.9": [2.0],
        "b_0.1": [130.0],
        "b_0.9": [140.0],
    }
    with pytest.raises(ValueError, match="quantiles must increase"):
        tabular.Quantity(["a"], [0], [1], quantiles=[0.9, 0.1])


# -------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def model():
    inputs = tabular.TableInputs([tabular.NumberColumn("n", 2.5, 0.1, 1 / 3), tabular.TextColumn("t", ["", "ü", '"'])])
    return fb.Network(4, [fb.Dense(3, "relu"), fb.Dense(2)], seed=1), tabular.Encoding(
        inputs, tabular.Classes("y", ["no", "yes"])
    )


def test_a_file_holds_net_and_encoding(tmp_path, model):
    net, encoding = model
    path = tmp_path / "model.npz"
    tabular.save(path, net, encoding)
    again, found = tabular.load(path)
    assert found == encoding and found.inputs.columns[0].mean == 0.1
    X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    assert np.array_equal(again.predict(X), net.predict(X))
    assert np.array_equal(fb.load(path).parameters, net.parameters)
    description, _ = storage.read(path, expected_vectors)
    assert description["table"]["version"] == 1 and json.dumps(description["table"])
    assert not [name for name in np.load(path).files if np.load(path)[name].dtype.hasobject]


@pytest.mark.parametrize("target", [tabular.Quantity(["y"], [0.1], [2]), tabular.Classes("y", ["1", "2", "3"], True)])
def test_files_of_arrays(tmp_path, target):
    encoding = tabular.Encoding(tabular.ArrayInputs(2, [1, 2], [0.1, 0.2], [0, 3]), target)
    net = fb.Network(2, [fb.Dense(target.outputs)])
    tabular.save(tmp_path / "model.npz", net, encoding)
    assert tabular.load(tmp_path / "model.npz")[1] == encoding


def test_files_that_are_refused(tmp_path, model):
    net, encoding = model
    path = tmp_path / "model.npz"
    net.save(path)
    with pytest.raises(ValueError, match="model.npz: .*it holds a network and no table"):
        tabular.load(path)

    def write(**changes):
        record = {"version": 1, **encoding.to_dict(), **changes}
        storage.write(path, {"network": net.description(), "table": record}, net.vectors(), expected_vectors)

    write(version=2)
    with pytest.raises(ValueError, match="its table is of version 2; this fastbp reads version 1"):
        tabular.load(path)
    write(target={"kind": "sgd"})
    with pytest.raises(ValueError, match="model.npz: its header makes no sense"):
        tabular.load(path)
    write(target=tabular.Classes("y", ["a"]).to_dict())
    with pytest.raises(ValueError, match="its network and its table do not fit each other"):
        tabular.load(path)
