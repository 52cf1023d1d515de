"""scikit-learn estimators: `MLPClassifier`, `MLPRegressor`, `QuantileMLPRegressor`.

Their parameters, attributes and defaults are those of scikit-learn's own multi-layer perceptrons, with a few parameters
more. docs/from_scikit_learn.md lists the differences. They need scikit-learn: the extra ``fastbp[sklearn]``.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("the estimators need scikit-learn: pip install 'fastbp[sklearn]'") from error

from .classifier import MLPClassifier
from .quantile import QuantileMLPRegressor
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "QuantileMLPRegressor"]
