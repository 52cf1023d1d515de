"""What the docstrings of the estimators share."""

import inspect

PARAMETERS = """\
hidden_layer_sizes : array-like of int, default=(100,)
    The widths of the hidden layers; empty for a linear model.
activation : str, activation or list, default="relu"
    Of the hidden layers: "identity", "logistic", "tanh", "relu", another name of fastbp's ("gelu", "silu", ...), an
    object such as ``fb.LeakyReLU(0.2)``, or a list with one for each hidden layer.
solver : {"adam", "sgd", "lbfgs"}, default="adam"
    "lbfgs" takes all the data at once.
alpha : float, default=0.0001
    alpha / 2 times the sum of the squares of coefs_ joins the loss, divided by the number of rows of a minibatch.
batch_size : int or "auto", default="auto"
    Rows of a minibatch; "auto" is min(200, n_samples).
learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
    For "sgd". "invscaling": learning_rate_init / (t_ + 1)^power_t after each epoch. "adaptive": a fifth of what it was
    whenever training would stop because nothing improves; it stops when that comes at 1e-6 or less.
learning_rate_init : float, default=0.001
    The learning rate in the beginning.
power_t : float, default=0.5
    The exponent of "invscaling".
max_iter : int, default=200
    Epochs at most; of "lbfgs" iterations.
shuffle : bool, default=True
    Take the rows in another order in each epoch.
random_state : int, RandomState instance or None, default=None
    Decides how the parameters begin, which rows are held out, the order of the rows, and what dropout drops. The first
    two are scikit-learn's for the same random_state.
tol : float, default=1e-4
    What counts as an improvement of the loss, or of the validation score. Of "lbfgs" the bound of the gradient.
verbose : bool, default=False
    Print a line after each epoch.
warm_start : bool, default=False
    fit begins where the fit before ended.
momentum : float, default=0.9
    In [0, 1), of "sgd".
nesterovs_momentum : bool, default=True
    Whether that is Nesterov's.
early_stopping : bool, default=False
    Stop when the validation score has not improved by tol for n_iter_no_change epochs, rather than the loss, and keep
    the parameters that had the best score.
validation_fraction : float, default=0.1
    The share of the rows that is held out for it, unless fit is given a validation_set.
beta_1, beta_2 : float, default=0.9 and 0.999
    Of "adam": how long it remembers gradients, and their squares.
epsilon : float, default=1e-8
    Of "adam".
n_iter_no_change : int or inf, default=10
    Training stops after more epochs than this without an improvement.
max_fun : int, default=15000
    How often "lbfgs" may compute the loss.
dropout : float or list of float, default=0.0
    What share of the outputs of each hidden layer is dropped in training; a list has one for each layer.
normalization : {"layer", "batch"} or None, default=None
    A `LayerNorm` or `BatchNorm` before the activation of each hidden layer.
dtype : "float32", "float64" or None, default=None
    Of the parameters and the arithmetic. None: float32 where X is, else float64, as in scikit-learn.
n_threads : int or None, default=None
    At most so many threads. None: all cores, but one within a worker of joblib's. The results are the same.
"""

ATTRIBUTES = """\
coefs_, intercepts_ : lists of ndarray
    W (inputs, outputs) and b (outputs,) of each layer. They may be changed, and replaced.
network_ : fastbp.Network
    The net, with the same parameters: to save it, for one. It gives logits, or logarithms under "poisson".
loss_ : float
    The loss of the last epoch, penalties included.
loss_curve_ : list of float
    The loss of each epoch. Not with "lbfgs".
best_loss_ : float or None
    The least of them; None with early_stopping.
validation_scores_ : list of float or None
    The score of the validation data after each epoch.
best_validation_score_ : float or None
    With early_stopping the best of them.
n_iter_ : int
    Epochs of the last fit, or iterations.
t_ : int
    Rows that training has seen.
n_layers_, n_outputs_ : int
    Layers, input and output included; columns of the output.
out_activation_ : {"identity", "exp", "logistic", "softmax"}
    What makes predictions of the net's outputs.
n_features_in_ : int
    Columns of X.
feature_names_in_ : ndarray of shape (n_features_in_,)
    The names of the columns, where X has some.
"""


def documented(cls):
    """Put the shared text into a class's docstring."""
    text = inspect.cleandoc(cls.__doc__)
    cls.__doc__ = text.replace("{parameters}\n", PARAMETERS).replace("{attributes}\n", ATTRIBUTES)
    return cls
