"""Files of nets and trainers: one JSON text that describes, and flat vectors of reals.

A .npz file is NumPy's own format: `header`, a text of dimension 0, and one entry a vector, none of them a pickle. A
.safetensors file holds the same vectors, and the text in its metadata under "fastbp". The text is an object with
"format" ("fastbp"), "version" (2), "checksum" and whatever the writer described. Who reads says, from
the text, which vectors there must be.

A file is written under a temporary name in the same folder, synced and renamed, so that what stands under its name is
always whole. Reading trusts nothing: sizes are compared with the description before memory is taken for them.
"""

import os
from contextlib import suppress
from functools import partial

import numpy as np

FORMAT = "fastbp"
VERSION = 2
_LONGEST_HEADER = 1 << 26  # bytes
_LONGEST_NPY_HEADER = 1 << 16  # bytes before the numbers of a vector


def write(path, description, vectors):
    """Write a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        Ends in .npz or .safetensors, which chooses the format. An existing file is replaced and keeps its mode.
    description : dict
        What JSON can say: no nan, no inf.
    vectors : dict of str to 1-D array of reals

    Raises
    ------
    TypeError, ValueError
        For a path of another type or ending, or one that names something other than a file.
    ImportError
        For .safetensors without the safetensors package.
    OSError
        When the file cannot be written; nothing is left behind.
    """
    import json

    path = checked_path(path)
    vectors = {name: np.ascontiguousarray(vector) for name, vector in vectors.items()}
    description = {"format": FORMAT, "version": VERSION, **description}
    text = json.dumps({**description, "checksum": _checksum(description, vectors)}, allow_nan=False)
    if path.endswith(".npz"):

        def fill(file):
            np.savez(file, header=np.array(text), **vectors)

    else:
        data = safetensors_package().numpy.save(vectors, metadata={FORMAT: text})

        def fill(file):
            file.write(data)

    write_whole(path, fill)


def read(path, expect):
    """Read a file that `write` wrote.

    Parameters
    ----------
    path : str or path
    expect : function of the description (dict), returns a dict of str to (dtype, size, finite)
        The vectors there must be, no more and no fewer, and whether inf is refused; nan always is. It may raise
        TypeError, ValueError, KeyError and the like for a description that makes no sense, OtherContents for one that
        does.

    Returns
    -------
    description : dict
    vectors : dict of str to 1-D array

    Raises
    ------
    ValueError
        Naming the file and what is wrong with it: truncated, damaged, of another format or version, entries missing,
        of the wrong dtype or size, holding nan or inf, or with a checksum that is not theirs.
    TypeError, ImportError, OSError
        As for `write`.
    """
    path = checked_path(path)
    with open(path, "rb") as file:
        try:
            reader = _read_npz if path.endswith(".npz") else _read_safetensors
            description, vectors = reader(path, file, expect)
            if description.pop("checksum", None) != _checksum_of_read(description, vectors):
                raise _Wrong("its checksum is that of other contents: it is damaged, or was changed")
            return description, vectors
        except _Wrong as error:
            raise ValueError(f"{path}: {error}") from error


def checked_path(path):
    """The path as a str, when it is one and ends in .npz or .safetensors."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {type(path).__name__}")
    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"path must be a str or a path of str, got {type(path).__name__}")
    if not path.endswith((".npz", ".safetensors")):
        raise ValueError(f"path must end in .npz or .safetensors, got {path}")
    return path


def _checksum(description, vectors):
    """SHA-256 of a description and the bytes of its vectors."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode())
    for name in sorted(vectors):
        digest.update(name.encode())
        digest.update(vectors[name])
    return digest.hexdigest()


def _checksum_of_read(description, vectors):
    """That of what a file held, where it is what `write` could have written."""
    try:
        return _checksum(description, vectors)
    except (ValueError, RecursionError) as error:  # nan, inf, and half characters, which Python reads as JSON
        raise _Wrong(f"its header is not JSON ({error})") from error


class OtherContents(ValueError):
    """What `expect` raises for a description that makes sense, but is not of what is wanted."""


class _Wrong(Exception):
    """What is wrong with a file."""


def _described(text, expect):
    """The description in a header's text, and the vectors it asks for."""
    import json

    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"its header is not JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise _Wrong("its header is not one of fastbp")
    version = description.get("version")
    if version != VERSION:
        raise _Wrong(f"is of format version {version}; this fastbp reads version {VERSION}")
    try:
        return description, expect(description)
    except OtherContents as error:
        raise _Wrong(error) from error
    except KeyError as error:
        raise _Wrong(f"its header lacks {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _Wrong(f"its header makes no sense: {error}") from error


def _same_names(found, expected):
    missing, others = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise _Wrong(f"lacks {', '.join(missing)}")
    if others:
        raise _Wrong(f"holds {', '.join(others)}, which its header does not speak of")


def _fits(name, expected, shape, dtype):
    expected_dtype, size, _ = expected
    if dtype.newbyteorder("=") != expected_dtype:
        raise _Wrong(f"{name} is of dtype {dtype}; its header says {expected_dtype}")
    if shape != (size,):
        raise _Wrong(f"{name} has shape {shape}; its header says ({size},)")


def _clean(name, vector, finite):
    bad = ~np.isfinite(vector) if finite else np.isnan(vector)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise _Wrong(f"{name}[{where}] is {vector[where]}")


def _read_npz(path, file, expect):
    import struct
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if "header.npy" not in sizes:
                raise _Wrong("has no header: fastbp did not write it")
            if sizes["header.npy"] > _LONGEST_HEADER:
                raise _Wrong(f"its header has {sizes['header.npy']} bytes; at most {_LONGEST_HEADER} are read")
            with archive.open("header.npy") as entry:
                header = _read_npy("header", entry, _checked_header).item()
            description, expected = _described(header, expect)
            _same_names([name.removesuffix(".npy") for name in sizes if name != "header.npy"], expected)
            vectors = {}
            for name, wanted in expected.items():
                if sizes[name + ".npy"] > _LONGEST_NPY_HEADER + wanted[1] * wanted[0].itemsize:
                    raise _Wrong(f"{name} takes {sizes[name + '.npy']} bytes; its header says {wanted[1]} numbers")
                with archive.open(name + ".npy") as entry:
                    vector = _read_npy(name, entry, partial(_fits, name, wanted))
                vectors[name] = vector.astype(wanted[0], copy=False)
                _clean(name, vectors[name], wanted[2])
            return description, vectors
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        RuntimeError,
        OSError,
        ValueError,
        LookupError,
    ) as error:
        raise _Wrong(f"truncated or damaged, or not a .npz file ({error})") from error


def _checked_header(shape, dtype):
    if dtype.kind != "U" or shape != ():
        raise _Wrong(f"its header is of dtype {dtype} and shape {shape}, not a text")
    if dtype.itemsize > _LONGEST_HEADER:
        raise _Wrong(f"its header has {dtype.itemsize} bytes; at most {_LONGEST_HEADER} are read")


def _read_npy(name, file, check):
    """The array in a .npy stream; check(shape, dtype) comes before memory is taken for it."""
    import tokenize

    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"of .npy version {version}")
    except (ValueError, SyntaxError, tokenize.TokenError) as error:  # NumPy looks for Python 2's numbers in it
        raise _Wrong(f"{name} is not an array NumPy can read ({error})") from error
    if dtype.hasobject:
        raise _Wrong(f"{name} holds Python objects, which are never read")
    check(shape, dtype)
    array = np.empty(shape, dtype)
    rest = memoryview(array.reshape(-1).view(np.uint8)) if array.nbytes else memoryview(b"")
    while rest:
        count = file.readinto(rest)
        if not count:
            raise _Wrong(f"{name} is truncated")
        rest = rest[count:]
    if file.read(1):  # to the end, where the archive compares its checksum
        raise _Wrong(f"{name} has more data than its shape says")
    return array


def safetensors_package():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files in .safetensors need the safetensors package: pip install 'fastbp[safetensors]', or use .npz"
        ) from error
    return safetensors


def _read_safetensors(path, file, expect):
    safetensors = safetensors_package()
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            metadata = tensors.metadata() or {}
            if FORMAT not in metadata:
                raise _Wrong("has no header: fastbp did not write it")
            description, expected = _described(metadata[FORMAT], expect)
            _same_names(tensors.keys(), expected)
            vectors = {}
            for name, wanted in expected.items():
                shape = tuple(tensors.get_slice(name).get_shape())
                if shape != (wanted[1],):
                    raise _Wrong(f"{name} has shape {shape}; its header says ({wanted[1]},)")
                vectors[name] = tensors.get_tensor(name)
                _fits(name, wanted, vectors[name].shape, vectors[name].dtype)
                _clean(name, vectors[name], wanted[2])
            return description, vectors
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _Wrong(f"truncated or damaged, or not a .safetensors file ({error})") from error


def write_whole(path, fill):
    """Write a file, whole or not at all: by fill(file) under a temporary name, which then becomes its own.

    Parameters
    ----------
    path : str
        An existing file is replaced and keeps its mode.
    fill : callable
        Is given a binary file to write to.

    Raises
    ------
    ValueError
        When the path names something other than a file.
    OSError
        When the file cannot be written; nothing is left behind.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    mode = None
    if os.path.exists(path):
        if not os.path.isfile(path):
            raise ValueError(f"path must name a file, and {path} is something else")
        mode = os.stat(path).st_mode & 0o777
    temporary = os.path.join(folder, f".fastbp-{os.urandom(8).hex()}.tmp")
    # os.open and not tempfile: the mode then follows the umask, as for any new file.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        # Ctrl-C may be heard right after the renaming, when there is nothing left to remove.
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say of which file
            error.filename = path
        raise
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_destination(name, path):
    """Refuse, before the work whose result it is to hold, a file that cannot be written.

    Parameters
    ----------
    name : str
        What the path was given as: it opens the message.
    path : str

    Raises
    ------
    ValueError, OSError
        When there is no such folder, no permission, or something other than a file by that name.
    """
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: {folder}: no such folder")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name}: {path} is not a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{name}: {folder}: no permission to write")
