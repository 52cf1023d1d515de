"""A guard on speed that needs no clock: the instructions of a training step, counted by valgrind.

A count says nothing of caches and of the processor's units, but it does not depend on what else the machine does, and
most ways to become slower by accident show in it: a fast path no longer taken, a loop rolled up again, work done twice.

`PYTHONPATH=. python tests/test_instructions.py` prints the counts of today, to be recorded below after a change that
means to alter them.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp as fb

sys.path.insert(0, str(Path(__file__).parent))
from test_c import C_FLAGS, HERE, ISA_FLAGS, PROGRAMS, SOURCES, WARNINGS, built_object, native_compiler, run

# Thousands of instructions a step with AVX2 (valgrind knows no AVX-512), as compiled by COMPILER.
COMPILER = ("gcc", 12)
RECORDED = {"4-64-64-2, batch 1": 33.9, "784-128-10, batch 64": 3781.4, "17-256-256-6 tanh, batch 256": 15663.9}
TOLERANCE = 0.05
FEWER, MORE = 1, 3  # steps


def compiler_version(compiler):
    """("gcc" or "clang", major version), or None for another."""
    words = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"clang version (\d+)|\b(?:gcc|cc)\b.*?(\d+)\.\d+\.\d+", words)
    return found and (("clang", int(found[1])) if found[1] else ("gcc", int(found[2])))


def missing():
    """What counting needs and is not there, or None."""
    if HERE != "x86_64" or "avx2" not in fb.cpu.available():
        return "the counts are those of AVX2, which this machine does not run"
    if shutil.which("valgrind") is None:
        return "needs valgrind"
    compiler = native_compiler()
    if compiler is None:
        return "needs a C compiler"
    version = compiler_version(compiler)
    if version != COMPILER:
        return f"the counts were recorded with {COMPILER[0]} {COMPILER[1]}, and this is {version}"
    return None


def build(folder):
    program = folder / "count_steps"
    kernels = built_object("isa/avx2_f32")
    objects = [kernels] if kernels else []
    files = [(source.name, []) for source in SOURCES.glob("*.c") if source.name != "cpu.c"]  # which needs all of isa/
    for name, flags in files if kernels else [*files, ("isa/avx2_f32.c", ISA_FLAGS["avx2"])]:
        source = SOURCES / name
        objects.append(folder / (source.stem + ".o"))
        run([*native_compiler(), *C_FLAGS, *flags, f"-I{SOURCES}", "-c", source, "-o", objects[-1]])
    main = ["-std=c11", *WARNINGS, "-DISA=avx2", f"-I{SOURCES}", PROGRAMS / "count_steps.c"]
    run([*native_compiler(), *main, *objects, "-o", program, "-lm", "-pthread"])
    return program


def instructions(program, net, steps):
    out = program.with_name("counts")
    run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "-q", program, net, steps])
    return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])


def thousands_a_step(program, net):
    """What the start takes cancels out."""
    return (instructions(program, net, MORE) - instructions(program, net, FEWER)) / (MORE - FEWER) / 1000


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("instructions"))


@pytest.mark.parametrize("net", RECORDED)
def test_instructions_of_a_step(program, net):
    count, recorded = thousands_a_step(program, list(RECORDED).index(net)), RECORDED[net]
    assert abs(count / recorded - 1) <= TOLERANCE, (
        f"a step of {net} takes {count:.1f} thousand instructions, {recorded} were recorded: record it if that is meant"
    )


if __name__ == "__main__":
    import tempfile

    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        for number, name in enumerate(RECORDED):
            print(f"{name}: {thousands_a_step(built, number):.1f}")
