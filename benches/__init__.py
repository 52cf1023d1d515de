"""Benchmarks: every kernel family, a step and a whole epoch, each verified against the NumPy twin before it is timed.

``python -m pytest benches`` runs all of them on one core; FASTBP_NUM_THREADS=2 and so on gives fastbp more threads, on
all cores. ``python -m benches.compare_twin`` prints a training epoch of every net against NumPy. Figures are shares of
what the core can do, measured in the same process: see `measure`.
"""
