"""Defects in constants: weights, biases, scales and zero points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from quality.accuracy.edits import PRODUCTS, Array, Graph, Weight, output_axis, store, values

Rng = np.random.Generator
Apply = Callable[[ModelProto, Rng], ModelProto | None]


def _some_weight(made: Graph, rng: Rng) -> Weight | None:
    found = list(made.weights())
    return found[rng.integers(len(found))] if found else None


def _row(weight: Weight, rng: Rng) -> tuple[int, int]:
    axis = output_axis(weight)
    return axis, int(rng.integers(weight.tensor.dims[axis]))


def row_scaled(factor: float) -> Apply:
    """One output channel of one layer scaled."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        weight = _some_weight(made, rng)
        if weight is None:
            return None
        weight.scale_row(*_row(weight, rng), factor)
        return made.model()

    return apply


def row_stale(model: ModelProto, rng: Rng) -> ModelProto | None:
    """One output channel of one layer from other training: other values of the same spread and range."""
    made = Graph(model)
    weight = _some_weight(made, rng)
    if weight is None:
        return None
    axis, row = _row(weight, rng)
    new = values(weight.tensor)
    old = new[(slice(None),) * axis + (row,)]
    bound = np.abs(old).max()
    new[(slice(None),) * axis + (row,)] = np.clip(rng.normal(old.mean(), old.std(), old.shape), -bound, bound)
    store(weight.tensor, new)
    return made.model()


def layer_stale(share: float) -> Apply:
    """All weights of one layer a little off, as from another checkpoint."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        weight = _some_weight(made, rng)
        if weight is None:
            return None
        old = values(weight.tensor)
        weight.replace(old + share * old.std() * rng.normal(0, 1, old.shape))
        return made.model()

    return apply


def rows_swapped(model: ModelProto, rng: Rng) -> ModelProto | None:
    """Two output channels of one layer exchanged."""
    made = Graph(model)
    weight = _some_weight(made, rng)
    if weight is None or weight.tensor.dims[output_axis(weight)] < 2:
        return None
    axis = output_axis(weight)
    first, second = rng.choice(weight.tensor.dims[axis], 2, replace=False)
    order = np.arange(weight.tensor.dims[axis])
    order[[first, second]] = order[[second, first]]
    store(weight.tensor, values(weight.tensor).take(order, axis))
    for scale in weight.scales:
        if scale.dims and scale.dims[0] == len(order):
            store(scale, values(scale)[order])
    return made.model()


def _biases(made: Graph) -> list[TensorProto]:
    slots = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "LSTM": 3, "GRU": 3}
    found = [made.weight(node, slot) for kind, slot in slots.items() for node in made.nodes(kind)]
    for node in made.nodes("Add"):
        found += [made.weight(node, slot) for slot in (0, 1) if _follows_product(made, node, 1 - slot)]
    tensors = {one.tensor.name: one.tensor for one in found if one is not None and max(one.tensor.dims, default=1) > 1}
    return list(tensors.values())


def _follows_product(made: Graph, node: NodeProto, slot: int) -> bool:
    maker = made.makers.get(node.input[slot])
    return maker is not None and maker.op_type in PRODUCTS


def bias_changed(change: Callable[[Array], Array]) -> Apply:
    """One bias replaced by what `change` makes of it."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        found = _biases(made)
        if not found:
            return None
        tensor = found[rng.integers(len(found))]
        store(tensor, change(values(tensor)))
        return made.model()

    return apply


def _dequantisers(made: Graph, *, constant: bool) -> list[NodeProto]:
    nodes = made.nodes("DequantizeLinear")
    return [node for node in nodes if (made.weight(node, 0) is not None) == constant]


def scale_wrong(factor: float, *, constant: bool) -> Apply:
    """The scale by which one quantised tensor (a weight's channel, or an activation) is read back."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        found = _dequantisers(made, constant=constant)
        if not found:
            return None
        node = found[rng.integers(len(found))]
        levels = values(made.constants[node.input[1]])
        if levels.ndim:
            levels[rng.integers(levels.size)] *= factor
        else:
            levels = levels * np.float32(factor)
        node.input[1] = made.constant(levels.astype(np.float32), "scale")
        return made.model()

    return apply


def zero_point_wrong(steps: int) -> Apply:
    """The zero point by which one activation is read back."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        found = [node for node in _dequantisers(made, constant=False) if len(node.input) > 2]
        if not found:
            return None
        node = found[rng.integers(len(found))]
        node.input[2] = made.constant(values(made.constants[node.input[2]]) + np.int8(steps), "zero")
        return made.model()

    return apply


def badly_calibrated(factor: float) -> Apply:
    """The ranges of all activations from data of another scale."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        names = {node.input[1] for node in _dequantisers(made, constant=False)}
        names |= {made.makers[node.input[0]].input[1] for node in _dequantisers(made, constant=False)}
        for name in names:
            store(made.constants[name], values(made.constants[name]) * factor)
        return made.model() if names else None

    return apply


def rounded_weights(dtype: np.dtype) -> Apply:  # type: ignore[type-arg]
    """All weights rounded to a shorter type than was asked for."""

    def apply(model: ModelProto, rng: Rng) -> ModelProto | None:
        made = Graph(model)
        for weight in made.weights():
            store(weight.tensor, values(weight.tensor).astype(dtype).astype(np.float32))
        return made.model()

    return apply
