"""The exceptions of fastbp that are not plain TypeErrors or ValueErrors."""

from typing import Any


class DivergenceError(ArithmeticError):
    """A loss or gradient in training was nan or infinite, or an update would have made parameters or state so.

    Parameters and optimiser state are those from before the step that failed.

    Parameters
    ----------
    what : {"loss", "gradient", "update"}
        What was not finite; "update": a parameter, an element of the optimiser's state or a running statistic after
        the update.
    epoch : int or None
        The epoch that failed, numbered from 0 over the trainer's life; None in ``Trainer.step``.
    step : int
        The update of that epoch, numbered from 0; in ``Trainer.step``, the number of updates done before.
    loss : float
        The loss of the minibatch that failed.
    last_loss : float or None
        The loss of the trainer's previous update; None if there was none.
    learning_rate : float
        The learning rate of the update that failed.
    history : dict of lists
        The history of the epochs that this call completed.

    Attributes
    ----------
    what, epoch, step, loss, last_loss, learning_rate, history
        The arguments.
    """

    def __init__(
        self,
        what: str,
        epoch: int | None,
        step: int,
        loss: float,
        last_loss: float | None,
        learning_rate: float,
        history: dict[str, Any],
    ) -> None:
        super().__init__(what, epoch, step, loss, last_loss, learning_rate, history)  # args, which pickle keeps
        self.what = what
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self.last_loss = last_loss
        self.learning_rate = learning_rate
        self.history = history

    def __str__(self) -> str:
        where = f"at step {self.step}" if self.epoch is None else f"in epoch {self.epoch}, minibatch {self.step}"
        if self.what == "loss":
            met = f"the loss became {self.loss} {where}"
        elif self.what == "gradient":
            met = f"the gradient became nan or infinite {where}, at a loss of {self.loss:g}"
        else:
            met = (
                f"the update {where}, at a loss of {self.loss:g}, would make parameters or the state of the optimizer "
                "nan or infinite"
            )
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
    """A gradient differs from the gradient by central differences.

    Parameters
    ----------
    message : str
    index : tuple of int or None
        The element of the gradient (or Jacobian) with the largest relative error.
    expected : float or None
        This element by central differences.
    got : float or None
        This element of the gradient that was checked.
    error : float or None
        The relative error of this element.

    Attributes
    ----------
    index, expected, got, error
        The arguments.
    report : NetworkReport or None
        All errors, from `check_network`; None from `check_gradient`.
    """

    def __init__(
        self,
        message: str,
        index: tuple[int, ...] | None = None,
        expected: float | None = None,
        got: float | None = None,
        error: float | None = None,
    ) -> None:
        super().__init__(message, index, expected, got, error)
        self.index = index
        self.expected = expected
        self.got = got
        self.error = error
        self.report: Any = None

    def __str__(self) -> str:
        return str(self.args[0])
