"""One core, one thread, short rounds; the fixture `speed`; the table at the end."""

import os

import pytest

# fastbp reads this when it is imported.
os.environ.setdefault("FASTBP_NUM_THREADS", "1")

from fastbp.bench import cores, report, timing

from . import measure

TABLE = pytest.StashKey()


def pytest_configure(config):
    config.stash[TABLE] = []
    # The defaults of pytest-benchmark are a second to calibrate, a second to time, and a table of its own.
    option = config.option
    if float(option.benchmark_max_time) == 1.0:
        option.benchmark_max_time = 0.1
    if float(option.benchmark_min_time) == 0.000005:
        option.benchmark_min_time = 0.0005
    option.benchmark_quiet = option.benchmark_quiet or option.verbose <= 0


@pytest.fixture(scope="session", autouse=True)
def where():
    """One core, unless fastbp has more threads; NumPy has one. The limits of the core are measured first."""
    with cores.one_core():
        measure.peak("float32")
        measure.peak("float64")
        measure.bandwidth()
        if os.environ["FASTBP_NUM_THREADS"] == "1":
            yield
            return
    before = cores.numpy_threads(1)
    yield
    if before:
        cores.numpy_threads(before)


@pytest.fixture
def speed(benchmark, request):
    """speed(f, twin=None, flops=0, moved=0, dtype="float32", **more): time f() and report it.

    twin: the same in NumPy, timed for the ratio. flops: floating-point operations of a call, for GFLOP/s and the share
    of the multiply-add peak of as many cores as fastbp has threads. moved: bytes that a call must read and write, for
    GB/s. more: further entries of the report.

    Check the result first: see `fastbp.bench.verify.agree`. With --benchmark-disable nothing is timed, and
    speed.enabled is false.
    """

    def run(f, twin=None, flops=0, moved=0, dtype="float32", **more):
        benchmark(f)
        if benchmark.stats is None:  # --benchmark-disable: verified only
            return
        best = benchmark.stats.stats.min
        info = benchmark.extra_info
        if flops:
            info["GFLOP/s"] = round(flops / best / 1e9, 2)
            threads = min(int(os.environ["FASTBP_NUM_THREADS"]), len(cores.ALL_CORES))
            info["share of peak"] = f"{flops / best / 1e9 / measure.peak(dtype).gflops / threads:.1%}"
        if moved:
            info["GB/s"] = round(moved / best / 1e9, 2)
        if twin is not None:
            info["twin ratio"] = round(timing.seconds_a_call(twin, 0.03, 3)[0] / best, 2)
        info.update(more)
        request.config.stash[TABLE].append((request.node.name, best, benchmark.stats.stats.median, dict(info)))

    run.enabled = not request.config.option.benchmark_disable
    return run


def pytest_terminal_summary(terminalreporter, config):
    results = config.stash[TABLE]
    if not results:
        return
    columns = list(dict.fromkeys(column for *_, info in results for column in info))
    rows = []
    for name, best, median, info in results:
        cells = [str(info.get(column, "")) for column in columns]
        rows.append([name.removeprefix("bench_"), f"{best * 1e6:.2f}", f"{median / best - 1:.0%}", *cells])
    terminalreporter.section("fastbp: speed")
    peak, wide = measure.peak(), measure.peak("float64")
    for line in (
        report.machine(),
        f"peak {peak.gflops:.1f} GFLOP/s float32, {wide.gflops:.1f} float64, from {peak.source}; memory "
        f"{measure.bandwidth() / 1e9:.1f} GB/s; fastbp threads: {os.environ['FASTBP_NUM_THREADS']}, NumPy: 1",
        "best microseconds a call; noise: median over best; twin ratio: time of the NumPy twin over fastbp's",
        "",
        *report.table(["", "us", "noise", *columns], rows),
    ):
        terminalreporter.write_line(line)
