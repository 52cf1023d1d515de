"""The choice among the three ways to make an epoch, made once for each trainer."""

from __future__ import annotations

from ..losses import Loss
from ..network import Network
from ..optimizers import LBFGS
from .full_batch import FullBatch, refuse_settings
from .in_core import InCore
from .python_loss import PythonLoss
from .settings import Counts, Settings
from .way import MinibatchWay, Way


def chosen_way(net: Network, settings: Settings, counts: Counts | None = None) -> Way:
    """The way in which a trainer makes its epochs, with an engine of its own.

    Parameters
    ----------
    net : Network
    settings : Settings
    counts : Counts, optional
        How far training has come. Default: the beginning.

    Returns
    -------
    Way

    Raises
    ------
    TypeError, ValueError
        When settings do not go with each other, or with the net.
    """
    loss, optimizer = settings.loss, settings.optimizer
    if isinstance(optimizer, LBFGS):
        refuse_settings(settings)
    way: MinibatchWay
    way = InCore(net, settings, loss, counts) if isinstance(loss, Loss) else PythonLoss(net, settings, loss, counts)
    return FullBatch(way, optimizer) if isinstance(optimizer, LBFGS) else way
