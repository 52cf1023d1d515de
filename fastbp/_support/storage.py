"""Files of networks and trainers: a JSON description and flat vectors of reals.

A .npz file, NumPy's own format, has the entry `header`, a text of dimension 0, and one entry for each vector; none is a
pickle. A .safetensors file has the same vectors, and the text in its metadata under "fastbp". The text is a JSON object
with "format" ("fastbp"), "version" (2), "checksum", and the description that the caller of `write` gave. The caller of
`read` decides from the description which vectors the file must have.

A file is written under a temporary name in the same folder, synced and renamed, so that the file under the final name
is always complete. Reading trusts nothing: sizes are compared with the description and with the length of the file
before memory is allocated, so that a file takes no more memory than its own length, the text of its header aside.
Vectors are checked by the same rules when they are written and when they are read: what is written can be read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Description = dict[str, Any]
    Vectors = dict[str, NDArray[Any]]
    Expect = Callable[[Description], Mapping[str, "Expected"]]

FORMAT = "fastbp"
VERSION = 2
_LONGEST_HEADER = 1 << 26  # bytes
_LONGEST_NPY_HEADER = 1 << 16  # bytes before the numbers of a vector
_AT_ONCE = 1 << 18  # bytes in one call of zipfile, which makes copies of them


class Expected(NamedTuple):
    """What a vector of a file must be.

    Attributes
    ----------
    dtype : dtype
    size : int
    finite : bool
        Whether inf is refused; nan always is.
    at_least_0 : tuple of slice
        The elements that must not be negative, such as variances.
    """

    dtype: np.dtype[Any]
    size: int
    finite: bool = True
    at_least_0: tuple[slice, ...] = ()


def check_vector(name: str, vector: NDArray[Any], expected: Expected) -> None:
    """Refuse a vector that is not as expected.

    Raises
    ------
    ValueError
        Naming the vector, and the element if one is the cause.
    """
    _check_kind(name, vector.shape, vector.dtype, expected)
    _check_elements(name, vector, expected)


def _check_kind(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: Expected) -> None:
    if dtype.newbyteorder("=") != expected.dtype:
        raise ValueError(f"{name} is of dtype {dtype}; expected {expected.dtype}")
    if shape != (expected.size,):
        raise ValueError(f"{name} has shape {shape}; expected ({expected.size},)")


def _check_elements(name: str, vector: NDArray[Any], expected: Expected) -> None:
    # Extrema are nan where an element is, and need no array of flags beside a long vector.
    extrema = [vector.min(), vector.max()] if vector.size else []
    if np.isnan(extrema).any() or (expected.finite and np.isinf(extrema).any()):
        where = int((~np.isfinite(vector) if expected.finite else np.isnan(vector)).argmax())
        required = "finite" if expected.finite else "a number"
        raise ValueError(f"{name}[{where}] is {vector[where]}; it must be {required}")
    for part in expected.at_least_0:
        elements = vector[part]
        if elements.size and elements.min() < 0:
            where = (part.start or 0) + int(elements.argmin())
            raise ValueError(f"{name}[{where}] is {vector[where]}; it must be at least 0")


def write(path: str | os.PathLike[str], description: Description, vectors: Vectors, expect: Expect) -> None:
    """Write a file completely, or not at all.

    Parameters
    ----------
    path : str or path
        Ends in .npz or .safetensors, which chooses the format. An existing file is replaced and keeps its mode.
    description : dict
        JSON values, without nan and inf.
    vectors : dict of str to 1-D array of reals
    expect : function of the description (dict), returns a dict of str to Expected
        As for `read`.

    Raises
    ------
    TypeError, ValueError
        If the path has another type or ending, or names something other than a file, or a vector is not as expected.
    ImportError
        If the path ends in .safetensors and the safetensors package is missing.
    OSError
        If the file cannot be written; nothing is left behind.
    """
    import json

    path = checked_path(path)
    vectors = {name: np.ascontiguousarray(vector) for name, vector in vectors.items()}
    expected = expect(description)
    for name, vector in vectors.items():
        check_vector(name, vector, expected[name])
    description = {"format": FORMAT, "version": VERSION, **description}
    text = json.dumps({**description, "checksum": _checksum(description, vectors)}, allow_nan=False)
    if path.endswith(".npz"):

        def fill(file: IO[bytes]) -> None:
            np.savez(file, header=np.array(text), **vectors)  # type: ignore[arg-type]

    else:
        data = safetensors_package().numpy.save(vectors, metadata={FORMAT: text})

        def fill(file: IO[bytes]) -> None:
            file.write(data)

    write_whole(path, fill)


def read(path: str | os.PathLike[str], expect: Expect) -> tuple[Description, Vectors]:
    """Read a file that `write` wrote.

    Parameters
    ----------
    path : str or path
    expect : function of the description (dict), returns a dict of str to Expected
        The vectors that the file must have, no more and no fewer. It may raise TypeError, ValueError, KeyError and the
        like for an invalid description, and OtherContents for a valid description of something other than what is
        wanted.

    Returns
    -------
    description : dict
    vectors : dict of str to 1-D array

    Raises
    ------
    ValueError
        If the file is truncated, damaged, of another format or version, lacks an entry, has a vector that is not as
        expected, or has the wrong checksum. The message names the file and the fault.
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


def checked_path(path: str | os.PathLike[str]) -> str:
    """The path as a str, checked to end in .npz or .safetensors."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {type(path).__name__}")
    path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"path must be a str or a path of str, got {type(path).__name__}")
    if not path.endswith((".npz", ".safetensors")):
        raise ValueError(f"path must end in .npz or .safetensors, got {path}")
    return path


def _checksum(description: Description, vectors: Vectors) -> str:
    """SHA-256 of a description and the bytes of its vectors."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode())
    for name in sorted(vectors):
        digest.update(name.encode())
        digest.update(vectors[name].data)
    return digest.hexdigest()


def _checksum_of_read(description: Description, vectors: Vectors) -> str:
    """The checksum of the contents of a file, refused if `write` could not have written them."""
    try:
        return _checksum(description, vectors)
    except (ValueError, RecursionError) as error:  # nan, inf and lone surrogates, which json.loads accepts
        raise _Wrong(f"its header is not JSON ({error})") from error


class OtherContents(ValueError):
    """Raised by `expect` for a valid description of something other than what is wanted."""


class _Wrong(Exception):
    """A fault of a file; the message lacks the file's name."""


def _refused(check: Callable[..., None], *arguments: Any) -> None:
    """Call a check that raises ValueError for a fault of a file."""
    try:
        check(*arguments)
    except ValueError as error:
        raise _Wrong(error) from error


def _described(text: str, expect: Expect) -> tuple[Description, Mapping[str, Expected]]:
    """The description in the text of a header, and the vectors that it requires."""
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


def _same_names(found: Iterable[str], expected: Iterable[str]) -> None:
    missing, others = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise _Wrong(f"lacks {', '.join(missing)}")
    if others:
        raise _Wrong(f"holds {', '.join(others)}, which its header does not speak of")


def _read_npz(path: str, file: IO[bytes], expect: Expect) -> tuple[Description, Vectors]:
    import struct
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(file) as archive:
            sizes = _sizes_of_entries(archive.infolist(), os.fstat(file.fileno()).st_size)
            if "header.npy" not in sizes:
                raise _Wrong("has no header: fastbp did not write it")
            if sizes["header.npy"] > _LONGEST_HEADER:
                raise _Wrong(f"its header has {sizes['header.npy']} bytes; at most {_LONGEST_HEADER} are read")
            with archive.open("header.npy") as entry:
                header = _text(_read_npy("header", entry, sizes["header.npy"], _check_header))
            description, expected = _described(header, expect)
            _same_names([name.removesuffix(".npy") for name in sizes if name != "header.npy"], expected)
            vectors: Vectors = {}
            for name, wanted in expected.items():
                size = sizes[name + ".npy"]
                if size > _LONGEST_NPY_HEADER + wanted.size * wanted.dtype.itemsize:
                    raise _Wrong(f"{name} takes {size} bytes; its header says {wanted.size} numbers")
                with archive.open(name + ".npy") as entry:
                    vector = _read_npy(name, entry, size, partial(_check_kind, name, expected=wanted))
                vectors[name] = vector.astype(wanted.dtype, copy=False)
                _refused(_check_elements, name, vectors[name], wanted)
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


def _sizes_of_entries(entries: Iterable[Any], length: int) -> dict[str, int]:
    """The bytes of each entry of an archive, all of which lie in the file as they are: it has `length` bytes."""
    sizes: dict[str, int] = {}
    for entry in entries:
        if entry.filename in sizes:
            raise _Wrong(f"holds {entry.filename} twice")
        if entry.compress_type or entry.compress_size != entry.file_size:
            raise _Wrong(f"its entry {entry.filename} is compressed, and could fill the memory: it is not read")
        sizes[entry.filename] = entry.file_size
    if sum(sizes.values()) > length:
        raise _Wrong(f"truncated or damaged: its entries have {sum(sizes.values())} bytes, and the file has {length}")
    return sizes


def _check_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind != "U" or shape != ():
        raise ValueError(f"its header is of dtype {dtype} and shape {shape}, not a text")


def _text(array: NDArray[Any]) -> str:
    """The text of an array of dimension 0. NumPy's own conversion does not refuse numbers that are no characters."""
    return array.tobytes().decode("utf-32-be" if array.dtype.str[0] == ">" else "utf-32-le").rstrip("\0")


def _read_npy(
    name: str, file: IO[bytes], size: int, check: Callable[[tuple[int, ...], np.dtype[Any]], None]
) -> NDArray[Any]:
    """The array in a .npy stream of `size` bytes. check(shape, dtype) is called before memory is allocated for it."""
    import tokenize

    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"of .npy version {version}")
    except (  # tokenize: NumPy seeks long integers of Python 2. Warning: of them, where warnings are errors.
        ValueError,
        SyntaxError,
        tokenize.TokenError,
        TypeError,
        LookupError,
        MemoryError,  # of Python's parser, for a literal that is nested too deeply
        Warning,
    ) as error:
        raise _Wrong(f"{name} is not an array NumPy can read ({error})") from error
    if dtype.hasobject:
        raise _Wrong(f"{name} holds Python objects, which are never read")
    _refused(check, shape, dtype)
    if math.prod(shape) * dtype.itemsize > size:
        raise _Wrong(f"{name} is truncated")
    array = np.empty(shape, dtype)
    rest = array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b"")
    while rest:
        count = file.readinto(rest[:_AT_ONCE])  # type: ignore[attr-defined]
        if not count:
            raise _Wrong(f"{name} is truncated")
        rest = rest[count:]
    if file.read(1):  # reads to the end, where zipfile compares the checksum
        raise _Wrong(f"{name} has more data than its shape says")
    return array


def safetensors_package() -> Any:
    """The safetensors package, or an ImportError that names the extra."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files in .safetensors need the safetensors package: pip install 'fastbp[safetensors]', or use .npz"
        ) from error
    return safetensors


def _read_safetensors(path: str, file: IO[bytes], expect: Expect) -> tuple[Description, Vectors]:
    safetensors = safetensors_package()
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            metadata = tensors.metadata() or {}
            if FORMAT not in metadata:
                raise _Wrong("has no header: fastbp did not write it")
            description, expected = _described(metadata[FORMAT], expect)
            _same_names(tensors.keys(), expected)
            vectors: Vectors = {}
            for name, wanted in expected.items():
                shape = tuple(tensors.get_slice(name).get_shape())
                _refused(_check_kind, name, shape, wanted.dtype, wanted)
                vectors[name] = tensors.get_tensor(name)
                _refused(check_vector, name, vectors[name], wanted)
            return description, vectors
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _Wrong(f"truncated or damaged, or not a .safetensors file ({error})") from error


def write_whole(path: str, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file completely, or not at all: fill(file) writes under a temporary name, then the file is renamed.

    Parameters
    ----------
    path : str
        An existing file is replaced and keeps its mode.
    fill : callable
        Writes to the binary file that it is called with.

    Raises
    ------
    ValueError
        If the path names something other than a file.
    OSError
        If the file cannot be written; nothing is left behind.
    """
    given, path = path, os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    mode = None
    if os.path.exists(path):
        if not os.path.isfile(path):
            raise ValueError(f"path must name a file, and {path} is something else")
        mode = os.stat(path).st_mode & 0o777
    temporary = os.path.join(folder, f".fastbp-{os.urandom(8).hex()}.tmp")
    # os.open in place of tempfile: the mode follows the umask, as for any new file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        # A KeyboardInterrupt may come right after the renaming, when the temporary file no longer exists.
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        _name_file(error, given)
        raise
    if os.name == "posix":
        # The file is complete under its name. Not every folder can be opened, nor synced on every file system.
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def append_whole(file: FileIO, data: bytes) -> None:
    """Append to a file completely, or not at all.

    Parameters
    ----------
    file : FileIO
        Opened for appending, without a buffer.
    data : bytes

    Raises
    ------
    OSError
        If the file cannot be written; it then has its former length.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
    except BaseException as error:
        with suppress(OSError):
            file.truncate(end)
        _name_file(error, os.fspath(file.name))
        raise


def _name_file(error: BaseException, path: str) -> None:
    """Let an OSError name the file that was to be written: that of a full disk names none, others a temporary one."""
    if isinstance(error, OSError):
        error.filename, error.filename2 = path, None


def check_destination(name: str, path: str) -> None:
    """Raise if a file cannot be written, before the work whose result it is meant for.

    Parameters
    ----------
    name : str
        The name of the argument, with which messages begin.
    path : str

    Raises
    ------
    ValueError, OSError
        If the folder does not exist or is not writable, or the path names something other than a file.
    """
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: {folder}: no such folder")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{name}: {path} is not a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{name}: {folder}: no permission to write")
