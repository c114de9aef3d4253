"""Tensors inside a graph: which can be looked at, how they become outputs, and how a graph is cut at them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto, helper

from harness.variants.graph import reads, subgraphs

FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE))
HALVES = frozenset((TensorProto.FLOAT16, TensorProto.BFLOAT16))
MOVERS = frozenset(
    (
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Split", "Constant"),
        *("Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "ConstantOfShape", "Expand"),
    )
)
"""Operators that compute nothing: what they give is looked at where it is used."""
LOCAL = "/local"
"""Ends the name of an output that was computed from known inputs of its own part of the graph."""


@dataclass(frozen=True)
class Maker:
    """A node that computes something, by its first output."""

    tensor: str
    name: str
    op: str


@dataclass(frozen=True)
class Tap:
    """A float tensor that can be looked at, what computes it, and the taps that this hangs on directly."""

    tensor: str
    maker: Maker
    reads: tuple[str, ...]
    final: bool = False
    """An output of the model."""


def taps(model: Any) -> tuple[Tap, ...]:
    """The float tensors that a graph computes from its inputs, in order; shapes are inferred, nodes are named."""
    kinds, finals = types(model), {value.name for value in model.graph.output}
    nearest: dict[str, dict[str, None]] = {value.name: {} for value in model.graph.input}
    found: list[Tap] = []
    for node in model.graph.node:
        read = [name for name in reads(node) if name in nearest]
        if not read:
            continue  # made of constants only
        known = {tap.tensor for tap in found}
        above = {up: None for name in read for up in ({name: None} if name in known else nearest[name])}
        for name in filter(None, node.output):
            nearest[name] = above
            if kinds.get(name) in FLOATS and (name in finals or node.op_type not in MOVERS):
                found.append(Tap(name, _maker(node), tuple(above), name in finals))
    return tuple(found)


def hangs_on(model: Any, name: str, known: Collection[str]) -> tuple[str, ...]:
    """The nearest of the known tensors that a tensor is computed from, in the order of the graph."""
    made, found, seen = makers(model), set(), {name}
    waiting = [name]
    while waiting:
        node = made.get(waiting.pop())
        read = set(reads(node)) - seen if node is not None else set()
        seen |= read
        found |= read & set(known)
        waiting += read - set(known)
    return tuple(one for one in known if one in found)


def first_output(node: Any) -> str:
    """The first output that a node gives; a recurrent one may leave out those before."""
    return next(filter(None, node.output), "")


def _maker(node: Any) -> Maker:
    return Maker(first_output(node), node.name, node.op_type)


def types(model: Any) -> dict[str, int]:
    """The element types of the tensors of a graph, as far as they are known."""
    graph = model.graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    return found | {value.name: value.type.tensor_type.elem_type for value in values}


def makers(model: Any) -> dict[str, Any]:
    """Tensor to the node that gives it."""
    return {name: node for node in model.graph.node for name in node.output if name}


def between(model: Any, tensor: str, known: Collection[str]) -> tuple[Maker, ...]:
    """The nodes that compute a tensor from known ones and the model's inputs, in order; movers are left out."""
    made, inputs = makers(model), {value.name for value in model.graph.input}
    seen: set[str] = set()
    waiting = [tensor]
    while waiting:
        node = made.get(waiting.pop())
        if node is None or first_output(node) in seen:
            continue
        seen.add(first_output(node))
        waiting += [name for name in reads(node) if name not in known and name not in inputs]
    inside = [node for node in model.graph.node if first_output(node) in seen]
    return tuple(_maker(node) for node in inside if node.op_type not in MOVERS)


def mark(model: Any, names: Sequence[str]) -> Any:
    """The model, changed in place, with these tensors as outputs too."""
    outputs = {value.name for value in model.graph.output}
    model.graph.output.extend(_values(model)[name] for name in names if name not in outputs)
    return model


def cut(model: Any, known: Collection[str], wanted: Sequence[str]) -> Any:
    """The model, changed in place, giving `wanted` (named with LOCAL) computed from the `known` tensors.

    Whoever reads a known tensor reads an input of that name; what is not needed is left out.
    """
    graph, values = model.graph, _values(model)
    for node in graph.node:
        for position, name in enumerate(node.output):
            if name in known or name in wanted:
                node.output[position] = name + LOCAL
    inputs = [value for value in graph.input if value.name not in known]
    inputs += [values[name] for name in known if name in values]
    outputs = [_named(values[name], name + LOCAL) for name in wanted]
    kept = [_named(value, value.name) for value in inputs]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(kept)
    graph.output.extend(outputs)
    return prune(model)


def prune(model: Any) -> Any:
    """The model, changed in place, without nodes, inputs and weights that no output needs."""
    graph, made = model.graph, makers(model)
    needed = {value.name for value in graph.output}
    waiting = list(needed)
    while waiting:
        node = made.get(waiting.pop())
        if node is not None:
            more = set(reads(node)) - needed
            needed |= more
            waiting += more
    nodes = [node for node in graph.node if needed & set(node.output)]
    for field, kept in (
        (graph.node, nodes),
        (graph.input, [value for value in graph.input if value.name in needed]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed]),
    ):
        if len(kept) < len(field):
            copies = [_copy(one) for one in kept]
            del field[:]
            field.extend(copies)
    return model


def slice_model(model: Any, known: Collection[str], tensors: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> Any:
    """The part that computes some tensors from known ones as a model of its own, with float inputs and outputs.

    `shapes` gives the sizes of its inputs and of the tensors. The model is changed in place.
    """
    model.graph.output.extend(_values(model)[name] for name in tensors if name not in _names(model.graph.output))
    graph = model.graph
    kinds = {name: value.type.tensor_type.elem_type for name, value in _values(model).items()}
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(n, _wide(kinds[n]), list(shapes[n])) for n in tensors)
    graph.input.extend(helper.make_tensor_value_info(n, _wide(kinds[n]), list(shapes[n])) for n in known)
    for value in graph.input:
        if value.name in shapes:
            value.CopyFrom(
                helper.make_tensor_value_info(value.name, _wide(kinds[value.name]), list(shapes[value.name]))
            )
    _cast_at(graph, {name: kinds[name] for name in kinds if kinds[name] in HALVES}, known, tensors)
    del graph.value_info[:]
    return prune(model)


def _cast_at(graph: Any, halves: Mapping[str, int], known: Collection[str], tensors: Collection[str]) -> None:
    """Names what is known, or wanted in a half type, otherwise inside, and casts it from or to the float outside."""
    inner = {
        name: f"{name}/inner" for name in halves if name in tensors or name in known or name in _names(graph.input)
    }
    made = {name: f"{name}/unused" for name in known}  # whoever made it before is not needed any more
    for node in graph.node:
        _rename(node, inner, {**inner, **made})
    outside = [name for name in inner if name in _names(graph.input)]
    casts = [helper.make_node("Cast", [name], [inner[name]], f"{name}/cast", to=halves[name]) for name in outside]
    last = [helper.make_node("Cast", [inner[name]], [name], f"{name}/cast", to=TensorProto.FLOAT)
            for name in inner if name in tensors]  # fmt: skip
    nodes = [_copy(node) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*casts, *nodes, *last])


def _rename(node: Any, reading: Mapping[str, str], making: Mapping[str, str]) -> None:
    node.input[:] = [reading.get(name, name) for name in node.input]
    node.output[:] = [making.get(name, name) for name in node.output]
    for graph in subgraphs(node):
        for inside in graph.node:
            _rename(inside, reading, {})


def _names(values: Any) -> set[str]:
    return {value.name for value in values}


def _wide(kind: int) -> int:
    return int(TensorProto.FLOAT) if kind in HALVES else kind


def _values(model: Any) -> dict[str, Any]:
    graph = model.graph
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}


def _named(value: Any, name: str) -> Any:
    made = _copy(value)
    made.name = name
    return made


def _copy(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made
