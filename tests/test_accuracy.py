"""The errors of the elementwise functions and of the products, within the limits of limits.py, which the docs quote.

c/accuracy.c measures the functions: in the tests a sample, every 1021st float. On demand, all 2^32 floats or 10^7
doubles, and every product of up to two tiles, as rows of a Markdown table:

    PYTHONPATH=. python tests/test_accuracy.py functions --isa avx2 --real f32 exp log
    PYTHONPATH=. python tests/test_accuracy.py functions --isa avx2 --real f64
    PYTHONPATH=. python tests/test_accuracy.py products
"""

import argparse
import datetime
import os
import re
import secrets
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from arrays import BLOCK, DTYPES, LANES, using, wider
from limits import LIMITS, PRODUCT_LIMIT
from test_c import C_FLAGS, ISA_FLAGS, ISAS, PROGRAMS, REALS, ROOT, SOURCES, WARNINGS, run, toolchain

from fastbp import cpu, ops

ALL_FLOATS, MANY_DOUBLES = 1, 10**7
SAMPLE = {"f32": 1021, "f64": 100_000}  # every 1021st float; doubles
EMULATED = {"f32": 501 * 1021, "f64": 1_000}
TRANSPOSES = [(False, False), (True, False), (False, True)]  # x W, x^T dz, dz W^T


# ---------------------------------------------------------------------------------------------------------- functions


def build(folder, isa, real):
    """The command that runs c/accuracy.c."""
    compiler, runner = toolchain(isa)
    program = Path(folder) / f"accuracy_{isa}_{real}"
    flags = [*ISA_FLAGS[isa], f"-DFBP_REAL={real[1:]}", f'-DVEC_HEADER="{SOURCES / "vec" / isa}.h"']
    optimize = [flag.replace("-O3", "-O2") for flag in C_FLAGS]
    source = PROGRAMS / "accuracy.c"
    run([*compiler, *optimize, *WARNINGS, "-Wno-unused-function", *flags, source, "-o", program, "-lm"])
    return [*runner, str(program)]


def measured(output):
    """{name: (ulp, where, absolute, where, number of inputs)} of what c/accuracy.c printed."""
    found = {}
    for line in output.splitlines():
        name, ulp, ulp_at, absolute, absolute_at, inputs = re.fullmatch(
            r"(\S+) (\S+) at (\S+), (\S+) at (\S+), (\d+) inputs", line
        ).groups()
        found[name] = float(ulp), ulp_at, float(absolute), absolute_at, int(inputs)
    return found


def excess(found, isa):
    """The functions beyond their limits."""
    beyond = []
    for name, (ulp, ulp_at, absolute, absolute_at, _) in found.items():
        limit = LIMITS[name]
        if not ulp <= limit.of(isa):
            beyond.append(f"{name}: {ulp} ulp at {ulp_at}, the limit is {limit.of(isa)}")
        if limit.absolute is not None and not absolute <= limit.absolute:
            beyond.append(f"{name}: {absolute} epsilon at {absolute_at}, the limit is {limit.absolute}")
    return beyond


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A future of the errors in a sample, for every instruction set that can be run here and both reals."""
    folder = tmp_path_factory.mktemp("accuracy")

    def sample(isa, real):
        command = build(folder, isa, real)
        return measured(run([*command, (EMULATED if len(command) > 1 else SAMPLE)[real]]))

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        kinds = [(isa, real) for isa in ISAS if not isinstance(toolchain(isa), str) for real in REALS]
        yield {kind: workers.submit(sample, *kind) for kind in kinds}


@pytest.mark.skipif(os.name != "posix", reason="compiles a C program")
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("isa", ISAS)
def test_functions(samples, isa, real):
    tools = toolchain(isa)
    if isinstance(tools, str):
        pytest.skip(tools)
    if real == "f64":
        wider("float64")
    found = samples[isa, real].result()
    assert found.keys() == LIMITS.keys()
    assert all(inputs > 0 for *_, inputs in found.values())
    assert not excess(found, isa), "\n".join(excess(found, isa))


def test_excess():
    """The tester tested: a nan, an infinity, and one limit for the portable kernels and another one for the rest."""
    at = "0x1p+0"
    assert excess(measured("exp 1.1 at 0x1p+0, 3 at 0x1p+0, 16 inputs"), "portable") == []
    for wrong in (1.1, np.inf, np.nan):
        assert len(excess({"exp": (wrong, at, 0, at, 16)}, "avx2")) == 1
        assert len(excess({"gelu": (1, at, wrong, at, 16)}, "avx2")) == 1


def of_ulp(text, pattern):
    return {name: float(figure) for name, figure in re.findall(pattern, text, re.M)}


def test_the_comment_of_math_h_quotes_the_limits():
    text = (SOURCES / "vec" / "math.h").read_text(encoding="utf-8")
    comment = text[: text.index("*/")]
    fused = of_ulp(comment, r"^ \*   (\w+)\b.*? {2,}([\d.]+)(?: {2,}portable: [\d.]+)?$")
    portable = of_ulp(comment, r"^ \*   (\w+)\b.* portable: ([\d.]+)$")
    assert fused.keys() == {"exp", "expm1", "expm1_below", "log", "log1p", "tanh", "sigmoid", "gelu"}
    assert fused == {name: LIMITS[name].ulp for name in fused}
    assert portable == {name: LIMITS[name].portable for name in fused if LIMITS[name].portable}


def test_docstrings_quote_the_limits():
    found = {}
    for name in ops.__all__:
        figure = re.search(r"within ([\d.]+) ulp", getattr(ops, name).__doc__)
        if figure:
            found[name.removesuffix("_forward")] = float(figure[1])
    assert found.keys() == {"sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "gelu_tanh", "silu"}
    assert found == {name: LIMITS[name].ulp for name in found}


def test_the_page_quotes_the_limits():
    """Every limit is a row of the table in docs/numerics.md, and every row is a limit."""
    page = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
    section = page[page.index("## Accuracy") :]
    pattern = r"^\| `(\S+)` \| (?:.* )?\| ([\d.]+)(?: \(([\d.]+)\))? \|(?: ([\d.]+))? \|$"
    rows = re.findall(pattern, section, re.M)

    def number(text):
        return float(text) if text else None

    quoted = {name: (float(ulp), number(absolute), number(portable)) for name, ulp, portable, absolute in rows}
    assert quoted == {name: tuple(limit) for name, limit in LIMITS.items()}
    assert f"at most {PRODUCT_LIMIT} ε |A| |B|" in section


# ----------------------------------------------------------------------------------------------------------- products


def tile(isa, dtype):
    """Rows and columns of a product's register tile."""
    text = (SOURCES / "vec" / f"{isa}.h").read_text(encoding="utf-8")
    rows, vectors = (int(re.search(rf"^#define {name} (\d+)", text, re.M)[1]) for name in ("TILE_ROWS", "TILE_VECTORS"))
    return rows, vectors * LANES[dtype]


def operands(rng, M, N, K, dtype, spread=0):
    """A (M, K) and B (K, N) of the standard normal distribution, times 2^n with n from -spread to spread."""

    def matrix(*shape):
        return (rng.standard_normal(shape) * np.exp2(rng.integers(-spread, spread + 1, shape))).astype(dtype)

    return matrix(M, K), matrix(K, N)


def proven(K, isa):
    """A bound for any operands: half an epsilon for each rounding of a chain of at most BLOCK terms and of the sum of
    the chains."""
    roundings = min(K, BLOCK) * (2 if isa == "portable" else 1) + K // BLOCK
    return roundings / 2 * 1.001  # and the terms of second order


def error_of(product, exact, size, dtype):
    """The largest |error| / (epsilon |A| |B|) of an element; 0 / 0 counts as 0."""
    error = np.abs(product - exact)
    allowed = np.finfo(dtype).eps * size
    assert not error[allowed == 0].any()
    return float(np.max(error[allowed > 0] / allowed[allowed > 0], initial=0))


def product(a, b, transpose_a, transpose_b):
    """A B by the kernel that takes its sides as they lie in memory."""
    a = np.ascontiguousarray(a.T if transpose_a else a)
    return ops.gemm(a, np.ascontiguousarray(b.T if transpose_b else b), transpose_a, transpose_b)


def small_products(isa, dtype, rng, share):
    """The largest error of products with M, N, K from 0 to two tiles and one, and its size; of a share of these sizes.

    K has no tile: it goes to two vectors and one.
    """
    rows, columns = tile(isa, dtype)
    worst = (0.0, ())
    for K in range(2 * LANES[dtype] + 2):
        a, b = operands(rng, 2 * rows + 1, 2 * columns + 1, K, dtype)
        wide_a, wide_b = a.astype(wider(dtype)), b.astype(wider(dtype))
        exact, size = wide_a @ wide_b, np.abs(wide_a) @ np.abs(wide_b)
        for M, N in np.ndindex(2 * rows + 2, 2 * columns + 2):
            if rng.random() >= share:
                continue
            for transposes in TRANSPOSES:
                c = product(a[:M], b[:, :N], *transposes)
                worst = max(worst, (error_of(c, exact[:M, :N], size[:M, :N], dtype), (M, N, K, *transposes)))
    return worst


def large_sizes(rng):
    """Sizes of every way of a product: packed, tiles, narrow on either side, one row, two rows, few terms."""

    def size(*ranges):
        return tuple(int(rng.integers(low, high + 1)) for low, high in ranges)

    yield size((200, 400), (200, 400), (400, 700))
    yield size((14, 120), (33, 200), (34, 600))
    yield size((16, 300), (1, 12), (1, 2000))
    yield size((1, 12), (16, 300), (1, 2000))
    yield size((1, 1), (1, 1500), (1, 2000))
    yield size((2, 2), (200, 1500), (3, 1000))
    yield size((510, 560), (512, 560), (1, 4))


def large_products(dtype, rng, draws, spread=0, unit=lambda K: 1):
    """The largest error of products of every kind, in multiples of unit(K), and its size."""
    worst = (0.0, ())
    for M, N, K in (size for _ in range(draws) for size in large_sizes(rng)):
        a, b = operands(rng, M, N, K, dtype, spread)
        # Long doubles are multiplied without BLAS: some rows of the float64 products are enough.
        rows = np.arange(M) if dtype == "float32" else np.unique(rng.integers(0, M, 8))
        wide_a, wide_b = a[rows].astype(wider(dtype)), b.astype(wider(dtype))
        exact, size = wide_a @ wide_b, np.abs(wide_a) @ np.abs(wide_b)
        for transposes in TRANSPOSES:
            c = product(a, b, *transposes)[rows]
            worst = max(worst, (error_of(c, exact, size, dtype) / unit(K), (M, N, K, *transposes)))
    return worst


@pytest.fixture
def seed():
    """Another sample of sizes and operands in each run."""
    drawn = secrets.randbits(32)
    print("seed", drawn)
    return drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_products(isa, dtype, seed):
    error, size = small_products(isa, dtype, np.random.default_rng(seed), 0.05)
    assert size and error <= PRODUCT_LIMIT, f"M, N, K, transposes = {size}: {error} epsilon |A| |B|"


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_products(isa, dtype, seed):
    error, size = large_products(dtype, np.random.default_rng(seed), 1)
    assert size and error <= PRODUCT_LIMIT, f"M, N, K, transposes = {size}: {error} epsilon |A| |B|"


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_products_of_uneven_operands(isa, dtype, seed):
    error, size = large_products(dtype, np.random.default_rng(seed), 1, 6, lambda K: proven(K, isa))
    assert size and error <= 1, f"M, N, K, transposes = {size}: {error} times the bound"


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_products_are_found(dtype):
    """The tester tested: a term left out, and one rounded to half of the digits."""
    a, b = operands(np.random.default_rng(0), 3, 5, 40, dtype)
    exact, size = a.astype(wider(dtype)) @ b.astype(wider(dtype)), np.abs(a) @ np.abs(b)
    assert error_of(ops.gemm(a, b), exact, size, dtype) <= PRODUCT_LIMIT
    assert error_of(ops.gemm(a[:, 1:], b[1:]), exact, size, dtype) > PRODUCT_LIMIT
    a[0, 0] *= 1 + np.sqrt(np.finfo(dtype).eps)
    assert error_of(ops.gemm(a, b), exact, size, dtype) > PRODUCT_LIMIT


# ---------------------------------------------------------------------------------------------------------- on demand


def machine(compiler=None):
    """Date, processor and compiler of a run."""
    text = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.M))
    processor = f"{found.get('model name', 'unknown processor')} (family {found.get('cpu family', '?')})"
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout if compiler else ""
    return ", ".join(part for part in (str(datetime.date.today()), processor, version.partition("\n")[0]) if part)


def print_functions(isa, real, names):
    tools = toolchain(isa)
    if isinstance(tools, str):
        sys.exit(tools)
    beyond = []
    with tempfile.TemporaryDirectory() as folder:
        command = build(folder, isa, real)
        for name in names or LIMITS:
            amount = ALL_FLOATS if real == "f32" else MANY_DOUBLES
            found = measured(run([*command, amount, name], timeout=None))
            ulp, ulp_at, absolute, _, inputs = found[name]
            print(f"| `{name}`, {isa}, {real}, {inputs} inputs | {ulp:.4f} ulp at {ulp_at}, {absolute:.4f} ε |"
                  f" {machine(tools[0])} |", flush=True)  # fmt: skip
            beyond += excess(found, isa)
    if beyond:
        sys.exit("\n".join(beyond))


def print_products(seed):
    beyond = []
    for isa in cpu.available():
        with using(isa):
            for dtype in DTYPES:
                rng = np.random.default_rng(seed)
                for what, (error, size) in (
                    ("up to two tiles", small_products(isa, dtype, rng, 1)),
                    ("large", large_products(dtype, rng, 30)),
                ):
                    print(f"| products, {what}, {isa}, {dtype}, seed {seed} | {error:.4f} at {size} | {machine()} |",
                          flush=True)  # fmt: skip
                    beyond += [f"{isa} {dtype} {size}"] * (not error <= PRODUCT_LIMIT)
    if beyond:
        sys.exit("\n".join(beyond))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors over all inputs, as rows of a table.")
    parser.add_argument("what", choices=["functions", "products"])
    parser.add_argument("--isa", choices=ISAS, default=cpu.isa())
    parser.add_argument("--real", choices=REALS, default="f32")
    parser.add_argument("--seed", type=int, default=0, help="of the products")
    parser.add_argument("names", nargs="*", help="functions; all where none is named")
    given = parser.parse_args()
    if unknown := set(given.names) - set(LIMITS):
        parser.error(f"unknown functions {', '.join(sorted(unknown))}; known are {', '.join(LIMITS)}")
    if given.what == "functions":
        print_functions(given.isa, given.real, given.names)
    else:
        print_products(given.seed)
