"""Every public name of fastbp in use, for type checkers: tests/test_typing.py runs mypy --strict and pyright on it.

It is checked and not run.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastbp as fb
from fastbp.datasets import train_test_split
from fastbp.training.run import Run

# ------------------------------------------------------------------------------------------------------------ the data

X, y = fb.load_digits()
X, y, X_test, y_test = train_test_split(X, y, test_fraction=0.2, seed=0)
X_mnist, y_mnist, X_mnist_test, y_mnist_test = fb.load_mnist("mnist", scale=False)
fb.datasets.train_test_split(X, y)

# --------------------------------------------------------------------------------------------------- layers and losses

layers: list[fb.layers.Layer] = [
    fb.Dense(128, "relu", weight_init="he_normal", bias_init=fb.initializers.Constant(0.1), l2=1e-4, frozen=False),
    fb.Dense(64, fb.LeakyReLU(0.2), weight_init=fb.initializers.Orthogonal(1.4)),
    fb.Residual([fb.Dense(64), fb.LayerNorm(eps=1e-5), fb.ReLU()], projection=None),
    fb.BatchNorm(momentum=0.1),
    fb.Dropout(0.2),
    fb.Dense(10, bias=True, penalize_bias=False),
    fb.Softmax(),
]
activations: list[fb.layers.Activation] = [
    fb.Identity(), fb.ReLU(), fb.LeakyReLU(0.1), fb.Sigmoid(), fb.Tanh(), fb.Softplus(2), fb.ELU(0.5), fb.SELU(),
    fb.GELU(), fb.GELUTanh(), fb.SiLU(),
]  # fmt: skip
assert_type(fb.layers.activation("tanh"), fb.layers.Activation)
initializers: list[fb.initializers.Initializer] = [
    fb.initializers.Zeros(), fb.initializers.Constant(1), fb.initializers.HeUniform(), fb.initializers.HeNormal(),
    fb.initializers.GlorotUniform(), fb.initializers.GlorotNormal(), fb.initializers.LeCunUniform(),
    fb.initializers.LeCunNormal(), fb.initializers.Orthogonal(gain=2), fb.initializers.TorchLinear(),
    fb.initializers.Uniform(-1, 1), fb.initializers.Normal(std=0.1),
]  # fmt: skip
losses: list[fb.losses.Loss] = [
    fb.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1.0, 2.0]),
    fb.SoftmaxCrossEntropy("sum", class_weights=np.ones(10)),
    fb.BinaryCrossEntropy(pos_weight=3.0), fb.MeanSquaredError("mean"), fb.MeanAbsoluteError(), fb.Huber(delta=2),
    fb.Poisson(), fb.Pinball([0.1, 0.5, 0.9]),
]  # fmt: skip
optimizers: list[fb.optimizers.Optimizer] = [
    fb.SGD(0.1, momentum=0.9, nesterov=True), fb.Adam(1e-3), fb.AdamW(1e-3, weight_decay=0.01),
    fb.RMSprop(centered=True), fb.Adagrad(initial_accumulator=0.1), fb.LBFGS(history=5),
]  # fmt: skip
schedules: list[fb.schedules.Schedule] = [
    fb.schedules.Constant(), fb.schedules.StepDecay(10, unit="epoch"), fb.schedules.Exponential(0.9),
    fb.schedules.Cosine(100, end=0.1), fb.schedules.Warmup(10, then=fb.schedules.Cosine(90)),
    fb.schedules.OneCycle(100, pct_start=0.25), fb.schedules.InverseScaling(0.5),
    fb.schedules.ReduceOnPlateau(patience=3), fb.schedules.Function(lambda position: 1 / (1 + position)),
]  # fmt: skip
assert_type(schedules[0].factor(3), float)
assert_type(losses[0].parameters(10), tuple[float, ...])
assert_type(fb.Adam(1e-3).replaced(beta1=0.8), fb.Adam)
assert_type(fb.layers.Layer.from_dict(layers[0].to_dict()), fb.layers.Layer)

# ----------------------------------------------------------------------------------------------------- the first minute

net = fb.Network(64, [fb.Dense(128, "relu"), fb.Dropout(0.2), fb.Dense(10)])
trainer = fb.Trainer(net, loss="softmax_cross_entropy", optimizer=fb.Adam(1e-3))
history = trainer.fit(X, y, epochs=200, validation=0.1, callbacks=fb.callbacks.EarlyStopping(patience=10))
print(f"test accuracy {(net.predict(X_test).argmax(axis=1) == y_test).mean():.1%}")
net.save("digits.npz")
assert_type(fb.load("digits.npz"), fb.Network)
assert_type(history, fb.History)
assert_type(history.epochs, int)

# ------------------------------------------------------------------------------------------------ networks and trainers

deep = fb.Network(64, layers, dtype="float64", seed=3)
deep.parameters *= 0.5
deep.n_threads = 2
deep.freeze(0, 1)
deep.unfreeze(0)
W, b = deep.weights[0]
W[:] = 0
print(deep.inputs, deep.outputs, deep.layers, deep.dtype, deep.seed, deep.statistics, deep.jacobian(X).shape)
fb.Network.load("net.npz").save("net.safetensors")


def squared(output: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    d = output - target
    return float((d * d).mean()), 2 * d / d.size


own = fb.Trainer(net, squared, "sgd", schedule=lambda position: 0.99**position, clip_norm=1.0)
other = fb.Trainer(
    deep,
    fb.SoftmaxCrossEntropy(label_smoothing=0.1),
    fb.AdamW(2e-3),
    seed=1,
    n_threads=1,
    schedule=fb.schedules.OneCycle(1000),
    clip_value=1.0,
    average=0.999,
)
assert_type(other.step(X[:32], y[:32]), float)
loss, gradient = other.value_and_grad(X[:32], y[:32])[:2]
other.apply(gradient)
norms = other.example_gradient_norms(X[:8], y[:8])[1] + other.example_gradients(X[:8], y[:8])[1].sum()
assert_type(other.evaluate(X, y), float)
other.save("run.npz")
again = fb.Trainer.load("run.npz", n_threads=2)
again.optimizer = "adam"
again.optimizer = fb.SGD(0.1)
print(
    again.steps,
    again.epochs,
    again.averaged_network().parameters,
    again.averaged,
    again.schedule,
    again.loss,
    again.net,
)


def watch(run: Run) -> None:
    if run.history["loss"][-1] < 0.1:
        run.stop()


class Stop(fb.callbacks.Callback):
    def epoch_end(self, run: Run) -> None:
        if run.epoch > 3:
            run.stop()


other.fit(
    X,
    y,
    epochs=3,
    batch_size=32,
    validation=(X_test, y_test),
    metrics=["accuracy", fb.metrics.accuracy],
    class_weight="balanced",
    callbacks=[
        watch, Stop(), fb.callbacks.Checkpoint("run.npz"), fb.callbacks.Log("log.csv"), fb.callbacks.MaxTime(60),
        fb.callbacks.ProgressBar(), fb.callbacks.EarlyStopping("val_loss"),
    ],
)  # fmt: skip
other.fit([(X[:10], y[:10]), (X[10:20], y[10:20])], metrics={"r2": fb.metrics.r2})
fb.metrics.top_k(net.predict(X), y, 3)
fb.metrics.binary_accuracy(X, X)
fb.metrics.mean_absolute_error(X, X)
fb.metrics.mean_squared_error(X, X)

try:
    other.fit(X, y)
except fb.DivergenceError as error:
    print(error.what, error.epoch, error.step, error.loss, error.last_loss, error.learning_rate, error.history)
assert issubclass(fb.errors.GradientError, AssertionError)

# --------------------------------------------------------------------------------------------------------- derivatives

assert_type(fb.numerical_gradient(lambda x: float((x**2).sum()), [1.0, 2.0]), NDArray[np.float64])
fb.numerical_jacobian(lambda x: [x[0] ** 2, 3 * x[1]], np.ones(2), eps=1e-5)
try:
    assert_type(fb.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.ones(3), tolerance=1e-6), float)
except fb.GradientError as error:
    print(error.index, error.expected, error.got, error.error)
report = fb.check_network(net, "softmax_cross_entropy", X[:8], y[:8], elements=20)
print(report.ok, report.worst, report.errors, report.checked, report)
product = fb.hessian_vector_product(trainer, X[:8], y[:8], np.ones_like(net.parameters))
fb.derivatives.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.ones(3))

# ------------------------------------------------------------------------------------------------------------ the twin

print(fb.ops.gemm(gradient[None], gradient[:, None]), fb.reference.gemm(gradient[None], gradient[:, None]))
twin = fb.reference.Trainer(fb.reference.Network(64, layers), "softmax_cross_entropy", fb.Adam(1e-3))
twin.fit(X, y, epochs=1)

# ---------------------------------------------------------------------------------------- estimators, tables, processor

classifier = fb.MLPClassifier((100,), learning_rate_init=1e-3, max_iter=20, dropout=0.1)
classifier.fit(X, y)
classifier.partial_fit(X, y)
print(classifier.predict(X), classifier.predict_proba(X), classifier.predict_log_proba(X), classifier.score(X, y))
regressor = fb.MLPRegressor("squared_error", hidden_layer_sizes=(20, 10))
regressor.fit(X, y).predict(X)
intervals = fb.QuantileMLPRegressor([0.1, 0.9], monotone=True)
intervals.fit(X, y).predict(X)
print(classifier.network_, classifier.loss_curve_, fb.estimators.MLPClassifier)

table = fb.tabular.read("houses.csv", delimiter=",")
rows = np.arange(10)
inputs = fb.tabular.learn_inputs(table, ["size"], rows)
target = fb.tabular.learn_target("price", fb.tabular.target_values(table, "price"), rows)
fb.tabular.save("houses.npz", net, fb.tabular.Encoding(inputs, target))
model, encoding = fb.tabular.load("houses.npz")
print(encoding.inputs, encoding.target, fb.tabular.probabilities(net.predict(X)))

print(fb.__version__, fb.cpu.isa(), fb.cpu.available(), fb.cpu.cores(), fb.cpu.threads())
fb.cpu.use("portable")
