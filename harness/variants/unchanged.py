"""Precisions for which the model's file is built as it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from onnx import TensorProto

from harness.cache import Cache
from harness.errors import InputError
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo, identity, load_graph
from harness.variants import Variant
from harness.variants.graph import holds

HALF = "the file holds float16 tensors: they stay"


def unchanged(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model itself; the backend's settings make the precision, but for types that the file asks for."""
    named = plan.case.precision in ("fp32", "tf32")
    notes = (HALF,) if named and _has_half(*identity(fetched.model)) else ()
    return Variant(path=fetched.model, digest=fetched.sha256, notes=notes)


@lru_cache(maxsize=256)
def _has_half(path: str, size: int, mtime_ns: int) -> bool:
    del size, mtime_ns  # only part of the memo's key
    return holds(load_graph(Path(path)), TensorProto.FLOAT16)


def only_from_files(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """Always InputError: there is no conversion to this precision."""
    precision = plan.case.precision
    raise InputError(
        f"{precision} is not made from the model; name a file of your own as `files: {{{precision}: …}}`, "
        f"or leave {precision} out of `precisions`"
    )
