"""What a tensor in an ONNX file claims to hold, against what is there: a few bytes may claim any amount of memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx

from harness.errors import InputError

MAX_BYTES = 2**31 - 1
"""A protobuf message holds no more; a sparse tensor may stand for no larger one."""
_PER_STORED = 4
"""Elements that a stored byte, or one entry of the typed fields, holds at most: two bits each."""
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check_stored(tensor: Any, where: str) -> None:
    """InputError for a TensorProto whose shape is none, or is more than the values that come with it."""
    count = _count(tensor.dims, tensor.name, where)
    stored = len(tensor.raw_data) or max(len(getattr(tensor, field)) for field in _FIELDS)
    if count > stored * _PER_STORED:
        raise InputError(
            f"{where}: the tensor '{tensor.name}' claims {count} values and holds {stored}; write it again"
        )


def check_sparse(sparse: Any, where: str) -> None:
    """InputError for a SparseTensorProto that stands for a tensor larger than any stored one."""
    if _count(sparse.dims, sparse.values.name, where) > MAX_BYTES:
        raise InputError(f"{where}: the sparse tensor '{sparse.values.name}' stands for {list(sparse.dims)} values")


def check_external(tensor: Any, file: Path, where: str) -> None:
    """InputError where the part of a weight file that a tensor names is not in it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = (_number(entries.get(key), tensor.name, where) for key in ("offset", "length"))
    size = file.stat().st_size
    end = offset + (length or 0)
    if end > size or _count(tensor.dims, tensor.name, where) > (length or size - offset) * _PER_STORED:
        raise InputError(
            f"{where}: '{tensor.name}' is not in {file.name}, which has {size} bytes; fetch both files again"
        )


def is_external(tensor: Any) -> bool:
    """Whether the values of a TensorProto lie in a file beside the model."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _number(text: str | None, name: str, where: str) -> int:
    if text is not None and not (text.isdecimal() and text.isascii() and len(text) < 20):
        raise InputError(
            f"{where}: '{name}' lies at '{text:.40}' of its weight file, which is no place; write it again"
        )
    return int(text or 0)


def _count(dims: Any, name: str, where: str) -> int:
    if any(size < 0 for size in dims):
        raise InputError(f"{where}: the tensor '{name}' has the shape {list(dims)}; write it again")
    return math.prod(dims)
