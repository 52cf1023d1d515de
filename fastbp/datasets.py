"""Data to try a net on: the bundled digits, and files in the format of MNIST."""

import gzip
import math
import os
import zlib

import numpy as np

from . import _core
from ._support import declarative, random_streams


def load_digits():
    """The bundled handwritten digits: 1,797 images of 8 x 8 pixels.

    Returns
    -------
    X : (1797, 64) float32 array
        Images row by row, scaled from 0 .. 16 to [0, 1].
    y : (1797,) int64 array
        The digit, 0 .. 9.

    Notes
    -----
    Source: UCI Machine Learning Repository, Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998),
    the test set, in the order of scikit-learn's copy. Licence: CC BY 4.0.
    """
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "digits.npz")
    with np.load(path, allow_pickle=False) as file:
        return file["X"].astype(np.float32) / np.float32(16), file["y"].astype(np.int64)


def train_test_split(X, y, test_fraction=0.2, seed=0):
    """Rows of X and y in a random order, cut in two.

    Parameters
    ----------
    X, y : arrays with as many rows as each other, at least 2
    test_fraction : float in (0, 1)
        The test part gets round(test_fraction * rows) rows, but at least one, and so does the training part.
    seed : int in [0, 2**64)

    Returns
    -------
    X_train, y_train, X_test, y_test : arrays (copies)

    Raises
    ------
    TypeError, ValueError
        When X or y is not an array, the row counts differ, there are fewer than 2 rows, or test_fraction or seed is
        out of range.
    """
    for name, value in (("X", X), ("y", y)):
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name} must be an array, got {type(value).__name__}")
        if value.ndim == 0:
            raise ValueError(f"{name} must have rows, got an array of no dimension")
    if len(X) != len(y):
        raise ValueError(f"y has {len(y)} rows; X has {len(X)}")
    if len(X) < 2:
        raise ValueError(f"X must have at least 2 rows to split, got {len(X)}")
    test_fraction = declarative.number("test_fraction", test_fraction, above=0, below=1)
    seed = declarative.seed("seed", seed)
    order = _core.random_permutation(seed, random_streams.train_test_split(), len(X))
    n_test = min(max(math.floor(test_fraction * len(X) + 0.5), 1), len(X) - 1)
    train, test = order[n_test:], order[:n_test]
    return X[train], y[train], X[test], y[test]


def load_mnist(folder, scale=True):
    """The four IDX files of MNIST, or of a data set in its format, gzipped or not.

    Parameters
    ----------
    folder : str or path
        Holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte,
        each as it is or with .gz at the end. Names with a dot (train-images.idx3-ubyte) are found too.
    scale : bool
        Divide the pixels by 255. False leaves them as they are stored, 0 .. 255.

    Returns
    -------
    X_train : (rows, pixels) float32 array
        Images row by row, in [0, 1] when scaled.
    y_train : (rows,) int64 array
    X_test, y_test : likewise

    Raises
    ------
    FileNotFoundError
        When the folder or one of the files is missing.
    ValueError
        When a file has the wrong magic number, is damaged, truncated or too long, has no rows, or when images and
        labels, or training and test images, do not fit each other.

    Notes
    -----
    Format: http://yann.lecun.com/exdb/mnist/ (big-endian: a magic number, the sizes, then unsigned bytes).
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder must be a str or a path, got {type(folder).__name__}")
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    arrays = []
    for part in ("train", "t10k"):
        images_path = _find_idx(folder, f"{part}-images", 3)
        labels_path = _find_idx(folder, f"{part}-labels", 1)
        images = _read_idx(images_path, 3)
        labels = _read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise ValueError(f"{labels_path}: holds {len(labels)} labels; {images_path} holds {len(images)} images")
        if arrays and arrays[0].shape[1:] != images.shape[1:]:
            expected, got = ("{} x {}".format(*a.shape[1:]) for a in (arrays[0], images))
            raise ValueError(f"{images_path}: holds images of {got} pixels; those to train on have {expected}")
        arrays += [images, labels]
    result = []
    for images, labels in (arrays[:2], arrays[2:]):
        X = images.reshape(len(images), -1).astype(np.float32)
        if scale:
            X /= np.float32(255)
        result += [X, labels.astype(np.int64)]
    return tuple(result)


def _find_idx(folder, stem, ndim):
    names = [f"{stem}{dot}idx{ndim}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(f"{os.path.join(folder, names[0])}: no such file, nor with .gz at the end")


def _read_idx(path, ndim):
    """The array of unsigned bytes in an IDX file of so many dimensions."""
    with open(path, "rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if gzipped else open)(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            magic = int.from_bytes(header[:4], "big")
            expected = 0x0800 + ndim
            if len(header) < 4 or magic != expected:
                got = f"got 0x{magic:08x}" if len(header) >= 4 else f"the file has {len(header)} bytes"
                raise ValueError(f"{path}: the magic number must be 0x{expected:08x}, {got}")
            if len(header) < 4 + 4 * ndim:
                raise ValueError(f"{path}: truncated, the header has {len(header)} of {4 + 4 * ndim} bytes")
            shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
            size = math.prod(shape)
            if size == 0:
                raise ValueError(f"{path}: holds no data, its sizes are {shape}")
            data = _read_up_to(file, size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: truncated or damaged gzip data ({error})") from error
    if len(data) < size:
        raise ValueError(f"{path}: truncated, {len(data)} bytes of data; its header says {size}")
    if len(data) > size:
        raise ValueError(f"{path}: more data than the {size} bytes its header says")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_up_to(file, size):
    # By pieces, so that a header that promises far too much costs no memory.
    pieces, left = [], size
    while left:
        piece = file.read(min(left, 1 << 22))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
