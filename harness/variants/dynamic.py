"""dynamic-int8: activations are quantised as they come, with ranges of their own, weights ahead; no calibration."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
from onnxruntime import quantization

from harness.cache import Cache
from harness.errors import Unsupported
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import finish, load_model, nodes, save
from harness.variants.store import Made, kept
from harness.variants.weights import some

STEP = "dynamic-int8"
OPSET = 13
"""From here on weights may have a scale a channel."""
OPERATORS = ("MatMul", "Gemm")
"""Convolutions stay: integer ones, with ranges taken at each inference, are slower than float ones."""
INTEGER = ("MatMulInteger",)


def dynamic_int8(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model with its matrix products in integers, as ONNX Runtime converts it."""
    return kept(STEP, (fetched.sha256, f"{STEP}/1"), cache, lambda: make(fetched.model))


def make(path: Path) -> Made:
    """The converted model of a file, and notes on it."""
    model, notes = load_model(path, at_least=OPSET)
    if not any(weight.node.op_type in OPERATORS for weight in some(STEP, model)):
        raise Unsupported(f"cannot make the {STEP} variant: the model has no {' or '.join(OPERATORS)} with weights")
    del model.graph.value_info[:]  # the quantiser transposes weights and infers again
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(model, folder, "float")
        quantization.quantize_dynamic(
            folder / "float.onnx",
            folder / "int8.onnx",
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=(folder / "float.data").exists(),
            extra_options={"MatMulConstBOnly": True},
        )
        made = onnx.load(str(folder / "int8.onnx"))
    finish(made, path)
    ops = Counter(node.op_type for node in nodes(made))
    done = sum(ops[name] for name in INTEGER)
    if not done:
        raise Unsupported(f"cannot make the {STEP} variant: the quantiser took no {' or '.join(OPERATORS)}")
    left = ops["MatMul"] + ops["Gemm"]
    return made, (*notes, f"{STEP}: {done} matrix products are in integers, {left} in float")
