"""The parts that the docstrings of the estimators share."""

import inspect
from typing import TypeVar

T = TypeVar("T", bound=type)

PARAMETERS = """\
hidden_layer_sizes : array-like of int, default=(100,)
    The widths of the hidden layers; empty for a linear model.
activation : str, activation or list, default="relu"
    The activation of the hidden layers: "identity", "logistic", "tanh", "relu", another name that fastbp has ("gelu",
    "silu", ...), an object such as ``fb.LeakyReLU(0.2)``, or a list with one for each hidden layer.
solver : {"adam", "sgd", "lbfgs"}, default="adam"
    "lbfgs" uses all the data in each iteration.
alpha : float, default=0.0001
    The loss includes alpha / 2 times the sum of the squares of coefs_, divided by the number of rows of a minibatch.
batch_size : int or "auto", default="auto"
    Rows of a minibatch; "auto" is min(200, n_samples).
learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
    For "sgd". "invscaling": learning_rate_init / (t_ + 1)^power_t after each epoch. "adaptive": divided by 5 whenever
    training would stop for lack of improvement; training stops when it is at most 1e-6 by then.
learning_rate_init : float, default=0.001
    The initial learning rate.
power_t : float, default=0.5
    The exponent of "invscaling".
max_iter : int, default=200
    Upper bound on the number of epochs; of iterations with "lbfgs".
shuffle : bool, default=True
    Take the rows in another order in each epoch.
random_state : int, RandomState instance or None, default=None
    Determines the initial parameters, the rows held out, the order of the rows, and the elements that dropout drops.
    The first two are those of scikit-learn for the same random_state.
tol : float, default=1e-4
    A smaller change of the loss, or of the validation score, is no improvement. With "lbfgs" the gradient at which it
    stops.
verbose : bool, default=False
    Print a line after each epoch.
warm_start : bool, default=False
    Begin with the result of the last fit.
momentum : float, default=0.9
    In [0, 1), for "sgd".
nesterovs_momentum : bool, default=True
    Whether to use Nesterov's momentum.
early_stopping : bool, default=False
    Stop when the validation score, rather than the loss, has not improved by tol for n_iter_no_change epochs, and keep
    the parameters with the best score.
validation_fraction : float, default=0.1
    The share of the rows held out for early stopping, unless fit is given a validation_set.
beta_1, beta_2 : float, default=0.9 and 0.999
    The decay rates of the moving averages of gradients and of their squares, for "adam".
epsilon : float, default=1e-8
    For "adam".
n_iter_no_change : int or inf, default=10
    Training stops after more epochs than this without an improvement.
max_fun : int, default=15000
    Upper bound on the number of evaluations of the loss by "lbfgs".
dropout : float or list of float, default=0.0
    The share of the outputs of each hidden layer that is dropped in training; a list has one for each layer.
normalization : {"layer", "batch"} or None, default=None
    A `LayerNorm` or `BatchNorm` before the activation of each hidden layer.
dtype : "float32", "float64" or None, default=None
    The type of the parameters and the arithmetic. None: float32 where X is float32, else float64, as in scikit-learn.
n_threads : int or None, default=None
    Upper bound on the number of threads. None: the number of cores, but 1 within a worker of joblib. The results are
    the same for any number.
"""

ATTRIBUTES = """\
coefs_, intercepts_ : lists of ndarray
    W (inputs, outputs) and b (outputs,) of each layer. They may be changed, and replaced.
network_ : fastbp.Network
    The net, with the same parameters, which can be saved, for one. Its outputs are logits, with "poisson" logarithms.
loss_ : float
    The loss of the last epoch, penalties included.
loss_curve_ : list of float
    The loss of each epoch. Not with "lbfgs".
best_loss_ : float or None
    The smallest loss of an epoch; None with early_stopping.
validation_scores_ : list of float or None
    The score of the validation data after each epoch.
best_validation_score_ : float or None
    With early_stopping the best of these scores.
n_iter_ : int
    Epochs of the last fit, or iterations.
t_ : int
    Rows that training has processed.
n_layers_, n_outputs_ : int
    Layers, input and output included; columns of the output.
out_activation_ : {"identity", "exp", "logistic", "softmax"}
    The function that turns the net's outputs into predictions.
n_features_in_ : int
    Columns of X.
feature_names_in_ : ndarray of shape (n_features_in_,)
    The names of the columns, where X has names.
"""


def documented(cls: T) -> T:
    """Insert the shared text into the docstring of a class."""
    text = inspect.cleandoc(cls.__doc__ or "")
    cls.__doc__ = text.replace("{parameters}\n", PARAMETERS).replace("{attributes}\n", ATTRIBUTES)
    return cls
