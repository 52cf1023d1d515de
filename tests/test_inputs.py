"""X of every kind: pixels, either real, any strides and alignment, arrays of other libraries, files in memory.

The core converts the rows it gathers, and the result has the bits of a run on a converted copy: that is what most of
these tests compare with.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrays import (
    DTYPES,
    LAYOUTS,
    PLACES,
    SIZES,
    assert_same_bits,
    assert_same_on_fused,
    guarded,
    magnitudes,
    needs_guard_pages,
    needs_two_fused,
    real,
    special,
)
from test_latency import calls

import fastbp as fb
from fastbp import _core, reference
from fastbp._support import arguments

KINDS = ("uint8", *DTYPES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kind = pytest.mark.parametrize("kind", KINDS)
NAN, INF = float("nan"), float("inf")


def rows(kind, shape, seed=0):
    """Rows of a kind; those of bytes have 0 and 255 among them."""
    if kind != "uint8":
        return real(seed, shape, kind)
    x = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    x.flat[:2] = 0, 255
    return x


def taken(x, dtype):
    """x as a net of the dtype is to take it, in NumPy's arithmetic: a copy that is contiguous."""
    with np.errstate(over="ignore"):
        y = np.array(x, dtype, order="C")
    return y / 255 if x.dtype == np.uint8 else y


def columns_apart(x):
    """Columns further from one another than rows, neither of them next to each other."""
    larger = np.zeros((2 * x.shape[1], 3 * x.shape[0]), x.dtype)
    view = larger[::2, ::3].T
    view[...] = x
    return view


def odd_strides(x):
    """Strides that are no multiples of the item: the columns of a record."""
    record = np.zeros(x.shape, np.dtype([("byte", "u1"), ("x", x.dtype)]))
    record["x"] = x
    return record["x"]


def repeated_row(x):
    """The first row again and again, in place: a stride of 0."""
    return np.broadcast_to(x[:1], x.shape)


PLACED = {"plain": lambda x: x, "columns apart": columns_apart, "odd strides": odd_strides, **LAYOUTS}
each_place = pytest.mark.parametrize("place", PLACED.values(), ids=PLACED.keys())


def same_as_it_comes(columns, dtype):
    """A net whose outputs are its inputs."""
    net = fb.Network(columns, [fb.Dense(columns, bias=False)], dtype=dtype)
    net.parameters = np.eye(columns, dtype=dtype).ravel()
    return net


# -------------------------------------------------------------------------------------------------- what comes of a row


@each_dtype
def test_pixels_are_divided_by_255_and_rounded_once(isa, dtype):
    x = np.arange(256, dtype="uint8").reshape(1, 256)
    got = same_as_it_comes(256, dtype).predict(x)
    assert_same_bits(got, x.astype(dtype) / 255)
    exact = np.arange(256) / np.longdouble(255)
    assert np.array_equal(got[0], exact.astype(dtype)) and got[0, 0] == 0 and got[0, 255] == 1
    assert_same_bits(twin_of(same_as_it_comes(256, dtype)).predict(x), got)


def twin_of(net):
    twin = reference.Network(net.inputs, list(net.layers), dtype=net.dtype.name)
    twin.parameters = net.parameters
    return twin


@each_dtype
@each_place
def test_other_reals_are_rounded_as_by_numpy(isa, place, dtype):
    for kind in DTYPES:
        values = np.concatenate([magnitudes(kind, 300), special(kind)])
        with np.errstate(over="ignore"):
            values = values[np.isfinite(values.astype(dtype))]
        x = place(np.resize(values, (7, 40)))
        net = same_as_it_comes(40, dtype)
        expected = taken(x, dtype)
        assert np.array_equal(net.predict(x), expected)  # zeros lose their sign in the product


@each_kind
@each_dtype
def test_every_layout_and_length(isa, dtype, kind):
    for columns in SIZES[1:]:
        net = same_as_it_comes(columns, dtype)
        for count in (1, 2, 9, 17):
            x = rows(kind, (count, columns), columns)
            expected = taken(x, dtype)
            for place in PLACED.values():
                y = place(x)
                assert np.array_equal(y, x)
                assert_same_bits(net.predict(y), expected)
            assert_same_bits(net.predict(repeated_row(x)), taken(repeated_row(x), dtype))


@each_kind
@each_dtype
def test_more_rows_than_a_block(isa, dtype, kind):
    x, net = rows(kind, (1000, 5)), same_as_it_comes(5, dtype)
    for place in PLACED.values():
        assert_same_bits(net.predict(place(x)), taken(x, dtype))


@needs_guard_pages
@each_kind
@each_dtype
@pytest.mark.parametrize("end", PLACES)
def test_nothing_past_the_rows_is_read(isa, dtype, kind, end):
    for columns in SIZES[1:]:
        net = same_as_it_comes(columns, dtype)
        x = guarded(rows(kind, (11, columns)), end)
        turned = guarded(np.ascontiguousarray(x.T), end).T
        sparse = guarded(np.repeat(np.repeat(x, 2, 0), 2, 1)[: 2 * 11 - 1, : 2 * columns - 1], end)[::2, ::2]
        backwards = guarded(np.ascontiguousarray(x[::-1, ::-1]), end)[::-1, ::-1]
        for y in (x, turned, sparse, backwards):
            assert_same_bits(net.predict(y), taken(x, dtype))
            assert _core.all_rows_finite(y, net.dtype.itemsize)


@needs_two_fused
@each_dtype
def test_the_same_bits_on_every_fused_instruction_set(dtype):
    for kind in KINDS:
        for place in PLACED.values():
            x = place(rows(kind, (33, 71)))
            assert_same_on_fused(lambda x=x: network(71, dtype).predict(x))


# -------------------------------------------------------------------------------------------------------- every call


def network(inputs, dtype, layers=None):
    return fb.Network(inputs, layers or [fb.Dense(64, "relu"), fb.Dense(3)], dtype=dtype, seed=3)


def results(x, y, dtype, threads=1, layers=None, order=True, **fit):
    """All that the calls make of x; nothing else changes between two calls of this."""
    net = network(x.shape[1], dtype, layers)
    trainer = fb.Trainer(net, "softmax_cross_entropy", fb.Adam(1e-2), seed=5, n_threads=threads)
    weights = np.linspace(0.5, 1.5, len(x))
    history = trainer.fit(x, y, epochs=2, shuffle=order, validation=(x[:40], y[:40]), **{"batch_size": 100, **fit})
    kept = [net.parameters.copy(), np.array(history["loss"]), np.array(history["val_loss"])]
    kept += [trainer.step(x, y), trainer.step(x[:9], y[:9], weights[:9]), net.parameters.copy()]
    kept += trainer.value_and_grad(x, y, inputs=True, sample_weight=weights)
    kept += [trainer.evaluate(x, y, weights), net.predict(x), net.predict(x[:2])]
    kept += [*trainer.example_gradients(x[:5], y[:5]), *trainer.example_gradient_norms(x[:20], y[:20])]
    kept += [net.jacobian(x[:3])]
    return tuple(kept)


@each_kind
@each_dtype
def test_every_call_takes_every_kind(isa, dtype, kind):
    x, y = rows(kind, (300, 40)), np.arange(300) % 3
    expected = results(taken(x, dtype), y, dtype)
    for name, place in PLACED.items():
        assert_same_bits(results(place(x), y, dtype), expected, name)
    assert_same_bits(
        results(np.asfortranarray(x), y, dtype, order=False), results(taken(x, dtype), y, dtype, order=False)
    )


@each_kind
@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads(kind, threads):
    x, y = rows(kind, (600, 130)), np.arange(600) % 3
    layers = [fb.Dense(200, "relu"), fb.Dense(3)]
    expected = results(taken(x, "float32"), y, "float32", 1, layers, batch_size=300)
    for place in (np.ascontiguousarray, np.asfortranarray, columns_apart, odd_strides):
        assert_same_bits(results(place(x), y, "float32", threads, layers, batch_size=300), expected)
    assert fb.Trainer(network(130, "float32", layers), n_threads=3).engine.plan_for(0, 300).threads_for(300) == 3


FIRST = {
    "dropout": [fb.Dropout(0.3), fb.Dense(3)],
    "layer norm": [fb.LayerNorm(), fb.Dense(3)],
    "batch norm": [fb.BatchNorm(), fb.Dense(3)],
    "activation": [fb.Tanh(), fb.Dense(3)],
    "residual": [fb.Residual([fb.Dense(40, "tanh")]), fb.Dense(3)],
    "projection": [fb.Residual([fb.Dense(9, "tanh")]), fb.Dense(3)],
}


@each_kind
@pytest.mark.parametrize("layers", FIRST.values(), ids=FIRST.keys())
def test_whatever_reads_the_input_first(kind, layers):
    x, y = rows(kind, (300, 40)), np.arange(300) % 3
    expected = results(taken(x, "float64"), y, "float64", layers=layers, accumulate=2)
    for place in (np.ascontiguousarray, columns_apart, LAYOUTS["reversed"]):
        before = place(x).copy()
        assert_same_bits(results(place(x), y, "float64", layers=layers, accumulate=2), expected)
        assert np.array_equal(before, x)


@each_kind
def test_a_loss_that_is_a_function_and_lbfgs(kind):
    def loss(output, target):
        difference = output - target
        return float((difference**2).mean()), 2 * difference / difference.size

    x, y = rows(kind, (60, 8)), real(1, (60, 3))

    def run(x, what, optimizer):
        trainer = fb.Trainer(network(8, "float64"), what, optimizer)
        trainer.fit(x, y, epochs=3)
        return trainer.net.parameters, trainer.evaluate(x, y)

    assert_same_bits(run(np.asfortranarray(x), loss, "sgd"), run(taken(x, "float64"), loss, "sgd"))
    pytest.importorskip("scipy")
    expected = run(taken(x, "float64"), "mean_squared_error", fb.LBFGS())
    assert_same_bits(run(np.asfortranarray(x), "mean_squared_error", fb.LBFGS()), expected)


@each_kind
@each_dtype
def test_the_twin_takes_the_same(dtype, kind):
    x, y = rows(kind, (30, 8)), np.arange(30) % 3
    compiled = fb.Trainer(network(8, dtype), optimizer=fb.SGD(0.1), seed=1)
    twin = reference.Trainer(twin_of(network(8, dtype)), optimizer=fb.SGD(0.1), seed=1)
    for trainer in (compiled, twin):
        trainer.fit(columns_apart(x), y, batch_size=8)
    np.testing.assert_allclose(
        compiled.net.parameters, twin.net.parameters, rtol=0, atol=1e-12 if dtype == "float64" else 1e-5
    )
    assert_same_bits(twin.net.predict(x), twin.net.predict(taken(x, dtype)))
    assert twin.evaluate(x, y) == twin.evaluate(taken(x, dtype), y)


@each_dtype
def test_pixels_go_the_short_way(dtype):
    x, y = rows("uint8", (1000, 9)), np.arange(1000) % 3
    trainer, other = (fb.Trainer(network(9, dtype), optimizer=fb.SGD(0.1)) for _ in range(2))
    trainer.net.predict(x)
    for count in (1, 5, 1000):
        assert calls(trainer.net.predict, x[:count]) == (["predict"], ["try_predict"])
        assert_same_bits(trainer.net.predict(x[:count]), other.net.predict(taken(x[:count], dtype)))
    for count in (5, 1, 100, 3):
        assert trainer.step(x[:count], y[:count]) == other.step(taken(x[:count], dtype), y[:count])
    assert calls(trainer.step, x[:2], y[:2]) == (["step"], ["try_step"])
    other.step(taken(x[:2], dtype), y[:2])
    assert_same_bits(trainer.net.parameters, other.net.parameters)


# ------------------------------------------------------------------------------------------------------ what is refused


@each_dtype
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_is_found_wherever_it_lies(isa, bad, dtype):
    for kind in DTYPES:
        for shape in ((1, 1), (40, 3), (3, 700), (2, 17000)):
            for place in PLACED.values():
                x = place(np.ones(shape, kind))
                assert _core.all_rows_finite(x, 4 if dtype == "float32" else 8)
                if not x.flags.writeable:
                    continue
                for where in {(0, 0), (shape[0] - 1, 0), (0, shape[1] - 1), (shape[0] // 2, shape[1] // 2)}:
                    x[where] = bad
                    with pytest.raises(ValueError, match=rf"^X\[{where[0]}, {where[1]}\] is -?(nan|inf) in {dtype}"):
                        arguments.finite_inputs("X", x, np.dtype(dtype))
                    x[where] = 1


@pytest.mark.parametrize("name", PLACED)
def test_what_does_not_fit_a_float_is_refused(name):
    x, y = np.zeros((300, 4)), np.arange(300) % 3
    x[270, 2] = 1e39
    x = PLACED[name](x)
    trainer = fb.Trainer(network(4, "float32"))
    for call in (lambda: trainer.fit(x, y), lambda: trainer.net.predict(x), lambda: trainer.evaluate(x, y)):
        with pytest.raises(ValueError, match=r"^X\[270, 2\] is inf in float32; "):
            call()
    assert trainer.steps == 0
    trainer.net.predict(x, allow_nonfinite=True)
    fb.Trainer(network(4, "float64")).fit(x, y, epochs=1, allow_nonfinite=True)


def test_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr(arguments, "AT_ONCE", 20)
    x = np.zeros((31, 4))
    arguments.finite_inputs("X", x, np.dtype("float32"))
    for row in range(31):
        x[row, 3] = INF
        with pytest.raises(ValueError, match=rf"^X\[{row}, 3\] is inf"):
            arguments.finite_inputs("X", x, np.dtype("float32"))
        x[row, 3] = 0


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool", "uint32"])
def test_other_integers_are_told_what_to_do(dtype):
    x, y = np.zeros((4, 4), dtype), np.zeros(4, int)
    trainer = fb.Trainer(network(4, "float32"))
    for call, name in (
        (trainer.net.predict, "X"),
        (lambda x: trainer.fit(x, y), "X"),
        (lambda x: trainer.step(x, y), "x"),
    ):
        with pytest.raises(
            TypeError,
            match=rf"^{name} must be .*, got {dtype} array: write {name}\.astype\('float32'\), or 'uint8' for",
        ):
            call(x)


# ------------------------------------------------------------------------------------------- arrays of other libraries


class ByArray:
    """Offers itself by __array__ alone."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        assert dtype is None
        if isinstance(self.x, Exception):
            raise self.x
        return self.x


class ByDlpack:
    """Offers itself by DLPack alone."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **keywords):
        return self.x.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class OnAnotherDevice(ByDlpack):
    def __dlpack_device__(self):
        return (2, 0)  # CUDA

    def __dlpack__(self, **keywords):
        raise BufferError("the memory is not the processor's")


def frame(x):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x) if x.ndim == 2 else pandas.Series(x)


def tensor(x):
    return pytest.importorskip("torch").tensor(x)


OTHERS = {"__array__": ByArray, "DLPack": ByDlpack, "pandas": frame, "torch": tensor}


@each_kind
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_arrays_of_other_libraries(kind, other):
    x, y, w = rows(kind, (30, 8)), np.arange(30, dtype="int32") % 3, np.linspace(0.5, 1.5, 30, dtype="float32")
    kept = []
    for home in (fb, reference):
        for make in (lambda values: values, other):
            net = home.Network(8, [fb.Dense(3)], seed=3)
            trainer = home.Trainer(net, "softmax_cross_entropy", "sgd", seed=1)
            X, Y, W = make(x), make(y), make(w)
            trainer.fit(X, Y, sample_weight=W, validation=(X, Y, W), batch_size=10)
            got = [trainer.step(X, Y, W), *trainer.value_and_grad(X, Y, sample_weight=W)]
            got += [trainer.evaluate(X, Y, W), *trainer.example_gradients(X, Y), *trainer.example_gradient_norms(X, Y)]
            kept.append((*got, net.predict(X), net.jacobian(X), net.parameters))
    assert_same_bits(kept[1], kept[0])
    for got, expected in zip(kept[3], kept[2], strict=True):  # NumPy's sums depend on the layout
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    targets = real(0, 30, "float32")
    for make in (lambda values: values, other):
        trainer = fb.Trainer(fb.Network(8, [fb.Dense(1)]), "mean_squared_error")
        trainer.fit(make(x), make(targets))
        kept.append(trainer.net.parameters)
    assert_same_bits(kept[-1], kept[-2])


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_they_are_not_copied(other):
    x = rows("float32", (30, 8))
    made = other(x)
    again = [arguments.arrayed("X", made) for _ in range(2)]
    assert np.array_equal(again[0], x) and np.shares_memory(*again)


OF_JAX = """
import jax.numpy, numpy as np
import fastbp as fb
from fastbp import checks
y, w = np.arange(30, dtype="int32") % 3, np.linspace(0.5, 1.5, 30, dtype="float32")
for x in (np.arange(240, dtype="uint8").reshape(30, 8), np.linspace(-1, 1, 240, dtype="float32").reshape(30, 8)):
    kept = []
    for make in (np.asarray, jax.numpy.asarray):
        trainer = fb.Trainer(fb.Network(8, [fb.Dense(3)]))
        X, Y, W = make(x), make(y), make(w)
        trainer.fit(X, Y, sample_weight=W, validation=(X, Y, W), batch_size=10)
        trainer.step(X, Y, W)
        kept.append((trainer.evaluate(X, Y, W), trainer.net.predict(X).tobytes(), trainer.net.parameters.tobytes()))
    assert kept[0] == kept[1]
    assert np.shares_memory(arguments.arrayed("X", X), arguments.arrayed("X", X))
"""


def test_arrays_of_jax():
    """In a process of their own: JAX has threads and watches the garbage collector, which other tests would notice."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs JAX")
    done = subprocess.run([sys.executable, "-c", OF_JAX], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_plain_arrays_and_what_is_none_pass():
    for x in (np.zeros(3), np.ma.zeros(3), [1.0], None, "x", 3.0, np.float32(3), np.ndarray):
        assert arguments.arrayed("X", x) is x


@pytest.mark.parametrize("home", [fb, reference])
@pytest.mark.parametrize(
    "bad, message",
    [
        (OnAnotherDevice(np.zeros((4, 4))), "must be an array that NumPy can read, got .*OnAnotherDevice"),
        (ByArray(TypeError("can't convert cuda:0 device type tensor")), "must be an array that NumPy can read.*cuda:0"),
        (ByArray(RuntimeError("Use tensor.detach().numpy()")), "must be an array that NumPy can read.*detach"),
        (ByArray(np.zeros((4, 4), object)), "must hold numbers of one kind, got .*ByArray"),
        (ByArray(np.zeros((4, 4), "int64")), "must be a float32 or float64 array, got int64 array"),
        (ByArray(np.zeros((4, 4), "U3")), "must be a float32 or float64 array, got <U3 array"),
    ],
)
def test_what_cannot_be_read_is_refused(home, bad, message):
    net = home.Network(4, [fb.Dense(3)])
    trainer = home.Trainer(net)
    y = np.zeros(4, int)
    for call, name in (
        (net.predict, "X"),
        (net.jacobian, "X"),
        (lambda x: trainer.fit(x, y), "X"),
        (lambda x: trainer.step(x, y), "x"),
        (lambda x: trainer.fit(np.zeros((4, 4)), y, validation=(x, y)), r"validation\[0\]"),
    ):
        with pytest.raises(TypeError, match=f"^{name} {message}"):
            call(bad)


def test_a_data_frame_of_text_is_refused():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    with pytest.raises(TypeError, match="^X must hold numbers of one kind, got .*DataFrame.* convert columns of text"):
        fb.Network(2, [fb.Dense(1)]).predict(X)


def test_a_tensor_that_needs_its_gradient_is_told_so():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="^X must be an array that NumPy can read, got .*Tensor.*detach"):
        fb.Network(2, [fb.Dense(1)]).predict(torch.zeros(3, 2, requires_grad=True))


# ------------------------------------------------------------------------------------------------------ files in memory

# Trains and predicts from a file of 64 MiB in a process that may take 24 MiB more than it has: a file that is mapped
# takes none of them, and a copy in another dtype, which is 32 MiB at least, does not fit.
FROM_A_FILE = """
import resource, sys
import numpy as np
import fastbp as fb
path, kind, order = sys.argv[1:]
rows, columns = (1 << 26) // (256 * np.dtype(kind).itemsize), 256
X = np.memmap(path, kind, "r+", shape=(rows, columns), order=order)
y = np.arange(rows) % 3
def trainer():
    return fb.Trainer(fb.Network(columns, [fb.Dense(8, "relu"), fb.Dense(3)]), n_threads=1)
trainer().fit(X[:100], y[:100])
trainer().net.predict(X[:1000])
in_use = next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (in_use + (24 << 20),) * 2)
try:
    t = trainer()
    t.fit(X, y, batch_size=4096)
    t.evaluate(X, y)
    t.net.predict(X[: rows // 8])
    print("fits")
    X.astype("float32" if kind != "float32" else "float64")
except MemoryError:
    print("memory")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux limits a process's own memory")
@pytest.mark.parametrize(
    "kind, order", [("uint8", "C"), ("float32", "C"), ("float64", "C"), ("float32", "F"), ("float64", "F")]
)
def test_a_file_in_memory_is_not_copied(tmp_path, kind, order):
    path = tmp_path / "rows"
    with open(path, "wb") as file:
        file.truncate(1 << 26)
    done = subprocess.run(
        [sys.executable, "-c", FROM_A_FILE, str(path), kind, order], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fits", "memory"]  # the limit is one that a copy goes beyond
