"""Files: what is saved comes back to the same bits, and a file that is not right is refused by name."""

import copy
import errno
import io
import json
import math
import os
import pickle
import stat
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import fastbp as fb
from fastbp import schedules
from fastbp._support import storage
from fastbp.layers import BatchNorm, Dense, Dropout, LayerNorm, LeakyReLU, Residual, Softmax, Tanh

LAYERS = [Dense(5, LeakyReLU(0.1)), Residual([Dense(5, "tanh", bias=False)]), Dense(3)]
NORMED = [
    BatchNorm(0.3),
    Dense(5, "tanh"),
    Dropout(0.2),
    Residual([LayerNorm(), Tanh(), Dense(6)]),
    BatchNorm(),
    Dense(3),
]
OPTIMIZERS = [fb.Adam(3e-3, 0.8, 0.99, 1e-7, 1e-4), fb.SGD(0.1), fb.SGD(0.1, momentum=0.9, weight_decay=1e-3)]


def make_net(dtype="float32", seed=7):
    return fb.Network(4, LAYERS, dtype=dtype, seed=seed)


def make_trainer(optimizer="adam", dtype="float32"):
    return fb.Trainer(make_net(dtype), fb.SoftmaxCrossEntropy("sum"), optimizer, seed=2**64 - 1)


def data(rows=30):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 4)), rng.integers(0, 3, rows)


@pytest.fixture(params=[".npz", ".safetensors"])
def ending(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


# ------------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_network(tmp_path, ending, dtype):
    net, path = make_net(dtype), tmp_path / f"net{ending}"
    net.save(path)
    for other in (fb.load(path), fb.Network.load(str(path))):
        assert repr(other) == repr(net) and other.layers == net.layers
        assert other.parameters.tobytes() == net.parameters.tobytes()
        assert other.parameters.ctypes.data % 64 == 0
        assert other.predict(data()[0]).tobytes() == net.predict(data()[0]).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_network_with_statistics(tmp_path, ending, dtype):
    net, path = fb.Network(4, [*NORMED, Softmax()], dtype, seed=7), tmp_path / f"net{ending}"
    net.statistics[:] = np.random.default_rng(0).uniform(0.5, 2, len(net.statistics))
    net.freeze(0, 5)
    net.save(path)
    other = fb.load(path)
    assert repr(other) == repr(net) and other.layers == net.layers
    assert other.layers[0] == BatchNorm(0.3, frozen=True) and other.layers[4].frozen
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.statistics.tobytes() == net.statistics.tobytes()
    assert other.predict(data()[0]).tobytes() == net.predict(data()[0]).tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_goes_on_to_the_same_bits(tmp_path, ending, optimizer, dtype):
    X, y = data()
    trainer, path = make_trainer(optimizer, dtype), tmp_path / f"run{ending}"
    trainer.fit(X, y, epochs=2, batch_size=7)
    trainer.step(X, y)
    trainer.save(path)
    other = fb.Trainer.load(path, n_threads=1)
    assert (other.loss, other.optimizer, other.seed) == (trainer.loss, trainer.optimizer, trainer.seed)
    assert (other.steps, other.epochs, other.n_threads) == (trainer.steps, trainer.epochs, 1)
    for each in (trainer, other):
        each.fit(X, y, epochs=2, batch_size=7)
        each.step(X, y)
    assert other.net.parameters.tobytes() == trainer.net.parameters.tobytes()
    assert [a.tobytes() for a in other.engine.moments] == [a.tobytes() for a in trainer.engine.moments]


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.2), "clip_norm": 0.05},
        {"schedule": schedules.Warmup(9, schedules.Cosine(20)), "clip_value": 0.01, "average": 0.9},
        {"optimizer": fb.RMSprop(momentum=0.9, centered=True), "average": 0.0},
        {"optimizer": fb.Adagrad(initial_accumulator=0.1)},
    ],
    ids=str,
)
def test_a_run_with_everything_goes_on_to_the_same_bits(tmp_path, ending, options):
    """Dropout's draws, running statistics, frozen layers, the schedule's state and the average, too."""
    (X, y), path = data(), tmp_path / f"run{ending}"
    loss = fb.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1, 2, 3])
    trainer = fb.Trainer(fb.Network(4, NORMED, seed=3), loss, seed=5, **options)
    trainer.net.freeze(1)

    def go_on(each):
        each.fit(X, y, epochs=3, batch_size=8, accumulate=2, sample_weight=np.linspace(0, 2, 30))
        each.step(X, y)

    go_on(trainer)
    trainer.save(path)
    other = fb.Trainer.load(path)
    assert repr(other) == repr(trainer)
    for each in (trainer, other):
        go_on(each)
    assert other.net.parameters.tobytes() == trainer.net.parameters.tobytes()
    assert other.net.statistics.tobytes() == trainer.net.statistics.tobytes()
    assert [a.tobytes() for a in other.engine.moments] == [a.tobytes() for a in trainer.engine.moments]
    assert (other.averaged is None) == (trainer.averaged is None)
    if trainer.averaged is not None:
        assert other.averaged.tobytes() == trainer.averaged.tobytes()


def test_a_loss_that_is_a_function_is_not_saved(tmp_path):
    trainer = fb.Trainer(make_net(), lambda z, t: (0.0, np.zeros_like(z)))
    with pytest.raises(TypeError, match="loss is a function, which a file cannot hold"):
        trainer.save(tmp_path / "run.npz")
    assert os.listdir(tmp_path) == []


def test_the_net_of_a_run(tmp_path, ending):
    trainer, path = make_trainer(), tmp_path / f"run{ending}"
    trainer.step(*data())
    trainer.save(path)
    assert fb.load(path).parameters.tobytes() == trainer.net.parameters.tobytes()


def test_the_net_alone_is_no_run(tmp_path, ending):
    path = tmp_path / f"net{ending}"
    make_net().save(path)
    with pytest.raises(ValueError, match=f"net{ending}: it holds a network and no trainer: read it with fastbp.load$"):
        fb.Trainer.load(path)


@pytest.mark.parametrize("loss", [fb.Pinball([0.1, 0.5, 0.9]), fb.Pinball(0.3, "sum"), fb.BinaryCrossEntropy()])
def test_losses_come_back(tmp_path, loss):
    fb.Trainer(make_net(), loss).save(tmp_path / "run.npz")
    assert fb.Trainer.load(tmp_path / "run.npz").loss == loss


# ------------------------------------------------------------------------------------- state that training cannot have

POKES = [  # optimiser, vector, element, value, message
    ("adam", "parameters", 5, np.nan, "is nan; it must be finite"),
    ("adam", "parameters", 5, -np.inf, "is -inf; it must be finite"),
    ("adam", "statistics", 3, np.inf, "is inf; it must be finite"),  # a running mean
    ("adam", "statistics", 5, -1.0, "is -1.0; it must be at least 0"),  # running variances of both norms
    ("adam", "statistics", 5, np.inf, "is inf; it must be finite"),
    ("adam", "statistics", 17, -1e-30, "is -1.*e-30; it must be at least 0"),
    ("adam", "statistics", 17, np.nan, "is nan; it must be finite"),
    ("adam", "moment1", 7, np.inf, "is inf; it must be finite"),
    ("adam", "moment1", 7, np.nan, "is nan; it must be finite"),
    ("adam", "moment2", 7, np.inf, "is inf; it must be finite"),
    ("adam", "moment2", 7, -1.0, "is -1.0; it must be at least 0"),
    ("adam", "average", 7, np.nan, "is nan; it must be finite"),
    ("adamw", "moment2", 0, -1.0, ".* it must be at least 0"),
    ("adagrad", "moment1", 0, -1.0, ".* it must be at least 0"),
    ("rmsprop", "moment1", 0, -1.0, ".* it must be at least 0"),
    (fb.RMSprop(momentum=0.9, centered=True), "moment1", 2, -1.0, ".* it must be at least 0"),
    (fb.RMSprop(momentum=0.9, centered=True), "moment2", 2, -np.inf, ".* it must be finite"),
    (fb.RMSprop(momentum=0.9, centered=True), "moment3", 2, np.nan, ".* it must be finite"),
    (fb.SGD(0.1, momentum=0.9), "moment1", 2, np.inf, ".* it must be finite"),
]


def poked(optimizer, vector, element, value):
    """A trainer with this value in its state."""
    trainer = fb.Trainer(fb.Network(4, NORMED), optimizer=optimizer, average=0.9)
    trainer.step(*data())
    vectors = trainer.net.vectors() | trainer.engine.vectors()
    vectors[vector][element] = value
    return trainer


@pytest.mark.parametrize("optimizer, vector, element, value, message", POKES)
def test_impossible_state(tmp_path, ending, monkeypatch, optimizer, vector, element, value, message):
    """It is neither written nor read, from a file or a pickle; a copy has it."""
    trainer = poked(optimizer, vector, element, value)
    of_net = vector in ("parameters", "statistics")
    match = rf"{vector}\[{element}\] {message}"
    for each in (trainer, trainer.net) if of_net else (trainer,):
        with pytest.raises(ValueError, match=f"^{match}"):
            each.save(tmp_path / f"run{ending}")
        assert os.listdir(tmp_path) == []
        with pytest.raises(ValueError, match=f"^{match}"):
            pickle.loads(pickle.dumps(each))
        for other in (copy.copy(each), copy.deepcopy(each)):
            net = getattr(other, "net", other)
            copied = net.vectors() | (other.engine.vectors() if other is not net else {})
            assert np.array_equal(copied[vector][element], np.float32(value), equal_nan=True)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "check_vector", lambda *_: None)
        trainer.save(tmp_path / f"run{ending}")
    refused(tmp_path / f"run{ending}", match, fb.Trainer.load)
    if of_net:
        refused(tmp_path / f"run{ending}", match)


@pytest.mark.parametrize(
    "optimizer", [*OPTIMIZERS, fb.AdamW(), fb.RMSprop(0.1, 0.9, momentum=0.5, centered=True), fb.Adagrad()]
)
def test_the_moments_that_are_squares(optimizer):
    """After updates with gradients of both signs, no other vector is without negative elements."""
    trainer = fb.Trainer(fb.Network(4, [fb.Dense(3)]), optimizer=optimizer)
    gradient = np.random.default_rng(0).standard_normal(15)
    for _ in range(3):
        trainer.apply(gradient)
    assert tuple((moment >= 0).all() for moment in trainer.engine.moments) == optimizer.squares


@pytest.mark.parametrize("values", [np.float32(1), np.ones(1, "float32"), np.ones(69, "float32"), np.ones(68)])
def test_a_pickle_with_vectors_of_another_net(values):
    net = make_net()
    state = {**net.__getstate__(), "parameters": values}
    with pytest.raises(ValueError, match="^parameters (has shape|is of dtype)"):
        fb.Network.__new__(fb.Network).__setstate__(state)


def test_an_array_whose_dtype_was_changed_is_not_saved(tmp_path):
    """In place: the view of 32-bit integers has the bits of reals."""
    net = make_net()
    net.parameters.dtype = "int32"
    with pytest.raises(ValueError, match="^parameters is of dtype int32; expected float32"):
        net.save(tmp_path / "net.npz")


def test_numpy_reads_the_file(tmp_path):
    net = make_net()
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["header", "parameters"]
        header = json.loads(file["header"].item())
        assert np.array_equal(file["parameters"], net.parameters)
    assert header["format"] == "fastbp" and header["version"] == 2
    assert header["network"]["layers"][0]["units"] == 5


def test_vectors_are_there_where_they_say_something(tmp_path):
    for made_of, average, expected in (
        (LAYERS, None, ["header", "moment1", "moment2", "parameters"]),
        (NORMED, 0.9, ["average", "header", "moment1", "moment2", "parameters", "statistics"]),
    ):
        fb.Trainer(fb.Network(4, made_of), average=average).save(tmp_path / "run.npz")
        with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
            assert sorted(file.files) == expected


def test_files_from_before_there_was_more_are_read(tmp_path):
    """A header of version 1 as it was written when layers and trainers had fewer fields."""
    dense = {"kind": "dense", "units": 5, "activation": {"kind": "leaky_relu", "negative_slope": 0.1}, "bias": True}
    block = {"kind": "dense", "units": 5, "activation": {"kind": "tanh"}, "bias": False}
    last = {"kind": "dense", "units": 3, "activation": {"kind": "identity"}, "bias": True}
    description = {
        "inputs": 4,
        "layers": [dense, {"kind": "residual", "layers": [block]}, last],
        "dtype": "float32",
        "seed": 7,
    }
    trainer = {
        "loss": {"kind": "softmax_cross_entropy", "reduction": "sum"},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0},
        "seed": 1,
        "steps": 3,
        "epochs": 1,
        "moments": 1,
    }
    header = {"format": "fastbp", "version": 2, "network": description, "trainer": trainer}
    write(tmp_path / "run.npz", header, parameters=P, moment1=P)
    assert repr(fb.load(tmp_path / "run.npz")) == repr(make_net())
    read = fb.Trainer.load(tmp_path / "run.npz")
    assert (read.loss, read.optimizer) == (fb.SoftmaxCrossEntropy("sum"), fb.SGD(0.1, 0.9))
    assert (read.steps, read.average, read.clip_norm, read.clip_value) == (3, None, None, None)


def test_the_same_net_gives_the_same_file(tmp_path, ending):
    for name in ("a", "b"):
        make_net().save(tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_big_endian_vectors_are_read(tmp_path):
    net = make_net()
    write(tmp_path / "net.npz", header_of(net), parameters=net.parameters.astype(">f4"))
    assert np.array_equal(fb.load(tmp_path / "net.npz").parameters, net.parameters)


# --------------------------------------------------------------------------------------------------- how it is written


def test_nothing_else_is_left_in_the_folder(tmp_path, ending):
    make_net().save(tmp_path / f"net{ending}")
    make_net().save(tmp_path / f"net{ending}")
    assert os.listdir(tmp_path) == [f"net{ending}"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    net, path = make_net(), tmp_path / "net.npz"
    net.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left on device: '.*net.npz'"):
                make_net(seed=8).save(path)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", lambda *_, **__: full())
        with pytest.raises(OSError, match="No space left"):
            make_net(seed=8).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.npz"]


def test_ctrl_c_right_after_the_renaming(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(*paths):
        replace(*paths)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_net().save(tmp_path / "net.npz")
    assert os.listdir(tmp_path) == ["net.npz"]
    fb.load(tmp_path / "net.npz")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_mode(tmp_path):
    path = tmp_path / "net.npz"
    umask = os.umask(0o027)
    try:
        make_net().save(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    make_net().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_stays_one(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "latest.npz").symlink_to(tmp_path / "models" / "1.npz")
    make_net().save(tmp_path / "latest.npz")
    assert (tmp_path / "latest.npz").is_symlink() and (tmp_path / "models" / "1.npz").is_file()


def test_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_net().save("net.npz")
    assert repr(fb.load("net.npz")) == repr(make_net())


@pytest.mark.parametrize(
    "path, error, message",
    [
        (None, TypeError, "path must be a str or a path, got None"),
        (3, TypeError, "path must be a str or a path, got int"),
        (b"net.npz", TypeError, "path must be a str or a path, got bytes"),
        ("net", ValueError, "path must end in .npz or .safetensors, got net"),
        ("net.pickle", ValueError, "path must end in .npz or .safetensors"),
    ],
)
def test_bad_paths(path, error, message):
    for call in (make_net().save, fb.load, fb.Trainer.load, make_trainer().save):
        with pytest.raises(error, match=message):
            call(path)


def test_places_that_are_none(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        make_net().save(tmp_path / "nowhere" / "net.npz")
    with pytest.raises(ValueError, match="is something else"):
        make_net().save(tmp_path / "folder.npz")
    with pytest.raises(FileNotFoundError):
        fb.load(tmp_path / "net.npz")
    with pytest.raises(OSError):
        fb.load(tmp_path / "folder.npz")


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    trainer = make_trainer()
    trainer.net.parameters[5] = np.nan
    for call in (trainer.save, trainer.net.save):
        with pytest.raises(ValueError, match=r"^parameters\[5\] is nan; it must be finite$"):
            call(tmp_path / "net.npz")
    assert os.listdir(tmp_path) == []


def test_without_the_safetensors_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    (tmp_path / "net.safetensors").write_bytes(b"")
    for call in (make_net().save, fb.load):
        with pytest.raises(ImportError, match=r"pip install 'fastbp\[safetensors\]'"):
            call(tmp_path / "net.safetensors")
    make_net().save(tmp_path / "net.npz")


def test_formats_are_imported_when_they_are_used():
    code = "import numpy, sys; before = set(sys.modules); import fastbp; print(*(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fastbp" in found and not {"safetensors", "zipfile", "json"} & set(found)


# ------------------------------------------------------------------------------------------------------ wrong files


def header_of(net, **more):
    return {"format": "fastbp", "version": 2, "network": net.description(), **more}


def write(path, header, **arrays):
    """A .npz with this header: a dict, which gets the right checksum, a text or an array."""
    if isinstance(header, dict):
        native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
        header = json.dumps({"checksum": storage._checksum(header, native), **header})
    np.savez(path, header=np.array(header), **arrays)


def refused(path, message, load=fb.load):
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def changed(**changes):
    """The header of make_net with changes in its description of the network."""
    header = header_of(make_net())
    header["network"].update(changes)
    return header


def without(name, inside="network"):
    header = header_of(make_net())
    del header[inside][name]
    return header


def dense(**changes):
    return [{"kind": "dense", "units": 3, "activation": {"kind": "identity"}, "bias": True, **changes}]


def nested(depth):
    layer = {"kind": "dense", "units": 4}
    for _ in range(depth):
        layer = {"kind": "residual", "layers": [layer]}
    return [layer]


@pytest.mark.parametrize(
    "header, message",
    [
        ("{", "its header is not JSON"),
        ("[" * 100000, "its header is not JSON"),
        ("[1]", "its header is not one of fastbp"),
        ({"version": 2}, "its header is not one of fastbp"),
        ({**header_of(make_net()), "format": "other"}, "its header is not one of fastbp"),
        ({**header_of(make_net()), "version": 3}, "is of format version 3; this fastbp reads version 2"),
        ({**header_of(make_net()), "version": None}, "is of format version None"),
        ({"format": "fastbp", "version": 2}, "its header lacks 'network'"),
        ({"format": "fastbp", "version": 2, "network": None}, "makes no sense"),
        ({"format": "fastbp", "version": 2, "network": [1]}, "makes no sense"),
        (without("inputs"), "its header lacks 'inputs'"),
        (without("layers"), "its header lacks 'layers'"),
        (without("dtype"), "its header lacks 'dtype'"),
        (without("seed"), "its header lacks 'seed'"),
        (changed(inputs=0), "makes no sense: inputs must be at least 1"),
        (changed(inputs="4"), "makes no sense: inputs must be an integer"),
        (changed(inputs=5), r"parameters has shape \(68,\); expected \(73,\)"),
        (changed(dtype="float64"), "parameters is of dtype float32; expected float64"),
        (changed(dtype="object"), "makes no sense: dtype"),
        (changed(seed=-1), "makes no sense: seed"),
        (changed(seed=1.5), "makes no sense: seed"),
        (changed(layers=[]), "makes no sense: layers must hold at least one layer"),
        (changed(layers=None), "makes no sense"),
        (changed(layers=[3]), "makes no sense: record must be a dict"),
        (changed(layers=[{"kind": "conv"}]), "makes no sense: record's 'kind' must be one of"),
        (changed(layers=[{"kind": "dense"}]), "must have a field 'units'"),
        (changed(layers=dense(units=0)), "units must be at least 1"),
        (changed(layers=dense(units=10**9)), r"expected \(5000000000,\)"),
        (changed(layers=dense(units=10**30)), "makes no sense"),
        (changed(layers=dense(colour="red")), "unknown field 'colour'"),
        (changed(layers=dense(activation={"kind": "adam"})), "makes no sense"),
        (changed(layers=dense(activation={"kind": "softplus", "beta": -1})), "makes no sense: beta"),
        (changed(layers=dense(l2=1e300)), "makes no sense: l2 of Dense.* is 1e.300, which is inf in float32"),
        (changed(layers=dense(activation={"kind": "elu", "alpha": 1e-60})), "makes no sense: the parameter of"),
        (json.dumps({**header_of(make_net()), "more": math.nan}), "its header is not JSON"),
        (json.dumps(header_of(make_net(), more=12.5)).replace("12.5", "1e999"), "its header is not JSON"),
        (changed(layers=nested(200)), "makes no sense|expected"),
        (changed(layers=[{"kind": "residual", "layers": dense(units=5)}]), r"expected \(45,\)"),
        (
            changed(layers=[{"kind": "residual", "layers": dense(units=5), "projection": False}]),
            "makes no sense: layers",
        ),
        (changed(layers=[{"kind": "dropout", "rate": 1}]), "makes no sense: rate must be less than 1"),
        (changed(layers=[{"kind": "dropout", "rate": 0.5}]), r"expected \(0,\)"),
        (changed(layers=[{"kind": "layer_norm", "eps": 0}]), "makes no sense: eps must be greater than 0"),
        (changed(layers=[{"kind": "batch_norm", "momentum": "x"}]), "makes no sense: momentum must be a number"),
        (changed(layers=dense(l1=-1)), "makes no sense: l1 must be at least 0"),
        (changed(layers=dense(weight_init={"kind": "relu"})), "makes no sense: weight_init"),
    ],
)
def test_wrong_headers(tmp_path, header, message):
    write(tmp_path / "net.npz", header, parameters=make_net().parameters)
    refused(tmp_path / "net.npz", message)


@pytest.mark.parametrize(
    "header, message",
    [
        (np.array(3), "not a text"),
        (np.array(["x"]), "not a text"),
        (np.array(b"{}"), "not a text"),
    ],
)
def test_headers_of_another_kind(tmp_path, header, message):
    write(tmp_path / "net.npz", header, parameters=make_net().parameters)
    refused(tmp_path / "net.npz", message)


P = make_net().parameters


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "lacks parameters"),
        ({"parameters": P, "extra": P}, "holds extra, which its header does not speak of"),
        ({"parameters": P[:-1]}, r"parameters has shape \(67,\); expected \(68,\)"),
        ({"parameters": P.reshape(4, 17)}, r"parameters has shape \(4, 17\)"),
        ({"parameters": P.astype("float64")}, "parameters is of dtype float64; expected float32"),
        ({"parameters": P.astype("int32")}, "parameters is of dtype int32"),
        ({"parameters": np.where(np.arange(68) == 9, np.nan, P).astype("f4")}, r"parameters\[9\] is nan"),
        ({"parameters": np.where(np.arange(68) == 9, -np.inf, P).astype("f4")}, r"parameters\[9\] is -inf"),
        ({"parameters": np.array([None] * 68)}, "holds Python objects"),
    ],
)
def test_wrong_vectors(tmp_path, arrays, message):
    write(tmp_path / "net.npz", header_of(make_net()), **arrays)
    refused(tmp_path / "net.npz", message)


S = fb.Network(4, NORMED).statistics


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "lacks statistics"),
        ({"statistics": S[:-1]}, r"statistics has shape \(19,\); expected \(20,\)"),
        ({"statistics": S.astype("float64")}, "statistics is of dtype float64; expected float32"),
        ({"statistics": np.where(np.arange(20) == 9, np.nan, S).astype("f4")}, r"statistics\[9\] is nan"),
        ({"statistics": S, "average": S}, "holds average, which its header does not speak of"),
    ],
)
def test_wrong_statistics(tmp_path, arrays, message):
    net = fb.Network(4, NORMED)
    write(tmp_path / "net.npz", header_of(net), parameters=net.parameters, **arrays)
    refused(tmp_path / "net.npz", message)
    write(tmp_path / "net.npz", header_of(make_net()), parameters=P, statistics=S)
    refused(tmp_path / "net.npz", "holds statistics, which its header does not speak of")


def test_no_header(tmp_path):
    np.savez(tmp_path / "net.npz", parameters=P)
    refused(tmp_path / "net.npz", "has no header: fastbp did not write it")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"PK\x05\x06" + bytes(18), pickle.dumps([1]), os.urandom(500), b"\x93NUMPY" + bytes(100)],
    ids=["empty", "one byte", "empty archive", "pickle", "noise", "npy"],
)
def test_other_files(tmp_path, ending, content):
    (tmp_path / f"net{ending}").write_bytes(content)
    refused(tmp_path / f"net{ending}", "truncated or damaged|has no header")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    """The entry says it holds 10^15 numbers: the description does not."""
    net, raw = make_net(), io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    np.savez(tmp_path / "net.npz", header=np.array(json.dumps(header_of(net))))
    with zipfile.ZipFile(tmp_path / "net.npz", "a") as archive:
        archive.writestr("parameters.npy", raw.getvalue())
    refused(tmp_path / "net.npz", r"parameters has shape \(1000000000000000,\)")


@pytest.mark.parametrize("extra", [b"", b"\x00" * 4])
def test_an_entry_shorter_or_longer_than_its_shape(tmp_path, extra):
    net, raw = make_net(), io.BytesIO()
    np.save(raw, net.parameters)
    np.savez(tmp_path / "net.npz", header=np.array(json.dumps(header_of(net))))
    with zipfile.ZipFile(tmp_path / "net.npz", "a") as archive:
        archive.writestr("parameters.npy", raw.getvalue() + extra if extra else raw.getvalue()[:-1])
    refused(tmp_path / "net.npz", "parameters has more data" if extra else "parameters is truncated")


def test_an_entry_far_longer_than_its_shape_takes_no_memory(tmp_path):
    """NumPy would read what the .npy says is its header before it looks at it."""
    net, size = make_net(), 1 << 25
    np.savez(tmp_path / "net.npz", header=np.array(json.dumps(header_of(net))))
    with zipfile.ZipFile(tmp_path / "net.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("parameters.npy", "w") as entry:
            entry.write(b"\x93NUMPY\x02\x00" + size.to_bytes(4, "little"))
            for _ in range(size >> 20):
                entry.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        refused(tmp_path / "net.npz", "its entry parameters.npy is compressed, and could fill the memory")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


GREAT = {"kind": "dense", "units": 16384, "bias": False}  # of 1048576 inputs: 2^34 parameters


def peak_of(call):
    """The most memory that a call takes, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def npy_header(descr, shape):
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": descr, "fortran_order": False, "shape": shape})
    return raw.getvalue()


def archive(path, entries, sizes=()):
    """A .npz of these entries. sizes: what its directory says of the length of some of them."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
        for name, size in dict(sizes).items():
            info = file.getinfo(f"{name}.npy")
            info.file_size = info.compress_size = size


def npy(array):
    raw = io.BytesIO()
    np.save(raw, array)
    return raw.getvalue()


@pytest.mark.parametrize("size", [None, 1 << 36, 1 << 31], ids=["true", "64 GiB", "2 GiB"])
def test_a_small_file_of_a_great_layer_takes_no_memory(tmp_path, size):
    """The header, the .npy header and, where it may, the directory of the archive agree on 2^34 parameters."""
    path, net = tmp_path / "net.npz", fb.Network(4, LAYERS)
    header = header_of(net)
    header["network"].update(inputs=1048576, layers=[GREAT])
    entries = {"header": npy(np.array(json.dumps(header))), "parameters": npy_header("<f4", (1 << 34,))}
    archive(path, entries, {} if size is None else {"parameters": size + len(entries["parameters"])})
    assert path.stat().st_size < 5000
    message = "parameters is truncated|its entries have"
    assert peak_of(lambda: refused(path, message)) < 1 << 20
    trained = {**header, "trainer": trainer_header()["trainer"]}
    entries["header"] = npy(np.array(json.dumps(trained)))
    entries |= {f"moment{i}": entries["parameters"] for i in (1, 2)}
    archive(path, entries)
    assert peak_of(lambda: refused(path, message, fb.Trainer.load)) < 1 << 20


def test_a_small_file_of_a_great_layer_in_safetensors(tmp_path):
    pytest.importorskip("safetensors")
    path, header = tmp_path / "net.safetensors", header_of(make_net())
    header["network"].update(inputs=1048576, layers=[GREAT])
    tensor = {"dtype": "F32", "shape": [1 << 34], "data_offsets": [0, 1 << 36]}
    text = json.dumps({"__metadata__": {"fastbp": json.dumps(header)}, "parameters": tensor}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert peak_of(lambda: refused(path, "truncated or damaged")) < 1 << 20


def test_a_small_file_whose_header_is_said_to_be_long_takes_no_memory(tmp_path):
    path = tmp_path / "net.npz"
    archive(path, {"header": npy_header("<U16000000", ()), "parameters": npy(P)})
    assert peak_of(lambda: refused(path, "header is truncated")) < 1 << 20


def test_entries_that_share_their_bytes_take_no_memory(tmp_path):
    """A directory may name the same part of the file any number of times."""
    path, vector, count = tmp_path / "run.npz", npy(np.ones(1 << 16, "float32")), 500
    names = [f"callback0.{i}" for i in range(count)]
    header = {**trainer_header(), "fit": {"vectors": dict.fromkeys(names, 1 << 16)}}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {"header": npy(np.array(json.dumps(header))), **dict.fromkeys(MOMENTS, npy(P))}.items():
            file.writestr(f"{name}.npy", content)
        file.writestr(f"{names[0]}.npy", vector)
        for name in names[1:]:
            file.filelist.append(copy.copy(file.getinfo(f"{names[0]}.npy")))
            file.filelist[-1].filename = file.filelist[-1].orig_filename = f"{name}.npy"
    size = path.stat().st_size
    assert peak_of(lambda: refused(path, "its entries have", fb.Trainer.load)) < 2 * size + (1 << 20)


def test_entries_that_are_twice_there(tmp_path):
    archive(tmp_path / "net.npz", {"header": npy(np.array(json.dumps(header_of(make_net())))), "parameters": npy(P)})
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "net.npz", "a") as file:
        file.writestr("parameters.npy", npy(P))
    refused(tmp_path / "net.npz", "holds parameters.npy twice")


def test_a_header_with_numbers_that_are_no_characters(tmp_path):
    """NumPy makes a str of them all the same, which Python cannot work with."""
    text = np.array(json.dumps(header_of(make_net())))
    for number in (0x110000, 0xFFFFFFFF, 0xD800):
        raw = text.copy()
        raw.reshape(1).view("uint32")[12] = number
        archive(tmp_path / "net.npz", {"header": npy(raw), "parameters": npy(P)})
        refused(tmp_path / "net.npz", "truncated or damaged.*utf-32")


def test_a_loss_of_a_great_number_of_outputs_takes_no_memory(tmp_path):
    """Of a net without parameters, which any number of columns goes with."""
    header = trainer_header(loss=fb.Huber(2.0).to_dict())
    header["network"].update(inputs=2**31 - 1, layers=[{"kind": "relu"}])
    empty = np.zeros(0, "float32")
    write(tmp_path / "run.npz", header, parameters=empty, moment1=empty, moment2=empty)
    assert peak_of(lambda: fb.Trainer.load(tmp_path / "run.npz")) < 1 << 20


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": fb.SGD(0.1)}, {"optimizer": fb.RMSprop(momentum=0.9, centered=True), "average": 0.9}],
    ids=["adam", "sgd", "all"],
)
def test_reading_takes_twice_the_memory_of_the_file(tmp_path, ending, options):
    trainer = fb.Trainer(fb.Network(500, [fb.Dense(1000), fb.Dense(500)]), **options)
    path = tmp_path / f"run{ending}"
    trainer.save(path)
    assert peak_of(lambda: fb.Trainer.load(path)) < 2 * path.stat().st_size + (1 << 18)
    trainer.net.save(path)
    assert peak_of(lambda: fb.load(path)) < 2 * path.stat().st_size + (1 << 18)


MANY = {
    "dense": [{"kind": "dense", "units": 1, "activation": {"kind": "tanh"}}],
    "norms": [{"kind": "batch_norm"}, {"kind": "layer_norm"}],
    "activations": [{"kind": "softplus", "beta": 2.0}, {"kind": "relu"}],
    "blocks": [{"kind": "residual", "layers": [{"kind": "dense", "units": 1}]}],
}


@pytest.mark.parametrize("layers", MANY.values(), ids=MANY.keys())
def test_the_work_for_a_long_header_is_proportional_to_its_length(tmp_path, layers):
    """Calls are counted, of Python's functions and of those in C: twice the layers take twice as many."""

    def calls(count):
        header = header_of(make_net())
        header["network"].update(inputs=1, layers=layers * count)
        write(tmp_path / "net.npz", header, parameters=np.zeros(1, "float32"))
        made = [0]

        def count_call(frame, event, argument):
            made[0] += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            with pytest.raises(ValueError, match="parameters has shape|lacks statistics"):
                fb.load(tmp_path / "net.npz")
        finally:
            sys.setprofile(None)
        return made[0]

    few, many = calls(100), calls(200)
    per_layer = (many - few) / 100 / len(layers)
    assert many - few < 1.1 * few
    assert per_layer < 300  # some 20 microseconds


@pytest.mark.parametrize(
    "header",
    [
        "{'shape': (3,",
        "  1\n 2",
        "3",
        "{'descr': 3, 'fortran_order': False, 'shape': (68,)}",
        "{'descr': (), 'fortran_order': False, 'shape': (68,)}",  # an IndexError of NumPy
        "{'descr': '<f4', 'fortran_order': False, 'shape': (68,), 1: 2}",  # a TypeError
        "-" * 9000 + "1",  # a MemoryError of Python's parser
    ],
    ids=range(7),
)
def test_an_entry_whose_header_makes_no_sense(tmp_path, header):
    np.savez(tmp_path / "net.npz", header=np.array(json.dumps(header_of(make_net()))))
    with zipfile.ZipFile(tmp_path / "net.npz", "a") as archive:
        archive.writestr("parameters.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    refused(tmp_path / "net.npz", "parameters is not an array NumPy can read")


def test_truncated_anywhere(tmp_path, ending):
    path = tmp_path / f"run{ending}"
    make_trainer().save(path)
    whole = path.read_bytes()
    for length in sorted({*range(0, len(whole), 41), *range(len(whole) - 30, len(whole))}):
        path.write_bytes(whole[:length])
        refused(path, "truncated or damaged", fb.Trainer.load)
        refused(path, "truncated or damaged")


def test_a_damaged_byte_anywhere(tmp_path, ending):
    """Either it is noticed, or it was in a place that says nothing (a date, a moment's value where no checksum is)."""
    path = tmp_path / f"net{ending}"
    net = make_net()
    net.save(path)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 11):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x81]) + whole[position + 1 :])
        try:
            other = fb.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            noticed += 1
        else:
            assert other.parameters.shape == net.parameters.shape and np.isfinite(other.parameters).all()
            if ending == ".npz":
                assert repr(other) == repr(net) and np.array_equal(other.parameters, net.parameters)
    assert noticed > len(whole) / 33


# ----------------------------------------------------------------------------------------------- wrong files of a run


def trainer_header(**changes):
    record = {
        "loss": fb.SoftmaxCrossEntropy().to_dict(),
        "optimizer": fb.Adam().to_dict(),
        "seed": 0,
        "steps": 3,
        "epochs": 1,
        "moments": 2,
        **changes,
    }
    return header_of(make_net(), trainer={name: value for name, value in record.items() if value is not ...})


MOMENTS = {"parameters": P, "moment1": P, "moment2": P * P}


def test_the_header_these_tests_change_is_right(tmp_path):
    write(tmp_path / "run.npz", trainer_header(), **MOMENTS)
    assert fb.Trainer.load(tmp_path / "run.npz").steps == 3


def test_the_greatest_counts_can_be_counted_on(tmp_path):
    write(tmp_path / "run.npz", trainer_header(steps=2**62, epochs=2**39), **MOMENTS)
    trainer = fb.Trainer.load(tmp_path / "run.npz")
    trainer.fit(*data(), epochs=2, batch_size=10)
    assert (trainer.steps, trainer.epochs) == (2**62 + 6, 2**39 + 2)


@pytest.mark.parametrize("value, error", [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), ("1", TypeError)])
@pytest.mark.parametrize("name", ["steps", "epochs"])
def test_counts_that_are_set(name, value, error):
    trainer = make_trainer()
    with pytest.raises(error, match=f"^{name} must be"):
        setattr(trainer, name, value)
    assert (trainer.steps, trainer.epochs) == (0, 0)


@pytest.mark.parametrize(
    "header, arrays, message",
    [
        (header_of(make_net()), {"parameters": P}, "holds a network and no trainer: read it with fastbp.load"),
        (trainer_header(loss=...), MOMENTS, "lacks 'loss'"),
        (trainer_header(optimizer=...), MOMENTS, "lacks 'optimizer'"),
        (trainer_header(steps=...), MOMENTS, "lacks 'steps'"),
        (trainer_header(epochs=...), MOMENTS, "lacks 'epochs'"),
        (trainer_header(seed=...), MOMENTS, "lacks 'seed'"),
        (trainer_header(moments=...), MOMENTS, "lacks 'moments'"),
        (trainer_header(steps=-1), MOMENTS, "steps must be at least 0"),
        (trainer_header(epochs=0.5), MOMENTS, "epochs must be an integer"),
        (trainer_header(steps=2**62 + 1), MOMENTS, "steps must be at most"),
        (trainer_header(epochs=2**39 + 1), MOMENTS, "epochs must be at most"),
        (trainer_header(seed=2**64), MOMENTS, "seed"),
        (trainer_header(moments=4), MOMENTS, "moments must be at most 3"),
        (trainer_header(moments=1), {"parameters": P, "moment1": P}, r"moments is 1; Adam\(.* keeps 2"),
        (trainer_header(optimizer=fb.SGD(0.1).to_dict()), MOMENTS, r"moments is 2; SGD\(.* keeps 0"),
        (trainer_header(optimizer={"kind": "adam", "beta1": 2}), MOMENTS, "beta1 must be less than 1"),
        (trainer_header(optimizer={"kind": "relu"}), MOMENTS, "record's 'kind' must be one of 'sgd', 'adam'"),
        (trainer_header(optimizer=fb.Adam(1e300).to_dict()), MOMENTS, "learning_rate of the optimizer is 1e.300"),
        (trainer_header(clip_norm=0), MOMENTS, "clip_norm must be greater than 0"),
        (trainer_header(clip_value="x"), MOMENTS, "clip_value must be a number"),
        (trainer_header(average=1), {**MOMENTS, "average": P}, "average must be less than 1"),
        (trainer_header(average=0.9), MOMENTS, "lacks average"),
        (trainer_header(average=0.9), {**MOMENTS, "average": P[:5]}, r"average has shape \(5,\)"),
        (trainer_header(average=0.9), {**MOMENTS, "average": np.full(68, np.inf, "f4")}, r"average\[0\] is inf"),
        (trainer_header(), {**MOMENTS, "average": P}, "holds average, which its header does not speak of"),
        (trainer_header(schedule={"kind": "relu"}), MOMENTS, "makes no sense"),
        (trainer_header(schedule=3), MOMENTS, "makes no sense"),
        (trainer_header(loss={"kind": "dense", "units": 3}), MOMENTS, "record's 'kind' must be one of"),
        (trainer_header(loss=fb.Pinball([0.1, 0.9]).to_dict()), MOMENTS, "quantiles has 2 levels; there are 3 outputs"),
        (trainer_header(), {"parameters": P, "moment1": P}, "lacks moment2"),
        (trainer_header(), {**MOMENTS, "moment2": P[:5]}, r"moment2 has shape \(5,\); expected \(68,\)"),
        (trainer_header(), {**MOMENTS, "moment1": P * np.float32(np.nan)}, r"moment1\[0\] is nan"),
        (trainer_header(), {**MOMENTS, "moment1": P.astype(float)}, "moment1 is of dtype float64"),
    ],
)
def test_wrong_runs(tmp_path, header, arrays, message):
    write(tmp_path / "run.npz", header, **arrays)
    refused(tmp_path / "run.npz", message, fb.Trainer.load)


def test_wrong_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path, header = tmp_path / "net.safetensors", {"fastbp": json.dumps(header_of(make_net()))}
    for vectors, metadata, message in (
        ({"parameters": P}, None, "has no header"),
        ({"parameters": P}, {"fastbp": "{"}, "its header is not JSON"),
        ({"parameters": P[:5].copy()}, header, r"parameters has shape \(5,\); expected \(68,\)"),
        ({"parameters": P.astype("float64")}, header, "parameters is of dtype float64"),
        ({"parameters": P * np.float32(np.nan)}, header, r"parameters\[0\] is nan"),
        ({"weights": P}, header, "lacks parameters"),
    ):
        path.write_bytes(safetensors.save(vectors, metadata=metadata))
        refused(path, message)


def test_the_file_is_closed_after_a_refusal(tmp_path):
    (tmp_path / "net.npz").write_bytes(b"x")
    for _ in range(3000):
        with pytest.raises(ValueError):
            fb.load(tmp_path / "net.npz")


def test_writing_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError):
        storage.write(tmp_path / "x.npz", {"a": float("nan")}, {}, lambda _: {})
    assert os.listdir(tmp_path) == []


def test_a_file_whose_contents_were_changed_is_refused(tmp_path, ending):
    """Also where the format itself does not notice: a parameter or a setting that is another."""
    net = make_net()
    net.save(tmp_path / f"net{ending}")
    header, vectors = storage.read(
        tmp_path / f"net{ending}", lambda _: {"parameters": storage.Expected(net.dtype, len(net.parameters))}
    )
    text = {"format": "fastbp", "version": 2, **header}
    text["checksum"] = storage._checksum(text, vectors)
    changed = vectors["parameters"].copy()
    changed[3] += 1
    for other, parameters in (({}, changed), ({"network": {**header["network"], "seed": 8}}, vectors["parameters"])):
        record = json.dumps({**text, **other})
        if ending == ".npz":
            np.savez(tmp_path / "other.npz", header=np.array(record), parameters=parameters)
        else:
            safetensors = pytest.importorskip("safetensors.numpy")
            safetensors.save_file({"parameters": parameters}, tmp_path / "other.safetensors", {"fastbp": record})
        refused(tmp_path / f"other{ending}", "its checksum is that of other contents")


def test_the_checksum_is_the_documented_one(tmp_path):
    """SHA-256 of the description, as JSON with sorted keys, then of the name and the bytes of each vector, by name."""
    import hashlib

    make_net().save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        description = json.loads(str(file["header"]))
        found = description.pop("checksum")
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        for name in sorted(set(file) - {"header"}):
            digest.update(name.encode() + file[name].tobytes())
    assert found == digest.hexdigest()
