"""What a model file says about itself: inputs, outputs, opset, weight files. Weights outside it are never read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from harness.errors import InputError
from harness.sources.claims import MAX_BYTES, check_external, check_model, is_external
from harness.sources.walk import tensors

_NUMPY_NAMES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz",
    "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz",
    "FLOAT8E8M0": "float8_e8m0fnu",
    "FLOAT6E2M3": "float6_e2m3fn",
    "FLOAT6E3M2": "float6_e3m2fn",
    "FLOAT4E2M1": "float4_e2m1fn",
}
"""Where numpy and ml_dtypes call a type otherwise than ONNX does."""
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a graph."""

    name: str
    dtype: str
    """As numpy or ml_dtypes call it ("float32", "bfloat16", "int4"), or "string"; of the elements for a sequence."""
    dims: tuple[int | str | None, ...] | None
    """A size, a symbolic name or None (unknown) for every axis; None when even the rank is unknown."""
    kind: str = "tensor"
    """"tensor", "sequence", "optional", "map", "sparse tensor" or "opaque"."""


@dataclass(frozen=True)
class ModelInfo:
    """What a caller of the model must know; initializers are not inputs."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int


def inspect(model: Path) -> ModelInfo:
    """Inputs, outputs and opset of an ONNX file; InputError when it is not a usable one."""
    return _examine(*identity(model))[0]


def external_files(model: Path) -> tuple[Path, ...]:
    """The files beside the model that hold its weights, sorted; InputError when one is missing or lies elsewhere."""
    where = str(model)
    named = _examine(*identity(model))[1]
    files = {location: _beside(model, location) for location in sorted({_location(tensor) for tensor in named})}
    for tensor in named:
        check_external(tensor, files[_location(tensor)], where)
    return tuple(files.values())


def identity(file: Path) -> tuple[str, int, int]:
    """Path, size in bytes and time of change in ns: while they stay, the content is taken to stay as well."""
    try:
        status = file.stat()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from None
    if not file.is_file():
        raise InputError(f"{file}: is not a file")
    return str(file), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _examine(path: str, size: int, mtime_ns: int) -> tuple[ModelInfo, tuple[Any, ...]]:
    """What a file says about itself, and its tensors whose values lie in other files."""
    del size, mtime_ns  # only part of the memo's key
    model = load_graph(Path(path))
    check_model(model, path)
    weights = {initializer.name for initializer in model.graph.initializer}
    weights |= {initializer.values.name for initializer in model.graph.sparse_initializer}
    info = ModelInfo(
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        opset=opset(model),
    )
    return info, tuple(_outline(tensor) for tensor in tensors(model) if is_external(tensor))


def _outline(tensor: Any) -> Any:
    """The tensor by itself: one of a large model must not hold all of it in memory."""
    return onnx.TensorProto(name=tensor.name, dims=tensor.dims, external_data=tensor.external_data)


def load_graph(path: Path) -> Any:
    """The ModelProto of a file, without weights that lie outside it; InputError says why it is not one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path}: is larger than 2 GiB, which no ONNX file can be; keep its weights in a file beside it"
            )
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, ValueError):
        raise InputError(f"{path}: {_why_no_model(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not model.HasField("graph") or not model.graph.output or not opset(model):
        raise InputError(f"{path}: {_why_no_model(path)}")
    return model


def opset(model: Any) -> int:
    """The version of the standard operators that a ModelProto uses; 0 when it does not say."""
    return max(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=_custom(model)
    )


def _custom(model: Any) -> int:
    # A model of custom operators only is valid; the standard set does not matter to it.
    return 1 if len(model.opset_import) else 0


def _why_no_model(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(len(_LFS))
    if not head:
        return "is empty; write or fetch the model again"
    if head == _LFS:
        return "is a Git LFS pointer, not the model; run `git lfs pull`"
    return "is not a complete ONNX model (truncated or of another format); write or fetch it again"


def _tensor(value: Any) -> TensorInfo:
    kind = value.type.WhichOneof("value") or "tensor_type"
    inner = value.type
    while inner.WhichOneof("value") in ("sequence_type", "optional_type"):
        inner = getattr(inner, inner.WhichOneof("value")).elem_type
    tensor = inner.sparse_tensor_type if inner.HasField("sparse_tensor_type") else inner.tensor_type
    return TensorInfo(
        name=value.name,
        dtype=dtype_name(tensor.elem_type),
        dims=tuple(_dim(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None,
        kind=kind.removesuffix("_type").replace("_", " "),
    )


def dtype_name(code: int) -> str:
    """The numpy (or ml_dtypes) name of an ONNX element type."""
    if code not in onnx.TensorProto.DataType.values():
        return f"unknown type {code}"
    name: str = onnx.TensorProto.DataType.Name(code)
    return _NUMPY_NAMES.get(name, name.lower())


def dtype_code(name: str) -> int:
    """The ONNX element type that `dtype_name` calls so; KeyError when there is none."""
    codes: dict[str, int] = {dtype_name(code): code for code in onnx.TensorProto.DataType.values()}
    return codes[name]


def _dim(dim: Any) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _beside(model: Path, location: str) -> Path:
    # Symlinks are followed first: a model from elsewhere must not make us read, or hash, other people's files.
    file = model.parent / location
    folder = model.parent.resolve()
    if not location or "\0" in location or not file.resolve().is_relative_to(folder):
        raise InputError(f"{model}: its weights at '{location}' lie outside {folder}; keep them beside the model")
    if not _is_file(file):
        raise InputError(f"{model}: its weights '{location}' are not in {folder}; put that file beside the model")
    return file


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long for the file system
        return False
