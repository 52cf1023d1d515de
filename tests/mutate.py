"""Plants the faults of `faults.toml`, one at a time, and runs the tests that must catch each.

    python -m tests.mutate                # the faults in Python, which need no compiler
    python -m tests.mutate --all          # those in C and Cython as well
    python -m tests.mutate --only NAME    # those whose names contain NAME; may be given several times
    python -m tests.mutate --list

A fault is planted in a copy of the sources in a temporary folder; the checkout is not written to. Those in C and Cython
start from one build of the unchanged sources, after which only objects that depend on the changed file are compiled
again: without optimisation, unless FASTBP_BUILD names another build. Their tests must pass on the unchanged sources
first. The exit status is 1 if a fault survived.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("fastbp", "src_c", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
LONGEST = 600  # seconds that the tests of a fault may take: a fault that makes them hang is caught as well


class Fault(NamedTuple):
    """A fault: `old`, which occurs once in `file`, becomes `new`. One of `tests`, node ids of pytest, then fails."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def is_compiled(self) -> bool:
        return not self.file.endswith(".py")

    @property
    def fits(self) -> bool:
        """Whether it changes one place of the sources."""
        return self.old != self.new and (ROOT / self.file).read_text(encoding="utf-8").count(self.old) == 1


def faults() -> list[Fault]:
    with open(Path(__file__).with_name("faults.toml"), "rb") as file:
        table = tomllib.load(file)
    return [Fault(name, **(record | {"tests": tuple(record["tests"])})) for name, record in table.items()]


def sample(known: list[Fault], count: int, number: int) -> list[Fault]:
    """Some of the faults in Python; which ones, a number tells."""
    python = [fault for fault in known if not fault.is_compiled]
    return [python[(number + i * len(python) // count) % len(python)] for i in range(count)]


def number_of_sources() -> int:
    """Another number after every change of the package."""
    return crc32(b"".join(path.read_bytes() for path in sorted((ROOT / "fastbp").rglob("*.py"))))


def environment(tree: Path) -> dict[str, str]:
    temporary = tree.parent / "temporary"  # goes with the tree, also when the tests are interrupted
    temporary.mkdir(exist_ok=True)
    settings = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(temporary)}
    return {**os.environ, **settings}


def copy_sources(tree: Path) -> None:
    tree.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "_core.*.so", "_core.*.pyd")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, tree)


def copy_core(tree: Path) -> None:
    """The core that this Python imports, which was built from the same sources."""
    core = importlib.util.find_spec("fastbp._core")
    if core is None or core.origin is None:
        raise SystemExit("fastbp has no core yet: build it first")
    shutil.copy2(core.origin, tree / "fastbp")


def build(tree: Path) -> str:
    """Build the core of a tree in place; returns what the compiler said, if it failed."""
    settings = {"FASTBP_BUILD": os.environ.get("FASTBP_BUILD") or "debug"}
    settings["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -DFBP_SMALL"  # kernels that are quick to compile
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=tree, env=environment(tree) | settings, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr or done.stdout


def run_tests(tree: Path, tests: Iterable[str]) -> tuple[str, str]:
    """Run tests on a tree.

    Returns
    -------
    outcome : str
        "passed"; or the test that failed, the signal that ended the process, or "the time limit"; or "an error".
    output : str
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *dict.fromkeys(tests)]
    try:
        done = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return "the time limit", ""
    if done.returncode == 0:
        return ("passed" if re.search(r"\d+ passed", done.stdout) else "an error"), done.stdout  # all may be skipped
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.M)
    if done.returncode == 1 and failed:
        return failed[1], done.stdout
    # A fault may end the process: the kernel's signal is negative.
    return (f"signal {-done.returncode}" if done.returncode < 0 else "an error"), done.stdout + done.stderr


def plant(fault: Fault, base: Path) -> tuple[bool, str]:
    """Run the tests of a fault in a copy of a tree; returns whether it was caught, and how."""
    tree = base.with_name("planted")
    shutil.copytree(base, tree)  # with times, so that only what depends on the fault is built again
    try:
        path = tree / fault.file
        text = path.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            return False, f"an error: the old text occurs {text.count(fault.old)} times in {fault.file}"
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        if fault.is_compiled and (complaint := build(tree)):
            return False, f"an error: it cannot be built\n{complaint}"
        outcome, output = run_tests(tree, fault.tests)
        return outcome not in ("passed", "an error"), outcome + ("\n" + output if outcome == "an error" else "")
    finally:
        shutil.rmtree(tree)


def run(chosen: list[Fault], check: bool = False) -> int:
    """Plant faults one after another, print a line for each, and return how many were not caught.

    check: whether the tests must first pass on the unchanged sources.
    """
    missed = 0
    with tempfile.TemporaryDirectory(prefix="fastbp-faults-") as scratch:
        bases: dict[bool, Path] = {}
        for is_compiled in sorted({fault.is_compiled for fault in chosen}):
            base = bases[is_compiled] = Path(scratch, "compiled" if is_compiled else "python")
            copy_sources(base)
            if not is_compiled:
                copy_core(base)
            elif complaint := build(base):
                raise SystemExit(f"the unchanged sources cannot be built\n{complaint}")
            if check:
                tests = [test for fault in chosen if fault.is_compiled == is_compiled for test in fault.tests]
                outcome, output = run_tests(base, tests)
                if outcome != "passed":
                    raise SystemExit(f"{outcome} fails without any fault\n{output}")
        for fault in chosen:
            started = time.monotonic()
            is_caught, how = plant(fault, bases[fault.is_compiled])
            seconds = time.monotonic() - started
            missed += not is_caught
            print(f"{'caught  ' if is_caught else 'SURVIVED'} {fault.name}: {how} ({seconds:.1f} s)", flush=True)
    print(f"{len(chosen)} planted, {len(chosen) - missed} caught")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutate", description="Plant faults that the tests must catch."
    )
    parser.add_argument("--all", action="store_true", help="faults in C and Cython as well: they need a compiler")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="faults whose names contain NAME")
    parser.add_argument("--list", action="store_true", help="print the faults, and plant none")
    arguments = parser.parse_args()
    chosen = [fault for fault in faults() if arguments.all or arguments.only or arguments.list or not fault.is_compiled]
    if arguments.only:
        chosen = [fault for fault in chosen if any(name in fault.name for name in arguments.only)]
    if not chosen:
        parser.error("no fault has such a name")
    if arguments.list:
        for fault in chosen:
            print(f"{fault.name}: {fault.file}, {', '.join(fault.tests)}")
        return 0
    return 1 if run(chosen, check=True) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
