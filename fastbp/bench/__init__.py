"""Benchmarks: the nets that speed is measured by, who trains them, and ``python -m fastbp bench``.

nets: what is trained. contestants: fastbp, its twin, and NumPy by hand. verify: all must compute the same. cores,
timing: how they are timed. words: the machine, and tables. command: fastbp against NumPy by hand. Nothing of this is
imported by ``import fastbp``.
"""
