"""Variants in which chosen nodes stay in fp32, by the graph alone: so it holds under strong typing as well.

Nodes are named by their first outputs, which conversions keep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import TensorProto

from harness.variants import bfloat16, float16
from harness.variants.graph import load_model
from harness.variants.taps import HALVES, MOVERS, first_output, makers, prune, types

HALF: Mapping[str, Callable[..., Any]] = {"fp16": float16.make, "bf16": bfloat16.make}


def keepable(model: Any, tensors: Sequence[str]) -> tuple[str, ...]:
    """Of the nodes that compute these tensors those that a variant runs in a half type or on quantised operands."""
    made, kinds = makers(model), types(model)
    return tuple(name for name in tensors if name in made and (_is_half(name, made, kinds) or _pairs(made[name], made)))


def keep(precision: str, source: Path, variant: Path, tensors: Collection[str]) -> Any:
    """The model of a precision with the makers of these tensors in fp32.

    fp16 and bf16 are converted from `source` again; of a quantised `variant` the Q/DQ pairs in front of the nodes are
    bypassed. Raises what the conversions raise.
    """
    if precision in HALF:
        model, _ = HALF[precision](source, lambda original: with_movers(original, tensors))
        return _joined(model) if tensors else model
    return unquantised(load_model(variant)[0], tensors)


def with_movers(model: Any, tensors: Collection[str]) -> list[str]:
    """Names of the nodes that make these tensors, and of movers around them, which would round what they pass on."""
    nodes = list(model.graph.node)
    kept = {node.name for node in nodes if first_output(node) in tensors}
    given = {name for node in nodes if node.name in kept for name in node.output}
    for node in nodes:  # behind them
        if node.op_type in MOVERS and node.input and node.input[0] in given:
            kept.add(node.name)
            given.update(filter(None, node.output))
    wanted: set[str] = {name for node in nodes if node.name in kept for name in node.input}
    for node in reversed(nodes):  # in front of them
        if node.op_type in MOVERS and wanted & {*node.output}:
            kept.add(node.name)
            wanted.update(node.input)
    return [node.name for node in nodes if node.name in kept]


def unquantised(model: Any, tensors: Collection[str]) -> Any:
    """The model, changed in place, whose makers of these tensors read what was quantised and dequantised before."""
    made = makers(model)
    for node in model.graph.node:
        if first_output(node) in tensors:
            for position, name in _pairs(node, made).items():
                node.input[position] = name
    return prune(model)


def _pairs(node: Any, made: Mapping[str, Any]) -> dict[int, str]:
    """Positions of a node's inputs that come through a Q/DQ pair, and the tensor in front of the pair."""
    found = {}
    for position, name in enumerate(node.input):
        second = made.get(name)
        first = made.get(second.input[0]) if second is not None and second.op_type == "DequantizeLinear" else None
        if first is not None and first.op_type == "QuantizeLinear":
            found[position] = first.input[0]
    return found


def _is_half(name: str, made: Mapping[str, Any], kinds: Mapping[str, int]) -> bool:
    """Whether a tensor is computed in a half type; Casts behind the computation say nothing."""
    while name in made and made[name].op_type == "Cast":
        name = made[name].input[0]
    return kinds.get(name) in HALVES and name in made


def _joined(model: Any) -> Any:
    """Takes the rounding to a half type away from between two nodes in fp32, where a converter puts a pair of Casts."""
    made = {name: node for name, node in makers(model).items() if node.op_type == "Cast"}
    for node in made.values():
        before = made.get(node.input[0])
        if before is not None and _target(node) == TensorProto.FLOAT and _target(before) in HALVES:
            node.input[0] = before.input[0]
    return prune(model)


def _target(cast: Any) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")
