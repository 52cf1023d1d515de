"""The twin's trainer alone: runs by hand, runs by PyTorch, and what must come to the same thing.

The compiled trainer is measured against the twin elsewhere; here the twin is measured against what is not fastbp, and
against itself where two ways lead to one end.
"""

import re

import numpy as np
import pytest

from fastbp import losses, optimizers, schedules
from fastbp import reference as ref
from fastbp._support import network_steps, random_streams
from fastbp.errors import DivergenceError
from fastbp.layers import BatchNorm, Dense, Dropout, LayerNorm, ReLU, Residual, Tanh
from fastbp.losses import MeanSquaredError, Pinball, SoftmaxCrossEntropy
from fastbp.optimizers import LBFGS, SGD, Adam, AdamW, RMSprop
from fastbp.reference.dropout import dropout_forward

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)  # these nets are small

ROWS = 40


def make_layers(rate=0.0):
    """All that has parameters, and a projection; without a bias that a batch norm would take away again."""
    return [
        Dense(7, "tanh"),
        Residual([LayerNorm(), Dense(9, "silu"), Dropout(rate)]),
        Dense(6, bias=False),
        BatchNorm(0.2),
        ReLU(),
        Dense(3),
    ]


def make(loss="softmax_cross_entropy", optimizer="adam", made_of=None, dtype="float64", **options):
    net = ref.Network(4, make_layers() if made_of is None else made_of, dtype, seed=1)
    return ref.Trainer(net, loss, optimizer, **{"seed": 5, **options})


def data(kind="labels", rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4))
    return X, rng.integers(0, 3, rows) if kind == "labels" else rng.normal(size=(rows, 3))


def state(trainer):
    """All that an update may change."""
    averaged = [] if trainer.averaged is None else [trainer.averaged]
    vectors = [trainer.net.parameters, trainer.net.statistics, *trainer._moments, *averaged]
    return [vector.copy() for vector in vectors], trainer.steps, trainer._last_loss


def same(a, b):
    return a[1:] == b[1:] and all(np.array_equal(x, y) for x, y in zip(a[0], b[0], strict=True))


# ------------------------------------------------------------------------------------------------- weights of the rows


LOSSES = [
    SoftmaxCrossEntropy(),
    SoftmaxCrossEntropy("sum"),
    SoftmaxCrossEntropy(class_weights=[0.5, 1, 2]),
    SoftmaxCrossEntropy(label_smoothing=0.2, class_weights=[0.5, 1, 2]),
    MeanSquaredError(),
    MeanSquaredError("sum"),
    Pinball([0.2, 0.5, 0.7]),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_weight_is_a_number_of_copies(loss):
    X, y = data("labels" if loss.code_labels is not None else "reals")
    times = np.random.default_rng(1).integers(0, 4, ROWS)
    copies = np.repeat(np.arange(ROWS), times)
    weights = times.astype(np.float64)
    made_of = [Dense(5, "tanh", l2=0.1), Dense(3)]  # without a batch norm, whose statistics know no weights
    trainer = make(loss, made_of=made_of)
    for got, expected in (
        (trainer.evaluate(X, y, weights), trainer.evaluate(X[copies], y[copies])),
        (trainer.value_and_grad(X, y, sample_weight=weights)[0], trainer.value_and_grad(X[copies], y[copies])[0]),
        (trainer.value_and_grad(X, y, sample_weight=weights)[1], trainer.value_and_grad(X[copies], y[copies])[1]),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    other = make(loss, made_of=made_of)
    assert trainer.step(X, y, weights) == pytest.approx(other.step(X[copies], y[copies]), rel=1e-12)
    np.testing.assert_allclose(trainer.net.parameters, other.net.parameters, rtol=1e-9, atol=1e-12)


def test_the_loss_of_an_epoch_is_weighted_too():
    """With the learning rate 0 the epoch's loss is that of all rows, however they fall into minibatches."""
    X, y = data()
    weights = np.random.default_rng(2).uniform(0, 3, ROWS)
    weights[8:16] = 0
    for loss in LOSSES[:4:2]:
        for options in ({}, {"accumulate": 2}):
            trainer = make(loss, SGD(0), [Dense(3)])
            history = trainer.fit(X, y, 1, 8, (X, y, weights), False, sample_weight=weights, **options)
            assert history["loss"][0] == pytest.approx(history["val_loss"][0], rel=1e-12)
    assert trainer.evaluate(X, y) == trainer.evaluate(X, y, np.ones(ROWS)) != history["val_loss"][0]


def test_rows_without_weight():
    """A minibatch that weighs nothing has no loss and no gradient; the update is made all the same."""
    X, y = data()
    trainer = make(optimizer=SGD(0.5, 0.5, 0.5), made_of=[Dense(3)])
    loss, gradient = trainer.value_and_grad(X, y, sample_weight=np.zeros(ROWS))
    assert loss == 0 and not gradient.any() and trainer.evaluate(X, y, np.zeros(ROWS)) == 0
    before = trainer.net.parameters.copy()
    assert trainer.step(X, y, np.zeros(ROWS)) == 0
    np.testing.assert_allclose(trainer.net.parameters, 0.75 * before, rtol=1e-15)
    assert trainer.fit(X, y, sample_weight=np.zeros(ROWS))["loss"] == [0.0]


def test_labels_weigh_in_the_mean_of_an_epoch():
    X, y = data()
    trainer = make(SoftmaxCrossEntropy(class_weights=[1, 5, 0]), SGD(0), [Dense(3)])
    expected, _ = ref.softmax_cross_entropy(trainer.net.predict(X), y, class_weights=[1, 5, 0])
    assert trainer.evaluate(X, y) == pytest.approx(expected, rel=1e-12)
    assert trainer.value_and_grad(X, y)[0] == pytest.approx(expected, rel=1e-12)
    assert trainer.fit(X, y, batch_size=7)["loss"][0] == pytest.approx(expected, rel=1e-12)


# ----------------------------------------------------------------------------------------------------- accumulation


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_minibatches_are_one(loss, weighted):
    """Without batch norms, and with dropout, which goes on counting the rows: loss and update are the same."""
    X, y = data("labels" if loss.code_labels is not None else "reals")
    weights = np.random.default_rng(1).uniform(0, 2, ROWS) if weighted else None
    made_of = [Dropout(0.3), Dense(33, "tanh", l1=1e-3), LayerNorm(), Residual([Dropout(0.5), Dense(33)]), Dense(3)]
    rate = 0.1 if loss.reduction == "mean" else 1e-3
    whole, parts = (make(loss, SGD(rate, 0.9), made_of, average=0.5) for _ in range(2))
    expected = whole.fit(X, y, epochs=3, batch_size=24, sample_weight=weights)  # minibatches of 24 and 16
    got = parts.fit(X, y, epochs=3, batch_size=8, accumulate=3, sample_weight=weights)
    assert parts.steps == whole.steps == 6
    for name in ("loss", "gradient_norm", "layer_gradient_norms"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-10)
    for a, b in zip(state(parts)[0], state(whole)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_batch_norms_see_the_single_minibatch():
    X, y = data()
    trainer, single = make(optimizer=SGD(0.1)), make(optimizer=SGD(0.1))
    start, statistics = trainer.net.parameters.copy(), trainer.net.statistics.copy()
    batches = [slice(0, 16), slice(16, 32), slice(32, 40)]
    expected = np.zeros_like(start)
    for batch in batches:
        expected += single.value_and_grad(X[batch], y[batch])[1] * len(X[batch]) / ROWS
    trainer.fit(X, y, batch_size=16, accumulate=9, shuffle=False)
    assert trainer.steps == 1
    np.testing.assert_allclose(trainer.net.parameters, start - 0.1 * expected, rtol=1e-12, atol=1e-14)
    # The running statistics move three times, by what the parameters made before the update.
    before = ref.Network(4, make_layers()[:3], "float64")
    before.parameters = start[: len(before.parameters)]
    mean, variance = statistics.reshape(2, 6)
    for batch in batches:
        z = before.predict(X[batch])
        mean = 0.8 * mean + 0.2 * z.mean(axis=0)
        variance = 0.8 * variance + 0.2 * z.var(axis=0, ddof=1)
    np.testing.assert_allclose(trainer.net.statistics, [*mean, *variance], rtol=1e-12)


# ----------------------------------------------------------------------------------------------- the gradient's way


def test_penalties_by_hand():
    X, y = np.array([[1.0, 2.0]]), np.array([[3.0]])
    net = ref.Network(2, [Dense(1, l1=0.5, l2=0.25, penalize_bias=True)], "float64")
    net.parameters = np.array([2.0, -4.0, 8.0])
    trainer = ref.Trainer(net, "mean_squared_error", SGD(1.0))
    # y = 2 - 8 + 8 = 2, squared error 1, gradient -2 (x, 1); l1 sum |w| = 7; l2/2 sum w^2 = 10.5.
    loss, gradient, dx = trainer.value_and_grad(X, y, inputs=True)
    assert loss == 1 + 7 + 10.5
    assert gradient.tolist() == [-2 + 0.5 + 0.5, -4 - 0.5 - 1, -2 + 0.5 + 2]
    assert dx.tolist() == [[-4, 8]]
    assert trainer.evaluate(X, y) == 1 and trainer.example_gradients(X, y)[1].tolist() == [[-2, -4, -2]]
    assert trainer.fit(X, y, validation=(X, y))["loss"] == [18.5] and net.parameters.tolist() == [3, 1.5, 7.5]
    net.freeze(0)
    assert trainer.value_and_grad(X, y)[0] == trainer.evaluate(X, y), "what is frozen has no penalty"
    net = ref.Network(2, [Dense(1, l1=0.5)], "float64")
    net.parameters = np.array([0.0, -4.0, 8.0])
    gradient = ref.Trainer(net, MeanSquaredError("sum"), SGD(1.0)).value_and_grad(X, y)[1]
    assert gradient.tolist() == [-6, -12 - 0.5, -6], "0 at 0, and none of b"


def test_penalties_are_once_in_an_update():
    X, y = data("reals")
    for accumulate in (1, 5):
        made_of = [Dense(3, l2=2.0)]
        trainer = make("mean_squared_error", SGD(0), made_of)
        W = trainer.net.weights[0][0]
        history = trainer.fit(X, y, batch_size=8, accumulate=accumulate)
        assert history["loss"][0] == pytest.approx(trainer.evaluate(X, y) + (W**2).sum(), rel=1e-12)


def test_clipping_by_hand():
    def after(gradient, **options):
        trainer = make("mean_squared_error", SGD(1.0), [Dense(1, bias=False)], **options)
        trainer.net.parameters = np.zeros(4)
        trainer.apply(np.array(gradient))
        return (-trainer.net.parameters).tolist()

    assert after([3.0, -4, 0, 12], clip_value=3.5) == [3, -3.5, 0, 3.5]
    assert after([3.0, -4, 0, 12], clip_norm=13.1) == [3, -4, 0, 12]
    factor = 6.5 / (13 + 1e-6)
    assert after([3.0, -4, 0, 12], clip_norm=6.5) == pytest.approx([3 * factor, -4 * factor, 0, 12 * factor], rel=1e-15)


def test_history_has_the_gradient_before_clipping():
    X, y = data()
    trainer, free = make(optimizer=SGD(0.1), clip_norm=1e-3), make()
    expected = np.linalg.norm(free.value_and_grad(X, y)[1])
    history = trainer.fit(X, y, batch_size=ROWS, shuffle=False)
    assert history["gradient_norm"][0] == pytest.approx(expected, rel=1e-12) and expected > 1e-2


def test_norms_of_layers():
    X, y = data()
    trainer, single = make(optimizer=SGD(0.1)), make(optimizer=SGD(0.1))
    trainer.net.freeze(2)
    single.net.freeze(2)
    history = trainer.fit(X, y, epochs=2, batch_size=16, shuffle=False)
    for epoch in range(2):
        squares = []
        for start in (0, 16, 32):
            batch = slice(start, start + 16)
            gradient = single.value_and_grad(X[batch], y[batch])[1]
            parts = network_steps.parameter_slices(single.net.steps)
            squares.append([(gradient[W.start : (b or W).stop] ** 2).sum() for W, _, b in parts])
            single.step(X[batch], y[batch])
        expected = np.sqrt(np.mean(squares, axis=0))
        np.testing.assert_allclose(history["layer_gradient_norms"][epoch], expected, rtol=1e-12)
        assert isinstance(history["layer_gradient_norms"][epoch], list) and len(expected) == len(trainer.net.weights)
        assert expected[2] == 0 and np.count_nonzero(expected) == len(expected) - 1
        assert history["gradient_norm"][epoch] == pytest.approx(np.sqrt((expected**2).sum()), rel=1e-12)


def test_average_by_hand():
    trainer = make("mean_squared_error", SGD(1.0), [Dense(1, bias=False)], average=0.75)
    trainer.net.parameters = np.zeros(4)
    assert np.array_equal(trainer.averaged, make(made_of=[Dense(1, bias=False)]).net.parameters), "until an update"
    expected = [8.0, 6.0 + 0.25 * 16, 7.5 + 0.25 * 20]
    for w, average in zip((8.0, 16.0, 20.0), expected):
        trainer.apply(trainer.net.parameters - w)
        assert trainer.net.parameters.tolist() == [w] * 4 and trainer.averaged.tolist() == [average] * 4
    net = trainer.averaged_network()
    assert net.parameters.tolist() == [expected[-1]] * 4 and net.parameters is not trainer.averaged
    plain = make(average=0)
    plain.step(*data())
    plain.step(*data())
    np.testing.assert_array_equal(plain.averaged, plain.net.parameters)
    np.testing.assert_array_equal(plain.averaged_network().statistics, plain.net.statistics)
    assert make().averaged is None
    with pytest.raises(RuntimeError, match="this trainer keeps no average"):
        make().averaged_network()


def test_apply_is_step_without_statistics():
    X, y = data()
    given, stepped = (make(optimizer=RMSprop(), average=0.9, clip_norm=0.05) for _ in range(2))
    for _ in range(3):
        gradient = given.value_and_grad(X, y)[1]
        before = gradient.copy()
        assert given.apply(gradient) is None
        stepped.step(X, y)
        np.testing.assert_array_equal(gradient, before)
    assert given.steps == 3 and not given.net.statistics[:6].any() and stepped.net.statistics[:6].any()
    for a, b in zip(
        (given.net.parameters, given.averaged, *given._moments), (stepped.net.parameters, stepped.averaged)
    ):
        np.testing.assert_array_equal(a, b)
    given.apply(before.astype(np.float32))
    assert given.steps == 4


# ------------------------------------------------------------------------------------------------------------- frozen


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.9, 0.1), AdamW(0.1, weight_decay=0.5), RMSprop(momentum=0.5)])
def test_what_is_frozen_stays(optimizer):
    X, y = data()
    trainer = make(optimizer=optimizer, average=0.5)
    trainer.fit(X, y, batch_size=8)
    net = trainer.net
    frozen = [0, 2, 5]  # a dense layer, one within the block, and the batch norm
    assert [step.kind for step in network_steps.parametric_steps(net.steps)][5] == "batch_norm"
    net.freeze(*frozen)
    learns = np.ones(len(net.parameters), bool)
    learns[: 4 * 7 + 7] = False
    learns[49 : 49 + 7 * 9 + 9] = False
    learns[-(6 + 6 + 18 + 3) : -(18 + 3)] = False
    vectors, _, _ = state(trainer)
    trainer.fit(X, y, batch_size=8, epochs=2)
    trainer.step(X, y)
    trainer.apply(np.ones(len(learns)))
    after, _, _ = state(trainer)
    np.testing.assert_array_equal(after[1], vectors[1], "running statistics")
    for one, other in zip([after[0], *after[2:-1]], [vectors[0], *vectors[2:-1]]):
        np.testing.assert_array_equal(one[~learns], other[~learns])
        assert (one[learns] != other[learns]).mean() > 0.9
    assert (after[-1] != vectors[-1]).mean() > 0.9, "the average goes on towards the parameters"
    assert not trainer.value_and_grad(X, y)[1][~learns].any()
    net.unfreeze(*frozen)
    trainer.step(X, y)
    assert (net.parameters[~learns] != vectors[0][~learns]).mean() > 0.9 and (net.statistics != vectors[1]).all()


def test_frozen_layers_change_nothing_for_the_others():
    """As if the optimiser had only been given the others."""
    X, y = data("reals")
    frozen = make("mean_squared_error", Adam(0.01), [Dense(5, "tanh", frozen=True), Dense(3)])
    alone = make("mean_squared_error", Adam(0.01), [Dense(5, "tanh"), Dense(3)])
    head = ref.Network(5, [Dense(3)], "float64")
    head.parameters = alone.net.parameters[25:]
    head = ref.Trainer(head, "mean_squared_error", Adam(0.01), seed=5)
    features = np.tanh(X @ alone.net.weights[0][0] + alone.net.weights[0][1])
    histories = [frozen.fit(X, y, epochs=3), head.fit(features, y, epochs=3)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-12)
    np.testing.assert_allclose(histories[0]["gradient_norm"], histories[1]["gradient_norm"], rtol=1e-12)
    np.testing.assert_allclose(frozen.net.parameters[25:], head.net.parameters, rtol=1e-12)


def test_a_frozen_batch_norm_takes_running_statistics():
    X, y = data()
    trainer = make(made_of=[BatchNorm(), Dense(3)])
    trainer.net.statistics[:] = [1, 2, 3, 4, 0.5, 1, 2, 4]
    predicted = trainer.evaluate(X, y)
    assert trainer.value_and_grad(X, y)[0] != pytest.approx(predicted, rel=1e-3)
    assert trainer.value_and_grad(X, y, training=False)[0] == pytest.approx(predicted, rel=1e-14)
    trainer.net.freeze(0)
    assert trainer.value_and_grad(X, y)[0] == pytest.approx(predicted, rel=1e-14)
    trainer.step(X[:1], y[:1])  # which needs no second row
    assert trainer.net.statistics.tolist() == [1, 2, 3, 4, 0.5, 1, 2, 4]


# ---------------------------------------------------------------------------------------------- dropout and batch norm


def test_draws_count_the_updates():
    """One update, one draw; the rows of all its minibatches are counted on; another seed is another matter."""
    X, y = np.ones((6, 50)), np.zeros((6, 50))
    net = ref.Network(50, [Dropout(0.5)], "float64")
    trainer = ref.Trainer(net, MeanSquaredError("sum"), SGD(0), seed=9)
    x = np.random.default_rng(0).normal(size=(6, 50))

    def mask(draw, seed=9):
        return dropout_forward(X, 0.5, seed, random_streams.dropout(0), draw)[1]

    for draw in range(3):
        loss, _, dx = trainer.value_and_grad(x, y, inputs=True)
        np.testing.assert_allclose(dx, 2 * x * mask(draw) ** 2, rtol=1e-15)
        assert trainer.value_and_grad(x, y)[0] == loss == trainer.step(x, y)
    history = trainer.fit(x, y, batch_size=2, accumulate=3, shuffle=False)
    assert history["loss"][0] == pytest.approx(((x * mask(3)) ** 2).sum(), rel=1e-13) and trainer.steps == 4
    assert trainer.value_and_grad(x, y, training=False)[0] == pytest.approx((x**2).sum(), rel=1e-13)
    assert trainer.evaluate(x, y) == pytest.approx((x**2).sum(), rel=1e-13)
    np.testing.assert_array_equal(net.predict(x), x)
    other = ref.Trainer(net, MeanSquaredError("sum"), SGD(0), seed=8)
    np.testing.assert_allclose(other.value_and_grad(x, y, True)[2], 2 * x * mask(0, 8) ** 2, rtol=1e-15)
    assert (mask(0) != mask(1)).any() and (mask(0) != mask(0, 8)).any()


def test_looking_leaves_statistics_alone():
    X, y = data()
    trainer = make()
    before = state(trainer)
    trainer.value_and_grad(X, y)
    trainer.value_and_grad(X, y, training=False)
    trainer.example_gradients(X, y)
    trainer.example_gradient_norms(X, y)
    trainer.evaluate(X, y)
    trainer.net.predict(X)
    assert same(state(trainer), before)


def test_examples_are_in_prediction():
    """A minibatch of one has no variance, and what Dropout drops is not an example's."""
    X, y = data()
    trainer = make(made_of=make_layers(0.5))
    trainer.fit(X, y)
    losses_, gradients = trainer.example_gradients(X, y)
    again, norms = trainer.example_gradient_norms(X, y)
    np.testing.assert_array_equal(losses_, again)
    np.testing.assert_allclose(norms, np.linalg.norm(gradients, axis=1), rtol=1e-14)
    assert norms.dtype == losses_.dtype == np.float64 and norms.shape == losses_.shape == (ROWS,)
    loss, gradient = trainer.value_and_grad(X, y, training=False)
    assert losses_.mean() == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(gradients.mean(axis=0), gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_refused_update_changes_nothing(accumulate):
    """Not the running statistics either, of none of its minibatches."""
    X, y = data("reals")
    trainer = make("mean_squared_error", average=0.5)
    trainer.fit(X, y, batch_size=8, accumulate=accumulate)
    before = state(trainer)
    with pytest.raises(DivergenceError) as caught:
        trainer.step(X, 1e200 * y)
    assert (caught.value.epoch, caught.value.step) == (None, trainer.steps) and same(state(trainer), before)
    y = y.copy()
    y[37] = 1e200
    steps = 4 // accumulate
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(X, y, batch_size=8, accumulate=accumulate, shuffle=False, epochs=3)
    assert (caught.value.epoch, caught.value.step) == (1, steps), "the update that failed"
    assert trainer.steps == before[1] + steps and trainer.epochs == 1
    expected = make("mean_squared_error", average=0.5)
    expected.fit(X, data("reals")[1], batch_size=8, accumulate=accumulate)
    for start in range(0, 8 * accumulate * steps, 8 * accumulate):
        rows = slice(start, start + 8 * accumulate)
        expected.fit(X[rows], y[rows], batch_size=8, accumulate=accumulate, shuffle=False)
    assert same(state(trainer), state(expected))


# ----------------------------------------------------------------------------------------------------------- schedules


def test_a_schedule_of_updates():
    X, y = data()
    trainer = make(optimizer=SGD(0.5), made_of=[Dense(3)], schedule=lambda done: 1 / (1 + done))
    plain = make(optimizer=SGD(0.5), made_of=[Dense(3)])
    history = trainer.fit(X, y, epochs=2, batch_size=8, shuffle=False)
    assert history["learning_rate"] == [0.5 / 5, 0.5 / 10]
    for done in range(10):
        plain.optimizer = SGD(0.5 / (1 + done))
        rows = slice(done % 5 * 8, done % 5 * 8 + 8)
        plain.step(X[rows], y[rows])
    np.testing.assert_allclose(trainer.net.parameters, plain.net.parameters, rtol=1e-14)
    trainer.step(X, y)
    trainer.apply(np.zeros(15))
    assert trainer.fit(X, y, batch_size=8, accumulate=5)["learning_rate"] == [0.5 / 13]


def test_a_schedule_of_epochs():
    X, y = data()
    trainer = make(optimizer=SGD(0.5), schedule=schedules.StepDecay(2, 0.5, unit="epoch"))
    assert trainer.fit(X, y, epochs=5)["learning_rate"] == [0.5, 0.5, 0.25, 0.25, 0.125]
    before = trainer.net.parameters.copy()
    gradient = trainer.value_and_grad(X, y)[1]
    trainer.step(X, y)  # in the epoch that is to come
    np.testing.assert_allclose(trainer.net.parameters, before - 0.125 * gradient, rtol=1e-12, atol=1e-15)
    trainer.optimizer = SGD(8.0)
    assert trainer.fit(X, y)["learning_rate"] == [2.0]


def test_plateaus_are_of_the_validation_loss():
    X, y = data("reals")
    schedule = schedules.ReduceOnPlateau(0.5, patience=1, threshold=0)
    made_of = [Dense(3)]

    def rates(validation):
        trainer = make("mean_squared_error", SGD(0.02), made_of, schedule=schedule)
        trainer.net.parameters = np.zeros(15)
        first = trainer.fit(X, y, epochs=4, validation=validation)
        return first["learning_rate"] + trainer.fit(X, y, epochs=4, validation=validation)["learning_rate"]

    assert rates(None) == [0.02] * 8, "the training loss goes down"
    # What is learned makes the loss on the opposite larger, epoch after epoch.
    assert rates((X, -y)) == [0.02] * 3 + [0.01] * 2 + [0.005] * 2 + [0.0025]


# ------------------------------------------------------------------------------------------------- losses as functions


def squares(output, target):
    d = output - target
    return (d**2).mean(), 2 * d / d.size


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_function_as_loss(dtype):
    X, y = data("reals")
    custom, built_in = (make(loss, SGD(0.1), make_layers(0.3), dtype) for loss in (squares, "mean_squared_error"))
    assert custom.loss is squares
    tolerance = {"rtol": 1e-12, "atol": 1e-14} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-6}
    for options in ({"batch_size": 9}, {"batch_size": 9, "accumulate": 3}):
        histories = [
            t.fit(X, y.astype(dtype), 2, validation=(X, y.astype(dtype)), **options) for t in (custom, built_in)
        ]
        for name in set(histories[0]) - {"seconds"}:
            np.testing.assert_allclose(histories[0][name], histories[1][name], **tolerance)
    np.testing.assert_allclose(custom.net.parameters, built_in.net.parameters, **tolerance)
    assert custom.net.parameters.dtype == dtype
    for call in (lambda t: t.step(X, y), lambda t: t.evaluate(X, y), lambda t: t.value_and_grad(X, y)[0]):
        np.testing.assert_allclose(call(custom), call(built_in), **tolerance)


def test_a_function_gets_what_was_given():
    """Targets of any dtype and shape, as long as there is one for each row: those of the minibatch, in its order."""
    X, _ = data()
    words = np.array([f"row {i}" for i in range(ROWS)], object)
    seen = []

    def loss(output, target):
        seen.append(target)
        output *= np.nan  # its own array
        return np.float32(0.5), np.zeros_like(output, dtype=np.float32)

    trainer = make(loss, made_of=[Dense(3), Dropout(0)])
    before = trainer.net.parameters.copy()
    assert trainer.fit(X, words, batch_size=25)["loss"] == [0.5]
    order = ref.random_permutation(5, random_streams.shuffle(0), ROWS)
    assert [*seen[0], *seen[1]] == [f"row {i}" for i in order] and len(seen[1]) == 15
    assert trainer.step(X, list(range(ROWS))) == 0.5 and seen[-1].tolist() == list(range(ROWS))
    trainer.evaluate(X, np.zeros((ROWS, 2, 2)))
    assert seen[-1].shape == (ROWS, 2, 2)
    np.testing.assert_array_equal(trainer.net.parameters, before)


def zeros(output, target):
    return 0.0, np.zeros_like(output)


@pytest.mark.parametrize(
    "loss, error, message",
    [
        (lambda z, t: 0.0, TypeError, "loss must return a pair (loss, doutput), got 0.0 (float)"),
        (lambda z, t: (0.0, z, z), TypeError, "loss must return a pair (loss, doutput), got tuple"),
        (lambda z, t: (0.0, z[:1]), ValueError, "loss must return a gradient of shape (40, 3), got (1, 3)"),
        (lambda z, t: (0.0, z > 0), TypeError, "loss must return an array of reals second, got bool"),
    ],
)
def test_functions_that_are_no_losses(loss, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(loss).step(*data())


# --------------------------------------------------------------------------------------------------------------- L-BFGS


def test_lbfgs_solves_least_squares():
    pytest.importorskip("scipy")
    X, y = data("reals")
    made_of = [Dense(3, l2=0.1)]
    for dtype, tolerance in (("float64", 1e-6), ("float32", 1e-3)):
        trainer = make("mean_squared_error", LBFGS(1e-12, 0), made_of, dtype)
        weights = np.random.default_rng(3).uniform(0, 2, ROWS)
        trainer.fit(X, y, epochs=100, sample_weight=weights)
        # Weighted least squares with a penalty of W: (Z^T S Z 2/(3 sum s) + l2 I') V = Z^T S y 2/(3 sum s).
        Z = np.column_stack([X, np.ones(ROWS)])
        scale = 2 / (3 * weights.sum())
        A = scale * Z.T @ (weights[:, None] * Z) + np.diag([0.1] * 4 + [0])
        V = np.linalg.solve(A, scale * Z.T @ (weights[:, None] * y))
        np.testing.assert_allclose(trainer.net.parameters, V.ravel(), atol=tolerance)


def test_lbfgs_counts_iterations():
    pytest.importorskip("scipy")
    X, y = data("reals")
    trainer = make("mean_squared_error", "lbfgs", [Dense(8, "tanh"), Dense(3)])
    start = trainer.evaluate(X, y)
    history = trainer.fit(X, y, epochs=7, validation=(X, y))
    assert trainer.steps == trainer.epochs == 7 and all(len(values) == 7 for values in history.values())
    np.testing.assert_allclose(history["loss"], history["val_loss"], rtol=1e-14)
    assert np.all(np.diff([start, *history["loss"]]) < 0) and history["val_loss"][-1] == trainer.evaluate(X, y)
    assert history["gradient_norm"][-1] == pytest.approx(np.linalg.norm(trainer.value_and_grad(X, y)[1]), rel=1e-12)
    assert history["learning_rate"] == [1.0] * 7
    trainer.fit(X, y, epochs=1, batch_size=ROWS)
    assert trainer.epochs == 8
    few = trainer.fit(X, y, epochs=500, tolerance=1.0)
    assert len(few["loss"]) < 20 and trainer.epochs == 8 + len(few["loss"])


def test_lbfgs_leaves_what_is_frozen():
    pytest.importorskip("scipy")
    X, y = data("reals")
    trainer = make("mean_squared_error", "lbfgs", [BatchNorm(frozen=True), Dense(8, "tanh", frozen=True), Dense(3)])
    before = trainer.net.parameters.copy()
    trainer.fit(X, y, epochs=20)
    changed = before != trainer.net.parameters
    assert not changed[: 8 + 40].any() and changed[48:].all()


def test_lbfgs_refuses():
    pytest.importorskip("scipy")
    X, y = data("reals")
    made_of = [Dense(3)]
    for call in (lambda t: t.step(X, y), lambda t: t.apply(np.zeros(15))):
        with pytest.raises(ValueError, match="does not go with LBFGS, which needs all the data: use fit"):
            call(make("mean_squared_error", "lbfgs", made_of))
    with pytest.raises(ValueError, match="batch_size is 8; with LBFGS it must be None or all 40 rows"):
        make("mean_squared_error", "lbfgs", made_of).fit(X, y, batch_size=8)
    for layer in (BatchNorm(), Dropout()):
        with pytest.raises(ValueError, match=re.escape(f"LBFGS does not go with {layer!r}")):
            make("mean_squared_error", "lbfgs", [layer, Dense(3)]).fit(X, y)
    trainer = make("mean_squared_error", "lbfgs", made_of)
    with pytest.raises(DivergenceError, match="the loss became inf in epoch 0"):
        trainer.fit(X, 1e200 * y)
    assert trainer.steps == 0


# ---------------------------------------------------------------------------------------------------------- by PyTorch


class TorchRun:
    """A run of the net of `make_layers` by PyTorch, in float64, made of its own modules."""

    def __init__(self, trainer, optimizer, **options):
        net = trainer.net
        self.rate = net.layers[1].layers[2].rate
        nn = torch.nn
        torch.set_default_dtype(torch.float64)
        try:
            model = nn.ModuleDict(
                {
                    "in": nn.Linear(4, 7),
                    "norm": nn.LayerNorm(7),
                    "up": nn.Linear(7, 9),
                    "past": nn.Linear(7, 9, bias=False),
                    "down": nn.Linear(9, 6, bias=False),
                    "batch": nn.BatchNorm1d(6, momentum=0.2),
                    "out": nn.Linear(6, 3),
                }
            )
        finally:
            torch.set_default_dtype(torch.float32)
        self.model = model
        self.read(model, net.parameters)
        self.optimizer = optimizer(model.parameters())
        self.options = options

    @staticmethod
    def read(model, flat):
        """Parameters from a flat vector of fastbp: their matrices are (inputs, outputs)."""
        start = 0
        with torch.no_grad():
            for parameter in model.parameters():
                values = torch.tensor(flat[start : start + parameter.numel()])
                shape = parameter.shape
                parameter.copy_(values.reshape(shape[::-1]).T if len(shape) == 2 else values.reshape(shape))
                start += parameter.numel()
        assert start == len(flat)

    @staticmethod
    def flat(model):
        return np.concatenate([p.detach().numpy().T.ravel() for p in model.parameters()])

    def forward(self, x, mask):
        m, functional = self.model, torch.nn.functional
        x = torch.tanh(m["in"](x))
        x = m["past"](x) + functional.silu(m["up"](m["norm"](x))) * mask
        return m["out"](torch.relu(m["batch"](m["down"](x))))

    def update(self, minibatches, loss, draw, seed=5):
        """One update from the mean of some minibatches."""
        self.optimizer.zero_grad()
        rows, first_row = sum(len(x) for x, _ in minibatches), 0
        for x, y in minibatches:
            mask = dropout_forward(np.ones((len(x), 9)), self.rate, seed, random_streams.dropout(0), draw, first_row)[1]
            first_row += len(x)
            value = loss(self.forward(torch.tensor(x), torch.tensor(mask)), torch.tensor(y))
            (value * len(x) / rows).backward()
        if "clip_norm" in self.options:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options["clip_norm"])
        if "clip_value" in self.options:
            torch.nn.utils.clip_grad_value_(self.model.parameters(), self.options["clip_value"])
        self.optimizer.step()


TORCH_RUNS = {
    "plain": ({}, {}),
    "clipped by norm": ({"clip_norm": 0.3}, {}),
    "clipped by value": ({"clip_value": 0.02}, {}),
    "averaged": ({"average": 0.8}, {}),
    "accumulated": ({}, {"accumulate": 3}),
    "all": ({"average": 0.8, "clip_norm": 0.3}, {"accumulate": 2}),
}


@pytest.mark.torch
@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("optimizer", [SGD(0.05, 0.9, 0.01), AdamW(0.01, weight_decay=0.1)], ids=repr)
@pytest.mark.parametrize("name", TORCH_RUNS)
def test_runs_by_pytorch(name, optimizer, rate):
    options, how = TORCH_RUNS[name]
    X, y = data()
    trainer = make(optimizer=optimizer, made_of=make_layers(rate), **options)
    if isinstance(optimizer, SGD):

        def theirs(parameters):
            return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=0.01)
    else:

        def theirs(parameters):
            return torch.optim.AdamW(parameters, 0.01, weight_decay=0.1)

    run = TorchRun(trainer, theirs, **options)
    averaged = None
    if "average" in options:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(options["average"])
        averaged = torch.optim.swa_utils.AveragedModel(run.model, multi_avg_fn=average)
    history = trainer.fit(X, y, epochs=4, batch_size=7, **how)
    done = 0
    for epoch in range(4):
        order = ref.random_permutation(5, random_streams.shuffle(epoch), ROWS)
        batches = [order[i : i + 7] for i in range(0, ROWS, 7)]
        at_once = how.get("accumulate", 1)
        for start in range(0, len(batches), at_once):
            run.update(
                [(X[b], y[b]) for b in batches[start : start + at_once]], torch.nn.functional.cross_entropy, done
            )
            done += 1
            if averaged is not None:
                averaged.update_parameters(run.model)
    assert trainer.steps == done and len(history["loss"]) == 4
    np.testing.assert_allclose(trainer.net.parameters, run.flat(run.model), rtol=1e-9, atol=1e-11)
    batch = run.model["batch"]
    theirs = np.concatenate([batch.running_mean.numpy(), batch.running_var.numpy()])
    np.testing.assert_allclose(trainer.net.statistics, theirs, rtol=1e-9, atol=1e-11)
    if averaged is not None:
        np.testing.assert_allclose(trainer.averaged, run.flat(averaged.module), rtol=1e-9, atol=1e-11)
    run.model.eval()
    with torch.no_grad():
        predicted = run.forward(torch.tensor(X), 1.0).numpy()
    np.testing.assert_allclose(trainer.net.predict(X), predicted, rtol=1e-8, atol=1e-9)


# ------------------------------------------------------------------------------------------------------------- refusals


X, Y = data()
ONES = np.ones(ROWS)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: make(clip_norm=0), ValueError, "clip_norm must be greater than 0, got 0"),
        (lambda: make(clip_norm="1"), TypeError, "clip_norm must be a number, got '1' (str)"),
        (lambda: make(clip_value=-1), ValueError, "clip_value must be greater than 0, got -1"),
        (lambda: make(clip_value=1, clip_norm=1), ValueError, "clip_norm and clip_value must not both be given"),
        (lambda: make(average=1), ValueError, "average must be less than 1, got 1"),
        (lambda: make(average=-0.1), ValueError, "average must be at least 0, got -0.1"),
        (lambda: make(average=True), TypeError, "average must be a number, got True (bool)"),
        (lambda: make(schedule=0.5), TypeError, "schedule must be None, a schedule or a function of the position"),
        (lambda: make(schedule=schedules.Cosine), TypeError, "schedule must be an object, got the class Cosine"),
        (
            lambda: make(schedule=lambda done: -1.0).step(X, Y),
            ValueError,
            "what the schedule returns must be at least 0",
        ),
        (lambda: make(loss=lambda: 0).fit(X, Y[:-1]), ValueError, "y has 39 rows; X has 40"),
        (lambda: make(loss=zeros).step(X, 3), ValueError, "y must have at least 1 dimension, got"),
        (
            lambda: make(loss=zeros).fit(X, Y, sample_weight=ONES),
            ValueError,
            "sample_weight does not go with a loss that is a function",
        ),
        (lambda: make(loss=zeros).example_gradients(X, Y), ValueError, "example_gradients does not go with a loss"),
        (
            lambda: make(loss=zeros).example_gradient_norms(X, Y),
            ValueError,
            "does not go with a loss that is a function",
        ),
        (lambda: make().fit(X, Y, accumulate=0), ValueError, "accumulate must be at least 1, got 0"),
        (lambda: make().fit(X, Y, accumulate=1.0), TypeError, "accumulate must be an integer, got 1.0 (float)"),
        (
            lambda: make().fit(X, Y, sample_weight=ONES.tolist()),
            TypeError,
            "sample_weight must be a float32 or float64 array, got list",
        ),
        (
            lambda: make().fit(X, Y, sample_weight=Y),
            TypeError,
            "sample_weight must be a float32 or float64 array, got int",
        ),
        (
            lambda: make().step(X, Y, sample_weight=ONES[1:]),
            ValueError,
            "sample_weight has shape (39,); expected (40,)",
        ),
        (lambda: make().evaluate(X, Y, -ONES), ValueError, "sample_weight[0] is -1.0; weights must be at least 0"),
        (
            lambda: make().value_and_grad(X, Y, False, ONES / 0),
            ValueError,
            "sample_weight must be finite, got inf at [0]",
        ),
        (lambda: make().value_and_grad(X, Y, training=1), TypeError, "training must be True or False, got 1 (int)"),
        (
            lambda: make().fit(X, Y, validation=(X, Y, ONES[1:])),
            ValueError,
            "validation[2] has shape (39,); expected (40,)",
        ),
        (lambda: make().fit(X, Y, validation=(X,)), TypeError, "validation must be (X, y) or (X, y, sample_weight)"),
        (lambda: make().fit(X, Y, batch_size=13), ValueError, "X gives a minibatch of a single row"),
        (lambda: make().fit(X, Y, batch_size=1), ValueError, "a BatchNorm cannot tell: it needs two at least"),
        (lambda: make().fit(X[:33], Y[:33]), ValueError, "X gives a minibatch of a single row"),
        (lambda: make().step(X[:1], Y[:1]), ValueError, "x gives a minibatch of a single row"),
        (lambda: make().value_and_grad(X[:1], Y[:1]), ValueError, "x gives a minibatch of a single row"),
        (lambda: make().apply(None), TypeError, "gradient must be a float32 or float64 array, got None"),
        (lambda: make().apply(np.ones(3)), ValueError, "gradient has shape (3,); the network has ("),
        (
            lambda: make(made_of=[Dense(1)]).apply(np.full(5, np.nan)),
            ValueError,
            "gradient must be finite, got nan at [0]",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_one_row_is_enough_without_batch_norms_that_learn():
    make(made_of=[LayerNorm(), Dense(3)]).fit(X[:1], Y[:1])
    trainer = make()
    trainer.value_and_grad(X[:1], Y[:1], training=False)
    trainer.evaluate(X[:1], Y[:1])
    trainer.example_gradients(X[:1], Y[:1])
    assert trainer.net.predict(X[:1]).shape == (1, 3)


def test_targets_of_quantiles_may_stand_once_for_all_levels():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(ROWS, 2))
    trainer = make(Pinball([0.1, 0.5, 0.9]), made_of=[Dense(6)])
    expected = trainer.value_and_grad(X, np.repeat(y, 3, axis=1))
    got = trainer.value_and_grad(X, y)
    assert got[0] == expected[0] and np.array_equal(got[1], expected[1])
    q = trainer.net.predict(X)
    u = np.repeat(y, 3, axis=1) - q
    tau = np.tile([0.1, 0.5, 0.9], 2)
    assert got[0] == pytest.approx((u * (tau - (u < 0))).mean(), rel=1e-12)
    single = make(Pinball([0.1, 0.5, 0.9]), made_of=[Dense(3)])
    assert single.evaluate(X, y[:, 0]) == single.evaluate(X, y[:, :1]) == single.evaluate(X, np.repeat(y[:, :1], 3, 1))


def test_verbose_prints_numbers_alone(capsys):
    make().fit(X, Y, verbose=True, validation=(X, Y))
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"epoch 1: loss \S+, gradient_norm \S+, learning_rate 0.001, val_loss \S+, seconds \S+\n", line
    ), line


def test_the_record_of_all_that_is_declared():
    """Every loss and optimiser trains: nothing that is declared is missing in the twin."""
    pytest.importorskip("scipy")
    rng = np.random.default_rng(0)
    targets = rng.uniform(size=(ROWS, 3))
    for loss in losses.LOSSES:
        for optimizer in (SGD(), Adam(), AdamW(), RMSprop(), optimizers.Adagrad(), LBFGS()):
            trainer = make(loss(), optimizer, [Dense(4, "gelu"), LayerNorm(), Tanh(), Dense(3)])
            history = trainer.fit(X, targets, epochs=3)
            assert history["loss"][-1] < history["loss"][0], (loss, optimizer)
