"""Optimisers: their hyperparameters. Names, defaults and formulas are PyTorch's."""

from ._support.declarative import Declared, flag, integer, named, number


class Optimizer(Declared):
    """Base class of the optimisers.

    Attributes
    ----------
    name : str
        "sgd", "adam", "adamw", "rmsprop", "adagrad" or "lbfgs".
    code : int or None
        The optimiser's number in the C core (enum fbp_optimizer_kind); None for one that is not of minibatches.
    moments : int
        How many vectors of state it keeps, each as long as the parameters.
    slots : tuple of int
        Which of the kernel's three moments each of them is.
    initial_moments : tuple of float
        What each of them is full of before the first step.
    constants : tuple
        ``(code, momentum, weight_decay, beta1, beta2, eps, rate_decay, nesterov, decoupled)``, 0 where the optimiser
        has none. beta2 is RMSprop's alpha.
    """

    code = None
    slots = ()
    nesterov = decoupled = False

    @property
    def moments(self):
        return len(self.slots)

    @property
    def initial_moments(self):
        return (0.0,) * self.moments

    @property
    def constants(self):
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

    def __init__(self, learning_rate=1e-3, momentum=0.0, weight_decay=0.0, nesterov=False):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            momentum=number("momentum", momentum, least=0, below=1),
            weight_decay=number("weight_decay", weight_decay, least=0),
            nesterov=flag("nesterov", nesterov),
        )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True; it needs a momentum above 0")

    @property
    def slots(self):
        return (0,) if self.momentum else ()


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015), weight decay added to the gradient.

    In step t, from 1: g += weight_decay w; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
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
    fields = ("learning_rate", "beta1", "beta2", "eps", "weight_decay")

    def __init__(self, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            beta1=number("beta1", beta1, least=0, below=1),
            beta2=number("beta2", beta2, least=0, below=1),
            eps=number("eps", eps, above=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019): it shrinks w, and leaves the gradient alone.

    In step t, from 1: w -= learning_rate weight_decay w; then as `Adam` without weight decay.

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

    def __init__(self, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
        super().__init__(learning_rate, beta1, beta2, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012): the gradient divided by the root of a mean of its squares.

    g += weight_decay w; v = alpha v + (1 - alpha) g^2; q = g / (sqrt(v) + eps); w -= learning_rate q. Centred, the
    square of a mean of g is taken from v under the root. With momentum, u = momentum u + q and w -= learning_rate u.

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

    def __init__(self, learning_rate=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            alpha=number("alpha", alpha, least=0, below=1),
            eps=number("eps", eps, above=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
            momentum=number("momentum", momentum, least=0, below=1),
            centered=flag("centered", centered),
        )

    @property
    def beta2(self):
        return self.alpha

    @property
    def slots(self):
        return (0, *((1,) if self.momentum else ()), *((2,) if self.centered else ()))


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, JMLR 2011): the gradient divided by the root of the sum of its squares.

    In step t, from 1: g += weight_decay w; v += g^2;
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
        Finite, at least 0: what each element of v begins with.
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
    fields = ("learning_rate", "rate_decay", "weight_decay", "initial_accumulator", "eps")

    def __init__(self, learning_rate=1e-2, rate_decay=0.0, weight_decay=0.0, initial_accumulator=0.0, eps=1e-10):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            rate_decay=number("rate_decay", rate_decay, least=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
            initial_accumulator=number("initial_accumulator", initial_accumulator, least=0),
            eps=number("eps", eps, above=0),
        )

    @property
    def initial_moments(self):
        return (self.initial_accumulator,)


class LBFGS(Optimizer):
    """L-BFGS, for full batches: SciPy's L-BFGS-B drives value_and_grad; needs the scipy extra.

    Parameters
    ----------
    tolerance_gradient : float, default 1e-7
        Finite, at least 0: no element of the gradient is larger at the end.
    tolerance_change : float, default 1e-9
        Finite, at least 0: the end when an iteration lowers the loss by less than this share of it, or of 1 where the
        loss is smaller.
    history : int, default 10
        At least 1: how many pairs of steps and changes of the gradient stand for the second derivatives.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number, or history not an integer.
    ValueError
        If one is out of range or not finite.
    """

    name = "lbfgs"
    fields = ("tolerance_gradient", "tolerance_change", "history")

    def __init__(self, tolerance_gradient=1e-7, tolerance_change=1e-9, history=10):
        self._set(
            tolerance_gradient=number("tolerance_gradient", tolerance_gradient, least=0),
            tolerance_change=number("tolerance_change", tolerance_change, least=0),
            history=integer("history", history, least=1),
        )


def optimizer(value):
    """An optimiser from its name ("sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs") or from the object itself.

    Raises
    ------
    TypeError
        If it is neither a name nor an optimiser.
    ValueError
        If there is no optimiser of that name.
    """
    return named("optimizer", value, Optimizer, (SGD, Adam, AdamW, RMSprop, Adagrad, LBFGS))
