"""Optimisers: their hyperparameters. Names, defaults and formulas are PyTorch's."""

from .declarative import Declared, named, number


class Optimizer(Declared):
    """Base class of the optimisers.

    Attributes
    ----------
    name : str
        "sgd" or "adam".
    code : int
        The optimiser's number in the C core (enum fbp_optimizer_kind).
    moments : int
        How many vectors of state it keeps, each as long as the parameters.
    constants : tuple
        ``(code, momentum, weight_decay, beta1, beta2, eps)``, 0.0 where the optimiser has none.
    """

    code = None
    moments = 0

    @property
    def constants(self):
        names = ("momentum", "weight_decay", "beta1", "beta2", "eps", "rate_decay", "nesterov", "decoupled")
        return (self.code, *(getattr(self, name, 0.0) for name in names))


class SGD(Optimizer):
    """Stochastic gradient descent: g += weight_decay w; v = momentum v + g; w -= learning_rate v.

    Parameters
    ----------
    learning_rate : float, default 1e-3
        Finite, at least 0.
    momentum : float, default 0
        In [0, 1).
    weight_decay : float, default 0
        Finite, at least 0: the factor of w added to the gradient.

    Raises
    ------
    TypeError
        If a hyperparameter is not a number.
    ValueError
        If one is out of range or not finite.
    """

    name = "sgd"
    code = 0
    fields = ("learning_rate", "momentum", "weight_decay")

    def __init__(self, learning_rate=1e-3, momentum=0.0, weight_decay=0.0):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            momentum=number("momentum", momentum, least=0, below=1),
            weight_decay=number("weight_decay", weight_decay, least=0),
        )

    @property
    def moments(self):
        return 1 if self.momentum else 0


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
    moments = 2
    fields = ("learning_rate", "beta1", "beta2", "eps", "weight_decay")

    def __init__(self, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        self._set(
            learning_rate=number("learning_rate", learning_rate, least=0),
            beta1=number("beta1", beta1, least=0, below=1),
            beta2=number("beta2", beta2, least=0, below=1),
            eps=number("eps", eps, above=0),
            weight_decay=number("weight_decay", weight_decay, least=0),
        )


def optimizer(value):
    """An optimiser from its name ("sgd", "adam") or from the object itself.

    Raises
    ------
    TypeError
        If it is neither a name nor an optimiser.
    ValueError
        If there is no optimiser of that name.
    """
    return named("optimizer", value, Optimizer, (SGD, Adam))
