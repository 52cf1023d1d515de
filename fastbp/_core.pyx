# cython: language_level=3, binding=False, always_allow_keywords=False, cdivision=True
"""The interface to C: checks of arguments, a call without the GIL unless it is short, a result.

Whatever arguments come, C gets pointers and sizes that agree. Arrays are read through the buffer protocol: nothing here
depends on how NumPy stores them. An argument that C cannot take as it is goes to the checks of
fastbp._support.arguments, which return one that it can take or raise an error: see core/arguments.pxi.

Argument order: inputs, hyperparameters, outputs. An output that is left out is created. Outputs are returned.
"""

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcmp

from fastbp.core.fbp cimport *
from fastbp.core.python cimport *

import os
import weakref

import numpy

OK = FBP_OK
NO_MEMORY = FBP_NO_MEMORY
LOSS_NOT_FINITE = FBP_LOSS_NOT_FINITE
GRADIENT_NOT_FINITE = FBP_GRADIENT_NOT_FINITE
UPDATE_NOT_FINITE = FBP_UPDATE_NOT_FINITE
PAUSED = FBP_PAUSED

include "core/machine.pxi"
include "core/arguments.pxi"
include "core/gemm_dense.pxi"
include "core/activation_softmax.pxi"
include "core/loss.pxi"
include "core/norm_dropout.pxi"
include "core/optimizer.pxi"
include "core/reduce_rng.pxi"
include "core/locks.pxi"
include "core/copies.pxi"
include "core/plan_spec.pxi"
include "core/public_vectors.pxi"
include "core/plan.pxi"
