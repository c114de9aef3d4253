"""A TensorFlow model by its graph: the same for the same code and weights, whatever the process traced before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

Scope = Mapping[str, Any]


def graph_digest(traced: Any) -> str:
    """SHA-256 over what a tf.function computes, its weights, and the names of what goes in and out.

    A node is what it does to its inputs: TensorFlow counts in its name what the process made before, and nodes of
    functions that are inlined come in any order.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = traced.get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    functions = {one.signature.name: one for one in graph.library.function}
    names = [one.name for one in traced.input_signature], list(concrete.structured_outputs)
    arguments = [one.op.name for one in frozen.inputs]
    return _sum(names, *_digests(graph.node, arguments, [one.name for one in frozen.outputs], functions))


def _digests(nodes: Sequence[Any], arguments: Sequence[str], results: Sequence[str], functions: Scope) -> list[str]:
    """A digest for each result of a graph."""
    by_name = {node.name: node for node in nodes}
    found = {name: f"argument {place}" for place, name in enumerate(arguments)}
    waiting, seen = [_split(one)[0] for one in results], set[str]()
    while waiting:
        name = waiting[-1]
        if name not in found:
            inputs = [_split(one) for one in by_name[name].input if not one.startswith("^")]
            lacking = [node for node, _ in inputs if node not in found]
            if lacking and name not in seen:  # at the second sight only loops lack their own end
                seen.add(name)
                waiting += lacking
                continue
            found[name] = _sum(_node(by_name[name], functions), [(found.get(node), port) for node, port in inputs])
        waiting.pop()
    return [_sum(found[node], port) for node, port in map(_split, results)]


def _node(node: Any, functions: Scope) -> list[str]:
    """What a node does: operator and attributes, without hints, some of which are counted."""
    told = [node.op, node.device]
    for name, value in sorted(node.attr.items()):
        if value.HasField("func"):
            told += [name, *_function(functions[value.func.name], functions)]
        elif not name.startswith("_"):
            told += [name, hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()]
    return told


def _function(function: Any, functions: Scope) -> list[str]:
    """What a loop or a branch calls."""
    signature = function.signature
    arguments = [one.name for one in signature.input_arg]
    return _digests(function.node_def, arguments, [function.ret[one.name] for one in signature.output_arg], functions)


def _split(name: str) -> tuple[str, str]:
    """The node and the port of a tensor: `node`, `node:0` or `node:output:0`."""
    node, _, port = name.partition(":")
    return node, "" if port == "0" else port


def _sum(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
