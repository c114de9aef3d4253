"""Inputs whose rows are data: read from files of arrays, or prepared from raw files, in the model's types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import Cache
from harness.errors import InputError
from harness.inputs.dtypes import Array, cast, numpy_dtype
from harness.inputs.files import read_array
from harness.inputs.prepared import prepared, prepared_labels
from harness.inputs.room import check_room
from harness.records import InputSpec, Plan
from harness.sources.inspect import ModelInfo, TensorInfo

GIVEN = ("file", "prepared")
"""Kinds of input whose rows are data."""


def given_rows(plan: Plan, info: ModelInfo, notes: dict[str, None], cache: Cache | None) -> dict[str, Array]:
    """The rows of every input that is given, as stored or as prepared from raw files."""
    result = {}
    for tensor in info.inputs:
        spec = plan.inputs.get(tensor.name)
        if spec is None or spec.kind not in GIVEN:
            continue
        array, where = _read(plan, tensor, spec, notes, cache)
        if array.ndim and not len(array):
            raise InputError(f"input '{tensor.name}': {where} has no values{_sliced(spec)}; nothing would be compared")
        result[tensor.name] = as_wanted(tensor, _fitted(plan, tensor, array), where, notes)
    return result


def given_labels(plan: Plan, cache: Cache | None) -> tuple[Array | None, Array | None]:
    """The labels of the task where they come with an input, and that input's lengths where it has some."""
    with _located(plan, plan.task.labels_input or "" if plan.task else ""):
        return prepared_labels(plan, cache)


def _read(
    plan: Plan, tensor: TensorInfo, spec: InputSpec, notes: dict[str, None], cache: Cache | None
) -> tuple[Array, str]:
    """The rows of one input, and where they are from."""
    if spec.preparation is None:
        where = f"{spec.file}[{spec.key}]" if spec.key else str(spec.file)
        return read_array(Path(spec.file or ""), spec.key, spec.slice), where
    decoders = ", ".join(" ".join(one) for one in spec.preparation.versions.items())
    notes[f"input '{tensor.name}': {spec.preparation.kind} prepared with {decoders}"] = None
    with _located(plan, tensor.name):
        return prepared(spec, plan, cache), spec.preparation.source


@contextmanager
def _located(plan: Plan, name: str) -> Iterator[None]:
    """Tells the place in the suite with what is wrong with raw files."""
    try:
        yield
    except InputError as error:
        place = plan.case.location
        raise InputError(f"{place.file}:{place.line}:{place.column}: inputs.{name}: {error}") from None


def _fitted(plan: Plan, tensor: TensorInfo, array: Array) -> Array:
    """The rows of a file; as many as a drawn shape asks for, from the start again where there are too few."""
    first = tensor.dims[0] if tensor.dims else None
    if not plan.fuzzed or not array.ndim or first not in plan.dimensions:
        return array
    rows = plan.dimensions[str(first)]
    check_room(f"input '{tensor.name}'", (rows, *array.shape[1:]), max(8, array.dtype.itemsize))
    return array[np.arange(rows) % len(array)]


def as_wanted(tensor: TensorInfo, array: Array, where: str, notes: dict[str, None]) -> Array:
    """An array in the type of an input; InputError where that would change what it means, or its axes are others."""
    what = f"input '{tensor.name}' from {where}"
    if tensor.dims is not None and len(tensor.dims) != array.ndim:
        raise InputError(f"{what}: expected {len(tensor.dims)} axes {shown(tensor.dims)}, found {list(array.shape)}")
    result, note = cast(array, dtype_of(tensor), what)
    if note:
        notes[note] = None
    return result


def dtype_of(tensor: TensorInfo) -> np.dtype[Any]:
    """The type of an input; InputError where numpy has none."""
    try:
        return numpy_dtype(tensor.dtype)
    except InputError as error:
        raise InputError(f"input '{tensor.name}': {error}") from None


def shown(dims: Sequence[int | str | None]) -> str:
    """The axes of an input in words."""
    return f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"


def _sliced(spec: InputSpec) -> str:
    return f" in the slice {list(spec.slice)}" if spec.slice else ""
