"""Types of the compiled core. What the functions do stands in fastbp/core; tests compare the names and parameters."""

from collections.abc import Callable
from types import EllipsisType
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ._support.plan_spec import PlanSpec, PlanVectors

Real = TypeVar("Real", bound=np.floating[Any])
Reals = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Weights = tuple[Reals | None, float, Any]

OK: int
NO_MEMORY: int
LOSS_NOT_FINITE: int
GRADIENT_NOT_FINITE: int
UPDATE_NOT_FINITE: int
PAUSED: int

# machine.pxi

def isa() -> str: ...
def isas_available() -> tuple[str, ...]: ...
def use_isa(name: str) -> None: ...
def compiler() -> str: ...
def cores() -> int: ...
def set_core_quota(cores: int) -> None: ...
def cache_sizes() -> tuple[int, int]: ...
def set_cache_sizes(second: int = 0, third: int = 0) -> None: ...
def threads() -> int: ...

# arguments.pxi

def prepare_with(
    array: Callable[[str, Any, int | None, np.dtype[Any] | None], Reals],
    in_place: Callable[[str, Any, int | None, np.dtype[Any] | None], Reals],
    labels: Callable[[str, Any], NDArray[np.int64]],
    number: Callable[[str, Any, float | None, float | None, float | None], float],
    integer: Callable[[str, Any, int | None, int | None], int],
    flag: Callable[[str, Any], bool],
    choice: Callable[[str, Any, tuple[str, ...]], str],
) -> None: ...

# gemm_dense.pxi

def gemm(
    a: NDArray[Real], b: NDArray[Real], transpose_a: bool, transpose_b: bool, c: NDArray[Real] | EllipsisType = ...
) -> NDArray[Real]: ...
def dense_forward(
    x: NDArray[Real],
    W: NDArray[Real],
    b: NDArray[Real] | None,
    activation: int,
    alpha: float,
    y: NDArray[Real] | EllipsisType = ...,
) -> NDArray[Real]: ...
def dense_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    W: NDArray[Real],
    y: NDArray[Real] | None,
    activation: int,
    alpha: float,
    dx: NDArray[Real] | EllipsisType = ...,
    dW: NDArray[Real] | EllipsisType = ...,
    db: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]: ...

# activation_softmax.pxi

def activation_forward(
    x: NDArray[Real], activation: int, alpha: float, y: NDArray[Real] | EllipsisType = ...
) -> NDArray[Real]: ...
def activation_backward(
    dy: NDArray[Real], y: NDArray[Real], activation: int, alpha: float, dx: NDArray[Real] | EllipsisType = ...
) -> NDArray[Real]: ...
def softmax_forward(x: NDArray[Real], y: NDArray[Real] | EllipsisType = ...) -> NDArray[Real]: ...
def softmax_backward(dy: NDArray[Real], y: NDArray[Real], dx: NDArray[Real] | EllipsisType = ...) -> NDArray[Real]: ...

# loss.pxi

def loss_traits() -> tuple[dict[str, Any], ...]: ...
@overload
def loss(
    kind: int,
    z: NDArray[Real],
    target: NDArray[Any],
    parameters: Any,
    reduction: str,
    weights: Weights | None = None,
    dz: EllipsisType = ...,
) -> tuple[float, NDArray[Real]]: ...
@overload
def loss(
    kind: int,
    z: NDArray[Real],
    target: NDArray[Any],
    parameters: Any,
    reduction: str,
    weights: Weights | None,
    dz: NDArray[Real],
) -> float: ...
def ready(x: Any, target: Any, item: int, inputs: int, outputs: int, loss: int) -> bool: ...
def check_labels(name: str, labels: NDArray[np.int64], classes: int) -> None: ...

# norm_dropout.pxi

def layer_norm_forward(
    x: NDArray[Real],
    gamma: NDArray[Real] | None,
    beta: NDArray[Real] | None,
    eps: float,
    y: NDArray[Real] | EllipsisType = ...,
    mean: NDArray[Real] | EllipsisType = ...,
    rstd: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]: ...
def layer_norm_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    mean: NDArray[Real],
    rstd: NDArray[Real],
    gamma: NDArray[Real] | None,
    dx: NDArray[Real] | EllipsisType = ...,
    dgamma: NDArray[Real] | EllipsisType = ...,
    dbeta: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]: ...
def batch_norm_forward(
    x: NDArray[Real],
    gamma: NDArray[Real] | None,
    beta: NDArray[Real] | None,
    eps: float,
    y: NDArray[Real] | EllipsisType = ...,
    mean: NDArray[Real] | EllipsisType = ...,
    variance: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]: ...
def batch_norm_backward(
    dy: NDArray[Real],
    x: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    gamma: NDArray[Real] | None,
    eps: float,
    dx: NDArray[Real] | EllipsisType = ...,
    dgamma: NDArray[Real] | EllipsisType = ...,
    dbeta: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real], NDArray[Real]]: ...
def batch_norm_predict(
    x: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    gamma: NDArray[Real] | None,
    beta: NDArray[Real] | None,
    eps: float,
    y: NDArray[Real] | EllipsisType = ...,
) -> NDArray[Real]: ...
def batch_norm_running(
    running_mean: NDArray[Real],
    running_variance: NDArray[Real],
    mean: NDArray[Real],
    variance: NDArray[Real],
    rows: int,
    momentum: float,
) -> None: ...
def dropout_forward(
    x: NDArray[Real],
    rate: float,
    seed: int,
    stream: int,
    draw: int,
    first_row: int,
    y: NDArray[Real] | EllipsisType = ...,
    mask: NDArray[Real] | EllipsisType = ...,
) -> tuple[NDArray[Real], NDArray[Real]]: ...
def dropout_backward(
    dy: NDArray[Real], mask: NDArray[Real], dx: NDArray[Real] | EllipsisType = ...
) -> NDArray[Real]: ...

# optimizer.pxi

def sgd_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real] | None,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None: ...
def adam_step(
    w: NDArray[Real],
    g: NDArray[Real],
    m: NDArray[Real],
    v: NDArray[Real],
    t: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def rmsprop_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real],
    buffer: NDArray[Real] | None,
    mean: NDArray[Real] | None,
    learning_rate: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> None: ...
def adagrad_step(
    w: NDArray[Real],
    g: NDArray[Real],
    v: NDArray[Real],
    t: int,
    learning_rate: float,
    rate_decay: float,
    weight_decay: float,
    eps: float,
) -> None: ...
def penalty(w: NDArray[Real], g: NDArray[Real], l1: float, l2: float) -> float: ...
def clip_by_norm(g: Reals, limit: float, eps: float) -> float: ...
def clip_by_value(g: Reals, limit: float) -> None: ...
def weight_average(average: NDArray[Real], w: NDArray[Real], decay: float) -> None: ...

# reduce_rng.pxi

def add(a: NDArray[Real], b: NDArray[Real], c: NDArray[Real] | EllipsisType = ...) -> NDArray[Real]: ...
def sum_squares(x: Reals) -> float: ...
def all_finite(x: Reals) -> bool: ...
def all_rows_finite(x: NDArray[Any], item: int) -> bool: ...
def random_bits(seed: int, stream: int, n: int) -> NDArray[np.uint32]: ...
def random_uniform(seed: int, stream: int, n: int) -> Doubles: ...
def random_normal(seed: int, stream: int, n: int) -> Doubles: ...
def random_permutation(seed: int, stream: int, n: int) -> NDArray[np.int64]: ...

# locks.pxi

class Lock:
    changes: int
    def __init__(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def copies(self, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]: ...
    def assign(self, *pairs: tuple[NDArray[Any], NDArray[Any]]) -> None: ...

class Updates(Lock):
    done: int
    last_loss: float | None
    running: Plan | None
    def __init__(self, done: int) -> None: ...
    def moments_have_changed(self) -> None: ...

# public_vectors.pxi

class PublicVectors:
    def __init__(self, vectors: PlanVectors) -> None: ...

# plan.pxi

class Plan:
    def __init__(self, spec: PlanSpec, vectors: PlanVectors) -> None: ...
    @property
    def learned_count(self) -> int: ...
    @property
    def parameters_count(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def outdated(self) -> bool: ...
    @property
    def in_call(self) -> bool: ...
    def threads_for(self, rows: int) -> int: ...
    def forward(self, x: NDArray[Any], y: Reals) -> None: ...
    def loss(self, x: NDArray[Any], target: NDArray[Any], weights: Doubles | None = None) -> tuple[float, float]: ...
    def gradient(
        self,
        x: NDArray[Any],
        target: NDArray[Any],
        dx: Reals | None = None,
        weights: Doubles | None = None,
        training: bool = True,
        draw: int = 0,
    ) -> float: ...
    def example_gradients(self, x: NDArray[Any], target: NDArray[Any], losses: Doubles, gradients: Reals) -> None: ...
    def example_norms(self, x: NDArray[Any], target: NDArray[Any], losses: Doubles, squares: Doubles) -> None: ...
    def forward_kept(self, x: NDArray[Any], y: Reals, training: bool, draw: int = 0, first_row: int = 0) -> None: ...
    def backward(self, dy: Reals, accumulate: bool = False, dx: Reals | None = None) -> None: ...
    def add_penalties(self) -> float: ...
    def update(
        self,
        loss: float,
        mass: float,
        learning_rate: float,
        updates: Updates,
        own: bool,
        layer_squares: Doubles | None = None,
    ) -> tuple[int, float, float]: ...
    def step(
        self,
        x: NDArray[Any],
        target: NDArray[Any],
        learning_rate: float,
        updates: Updates,
        weights: Doubles | None = None,
    ) -> tuple[int, float]: ...
    def try_predict(self, x: Any) -> Reals | None: ...
    def try_step(self, x: Any, target: Any, learning_rate: float, updates: Updates) -> float | None: ...
    def begin_epoch(
        self,
        x: NDArray[Any],
        target: NDArray[Any],
        batch: int,
        order: NDArray[np.int64] | None,
        learning_rates: Doubles,
        updates: Updates,
        weights: Doubles | None = None,
        accumulate: int = 1,
        layer_squares: Doubles | None = None,
    ) -> None: ...
    def run(self, seconds: float, pause_step: int = 0, threads: int = 0) -> int: ...
    @property
    def step_count(self) -> int: ...
    @property
    def rows_done(self) -> int: ...
    @property
    def mean_loss(self) -> float: ...
    @property
    def mass_sum(self) -> float: ...
    @property
    def failed_loss(self) -> float: ...
    @property
    def squared_norm_sum(self) -> float: ...
