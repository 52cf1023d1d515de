"""The largest errors that the elementwise functions of the core may have: the one table that the tests hold them to.

docs/numerics.md, the comment in src_c/vec/math.h and the docstrings of fastbp.ops quote it; test_accuracy.py compares
them. c/accuracy.c measures the functions and defines the two errors.
"""

from typing import NamedTuple


class Limit(NamedTuple):
    """ulp: units in the last place; portable: the same without fused multiply-add, where it differs.

    absolute: |error| / max(1, |f(x)|) in units of the machine epsilon, 1.2e-7 or 2.2e-16; None where ulp says it all.
    """

    ulp: float
    absolute: float | None = None
    portable: float | None = None

    def of(self, isa):
        return self.portable if isa == "portable" and self.portable else self.ulp


LIMITS = {
    "exp": Limit(1, portable=1.25),
    "expm1": Limit(2),
    "expm1_below": Limit(1),  # for x <= 0, all that the kernels use of it
    "log": Limit(1),
    "log1p": Limit(1),  # for 0 <= x <= 1, all that the kernels use of it
    "tanh": Limit(2, 1, portable=2.5),
    "sigmoid": Limit(2, 0.75),
    "softplus": Limit(2, 1),
    "softplus(3)": Limit(2, 0.75),  # times 1 + |3 x|, as rounding 3 x moves exp(-|3 x|) by as much
    "elu": Limit(1, 0.5),
    "elu(0.3)": Limit(1.5, 0.5),
    "selu": Limit(2, 1.25),
    "gelu": Limit(8, 1, portable=9),
    "gelu_tanh": Limit(3, 1),  # times 1 + |v|, gelu_tanh(x) = x sigmoid(v), for the same reason
    "silu": Limit(3, 1),
    "sigmoid'": Limit(2, 0.25),
    "tanh'": Limit(2, 1),
    "softplus'": Limit(1, 0.5),
    "elu'": Limit(0.5, 0.25),
    "selu'": Limit(1, 1),
    # These cross 0, where their terms cancel: in ulp of the sum of the terms' magnitudes.
    "gelu'": Limit(6, 2),
    "gelu_tanh'": Limit(4, 1.25),  # times 1 + |v|
    "silu'": Limit(5, 1.25),
}
PRODUCT_LIMIT = 4  # |error| / (epsilon |A| |B|) of each element of a product
