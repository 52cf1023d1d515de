"""Optimisers, described by their hyperparameters. Names, defaults and formulas are PyTorch's.

w is a parameter, g its gradient, and t the number of the update, from 1.
"""

from typing import ClassVar

from ._support.declarative import Declared, flag, integer, named, number


class Optimizer(Declared):
    """Base class of the optimisers.

    Attributes
    ----------
    name : str
        "sgd", "adam", "adamw", "rmsprop", "adagrad" or "lbfgs".
    code : int or None
        The optimiser's number in the C core (enum fbp_optimizer_kind); None for one that takes the full batch.
    moments : int
        The number of state vectors, each as long as the parameters.
    slots : tuple of int
        For each state vector, its position among the kernel's three moments.
    squares : tuple of bool
        For each state vector, whether it is a mean or sum of squares: none of its elements is negative.
    initial_moments : tuple of float
        The value that fills each state vector before the first update.
    constants : tuple
        ``(code, momentum, weight_decay, beta1, beta2, eps, rate_decay, nesterov, decoupled)``; 0 for a constant that
        the optimiser lacks. beta2 is RMSprop's alpha.
    learning_rate : float
        An optimiser that takes the full batch has none.
    """

    learning_rate: float
    code: ClassVar[int | None] = None
    slots: tuple[int, ...] = ()
    nesterov: bool = False
    decoupled: ClassVar[bool] = False

    @property
    def moments(self) -> int:
        return len(self.slots)

    @property
    def squares(self) -> tuple[bool, ...]:
        return (False,) * self.moments

    @property
    def initial_moments(self) -> tuple[float, ...]:
        return (0.0,) * self.moments

    @property
    def constants(self) -> tuple[int | float | None, ...]:
        names = ("momentum", "weight_decay", "beta1", "beta2", "eps", "rate_decay")
        reals = (getattr(self, name, 0.0) for name in names)
        return (self.code, *reals, int(self.nesterov), int(self.decoupled))


class SGD(Optimizer):
    """Stochastic gradient descent: g += weight_decay w; v = momentum v + g; w -= learning_rate v.

    With Nesterov's momentum (Sutskever et al., On the importance of initialization and momentum in deep learning, ICML
    2013) w -= learning_rate (g + momentum v).

    Parameters
    ----------
    learning_rate : float, default 1e-3
        Finite, at least 0.
    momentum : float, default 0
        In [0, 1).
    weight_decay : float, default 0
        Finite, at least 0: the factor of w added to the gradient.
    nesterov : bool, default False
        Needs a momentum above 0.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number, or nesterov not a bool.
    ValueError
        If one is out of range or not finite, or nesterov comes without momentum.
    """

    name = "sgd"
    code = 0
    fields = ("learning_rate", "momentum", "weight_decay", "nesterov")

    learning_rate: float
    momentum: float
    weight_decay: float

    def __init__(
        self, learning_rate: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            momentum=number("momentum", momentum, least=0, below=1),
            weight_decay=number("weight_decay", weight_decay, least=0),
            nesterov=flag("nesterov", nesterov),
        )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True; it needs a momentum above 0")

    @property
    def slots(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0,) if self.momentum else ()


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), with weight decay added to the gradient.

    Update t: g += weight_decay w; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    w -= learning_rate / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).

    Parameters
    ----------
    learning_rate : float, default 1e-3
        Finite, at least 0.
    beta1 : float, default 0.9
        In [0, 1).
    beta2 : float, default 0.999
        In [0, 1).
    eps : float, default 1e-8
        Finite, greater than 0.
    weight_decay : float, default 0
        Finite, at least 0.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number.
    ValueError
        If one is out of range or not finite.
    """

    name = "adam"
    code = 1
    slots = (0, 1)
    squares = (False, True)
    fields = ("learning_rate", "beta1", "beta2", "eps", "weight_decay")

    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            beta1=number("beta1", beta1, least=0, below=1),
            beta2=number("beta2", beta2, least=0, below=1),
            eps=number("eps", eps, above=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), which shrinks w and does not change g.

    Update t: w -= learning_rate weight_decay w, followed by `Adam` without weight decay.

    Parameters
    ----------
    learning_rate : float, default 1e-3
        Finite, at least 0.
    beta1 : float, default 0.9
        In [0, 1).
    beta2 : float, default 0.999
        In [0, 1).
    eps : float, default 1e-8
        Finite, greater than 0.
    weight_decay : float, default 0.01
        Finite, at least 0.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number.
    ValueError
        If one is out of range or not finite.
    """

    name = "adamw"
    decoupled = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012): the gradient divided by the root mean square of past gradients.

    g += weight_decay w; v = alpha v + (1 - alpha) g^2; q = g / (sqrt(v) + eps); w -= learning_rate q. The centred
    variant replaces v under the root by v - m^2, m = alpha m + (1 - alpha) g. With momentum, u = momentum u + q and
    w -= learning_rate u.

    Parameters
    ----------
    learning_rate : float, default 1e-2
        Finite, at least 0.
    alpha : float, default 0.99
        In [0, 1).
    eps : float, default 1e-8
        Finite, greater than 0.
    weight_decay : float, default 0
        Finite, at least 0.
    momentum : float, default 0
        In [0, 1).
    centered : bool, default False
        Whether to subtract the square of the mean gradient.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number, or centered not a bool.
    ValueError
        If one is out of range or not finite.
    """

    name = "rmsprop"
    code = 2
    fields = ("learning_rate", "alpha", "eps", "weight_decay", "momentum", "centered")

    learning_rate: float
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool

    def __init__(
        self,
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            alpha=number("alpha", alpha, least=0, below=1),
            eps=number("eps", eps, above=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
            momentum=number("momentum", momentum, least=0, below=1),
            centered=flag("centered", centered),
        )

    @property
    def beta2(self) -> float:
        return self.alpha

    @property
    def slots(self) -> tuple[int, ...]:  # type: ignore[override]
        return (0, *((1,) if self.momentum else ()), *((2,) if self.centered else ()))

    @property
    def squares(self) -> tuple[bool, ...]:
        return tuple(slot == 0 for slot in self.slots)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, JMLR 2011): the gradient divided by the root of the sum of its squares.

    Update t: g += weight_decay w; v += g^2;
    w -= learning_rate / (1 + (t - 1) rate_decay) g / (sqrt(v) + eps).

    Parameters
    ----------
    learning_rate : float, default 1e-2
        Finite, at least 0.
    rate_decay : float, default 0
        Finite, at least 0.
    weight_decay : float, default 0
        Finite, at least 0.
    initial_accumulator : float, default 0
        Finite, at least 0: the initial value of each element of v.
    eps : float, default 1e-10
        Finite, greater than 0.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number.
    ValueError
        If one is out of range or not finite.
    """

    name = "adagrad"
    code = 3
    slots = (0,)
    squares = (True,)
    fields = ("learning_rate", "rate_decay", "weight_decay", "initial_accumulator", "eps")

    learning_rate: float
    rate_decay: float
    weight_decay: float
    initial_accumulator: float
    eps: float

    def __init__(
        self,
        learning_rate: float = 1e-2,
        rate_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            rate_decay=number("rate_decay", rate_decay, least=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
            initial_accumulator=number("initial_accumulator", initial_accumulator, least=0),
            eps=number("eps", eps, above=0),
        )

    @property
    def initial_moments(self) -> tuple[float, ...]:
        return (self.initial_accumulator,)


class LBFGS(Optimizer):
    """L-BFGS on the full batch, by SciPy's L-BFGS-B (extra ``scipy``). One iteration is one epoch.

    Parameters
    ----------
    tolerance_gradient : float, default 1e-7
        Finite, at least 0. Training ends when no element of the gradient is larger in absolute value.
    tolerance_change : float, default 1e-9
        Finite, at least 0. Training ends when an iteration lowers the loss by less than tolerance_change max(loss, 1).
    history : int, default 10
        At least 1: the number of pairs (step, change of the gradient) that approximate the Hessian.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number, or history not an integer.
    ValueError
        If one is out of range or not finite.
    """

    name = "lbfgs"
    fields = ("tolerance_gradient", "tolerance_change", "history")

    tolerance_gradient: float
    tolerance_change: float
    history: int

    def __init__(self, tolerance_gradient: float = 1e-7, tolerance_change: float = 1e-9, history: int = 10) -> None:
        self._set(
            tolerance_gradient=number("tolerance_gradient", tolerance_gradient, least=0),
            tolerance_change=number("tolerance_change", tolerance_change, least=0),
            history=integer("history", history, least=1),
        )


def optimizer(value: str | Optimizer) -> Optimizer:
    """An optimiser, given as its name or as an object.

    Parameters
    ----------
    value : str or Optimizer
        "sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs", or an object.

    Returns
    -------
    Optimizer

    Raises
    ------
    TypeError
        If value is neither a name nor an optimiser.
    ValueError
        If no optimiser has that name.
    """
    return named("optimizer", value, Optimizer, (SGD, Adam, AdamW, RMSprop, Adagrad, LBFGS))
