"""Measures a prepared case: answers, times and load of its first build, the answers of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.backends import BUILT_AT_LOAD, SCRIPTED
from harness.backends.base import Artefact, Backend, BuildSpec, Mode, Session
from harness.codec import encode
from harness.metrics import deviations
from harness.records import Digests, Outcome, Plan
from harness.runner import builds, films, footprint, layer_times, serving, windows
from harness.runner.candidate import Answers, Folders, answers, moved_rows, repeats, together
from harness.runner.expected import unused
from harness.runner.flip import flipped
from harness.runner.fresh import MEASURES, Fresh, fresh
from harness.runner.prepared import Prepared
from harness.runner.repeats import unrepeatable
from harness.runner.stages import Stages
from harness.runner.workshop import Workshop
from harness.sources.digest import file_digest
from harness.timing.scenarios import Shown
from harness.variants.sizes import model_bytes, sizes


@dataclass(frozen=True)
class Opened:
    """A case whose artefact is open in a session."""

    plan: Plan
    backend: Backend
    prepared: Prepared
    artefact: Artefact
    session: Session

    def another(self, mode: Mode) -> Session:
        """One more session on the artefact."""
        return self.backend.open(self.artefact, replace(self.prepared.spec, mode=mode, attest=False))


def measure(
    shop: Workshop, plan: Plan, backend: Backend, prepared: Prepared, stages: Stages, folders: Folders
) -> Outcome:
    """Everything measured for a case that was prepared."""
    weighs = _file_sizes(plan, prepared)  # not later: a model may go while its case is measured
    artefact = shop.build(backend, prepared, stages)
    since = footprint.before(shop.gpu(backend))  # not earlier: a builder takes more memory than what it builds
    with stages("load"):
        session = backend.open(artefact, prepared.spec)
    with closing(session):
        first = answers(plan, session, prepared, stages, folders, partial(footprint.taken, since))
        shown = _shown(Opened(plan, backend, prepared, artefact, session), stages, folders, first)
    alone = _alone(shop, plan, artefact, prepared, stages)  # not earlier: a GPU may not hold the model twice
    every = [first, *_rebuilt(shop, plan, backend, prepared, stages, folders, first)]
    variation, notes = together(plan, stages, folders, every)
    return replace(
        shown,
        measurements=builds.worst([build.measured for build in every]) + variation + shown.measurements,
        deviations=deviations.worst([build.deviations for build in every]),
        measures={**weighs, **artefact.measures, **first.measures, **shown.measures, **alone.measures},
        stages=stages.seconds,
        digests=replace(digests_of(prepared), engine=artefact.digest),
        notes=(
            *(*plan.notes, *_notes(prepared), *unused(plan.reference, prepared)),
            *(*unrepeatable(shown.measurements), *notes, *shown.notes, *alone.notes, *prepared.cache.told()),
        ),
    )


def _shown(case: Opened, stages: Stages, folders: Folders, first: Answers) -> Outcome:
    """What the session of the first build shows beyond its answers: how steady they are, and times."""
    plan, prepared, session = case.plan, case.prepared, case.session
    gpu = case.backend.device == "cuda"
    repeated = repeats(plan, session, prepared, stages, folders, first)
    repeated += moved_rows(session, prepared, stages, folders, first.outputs, bounded=gpu)
    repeated += flipped(plan, session, prepared, stages, folders, first)
    timing, load = timed(case, stages), _served(case, stages)
    unkept = _unkept(case) if timing.latency is not None else ()
    attested, fusion = session.attested, session.fusion()  # not later: what is profiled may be another context
    profiled = layer_times.profile(plan, session, prepared, timing.latency, stages, gpu=gpu)
    fusion, slowest = layer_times.kept(fusion, profiled)
    return Outcome(
        measurements=repeated,
        latency=timing.latency,
        measures={**timing.measures, **load.measures},
        trials=load.trials,
        attested={**attested, "options": {**plan.options, **loaded_with(plan, prepared.spec)}},
        profile=slowest,
        fusion=fusion,
        notes=(*timing.notes, *load.notes, *unkept),
    )


def timed(case: Opened, stages: Stages) -> windows.Timed:
    """The window of the first batch; an empty one where the suite does not time the case."""
    plan = case.plan.latency
    if not plan.enabled:
        return windows.Timed()
    with stages("time", alone=True):
        first = case.prepared.feeds.batches[0]
        return windows.time(plan, case.backend.device, case.session, case.another, first)


def _served(case: Opened, stages: Stages) -> Shown:
    plan, first = case.plan, case.prepared.feeds.batches[0]
    if plan.serving is None:
        return Shown({})
    load = plan.serving.video
    stream = None if load is None else (lambda timing, sessions: films.stream(plan, load, timing, sessions, first))
    with stages("serve", alone=True):
        return serving.serve(plan.serving, plan.latency, case.backend.device, case.session, case.another, first, stream)


def _alone(shop: Workshop, plan: Plan, artefact: Artefact, prepared: Prepared, stages: Stages) -> Fresh:
    """What the case takes in a process of its own, where a limit is set on that."""
    if not {*MEASURES} & {*plan.resources}:
        return Fresh({})
    with stages("cold_start", alone=True):
        return fresh(plan.case.backend, artefact, prepared.spec, prepared.feeds.batches[0], shop.scratch)


def _unkept(case: Opened) -> tuple[str, ...]:
    """Keep what was timed for later comparisons; a note where the disk does not take it."""
    if case.plan.case.backend in SCRIPTED:
        return ()
    try:
        digest = case.artefact.digest or case.prepared.variant.digest
        case.prepared.cache.keep_artefact(case.artefact.path, digest)
    except OSError as error:
        return (f"the artefact is not kept, so it cannot be timed again later (--artefacts): {error}",)
    return ()


def _rebuilt(
    shop: Workshop,
    plan: Plan,
    backend: Backend,
    prepared: Prepared,
    stages: Stages,
    folders: Folders,
    first: Answers,
) -> Iterator[Answers]:
    """What the other builds of the case answer; the first of them is number 2."""
    for number in range(2, plan.builds + 1):
        session, _ = shop.open(backend, prepared, stages, number)
        with closing(session):
            yield answers(plan, session, prepared, stages, folders, expected=first.expected)


def only_built(shop: Workshop, backend: Backend, prepared: Prepared, stages: Stages, reason: str) -> Outcome:
    """A case that is built where it cannot run, for that reason."""
    artefact = shop.build(backend, prepared, stages)
    size = (artefact.measures.get("engine_bytes") or 0) / 2**20
    return Outcome(
        skipped=f"built ({size:.2f} MiB), not run: {reason}",
        measures=artefact.measures,
        stages=stages.seconds,
        attested=artefact.attested,
        digests=replace(digests_of(prepared), engine=artefact.digest),
        notes=(*_notes(prepared), *prepared.cache.told()),
    )


def digests_of(prepared: Prepared) -> Digests:
    """Of what a case is made from; nothing is built yet."""
    return Digests(prepared.fetched.sha256, prepared.variant.digest, None, prepared.feeds.digest)


def loaded_with(plan: Plan, spec: BuildSpec) -> dict[str, Any]:
    """What a session is made from beside its artefact and its options; kept with these, as what `LOADED` names."""
    found: dict[str, Any] = {}
    if libraries := plan.options.get("custom_ops"):
        found["custom_ops_sha256"] = [file_digest(Path(library)) for library in libraries]
    if plan.case.backend in BUILT_AT_LOAD:
        found["profile"] = encode(spec.profile)
    return found


def _file_sizes(plan: Plan, prepared: Prepared) -> dict[str, float | None]:
    """What the built file weighs; of variants also what tells how much pruning won."""
    path = prepared.variant.path
    return {"model_bytes": model_bytes(path), **(sizes(path) if plan.case.chain else {})}


def _notes(prepared: Prepared) -> tuple[str, ...]:
    return (*prepared.variant.notes, *prepared.feeds.notes)
