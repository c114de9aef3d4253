"""Checked entries of a suite file as the records of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from harness.records import (
    AttestationPlan,
    Calibration,
    Export,
    FidelityPlan,
    InputSpec,
    LatencyPlan,
    Reference,
    Task,
    TensorSpec,
)
from harness.sources import FRAMEWORKS
from harness.suites import prepared
from harness.suites.entries import (
    AttestationEntry,
    ExportEntry,
    FidelityEntry,
    InputEntry,
    LatencyEntry,
    ModelEntry,
    ReferenceEntry,
)
from harness.suites.places import Found

Dimensions = Mapping[str, int]
Profile = Mapping[str, tuple[int, int, int]]


def given(entry: BaseModel | None) -> dict[str, Any]:
    """What an entry sets, as plain data; a key without a value, which is a mistake, sets nothing."""
    return entry.model_dump(exclude_unset=True, exclude_none=True) if entry else {}


def profile(entry: ModelEntry, shapes: tuple[Dimensions, ...]) -> Profile | None:
    """The profile of the model; a dimension that it leaves out spans its values in the shapes."""
    if entry.profile is None:
        return None
    spans: dict[str, tuple[int, int, int]] = {}
    for name in dict.fromkeys(name for shape in shapes for name in shape):
        values = [shape.get(name, 1) for shape in shapes]
        spans[name] = (min(values), values[-1], max(values))
    return spans | {name: (low, best, high) for name, (low, best, high) in entry.profile.items()}


def export(entry: ModelEntry, found: Found) -> Export | None:
    """How a framework's model is exported; None for ONNX files.

    PyTorch traces dimensions at their largest size, of which 0 and 1 are special; TensorFlow leaves them free.
    """
    if found.kind not in FRAMEWORKS:
        return None
    given = entry.export or ExportEntry()
    inputs = {name: TensorSpec(one.dtype, tuple(one.dims)) for name, one in given.inputs.items()}
    if FRAMEWORKS[found.kind] != "PyTorch":
        return Export(inputs, tuple(given.outputs), given.opset, {})
    names = dict.fromkeys(dim for one in inputs.values() for dim in one.dims if isinstance(dim, str))
    sizes = {name: max(2, *(shape.get(name, 1) for shape in entry.shapes or [{}])) for name in names}
    return Export(inputs, tuple(given.outputs), given.opset, sizes)


def input_specs(inputs: Mapping[str, InputEntry]) -> dict[str, InputSpec]:
    """How every input tensor is made that the suite says."""
    found: dict[str, InputSpec] = {}
    for name, entry in inputs.items():
        kind = entry.kind()
        found |= prepared.specs(name, entry, kind) if kind in prepared.KEYS else {name: _input_spec(entry)}
    return found


def _input_spec(entry: InputEntry) -> InputSpec:
    bounds = entry.normal or entry.uniform or entry.integers
    return InputSpec(
        kind=entry.kind(),
        file=entry.file,
        key=entry.key,
        slice=_slice(entry.slice),
        range=(float(bounds[0]), float(bounds[1])) if bounds else None,
        seed=entry.seed,
    )


def calibration(entry: ModelEntry) -> Calibration | None:
    """The data for int8, if the suite gives any."""
    found = entry.int8.calibration if entry.int8 else None
    return Calibration(found.file, found.key, found.samples, found.input, found.raw) if found else None


def labelled(inputs: Mapping[str, InputSpec]) -> list[str]:
    """The inputs that bring labels; of one preparation the first."""
    found: dict[str, str] = {}
    for name, spec in inputs.items():
        if spec.preparation is not None and (table := spec.preparation.beside.get("labels")):
            found.setdefault(table, name)
    return list(found.values())


def task(accuracy: Mapping[str, Any], inputs: Mapping[str, InputSpec]) -> Task | None:
    """The task metric, if the suite gives one; without labels of its own it takes those of an input."""
    if "task" not in accuracy:
        return None
    values = dict(accuracy["task"])
    if "tokens" in values:
        values["tokens"] = tuple(values["tokens"])
    labels = values.pop("labels", None)
    if labels is None:
        return Task(labels_input=labelled(inputs)[0], **values)
    rows = _slice(labels.get("slice"))
    return Task(labels_file=labels["file"], labels_key=labels.get("key"), labels_slice=rows, **values)


def reference(entry: ReferenceEntry | None, found: Found, *, own: bool) -> Reference:
    """What to compare with; `own` when the model itself says so, else stored outputs come first."""
    if found.stored and not own:
        return Reference("stored")
    if entry is None:
        return Reference()
    return Reference(entry.kind(), **entry.model_dump(exclude_unset=True, exclude_none=True, exclude={"stored"}))


def fidelity(entry: FidelityEntry | None, *, batch: bool) -> FidelityPlan:
    """How the cases are compared with their precision twins; `batch` with rows in other places as well."""
    return FidelityPlan(**given(entry), batch=batch)


def latency(entry: LatencyEntry | None) -> LatencyPlan:
    """How the cases are timed."""
    return LatencyPlan(**given(entry))


def attestation(entry: AttestationEntry | None) -> AttestationPlan:
    """What must be seen of the precision that ran."""
    return AttestationPlan(**given(entry))


def _slice(values: list[int | None] | None) -> tuple[int | None, ...] | None:
    return tuple(values) if values else None
