"""Data to try a net on: the bundled digits, files in the format of MNIST, and a random split of rows."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._support import declarative, random_streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Labels = NDArray[np.int64]


def load_digits() -> tuple[Images, Labels]:
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


def train_test_split(
    X: NDArray[Any], y: NDArray[Any], test_fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Split rows of X and y at random into a training part and a test part.

    Parameters
    ----------
    X, y : arrays with the same number of rows, at least 2
    test_fraction : float in (0, 1)
        The test part has round(test_fraction * rows) rows. Each part has at least one row.
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
            raise TypeError(f"{name} must be an array, got {declarative.described(value)}")
        if value.ndim == 0:
            raise ValueError(f"{name} must have rows, got an array of dimension 0")
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


def load_mnist(folder: str | os.PathLike[str], scale: bool = True) -> tuple[Images, Labels, Images, Labels]:
    """Read the four IDX files of MNIST, or of a data set in its format, gzipped or not.

    Parameters
    ----------
    folder : str or path
        It holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte,
        each with or without .gz at the end. Names with a dot (train-images.idx3-ubyte) are found too.
    scale : bool
        Whether the pixels, 0 .. 255 in the files, are divided by 255.

    Returns
    -------
    X_train : (rows, pixels) float32 array
        Images row by row, in [0, 1] when scaled.
    y_train : (rows,) int64 array
    X_test, y_test : the same of the test images

    Raises
    ------
    FileNotFoundError
        When the folder or one of the files is missing.
    ValueError
        When a file has the wrong magic number, no rows, or is damaged, truncated or too long; when the numbers of
        images and labels, or the sizes of training and test images, differ.

    Notes
    -----
    Format: http://yann.lecun.com/exdb/mnist/ (big-endian: a magic number, the sizes, then unsigned bytes).
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder must be a str or a path, got {declarative.described(folder)}")
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    X, y = _read_part(folder, "train", scale)
    X_test, y_test = _read_part(folder, "t10k", scale)
    if X.shape[1:] != X_test.shape[1:]:
        expected, got = ("{} x {}".format(*images.shape[1:]) for images in (X, X_test))
        path = _find_idx(folder, "t10k-images", 3)
        raise ValueError(f"{path}: holds images of {got} pixels; the training images have {expected}")
    return X.reshape(len(X), -1), y, X_test.reshape(len(X_test), -1), y_test


def _read_part(folder: str, part: str, scale: bool) -> tuple[Images, Labels]:
    """The images (rows, height, width) and labels of the training or of the test part."""
    images_path = _find_idx(folder, f"{part}-images", 3)
    labels_path = _find_idx(folder, f"{part}-labels", 1)
    images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: holds {len(labels)} labels; {images_path} holds {len(images)} images")
    X = images.astype(np.float32)
    if scale:
        X /= np.float32(255)
    return X, labels.astype(np.int64)


def _find_idx(folder: str, stem: str, ndim: int) -> str:
    """The path of an IDX file under one of the names it may have."""
    names = [f"{stem}{dot}idx{ndim}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(f"{os.path.join(folder, names[0])}: no such file, nor with .gz at the end")


def _read_idx(path: str, ndim: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file with `ndim` dimensions."""
    with open(path, "rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    try:
        opened: Any = gzip.open if gzipped else open
        with opened(path, "rb") as file:
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


def _read_up_to(file: IO[bytes], size: int) -> bytes:
    """The next bytes of a file, `size` or fewer, read in pieces: a header with far too large a size costs no memory."""
    pieces, left = [], size
    while left:
        piece = file.read(min(left, 1 << 22))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
