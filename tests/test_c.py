"""The C sources below Python: every kernel and every vector function, on each instruction set, compiled here and run.

Two small programs are linked to the kernels: c/kernel_bits.c runs every kernel, c/math_test.c every vector operation
and function. A third, c/no_memory.c, is linked to all but cpu.c and lets each allocation fail. The kernels are the
object files that the last build left in build/, unless a source has changed since; all others are compiled here.
Instruction sets with fused multiply-add must agree bit for bit. NEON runs under emulation where a cross compiler and an
emulator are installed; its kernels are compiled with less optimization, on which no bit depends.
"""

import ast
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastbp as fb

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src_c"
PROGRAMS = ROOT / "tests" / "c"
ISAS = ["portable", "avx2", "avx512", "neon"]
FUSED = ISAS[1:]
REALS = ["f32", "f64"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
CROSS_COMPILER, EMULATOR, CROSS_LIBRARIES = "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"
HERE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
# Rounding apart, portable's sums may differ from the others' by this much of the sum of magnitudes.
TOLERANCE = {"f32": 2e-6, "f64": 4e-15}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the C programs need mmap")


def flags_of_setup():
    """C_FLAGS and ISA_FLAGS as setup.py has them."""
    found = {}
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id in ("C_FLAGS", "ISA_FLAGS"):
            found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found["C_FLAGS"], found["ISA_FLAGS"]


C_FLAGS, ISA_FLAGS = flags_of_setup()


def native_compiler():
    named = os.environ.get("CC", "").split()
    return (
        named
        if named and shutil.which(named[0])
        else next(([c] for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    )


def toolchain(isa):
    """The compiler and what runs its programs, for an instruction set; a str says why there is none."""
    if isa in ("avx2", "avx512") and HERE != "x86_64":
        return f"{isa} belongs to x86-64, and this machine is {HERE}"
    if isa == "neon" and HERE != "aarch64":
        if not (shutil.which(CROSS_COMPILER) and shutil.which(EMULATOR) and os.path.isdir(CROSS_LIBRARIES)):
            return f"needs {CROSS_COMPILER}, {EMULATOR} and {CROSS_LIBRARIES}"
        return [CROSS_COMPILER], [EMULATOR, "-L", CROSS_LIBRARIES]
    compiler = native_compiler()
    if compiler is None:
        return "needs a C compiler: none of $CC, cc, gcc and clang is there"
    if isa not in fb.cpu.available():
        return f"this processor does not run {isa}"
    return compiler, []


def run(command, timeout=300):
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)} returned {done.returncode}:\n{output[-4000:]}"
    return done.stdout


def built_object(name):
    """The object file of a source in src_c that the last release build left, or None where a source is newer."""
    objects = list(ROOT.glob(f"build/temp.*[0-9]/src_c/{name}.o"))
    if not objects:
        return None
    newest = max(objects, key=lambda path: path.stat().st_mtime)
    sources = [ROOT / "setup.py", *SOURCES.rglob("*.[ch]")]
    return newest if all(source.stat().st_mtime < newest.stat().st_mtime for source in sources) else None


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Both programs for every instruction set that can be run here: {isa: future of a function that runs it}."""
    folder = tmp_path_factory.mktemp("c")
    jobs = {}

    def compiled(compiler, source, name, *flags):
        output = folder / name
        run([*compiler, *C_FLAGS, *WARNINGS, *flags, f"-I{SOURCES}", "-c", source, "-o", output])
        return output

    def kernels(compiler, name, *flags):
        built = built_object(f"isa/{name}") if compiler[0] != CROSS_COMPILER else None
        return built or compiled(compiler, SOURCES / "isa" / f"{name}.c", f"{name}.o", *flags)

    def kernel_bits(isa, compiler, runner, objects):
        linked = folder / f"kernel_bits_{isa}"
        source = PROGRAMS / "kernel_bits.c"
        run([*compiler, "-std=c11", "-O1", "-ffp-contract=off", *WARNINGS, f"-DISA={isa}", f"-I{SOURCES}", source,
             *(job.result() for job in objects), "-o", linked, "-lm"])  # fmt: skip
        sweep = [] if runner else ["sweep"]
        with ThreadPoolExecutor(len(REALS)) as halves:
            return "".join(halves.map(lambda real: run([*runner, linked, real, *sweep]), REALS))

    def math_test(isa, real, compiler, runner):
        linked = folder / f"math_test_{isa}_{real}"
        flags = [*ISA_FLAGS[isa], f"-DFBP_REAL={real[1:]}", f'-DVEC_HEADER="{SOURCES / "vec" / isa}.h"']
        optimize = [flag.replace("-O3", "-O2") for flag in C_FLAGS]
        run([*compiler, *optimize, *WARNINGS, *flags, PROGRAMS / "math_test.c", "-o", linked, "-lm"])
        return run([*runner, linked])

    with ThreadPoolExecutor(os.cpu_count()) as compilers, ThreadPoolExecutor(len(ISAS)) as linkers:
        for isa in reversed(ISAS):  # the emulated one first: it takes the longest
            tools = toolchain(isa)
            if isinstance(tools, str):
                continue
            emulated = ["-Og"] if tools[1] else []
            objects = [
                compilers.submit(kernels, tools[0], f"{isa}_{real}", *ISA_FLAGS[isa], *emulated) for real in REALS
            ]
            objects.append(compilers.submit(compiled, tools[0], SOURCES / "rng.c", f"rng_{isa}.o"))
            jobs[isa] = linkers.submit(kernel_bits, isa, *tools, objects)
            for real in REALS:
                jobs[isa, real] = compilers.submit(math_test, isa, real, *tools)
        yield jobs


def output_of(programs, isa, *real):
    tools = toolchain(isa)
    if isinstance(tools, str):
        pytest.skip(tools)
    return programs[(isa, *real) if real else isa].result()


def kernel_lines(programs, isa):
    """{"f32 gemm": (hash, sum, size)} of a run of kernel_bits."""
    output = output_of(programs, isa)
    lines = output.splitlines()
    assert lines.count("ok") == len(REALS), output[-4000:]
    found = {}
    for line in lines:
        if line == "ok":
            continue
        real, name, digest, total, size = line.split()
        found[f"{real} {name}"] = digest, float(total), float(size)
    return found


# ------------------------------------------------------------------------------------------------------- headers


HEADERS = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.h"))


@pytest.mark.parametrize(
    "header", [name for name in HEADERS if not name.startswith("vec/") or name in ("vec/math.h", "vec/vec.h")]
)
def test_a_header_can_be_opened_alone(header):
    """As an editor opens it: without flags, with nothing included before it."""
    if native_compiler() is None:
        pytest.skip("needs a C compiler")
    run([*native_compiler(), "-fsyntax-only", "-xc", "-std=c11", *WARNINGS, "-Wno-unused-function", SOURCES / header])


# ------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("isa", ISAS)
def test_kernels_run(programs, isa):
    """Parts and aliases change no bit, and nothing beyond an array is touched: kernel_bits.c checks that."""
    lines = kernel_lines(programs, isa)
    assert len(lines) == len(set(lines)) and {name.split()[0] for name in lines} == set(REALS)
    # Every entry of the table has run: its words are in the header, between the struct's braces.
    header = (SOURCES / "fbp.h").read_text()
    table = header[header.index("struct fbp_kernels {") : header.index("extern const struct fbp_kernels")]
    entries = [text.split(")")[0] for text in table.split("(*")[1:]] + ["loss"]
    assert "gemm" in entries and "all_finite" in entries
    for entry in entries:
        assert any(name.split()[1].startswith(entry) for name in lines), f"no line for {entry}"
    assert len({digest for digest, _, _ in lines.values()}) > 0.8 * len(lines)


@pytest.mark.parametrize("isa", FUSED[1:])
def test_kernels_have_the_same_bits(programs, isa):
    """Whatever has fused multiply-add gives one and the same hash for every kernel."""
    first, other = (kernel_lines(programs, name) for name in (FUSED[0], isa))
    assert first.keys() == other.keys()
    differ = [name for name in first if first[name][0] != other[name][0]]
    assert not differ, f"{FUSED[0]} and {isa} differ in {', '.join(differ)}"


@pytest.mark.parametrize("isa", FUSED)
def test_portable_kernels_agree_but_for_rounding(programs, isa):
    portable, other = kernel_lines(programs, "portable"), kernel_lines(programs, isa)
    assert portable.keys() == other.keys()
    for name, (_, total, size) in portable.items():
        _, other_total, other_size = other[name]
        limit = TOLERANCE[name[:3]] * max(size, other_size)
        assert abs(total - other_total) <= limit and abs(size - other_size) <= limit, name


# ---------------------------------------------------------------------------------- vector operations and functions


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("isa", ISAS)
def test_vector_functions(programs, isa, real):
    """The vocabulary lane by lane against scalar C, and the functions of math.h at the edges."""
    output = output_of(programs, isa, real)
    assert output.startswith(f"{isa} {real}\n") and output.endswith("\nok\n"), output[-4000:]


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("isa", FUSED[1:])
def test_vector_functions_have_the_same_bits(programs, isa, real):
    def bits(name):
        lines = [line for line in output_of(programs, name, real).splitlines() if line.startswith("bits ")]
        assert len(lines) == 1
        return lines[0]

    assert bits(FUSED[0]) == bits(isa)


# ------------------------------------------------------------------------------------------------------ warnings


@pytest.mark.parametrize("compiler", ["gcc", "clang", CROSS_COMPILER])
def test_no_warnings(compiler):
    """Every C source, read whole by each compiler that is there."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not there")
    machine = "aarch64" if compiler == CROSS_COMPILER else HERE
    isas = {"x86_64": ISAS[:3], "aarch64": ["portable", "neon"]}.get(machine, ["portable"])
    sources = [(path, []) for path in sorted(SOURCES.glob("*.c"))]
    sources += [(SOURCES / "isa" / f"{isa}_{real}.c", ISA_FLAGS[isa]) for isa in isas for real in REALS]

    def check(source):
        path, flags = source
        run([compiler, *C_FLAGS, *WARNINGS, *flags, "-pthread", f"-I{SOURCES}", "-fsyntax-only", path])

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(check, sources))


# ------------------------------------------------------------------------------------------------- failing allocations

# These do not allocate in the implementations of Linux.
HARMLESS = {f"pthread_{name}" for name in ("cond_broadcast", "cond_init", "cond_wait", "detach", "mutex_init",
                                           "mutex_lock", "mutex_unlock", "once")}  # fmt: skip
WRAPPED = ["malloc", "calloc", "free", "pthread_atfork", "pthread_create", "pthread_key_create", "pthread_setspecific"]


@pytest.mark.skipif(platform.system() == "Darwin", reason="its linker has no --wrap")
def test_every_allocation_and_every_start_of_a_thread_may_fail(tmp_path):
    compiler = native_compiler()
    if compiler is None:
        pytest.skip("needs a C compiler")
    isa = next((name for name in ("avx2", "neon") if name in fb.cpu.available()), "portable")
    names = [path.stem for path in SOURCES.glob("*.c") if path.stem != "cpu"]  # which needs all of isa/
    objects = []
    for name, flags in [*((name, []) for name in names), (f"isa/{isa}_f32", [*ISA_FLAGS[isa], "-O1"])]:
        objects.append(built_object(name) or tmp_path / f"{Path(name).name}.o")
        if not objects[-1].exists():
            run([*compiler, *C_FLAGS, *flags, f"-I{SOURCES}", "-c", SOURCES / f"{name}.c", "-o", objects[-1]])
    # What the core calls must be in the list above, or it would be tested without being told.
    called = {line.split()[-1] for path in objects for line in run(["nm", "-u", path]).splitlines()}
    allocate = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign", "mmap", "strdup", "free"}
    assert called & (allocate | {name for name in called if name.startswith("pthread_")}) <= set(WRAPPED) | HARMLESS
    program = tmp_path / "no_memory"
    run([*compiler, "-std=c11", "-O1", *WARNINGS, f"-DISA={isa}", f"-I{SOURCES}", PROGRAMS / "no_memory.c", *objects,
         "-o", program, "-lm", "-pthread", *(f"-Wl,--wrap={name}" for name in WRAPPED)])  # fmt: skip
    assert run([program]) == "ok\n"
