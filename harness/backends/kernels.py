"""Precisions by the names that NVIDIA's libraries give to kernels and tensor formats. What is not told is unknown."""

from __future__ import annotations

import re

from harness.backends.layers import UNKNOWN

_FORMATS: tuple[tuple[str, str], ...] = (
    (r"bfloat16|bf16", "bf16"),
    (r"float8|fp8|e4m3|e5m2", "fp8"),
    (r"float4|fp4|e2m1", "fp4"),
    (r"fp16|float16|half", "fp16"),
    (r"fp32|float32|\bfloat\b", "fp32"),
    (r"u?int8", "int8"),
    (r"int4", "int4"),
)
"""Words of the engine inspector, old ("Channel major FP16 format where …") and new ("Half"); indices have none."""

_ONE = r"bf16|tf32|f64|f32|f16|f8|e4m3|e5m2|e2m1|u8|i8|s8|i32|s32"
_XMMA = re.compile(rf"(?<![a-z0-9])({_ONE})({_ONE})_(?:({_ONE})({_ONE})|({_ONE}))(?![a-z0-9])")
"""xmma kernels: types read and written, then type of the factors and of their sum: f32f32_tf32f32_f32, i8f32_i8i32_f32.

Matrix-vector kernels name only the type they sum in after what they read and write: f16f16_f32_f32.
"""
_SHORT = {"u8": "int8", "i8": "int8", "s8": "int8", "f16": "fp16", "f32": "fp32", "f8": "fp8"} | {
    "e4m3": "fp8",
    "e5m2": "fp8",
    "e2m1": "fp4",
    "bf16": "bf16",
    "tf32": "tf32",
}
_WORDS: tuple[tuple[str, str], ...] = (
    (r"tf32", "tf32"),
    (r"bf16", "bf16"),
    (r"e4m3|e5m2|fp8", "fp8"),
    (r"(?<![a-z])imma|i8816|i16832|i16864|icudnn|igemm|int8|(?<![a-z0-9])[su]8(?![a-z0-9])", "int8"),
    (r"hmma|(?<![a-z0-9])[hs]884|h1688|h16816|hcudnn|hgemm|fp16|f16f16|(?<![a-z0-9])f16(?![a-z0-9])", "fp16"),
    (r"scudnn|sgemm|sgemv|fp32|(?<![a-z0-9])f32f32", "fp32"),
)
"""Parts of other kernels' names, most telling first: h884, h1688, h16816 and s884 multiply halves, i8816 and icudnn
bytes, scudnn and sgemm fp32. s1688 and s16816 alone serve several types and tell nothing."""


def storage_of(words: str) -> str:
    """The precision that a tensor format or a data type of the engine inspector means."""
    told = words.lower()
    return next((precision for pattern, precision in _FORMATS if re.search(pattern, told)), UNKNOWN)


def compute_of(kernel: str) -> str:
    """The precision of the factors that a kernel multiplies, by its name; sums may be wider."""
    told = kernel.lower()
    match = _XMMA.search(told)
    if match:
        return _SHORT.get(match[3] or match[1], UNKNOWN)
    return next((precision for pattern, precision in _WORDS if re.search(pattern, told)), UNKNOWN)
