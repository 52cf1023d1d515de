"""The growth of cost: its sizes, what counts as a cliff, and the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

growth = pytest.importorskip("benches.growth", reason="it is in the checkout, and pytest was not started from it")

ROOT = Path(growth.__file__).resolve().parents[1]


def test_over_the_line():
    # Half way from 1 to 3 in work the line is at 2: 3 is half as much again. At 4 it is at 3.5 and the time is 4.
    assert growth.over_the_line([1, 2, 3], [1.0, 3.0, 3.0]) == [0, 0.5, 0]
    assert growth.over_the_line([0, 10, 40], [2.0, 3.0, 10.0]) == [0, -0.25, 0]
    assert growth.over_the_line([1, 2], [1.0, 9.0]) == [0, 0]


def test_over_smaller():
    # A unit of work takes 2, 1 and 3.
    assert growth.over_smaller([1, 2, 4], [2.0, 2.0, 12.0]) == [0, 0, 2.0]
    assert growth.over_smaller([1, 2], [4.0, 4.0]) == [0, 0]


def sweep(sizes, seconds):
    class Made(growth.Sweep):
        def flops(self, n):
            return n

        def seconds(self, n):
            return seconds[n]

    return Made("made", "made up", sizes, None, None)


def test_a_cliff_is_found():
    seconds = {8: 8.0, 16: 16.0, 17: 30.0, 24: 28.8, 32: 32.0}  # the line at 17 is at 17.6
    made = sweep(list(seconds), seconds)
    record = growth.record(made, growth.time_sweep(made, 1), 0.25)
    assert record["seconds"] == list(seconds.values()) and record["cliffs"] == [17]
    text = "\n".join(growth.lines({"sweeps": [record], "tolerance": 0.25}))
    assert "worst time: 70% over the line between its neighbours, at 17" in text
    assert "worst time per operation: 76% over a smaller size's, at 17" in text
    assert "over the tolerance of 25%: 17" in text


def test_sizes():
    assert growth.around(16) == [1, 2, 4, 7, 8, 9, 15, 16, 17]
    assert growth.around(16, 8, [11]) == [8, 9, 11, 15, 16, 17]
    found = {sweep.name: sweep for sweep in growth.sweeps()}
    assert list(found) == ["batch", "width", "depth", "predict"]
    batch, width, depth = (found[name].sizes for name in ("batch", "width", "depth"))
    assert batch[0] == 1 and batch[-1] == 65537 and {15, 29, 57, 255, 256, 257} <= set(batch)
    assert width[0] == 8 and width[-1] == 4097 and {17, 33, 4095, 769} <= set(width)
    assert depth == list(range(1, 33))
    # 64 rows: x W and x^T dz of 64 x 8, both and dz W^T of 8 x 8 and 8 x 10.
    assert found["width"].flops(8) == 2 * 64 * (2 * 512 + 3 * 64 + 3 * 80)
    assert found["predict"].flops(3) == 2 * 3 * (64 * 128 + 128 * 128 + 128 * 10)


def test_a_run(tmp_path):
    path = tmp_path / "growth.json"
    done = subprocess.run(
        [sys.executable, "-m", "benches.growth", "--quick", "--json", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("over the tolerance of 25%: ") == 4 and os.listdir(tmp_path) == ["growth.json"]
    found = json.loads(path.read_text())
    assert [sweep["name"] for sweep in found["sweeps"]] == ["batch", "width", "depth", "predict"]
    assert all(min(sweep["seconds"]) > 0 for sweep in found["sweeps"])


def test_a_chart(tmp_path):
    pytest.importorskip("matplotlib", reason="charts need Matplotlib")
    from benches import chart, growth_chart

    seconds = {8: 8.0, 16: 16.0, 17: 30.0, 24: 24.5}
    record = growth.record(sweep(list(seconds), seconds), list(seconds.values()), 0.25)
    machine = {"processor": "P", "isa": "i", "fastbp": "0", "compiler": "c"}
    found = {"sweeps": [record], "peak": 1e9, "tolerance": 0.25, "machine": machine, "date": "today"}
    path = tmp_path / "growth.png"
    chart.save(growth_chart.figure_of(found), str(path))
    assert path.read_bytes().startswith(b"\x89PNG\r\n") and os.listdir(tmp_path) == ["growth.png"]


def test_bad_options(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "benches.growth", "--rounds", "0"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--rounds must be at least 1" in done.stderr
    pytest.importorskip("matplotlib", reason="charts need Matplotlib")
    assert growth.main(["--chart", "a.xyz"]) == 1
    assert "--chart: a.xyz must end in .png, .svg, .pdf" in capsys.readouterr().err
