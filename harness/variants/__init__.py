"""Precision variants: the model file that is built for a precision, made from the fp32 file.

A variant is a function `(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant` that raises
InputError, Unsupported, BuildError or OutOfMemory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Variant:
    """The file that backends build at a precision."""

    path: Path
    digest: str
    """SHA-256 in hexadecimal; of its weight files too where it has such."""
    notes: tuple[str, ...] = ()
    """What the conversion did that a reader of the results should know."""
