"""What a worker does for one case, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.backends import BACKENDS, BUILT_AT_LOAD, SCRIPTED, TWIN_BACKEND
from harness.backends.base import Artefact, Backend, BuildSpec, Mode, Session, Step
from harness.backends.cuda import one_stream
from harness.cache import Cache
from harness.codec import encode
from harness.environment import describe
from harness.errors import InputError, Unsupported
from harness.inputs.feeds import feeds
from harness.metrics import deviations
from harness.records import (
    Contestant,
    Digests,
    Duel,
    Environment,
    Injection,
    LatencyPlan,
    ModelFile,
    Outcome,
    Plan,
    Source,
)
from harness.runner import builds, footprint, kept, layer_times, serving, tensors, twin_files, twins, windows
from harness.runner.candidate import Answers, Folders, answers, moved_rows, repeats, together
from harness.runner.expected import check_task, unused
from harness.runner.invariance import moves
from harness.runner.prepared import Prepared, samples
from harness.runner.profiles import profile
from harness.runner.repeats import infer_all, keep_unstable, unrepeatable
from harness.runner.stages import Stages
from harness.sources import SOURCES, Fetched
from harness.sources.digest import file_digest
from harness.sources.inspect import inspect
from harness.timing.duel import duel, settings_for
from harness.timing.evidence import watch
from harness.timing.inject import slowed, tail
from harness.timing.scenarios import Shown
from harness.timing.sides import LocalSide
from harness.variants.prepare import is_engine, prepare
from harness.variants.sizes import model_bytes, sizes

REFERENCE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "onnxruntime-cpu": {"threads": 1, "graph_optimization": "disable"},
    "pytorch-cpu": {"threads": 1},
}
"""A reference runs as plainly as its backend can, and follows no script."""


class Steps:
    """Measures cases one after the other; engines that cases share are built once."""

    finds = True
    """Whether engines are looked for in the cache and kept there."""

    def __init__(self, cache: Path, scratch: Path, announce: Callable[[str], None]) -> None:
        self._cache, self._scratch = cache, scratch
        self._warnings: list[str] = []
        self._announce = announce
        self._artefacts: dict[str, Artefact] = {}
        self._environment = describe()

    @property
    def environment(self) -> Environment:
        """This machine and interpreter."""
        return self._environment

    def reference(self, plan: Plan, folder: Path) -> tuple[str, ...]:
        """Write the outputs of the plan's backend reference to a folder, with the digest of the feeds.

        Gives warnings.
        """
        asked = replace(plan.case, backend=plan.reference.backend, precision=plan.reference.precision, chain=())
        files = {precision: file for precision, file in plan.files.items() if precision != "fp32"}  # that is `source`
        options = {**REFERENCE_OPTIONS.get(asked.backend, {}), **_operators(plan, asked.backend)}
        plain = replace(plan, case=asked, options=options, files=files)
        backend = _backend(asked.backend)
        stages = Stages(self._announce_reference, self._gpu(backend))
        if reason := backend.why_not() or backend.why_not_run():
            raise InputError(f"the reference backend {asked.backend} is not available here: {reason}")
        prepared = self._prepare(plain, stages)
        key = kept.outputs_key(backend, plan, prepared, self._environment)
        scripted = asked.backend in SCRIPTED

        def compute() -> bool:
            session, artefact = self._open(backend, prepared, stages)
            with closing(session), stages("infer"):
                batches = prepared.feeds.batches
                outputs = infer_all(session, batches)
                tensors.save(folder, outputs, inputs=prepared.feeds.digest)
                fresh = partial(backend.open, artefact, prepared.spec)
                return keep_unstable(folder, prepared.spec.model, outputs[0], session, fresh, batches[0])

        kept.outputs("references", None if scripted else key, prepared.cache, folder, compute)
        return prepared.cache.told()

    def variant(self, plan: Plan) -> ModelFile:
        """The file that the plan's precision is built from, for a worker of another interpreter."""
        made = self._prepare(plan, Stages(self._announce, None)).variant
        return ModelFile(str(made.path), made.digest, made.notes)

    def twin(self, plan: Plan, folder: Path) -> tuple[float, tuple[str, ...]]:
        """Write the outputs of the plan's precision twin to a folder, and what rounding does to them.

        Gives seconds, and warnings.
        """
        stages = Stages(lambda stage: self._announce(stage if stage == "wait" else "twin"), None)
        prepared = self._prepare(replace(plan, options=_operators(plan, TWIN_BACKEND)), stages)
        if is_engine(prepared.variant.path):
            raise Unsupported("an engine holds no graph that could be computed node by node")
        backend = _backend(TWIN_BACKEND)
        key = kept.outputs_key(backend, plan, prepared, self._environment, fidelity=plan.fidelity)

        def compute() -> bool:
            moved = moves(prepared.info, prepared.feeds.batches[0]) if plan.fidelity.batch else ()
            made = twins.evaluate(backend, prepared.spec, samples(plan, prepared), plan.fidelity, moved, self._scratch)
            twin_files.keep(folder, made, inputs=prepared.feeds.digest)
            return True

        with stages("twin"):
            kept.outputs("twins", key, prepared.cache, folder, compute)
        return stages.seconds["twin_s"], prepared.cache.told()

    def measure(self, plan: Plan, reference: Path | None, twin: Path | None, keep: Path | None) -> Outcome:
        """Everything measured for one case; a runtime that refuses the case makes a skipped outcome."""
        backend = _backend(plan.case.backend)
        stages = Stages(self._announce, self._gpu(backend))
        prepared: Prepared | None = None
        try:
            prepared = self._prepare(plan, stages)
            if reason := backend.why_not_run():
                return self._only_built(backend, prepared, stages, reason)
            return self._measure(plan, backend, prepared, stages, reference, twin, keep)
        except Unsupported as refusal:
            digests = _digests(prepared) if prepared else Digests()
            return Outcome(skipped=str(refusal).strip(), stages=stages.seconds, digests=digests)

    def duel(self, plan: Plan, a: Contestant, b: Contestant, first: str, injected: Injection | None = None) -> Duel:
        """One launch: two artefacts of a case, both resident, are timed in turns; the side `first` is opened first.

        `injected` slows b on purpose. Raises InputError when an artefact is not kept here any more.
        """
        backend = _backend(plan.case.backend)
        stages = Stages(self._announce, self._gpu(backend))
        prepared = self._prepare(replace(plan, variant=ModelFile("", b.digest)), stages)  # nothing is to be converted
        timing, _ = windows.applied(plan.latency, backend.device)
        steps: dict[str, Step] = {}
        with ExitStack() as opened:
            if backend.device == "cuda":
                opened.enter_context(one_stream())
            for name, one in sorted({"a": a, "b": b}.items(), reverse=first == "b"):
                with stages("load"):
                    steps[name] = self._bound(backend, prepared, one, timing, opened)
            with stages("time", alone=True):
                if injected is not None:
                    steps["b"] = opened.enter_context(_slowed(steps["b"], injected))
                sides = {name: opened.enter_context(LocalSide(step)) for name, step in steps.items()}
                settings = settings_for(plan.latency)
                launch = duel(sides["a"], sides["b"], settings, first=first, watch=watch(self._gpu(backend)))
        how = {**settings.record(), **windows.told(timing)}
        return Duel((launch,), sides["b"].decided_on, how, a.digest, a=a, b=b)

    def _bound(
        self, backend: Backend, prepared: Prepared, one: Contestant, timing: LatencyPlan, opened: ExitStack
    ) -> Step:
        """A kept artefact, opened and bound to the first batch; InputError when it is not kept here any more."""
        artefact = Artefact(prepared.cache.artefact(one.digest, reviewed=one.reviewed), one.digest)
        spec = replace(prepared.spec, model=artefact.path, options=one.options, attest=False, mode=windows.mode(timing))
        session = opened.enter_context(closing(backend.open(artefact, spec)))
        return opened.enter_context(windows.readied(session.bind(prepared.feeds.batches[0]), timing))

    def _measure(
        self,
        plan: Plan,
        backend: Backend,
        prepared: Prepared,
        stages: Stages,
        reference: Path | None,
        twin: Path | None,
        keep: Path | None,
    ) -> Outcome:
        folders = Folders(reference, twin, keep)
        weighs = _file_sizes(plan, prepared)  # not later: a model may go while its case is measured
        artefact = self._build(backend, prepared, stages)
        since = footprint.before(self._gpu(backend))  # not earlier: a builder takes more memory than what it builds
        with stages("load"):
            session = backend.open(artefact, prepared.spec)
        with closing(session):
            first = answers(plan, session, prepared, stages, folders, partial(footprint.taken, since))
            repeated = repeats(plan, session, prepared, stages, folders, first)
            repeated += moved_rows(session, prepared, stages, folders, first.outputs, bounded=backend.device == "cuda")
            timed = self._time(plan, backend, artefact, session, prepared, stages)
            loaded = self._serve(plan, backend, artefact, session, prepared, stages)
            unkept = self._kept(plan, artefact, prepared) if timed.latency is not None else ()
            attested = {**session.attested, "options": {**plan.options, **_loaded(plan, prepared.spec)}}
            profiled = layer_times.profile(plan, session, prepared, timed.latency, stages, gpu=backend.device == "cuda")
        numbers = range(2, plan.builds + 1)
        more = (self._rebuilt(plan, backend, prepared, stages, folders, first, number) for number in numbers)
        every = [first, *more]
        variation, notes = together(plan, stages, folders, every)
        return Outcome(
            measurements=builds.worst([build.measured for build in every]) + variation + repeated,
            deviations=deviations.worst([build.deviations for build in every]),
            latency=timed.latency,
            profile=profiled,
            measures={
                **weighs,
                **artefact.measures,
                **first.measures,
                **timed.measures,
                **loaded.measures,
            },
            trials=loaded.trials,
            stages=stages.seconds,
            attested=attested,
            digests=replace(_digests(prepared), engine=artefact.digest),
            notes=(
                *(*plan.notes, *_notes(prepared), *unused(plan.reference, prepared)),
                *(*unrepeatable(repeated), *notes, *timed.notes, *loaded.notes, *unkept, *prepared.cache.told()),
            ),
        )

    def _kept(self, plan: Plan, artefact: Artefact, prepared: Prepared) -> tuple[str, ...]:
        """Keep what was timed for later comparisons; a note where the disk does not take it."""
        if plan.case.backend in SCRIPTED:
            return ()
        try:
            prepared.cache.keep_artefact(artefact.path, artefact.digest or prepared.variant.digest)
        except OSError as error:
            return (f"the artefact is not kept, so it cannot be timed again later (--artefacts): {error}",)
        return ()

    def _rebuilt(
        self,
        plan: Plan,
        backend: Backend,
        prepared: Prepared,
        stages: Stages,
        folders: Folders,
        first: Answers,
        number: int,
    ) -> Answers:
        """What another build of the case answers; the second is number 2."""
        session, _ = self._open(backend, prepared, stages, number)
        with closing(session):
            return answers(plan, session, prepared, stages, folders, expected=first.expected)

    def _prepare(self, plan: Plan, stages: Stages) -> Prepared:
        cache = Cache(self._cache, plan.kept_since, self._warnings)
        with stages("prepare"):
            fetched: Fetched = SOURCES.load(plan.source.kind)(plan.source, self._cache)
            info = inspect(fetched.model)
            check_task(plan.task, info)
            variant = prepare(plan, fetched, info, cache)
            fed = feeds(plan, info, fetched.test_sets, cache)
            spec = BuildSpec(
                case=plan.case.id,
                model=variant.path,
                precision=plan.case.precision,
                profile=profile(plan, info, fed.batches),
                dtypes={tensor.name: tensor.dtype for tensor in (*info.inputs, *info.outputs)},
                options=plan.options,
                source=_of_pytorch(plan),
                weights=fetched.weights,
            )
        return Prepared(fetched, info, variant, fed, spec, cache, plan.builds, plan.trusted)

    def _build(self, backend: Backend, prepared: Prepared, stages: Stages, number: int = 1) -> Artefact:
        """The artefact of one build of the case; builds of other numbers are never served for it."""
        spec = prepared.spec
        name = type(backend).__name__
        built_of = [prepared.variant.digest, encode(spec.source)]  # modules that differ can have the same export
        key = json.dumps([name, *built_of, spec.precision, spec.profile, spec.options, number])
        if spec.options.get("script") or key not in self._artefacts:
            folder = self._scratch / sha256(key.encode()).hexdigest()[:16]
            folder.mkdir(exist_ok=True)
            with stages("build"):
                keep = self.finds and number == 1
                find = keep and prepared.builds == 1
                self._artefacts[key] = kept.own_engine(backend, prepared) or kept.engine(
                    backend, prepared, self._environment, folder, find=find, keep=keep
                )
        return self._artefacts[key]

    def _open(self, backend: Backend, prepared: Prepared, stages: Stages, number: int = 1) -> tuple[Session, Artefact]:
        artefact = self._build(backend, prepared, stages, number)
        with stages("load"):
            return backend.open(artefact, prepared.spec), artefact

    def _only_built(self, backend: Backend, prepared: Prepared, stages: Stages, reason: str) -> Outcome:
        artefact = self._build(backend, prepared, stages)
        size = (artefact.measures.get("engine_bytes") or 0) / 2**20
        return Outcome(
            skipped=f"built ({size:.2f} MiB), not run: {reason}",
            measures=artefact.measures,
            stages=stages.seconds,
            attested=artefact.attested,
            digests=replace(_digests(prepared), engine=artefact.digest),
            notes=(*_notes(prepared), *prepared.cache.told()),
        )

    def _time(
        self, plan: Plan, backend: Backend, artefact: Artefact, session: Session, prepared: Prepared, stages: Stages
    ) -> windows.Timed:
        if not plan.latency.enabled:
            return windows.Timed()

        another = _sessions(backend, artefact, prepared)
        with stages("time", alone=True):
            first = prepared.feeds.batches[0]
            return windows.time(plan.latency, backend.device, session, another, first)

    def _serve(
        self, plan: Plan, backend: Backend, artefact: Artefact, session: Session, prepared: Prepared, stages: Stages
    ) -> Shown:
        if plan.serving is None:
            return Shown({})
        another = _sessions(backend, artefact, prepared)
        with stages("serve", alone=True):
            first = prepared.feeds.batches[0]
            return serving.serve(plan.serving, plan.latency, backend.device, session, another, first)

    def _announce_reference(self, stage: str) -> None:
        self._announce(stage if stage == "wait" else f"reference {stage}")

    def _gpu(self, backend: Backend) -> str | None:
        gpus = self._environment.gpus
        return gpus[0].uuid if backend.device == "cuda" and gpus else None


def _sessions(backend: Backend, artefact: Artefact, prepared: Prepared) -> Callable[[Mode], Session]:
    """What opens further sessions on an artefact."""
    return lambda mode: backend.open(artefact, replace(prepared.spec, mode=mode, attest=False))


def _operators(plan: Plan, backend: str) -> dict[str, Any]:
    """The libraries of operators that a backend needs which computes for another one."""
    return {"custom_ops": list(plan.custom_ops)} if plan.custom_ops and backend == TWIN_BACKEND else {}


def _loaded(plan: Plan, spec: BuildSpec) -> dict[str, Any]:
    """What a session is made from beside its artefact and its options; kept with these, as what `LOADED` names."""
    found: dict[str, Any] = {}
    if libraries := plan.options.get("custom_ops"):
        found["custom_ops_sha256"] = [file_digest(Path(library)) for library in libraries]
    if plan.case.backend in BUILT_AT_LOAD:
        found["profile"] = encode(spec.profile)
    return found


def _backend(name: str) -> Backend:
    made: Backend = BACKENDS.load(name)()
    return made


def _slowed(step: Step, injected: Injection) -> AbstractContextManager[Step]:
    if injected.kind == "tail":
        return tail(step, injected.share, injected.factor)
    return slowed(step, injected.share)


def _file_sizes(plan: Plan, prepared: Prepared) -> dict[str, float | None]:
    """What the built file weighs; of variants also what tells how much pruning won."""
    path = prepared.variant.path
    return {"model_bytes": model_bytes(path), **(sizes(path) if plan.case.chain else {})}


def _of_pytorch(plan: Plan) -> Source | None:
    """The model that PyTorch runs; None where the case is of another file than what was exported from it."""
    other = plan.case.chain or plan.case.precision in plan.files
    return None if other or plan.source.export is None else plan.source


def _digests(prepared: Prepared) -> Digests:
    return Digests(prepared.fetched.sha256, prepared.variant.digest, None, prepared.feeds.digest)


def _notes(prepared: Prepared) -> tuple[str, ...]:
    return (*prepared.variant.notes, *prepared.feeds.notes)
