"""A checked suite as plans: models x backends x precisions x shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from harness.errors import Problem
from harness.records import Case, Location, Plan, Source
from harness.suites import convert
from harness.suites.check import Checked
from harness.suites.convert import Dimensions
from harness.suites.document import Document
from harness.suites.drift import drift_at, output_drift_at
from harness.suites.entries import ExcludeEntry, ModelEntry, SuiteEntry
from harness.suites.limits import limits_at, output_limits_at
from harness.suites.merge import with_defaults
from harness.suites.places import Found


@dataclass(frozen=True)
class _Model:
    """One model of a file with its defaults merged in."""

    document: Document
    index: int
    entry: ModelEntry
    own_reference: bool
    """The model itself, not the defaults, says what to compare with."""

    def problem(self, key: str, message: str) -> Problem:
        """A problem of a key, told at the model or at the defaults, whichever sets it."""
        path = ("models", self.index, key)
        if self.document.has(path):
            return self.document.problem(path, message)
        return self.document.problem(("defaults", key), f"{message} (in model '{self.entry.name}')")


def expand(checked: Checked) -> tuple[list[Plan], list[Problem]]:
    """The plans of a suite, and the problems that show only when its keys are taken together."""
    suite = checked.suite
    if suite is None:
        return [], []
    plans: list[Plan] = []
    problems: list[Problem] = []
    for index, entry in zip(checked.indices, suite.models, strict=True):
        merged = with_defaults(entry, suite.defaults)
        model = _Model(checked.document, index, merged, "reference" in entry.model_fields_set)
        wrong = [*_uncovered(model), *_not_stored(model)]
        problems += wrong
        if not wrong:
            plans += [plan for found in merged.source for plan in _cases(_template(suite, model, found), merged)]
    return plans, problems


def _uncovered(model: _Model) -> Iterator[Problem]:
    """Dimensions whose values lie outside the profile; an unset one is 1."""
    for name, (low, _, high) in (model.entry.profile or {}).items():
        for shape in model.entry.shapes or [{}]:
            value = shape.get(name, 1)
            if not low <= value <= high:
                unset = "" if name in shape else " (not set: 1)"
                message = f"'{name}' spans {low} to {high} and leaves out {value}, which shapes asks for{unset}"
                yield model.problem("profile", message)
                break


def _not_stored(model: _Model) -> Iterator[Problem]:
    reference = model.entry.reference
    if reference and reference.stored:
        for found in model.entry.source:
            if not found.stored:
                yield model.problem("reference", f"'{found.path}' is no folder with test_data_set_*: nothing is stored")


def _template(suite: SuiteEntry, model: _Model, found: Found) -> Plan:
    """What all cases of one model file share; only `case` is not yet that of a case."""
    entry = model.entry
    name = f"{entry.name}/{found.match}" if found.match else entry.name
    tags = tuple(dict.fromkeys((*suite.tags, *entry.tags)))
    location = Location(model.document.label, *model.document.position(("models", model.index)))
    shapes: tuple[Dimensions, ...] = tuple(entry.shapes or ())
    return Plan(
        case=Case("", suite.suite, name, "", "", "", tags, location),
        source=Source(found.kind, found.path, entry.sha256),
        dimensions={},
        shapes=shapes,
        profile=convert.profile(entry, shapes),
        files=entry.files,
        inputs={tensor: convert.input_spec(spec) for tensor, spec in entry.inputs.items()},
        calibration=convert.calibration(entry),
        reference=convert.reference(entry.reference, found, own=model.own_reference),
        limits={},
        output_limits={},
        task=convert.task(convert.given(entry.accuracy)),
        latency=convert.latency(entry.latency),
        fidelity=convert.fidelity(entry.fidelity),
        attestation=convert.attestation(entry.attestation),
        options={},
    )


def _cases(template: Plan, entry: ModelEntry) -> Iterator[Plan]:
    accuracy, options = convert.given(entry.accuracy), convert.given(entry.options)
    drift = convert.given(entry.drift)
    limits = {precision: limits_at(precision, accuracy) for precision in entry.precisions}
    output_limits = {precision: output_limits_at(precision, accuracy) for precision in entry.precisions}
    for backend, precision, (shape, dimensions) in product(entry.backends, entry.precisions, _named(template.shapes)):
        yield replace(
            template,
            case=_case(template.case, backend, precision, shape),
            dimensions=dimensions,
            limits=limits[precision],
            output_limits=output_limits[precision],
            options=options.get(backend, {}),
            drift=drift_at(precision, drift),
            output_drift=output_drift_at(precision, drift),
            excluded=_excluded(entry.exclude, backend, precision, dimensions),
        )


def _case(model: Case, backend: str, precision: str, shape: str) -> Case:
    case_id = f"{model.suite}/{model.model}/{backend}/{precision}/{shape}"
    return replace(model, id=case_id, backend=backend, precision=precision, shape=shape)


def _named(shapes: Sequence[Dimensions]) -> list[tuple[str, Dimensions]]:
    """Shapes with their part of the id, dimensions in the order in which they first appear."""
    order = dict.fromkeys(name for shape in shapes for name in shape)
    named = [(".".join(f"{name}-{shape[name]}" for name in order if name in shape), shape) for shape in shapes]
    return named or [("static", {})]


def _excluded(entries: Sequence[ExcludeEntry], backend: str, precision: str, dimensions: Dimensions) -> str | None:
    for entry in entries:
        fits = entry.backend in (None, backend) and entry.precision in (None, precision)
        if fits and (entry.shape or {}).items() <= dimensions.items():
            return entry.reason
    return None
