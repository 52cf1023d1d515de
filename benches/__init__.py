"""Benchmarks. Whatever is timed is first checked against the NumPy twin.

``python -m pytest benches`` times every kernel family, a step and a whole epoch on one core; FASTBP_NUM_THREADS=2 and
so on gives fastbp more threads, on all cores. Figures are shares of what the core can do, measured in the same process:
see `measure`.

``python -m benches.board`` is the speed board: fastbp, JAX, PyTorch eager and compiled, scikit-learn and NumPy by hand,
training and predicting, with one thread and with all; --json and --chart keep what it finds, --help shows the rest.
`cells` says what is timed and counts its operations and bytes; `peers` which libraries there are, and peer_<library>.py
how each is used at its best; `workers`, `worker` and `crew` run them in processes of their own; `results` and `chart`
say what came out. A library is added with a peer_<library>.py and a line in `peers`.

``python -m benches.growth`` times a step against batch, width and depth, and looks for cliffs.

``python -m benches.compare_twin`` demands of every net to be so many times as fast as the NumPy twin.

The nets, NumPy by hand and the clocks are in `fastbp.bench`, whose ``python -m fastbp bench`` needs no checkout.
FASTBP_BENCH_CORE chooses the core for what runs on one, FASTBP_ISA fastbp's instruction set.
"""
