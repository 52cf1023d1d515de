"""The examples, run as a person runs them: they end well, and their figures are what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb

ROOT = Path(fb.__file__).resolve().parents[1]
FOLDER = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
NEED_DATA = ("housing", "mnist", "softmax_regression")

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="fastbp was not imported from a checkout, which holds the examples"
)


def run(name, *arguments, cwd, status=0):
    """What the example prints."""
    command = [sys.executable, "-W", "error", FOLDER / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    if status == 0:
        assert done.stderr == ""
    return done.stdout if status == 0 else done.stderr


def number(pattern, text):
    """The number that a pattern's one group finds, the last of them."""
    return float(re.findall(pattern, text)[-1].replace(",", ""))


def data(folder):
    """The path of a folder of data."""
    path = Path(os.environ.get("FASTBP_DATA", "")) / folder
    if "FASTBP_DATA" not in os.environ or not path.exists():
        pytest.skip(f"FASTBP_DATA does not name a folder with {folder} in it")
    return path


def picture(path):
    """A picture that is one, and not of a single colour."""
    image = pytest.importorskip("matplotlib.image", reason="draws with Matplotlib, which is not installed")
    pixels = image.imread(path)
    assert pixels.shape[0] > 200 and pixels.shape[1] > 400 and pixels[..., :3].std() > 0.05


def test_each_is_short_and_tested():
    tests = Path(__file__).read_text(encoding="utf-8")
    scripts = sorted(FOLDER.glob("*.py"))
    assert len(scripts) >= 9
    for script in scripts:
        assert len(script.read_text(encoding="utf-8").splitlines()) < 60, script.name
        assert f"def test_{script.stem}(" in tests, script.name


@pytest.mark.parametrize("name", NEED_DATA)
def test_without_data(name, tmp_path):
    assert run(name, cwd=tmp_path, status=1) == f"usage: python examples/{name}.py FOLDER\n"


def test_digits(tmp_path):
    out = run("digits", cwd=tmp_path)
    assert number(r"test accuracy ([\d.]+)%", out) >= 96
    assert "1 epochs in" in run("digits", "--epochs", 1, cwd=tmp_path)
    assert len([line for line in out.splitlines() if line.startswith("    ")]) == 8  # a digit's rows


def test_mnist(tmp_path):
    out = run("mnist", data("mnist"), cwd=tmp_path)
    assert "epoch  1  loss" in out
    assert number(r"test accuracy ([\d.]+)%", out) >= 97.5


def test_softmax_regression(tmp_path):
    out = run("softmax_regression", data("mnist"), cwd=tmp_path)
    assert "epoch 60  loss" in out
    assert number(r"test accuracy ([\d.]+)%", out) >= 91.8


def test_housing(tmp_path):
    """Between the outer two of the quantiles it learns lie 80% of the houses held out, to 2%."""
    out = run("housing", data("california_housing"), cwd=tmp_path)
    assert 78 <= number(r"between the outer two: ([\d.]+)%", out) <= 82
    shares = re.findall(r"below the (0\.\d) quantile: ([\d.]+)%", out)
    assert len(shares) == 3
    for level, share in shares:
        assert abs(float(share) - 100 * float(level)) <= 2
    assert number(r"loss ([\d.]+); ", out) < 0.4 * number(r"of all prices ([\d.]+)", out)


def test_online(tmp_path):
    """It stays good on a stream that has turned round, on which a net that stopped learning is worse than chance."""
    out = run("online", "--rows", 20_000, cwd=tmp_path)
    learning, stopped = zip(*re.findall(r"^ *\d+% to +\d+% +([\d.]+)% +([\d.]+)%$", out, re.M))
    assert len(learning) == 10 and min(map(float, learning)) > 90
    assert float(stopped[1]) > 90 and float(stopped[-1]) < 40
    assert number(r"prequential accuracy ([\d.]+)%", out) > 94


def test_cartpole(tmp_path):
    """The mean return of the last update is past 300 pushes; pushed at random a cart stands for some 20."""
    out = run("cartpole", "--updates", 40, "--seed", 1, cwd=tmp_path)
    assert number(r"pushed at random: mean return (\d+)", out) < 40
    assert number(r"update  40: mean return (\d+)", out) > 300


def test_check_gradient(tmp_path):
    """The right gradient passes, the planted fault is found in the first layer's parameters, the net is in order."""
    out = run("check_gradient", cwd=tmp_path)
    assert number(r"right: largest relative error ([\d.e-]+)", out) < 1e-6
    assert "16 of 26 elements are wrong" in out  # W1 and b1
    assert number(r"wrong at \[(\d+)\]", out) < 16
    assert out.splitlines()[-1] == "ok"


def test_step_size(tmp_path):
    out = run("step_size", cwd=tmp_path)
    paths = re.findall(r"^step size ([\d.]+): w = (.*)\n +(.*)", out, re.M)
    verdicts = {"0.5": "at rest", "1.5": "at rest", "2.0": "still moving", "2.5": "diverged"}
    assert [step_size for step_size, _, _ in paths] == list(verdicts)
    for step_size, path, verdict in paths:
        expected = 100 * (1 - (1 - float(step_size)) ** np.arange(1, 7))
        assert [float(w) for w in path.split(", ")] == expected.tolist()
        assert verdict.startswith(verdicts[step_size])


def test_xor(tmp_path):
    out = run("xor", cwd=tmp_path)
    assert "w = (0.000, 0.000), b = 0.500, mean squared error 0.250" in out
    outputs = [float(value) for value in re.findall(r"xor . = (-?[\d.]+)", out)]
    assert np.allclose(outputs, [0, 1, 1, 0], atol=0.05)


@pytest.mark.parametrize("name", ["step_size", "xor"])
def test_pictures(name, tmp_path):
    pytest.importorskip("matplotlib", reason="draws with Matplotlib, which is not installed")
    run(name, "--plot", "picture.png", cwd=tmp_path)
    picture(tmp_path / "picture.png")
    assert os.listdir(tmp_path) == ["picture.png"]
