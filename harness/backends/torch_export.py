"""PyTorch models as ONNX files, by torch.onnx's current exporter (torch.export)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.exported_file import check_names, check_opset, plain, save
from harness.backends.torch_module import EXTRA, Model
from harness.errors import BuildError, InputError
from harness.records import Export, Source

PACKAGES = ("torch", "onnxscript", "onnx", "onnx-ir")
"""What takes part in an export."""


def write(model: Model, source: Source, folder: Path) -> None:
    """Write the model to a folder; BuildError in the exporter's words, InputError where the suite's dims do not fit."""
    spec = source.export
    if spec is None:
        raise InputError(f"{source.path}: the suite does not tell its inputs under `export`")
    feeds = examples(spec)
    told = model.program is not None and spec.outputs  # a program refuses other sizes before its dims can be checked
    outputs = list(spec.outputs) if told else _output_names(model, spec, feeds)
    made = _exported(model, spec, feeds, outputs)
    check_opset(made, spec.opset, "torch.onnx")
    _check_dims(made, source, spec)
    check_names(outputs, len(made.graph.output), feeds)
    save(plain(made), folder)


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
    check_names(names, len(found), feeds)
    return names


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
