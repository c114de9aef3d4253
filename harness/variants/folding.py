"""fold-bn: batch normalisations become part of the weights of the layers in front of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import numpy_helper

from harness.cache import Cache
from harness.errors import Unsupported
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import finish, load_model, nodes, reads
from harness.variants.store import Made, kept
from harness.variants.weights import Values, Weight, attribute, constants, named, weights

NORMALISATION = "BatchNormalization"
EPSILON = 1e-5
"""ONNX's default."""


def fold_bn(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model without the batch normalisations that directly follow a convolution or Gemm with stored weights."""
    return kept(step.text, (fetched.sha256, "fold-bn/1"), cache, lambda: make(fetched.model))


def make(path: Path) -> Made:
    """The folded model of a file, and notes on it."""
    model, notes = load_model(path)
    found = [node for node in model.graph.node if node.op_type == NORMALISATION]
    if not found:
        raise Unsupported("cannot make the fold-bn variant: the model has no BatchNormalization")
    layers = {weight.node.output[0]: weight for weight in weights(model)}
    stored = constants(model)
    readers = Counter(name for node in nodes(model) for name in reads(node))
    readers.update(value.name for value in model.graph.output)
    folded = [node for node in found if _folded(model, node, layers.get(node.input[0]), stored, readers)]
    if not folded:
        raise Unsupported(f"cannot make the fold-bn variant: none of {len(found)} can be folded into stored weights")
    left = named([node.output[0] for node in found if not any(node is one for one in folded)])
    for node in folded:
        model.graph.node.remove(node)
    finish(model, path)
    words = f"fold-bn: {len(folded)} of {len(found)} batch normalisations are folded" + f"; left: {left}" * bool(left)
    return model, (*notes, words)


def _folded(model: Any, node: Any, layer: Weight | None, stored: Mapping[str, Any], readers: Mapping[str, int]) -> bool:
    """Whether a normalisation was folded into the layer in front of it.

    y = (x - mean) / sqrt(var + epsilon) scale + shift (ONNX operator BatchNormalization), x = w v + b, so that
    y = (w f) v + (b - mean) f + shift with f = scale / sqrt(var + epsilon).
    """
    if layer is None or not _can(node, layer, stored, readers):
        return False
    scale, shift, mean, variance = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in node.input[1:5])
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", EPSILON))
    values, old = layer.values, _bias(layer, stored)
    along = [-1 if axis == layer.channels else 1 for axis in range(values.ndim)]
    layer.store(values * factor.reshape(along))
    bias = (old - mean) * factor + shift
    _set_bias(model, layer.node, bias.astype(values.dtype), f"{node.output[0]}/bias")
    layer.node.output[0] = node.output[0]
    return True


def _can(node: Any, layer: Weight, stored: Mapping[str, Any], readers: Mapping[str, int]) -> bool:
    own = layer.node
    plain = attribute(own, "alpha", 1.0) == attribute(own, "beta", 1.0) == 1.0
    alone = readers[own.output[0]] == readers[own.input[1]] == 1
    known = all(name in stored for name in node.input[1:5])
    grouped = own.op_type == "ConvTranspose" and attribute(own, "group", 1) != 1  # its channels lie in two axes
    trained = attribute(node, "training_mode", 0) or sum(map(bool, node.output)) > 1
    return plain and alone and known and _takes_bias(own, stored) and not grouped and not trained


def _takes_bias(node: Any, stored: Mapping[str, Any]) -> bool:
    name = node.input[2] if len(node.input) > 2 else ""
    return node.op_type != "MatMul" and (not name or (name in stored and len(stored[name].dims) == 1))


def _bias(layer: Weight, stored: Mapping[str, Any]) -> Values:
    has = len(layer.node.input) > 2 and layer.node.input[2]
    found: Values = numpy_helper.to_array(stored[layer.node.input[2]]) if has else np.zeros(1)
    return found.astype(np.float64)


def _set_bias(model: Any, node: Any, bias: Values, name: str) -> None:
    """A bias of its own, as the old one may serve other layers too."""
    model.graph.initializer.append(numpy_helper.from_array(bias, name))
    del node.input[2:]
    node.input.append(name)
