"""The exceptions that are not plain TypeErrors and ValueErrors."""


class DivergenceError(ArithmeticError):
    """Training met a loss or a gradient that is nan or infinite.

    The parameters, and the optimiser's state, are as they were before the step that failed.

    Parameters
    ----------
    what : {"loss", "gradient"}
        What was not finite.
    epoch : int or None
        The epoch that failed, numbered from 0 over the trainer's life; None in ``Trainer.step``.
    step : int
        The minibatch of that epoch, numbered from 0; in ``Trainer.step``, the optimiser steps done before.
    loss : float
        The loss of the minibatch that failed.
    last_loss : float or None
        The loss of the trainer's last step before, None if it has made none.
    learning_rate : float
        The learning rate of the step that failed.
    history : dict of lists
        The history of the epochs that this call completed.

    Attributes
    ----------
    what, epoch, step, loss, last_loss, learning_rate, history
        As given.
    """

    def __init__(self, what, epoch, step, loss, last_loss, learning_rate, history):
        super().__init__(what, epoch, step, loss, last_loss, learning_rate, history)  # args: what a pickle keeps
        self.what = what
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.last_loss = last_loss
        self.learning_rate = learning_rate
        self.history = history

    def __str__(self):
        where = f"at step {self.step}" if self.epoch is None else f"in epoch {self.epoch}, minibatch {self.step}"
        if self.what == "loss":
            met = f"the loss became {self.loss} {where}"
        else:
            met = f"the gradient became nan or infinite {where}, at a loss of {self.loss:g}"
        if self.last_loss is None:
            last = "no loss came before it"
        else:
            last = f"the last finite loss was {self.last_loss:g}"
        return (
            f"training diverged: {met}; {last}. The parameters are those before this step. "
            f"The learning rate was {self.learning_rate:g}: try a smaller one, and inputs and targets scaled to "
            "around 1."
        )


class GradientError(AssertionError):
    """A gradient differs from the one by central differences.

    Parameters
    ----------
    message : str
    index : tuple of int or None
        Where in the gradient (or Jacobian) the difference is largest, in the sense of `error`.
    expected : float or None
        The element there by central differences.
    got : float or None
        The element there that was checked.
    error : float or None
        The relative error there.
    """

    def __init__(self, message, index=None, expected=None, got=None, error=None):
        super().__init__(message, index, expected, got, error)
        self.index = index
        self.expected = expected
        self.got = got
        self.error = error

    def __str__(self):
        return self.args[0]
