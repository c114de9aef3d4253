"""What every conversion needs: load a model ready for converters, and put their result in order."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference, version_converter
from onnx.external_data_helper import load_external_data_for_model

from harness.errors import Unsupported
from harness.sources.inspect import load_graph, opset
from harness.sources.walk import tensors

STANDARD = ("", "ai.onnx")
OLDEST_IR = 4
"""From here on initializers need not be inputs as well."""
INLINE_BYTES = 2**31 - 2**24
"""Beyond this a model cannot be one file (a limit of protobuf): its weights go to a file beside it."""


def load_model(path: Path, at_least: int = 0) -> tuple[Any, tuple[str, ...]]:
    """A ModelProto with its weights, shapes inferred, nodes named and functions inlined, at opset `at_least` or later.

    The notes tell what that changed. Raises InputError when it is no model, Unsupported when no converter is made for
    it, and what onnx raises.
    """
    model = load_graph(path)
    _refuse_exotic(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _drop_initializers_from_inputs(model)
    notes: tuple[str, ...] = ()
    # Inference sees the graph without weights that lie beside it: so it works for models above protobuf's limit.
    if opset(model) >= at_least:
        model = shape_inference.infer_shapes(model)
        load_external_data_for_model(model, str(path.parent))
    else:
        notes = (f"opset raised from {opset(model)} to {at_least}, which the conversion needs",)
        load_external_data_for_model(model, str(path.parent))
        model = shape_inference.infer_shapes(version_converter.convert_version(model, at_least))
    _unify_constants(model)
    _name_nodes(model)
    return model, notes


def finish(model: Any, path: Path) -> None:
    """Puts a converter's result in order: sorted nodes, the inputs and outputs of the file, a fitting IR version."""
    _drop_repeated_casts(model.graph)
    _sort_nodes(model.graph)
    _name_nodes(model)
    for graph in graphs(model.graph):
        del graph.value_info[:]  # may tell what was before the conversion; every runtime infers it again
    original = load_graph(path)
    _drop_initializers_from_inputs(original)
    for role in ("input", "output"):
        for made, value in zip(getattr(model.graph, role), getattr(original.graph, role), strict=True):
            if value.type.tensor_type.HasField("shape"):  # the checker wants one: else what was inferred stays
                made.CopyFrom(value)
    wanted = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(original.ir_version, wanted)


def refusing(model: Any, dtype: str) -> list[str]:
    """Names of the nodes for which ONNX does not define `dtype` ("float16", "bfloat16") where they are fed float32."""
    floats = _float_tensors(model)
    return [node.name for node in nodes(model) if _refuses(node, dtype, floats, opset(model))]


def _refuses(node: Any, dtype: str, floats: set[str], version: int) -> bool:
    from onnxruntime.transformers.float16 import ALWAYS_FLOAT_INPUTS

    if node.domain not in STANDARD or not onnx.defs.has(node.op_type):
        return False
    schema = onnx.defs.get_schema(node.op_type, version)
    fixed = {node.input[number] for number in ALWAYS_FLOAT_INPUTS.get(node.op_type, []) if number < len(node.input)}
    return any(
        name in floats - fixed and f"tensor({dtype})" not in formal[min(number, len(formal) - 1)].types
        for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs))
        for number, name in enumerate(names)
    )


def _float_tensors(model: Any) -> set[str]:
    found: set[str] = set()
    for graph in graphs(model.graph):
        values = (*graph.input, *graph.output, *graph.value_info)
        found |= {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
        found |= {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    return found


def check(path: Path) -> None:
    """Raises onnx.checker.ValidationError, in the checker's own words, when the file is not a valid model."""
    onnx.checker.check_model(str(path))


def save(model: Any, folder: Path, name: str) -> None:
    """Writes `name`.onnx to a folder, and `name`.data beside it where it does not fit into one file."""
    options: dict[str, Any] = {"save_as_external_data": True, "location": f"{name}.data"} if is_large(model) else {}
    onnx.save(model, str(folder / f"{name}.onnx"), format="protobuf", **options)


def graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def subgraphs(node: Any) -> Iterator[Any]:
    """The graphs that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes(model: Any) -> Iterator[Any]:
    """Every node of a model, of inner graphs as well."""
    for graph in graphs(model.graph):
        yield from graph.node


def kept_in_fp32(model: Any) -> str | None:
    """A note on the nodes of a converted model that still compute in fp32; None when there are none."""
    if is_large(model):
        return None  # types cannot be inferred above protobuf's limit
    kept: Counter[str] = Counter()
    for graph in graphs(shape_inference.infer_shapes(model).graph):
        floats = {
            value.name for value in graph.value_info if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        }
        kept.update(
            node.op_type for node in graph.node if node.op_type not in ("Cast", "Constant") and floats & {*node.output}
        )
    told = ", ".join(f"{op} ({count})" if count > 1 else op for op, count in sorted(kept.items()))
    return f"kept in fp32: {told}" if kept else None


def is_large(model: Any) -> bool:
    """Whether a model does not fit into one file."""
    return sum(len(tensor.raw_data) for tensor in tensors(model)) > INLINE_BYTES


def _refuse_exotic(model: Any) -> None:
    if not all(value.type.HasField("tensor_type") for value in (*model.graph.input, *model.graph.output)):
        raise Unsupported("models with inputs or outputs that are not tensors are not converted; use precision as-is")
    if not any(entry.domain in STANDARD for entry in model.opset_import):
        raise Unsupported("models without a single standard operator are not converted; use precision as-is")


def _drop_initializers_from_inputs(model: Any) -> None:
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, OLDEST_IR)


def _unify_constants(model: Any) -> None:
    """Writes implied or short-hand float constants as tensors, the only form that converters retype."""
    for node in nodes(model):
        if node.domain in STANDARD and node.op_type == "Constant":
            attribute = node.attribute[0]
            if attribute.name in ("value_float", "value_floats"):
                value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                tensor = numpy_helper.from_array(np.array(value, np.float32))
                attribute.CopyFrom(helper.make_attribute("value", tensor))
        if node.domain in STANDARD and node.op_type == "ConstantOfShape" and not node.attribute:
            tensor = numpy_helper.from_array(np.zeros(1, np.float32))
            node.attribute.append(helper.make_attribute("value", tensor))


def _name_nodes(model: Any) -> None:
    taken = Counter(node.name for node in nodes(model))
    seen: set[str] = {""}
    for number, node in enumerate(nodes(model)):
        if node.name in seen:
            name = f"{node.op_type}_{number}"
            while name in taken or name in seen:
                name += "_"
            node.name = name
        seen.add(node.name)


def _drop_repeated_casts(graph: Any) -> None:
    """The fp16 converter adds one Cast for every use of a tensor, all of the same output name: one is enough."""
    made: set[str] = set()
    kept = []
    for node in graph.node:
        if node.op_type != "Cast" or node.output[0] not in made:
            kept.append(node)
        made.update(node.output)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _sort_nodes(graph: Any) -> None:
    """Sorts the nodes so that each stands after those it needs, otherwise in their order (converters append theirs)."""
    maker = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    users: dict[int, list[int]] = {}
    waits = []
    for number, node in enumerate(graph.node):
        needs = {maker[name] for name in reads(node) if name in maker} - {number}
        waits.append(len(needs))
        for need in needs:
            users.setdefault(need, []).append(number)
    ready = [number for number, count in enumerate(waits) if count == 0]
    order = []
    while ready:
        number = heapq.heappop(ready)
        order.append(graph.node[number])
        for user in users.get(number, ()):
            waits[user] -= 1
            if waits[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < len(graph.node):
        raise ValueError("the converted graph has a cycle")
    del graph.node[:]
    graph.node.extend(order)


def reads(node: Any) -> Iterator[str]:
    """The tensors that a node reads, those that its inner graphs take from outside among them."""
    yield from node.input
    for graph in subgraphs(node):
        yield from (value.name for value in graph.output)  # an inner output may be an outer tensor
        for inner in graph.node:
            yield from reads(inner)


def refuse_half(precision: str, model: Any) -> None:
    """Raises Unsupported for a model that has float16 tensors: only an fp32 one can be converted."""
    if holds(model, TensorProto.FLOAT16):
        raise Unsupported(
            f"cannot make the {precision} variant: the model already has float16 tensors; start from the fp32 model, "
            "or use precision as-is"
        )


def refuse_without(precision: str, model: Any, *dtypes: int) -> None:
    """Raises Unsupported for a model without a tensor of these ONNX types: the conversion would change nothing."""
    if not any(holds(model, dtype) for dtype in dtypes):
        raise Unsupported(
            f"cannot make the {precision} variant: the model has no float32 tensor that could be converted; start from "
            "an fp32 model, or use precision as-is"
        )


def holds(model: Any, dtype: int) -> bool:
    """Whether a tensor of an ONNX element type is stored in a model, or told or cast to in its graphs."""
    values = (value for graph in graphs(model.graph) for value in (*graph.input, *graph.output, *graph.value_info))
    casts = (attribute.i for node in nodes(model) for attribute in node.attribute if attribute.name == "to")
    return (
        any(value.type.tensor_type.elem_type == dtype for value in values)
        or any(tensor.data_type == dtype for tensor in tensors(model))
        or dtype in casts
    )
