# cython: language_level=3, binding=False, always_allow_keywords=False, cdivision=True
"""The door to C: pointers in, a call without the GIL unless it is short, a status out.

Functions here take arrays that are ready (plain, contiguous, aligned, of one real dtype) and say so when they are not,
but not as kindly as the functions in fastbp.ops, which come here first and explain when they are sent away: so nothing
may pass here that would not pass there. Whatever comes in, C gets pointers and sizes that agree. Arrays are seen through
the buffer protocol: nothing here knows how NumPy stores them.

Argument order: inputs, hyperparameters, outputs. Outputs that are left out are made, and returned.
"""

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcmp

from fastbp.core.fbp cimport *
from fastbp.core.python cimport *

import os

import numpy

OK = FBP_OK
NO_MEMORY = FBP_NO_MEMORY
LOSS_NOT_FINITE = FBP_LOSS_NOT_FINITE
GRADIENT_NOT_FINITE = FBP_GRADIENT_NOT_FINITE
PAUSED = FBP_PAUSED

include "core/machine.pxi"
include "core/arguments.pxi"
include "core/gemm_dense.pxi"
include "core/activation_softmax.pxi"
include "core/loss.pxi"
include "core/norm_dropout.pxi"
include "core/optimizer.pxi"
include "core/reduce_rng.pxi"
include "core/counter.pxi"
include "core/copies.pxi"
include "core/plan_spec.pxi"
include "core/plan.pxi"
