"""Defects in the graph: attributes, activations, masks, arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from quality.accuracy import emulate
from quality.accuracy.edits import Graph, attribute, set_attribute, store, values

Rng = np.random.Generator
Apply = Callable[[ModelProto, Rng], ModelProto | None]


def _one(kinds: tuple[str, ...], change: Callable[[Graph, NodeProto], bool]) -> Apply:
    """Changes one node of some operators: the first in random order for which `change` says that it did."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        nodes = made.nodes(*kinds)
        for number in rng.permutation(len(nodes)):
            if change(made, nodes[number]):
                return made.model()
        return None

    return apply


def _padding(made: Graph, node: NodeProto) -> bool:
    pads = list(attribute(node, "pads", [0]))
    axes = len(pads) // 2
    if min(pads) < 1:
        return False
    set_attribute(node, "pads", [pads[0] + 1, *pads[1:axes], pads[axes] - 1, *pads[axes + 1 :]])
    return True


padding_shifted = _one(("Conv", "MaxPool"), _padding)


def epsilon(value: float) -> Apply:
    """All normalisations with another epsilon."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        nodes = made.nodes("LayerNormalization", "BatchNormalization", "InstanceNormalization")
        for node in nodes:
            set_attribute(node, "epsilon", value)
        return made.model() if nodes else None

    return apply


def gelu_by_tanh(model: ModelProto, rng: Rng) -> ModelProto | None:
    """GELU by its tanh formula (Hendrycks and Gimpel, 2016) where the model has erf."""
    made = Graph(model)
    nodes = made.nodes("Erf")
    for node in nodes:
        z = node.input[0]  # x / sqrt(2)
        cube = made.op("Mul", made.op("Mul", z, z), z)
        cubic = made.op("Mul", cube, made.scalar(2 * 0.044715, z))
        inner = made.op("Mul", made.op("Add", z, cubic), made.scalar(2 / np.pi**0.5, z))
        node.op_type = "Tanh"
        node.input[0] = inner
    return made.model() if nodes else None


def activation(factor: float) -> Apply:
    """The parameter of one activation (slope, clip) scaled."""

    def change(made: Graph, node: NodeProto) -> bool:
        if node.op_type in ("LeakyRelu", "Elu"):
            set_attribute(
                node, "alpha", factor * attribute(node, "alpha", 0.01 if node.op_type == "LeakyRelu" else 1.0)
            )
            return True
        found = made.weight(node, 1 if node.op_type == "PRelu" else 2)
        if found is None:
            return False
        store(found.tensor, values(found.tensor) * factor)
        return True

    return _one(("LeakyRelu", "Elu", "PRelu", "Clip"), change)


def _dropped(made: Graph, node: NodeProto) -> bool:
    if len(node.input) > 1:
        del node.input[1:]
    node.op_type = "Identity"
    del node.attribute[:]
    return bool(made.graph.node)


activation_dropped = _one(("Relu", "Clip", "Tanh", "PRelu", "LeakyRelu"), _dropped)


def beyond_range(factor: float) -> Apply:
    """One activation scaled up and back, so that its larger elements leave fp16's range on the way."""

    def change(made: Graph, node: NodeProto) -> bool:
        node_output = node.output[0]
        made.after(
            node,
            lambda x: made.op(
                "Mul",
                made.op("Mul", x, made.scalar(factor, node_output)),
                made.scalar(1 / factor, node_output),
            ),
        )
        return True

    return _one(("Conv", "Gemm", "MatMul"), change)


def saturated(share: float) -> Apply:
    """One activation clipped, as integers do at the end of their range."""

    def change(made: Graph, node: NodeProto) -> bool:
        output = node.output[0]
        made.after(node, lambda x: made.op("Clip", x, made.scalar(-share, output), made.scalar(share, output)))
        return True

    return _one(("Conv", "Gemm", "MatMul"), change)


def accumulated(size: int, half: int) -> Apply:
    """Running sums of all products kept in half precision, rounded after every `size` terms."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        before = emulate.explicit(model)
        after = emulate.split(before, size, half)
        return None if len(after.graph.node) == len(before.graph.node) else after

    return apply


def _unmasked(made: Graph, node: NodeProto) -> bool:
    add = made.makers.get(node.input[0])
    while add is not None and add.op_type == "Cast":
        add = made.makers.get(add.input[0])
    if add is None or add.op_type != "Add":
        return False
    product = made.makers.get(add.input[0])
    if product is None or product.op_type not in ("Mul", "MatMul"):
        return False
    del add.input[1:]
    add.op_type = "Identity"
    return True


mask_ignored = _one(("Softmax",), _unmasked)


def _other_axis(made: Graph, node: NodeProto) -> bool:
    set_attribute(node, "axis", -2)
    return True


softmax_axis = _one(("Softmax",), _other_axis)


def _other_grid(made: Graph, node: NodeProto) -> bool:
    set_attribute(node, "coordinate_transformation_mode", "asymmetric")
    return True


resize_grid = _one(("Resize",), _other_grid)


def _step_before(made: Graph, node: NodeProto) -> bool:
    found = made.weight(node, 1)
    if found is None or found.tensor.data_type != TensorProto.INT64 or list(found.tensor.dims) not in ([], [1]):
        return False
    index = values(found.tensor)
    node.input[1] = made.constant(index - 1 if int(index.ravel()[0]) < 0 else index + 1, "index")
    return True


wrong_index = _one(("Gather",), _step_before)


def bias_lost_for_one(row: int) -> Apply:
    """A bias that is not added at one position of the batch: a broadcast that stops too early."""

    def change(made: Graph, node: NodeProto) -> bool:
        found = made.weight(node, 2)
        if found is None:
            return False
        bias, rank = values(found.tensor), len(found.tensor.dims)
        shape = (1, -1, 1, 1) if node.op_type == "Conv" else (1,) * rank + (-1,)
        missing = np.zeros((64, *[1] * (3 if node.op_type == "Conv" else 1)), np.float32)
        missing[row] = 1
        delta = missing * bias.reshape(shape if node.op_type == "Conv" else (1, -1))
        made.after(node, lambda x: made.op("Sub", x, _typed(made, delta, found.tensor.data_type)))
        return True

    return _one(("Conv", "Gemm"), change)


def _typed(made: Graph, array: np.ndarray, kind: int) -> str:  # type: ignore[type-arg]
    name = made.constant(array.astype(np.float32), "delta")
    tensor = made.constants[name]
    tensor.data_type = kind
    store(tensor, array)
    return name
