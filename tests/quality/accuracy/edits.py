"""Reading and changing ONNX graphs of any precision: weights behind casts and Q/DQ pairs, nodes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

Array = np.ndarray[Any, Any]
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_THROUGH = ("Cast", "QuantizeLinear", "DequantizeLinear", "Identity")


def values(tensor: TensorProto) -> Array:
    """A constant's elements; halves as float32, which holds them exactly."""
    found = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.BFLOAT16:
        bits = np.frombuffer(tensor.raw_data, np.uint16) if tensor.raw_data else np.asarray(tensor.int32_data)
        return bits.astype(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32).reshape(tensor.dims)
    return found.astype(np.float32) if tensor.data_type == TensorProto.FLOAT16 else np.array(found)


def store(tensor: TensorProto, new: Array) -> None:
    """Writes elements in the constant's own type, rounded to nearest."""
    dtype = (
        ml_dtypes.bfloat16
        if tensor.data_type == TensorProto.BFLOAT16
        else helper.tensor_dtype_to_np_dtype(tensor.data_type)
    )
    if np.issubdtype(dtype, np.integer):
        new = np.clip(np.rint(new), np.iinfo(dtype).min, np.iinfo(dtype).max)
    made = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=new.shape)
    made.raw_data = np.ascontiguousarray(new.astype(dtype)).tobytes()
    tensor.CopyFrom(made)


@dataclass(frozen=True)
class Weight:
    """A constant that a node reads, and the scales (of Q and DQ nodes) that it passes on the way."""

    node: NodeProto
    slot: int
    tensor: TensorProto
    scales: tuple[TensorProto, ...]

    def scale_row(self, axis: int, row: int, factor: float) -> None:
        """Scales one slice, the scale of its quantisation with it."""
        new = values(self.tensor)
        new[(slice(None),) * axis + (row,)] *= factor
        store(self.tensor, new)
        for scale in self.scales:
            levels = values(scale)
            if levels.ndim == 1 and levels.size == new.shape[axis]:
                levels[row] *= factor
                store(scale, levels)

    def replace(self, new: Array) -> None:
        """Other elements; the scales follow their new range."""
        old = values(self.tensor)
        store(self.tensor, new)
        for scale in self.scales:
            levels = values(scale)
            kept = output_axis(self) if levels.ndim else None
            over = tuple(axis for axis in range(old.ndim) if axis != kept)
            before, after = np.abs(old).max(axis=over), np.abs(new).max(axis=over)
            store(scale, levels * np.where(before > 0, after / np.maximum(before, 1e-30), 1))


class Graph:
    """A model that is being changed; nodes that are added go to the end and `model` sorts them."""

    def __init__(self, model: ModelProto) -> None:
        self._original = model
        self._model = ModelProto()
        self._model.CopyFrom(model)
        self.graph = self._model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self._taken = {*self.constants, *self.makers, *(node.name for node in self.graph.node)}
        self._count = 0

    def nodes(self, *kinds: str) -> list[NodeProto]:
        """The nodes of some operators, or all of them."""
        return [node for node in self.graph.node if not kinds or node.op_type in kinds]

    def constant(self, new: Array, label: str = "made") -> str:
        """A new constant."""
        tensor = numpy_helper.from_array(np.asarray(new), self.fresh(label))
        self.graph.initializer.append(tensor)
        self.constants[tensor.name] = self.graph.initializer[-1]
        return str(tensor.name)

    def scalar(self, value: float, near: str) -> str:
        """A new constant in the type of a tensor of the graph."""
        made = TensorProto(name=self.fresh("scalar"), data_type=self.types.get(near, TensorProto.FLOAT))
        store(made, np.asarray(value))
        self.graph.initializer.append(made)
        self.constants[made.name] = self.graph.initializer[-1]
        return str(made.name)

    @cached_property
    def types(self) -> dict[str, int]:
        """The element type of each tensor that the model had before it was changed."""
        graph = shape_inference.infer_shapes(self._original).graph
        found = (*graph.value_info, *graph.input, *graph.output)
        return {
            **{value.name: value.type.tensor_type.elem_type for value in found},
            **{tensor.name: tensor.data_type for tensor in graph.initializer},
        }

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A new node of one output."""
        name = self.fresh(kind)
        node = helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self.graph.node.append(node)
        self.makers[name] = self.graph.node[-1]
        return name

    def fresh(self, label: str) -> str:
        """A name that no tensor and no node has or had."""
        self._count += 1
        while f"{label}__{self._count}" in self._taken:
            self._count += 1
        self._taken.add(f"{label}__{self._count}")
        return f"{label}__{self._count}"

    def after(self, node: NodeProto, change: Callable[[str], str], output: int = 0) -> None:
        """Puts new nodes behind an output of a node: what read the output reads their result."""
        name = node.output[output]
        inner = self.fresh(f"{name}_before")
        node.output[output] = inner
        self.makers[inner] = node
        last = change(inner)
        made = self.makers[last]
        made.output[list(made.output).index(last)] = name
        self.makers[name] = made
        for other in self.graph.node:
            other.input[:] = [name if one == last else one for one in other.input]

    def weight(self, node: NodeProto, slot: int) -> Weight | None:
        """The constant behind an input of a node."""
        if slot >= len(node.input):
            return None
        name, scales = node.input[slot], []
        while name in self.makers and self.makers[name].op_type in _THROUGH:
            maker = self.makers[name]
            if maker.op_type in ("QuantizeLinear", "DequantizeLinear") and maker.input[1] in self.constants:
                scales.append(maker.input[1])
            name = maker.input[0]
        tensor = self.constants.get(name)
        if tensor is None:
            return None
        return Weight(node, slot, tensor, tuple(self.constants[scale] for scale in dict.fromkeys(scales)))

    def weights(self, *kinds: str) -> Iterator[Weight]:
        """The constants of two and more dimensions that products, recurrences and embeddings multiply or look up."""
        for node in self.nodes(*(kinds or (*PRODUCTS, "LSTM", "GRU", "Gather"))):
            for slot in {"Gather": (0,), "MatMul": (0, 1), "LSTM": (1, 2), "GRU": (1, 2)}.get(node.op_type, (1,)):
                found = self.weight(node, slot)
                if found is not None and len(found.tensor.dims) >= 2:
                    yield found

    def model(self) -> ModelProto:
        """The changed model, its nodes in an order in which they can run, those without a use left out."""
        _sort(self.graph)
        del self.graph.value_info[:]
        return self._model


def output_axis(weight: Weight) -> int:
    """The axis of a weight that counts the outputs of its node."""
    node, rank = weight.node, len(weight.tensor.dims)
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": rank - 1, "Gather": 0}.get(node.op_type, rank - 2)


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Gives an attribute a value."""
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _sort(graph: Any) -> None:
    nodes: list[NodeProto] = list(graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    order: list[int] = []
    seen: set[int] = set()

    def visit(names: Iterable[str]) -> None:
        for name in names:
            number = makers.get(name)
            if number is not None and number not in seen:
                seen.add(number)
                visit(nodes[number].input)
                order.append(number)

    visit(value.name for value in graph.output)
    sorted_nodes = [nodes[number] for number in order]
    copies = []
    for node in sorted_nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)
