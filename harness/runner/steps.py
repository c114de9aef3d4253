"""What a worker does for one case, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from harness.backends import BACKENDS
from harness.backends.base import Artefact, Backend, BuildSpec, Session, Tensor
from harness.environment import describe
from harness.errors import InputError, Unsupported
from harness.inputs.feeds import Feeds, feeds
from harness.inputs.files import keys, read_array
from harness.inputs.stored import stored_outputs
from harness.metrics import TASKS
from harness.metrics.compare import compare
from harness.records import Digests, Environment, Latency, Measurement, Outcome, Plan, Reference, Task
from harness.runner import tensors
from harness.runner.lock import device_locks
from harness.runner.profiles import profile
from harness.sources import SOURCES, Fetched
from harness.sources.inspect import ModelInfo, inspect
from harness.timing.loop import measure as measure_latency
from harness.variants import Variant
from harness.variants.prepare import prepare

REFERENCE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "onnxruntime-cpu": {"threads": 1, "graph_optimization": "disable"},
}
"""A reference runs as plainly as its backend can, and follows no script."""

Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Prepared:
    """A case with its files and feeds at hand."""

    fetched: Fetched
    info: ModelInfo
    variant: Variant
    feeds: Feeds
    spec: BuildSpec


@dataclass
class Stages:
    """Seconds spent in each stage of one case; `announce` tells the parent which one begins."""

    announce: Callable[[str], None]
    gpu: str | None
    """UUID of the GPU that the case runs on; None: it runs on the CPU."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, *, alone: bool = False) -> Iterator[None]:
        """One stage; waiting for the device counts neither as the stage nor towards its time-out."""
        self.announce("wait")
        with device_locks(self.gpu, alone=alone):
            self.announce(name)
            start = perf_counter()
            try:
                yield
            finally:
                self.seconds[f"{name}_s"] = self.seconds.get(f"{name}_s", 0.0) + perf_counter() - start


class Steps:
    """Measures cases one after the other; engines that cases share are built once."""

    def __init__(self, cache: Path, scratch: Path, announce: Callable[[str], None]) -> None:
        self._cache, self._scratch = cache, scratch
        self._announce = announce
        self._artefacts: dict[str, Artefact] = {}
        self._environment = describe()

    @property
    def environment(self) -> Environment:
        """This machine and interpreter."""
        return self._environment

    def reference(self, plan: Plan, folder: Path) -> None:
        """Write the outputs of the plan's backend reference to a folder, with the digest of the feeds."""
        asked = replace(plan.case, backend=plan.reference.backend, precision=plan.reference.precision)
        plain = replace(plan, case=asked, options=REFERENCE_OPTIONS.get(asked.backend, {}))
        backend = _backend(asked.backend)
        stages = Stages(self._announce_reference, self._gpu(backend))
        if reason := backend.why_not() or backend.why_not_run():
            raise InputError(f"the reference backend {asked.backend} is not available here: {reason}")
        prepared = self._prepare(plain, stages)
        session = self._open(backend, prepared, stages)[0]
        try:
            with stages("infer"):
                outputs = [session.infer(batch) for batch in prepared.feeds.batches]
                tensors.save(folder, outputs, inputs=prepared.feeds.digest)
        finally:
            session.close()

    def measure(self, plan: Plan, reference: Path | None, keep: Path | None) -> Outcome:
        """Everything measured for one case; a runtime that refuses the case makes a skipped outcome."""
        backend = _backend(plan.case.backend)
        stages = Stages(self._announce, self._gpu(backend))
        prepared: Prepared | None = None
        try:
            prepared = self._prepare(plan, stages)
            if reason := backend.why_not_run():
                return self._only_built(backend, prepared, stages, reason)
            return self._measure(plan, backend, prepared, stages, reference, keep)
        except Unsupported as refusal:
            digests = _digests(prepared) if prepared else Digests()
            return Outcome(skipped=str(refusal).strip(), stages=stages.seconds, digests=digests)

    def _measure(
        self,
        plan: Plan,
        backend: Backend,
        prepared: Prepared,
        stages: Stages,
        reference: Path | None,
        keep: Path | None,
    ) -> Outcome:
        session, artefact = self._open(backend, prepared, stages)
        try:
            candidate, first_ms = self._infer(session, prepared, stages)
            with stages("compare"):
                expected = _expected(plan, prepared, reference)
                measured = compare(plan, expected, candidate) + _task(plan.task, expected, candidate)
                if keep is not None:
                    tensors.save(keep / "candidate", candidate)
                    tensors.save(keep / "reference", expected)
            latency = self._time(plan, session, prepared, stages)
        finally:
            session.close()
        return Outcome(
            measurements=measured,
            latency=latency,
            measures={**artefact.measures, "first_infer_ms": first_ms},
            stages=stages.seconds,
            attested={**session.attested, "options": dict(plan.options)},
            digests=replace(_digests(prepared), engine=artefact.digest),
            notes=(*_notes(prepared), *_unused(plan.reference, prepared)),
        )

    def _prepare(self, plan: Plan, stages: Stages) -> Prepared:
        with stages("prepare"):
            fetched: Fetched = SOURCES.load(plan.source.kind)(plan.source, self._cache)
            info = inspect(fetched.model)
            variant = prepare(plan, fetched, info, self._cache)
            fed = feeds(plan, info, fetched.test_sets)
            spec = BuildSpec(
                case=plan.case.id,
                model=variant.path,
                precision=plan.case.precision,
                profile=profile(plan, info, fed.batches),
                dtypes={tensor.name: tensor.dtype for tensor in (*info.inputs, *info.outputs)},
                options=plan.options,
            )
        return Prepared(fetched, info, variant, fed, spec)

    def _build(self, backend: Backend, prepared: Prepared, stages: Stages) -> Artefact:
        spec = prepared.spec
        key = json.dumps([type(backend).__name__, prepared.variant.digest, spec.precision, spec.profile, spec.options])
        if spec.options.get("script") or key not in self._artefacts:
            folder = self._scratch / sha256(key.encode()).hexdigest()[:16]
            folder.mkdir(exist_ok=True)
            with stages("build"):
                start = perf_counter()
                built = backend.build(spec, folder)
            if built.digest:
                built = replace(built, measures={**built.measures, "build_s": perf_counter() - start})
            self._artefacts[key] = built
        return self._artefacts[key]

    def _open(self, backend: Backend, prepared: Prepared, stages: Stages) -> tuple[Session, Artefact]:
        artefact = self._build(backend, prepared, stages)
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
            notes=_notes(prepared),
        )

    def _infer(self, session: Session, prepared: Prepared, stages: Stages) -> tuple[list[dict[str, Tensor]], float]:
        with stages("infer"):
            start = perf_counter()
            outputs = [session.infer(prepared.feeds.batches[0])]
            first_ms = (perf_counter() - start) * 1e3
            outputs += [session.infer(batch) for batch in prepared.feeds.batches[1:]]
        return outputs, first_ms

    def _time(self, plan: Plan, session: Session, prepared: Prepared, stages: Stages) -> Latency | None:
        if not plan.latency.enabled:
            return None
        with stages("time", alone=True):
            return measure_latency(session.bind(prepared.feeds.batches[0]), plan.latency)

    def _announce_reference(self, stage: str) -> None:
        self._announce(stage if stage == "wait" else f"reference {stage}")

    def _gpu(self, backend: Backend) -> str | None:
        gpus = self._environment.gpus
        return gpus[0].uuid if backend.device == "cuda" and gpus else None


def _backend(name: str) -> Backend:
    made: Backend = BACKENDS.load(name)()
    return made


def _digests(prepared: Prepared) -> Digests:
    return Digests(prepared.fetched.sha256, prepared.variant.digest, None, prepared.feeds.digest)


def _notes(prepared: Prepared) -> tuple[str, ...]:
    return (*prepared.variant.notes, *prepared.feeds.notes)


def _expected(plan: Plan, prepared: Prepared, folder: Path | None) -> Batches:
    """The reference outputs, batch by batch; InputError when they do not belong to these feeds."""
    if plan.reference.kind == "stored":
        return stored_outputs(prepared.info, prepared.fetched.test_sets)
    if plan.reference.kind == "file":
        return _from_file(Path(plan.reference.file or ""), prepared)
    if folder is None:
        raise InputError("the reference was not computed")
    batches, about = tensors.load(folder)
    if about["inputs"] != prepared.feeds.digest:
        raise InputError("the inputs changed after the reference was computed: run again while nothing writes to them")
    return batches


def _from_file(path: Path, prepared: Prepared) -> Batches:
    """The rows of every output in a reference file, cut as the inputs are."""
    names = [tensor.name for tensor in prepared.info.outputs]
    if path.suffix != ".npz" and len(names) > 1:
        raise InputError(f"{path}: holds one array, the model has {len(names)} outputs: give an .npz file")
    whole = {name: read_array(path, name if path.suffix == ".npz" else None, None) for name in names}
    batches = prepared.feeds.batches
    return [whole] if len(batches) == 1 else _cut(path, whole, batches)


def _unused(reference: Reference, prepared: Prepared) -> list[str]:
    """A note on arrays of a reference file that no output was compared with: an output may have been lost."""
    path = Path(reference.file or "")
    if reference.kind != "file" or path.suffix != ".npz":
        return []
    more = sorted(set(keys(path)) - {tensor.name for tensor in prepared.info.outputs})
    return [f"{path.name} holds arrays that are no outputs: {', '.join(more)}"] if more else []


def _cut(path: Path, whole: Mapping[str, Tensor], batches: Batches) -> Batches:
    """The rows of whole arrays that belong to each batch; an output may have several rows for one of an input."""
    sizes = {name: [len(batch[name]) if batch[name].ndim else 1 for batch in batches] for name in batches[0]}
    cut = {name: _rows(path, name, values, list(sizes.values())) for name, values in whole.items()}
    return [{name: parts[position] for name, parts in cut.items()} for position in range(len(batches))]


def _rows(path: Path, name: str, values: Tensor, inputs: list[list[int]]) -> list[Tensor]:
    for sizes in inputs:
        if values.ndim and sum(sizes) and len(values) and len(values) % sum(sizes) == 0:
            each = len(values) // sum(sizes)
            return [values[a * each : b * each] for a, b in pairwise([0, *accumulate(sizes)])]
    raise InputError(f"{path}: '{name}' has shape {list(values.shape)}, the inputs have {sum(inputs[0])} rows")


def _task(task: Task | None, expected: Batches, candidate: Batches) -> tuple[Measurement, ...]:
    """The task metric of the candidate and of the reference; none when the output is missing (that fails anyway)."""
    if task is None or any(task.output not in outputs for outputs in candidate):
        return ()
    if any(task.output not in outputs for outputs in expected):
        raise InputError(f"the task metric {task.metric} wants output '{task.output}', which the reference lacks")
    labels = read_array(Path(task.labels_file), task.labels_key, task.labels_slice)
    score = TASKS.load(task.metric).measure
    values = [
        score(np.concatenate([outputs[task.output] for outputs in side]), labels) for side in (candidate, expected)
    ]
    return (
        Measurement(task.output, task.metric, values[0]),
        Measurement(task.output, f"{task.metric}_reference", values[1]),
    )
