"""bf16: the fp16 conversion with every half-precision type replaced, weights rounded from the fp32 ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

from harness.cache import Cache
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo, opset
from harness.sources.walk import tensors
from harness.variants import Variant
from harness.variants.float16 import convert
from harness.variants.graph import (
    finish,
    graphs,
    kept_in_fp32,
    load_model,
    nodes,
    refuse_half,
    refuse_without,
    refusing,
)
from harness.variants.store import Made, kept

CAST_OPSET = 13
"""From here on Cast knows bf16."""
COMPLETE_OPSET = 22
"""From here on convolutions and poolings take bf16."""


def bfloat16(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model in bf16 where ONNX defines the operator for it; the rest stays in fp32 (noted)."""
    return kept(plan.case.precision, (fetched.sha256, "bf16/2"), cache, lambda: make(fetched.model))


def make(path: Path, kept_names: Callable[[Any], list[str]] = lambda _: []) -> Made:
    """The bf16 model of an fp32 file, and notes on it; `kept_names` gives nodes that stay in fp32 besides."""
    original, notes = load_model(path, CAST_OPSET)
    if opset(original) < COMPLETE_OPSET and _refusing(original):
        original, notes = load_model(path, COMPLETE_OPSET)
    refuse_half("bf16", original)
    refuse_without("bf16", original, TensorProto.FLOAT)
    model = convert(deepcopy(original), _refusing(original) + kept_names(original))
    _retype_weights(model, original)
    _retype_graph(model)
    finish(model, path)
    return model, (*notes, *filter(None, (kept_in_fp32(model),)))


def _refusing(model: Any) -> list[str]:
    blocked = {node.name for node in nodes(model) if node.op_type in DEFAULT_OP_BLOCK_LIST}
    return [name for name in refusing(model, "bfloat16") if name not in blocked]


def _retype_weights(model: Any, original: Any) -> None:
    # The converter keeps the order of all tensors and adds none (constants were written out before).
    for tensor, source in zip(tensors(model), tensors(original), strict=True):
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(source).astype(ml_dtypes.bfloat16)  # rounds to nearest, ties to even
            name = tensor.name
            tensor.CopyFrom(_tensor(values))
            tensor.name = name


def _tensor(values: np.ndarray[Any, Any]) -> Any:
    # By hand: what numpy_helper makes of bf16 arrays differs between versions of onnx
    return TensorProto(data_type=TensorProto.BFLOAT16, dims=values.shape, raw_data=values.view("<u2").tobytes())


def _retype_graph(model: Any) -> None:
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output):
            _retype(value.type)


def _retype(kind: Any) -> None:
    if kind.HasField("sequence_type"):
        _retype(kind.sequence_type.elem_type)
    elif kind.tensor_type.elem_type == TensorProto.FLOAT16:
        kind.tensor_type.elem_type = TensorProto.BFLOAT16
