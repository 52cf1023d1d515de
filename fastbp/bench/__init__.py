"""Benchmarks: what ``fastbp bench`` and the benches of a checkout share.

nets: the nets that are trained. contestants: fastbp, its twin and NumPy by hand, which train them. verify: whether all
compute the same. cores, timing: how they are timed. report: the machine, and tables. files: results as files. command:
``fastbp bench``. ``import fastbp`` imports none of these.
"""
