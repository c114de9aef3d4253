"""The stored inputs and outputs of the ONNX test layout: `test_data_set_*/input_N.pb` and `output_N.pb`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InputError, Unsupported
from harness.inputs.dtypes import Array
from harness.inputs.files import read_proto, to_array
from harness.sources.inspect import ModelInfo, TensorInfo


def stored_inputs(info: ModelInfo, test_sets: Sequence[Path], skip: frozenset[str]) -> tuple[dict[str, Array], ...]:
    """For every test set its inputs but those in `skip`, in the graph's order; InputError when one is missing."""
    return tuple(_tensors(folder, "input", info.inputs, skip) for folder in test_sets)


def stored_outputs(info: ModelInfo, test_sets: Sequence[Path]) -> tuple[dict[str, Array], ...]:
    """For every test set its outputs, in the graph's order.

    Raises InputError when one is missing or damaged, Unsupported for sequences and optionals.
    """
    require_tensors("output", info.outputs)
    return tuple(
        {**_tensors(folder, "output", info.outputs, frozenset()), **_more(folder, info.outputs)} for folder in test_sets
    )


def _more(folder: Path, outputs: Sequence[TensorInfo]) -> dict[str, Array]:
    """Stored outputs that the model does not have (any more): a comparison must miss them."""
    files = [file for file in sorted(folder.glob("output_*.pb"), key=_number) if _number(file) >= len(outputs)]
    return {file.stem: to_array(read_proto(file), file) for file in files}


def require_tensors(role: str, values: Sequence[TensorInfo]) -> None:
    """Raises Unsupported when an input or output (`role`) is not a tensor."""
    for value in values:
        if value.kind != "tensor":
            raise Unsupported(f"{role} '{value.name}' is a {value.kind}: {value.kind} {role}s are not supported yet")


def _tensors(folder: Path, role: str, values: Sequence[TensorInfo], skip: frozenset[str]) -> dict[str, Array]:
    files = sorted(folder.glob(f"{role}_*.pb"), key=lambda file: (_number(file), file.name))
    protos = {_number(file): (file, read_proto(file)) for file in files}
    names = [value.name for value in values]
    stored = [proto.name for _, proto in protos.values()]
    if sorted(stored) == sorted(names):  # the order of the files need not be the graph's where the names fit
        places = {proto.name: number for number, (_, proto) in protos.items()}
    else:
        places = {name: number for number, name in enumerate(names)}
    wanted = [name for name in names if name not in skip]
    for name in wanted:
        if places[name] not in protos:
            hint = ", or name it under `inputs`" if role == "input" else ""
            raise InputError(f"{folder}: {role}_{places[name]}.pb for '{name}' is missing; add it{hint}")
    return {name: to_array(protos[places[name]][1], protos[places[name]][0]) for name in wanted}


def _number(file: Path) -> int:
    match = re.fullmatch(r"(?:input|output)_(\d+)", file.stem)
    return int(match[1]) if match else -1
