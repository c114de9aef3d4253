"""weights-int8 and weights-int4: weights are stored in few bits, arithmetic stays in float.

A DequantizeLinear in front of each layer turns them into floats again, which every runtime may do ahead, at each
inference, or inside a kernel of its own. Scales are symmetric: zeros stay zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from harness.cache import Cache
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import finish, load_model
from harness.variants.store import Made, kept
from harness.variants.weights import Values, Weight, some


@dataclass(frozen=True)
class Format:
    """How weights are stored."""

    step: str
    opset: int
    """From here on DequantizeLinear knows it."""
    largest: int
    block: int = 0
    """Weights with one scale, along what a matrix product adds up; 0: one scale a channel."""


INT8 = Format("weights-int8", 13, 127)
INT4 = Format("weights-int4", 21, 7, block=32)


def weights_int8(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model with weights in int8, one scale an output channel."""
    return kept(INT8.step, (fetched.sha256, f"{INT8.step}/1"), cache, lambda: make(fetched.model, INT8))


def weights_int4(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model with weights in int4, one scale for 32 weights of a matrix, or an output channel of a convolution."""
    return kept(INT4.step, (fetched.sha256, f"{INT4.step}/1"), cache, lambda: make(fetched.model, INT4))


def make(path: Path, form: Format) -> Made:
    """The model of a file with its weights in a format, and notes on it."""
    model, notes = load_model(path, at_least=form.opset)
    found = [weight for weight in some(form.step, model) if weight.tensor.data_type == TensorProto.FLOAT]
    before = sum(weight.values.nbytes for weight in found)
    made = [_quantised(weight, form) for weight in found]
    _put(model, found, made)
    finish(model, path)
    after = sum(len(tensor.raw_data) for pair, _ in made for tensor in pair)
    words = f"{form.step}: the weights of {len(found)} layers take {after} bytes instead of {before}"
    return model, (*notes, words)


def _quantised(weight: Weight, form: Format) -> tuple[tuple[Any, Any], Any]:
    """The stored weights with their scales, and the node that makes floats of them."""
    values, name = weight.values, weight.node.input[1]
    attributes: dict[str, Any]
    if form.block and values.ndim == 2:  # kernels for convolutions take a scale a channel
        scales, spread = _by_block(values, weight.axis, form)
        attributes = {"axis": weight.axis, "block_size": form.block}
    else:
        scales, spread = _by_channel(values, weight.channels, form)
        attributes = {"axis": weight.channels}
    whole = np.clip(np.rint(values / spread), -form.largest, form.largest).astype(np.int8)
    stored = (_stored(whole, f"{name}/quantised", form), numpy_helper.from_array(scales, f"{name}/scales"))
    inputs = [f"{name}/quantised", f"{name}/scales"]
    return stored, helper.make_node("DequantizeLinear", inputs, [name], f"{name}/dequantise", **attributes)


def _by_channel(values: Values, channels: int, form: Format) -> tuple[Values, Values]:
    """One scale a channel, and the scale of every weight."""
    others = tuple(axis for axis in range(values.ndim) if axis != channels)
    spread = _scale(np.max(np.abs(values), axis=others, keepdims=True), form)
    return spread.reshape(-1), spread


def _by_block(values: Values, axis: int, form: Format) -> tuple[Values, Values]:
    """One scale for so many weights along an axis of a matrix, and the scale of every weight."""
    starts = np.arange(0, values.shape[axis], form.block)
    scales = _scale(np.maximum.reduceat(np.abs(values), starts, axis=axis), form)
    return scales, np.repeat(scales, form.block, axis=axis).take(range(values.shape[axis]), axis=axis)


def _scale(largest: Values, form: Format) -> Values:
    made: Values = np.where(largest > 0, largest / form.largest, 1).astype(np.float32)
    return made


def _stored(whole: Values, name: str, form: Format) -> Any:
    if form.largest > INT4.largest:
        return numpy_helper.from_array(whole, name)
    # By hand: what numpy_helper makes of int4 differs between versions of onnx. Two a byte, the first one low.
    flat = np.append(whole.reshape(-1), np.zeros(whole.size % 2, np.int8)).view(np.uint8) & 0xF
    packed = flat[::2] | (flat[1::2] << 4)
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=whole.shape, raw_data=packed.tobytes())


def _put(model: Any, found: list[Weight], made: list[tuple[tuple[Any, Any], Any]]) -> None:
    """Puts the nodes, whose results have the names of the weights, in place of the weights."""
    gone = {weight.node.input[1] for weight in found}
    left = [tensor for tensor in model.graph.initializer if tensor.name not in gone]
    nodes = [node for node in model.graph.node if node.op_type != "Constant" or node.output[0] not in gone]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend([*left, *(tensor for pair, _ in made for tensor in pair)])
    model.graph.node.extend([*(node for _, node in made), *nodes])
