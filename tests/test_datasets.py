"""The bundled digits, and files in the format of MNIST: good ones, and every kind of bad one."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from fastbp import datasets

NAMES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}


def idx(array, magic=None):
    array = np.asarray(array, np.uint8)
    head = (0x0800 + array.ndim if magic is None else magic).to_bytes(4, "big")
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.fixture
def contents():
    images = np.arange(5 * 3 * 2).reshape(5, 3, 2) * 8
    return {
        "train images": idx(images),
        "train labels": idx([0, 1, 2, 3, 4]),
        "test images": idx(255 - images[:2]),
        "test labels": idx([4, 0]),
    }


def write(folder, contents, change=str):
    for key, data in contents.items():
        (folder / change(NAMES[key])).write_bytes(data)
    return folder


# ----------------------------------------------------------------------------------------------- the bundled digits


def test_digits():
    X, y = datasets.load_digits()
    assert X.shape == (1797, 64) and X.dtype == np.float32
    assert y.shape == (1797,) and y.dtype == np.int64
    assert X.min() == 0 and X.max() == 1
    assert np.array_equal(np.bincount(y), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    # the first image, a zero, as the source prints it
    assert np.array_equal(X[0, :16] * 16, [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0])
    assert np.array_equal(y[:12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])


def test_digits_file_is_small_and_names_its_source():
    folder = Path(datasets.__file__).parent / "data"
    assert (folder / "digits.npz").stat().st_size < 60_000
    text = (folder / "README.md").read_text()
    assert all(word in text for word in ("UCI", "Alpaydin", "Kaynak", "CC BY 4.0"))


def test_digits_are_new_arrays_each_time():
    X, _ = datasets.load_digits()
    X[:] = 0
    assert datasets.load_digits()[0].max() == 1


# ------------------------------------------------------------------------------------------------------- splitting


def test_split_parts_the_rows():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    X_train, y_train, X_test, y_test = datasets.train_test_split(X, y, 0.3, seed=1)
    assert X_train.shape == (7, 2) and X_test.shape == (3, 2)
    assert sorted([*y_train, *y_test]) == list(range(10))
    assert np.array_equal(X_train[:, 0], 2.0 * y_train) and np.array_equal(X_test[:, 0], 2.0 * y_test)
    again = datasets.train_test_split(X, y, 0.3, seed=1)
    other = datasets.train_test_split(X, y, 0.3, seed=2)
    assert np.array_equal(again[1], y_train) and not np.array_equal(other[1], y_train)


@pytest.mark.parametrize("fraction, rows", [(1e-9, 1), (1 - 1e-9, 9)])
def test_split_leaves_a_row_on_each_side(fraction, rows):
    assert len(datasets.train_test_split(np.zeros((10, 1)), np.zeros(10), fraction)[3]) == rows


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (([[1.0]], np.zeros(1)), TypeError, "X must be an array, got list"),
        ((np.zeros((3, 1)), None), TypeError, "y must be an array, got None"),
        ((np.array(3.0), np.zeros(1)), ValueError, "X must have rows"),
        ((np.zeros((3, 1)), np.zeros(2)), ValueError, "y has 2 rows; X has 3"),
        ((np.zeros((1, 1)), np.zeros(1)), ValueError, "at least 2 rows"),
        ((np.zeros((3, 1)), np.zeros(3), 0), ValueError, "test_fraction"),
        ((np.zeros((3, 1)), np.zeros(3), 1.0), ValueError, "test_fraction"),
        ((np.zeros((3, 1)), np.zeros(3), "x"), TypeError, "test_fraction"),
        ((np.zeros((3, 1)), np.zeros(3), 0.5, -1), ValueError, "seed"),
        ((np.zeros((3, 1)), np.zeros(3), 0.5, 1.5), TypeError, "seed"),
    ],
)
def test_split_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        datasets.train_test_split(*arguments)


# ------------------------------------------------------------------------------------------------- files like MNIST


def check(loaded):
    X, y, X_test, y_test = loaded
    assert X.dtype == X_test.dtype == np.float32 and y.dtype == y_test.dtype == np.int64
    expected = np.arange(30, dtype=np.float32).reshape(5, 6) * 8
    assert np.array_equal(X, expected / np.float32(255))
    assert np.array_equal(X_test, (255 - expected[:2]) / np.float32(255))
    assert y.tolist() == [0, 1, 2, 3, 4] and y_test.tolist() == [4, 0]


def test_plain_files(tmp_path, contents):
    check(datasets.load_mnist(write(tmp_path, contents)))


def test_gzipped_files_and_a_str_for_the_folder(tmp_path, contents):
    packed = {key: gzip.compress(data) for key, data in contents.items()}
    check(datasets.load_mnist(str(write(tmp_path, packed, lambda name: name + ".gz"))))


def test_gzipped_without_the_ending(tmp_path, contents):
    check(datasets.load_mnist(write(tmp_path, {key: gzip.compress(data) for key, data in contents.items()})))


def test_names_with_a_dot(tmp_path, contents):
    check(datasets.load_mnist(write(tmp_path, contents, lambda name: name.replace("-idx", ".idx"))))


def test_raw_pixels(tmp_path, contents):
    X = datasets.load_mnist(write(tmp_path, contents), scale=False)[0]
    assert X.dtype == np.float32 and np.array_equal(X, np.arange(30).reshape(5, 6) * 8)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        datasets.load_mnist(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="folder must be a str or a path, got None"):
        datasets.load_mnist(None)


@pytest.mark.parametrize("key", NAMES)
def test_missing_file(tmp_path, contents, key):
    del contents[key]
    with pytest.raises(FileNotFoundError, match=f"{NAMES[key]}: no such file"):
        datasets.load_mnist(write(tmp_path, contents))


@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: b"", "magic number must be 0x0000080., the file has 0 bytes"),
        (lambda data: data[:3], "the file has 3 bytes"),
        (lambda data: b"\x00\x00\x0d\x01" + data[4:], "magic number must be 0x0000080., got 0x00000d01"),
        (lambda data: b"PK\x03\x04" + data[4:], "got 0x504b0304"),
        (lambda data: data[:7], "truncated, the header has 7 of"),
        (lambda data: data[:-1], "truncated, . bytes of data|truncated, .. bytes of data"),
        (lambda data: data + b"\x00", "more data than the .* bytes its header says"),
        (lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], "truncated"),
        (lambda data: data[:4] + b"\x00\x00\x00\x00" + data[8:], "holds no data"),
        (lambda data: gzip.compress(data)[:-9], "truncated or damaged gzip data"),
        (lambda data: gzip.compress(data)[:-5] + b"xxxxx", "truncated or damaged gzip data"),
        (lambda data: b"\x1f\x8b" + data, "truncated or damaged gzip data"),
    ],
)
def test_bad_file(tmp_path, contents, key, change, message):
    contents[key] = change(contents[key])
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load_mnist(write(tmp_path, contents))
    assert NAMES[key] in str(caught.value)


def test_count_mismatch(tmp_path, contents):
    contents["train labels"] = idx([0, 1, 2, 3])
    with pytest.raises(ValueError, match="train-labels.*: holds 4 labels; .*train-images.* holds 5 images"):
        datasets.load_mnist(write(tmp_path, contents))


def test_size_mismatch(tmp_path, contents):
    contents["test images"] = idx(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="t10k-images.*: holds images of 2 x 2 pixels; the training images have 3 x 2"):
        datasets.load_mnist(write(tmp_path, contents))


def test_the_real_mnist():
    if "FASTBP_DATA" not in os.environ:
        pytest.skip("FASTBP_DATA does not name a folder with mnist in it")
    X, y, X_test, y_test = datasets.load_mnist(Path(os.environ["FASTBP_DATA"]) / "mnist")
    assert X.shape == (60000, 784) and X_test.shape == (10000, 784)
    assert X.min() == 0 and X.max() == 1
    assert y[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3] and y_test[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
