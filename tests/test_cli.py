"""The command line, as a person meets it: in processes of its own."""

import csv
import gzip
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import tabular
from fastbp.cli import main, settings
from fastbp.cli.options import parser

ROOT = Path(fb.__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, modes and terminals of POSIX")


# Programs started here find the package that is under test, wherever they stand.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "COLUMNS": "120",
}


def start(*arguments, cwd, **keywords):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **keywords}
    command = [sys.executable, "-m", "fastbp", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, **streams)


def run(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def fails(*arguments, cwd, status, message):
    """One line on stderr, and no traceback."""
    code, out, err = run(*arguments, cwd=cwd)
    assert code == status, err
    assert err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err
    assert re.search(message, err), err
    return out, err


def called(capsys, *arguments):
    """A command in this process: its status, and what it prints."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments, message, status=2):
    """One line on stderr."""
    code, _, err = called(capsys, *arguments)
    assert code == status, err
    assert err.startswith("fastbp: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert re.search(message, err.rstrip("\n")), err


@pytest.fixture
def mnist(tmp_path):
    """A folder in the format of MNIST with 60 and 20 images of 4 x 3, one gzipped file among them."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    for part, rows in (("train", 60), ("t10k", 20)):
        labels = np.arange(rows, dtype=np.uint8) % 5
        images = (rng.integers(0, 50, (rows, 12)) + 200 * (np.arange(12) == labels[:, None])).astype(np.uint8)
        sizes = [(size).to_bytes(4, "big") for size in (rows, 4, 3)]
        data = gzip.compress(b"\0\0\x08\x03" + b"".join(sizes) + images.tobytes())
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(data)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[0] + labels.tobytes())
    return folder


# --------------------------------------------------------------------------------------------------------- the main job


def test_train(tmp_path):
    code, out, err = run("train", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "digits: 1,797 rows of 64 numbers" in out
    assert "predicting 'digit', one of 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in out
    assert "rows: 1,150 to train on, 288 to validate, 359 to test; net 64-128-64-10, 17,226 parameters" in out
    assert re.search(r"^trained \d+ epochs in [\d.]+ s on \w+; epoch \d+ was the best, and is kept$", out, re.M)
    assert "on 359 rows not used until now:\n" in out
    accuracy = re.search(r"^  accuracy ([\d.]+)% \(\d+ of 359\); always '\d' would be right in 1[\d.]+%$", out, re.M)
    assert float(accuracy[1]) > 95
    assert re.search(r"^NumPy twin: 3 epochs in [\d.]+ s, [\d.]+ times as long$", out, re.M)
    assert re.search(r"its training loss in epoch 3, [\d.]+, agrees with [\d.]+$", out, re.M)
    assert os.listdir(tmp_path) == ["model.npz"]
    net = fb.load(tmp_path / "model.npz")
    assert (net.inputs, net.outputs) == (64, 10)
    X, y = fb.load_digits()
    assert (net.predict(X).argmax(axis=1) == y).mean() > 0.97


def test_options(tmp_path):
    out = run(
        *("train", "digits", "--epochs", 2, "--batch-size", 100, "--layers", "20,10", "--learning-rate", 0.01),
        *("--seed", 5, "--threads", 1, "-o", tmp_path / "digits.npz", "--no-compare", "--dropout", 0),
        cwd=tmp_path,
    )
    assert out[0] == 0 and "net 64-20-10-10" in out[1] and "trained 2 epochs" in out[1] and "twin" not in out[1]
    net = fb.load(tmp_path / "digits.npz")
    assert [layer.units for layer in net.layers] == [20, 10, 10] and net.seed == 5


def test_one_seed_one_model(tmp_path):
    arguments = ("train", "--epochs", 2, "--seed", 3, "--no-compare")
    for name, threads in (("a", 1), ("b", 2)):
        assert run(*arguments, "--threads", threads, "-o", f"{name}.npz", cwd=tmp_path)[0] == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_data_in_the_format_of_mnist(tmp_path, mnist):
    code, out, err = run("train", mnist, "--batch-size", 10, "--layers", 8, "--compare", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "rows: 48 to train on, 12 to validate, 20 to test; net 12-8-5" in out
    assert "agrees with" in out
    code, out, err = run("evaluate", "model.npz", mnist, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert f"{mnist}: 20 rows" in out and "\n  4: 4 rows, 100.0% found" in out
    code, out, err = run("predict", "model.npz", mnist, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert [line.split(",")[0] for line in out.splitlines()] == ["digit", *"01234" * 4]


@POSIX
def test_on_a_terminal_a_bar_shows_progress(tmp_path):
    pytest.importorskip("tqdm")
    ours, theirs = os.openpty()
    import termios

    termios.tcsetwinsize(theirs, (24, 120))
    process = start("train", "--epochs", 5, "--no-compare", cwd=tmp_path, stderr=theirs, text=False)
    os.close(theirs)
    bar = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        bar += piece
    os.close(ours)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert b"epoch 5 of 5: 100%" in bar and b"val_accuracy=" in bar
    assert b"epoch 5 of 5" not in out and b"trained 5 epochs" in out


def test_info(tmp_path):
    code, out, err = run("info", cwd=tmp_path)
    assert (code, err) == (0, "")
    for word in (fb.__version__, fb.cpu.isa(), *fb.cpu.available(), "threads", "build", np.__version__):
        assert word in out


def test_bench(tmp_path):
    code, out, err = run("bench", "--nets", "24-8-2", "--rounds", 1, "--json", "bench.json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert fb.__version__ in out and np.__version__ in out and "us a step" in out and "NumPy us" in out
    kinds = 1 + (fb.cpu.cores() > 1)
    rows = [line.split() for line in out.splitlines() if line.startswith("24-8-2 ")]
    assert [row[1:3] for row in rows] == [["200", "adam"]] * kinds
    assert all(float(value) > 0 for row in rows for value in row[3:9])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found["records"]) == kinds and found["machine"]["isa"] == fb.cpu.isa()
    for row, record in zip(rows, found["records"]):
        (ours,), (theirs,) = record["seconds"]["fastbp"], record["seconds"]["numpy"]
        assert record["flops"] == 2 * 200 * (2 * 24 * 8 + 3 * 8 * 2)
        assert record["ratio"] == {"best": theirs / ours, "median": theirs / ours}
        assert float(row[7]) == pytest.approx(theirs / ours, abs=0.006)
    assert os.listdir(tmp_path) == ["bench.json"]


def test_bench_refuses(tmp_path):
    fails("bench", "--nets", "zz", cwd=tmp_path, status=2, message="no net's name contains 'zz'; there are 4-64-64-2, ")
    fails("bench", "--json", "nowhere/a.json", cwd=tmp_path, status=2, message="--json: .*nowhere: no such folder")
    fails("bench", "--rounds", "0", cwd=tmp_path, status=2, message="--rounds: must be a whole number")


COMMANDS = ("train", "predict", "evaluate", "info", "bench")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(capsys, command):
    """It begins with an example, which the parser takes."""
    code, out, err = called(capsys, *filter(None, [command]), "--help")
    assert (code, err) == (0, "")
    examples = re.match(r"Example: (.*\n(?: +fastbp .*\n)*)\nusage: fastbp ", out)[1].split("\n")
    for example in filter(None, examples):
        name, *arguments = example.split()
        assert name == "fastbp" and arguments[0] == (command or arguments[0])
        parser().parse_args(arguments)
    assert "None" not in out and "%(" not in out
    if command is None:
        assert all(f"    {name} " in out for name in COMMANDS)
    if command == "train":
        for option in ("target", "quantiles", "layers", "loss", "optimizer", "schedule", "seed", "threads", "plot"):
            assert f"--{option} " in out


def test_version(capsys):
    assert called(capsys, "--version") == (0, f"fastbp {fb.__version__}\n", "")


def test_help_needs_little(tmp_path):
    """What a command needs is imported when it is carried out."""
    code = (
        "import sys\nfrom fastbp import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "print(*(name for name in sys.modules if name.split('.')[0] in ('pandas', 'matplotlib', 'tqdm', 'sklearn')),"
        " *(name for name in sys.modules if name.startswith(('fastbp.cli.train', 'fastbp.tabular', 'fastbp.bench'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "" and "usage: fastbp" in done.stdout


def test_there_is_a_program():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="fastbp") or [None]
    if script is None:
        pytest.skip("fastbp is not installed")
    assert script.value == "fastbp.cli:main" and script.load() is main


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "the following arguments are required: COMMAND .fastbp --help"),
        (("bench-it",), "invalid choice: 'bench-it'"),
        (("train", "--epoch-count", "3"), "unrecognized arguments: --epoch-count"),
        (("train", "--epochs", "0"), "--epochs: must be a whole number in 1 .. .*, got '0' .fastbp train --help"),
        (("train", "--epochs", "2.5"), "--epochs: must be a whole number"),
        (("train", "--epochs"), "--epochs: expected one argument"),
        (("train", "--batch-size", "-1"), "--batch-size"),
        (("train", "--layers", "12x"), "--layers: must be whole numbers from 1, as 128,64, or none, got '12x'"),
        (("train", "--layers"), "--layers: expected one argument"),
        (("train", "--learning-rate", "fast"), "--learning-rate: must be a number of at least 0, got 'fast'"),
        (("train", "--learning-rate", "nan"), "--learning-rate"),
        (("train", "--dropout", "1"), "--dropout: must be a share, at least 0 and below 1, got '1'"),
        (("train", "--quantiles", "0.9,0.1"), "--quantiles: must be levels that increase, .* got '0.9,0.1'"),
        (("train", "--quantiles", "0,0.1"), "--quantiles: must be levels"),
        (("train", "--seed", str(2**64)), "--seed: must be a whole number in 0 .. "),
        (("train", "--threads", "0"), "--threads"),
        (("train", "--delimiter", ",,"), "--delimiter: must be one character"),
        (("train", "digits", "--lr", "0.1"), r"unrecognized arguments: --lr 0.1 \(fastbp train --help shows"),
        (("info", "a.npz", "b.npz"), r"unrecognized arguments: b.npz \(fastbp info --help shows"),
        (("--epochs", "3", "train"), r"argument COMMAND: invalid choice: '3'"),
        (("predict", "model.npz"), "the following arguments are required: DATA"),
    ],
)
def test_bad_options(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    refused(capsys, *arguments, message=message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "status, arguments, message",
    [
        (2, ("--batch-size", 5000), "--batch-size is 5000; there are 1150 rows to train on"),
        (2, ("-o", "model.txt"), "--output must end in .npz or .safetensors, got model.txt"),
        (2, ("-o", "nowhere/model.npz"), "--output: .*nowhere: no such folder"),
        (2, ("-o", "folder.npz"), "--output: folder.npz is not a file"),
        (2, ("--log", "log.txt"), "--log must end in .csv or .jsonl"),
        (2, ("--plot", "nowhere/a.png"), "--plot: .*nowhere: no such folder"),
        (2, ("--checkpoint", "c"), "--checkpoint must end in .npz or"),
        (2, ("--activation", "cube"), "activation must be one of 'identity', .* got 'cube'"),
        (2, ("--target", "y"), "--target goes with a CSV or a .npz file"),
        (2, ("--drop", "y"), "--drop and --text go with the columns of a CSV file"),
        (2, ("--loss", "huber", "--task", "classification"), "--loss, --quantiles and --log-target are for numbers"),
        (2, ("--loss", "huber", "--quantiles", "0.5"), "--loss does not go with --quantiles"),
        (2, ("--balanced", "--task", "regression"), "--balanced goes with classes"),
        (2, ("--optimizer", "lbfgs", "--learning-rate", 1), "--learning-rate does not go with --optimizer lbfgs"),
        (2, ("--optimizer", "lbfgs", "--schedule", "cosine"), "--schedule does not go with --optimizer lbfgs"),
        (2, ("nowhere",), "nowhere: No such file or directory"),
        (2, (".",), "train-images-idx3-ubyte: no such file"),
        (1, ("--learning-rate", "1e30"), "training diverged: the loss became"),
        (1, ("--layers", f"{2**31 - 1},{2**31 - 1}"), "no memory for .* parameters"),
    ],
)
def test_bad_values(tmp_path, capsys, monkeypatch, status, arguments, message):
    (tmp_path / "folder.npz").mkdir()
    monkeypatch.chdir(tmp_path)
    refused(capsys, "train", *arguments, message=message, status=status)
    assert os.listdir(tmp_path) == ["folder.npz"]


def test_a_bad_data_file(tmp_path, mnist):
    path = mnist / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])
    fails("train", mnist, cwd=tmp_path, status=2, message="t10k-labels-idx1-ubyte: truncated")
    path.unlink()
    path.mkdir()
    fails("train", mnist, cwd=tmp_path, status=2, message="t10k-labels-idx1-ubyte: no such file")


@POSIX
def test_files_without_permission(tmp_path, mnist):
    if os.getuid() == 0:
        pytest.skip("root may read and write everything")
    (mnist / "t10k-labels-idx1-ubyte").chmod(0)
    fails("train", mnist, cwd=tmp_path, status=2, message="t10k-labels-idx1-ubyte: Permission denied")
    mnist.chmod(0o500)
    fails("train", "-o", mnist / "model.npz", cwd=tmp_path, status=2, message="no permission to write")
    mnist.chmod(0o700)


@POSIX
@pytest.mark.parametrize("asked", [False, True])
def test_ctrl_c(tmp_path, asked):
    """The last parameters are saved where a file for them was asked for."""
    output = ("-o", "asked.npz") if asked else ()
    process = start(
        *("train", "--epochs", 10**9, "--patience", 0, "--layers", 500, *output),
        cwd=tmp_path,
        preexec_fn=_default_sigint,
    )
    try:
        while "rows: " not in process.stdout.readline():
            pass
        threading.Event().wait(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    if not asked:
        assert err == "fastbp: error: interrupted; no model was saved\n"
        assert os.listdir(tmp_path) == []
        return
    assert re.fullmatch(r"fastbp: error: interrupted in epoch \d+; asked.npz holds the last parameters\n", err)
    net, encoding = tabular.load(tmp_path / "asked.npz")
    X, y = fb.load_digits()
    assert (net.predict(X).argmax(axis=1) == y).mean() > 0.5


def _default_sigint():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a runner in the background may ignore it, which children inherit


@POSIX
def test_a_reader_that_leaves(tmp_path):
    process = start("train", "-v", "--epochs", 2000, "--patience", 0, "--layers", 4, "--no-compare", cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    """What is closed is None in Python, where print would take the other one."""
    for command, status in (("info", 0), ("info no.npz", 2)):
        line = f'"$0" -m fastbp {command} {closed}'
        ended = subprocess.run(["sh", "-c", line, sys.executable], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
        assert ended.returncode == status and b"Traceback" not in ended.stderr
        assert (not ended.stdout) or (status == 0 and closed == "2>&-")


# -------------------------------------------------------------------------------------------------------------- tables


def houses(path, rows=400, seed=0, **options):
    """A CSV of made-up houses: numbers, some missing, and text; and its rows."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(40, 200, rows)
    age = rng.integers(0, 80, rows)
    place = rng.choice(["city", "coast", "village"], rows, p=[0.5, 0.2, 0.3])
    price = 50_000 + 1000 * area * (1 + 0.5 * (place == "coast")) - 500 * age + rng.normal(size=rows) * 5000
    size = np.where(area > 140, "large", np.where(area > 80, "middling", "small"))
    columns = {
        "area": [f"{value:.1f}" if i % 23 else "" for i, value in enumerate(area)],
        "age": age,
        "place": [name if i % 31 else "NA" for i, name in enumerate(place)],
        "price": [f"{value:.2f}" for value in price],
        "size": size,
        "rooms": np.minimum(area // 25, 6).astype(int),
    }
    columns |= options
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
    return columns


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a table to train on and another to predict."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    houses("houses.csv")
    houses("new.csv", 50, 1)
    return tmp_path


def trained(capsys, *arguments):
    code, out, err = called(capsys, "train", *arguments)
    assert (code, err) == (0, ""), err
    return out


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_numbers(folder, capsys):
    out = trained(capsys, "houses.csv", "--target", "price", "-o", "prices.npz")
    assert "houses.csv: 400 rows; columns: 3 of numbers and 2 of text, 10 inputs; 31 missing values" in out
    assert re.search(r"predicting 'price', a number; it goes from \d", out)
    assert "rows: 320 to train on, 80 to validate; net 10-128-64-1" in out
    assert "on 80 rows held out, by which the best epoch was chosen:" in out
    assert float(re.search(r"R2 of 'price' ([\d.]+)", out)[1]) > 0.8

    code, out, err = called(capsys, "predict", "prices.npz", "new.csv", "-o", "predictions.csv")
    assert (code, out, err) == (0, "50 predictions in predictions.csv: price\n", "")
    predicted = np.array([float(row["price"]) for row in read_csv("predictions.csv")])
    right = np.array([float(row["price"]) for row in read_csv("new.csv")])
    error = np.abs(predicted - right).mean()
    assert error < 0.5 * np.abs(right - right.mean()).mean()
    # The same from Python.
    net, encoding = tabular.load("prices.npz")
    cells = tabular.read("new.csv")
    y = encoding.target.decode(fb.load("prices.npz").predict(encoding.inputs.encode(cells)))["price"]
    assert np.allclose(y, predicted, rtol=1e-6)
    assert called(capsys, "predict", "prices.npz", "new.csv")[1] == Path("predictions.csv").read_text()

    code, out, err = called(capsys, "evaluate", "prices.npz", "new.csv")
    assert (code, err) == (0, "") and out.startswith("new.csv: 50 rows\nR2 of 'price' 0.")
    (said,) = re.findall(r"mean absolute error ([\d,]+) in its units; always saying [\d,]+ it would be", out)
    assert abs(float(said.replace(",", "")) - error) <= 1

    code, out, err = called(capsys, "info", "prices.npz")
    assert (code, err) == (0, "")
    for line in (
        "net              10-128-64-1, 9,729 parameters of float32, seed 0",
        "layers           Dense(units=128, activation=ReLU())",
        "predicts         'price', a number",
        "                 place: text: (missing), city, coast, village",
    ):
        assert line in out.splitlines()
    assert re.search(
        r"^from +area: a number, [\d.]+ on average with deviation [\d.]+; [\d.]+ where missing$", out, re.M
    )


def test_classes(folder, capsys):
    out = trained(capsys, "houses.csv", "--target", "size", "--drop", "price", "--drop", "rooms", "--test", "0.1")
    assert "predicting 'size', one of 3 classes: 'large', 'middling', 'small'\n" in out
    assert "rows: 288 to train on, 72 to validate, 40 to test; net 6-128-64-3" in out
    assert re.search(r"accuracy [\d.]+% \(\d+ of 40\); always '\w+' would be right in [\d.]+%", out)
    code, _, err = called(capsys, "predict", "model.npz", "new.csv", "-o", "predictions.csv")
    assert (code, err) == (0, "")
    rows, right = read_csv("predictions.csv"), [row["size"] for row in read_csv("new.csv")]
    assert list(rows[0]) == ["size", "probability_large", "probability_middling", "probability_small"]
    hits = sum(row["size"] == name for row, name in zip(rows, right, strict=True))
    assert hits > 40
    for row in rows:
        p = [float(value) for name, value in row.items() if name != "size"]
        assert abs(sum(p) - 1) < 1e-5 and float(row["probability_" + row["size"]]) == max(p)
    code, out, err = called(capsys, "evaluate", "model.npz", "new.csv")
    assert (code, err) == (0, "") and f"accuracy {hits / 50:.2%} ({hits} of 50)" in out
    large = right.count("large")
    found = sum(row["size"] == name == "large" for row, name in zip(rows, right, strict=True))
    assert f"  large: {large} rows, {found / large:.1%} found; right in " in out
    assert (
        "predicts         'size', one of 3 classes: 'large', 'middling', 'small'"
        in called(capsys, "info", "model.npz")[1]
    )


def test_classes_that_were_never_seen(folder, capsys):
    trained(capsys, "houses.csv", "--target", "size", "--epochs", 2)
    houses("new.csv", 3, 1, size=["large", "vast", "vast"])
    code, out, err = called(capsys, "evaluate", "model.npz", "new.csv")
    assert code == 0 and "new.csv: 3 rows\n" in out and "mean -log(probability of the right class)" in out
    assert err == (
        "fastbp: warning: column 'size' holds 'vast' in 2 rows, which no training row had: "
        "their predictions are wrong\n"
    )
    houses("new.csv", 2, 1, size=["vast", "huge"])
    code, out, err = called(capsys, "evaluate", "model.npz", "new.csv")
    assert code == 0 and "accuracy 0.00% (0 of 2)" in out and "probability" not in out
    assert "column 'size' holds 'huge', 'vast' in 2 rows" in err
    trained(capsys, "houses.csv", "--target", "rooms", "--epochs", 2)
    houses("new.csv", 3, 1, rooms=["3", "12", "2.5"])
    assert "column 'rooms' holds 2.5, 12 in 2 rows" in called(capsys, "evaluate", "model.npz", "new.csv")[2]


def test_quantiles(folder, capsys):
    houses("many.csv", 4000)
    arguments = ("many.csv", "--target", "price", "--quantiles", "0.1,0.5,0.9", "--log-target", "--test", "0.2")
    out = trained(capsys, *arguments, "--drop", "size", "--drop", "rooms")
    assert "predicting quantiles 0.1, 0.5, 0.9 of 'price', by its logarithm" in out
    inside = re.search(r"between the outer two: ([\d.]+)% \(80% wanted\), ([\d,]+) apart in the median", out)
    assert 70 < float(inside[1]) < 90 and 8000 < float(inside[2].replace(",", "")) < 40000
    assert called(capsys, "predict", "model.npz", "new.csv", "-o", "q.csv")[0] == 0
    rows = read_csv("q.csv")
    assert list(rows[0]) == ["price_0.1", "price_0.5", "price_0.9"]
    assert all(sorted(row.values(), key=float) == list(row.values()) for row in rows)
    assert "lie below quantile 0.5" in called(capsys, "evaluate", "model.npz", "new.csv")[1]


def test_integers_are_classes_unless_asked(folder, capsys):
    out = trained(capsys, "houses.csv", "--target", "rooms")
    assert "'rooms', one of 6 classes: 1, 2, 3, 4, 5, 6; --task regression takes them as numbers" in out
    assert called(capsys, "evaluate", "model.npz", "new.csv")[0] == 0
    assert {
        row["rooms"] for row in csv.DictReader(called(capsys, "predict", "model.npz", "new.csv")[1].split())
    } <= set("123456")
    assert "predicting 'rooms', a number" in trained(capsys, "houses.csv", "--target", "rooms", "--task", "regression")
    out = trained(capsys, "houses.csv", "--target", "rooms", "--loss", "poisson")
    assert "predicting 'rooms', a number, by its logarithm; it goes from 1 to 6" in out
    assert float(re.search(r"R2 of 'rooms' ([\d.]+)", out)[1]) > 0.8


def test_one_seed_one_file(folder, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(capsys, "houses.csv", "--target", "size", "--seed", seed, "--epochs", 3, "-o", f"{name}.npz")
    a, b, c = (Path(f"{name}.npz").read_bytes() for name in "abc")
    assert a == b != c


def test_without_pandas(folder, capsys, monkeypatch):
    """Tables need it, arrays and images do not."""
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 1)
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = "CSV files are read with pandas: pip install 'fastbp.table.'$"
    refused(capsys, "train", "houses.csv", "--target", "price", message=message)
    refused(capsys, "predict", "model.npz", "new.csv", message=message)
    assert called(capsys, "info", "model.npz")[0] == 0


@pytest.mark.parametrize("kind", ["digits", "arrays", "mnist"])
def test_pandas_is_imported_for_tables_alone(tmp_path, mnist, kind):
    np.savez(tmp_path / "arrays.npz", X=np.arange(60.0).reshape(20, 3), y=np.arange(20.0))
    data = {"digits": "digits", "arrays": "arrays.npz", "mnist": str(mnist)}[kind]
    code = (
        "import sys\nfrom fastbp.cli import main\n"
        f"assert main(['train', {data!r}, '--epochs', '1', '--no-compare']) == 0\n"
        f"assert main(['predict', 'model.npz', {data!r}, '-o', 'p.csv']) == 0\n"
        "print('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_order_and_other_columns_do_not_matter(folder, capsys):
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2)
    before = called(capsys, "predict", "model.npz", "new.csv")
    rows = read_csv("new.csv")
    with open("other.csv", "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["size", "colour", "rooms", "place", "age", "area"])
        writer.writerows(
            [row["size"], "red", *(row[name] for name in ("rooms", "place", "age", "area"))] for row in rows
        )
    assert called(capsys, "predict", "model.npz", "other.csv") == before


def test_what_was_never_seen(folder, capsys):
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2)
    houses("new.csv", 3, 1, place=["city", "moon", "sea"])
    code, out, err = called(capsys, "predict", "model.npz", "new.csv")
    assert code == 0 and out.count("\n") == 4
    assert err == (
        "fastbp: warning: column 'place' holds 'moon', 'sea' in 2 rows, which no training row had: "
        "taken as none of its categories\n"
    )


def test_what_is_held_out_is_spoken_of_once(folder, capsys):
    houses("houses.csv", place=[f"street {i}" if i < 50 else "square" for i in range(400)])
    _, _, err = called(capsys, "train", "houses.csv", "--target", "price", "--epochs", 2)
    assert err.count("\n") == 1 and "column 'place' holds 'street" in err


def test_rows_without_a_target_are_left_out(folder, capsys):
    houses("gaps.csv", 50, size=["small", "large", "", "NA", "small"] * 10)
    code, out, err = called(capsys, "train", "gaps.csv", "--target", "size", "--epochs", 2)
    assert (code, err) == (0, "fastbp: warning: 20 rows without a value of 'size' left out\n")
    assert "gaps.csv: 30 rows;" in out
    code, out, err = called(capsys, "evaluate", "model.npz", "gaps.csv")
    assert code == 0 and out.startswith("gaps.csv: 30 rows\n") and "left out" in err
    assert called(capsys, "predict", "model.npz", "gaps.csv")[1].count("\n") == 51


@pytest.mark.parametrize(
    "column, arguments, message",
    [
        ({}, (), "--target NAME is missing: houses.csv has the columns 'area', 'age', 'place', "),
        ({}, ("--target", "cost"), "houses.csv has no column 'cost'; it has 'area', "),
        ({}, ("--target", "price", "--drop", "cost"), "--drop: houses.csv has no column 'cost'"),
        ({}, ("--target", "price", "--text", "cost"), "--text: houses.csv has no column 'cost'"),
        ({}, ("--target", "price", "--drop", "price"), "--drop: 'price' is the target: --task says"),
        ({}, ("--target", "rooms", "--text", "rooms"), "--text: 'rooms' is the target: --task says"),
        ({}, ("--target", "size", "--quantiles", "0.5"), "houses.csv, line 2, column 'size': '.*' is not a finite"),
        ({}, ("--target", "size", "--loss", "huber"), "line 2, column 'size': '.*' is not a finite number"),
        ({}, ("--target", "price", "--task", "classification"), "target 'price' must be text or integers"),
        ({}, ("--target", "age", "--log-target"), "target 'age' has no logarithm: its least value is 0"),
        ({"age": ["7"] * 11 + ["7 years"] + ["8"] * 388}, ("--target", "price"), "line 13, column 'age': '7 years' is "
         "not a finite number, as 399 of the column's 400 cells are: mend it, or use --text age or --drop age"),
        ({"price": ["7"] * 11 + ["7 EUR"] + ["8"] * 388}, ("--target", "price"), "line 13, column 'price': '7 EUR' is"),
        ({"price": [f"{i},50" for i in range(400)]}, ("--target", "price"), "target 'price' has 400 classes in 400 "
         "rows .numbers are written as 1234.5.: too few of each"),
        ({"id": [f"no. {i}" for i in range(400)]}, ("--target", "price"), "column 'id' is text with 320 different "
         "values, and 100 are the most that become inputs: leave it out with --drop id"),
        ({"sold on": [f"{1600 + i}-01-01" for i in range(400)]}, ("--target", "price"),
         "column 'sold on' is text .* .dates are text., .* --drop 'sold on'"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(folder, capsys, column, arguments, message):
    houses("houses.csv", **column)
    refused(capsys, "train", "houses.csv", *arguments, message=message)
    assert not Path("model.npz").exists()


def test_nothing_is_written_over_what_is_read(folder, capsys):
    same = "must be another file than"
    np.savez("arrays.npz", X=np.zeros((9, 2)), y=np.arange(9.0))
    before = {name: Path(name).read_bytes() for name in ("arrays.npz", "houses.csv")}
    train = ("train", "houses.csv", "--target", "price")
    refused(capsys, "train", "arrays.npz", "-o", "arrays.npz", message=f"--output {same} DATA, got arrays.npz for both")
    refused(capsys, *train, "--log", "./houses.csv", message=f"--log {same} DATA, got ./houses.csv for both")
    refused(
        capsys, *train, "--checkpoint", "model.npz", message=f"--checkpoint {same} --output, got model.npz for both"
    )
    trained(capsys, *train[1:], "--epochs", 1)
    before["model.npz"] = Path("model.npz").read_bytes()
    predict = ("predict", "model.npz", "houses.csv", "-o")
    refused(capsys, *predict, "houses.csv", message=f"--output {same} DATA, got houses.csv for both")
    refused(capsys, *predict, "model.npz", message=f"--output {same} MODEL, got model.npz for both")
    assert {name: Path(name).read_bytes() for name in before} == before


def test_predictions_that_are_refused(folder, capsys):
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2)
    predict = ("predict", "model.npz")
    Path("short.csv").write_text("area,age\n1,2\n")
    refused(capsys, *predict, "short.csv", message="short.csv has no column 'place'; it has 'area', 'age'$")
    refused(capsys, "evaluate", "model.npz", "short.csv", message="short.csv has no column 'price'")
    houses("junk.csv", 3, age=["1", "?", "old"])
    refused(capsys, *predict, "junk.csv", message="junk.csv, line 4, column 'age': 'old' is not a finite number$")
    houses("huge.csv", 3, age=["1", "1e300", "2"])
    refused(capsys, *predict, "huge.csv", message="huge.csv, line 3, column 'age': '1e300' is too large to scale$")
    refused(capsys, *predict, "new.csv", "-o", "nowhere/p.csv", message="--output: .*nowhere: no such folder")
    refused(capsys, *predict, "digits", message="the model was trained on a table: DATA must be a CSV file, got digits")
    refused(capsys, *predict, "no.csv", message="no.csv: No such file or directory$")
    refused(capsys, "predict", "no.npz", "new.csv", message="no.npz: No such file or directory$")
    refused(capsys, "info", "new.csv", message="path must end in .npz or .safetensors, got new.csv")
    fb.Network(3, [fb.Dense(1)]).save("bare.npz")
    refused(capsys, "predict", "bare.npz", "new.csv", message="bare.npz: it holds a network and no table")
    code, out, _ = called(capsys, "info", "bare.npz")
    assert code == 0 and "predicts         numbers: the file holds no table, fastbp.load reads it" in out
    Path("torn.npz").write_bytes(Path("model.npz").read_bytes()[:-100])
    refused(capsys, "predict", "torn.npz", "new.csv", message="torn.npz: truncated or damaged")


# -------------------------------------------------------------------------------------------------------------- arrays


def test_arrays(folder, capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1, 1000, 1e-6, 0] + 5
    y = np.stack([X[:, 0], -X[:, 1] / 1000], axis=1)
    X[::10, 0] = np.nan
    names = np.where(X[:, 1] > 0, "above", "below")
    np.savez(
        "data.npz", X=X, y=y, names=names, images=(rng.random((300, 2, 3)) * 255).astype("uint8"), text=np.array("a"),
        objects=names.astype(object),
    )  # fmt: skip
    out = trained(capsys, "data.npz")
    assert "data.npz: 300 rows of 4 numbers\npredicting 'y_0', 'y_1', numbers\n" in out
    assert float(re.search(r"R2 of 'y_1' ([\d.]+)", out)[1]) > 0.9
    out = called(capsys, "evaluate", "model.npz", "data.npz")[1]
    assert out.count("R2 of 'y_") == 2
    lines = called(capsys, "predict", "model.npz", "data.npz")[1].splitlines()
    assert lines[0] == "y_0,y_1" and len(lines) == 301
    assert "from             4 numbers a row, scaled" in called(capsys, "info", "model.npz")[1]
    out = trained(capsys, "data.npz", "--target", "names", "--layers", "none")
    assert "one of 2 classes: 'above', 'below'" in out and "net 4-2, 10 parameters" in out
    assert float(re.search(r"accuracy ([\d.]+)%", out)[1]) > 95
    trained(capsys, "data.npz", "--inputs", "images", "--target", "names", "--epochs", 2)
    assert "from             6 numbers a row, as they are" in called(capsys, "info", "model.npz")[1]
    assert called(capsys, "predict", "model.npz", "data.npz", "--inputs", "images")[0] == 0
    refused(capsys, "predict", "model.npz", "data.npz", message="X must have 2 dimensions and 6 columns, got shape")
    refused(capsys, "predict", "model.npz", "new.csv", message="trained on arrays: DATA must be a .npz file or images")
    for arguments, message in (
        (("--target", "z"), "data.npz has no array 'z'; it has 'X', 'y', 'names', 'images', 'text', 'objects'"),
        (("--target", "objects"), "data.npz: 'objects' cannot be read .Object arrays .* with .astype.str."),
        (("--inputs", "names"), "'names' must be numbers .rows, columns., got <U5"),
        (("--target", "text"), "'text' must be numbers or text, one for each of the 300 rows, got <U1 of shape"),
    ):
        refused(capsys, "train", "data.npz", *arguments, message=message)
    Path("data.npz").write_bytes(b"PK\3\4")
    refused(capsys, "train", "data.npz", message="data.npz: truncated or damaged, or not a .npz file")


# -------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "options, layers, trainer",
    [
        ((), 5, "AdamW(learning_rate=0.003, weight_decay=0.1)"),
        (("--activation", "tanh", "--norm", "layer", "--layers", "6,5"), 9, "AdamW("),
        (("--norm", "batch", "--dropout", "0", "--dtype", "float64"), 7, "AdamW("),
        (
            ("--optimizer", "sgd", "--learning-rate", "0.1", "--schedule", "one_cycle"),
            5,
            "SGD(learning_rate=0.1, momentum=0.9)",
        ),
        (("--optimizer", "rmsprop", "--weight-decay", "0.2", "--schedule", "exponential"), 5, "weight_decay=0.2"),
        (("--optimizer", "adagrad", "--schedule", "constant", "--clip-norm", "1"), 5, "Adagrad(learning_rate=0.03)"),
        (("--optimizer", "adam", "--schedule", "cosine", "--validation", "0"), 5, "Adam(learning_rate=0.003)"),
        (("--layers", "none", "--loss", "huber"), 1, "AdamW("),
        (("--loss", "mean_absolute_error", "--patience", "0", "--batch-size", "7"), 5, "AdamW("),
    ],
)
def test_options_of_net_and_training(folder, capsys, monkeypatch, options, layers, trainer):
    made = []
    monkeypatch.setattr(settings, "Trainer", lambda *a, **k: made.append(fb.Trainer(*a, **k)) or made[-1])
    out = trained(capsys, "houses.csv", "--target", "price", "--epochs", 3, *options)
    assert "trained 3 epochs" in out
    assert ("on 400 rows trained on, as none was held out:" in out) == ("--validation" in options)
    assert len(fb.load("model.npz").layers) == layers and trainer in repr(made[0])


def test_lbfgs(folder, capsys):
    pytest.importorskip("scipy")
    out = trained(capsys, "houses.csv", "--target", "price", "--optimizer", "lbfgs", "--layers", "8", "--epochs", "30")
    assert float(re.search(r"R2 of 'price' ([\d.]+)", out)[1]) > 0.8


def test_balanced(folder, capsys):
    houses("rare.csv", age=["1"] * 400, size=["rare" if i % 20 == 0 else "common" for i in range(400)])
    arguments = ("rare.csv", "--target", "size", "--epochs", 5)
    trained(capsys, *arguments)
    assert "rare: 20 rows, 0.0% found; never named" in called(capsys, "evaluate", "model.npz", "rare.csv")[1]
    trained(capsys, *arguments, "--balanced")
    assert "rare: 20 rows, 0.0% found" not in called(capsys, "evaluate", "model.npz", "rare.csv")[1]


def test_log_plot_and_lines(folder, capsys):
    pytest.importorskip("matplotlib")
    arguments = ("--target", "price", "--epochs", 4, "--log", "log.csv", "--plot", "picture.png", "-v")
    out = trained(capsys, "houses.csv", *arguments)
    assert re.findall(r"^epoch (\d): loss [\d.]+, .*val_loss [\d.]+, val_r2 ", out, re.M) == list("1234")
    assert [row["epoch"] for row in read_csv("log.csv")] == list("1234")
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


def test_checkpoint(folder, capsys):
    """The same command goes on from the file, to the same model."""
    arguments = ("houses.csv", "--target", "price", "--schedule", "constant", "--patience", 0, "-o")
    trained(capsys, *arguments, "whole.npz", "--epochs", 6)
    trained(capsys, *arguments, "part.npz", "--epochs", 2, "--checkpoint", "run.npz")
    assert "trained          2 epochs, 20 updates" in called(capsys, "info", "run.npz")[1]
    out = trained(capsys, *arguments, "rest.npz", "--epochs", 6, "--checkpoint", "run.npz")
    assert "trained 6 epochs" in out
    assert Path("rest.npz").read_bytes() == Path("whole.npz").read_bytes() != Path("part.npz").read_bytes()
    again = ("houses.csv", "--target", "price", "--epochs", 3, "--checkpoint", "again.npz", "-o")
    for name in ("first.npz", "second.npz"):
        trained(capsys, *again, name)
    assert Path("first.npz").read_bytes() == Path("second.npz").read_bytes()
    refused(capsys, "train", *arguments, "x.npz", "--checkpoint", "run.npz", "--seed", 1, message="run.npz: its ")


def test_the_checkpoint_of_another_target_is_refused(folder, capsys):
    """Where the nets have the same shape, too."""
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2, "--checkpoint", "run.npz")
    message = "run.npz: it was written for another target or other data: give another --checkpoint"
    other = "run.npz: its fit had other targets"
    refused(capsys, "train", "houses.csv", "--target", "age", "--checkpoint", "run.npz", message=other)
    Path("houses.csv").write_bytes(Path("houses.csv").read_bytes().replace(b"city", b"town"))
    refused(capsys, "train", "houses.csv", "--target", "price", "--checkpoint", "run.npz", message=message)


def test_safetensors(folder, capsys):
    pytest.importorskip("safetensors")
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2, "-o", "model.safetensors")
    trained(capsys, "houses.csv", "--target", "price", "--epochs", 2)
    found = [called(capsys, "predict", f"model.{ending}", "new.csv") for ending in ("npz", "safetensors")]
    assert found[0] == found[1] and found[0][0] == 0


def test_california_housing(folder, capsys):
    path = Path(os.environ.get("FASTBP_DATA", "")) / "california_housing" / "housing.csv.gz"
    if "FASTBP_DATA" not in os.environ or not path.exists():
        pytest.skip("FASTBP_DATA does not name a folder with california_housing in it")
    out = trained(capsys, path, "--target", "median_house_value", "--test", "0.2")
    assert "columns: 8 of numbers and 1 of text, 13 inputs; 207 missing values" in out
    assert float(re.search(r"R2 of 'median_house_value' ([\d.]+)", out)[1]) > 0.78
