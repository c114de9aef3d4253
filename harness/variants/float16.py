"""fp16: weights and arithmetic in half precision, inputs and outputs as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from harness.cache import Cache
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.sources.walk import tensors
from harness.variants import Variant
from harness.variants.graph import finish, kept_in_fp32, load_model, refuse_without, refusing
from harness.variants.store import Made, kept

LARGEST = 65504.0
"""The largest finite fp16 value."""


def float16(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model converted by onnxruntime, which leaves a few operators in fp32 (noted)."""
    return kept(plan.case.precision, (fetched.sha256, "fp16/2"), cache, lambda: make(fetched.model))


def make(path: Path, kept_names: Callable[[Any], list[str]] = lambda _: []) -> Made:
    """The fp16 model of an fp32 file, and notes on it; `kept_names` gives nodes that stay in fp32 besides."""
    model, notes = load_model(path)
    refuse_without("fp16", model, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    clipped = _beyond_range(model)
    model = convert(model, refusing(model, "float16") + kept_names(model))
    finish(model, path)
    told = f"{clipped} weights beyond fp16's ±65504 were clipped" if clipped else None
    return model, (*notes, *filter(None, (kept_in_fp32(model), told)))


def convert(model: Any, kept_nodes: list[str]) -> Any:
    """The model, changed in place, in fp16 but for its I/O, `kept_nodes` and operators that the converter blocks."""
    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True, node_block_list=kept_nodes)


def _beyond_range(model: Any) -> int:
    """How many finite fp32 values of the model fp16 cannot hold; the converter clips them without a word."""
    values = (numpy_helper.to_array(tensor) for tensor in tensors(model) if tensor.data_type == onnx.TensorProto.FLOAT)
    return sum(int(np.count_nonzero(np.isfinite(array) & (np.abs(array) > LARGEST))) for array in values)
