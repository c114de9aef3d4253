"""Tensors on their way into ONNX Runtime and out of it; bit by bit where NumPy has no type of its own for them."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import ml_dtypes
import numpy as np

from harness.backends.base import Tensor
from harness.errors import Unsupported
from harness.inputs.dtypes import family, numpy_dtype
from harness.sources.inspect import dtype_code, dtype_name


def is_native(value: Tensor) -> bool:
    """Whether the type is NumPy's own: ONNX Runtime takes no others from an array."""
    return value.dtype.isbuiltin == 1


def has_native(onnx_type: str) -> bool:
    """Whether NumPy has a type for what ONNX Runtime calls for example "tensor(bfloat16)"."""
    return not re.fullmatch(r"tensor\((bfloat16|float[48]e\w+|u?int[24])\)", onnx_type)


def contiguous(value: Tensor) -> Tensor:
    """The array in C order; unlike `np.ascontiguousarray` it leaves a scalar without axes."""
    return np.asarray(value, order="C")


def to_ortvalue(value: Tensor) -> Any:
    """The array as a value on the host, of any ONNX type but string; it must outlive the value."""
    import onnxruntime

    if is_native(value):
        return onnxruntime.OrtValue.ortvalue_from_numpy(contiguous(value))
    code = dtype_code(value.dtype.name)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(_packed(contiguous(value)), code)


def from_ortvalue(value: Any) -> Any:
    """A tensor as an array of its own type, whatever that is; other values as ONNX Runtime has them."""
    if not value.is_tensor() or has_native(value.data_type()):
        return value.numpy() if value.is_tensor() else value
    if value.device_name() != "cpu":
        raise Unsupported(f"a {value.data_type()} on {value.device_name()} cannot be read: not supported yet")
    dtype = numpy_dtype(dtype_name(value.element_type()))
    raw = np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), np.uint8)
    return _unpacked(raw, dtype, tuple(value.shape()))


def _bits(dtype: np.dtype[Any]) -> int:
    info: Any = ml_dtypes.iinfo if family(dtype) == "integer" else ml_dtypes.finfo
    return int(info(dtype).bits)


def _packed(value: Tensor) -> Tensor:
    """The bits as unsigned integers in the array's shape; below 8 bits packed, lowest bits first (ONNX's TensorProto).

    ONNX Runtime reads as many bytes as the packed elements take; what follows them is not looked at.
    """
    width = _bits(value.dtype)
    raw: Tensor = value.view(f"u{value.dtype.itemsize}")
    if width >= 8:
        return raw
    if 8 % width:
        raise Unsupported(f"onnxruntime has no {value.dtype.name} tensors")
    each = 8 // width
    fields = np.zeros(-(-value.size // each) * each, np.uint8)
    fields[: value.size] = raw.ravel() & (2**width - 1)
    shifted = fields.reshape(-1, each) << (np.arange(each, dtype=np.uint8) * width)
    packed = np.zeros(value.size, np.uint8)
    packed[: len(shifted)] = np.bitwise_or.reduce(shifted, axis=1)
    return packed.reshape(value.shape)


def _unpacked(raw: np.ndarray[Any, np.dtype[np.uint8]], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    width = _bits(dtype)
    if width >= 8:
        return raw.view(dtype).reshape(shape)
    fields = (raw[:, None] >> (np.arange(8 // width, dtype=np.uint8) * width)) & (2**width - 1)
    values = fields.ravel()[: int(np.prod(shape, dtype=np.int64))].astype(np.int8)
    sign = 2 ** (width - 1)
    extended = (values ^ sign) - sign
    result: Tensor = extended.astype(dtype) if dtype.name.startswith("int") else values.view(dtype)
    return result.reshape(shape)
