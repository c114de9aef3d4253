"""Arrays from .npz, .npy and .pb (TensorProto) files. Nothing in them is ever executed (no pickles).

What a file claims to hold is compared with what it has, and with this machine's memory, before memory is taken for it.
"""

from __future__ import annotations

import builtins
import math
import warnings
from lzma import LZMAError
from pathlib import Path
from struct import error as StructError  # noqa: N812 - an exception class
from tokenize import TokenError
from typing import Any, BinaryIO, cast
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError  # noqa: N812 - an exception class

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import numpy_helper

from harness.errors import InputError, did_you_mean
from harness.inputs.dtypes import Array
from harness.inputs.room import check_room
from harness.sources.claims import check_stored

Slice = tuple[int | None, ...]
_DAMAGED = (
    *(ValueError, TypeError, KeyError, IndexError, OSError, EOFError, OverflowError, RuntimeError),
    *(SyntaxError, TokenError, BadZipFile, ZlibError, LZMAError, StructError, MemoryError),
)
MAX_PROTO_BYTES = 2**31 - 1
"""What protobuf takes."""
"""What numpy and zipfile raise for files that are damaged, encrypted or hold Python objects."""


def read_array(file: Path, key: str | None = None, slice: Slice | None = None) -> Array:  # noqa: A002 - as suites call it
    """The array of a file, or the `slice` (start, stop, step) of its rows; InputError says what is wrong with it.

    `key` names an array of an .npz; it is not needed when there is only one.
    """
    array = _read(file, key)
    if slice is None:
        return array
    if array.ndim == 0:
        raise InputError(f"{_where(file, key)}: holds a single value, so `slice` has no rows to choose from")
    return array[builtins.slice(*slice)]


def _read(file: Path, key: str | None) -> Array:
    if not file.is_file():
        raise InputError(f"{file}: there is no such file{_neighbour(file)}")
    if file.suffix != ".npz" and key is not None:
        raise InputError(f"{file}: holds one array without a name; leave out `key: {key}`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a header is as Python 2 wrote it
        match file.suffix:
            case ".npz":
                return _read_npz(file, key)
            case ".npy":
                return _read_npy(file)
            case ".pb":
                return read_tensor(file)
    raise InputError(f"{file}: arrays are read from .npz, .npy and .pb (TensorProto) files")


def _neighbour(file: Path) -> str:
    return did_you_mean(file.name, [entry.name for entry in file.parent.glob(f"*{file.suffix}")])


def _where(file: Path, key: str | None) -> str:
    return f"{file}[{key}]" if key else str(file)


def _read_npy(file: Path) -> Array:
    try:
        with file.open("rb") as stream:
            _checked(file, stream, file.stat().st_size)
        return np.asarray(np.lib.format.open_memmap(file, mode="r"))
    except _DAMAGED as error:
        raise InputError(f"{file}: cannot be read as .npy: {error}") from None


def _read_npz(file: Path, key: str | None) -> Array:
    try:
        with file.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as archive:
            name = _chosen(file, key, archive.files)
            _check_member(file, cast(ZipFile, archive.zip), name)
            return np.asarray(archive[name])
    except _DAMAGED as error:
        raise InputError(f"{file}: cannot be read as .npz: {error}") from None


def _check_member(file: Path, archive: ZipFile, name: str) -> None:
    member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    with archive.open(member) as stream:  # gives no more than the size that it claims
        _checked(file, cast(BinaryIO, stream), member.file_size)


def _checked(file: Path, stream: BinaryIO, size: int) -> None:
    """ValueError for an array that is not as long as its header says, OutOfMemory for one that is too large."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format holds no plain arrays")
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects (a pickle), which are never loaded; store numbers or plain text")
    if dtype.itemsize == 0 or any(isinstance(size, bool) or size < 0 for size in shape):
        raise ValueError(f"its header says {dtype} {shape}")
    claimed = math.prod(shape) * dtype.itemsize
    if size - stream.tell() < claimed:
        raise ValueError(f"its header says {dtype} {shape}, which is more than the file holds")
    check_room(str(file), shape, dtype.itemsize)


def keys(file: Path) -> tuple[str, ...]:
    """The names of the arrays in an .npz file; InputError when it is damaged."""
    try:
        with file.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as archive:
            return tuple(archive.files)
    except _DAMAGED as error:
        raise InputError(f"{file}: cannot be read as .npz: {error}") from None


def _chosen(file: Path, key: str | None, keys: list[str]) -> str:
    known = ", ".join(sorted(keys)) or "no array at all"
    if key is None and len(keys) != 1:
        raise InputError(f"{file}: `key` must say which array: it holds {known}")
    if key is not None and key not in keys:
        near = did_you_mean(key, keys) if len(keys) > 1 else ""
        raise InputError(f"{file}: has no array '{key}'{near if near.startswith(',') else ''}; it holds {known}")
    return keys[0] if key is None else key


def read_tensor(file: Path) -> Array:
    """The array of a serialised TensorProto; InputError when it is damaged or keeps its data elsewhere."""
    return to_array(read_proto(file), file)


def read_proto(file: Path) -> onnx.TensorProto:
    """The TensorProto of a .pb file; InputError when it is damaged."""
    try:
        if file.stat().st_size > MAX_PROTO_BYTES:
            raise InputError(f"{file}: is larger than 2 GiB, which no TensorProto is")
        tensor: onnx.TensorProto = onnx.TensorProto.FromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise InputError(f"{file}: cannot be read as a TensorProto: {error}") from None
    return tensor


def to_array(tensor: onnx.TensorProto, file: Path) -> Array:
    """The values of a TensorProto that was read from `file`; InputError when they are not in it."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{file}: keeps its values in another file, which is not read; store them inside")
    check_stored(tensor, str(file))
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read as a TensorProto: {error}") from None
