"""What is refused in an ONNX file before a runtime sees it.

That is a tensor that claims more than is there (a few bytes may claim any amount of memory), a built engine, and names
that are no text or stand twice.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

from harness.errors import InputError
from harness.sources.walk import graphs, nodes, tensors, texts

MAX_BYTES = 2**31 - 1
"""A protobuf message holds no more; a sparse tensor may stand for no larger one."""
_ENGINES = frozenset({"EPContext"})
"""Operators that hold a built engine, which is code: runtimes load it as it is."""
_PER_STORED = 4
"""Elements that a stored byte, or one entry of the typed fields, holds at most: two bits each."""
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check_model(model: Any, where: str) -> None:
    """InputError for a ModelProto with any of these; weights in other files are not looked at."""
    _check_names(model, where)
    for node in nodes(model):
        if node.op_type in _ENGINES:
            raise InputError(
                f"{where}: the node '{node.name}' ({node.op_type}) is a built engine, which is code and is not loaded; "
                "give the model that it was built from"
            )
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                check_sparse(attribute.sparse_tensor, where)
            for sparse in attribute.sparse_tensors:
                check_sparse(sparse, where)
    for sparse in (sparse for graph in graphs(model) for sparse in graph.sparse_initializer):
        check_sparse(sparse, where)
    for tensor in tensors(model):
        if not is_external(tensor):
            check_stored(tensor, where)


def _check_names(model: Any, where: str) -> None:
    for text in texts(model):
        if not isinstance(text, str):  # protobuf gives the bytes as they are
            raise InputError(f"{where}: the name {text!r:.80} is not UTF-8 text; write the model again")
    for role, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        for name, number in Counter(value.name for value in values).items():
            if number > 1:
                raise InputError(f"{where}: {number} {role} have the name '{name}'; write the model again")


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
