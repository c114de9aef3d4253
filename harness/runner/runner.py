"""From plans to outcomes: which worker, which reference, in which order."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from harness import artefacts
from harness.backends import SCRIPTED, TWIN_BACKEND
from harness.cache import SAID
from harness.codec import encode
from harness.errors import InputError
from harness.inputs.outline import Outline
from harness.judge import first_line
from harness.records import (
    DEFAULT_ENVIRONMENT,
    Environment,
    Failure,
    Interpreter,
    ModelFile,
    Outcome,
    Plan,
    Reference,
)
from harness.records.plans import ENGINE_SUFFIXES
from harness.runner import REFUSED
from harness.runner.client import Limits, WorkerFailed, WorkerProcess
from harness.runner.health import SickDevice, check_device, of_reference
from harness.runner.scratch import scratch
from harness.runner.start import OWN
from harness.runner.workers import Workers

DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Settings:
    """How a run is made."""

    cache: Path
    timeout_s: float = DEFAULT_TIMEOUT_S
    jobs: int = 1
    keep_outputs: Path | None = None
    retries: int = 0
    """How often a case is measured again that did not fail by itself: see `RETRIED`."""
    worker_memory_mib: int | None = None
    """What a worker and its children may hold of the host's memory."""

    kept_since: float | None = None
    """Nothing that was kept before (seconds since the epoch) is used; None: whatever is kept."""
    trusted: frozenset[str] = frozenset()
    """Digests of engine files that the user or an accepted baseline names."""

    @property
    def limits(self) -> Limits:
        """What one worker may take."""
        return Limits(self.timeout_s, self.worker_memory_mib)


RETRIED = frozenset({"crash", "timeout", "device", "out-of-memory"})


class Refused(Exception):
    """The model has no variant at the precision of a case, in the converter's words."""


class Bench:
    """The workers of one thread, and the references they computed; plans of one model belong on one bench."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held = ExitStack()
        self._scratch = self._held.enter_context(scratch())
        self._workers = Workers(settings.cache, self._scratch / "workers", settings.limits)
        self._sick: SickDevice | None = None
        self._references: dict[str, Path | Failure] = {}
        self._twins: dict[str, Path] = {}
        self._twin_s: float | None = None
        """What the twin of the case at hand took, where it is the first of those that share it."""
        self._variants: dict[str, ModelFile | Failure] = {}
        self._warnings: list[str] = []
        """What the cache said while the case at hand was prepared."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self._workers.close()

    def environment(self, name: str = DEFAULT_ENVIRONMENT) -> Environment:
        """This machine and one interpreter, with the versions of the backends that were asked for; starts a worker."""
        return self._workers.environment(name)

    def environments(self) -> dict[str, Environment]:
        """Every environment that was asked for so far, by name; starts a worker."""
        return self._workers.environments()

    def why_not(self, backend: str, interpreter: Interpreter = OWN) -> str | None:
        """Why the backend cannot be used there; raises WorkerFailed if asking kills the worker."""
        return self._workers.why_not(interpreter, backend)

    def why_not_run(self, backend: str, interpreter: Interpreter = OWN) -> str | None:
        """Why the backend can build but not run there; raises WorkerFailed if asking kills the worker."""
        return self._workers.why_not_run(interpreter, backend)

    def outline(self, model: Path) -> Outline:
        """A model from outside; raises WorkerFailed, of kind input when the file is no usable model."""
        return self._workers.of(OWN).ask(Outline, "outline", model=str(model))

    def outcome(self, plan: Plan) -> Outcome:
        """Everything measured for one plan; whatever goes wrong is in the outcome.

        Raises SickDevice where the device failed its probes after an earlier plan, whose outcome tells so.
        """
        if plan.excluded is not None:
            return excluded(plan.excluded)
        self.raise_sick()
        earlier: list[Failure] = []
        while True:
            outcome = self._attempt(plan, len(earlier) + 1)
            if outcome.error is None:
                break
            self._check_device(plan, outcome.error)
            if self._sick or outcome.error.kind not in RETRIED or len(earlier) == self._settings.retries:
                break
            earlier.append(outcome.error)
            if isinstance(self._references.get(_reference_key(plan)), Failure):
                del self._references[_reference_key(plan)]
        return replace(outcome, attempts=len(earlier) + 1, earlier=tuple(earlier))

    def raise_sick(self) -> None:
        """Raise SickDevice where the device failed its probes."""
        if self._sick is not None:
            raise self._sick

    def _check_device(self, plan: Plan, failure: Failure) -> None:
        """Keep that the device is sick, if it is."""
        try:
            check_device(plan, failure, self._of_reference(plan) if of_reference(failure) else self._worker(plan))
        except SickDevice as sick:
            self._sick = sick
        except WorkerFailed:  # its interpreter starts none, which is no news of the device
            return

    def _attempt(self, plan: Plan, attempt: int) -> Outcome:
        self._twin_s = None
        plan = self._asked(plan)
        try:
            if reason := self.why_not(plan.case.backend, plan.interpreter):
                return Outcome(skipped=reason)
            runs = self.why_not_run(plan.case.backend, plan.interpreter) is None
            plan = plan if plan.interpreter.own else replace(plan, variant=self._variant(plan))
            reference = self._reference(plan) if plan.reference.kind == "backend" and runs else None
            twin = self._twin(plan) if runs and plan.fidelity.enabled and plan.case.backend not in SCRIPTED else None
            keep = self._settings.keep_outputs
            outcome = self._worker(plan).ask(
                Outcome,
                "measure",
                plan=encode(plan),
                reference=str(reference) if reference else None,
                twin=str(twin) if twin else None,
                keep=str(keep / plan.case.id) if keep else None,
                attempt=attempt,
            )
        except Refused as refusal:
            return Outcome(skipped=str(refusal))
        except WorkerFailed as lost:
            return Outcome(error=lost.failure)
        spent: dict[str, float] = {} if self._twin_s is None else {"twin_s": self._twin_s}
        notes = (*outcome.notes, *self._warnings)
        self._warnings.clear()
        for note in notes:
            if note.startswith(SAID):
                print(f"harness: {note}", file=sys.stderr)
        return replace(outcome, notes=notes, stages={**outcome.stages, **spent})

    def debug(self, plan: Plan, step: str, **arguments: Any) -> Any:
        """What the worker of a plan answers to a step of `harness debug`; raises WorkerFailed."""
        return self._worker(plan).request("debug", step=step, plan=encode(self._asked(plan)), **arguments)

    def reference(self, plan: Plan) -> str | None:
        """Where the reference outputs of a plan are; None when they are stored; raises WorkerFailed."""
        return str(self._reference(self._asked(plan))) if plan.reference.kind == "backend" else None

    def kill(self) -> None:
        """End the workers at once, from another thread; what they were asked for fails."""
        self._workers.kill()

    def learn(self, other: Bench) -> None:
        """Take over what another bench found out about environments and backends."""
        self._workers.learn(other._workers)

    def _asked(self, plan: Plan) -> Plan:
        """The plan with what the command line says about kept files and engines."""
        engine, trusted = Path(plan.files.get(plan.case.precision, "")), self._settings.trusted
        if trusted and engine.suffix in ENGINE_SUFFIXES:
            with suppress(InputError):  # the worker tells what is wrong with the file
                trusted = trusted & {artefacts.digest_of(engine)}
                return replace(plan, kept_since=self._settings.kept_since, trusted=tuple(trusted))
        return replace(plan, kept_since=self._settings.kept_since)

    def _worker(self, plan: Plan) -> WorkerProcess:
        return self._workers.of(plan.interpreter, plan.case.backend, plan.case.precision)

    def _of_reference(self, plan: Plan) -> WorkerProcess:
        return self._workers.of(OWN, plan.reference.backend, plan.reference.precision)

    def _variant(self, plan: Plan) -> ModelFile:
        """The file that every environment builds: made once, by the harness's own interpreter.

        Raises Refused where the converter refuses the model, and WorkerFailed where it fails.
        """
        key = _twin_key(plan)
        if key not in self._variants:
            try:
                self._variants[key] = self._workers.of(OWN).ask(ModelFile, "variant", plan=encode(plan))
            except WorkerFailed as lost:
                self._variants[key] = lost.failure
        found = self._variants[key]
        if not isinstance(found, Failure):
            return found
        raise Refused(found.message) if found.kind == "unsupported" else WorkerFailed(found)

    def _reference(self, plan: Plan) -> Path:
        """Where the reference outputs are, computed once; a reference that failed fails every case that needs it."""
        key = _reference_key(plan)
        if key not in self._references:
            folder = self._scratch / "references" / key
            try:
                self._warnings += self._of_reference(plan).ask(
                    tuple[str, ...], "reference", plan=encode(plan), folder=str(folder)
                )
                self._references[key] = folder
            except WorkerFailed as lost:
                self._references[key] = _told(plan.reference, lost.failure)
        found = self._references[key]
        if isinstance(found, Failure):
            raise WorkerFailed(found)
        return found

    def _twin(self, plan: Plan) -> Path:
        """Where the precision twin's outputs are, computed once; or why there are none."""
        key = _twin_key(plan)
        if key not in self._twins:
            folder = self._scratch / "twins" / key
            start = monotonic()
            try:
                worker = self._workers.of(OWN, TWIN_BACKEND)
                made = worker.ask(tuple[float, tuple[str, ...]], "twin", plan=encode(plan), folder=str(folder))
                self._twin_s, warnings = made
                self._warnings += warnings
            except WorkerFailed as lost:
                self._twin_s = monotonic() - start
                folder.mkdir(parents=True, exist_ok=True)
                (folder / REFUSED).write_text(f"{lost.failure.kind}: {first_line(lost.failure.message)}", "utf-8")
            self._twins[key] = folder
        return self._twins[key]


def excluded(reason: str) -> Outcome:
    """The outcome of a case that its suite leaves out."""
    return Outcome(skipped=f"excluded by the suite: {reason}")


def _told(reference: Reference, failure: Failure) -> Failure:
    """The failure of a reference, as its cases tell it."""
    if failure.kind == "input":  # the suite or the model is wrong, whichever backend finds out first
        return replace(failure, stage=failure.stage.removeprefix("reference "))
    words = f"the reference ({reference.backend}, {reference.precision}): {failure.message}"
    return replace(failure, message=words)


def _reference_key(plan: Plan) -> str:
    """Plans with the same key share reference outputs."""
    shapes = (plan.dimensions, plan.shapes, plan.profile)
    parts = (plan.source, plan.files, plan.calibration, shapes, plan.inputs, plan.reference, plan.custom_ops)
    return sha256(json.dumps(encode(parts), sort_keys=True).encode()).hexdigest()[:32]


def _twin_key(plan: Plan) -> str:
    """Plans with the same key share a precision twin: the same variant on the same inputs."""
    shapes = (plan.dimensions, plan.shapes, plan.profile)
    model = (plan.source, plan.files, plan.calibration, shapes, plan.inputs, plan.custom_ops)
    parts = (*model, plan.case.precision, plan.fidelity)
    return sha256(json.dumps(encode(parts), sort_keys=True).encode()).hexdigest()[:32]


def groups(plans: Iterable[Plan]) -> list[list[Plan]]:
    """Plans of one model together, in their order: they share files, references and engines."""
    return [list(group) for _, group in groupby(plans, key=lambda plan: (plan.case.suite, plan.case.model))]


def run(plans: Sequence[Plan], settings: Settings, bench: Bench, done: Callable[[Plan, Outcome], None]) -> None:
    """Measure every plan; `done` is called for each as it ends, by one thread at a time.

    With several jobs, models are spread over as many benches; `bench` is the first of them.
    """
    work: queue.SimpleQueue[list[Plan]] = queue.SimpleQueue()
    for group in groups(plans):
        work.put(group)
    if settings.jobs == 1:
        return _drain(work, bench, done, threading.Event())
    return _spread(work, settings, bench, done)


def _spread(
    work: queue.SimpleQueue[list[Plan]], settings: Settings, bench: Bench, done: Callable[[Plan, Outcome], None]
) -> None:
    stop, lock, failures = threading.Event(), threading.Lock(), []

    def report(own: Bench, plan: Plan, outcome: Outcome) -> None:
        with lock:
            bench.learn(own)  # before it is judged: by the versions that it was measured with
            done(plan, outcome)

    def serve(own: Bench) -> None:
        try:
            with own:
                _drain(work, own, partial(report, own), stop)
        except BaseException as error:
            failures.append(error)
            stop.set()

    benches = [Bench(settings) for _ in range(settings.jobs - 1)]
    threads = [threading.Thread(target=serve, args=(own,)) for own in benches]
    for thread in threads:
        thread.start()
    try:
        _drain(work, bench, partial(report, bench), stop)
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for own in benches:
            own.kill()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]


def _drain(
    work: queue.SimpleQueue[list[Plan]], bench: Bench, done: Callable[[Plan, Outcome], None], stop: threading.Event
) -> None:
    while True:
        try:
            group = work.get_nowait()
        except queue.Empty:
            return
        for plan in group:
            outcome = Outcome() if stop.is_set() else bench.outcome(plan)
            if stop.is_set():  # what was under way has been killed: it says nothing
                return
            done(plan, outcome)
            bench.raise_sick()
