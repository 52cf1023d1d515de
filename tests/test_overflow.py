"""Parameters, the state of optimisers and running statistics stay finite: an update that would end that is not made."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference

HOMES = {"compiled": fb, "twin": reference}
HUGE = {
    "SGD": fb.SGD(1e38),
    "momentum": fb.SGD(1e38, momentum=0.9),
    "Nesterov": fb.SGD(1e38, momentum=0.9, nesterov=True),
    "decay": fb.SGD(1.0, weight_decay=1e20, momentum=0.5),
    "Adam": fb.Adam(1e38),
    "Adam, decay": fb.Adam(1e-3, weight_decay=1e30),
    "AdamW": fb.AdamW(1e30, weight_decay=10.0),
    "RMSprop": fb.RMSprop(1e38),
    "RMSprop, all": fb.RMSprop(1e36, momentum=0.9, centered=True),
    "Adagrad": fb.Adagrad(1e38),
}


def data(scale=1.0, dtype="float32"):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 4)), rng.standard_normal((8, 3))
    return (x * scale).astype(dtype), y.astype(dtype)


def make(home, optimizer, layers=None, **settings):
    dtype = settings.pop("dtype", "float32")
    net = home.Network(4, layers or [fb.Dense(16, "relu"), fb.Dense(3)], dtype=dtype, seed=2)
    arguments = {} if home is reference else {"n_threads": settings.pop("n_threads", 1)}
    settings.pop("n_threads", None)
    return home.Trainer(net, settings.pop("loss", "mean_squared_error"), optimizer, **arguments, **settings)


def state(trainer):
    """All that an update changes, as copies."""
    if isinstance(trainer, fb.Trainer):
        return [trainer.steps, *trainer.engine.snapshot()[1].values()]
    vectors = [trainer.net.parameters, trainer.net.statistics, *trainer._moments]
    return [trainer.steps, *(v.copy() for v in [*vectors, trainer.averaged] if v is not None)]


def unchanged(before, after):
    return all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def train_until_it_diverges(trainer, update, most=60):
    """Make updates; return what diverged, or None. All stays finite, and nothing is changed by an update not made."""
    for _ in range(most):
        before = state(trainer)
        try:
            update()
        except fb.DivergenceError as error:
            assert unchanged(before, state(trainer))
            return error.what
        assert all(np.isfinite(vector).all() for vector in state(trainer)[1:])
    return None


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("average", [None, 0.9], ids=["", "average"])
@pytest.mark.parametrize("name", HUGE)
def test_steps_that_are_far_too_long(home, name, average):
    X, y = data()
    trainer = make(HOMES[home], HUGE[name], average=average)
    assert train_until_it_diverges(trainer, lambda: trainer.step(X, y)) is not None


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("optimizer", [fb.Adam(1e38), fb.RMSprop(1e38)])
def test_the_first_update_is_refused(home, optimizer):
    """1e38 times a quotient near 3 is beyond the largest float, 3.4e38."""
    X, y = data()
    trainer = make(HOMES[home], optimizer)
    before = state(trainer)
    with pytest.raises(fb.DivergenceError, match="the update at step 0.* would make parameters"):
        trainer.step(X, y)
    with pytest.raises(fb.DivergenceError, match="the update in epoch 0, minibatch 0") as caught:
        trainer.fit(X, y, epochs=2, batch_size=4)
    assert caught.value.what == "update" and unchanged(before, state(trainer))


@pytest.mark.parametrize("home", HOMES)
def test_a_gradient_that_is_given(home):
    trainer = make(HOMES[home], fb.SGD(1e30))
    gradient = np.zeros_like(trainer.net.parameters)
    gradient[3] = 1e30
    before = state(trainer)
    with pytest.raises(fb.DivergenceError, match="update"):
        trainer.apply(gradient)
    assert unchanged(before, state(trainer))
    gradient[3] = 1e3
    trainer.apply(gradient)
    assert trainer.steps == 1 and trainer.net.parameters[3] == np.float32(-1e33)


@pytest.mark.parametrize("home", HOMES)
def test_a_loss_that_is_a_function(home):
    X, y = data()
    trainer = make(HOMES[home], fb.Adam(1e38), loss=lambda output, target: (1.0, output - target))
    assert train_until_it_diverges(trainer, lambda: trainer.step(X, y)) == "update"


@pytest.mark.parametrize("home", HOMES)
def test_the_square_of_a_gradient_overflows(home):
    """A moment of Adam is the mean of squares: 1e20 squared is beyond the largest float."""
    trainer = make(HOMES[home], fb.Adam(1e-3))
    gradient = np.full_like(trainer.net.parameters, 1e18)
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 3) is None
    gradient[5] = 1e22
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 1) == "update"


@pytest.mark.parametrize("home", HOMES)
def test_running_statistics(home):
    """The variance of columns around 1e20 is beyond the largest float."""
    X, y = data(1e20)
    layers = [fb.Dense(5), fb.BatchNorm(), fb.Dense(3)]
    trainer = make(HOMES[home], fb.SGD(1e-3), layers)
    assert train_until_it_diverges(trainer, lambda: trainer.step(X, y), 1) == "update"
    X, y = data()
    assert train_until_it_diverges(trainer, lambda: trainer.step(X, y), 3) is None


@pytest.mark.parametrize("home", HOMES)
def test_parameters_near_the_largest(home):
    """The average takes the difference of two parameters."""
    trainer = make(HOMES[home], fb.SGD(1.0), average=0.5)
    zero = np.zeros_like(trainer.net.parameters)
    trainer.net.parameters[...] = 3e38
    trainer.apply(zero)
    trainer.net.parameters[...] = -3e38
    assert train_until_it_diverges(trainer, lambda: trainer.apply(zero), 1) == "update"
    trainer.net.parameters[...] = 2e38
    assert train_until_it_diverges(trainer, lambda: trainer.apply(zero), 5) is None


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_nets_and_threads(dtype, n_threads):
    """Each thread takes back its share, of one row's update as of a minibatch's."""
    rng = np.random.default_rng(1)
    largest = 0.3 * float(np.finfo(dtype).max)
    for rows in (1, 300):
        X, y = rng.standard_normal((rows, 64)).astype(dtype), rng.standard_normal((rows, 32)).astype(dtype)
        net = fb.Network(64, [fb.Dense(512, "tanh"), fb.Dense(32)], dtype=dtype)
        trainer = fb.Trainer(net, "mean_squared_error", fb.Adam(largest), average=0.5, n_threads=n_threads)
        assert train_until_it_diverges(trainer, lambda: trainer.step(X, y)) == "update"  # noqa: B023


def test_updates_go_on_after_one_was_refused():
    """As if it had never been tried, on a trainer whose bounds were measured anew."""
    X, y = data()
    tried, untried = make(fb, fb.Adam(1e-2)), make(fb, fb.Adam(1e-2))
    for trainer in (tried, untried):
        for _ in range(3):
            trainer.step(X, y)
        if trainer is tried:
            with pytest.raises(fb.DivergenceError, match="update"):
                trainer.apply(np.full_like(trainer.net.parameters, 1e22))
        for _ in range(3):
            trainer.step(X, y)
    assert unchanged(state(tried), state(untried))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_settings(seed):
    """Learning rates, constants, data and given gradients of any size: all stays finite."""
    rng = np.random.default_rng(seed)
    print("seed", seed)

    def size(low, high):
        return float(10 ** rng.uniform(low, high))

    decay = float(rng.choice([0.0, size(-3, 37)]))
    momentum, eps = float(rng.choice([0.0, 0.9, 0.999])), size(-37, 0)
    optimizer = (
        lambda: fb.SGD(size(-3, 38), momentum=momentum, weight_decay=decay, nesterov=momentum > 0.95),
        lambda: fb.Adam(size(-3, 38), beta1=momentum, eps=eps, weight_decay=decay),
        lambda: fb.AdamW(size(-3, 38), eps=eps, weight_decay=decay),
        lambda: fb.RMSprop(
            size(-3, 38), momentum=momentum, eps=eps, weight_decay=decay, centered=bool(rng.integers(2))
        ),
        lambda: fb.Adagrad(size(-3, 38), eps=eps, weight_decay=decay),
    )[rng.integers(5)]()
    limits = [{}, {"clip_norm": size(-3, 30)}, {"clip_value": size(-3, 30)}][rng.integers(3)]
    average = None if rng.integers(2) else float(rng.choice([0.0, 0.5, 0.999]))
    trainer = make(fb, optimizer, average=average, n_threads=int(rng.integers(1, 3)), **limits)
    X, y = data(size(-3, 18))
    for _ in range(6):
        if rng.integers(3) == 0:
            trainer.net.parameters[...] = rng.standard_normal(len(trainer.net.parameters)) * size(-3, 38)
            np.clip(trainer.net.parameters, -3e38, 3e38, out=trainer.net.parameters)
        gradient = (rng.standard_normal(len(trainer.net.parameters)) * size(-30, 37)).astype("float32")
        train_until_it_diverges(trainer, lambda: trainer.step(X, y), 3)
        train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 3)  # noqa: B023


def test_bounds_are_measured_after_a_restore():
    """The moments of a snapshot may be larger than those that the bounds were derived from."""
    trainer = make(fb, fb.SGD(10.0, momentum=0.9))
    trainer.apply(np.full_like(trainer.net.parameters, 1e-3))
    counts, vectors = trainer.engine.snapshot()
    vectors["moment1"][5] = 1e38
    trainer.engine.restore(counts, vectors)
    assert train_until_it_diverges(trainer, lambda: trainer.apply(np.zeros_like(trainer.net.parameters)), 1) == "update"


def test_bounds_follow_the_gradient():
    """After many gradients of zero the mean is known to be small; the next gradient is not."""
    trainer = make(fb, fb.Adam(1e-3, beta1=0.5))
    gradient = np.zeros_like(trainer.net.parameters)
    for _ in range(60):
        trainer.apply(gradient)
    trainer.optimizer = fb.Adam(1e36, beta1=0.5)
    trainer.net.parameters[5], gradient[5] = 3.4e38, -1  # a step of 3.8e36, which ends beyond 3.403e38
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 1) == "update"


def test_squares_add_up_beyond_the_largest():
    trainer = make(fb, fb.Adagrad(0.01))
    gradient = np.zeros_like(trainer.net.parameters)
    gradient[5] = 1.7e19  # 2.9e38 when squared
    trainer.apply(gradient)
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 1) == "update"


def test_a_large_moment_is_remembered():
    """The momentum of one large gradient moves the parameter on, by 1e38, 0.9e38, 0.81e38 ..."""
    trainer = make(fb, fb.SGD(1.0, momentum=0.9))
    gradient = np.zeros_like(trainer.net.parameters)
    gradient[5] = 1e38
    trainer.apply(gradient)
    gradient[5] = 0
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 2) is None
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 1) == "update"


def test_a_step_from_the_largest():
    trainer = make(fb, fb.SGD(1e18))
    gradient = np.zeros_like(trainer.net.parameters)
    trainer.net.parameters[5], gradient[5] = np.finfo("float32").max, -1e18
    assert train_until_it_diverges(trainer, lambda: trainer.apply(gradient), 1) == "update"


def test_parameters_that_a_callback_changes():
    """Within an epoch as well the average takes the difference of two parameters: here of the weights of zeros."""

    class Change(fb.callbacks.Callback):
        stride = 1

        def batch_end(self, run):
            run.net.parameters[16] = 3e38 if run.steps % 2 else -3e38

    X, y = data()
    X[:, 1] = 0
    trainer = make(fb, fb.SGD(1e-3), average=0.5)
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(X, y, epochs=1, batch_size=2, callbacks=Change())
    assert caught.value.what == "update" and trainer.steps == 2
    assert all(np.isfinite(vector).all() for vector in state(trainer)[1:])
