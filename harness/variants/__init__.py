"""Precision variants: the model file that is built for a precision, made from the fp32 file."""

from __future__ import annotations

from harness.registry import Registry

VARIANTS = Registry(
    "precision",
    {
        "fp32": "harness.variants.unchanged:unchanged",
        "tf32": "harness.variants.unchanged:unchanged",
        "as-is": "harness.variants.unchanged:unchanged",
        "fp16": "harness.variants.float16:float16",
        "bf16": "harness.variants.bfloat16:bfloat16",
        "int8": "harness.variants.int8:int8",
        "fp8": "harness.variants.unchanged:only_from_files",
    },
)
