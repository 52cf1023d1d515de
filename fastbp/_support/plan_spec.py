"""What a plan of the compiled core is made from, in the fields of the C structs (src_c/fbp.h).

`fastbp._core.Plan(spec, vectors)` takes a `PlanSpec` and `PlanVectors` and says what is wrong with them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class LayerRecord(NamedTuple):
    """One step of a network in numbers: struct fbp_layer.

    Attributes
    ----------
    kind : int
        As enum fbp_layer_kind.
    inputs, outputs : int
        Widths; equal for all kinds but dense and projection.
    bias : bool
        Whether a dense step has b; whether a norm has gamma and beta.
    activation : int
        As enum fbp_activation: of a dense step, a norm or an activation.
    alpha : float
        The parameter of the activation.
    frozen : bool
        Whether training leaves the parameters of the step unchanged.
    rate : float
        The rate of a dropout; the momentum of a batch norm.
    eps : float
        Of a norm.
    l1, l2 : float
        Penalties of W.
    penalize_bias : bool
        Whether the penalties are those of b, too.
    """

    kind: int
    inputs: int
    outputs: int
    bias: bool = False
    activation: int = 0
    alpha: float = 0.0
    frozen: bool = False
    rate: float = 0.0
    eps: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    penalize_bias: bool = False


class PlanSpec(NamedTuple):
    """A network, its loss and its update: struct fbp_plan_spec. The defaults are those of a plan that only predicts.

    Attributes
    ----------
    dtype : "float32" or "float64"
    layers : sequence of LayerRecord
    rows : int
        Rows of the largest minibatch or block to expect. More are allowed, in blocks of this size.
    whole : bool
        Whether a minibatch, of at most `rows` rows, goes through the network at once: for batch norms.
    threads : int
        Upper bound on the number of threads; 0: FASTBP_NUM_THREADS, or the number of cores.
    loss : int
        As enum fbp_loss; -1: none.
    loss_parameters : sequence of float
        One for each output, for a loss that has a parameter.
    reduction_sum : bool
        Whether the loss is the sum of its terms rather than their weighted mean.
    smoothing : float
        Label smoothing.
    class_weights : sequence of float or None
        One for each class.
    optimizer : tuple or None
        `fastbp.optimizers.Optimizer.constants`. None: the plan makes no updates.
    clip_norm, clip_value : float
        Limits of the gradient; 0: none.
    average_decay : float
        Decay of the moving average of the parameters.
    seed, dropout_stream : int
        Dropout number n of the network draws from stream `dropout_stream` + n of the seed.
    """

    dtype: str
    layers: Sequence[LayerRecord]
    rows: int
    whole: bool = False
    threads: int = 0
    loss: int = -1
    loss_parameters: Sequence[float] = ()
    reduction_sum: bool = False
    smoothing: float = 0.0
    class_weights: Sequence[float] | None = None
    optimizer: tuple[Any, ...] | None = None
    clip_norm: float = 0.0
    clip_value: float = 0.0
    average_decay: float = 0.0
    seed: int = 0
    dropout_stream: int = 0


class PlanVectors(NamedTuple):
    """The arrays that a plan reads and writes: struct fbp_vectors. All are contiguous, of the plan's dtype.

    Attributes
    ----------
    parameters : ndarray (P,)
    gradient : ndarray (P,) or None
        None: the plan only predicts.
    moments : tuple of three, each ndarray (P,) or None
        The state of the optimizer.
    average : ndarray (P,) or None
        The moving average of the parameters.
    statistics : ndarray or None
        The running statistics of the batch norms.
    lock : _core.Lock or None
        Is held in each call of the plan. Plans that share vectors share their lock. None: the plan has its own.
    """

    parameters: Any
    gradient: Any = None
    moments: tuple[Any, Any, Any] = (None, None, None)
    average: Any = None
    statistics: Any = None
    lock: Any = None
