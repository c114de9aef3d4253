"""A checked suite as plans: models x backends x precisions x shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

from harness.errors import Problem, did_you_mean
from harness.records import DEFAULT_ENVIRONMENT, Case, Interpreter, Limits, Location, Plan, Source
from harness.sources import FRAMEWORKS
from harness.suites import convert, environments, fuzz, invariance, prepared, serving
from harness.suites.check import Checked
from harness.suites.convert import Dimensions
from harness.suites.document import Document, Key
from harness.suites.drift import drift_at, output_drift_at
from harness.suites.entries import ExcludeEntry, ModelEntry, SuiteEntry
from harness.suites.fields import NO_VARIANT
from harness.suites.find import label
from harness.suites.limits import limits_at, output_limits_at
from harness.suites.merge import with_defaults
from harness.suites.places import Found, Places
from harness.variants.chains import PLAIN, Chain

MAX_CASES = 100_000
"""Cases that one file may make; a few lines can multiply to any number."""
LONGEST_SHAPE = 200
MAX_PROBLEMS = 1000
"""Problems of this kind that are told of one file."""


@dataclass(frozen=True)
class _Model:
    """One model of a file with its defaults merged in."""

    document: Document
    index: int
    entry: ModelEntry
    own_reference: bool
    """The model itself, not the defaults, says what to compare with."""

    def problem(self, key: str, message: str, *inside: Key) -> Problem:
        """A problem of a key, told at the model or at the defaults, whichever sets it."""
        path = ("models", self.index, key)
        if self.document.has(path):
            return self.document.problem((*path, *inside), message)
        return self.document.problem(("defaults", key, *inside), f"{message} (in model '{self.entry.name}')")


def expand(checked: Checked, places: Places) -> tuple[list[Plan], list[Problem]]:
    """The plans of a suite, and the problems that show only when its keys are taken together."""
    suite = checked.suite
    if suite is None:
        return [], []
    models = [
        _Model(checked.document, index, with_defaults(entry, suite.defaults), "reference" in entry.model_fields_set)
        for index, entry in zip(checked.indices, suite.models, strict=True)
    ]
    problems = list(islice(_wrong(suite, checked.document, models, places), MAX_PROBLEMS))
    if problems:
        return [], problems
    here = environments.interpreters(suite, places)
    against = {name: here.get(entry.against or "") for name, entry in suite.environments.items()}
    plans = [
        plan
        for model in models
        for found in model.entry.source
        for plan in _cases(_template(suite, model, found), model.entry, found)
    ]
    return [_placed(plan, here, against) for plan in plans], []


def _wrong(suite: SuiteEntry, document: Document, models: Sequence[_Model], places: Places) -> Iterator[Problem]:
    """Everything that is wrong with keys taken together."""
    yield from environments.wrong(suite, document, places)
    known = environments.names(document)
    for model in models:
        yield from chain(_uncovered(model), _not_stored(model), _nowhere(model, known), _too_long(model))
        yield from chain(_raw(model), _unlabelled(model), _uncalibrated(model), _not_exported(model))
        yield from chain(_unbuilt(model), _unloaded(model), _unmirrored(model))
    yield from _too_many(models)


def _too_many(models: Sequence[_Model]) -> Iterator[Problem]:
    """The model with which the file makes more cases than one may."""
    made = 0
    for model in models:
        entry = model.entry
        shapes = len(entry.shapes or [{}]) + entry.shape_fuzz
        made += len(entry.source) * len(entry.backends) * len(_built(entry)) * shapes
        if made > MAX_CASES:
            yield model.document.problem(("models", model.index), f"makes more than {MAX_CASES} cases of this file")
            return


def _unbuilt(model: _Model) -> Iterator[Problem]:
    """Limits for variants that there are not."""
    made = [one.built_as for one in _built(model.entry)]
    for name in convert.given(model.entry.accuracy).get("variants", {}):
        if name not in made:
            yield model.problem("accuracy", f"no case is built as '{name}'{did_you_mean(name, made)}", "variants", name)


def _placed(plan: Plan, here: Mapping[str, Interpreter], against: Mapping[str, Interpreter | None]) -> Plan:
    name = plan.case.environment
    exporter = here.get(plan.exporter.name, plan.exporter)
    return replace(plan, interpreter=here.get(name, Interpreter(name)), exporter=exporter, against=against.get(name))


def _nowhere(model: _Model, known: frozenset[str]) -> Iterator[Problem]:
    """Backends and exclusions in environments that the file does not have."""
    for position, value in enumerate(model.entry.backends):
        if words := environments.unknown(known, value):
            yield model.problem("backends", words, position)
    if model.entry.export and model.entry.export.environment not in known:
        name = model.entry.export.environment
        yield model.problem("export", f"unknown environment '{name}'{did_you_mean(name, known)}", "environment")
    for position, entry in enumerate(model.entry.exclude):
        if words := environments.unknown(known, entry.backend or ""):
            yield model.problem("exclude", words, position, "backend")


def _not_exported(model: _Model) -> Iterator[Problem]:
    """PyTorch models whose inputs are not told, and sizes of dimensions that no input has."""
    entry = model.entry
    if not any(FRAMEWORKS.get(found.kind) == "PyTorch" for found in entry.source):
        return  # others tell their inputs themselves, or it shows where they are loaded
    if entry.export is None or not entry.export.inputs:
        words = "a PyTorch model does not tell its inputs: name them under `export: {inputs: {image: {dims: [n, 3]}}}`"
        yield model.problem("source", words)
        return
    known = {dim for one in entry.export.inputs.values() for dim in one.dims if isinstance(dim, str)}
    for name in dict.fromkeys(name for shape in entry.shapes or [] for name in shape):
        if name not in known:
            yield model.problem(
                "shapes", f"no input under `export` has the dimension '{name}'{did_you_mean(name, known)}"
            )


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


def _too_long(model: _Model) -> Iterator[Problem]:
    """Shapes whose part of the id is too long for the name of a folder."""
    largest: dict[str, int] = {name: high for name, (_, _, high) in (model.entry.profile or {}).items()}
    for name, value in (pair for shape in model.entry.shapes or [] for pair in shape.items()):
        largest[name] = max(value, largest.get(name, value))
    if len(_name(largest, largest)) > LONGEST_SHAPE:
        message = f"makes a part of case ids that is longer than {LONGEST_SHAPE} characters: it becomes a folder's name"
        yield model.problem("shapes", message)


def _unloaded(model: _Model) -> Iterator[Problem]:
    films = {name: one.every for name, one in model.entry.inputs.items() if one.kind() == "video"}
    for inside, words in serving.wrong(model.entry.serving, convert.latency(model.entry.latency), films):
        yield model.problem("serving", words, *inside)


def _unmirrored(model: _Model) -> Iterator[Problem]:
    """Images to mirror where there are none, and limits on what mirroring changes that nothing is measured for."""
    inputs = convert.input_specs(model.entry.inputs)
    task = convert.given(model.entry.accuracy).get("task", {})
    twin = model.entry.fidelity is None or model.entry.fidelity.enabled
    for inside, words in invariance.wrong(model.entry.invariance, inputs, task, twin=twin):
        yield model.problem("invariance", words, *inside)


def _not_stored(model: _Model) -> Iterator[Problem]:
    reference = model.entry.reference
    if reference and reference.stored:
        for found in model.entry.source:
            if not found.stored:
                yield model.problem("reference", f"'{found.path}' is no folder with test_data_set_*: nothing is stored")


def _raw(model: _Model) -> Iterator[Problem]:
    """Inputs that several entries feed, and what is wrong with raw files and their labels."""
    fed: dict[str, str] = {}
    for name, entry in model.entry.inputs.items():
        for tensor in convert.input_specs({name: entry}):
            if fed.setdefault(tensor, name) != name:
                yield model.problem("inputs", f"'{tensor}' is fed by '{fed[tensor]}' already", name)
        if entry.kind() in prepared.KEYS:
            for inside, line, words in prepared.wrong(entry, entry.kind(), model.entry.shapes or [{}]):
                if line is None:
                    yield model.problem("inputs", words, name, *inside)
                else:
                    yield Problem(label(Path(str(entry.labels))), line, 1, "", words)


def _uncalibrated(model: _Model) -> Iterator[Problem]:
    """Raw files for int8 where no input is made from such."""
    found = model.entry.int8.calibration if model.entry.int8 else None
    if found and found.raw and not any(entry.kind() in prepared.KEYS for entry in model.entry.inputs.values()):
        told = "is prepared as an input is, and none is made from raw files"
        yield model.problem("int8", told, "calibration", "raw")


def _unlabelled(model: _Model) -> Iterator[Problem]:
    """A task metric without labels of its own where not exactly one input brings some."""
    accuracy = convert.given(model.entry.accuracy)
    if "task" in accuracy and "labels" not in accuracy["task"]:
        found = convert.labelled(convert.input_specs(model.entry.inputs))
        if len(found) != 1:
            told = f"those of {' and '.join(found)} could be meant" if found else "and no input brings any"
            yield model.problem("accuracy", f"the required key 'labels' is missing, {told}", "task")


def _template(suite: SuiteEntry, model: _Model, found: Found) -> Plan:
    """What all cases of one model file share; only `case` is not yet that of a case."""
    entry = model.entry
    name = f"{entry.name}/{found.match}" if found.match else entry.name
    tags = tuple(dict.fromkeys((*suite.tags, *entry.tags)))
    location = Location(model.document.label, *model.document.position(("models", model.index)))
    shapes: tuple[Dimensions, ...] = tuple(entry.shapes or ())
    inputs = convert.input_specs(entry.inputs)
    return Plan(
        case=Case("", suite.suite, name, "", "", "", tags, location),
        source=Source(found.kind, found.path, entry.sha256, found.beside, convert.export(entry, found)),
        exporter=Interpreter(entry.export.environment) if entry.export else Interpreter(),
        dimensions={},
        shapes=shapes,
        profile=convert.profile(entry, shapes),
        files=entry.files,
        inputs=inputs,
        calibration=convert.calibration(entry),
        reference=convert.reference(entry.reference, found, own=model.own_reference),
        limits={},
        output_limits={},
        task=convert.task(convert.given(entry.accuracy), inputs),
        latency=convert.latency(entry.latency),
        resources=convert.given(entry.resources),
        serving=serving.serving(entry.serving),
        fidelity=convert.fidelity(entry.fidelity, batch=invariance.moves_rows(entry.invariance)),
        flip=invariance.flip(entry.invariance, inputs),
        attestation=convert.attestation(entry.attestation),
        builds=entry.builds,
        options={},
    )


def _cases(template: Plan, entry: ModelEntry, found: Found) -> Iterator[Plan]:
    accuracy, options = convert.given(entry.accuracy), convert.given(entry.options)
    drift = convert.given(entry.drift)
    built = _built(entry)
    held = {one: _limits(one, accuracy) for one in built}
    shaped = _shaped(template, entry, found)
    for backend, one, (shape, model) in product(entry.backends, built, shaped):
        precision = str(one.precision)
        yield replace(
            model,
            case=_case(model.case, backend, one, shape),
            changed=one.changes,
            limits=held[one][0],
            output_limits=held[one][1],
            options=_options(backend.partition("@")[0], one, options),
            custom_ops=tuple(options.get("onnxruntime-cpu", {}).get("custom_ops") or ()),
            drift=drift_at(precision, drift),
            output_drift=output_drift_at(precision, drift),
            excluded=_excluded(entry.exclude, backend, one, model.dimensions),
        )


def _options(backend: str, built: Chain, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of a backend; what a variant of ours stores in few bits is multiplied as it says, unless the suite does."""
    own: Mapping[str, Any] = options.get(backend, {})
    ours = backend == "onnxruntime-cpu" and any(step.startswith("weights-") for step in built.steps)
    return {"weight_only_products": "float", **own} if ours else own


def _built(entry: ModelEntry) -> list[Chain]:
    """What the model is built as, each once: precisions alone, then every chain at its own or at all of them."""
    chains = [PLAIN, *(entry.variants or ())]
    at = [(one, [one.precision] if one.precision else entry.precisions) for one in chains]
    return list(dict.fromkeys(replace(one, precision=name) for one, names in at for name in names))


def _limits(built: Chain, accuracy: Mapping[str, Any]) -> tuple[Limits, Mapping[str, Limits]]:
    """The limits of a model built so; what changes it on purpose has those of its variant, not of its precision."""
    if not built.changes:
        return limits_at(str(built.precision), accuracy), output_limits_at(str(built.precision), accuracy)
    own = accuracy.get("variants", {}).get(built.built_as, {})
    return {**limits_at("", accuracy), **own}, output_limits_at("", accuracy)


def _case(model: Case, runs_on: str, built: Chain, shape: str) -> Case:
    backend, _, name = runs_on.partition("@")
    environment = name or DEFAULT_ENVIRONMENT
    case_id = f"{model.suite}/{model.model}/{runs_on}/{built.built_as}/{shape}"
    made = replace(model, id=case_id, backend=backend, shape=shape, environment=environment)
    return replace(made, precision=str(built.precision), chain=built.steps)


def _shaped(template: Plan, entry: ModelEntry, found: Found) -> list[tuple[str, Plan]]:
    """The template for every listed and every drawn shape, with the shape's part of the id."""
    drawn, notes = _drawn(template, entry, found)
    listed = [replace(template, dimensions=shape, notes=notes) for shape in template.shapes or ({},)]
    tags = tuple(dict.fromkeys((*template.case.tags, "fuzz")))
    fuzzed = replace(
        template,
        case=replace(template.case, tags=tags),
        latency=replace(template.latency, enabled=False, budget={}),
        resources={},
        serving=None,
        flip=None,
        task=None,
        fuzzed=True,
    )
    order = dict.fromkeys(name for shape in (*template.shapes, *drawn) for name in shape)
    models = [*listed, *(replace(fuzzed, dimensions=shape) for shape in drawn)]
    return [(_name(order, model.dimensions), model) for model in models]


def _drawn(template: Plan, entry: ModelEntry, found: Found) -> tuple[list[dict[str, int]], tuple[str, ...]]:
    """The shapes that `shape_fuzz` draws, and a note where it cannot have as many as it asks for."""
    wanted = entry.shape_fuzz
    given = "test_data_set folders fix the shapes" if found.stored else "the file of the reference fixes the shapes"
    if wanted and (found.stored or template.reference.kind != "backend"):
        return [], (f"shape_fuzz: no shape of {wanted} was drawn: {given}",)
    within = fuzz.spans(template.shapes, entry.profile)
    drawn = fuzz.draw(f"{template.case.suite}/{template.case.model}", wanted, template.shapes, within)
    fewer = f"shape_fuzz: {len(drawn)} of {wanted} shapes were drawn: shapes and profile span no more"
    return drawn, (fewer,) if len(drawn) < wanted else ()


def _name(order: Iterable[str], shape: Dimensions) -> str:
    """A shape's part of the id: dimensions in the order in which they first appear."""
    return ".".join(f"{name}-{shape[name]}" for name in order if name in shape) or "static"


def _excluded(entries: Sequence[ExcludeEntry], runs_on: str, built: Chain, dimensions: Dimensions) -> str | None:
    for entry in entries:
        fits = entry.backend in (None, runs_on, runs_on.partition("@")[0]) and entry.precision in (
            None,
            built.precision,
        )
        fits &= entry.variant in (None, *(built.steps or (NO_VARIANT,)))
        if fits and (entry.shape or {}).items() <= dimensions.items():
            return entry.reason
    return None
