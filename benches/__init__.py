"""Benchmarks. Everything that is timed is first checked against the NumPy twin.

``python -m pytest benches`` times every kernel family, a step and a whole epoch on one core; FASTBP_NUM_THREADS=2 and
so on gives fastbp more threads, on all cores. Figures are shares of what the core can do, measured in the same process:
see `measure`.

``python -m benches.board`` is the speed board: fastbp, JAX, PyTorch eager and compiled, scikit-learn and NumPy by hand,
training by epochs and in single steps, and predicting, with one thread and with all. --isa avx2 limits every library to
AVX2; --json keeps the results, even those of a run that Ctrl-C ended; --help shows the rest.
``python -m benches.chart`` draws several runs side by side. `cells` lists the cells and counts their operations and
bytes; `peers` lists the libraries, and peer_<library>.py uses each at its best; `steps` makes epochs of single steps;
`workers`, `worker` and `crew` run the libraries in processes of their own; `results` and `chart` present the results. A
library is added with a peer_<library>.py and an entry in `peers`.

``python -m benches.growth`` times a step against batch, width and depth, and looks for cliffs.

``python -m benches.compare_twin`` checks the ratio to the NumPy twin that every net must reach.

The nets, NumPy by hand and the clocks are in `fastbp.bench`, whose ``python -m fastbp bench`` needs no checkout.
FASTBP_BENCH_CORE chooses the core for the runs on one core, FASTBP_ISA fastbp's instruction set.
"""
