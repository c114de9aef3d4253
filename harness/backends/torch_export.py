"""PyTorch models as ONNX files, by torch.onnx's current exporter (torch.export)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.artefacts import ONNX_NAME
from harness.backends.torch_module import EXTRA, Model
from harness.errors import BuildError, InputError, Unsupported
from harness.records import Export, Source
from harness.sources.walk import nodes

RECIPE = 1
"""Grows when the file that is written for the same model changes."""
PACKAGES = ("torch", "onnxscript", "onnx", "onnx-ir")
INSIDE = 1 << 30
"""Weights of more bytes lie in a file beside the model."""


def versions() -> dict[str, str]:
    """Versions of what takes part in an export; InputError where something is missing."""
    try:
        return {name: version(name) for name in PACKAGES}
    except PackageNotFoundError as error:
        raise InputError(f"{error.name} is not installed, which exports PyTorch models: {EXTRA}") from error


def write(model: Model, source: Source, folder: Path) -> None:
    """Write the model to a folder; BuildError in the exporter's words, InputError where the suite's dims do not fit."""
    spec = source.export
    if spec is None:
        raise InputError(f"{source.path}: the suite does not tell its inputs under `export`")
    feeds = examples(spec)
    told = model.program is not None and spec.outputs  # a program refuses other sizes before its dims can be checked
    outputs = list(spec.outputs) if told else _output_names(model, spec, feeds)
    made = _exported(model, spec, feeds, outputs)
    _check_opset(made, spec.opset)
    _check_dims(made, source, spec)
    _check_names(outputs, len(made.graph.output), feeds)
    _plain(made)
    onnx.save(
        made,
        str(folder / ONNX_NAME),
        save_as_external_data=made.ByteSize() > INSIDE,
        location=f"{ONNX_NAME}.data",
    )


def examples(spec: Export) -> dict[str, Any]:
    """Inputs to trace with; only their types and shapes matter."""
    import torch

    def one(dtype: str, shape: Sequence[int]) -> Any:
        values = np.random.default_rng(0).standard_normal(tuple(shape))
        return torch.from_numpy((values if dtype.startswith("float") else values > 0).astype(dtype))

    return {
        name: one(given.dtype, [spec.sizes[dim] if isinstance(dim, str) else dim for dim in given.dims])
        for name, given in spec.inputs.items()
    }


def leaves(result: Any) -> list[Any]:
    """The tensors that a module returned, in order."""
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def _output_names(model: Model, spec: Export, feeds: Mapping[str, Any]) -> list[str]:
    """A name for every tensor that the model returns; InputError where it does not run, or returns none."""
    result = _returned(model, feeds)
    found = leaves(result)
    if not found:
        raise InputError(f"the model returns no tensor but {type(result).__name__}: nothing could be compared")
    names = list(spec.outputs) or _own_names(result, len(found))
    _check_names(names, len(found), feeds)
    return names


def _check_names(names: Sequence[str], count: int, feeds: Mapping[str, Any]) -> None:
    """InputError where the outputs have other names than there are tensors, or those of inputs."""
    if len(names) != count:
        raise InputError(f"`export: {{outputs}}` has {len(names)} names, and the model returns {count} tensors")
    if both := sorted(set(names) & set(feeds)):
        raise InputError(
            f"'{both[0]}' is an input and an output: name the outputs otherwise under `export: {{outputs}}`"
        )


def _returned(model: Model, feeds: Mapping[str, Any]) -> Any:
    """What the module returns, which may be tensors and None, as the exporter takes them."""
    import torch
    from torch.utils._pytree import tree_leaves

    arguments, named = model.arguments(feeds)
    try:
        with torch.no_grad():
            result = model.module(*arguments, **named)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise InputError(f"the model does not take the inputs under `export`: {words}") from error
    odd = [one for one in tree_leaves(result) if one is not None and not isinstance(one, torch.Tensor)]
    if odd:
        raise InputError(
            f"the model returns {type(odd[0]).__name__} beside or instead of tensors, which no ONNX model does: "
            "wrap it in a module that returns tensors alone"
        )
    return result


def _own_names(result: Any, count: int) -> list[str]:
    import torch

    if isinstance(result, Mapping):
        names = [str(name) for name, value in result.items() if isinstance(value, torch.Tensor)]
        if len(names) == count:
            return names
    return [f"output_{number}" for number in range(count)]


def _exported(model: Model, spec: Export, feeds: Mapping[str, Any], outputs: Sequence[str]) -> Any:
    import torch

    arguments, named = model.arguments(feeds)
    free = {
        name: {axis: dim for axis, dim in enumerate(given.dims) if isinstance(dim, str)}
        for name, given in spec.inputs.items()
    }
    try:
        program = torch.onnx.export(
            model.program or model.module,
            arguments,
            kwargs=named,
            dynamo=True,
            opset_version=spec.opset,
            dynamic_shapes=free,
            input_names=list(feeds),
            output_names=list(outputs),
            verbose=False,
        )
    except ImportError as error:
        raise InputError(f"PyTorch's exporter is not complete ({error}): {EXTRA}") from error
    except Exception as error:
        raise BuildError(f"torch.onnx cannot export the model: {_cause(error)}") from error
    if program is None:
        raise BuildError("torch.onnx exported nothing")
    return program.model_proto


def _cause(error: BaseException) -> str:
    """What went wrong first; the exporter wraps it in advice with colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _check_opset(made: Any, wanted: int) -> None:
    found = {entry.domain: entry.version for entry in made.opset_import}
    if found.get("") != wanted:
        raise Unsupported(
            f"torch.onnx writes opset {found.get('')} and cannot bring the model to {wanted}: "
            "choose another `export: {opset: …}`"
        )


def _check_dims(made: Any, source: Source, spec: Export) -> None:
    """InputError where an axis that the suite names is fixed in the model, or the reverse."""
    inputs = {value.name: value.type.tensor_type.shape.dim for value in made.graph.input}
    for name, given in spec.inputs.items():
        if name not in inputs:
            raise InputError(f"{source.path}: the export has no input '{name}': the model does not use it")
        for axis, (dim, found) in enumerate(zip(given.dims, inputs[name], strict=True)):
            if (found.dim_param or found.dim_value) != dim:
                raise InputError(
                    f"{source.path}: axis {axis} of '{name}' is {dim} in the suite and "
                    f"{found.dim_param or found.dim_value} in what was exported"
                )


def _plain(made: Any) -> None:
    """Leave out what tells of the machine that exported, and what older readers do not take."""
    for part in (made, made.graph, *made.graph.input, *made.graph.output, *made.graph.value_info, *nodes(made)):
        del part.metadata_props[:]
    made.ir_version = onnx.helper.find_min_ir_version_for(made.opset_import)
    _whole_shapes(made.graph)


def _whole_shapes(graph: Any) -> None:
    """Replace Shape(start, end) by a whole Shape and a Gather: TensorRT 8.6's parser overlooks the two attributes."""
    before = list(graph.node)
    del graph.node[:]
    for node in before:
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type != "Shape" or "end" not in bounds:
            graph.node.append(node)
            continue
        whole, wanted = f"{node.output[0]}_whole", f"{node.output[0]}_wanted"
        axes = np.arange(bounds.get("start", 0), bounds["end"], dtype=np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(axes, wanted))
        graph.node.append(onnx.helper.make_node("Shape", node.input, [whole], name=whole))
        graph.node.append(onnx.helper.make_node("Gather", [whole, wanted], node.output, name=node.name, axis=0))
