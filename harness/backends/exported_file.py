"""The ONNX file of an exported model, whatever wrote it: what is checked of it, and how it is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.artefacts import ONNX_NAME
from harness.errors import InputError, Unsupported
from harness.sources.walk import nodes

INSIDE = 1 << 30
"""Weights of more bytes lie in a file beside the model."""


def versions(packages: Sequence[str], extra: str) -> dict[str, str]:
    """Versions of what takes part in an export; InputError, naming the extra, where something is missing."""
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError as error:
        raise InputError(f"{error.name} is not installed, which takes part in the export: {extra}") from error


def check_names(names: Sequence[str], count: int, inputs: Collection[str]) -> None:
    """InputError where the outputs have other names than there are tensors, or those of inputs."""
    if len(names) != count:
        raise InputError(f"`export: {{outputs}}` has {len(names)} names, and the model returns {count} tensors")
    if both := sorted(set(names) & set(inputs)):
        raise InputError(
            f"'{both[0]}' is an input and an output: name the outputs otherwise under `export: {{outputs}}`"
        )


def check_opset(made: Any, wanted: int, writer: str) -> None:
    """Unsupported where a file has another opset than the suite wants."""
    found = {entry.domain: entry.version for entry in made.opset_import}
    if found.get("") != wanted:
        raise Unsupported(
            f"{writer} writes opset {found.get('')} and cannot bring the model to {wanted}: "
            "choose another `export: {opset: …}`"
        )


def plain(made: Any) -> Any:
    """The same without what tells of the machine that exported, and what older readers do not take."""
    for part in (made, made.graph, *made.graph.input, *made.graph.output, *made.graph.value_info, *nodes(made)):
        del part.metadata_props[:]
    made.ir_version = onnx.helper.find_min_ir_version_for(made.opset_import)
    _whole_shapes(made.graph)
    return made


def save(made: Any, folder: Path) -> None:
    """Write the model to a folder, large weights beside it."""
    external = made.ByteSize() > INSIDE
    onnx.save(made, str(folder / ONNX_NAME), save_as_external_data=external, location=f"{ONNX_NAME}.data")


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
