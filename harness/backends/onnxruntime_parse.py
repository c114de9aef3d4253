"""Which nodes of a model ONNX Runtime does not take: it names only the first one, so each is asked alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, shape_inference

from harness.backends.onnxruntime_session import attested
from harness.records.support import Parsed, Refused
from harness.sources.inspect import load_graph
from harness.sources.walk import graphs

CPU = "CPUExecutionProvider"
SMALL_BYTES = 1 << 16
"""Stored tensors up to that size go with their node: some operators take only constants."""
_UNKNOWN = re.compile(r"is not a registered function|No Op registered for|No opset import for domain")
"""What needs no types to be said."""


@dataclass(frozen=True)
class Alone:
    """A model of one node of another model."""

    model: Any
    key: bytes
    """The same for nodes that do the same."""
    guessed: bool
    """Whether it is not quite that node: its inner graphs were left out, or the type of an input is not known."""


def parse(model: Path, provider: str) -> Parsed:
    """What a session with this provider says of a file; nodes that another provider takes are in the notes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=[provider])
    except Exception as error:
        return Parsed(str(error), tuple(_refused(load_graph(model))))
    return Parsed(notes=tuple(_elsewhere(attested(session), provider)))


def _elsewhere(told: Mapping[str, Any], provider: str) -> Iterator[str]:
    """Nodes that the provider leaves to another one."""
    for name, counts in told.get("nodes", {}).items():
        if name != provider:
            nodes = ", ".join(f"{op} ({count})" if count > 1 else op for op, count in sorted(counts.items()))
            yield f"left to {name}: {nodes}"


def _refused(model: Any) -> Iterator[Refused]:
    """The nodes that it refuses alone; none where it refuses any file of these versions."""
    if _why_not(_empty(model)):
        return
    taken: set[bytes] = set()
    types = _types(model)
    stored = {tensor.name: tensor for graph in graphs(model) for tensor in graph.initializer}
    for graph in graphs(model):
        for number, node in enumerate(graph.node):
            alone = _alone(model, node, types, stored)
            if alone.key in taken:
                continue
            words = _why_not(alone.model)
            if words is None:
                taken.add(alone.key)
            elif not alone.guessed or _UNKNOWN.search(words):
                operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
                yield Refused(node.name or f"node {number}", operator, words)


def _types(model: Any) -> dict[str, Any]:
    """Tensors to their types, as far as they can be inferred."""
    with suppress(Exception):  # of a file that is refused: what it declares is left
        model = shape_inference.infer_shapes(model)
    return {
        value.name: value.type
        for graph in graphs(model)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.WhichOneof("value")
    }


def _alone(model: Any, node: Any, types: Mapping[str, Any], stored: Mapping[str, Any]) -> Alone:
    """The node without its inner graphs, which may read tensors from outside: that counts as guessed too."""
    plain = [attribute for attribute in node.attribute if not (attribute.HasField("g") or attribute.graphs)]
    guessed = len(plain) < len(node.attribute)
    alone = onnx.NodeProto(name=node.name, op_type=node.op_type, domain=node.domain, attribute=plain)
    alone.input.extend(node.input)
    alone.output.extend(node.output)
    given, constants = [], []
    for name in dict.fromkeys(filter(None, node.input)):
        tensor = stored.get(name)
        if tensor is not None and not tensor.external_data and tensor.ByteSize() <= SMALL_BYTES:
            constants.append(tensor)
            continue
        kind = types.get(name)
        if kind is None and tensor is not None:
            kind = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        guessed = guessed or kind is None
        given.append(helper.make_value_info(name, kind or helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)))
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    parts = [*(value.type for value in given), *constants, *plain]
    key = f"{node.domain}:{node.op_type}:{len(outputs)}".encode()
    key += b"".join(part.SerializeToString(deterministic=True) for part in parts)
    return Alone(_model(model, [alone], given, outputs, constants), key, guessed)


def _empty(model: Any) -> Any:
    """A model of the same versions in which nothing is done that a runtime could lack."""
    kind = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1])
    values = [helper.make_value_info(name, kind) for name in ("x", "y")]
    made = _model(model, [helper.make_node("Identity", ["x"], ["y"])], values[:1], values[1:], [])
    if not any(entry.domain in ("", "ai.onnx") for entry in made.opset_import):
        made.opset_import.append(helper.make_opsetid("", 13))
    return made


def _model(like: Any, nodes: Iterable[Any], inputs: Any, outputs: Any, constants: Any) -> Any:
    graph = helper.make_graph(list(nodes), "alone", inputs, outputs, constants)
    return helper.make_model(
        graph, opset_imports=like.opset_import, ir_version=max(like.ir_version, 4), functions=like.functions
    )


def _why_not(model: Any) -> str | None:
    """Why the CPU provider does not take a model; None if it does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    except Exception as error:
        return str(error)
    return None
