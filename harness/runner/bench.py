"""From plans to outcomes: which worker, which reference, in which order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from harness import artefacts
from harness.backends import EXPORTER, OF_MODULES, SCRIPTED, TWIN_BACKEND
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
    Measurement,
    ModelFile,
    Outcome,
    Plan,
    Reference,
)
from harness.records.plans import ENGINE_SUFFIXES
from harness.records.support import Facts
from harness.runner import REFUSED
from harness.runner.client import WorkerFailed, WorkerProcess
from harness.runner.health import SickDevice, check_device, of_reference
from harness.runner.scratch import scratch
from harness.runner.settings import Settings
from harness.runner.shared import Shared, export_key, in_fp32, reference_key, twin_key
from harness.runner.start import OWN
from harness.runner.workers import Told, Workers

LOST = frozenset({"crash", "device", "harness"})
"""What becomes of a worker by no fault of what it was asked for, as far as one can tell the first time."""
T = TypeVar("T")
RETRIED = frozenset({"crash", "timeout", "device", "out-of-memory"})


UNTWINNED = Measurement(None, "twin", None, detail="PyTorch rounds where the module does, not where its export does")


class Refused(Exception):
    """The model has no variant at the precision of a case, in the converter's words."""


class Bench:
    """The workers of one thread, and the references they computed; plans of one model belong on one bench."""

    def __init__(self, settings: Settings, shared: Shared | None = None) -> None:
        """`shared` is what another bench of the same run has; it stays open longer than this one."""
        self._settings = settings
        self._held = ExitStack()
        folder = self._held.enter_context(scratch())
        self.shared = shared or self._held.enter_context(Shared())
        self._workers = Workers(settings.cache, folder / "workers", settings.limits)
        self._sick: SickDevice | None = None
        self._twin_s: float | None = None
        """What the twin of the case at hand took, where it is the first of those that share it."""
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

    def facts(self, model: Path) -> Facts:
        """The versions of a model from outside; raises WorkerFailed as `outline` does."""
        return self._workers.of(OWN).ask(Facts, "facts", model=str(model))

    def support(self, kind: type[T], plan: Plan, step: str) -> T:
        """What the worker of a plan answers to a question of `harness doctor`; raises WorkerFailed."""
        return self._worker(plan).ask(kind, "support", step=step, plan=encode(plan))

    def outcome(self, plan: Plan, before: Sequence[Failure] = ()) -> Outcome:
        """Everything measured for one plan; whatever goes wrong is in the outcome.

        `before` are how attempts elsewhere ended. Raises SickDevice where the device failed its probes after an earlier
        plan, whose outcome tells so.
        """
        if plan.excluded is not None:
            return excluded(plan.excluded)
        self.raise_sick()
        earlier = list(before)
        while True:
            outcome = self._attempt(plan, len(earlier) + 1)
            if outcome.error is None:
                break
            self._check_device(plan, outcome.error)
            if self._sick or outcome.error.kind not in RETRIED or len(earlier) == self._settings.retries:
                break
            earlier.append(outcome.error)
            self.shared.forget_failures(plan)
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
            if reason := self._why_not_exported(plan):
                return Outcome(skipped=f"the model cannot be exported: {reason}")
            plan = self._with_export(plan)
            exported = self._exported(plan)
            runs = self.why_not_run(plan.case.backend, plan.interpreter) is None
            plan = plan if plan.interpreter.own else replace(plan, variant=self.variant(plan))
            reference = self._reference(plan) if plan.reference.kind == "backend" and runs else None
            judged = runs and plan.fidelity.enabled and plan.case.backend not in SCRIPTED
            twin = self._twin(plan) if judged and not _rounds_otherwise(plan) else None
            more = (*exported, UNTWINNED) if judged and _rounds_otherwise(plan) else exported
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
        measured = outcome.measurements and (*outcome.measurements, *more)
        return replace(outcome, measurements=measured, notes=notes, stages={**outcome.stages, **spent})

    def debug(self, plan: Plan, step: str, **arguments: Any) -> Any:
        """What the worker of a plan answers to a step of `harness debug`; raises WorkerFailed."""
        asked = self._with_export(self._asked(plan))
        return self._worker(plan).request("debug", step=step, plan=encode(asked), **arguments)

    def reference(self, plan: Plan) -> str | None:
        """Where the reference outputs of a plan are; None when they are stored; raises WorkerFailed."""
        if plan.reference.kind != "backend":
            return None
        return str(self._reference(self._with_export(self._asked(plan))))

    @property
    def told(self) -> Told:
        """What was found out about environments and backends so far."""
        return self._workers.told

    def learn(self, other: Told) -> None:
        """Take over what another bench found out."""
        self._workers.learn(other)

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

    def _why_not_exported(self, plan: Plan) -> str | None:
        """Why a PyTorch model cannot become a file here; None where it can, and for models that are files."""
        return None if plan.source.export is None else self.why_not(EXPORTER, plan.exporter)

    def _with_export(self, plan: Plan) -> Plan:
        """The plan with a PyTorch model exported, once for all of its cases; raises WorkerFailed."""
        if plan.source.export is None:
            return plan
        made = _raised(self.shared.exports.get(export_key(plan), lambda: self._make_export(plan)))
        return replace(plan, source=replace(plan.source, made=made))

    def _make_export(self, plan: Plan) -> str | Failure:
        try:
            made, warnings = self._workers.of(plan.exporter).ask(
                tuple[str, tuple[str, ...]], "export", plan=encode(plan)
            )
        except WorkerFailed as lost:
            return lost.failure
        self._warnings += warnings
        return made

    def _exported(self, plan: Plan) -> tuple[Measurement, ...]:
        """How far the export of a PyTorch model is from the model, on the case's inputs; raises WorkerFailed."""
        if plan.source.export is None:
            return ()
        plain = in_fp32(plan)
        return _raised(self.shared.export_checks.get(reference_key(plain), lambda: self._check_export(plain)))

    def _check_export(self, plain: Plan) -> tuple[Measurement, ...] | Failure:
        folder = self.shared.folder / "exports" / reference_key(plain)
        try:
            places = {"reference": str(self._reference(plain)), "twin": str(self._twin(plain))}
            self._workers.of(plain.exporter).request("framework", plan=encode(plain), folder=str(folder))
            return self._workers.of(OWN, TWIN_BACKEND).ask(
                tuple[Measurement, ...], "exported", plan=encode(plain), framework=str(folder), **places
            )
        except WorkerFailed as lost:
            return lost.failure

    def variant(self, plan: Plan) -> ModelFile:
        """The file that every environment builds: made once, by the harness's own interpreter.

        Raises Refused where the converter refuses the model, and WorkerFailed where it fails.
        """
        found = self.shared.variants.get(twin_key(plan), lambda: self._make_variant(plan))
        if not isinstance(found, Failure):
            return found
        raise Refused(found.message) if found.kind == "unsupported" else WorkerFailed(found)

    def _make_variant(self, plan: Plan) -> ModelFile | Failure:
        try:
            return self._workers.of(OWN).ask(ModelFile, "variant", plan=encode(plan))
        except WorkerFailed as lost:
            return lost.failure

    def _reference(self, plan: Plan) -> Path:
        """Where the reference outputs are, computed once; a reference that failed fails every case that needs it."""
        found = self.shared.references.get(reference_key(plan), lambda: self._make_reference(plan))
        if isinstance(found, Failure):
            raise WorkerFailed(found)
        return found

    def _make_reference(self, plan: Plan) -> Path | Failure:
        folder = self.shared.folder / "references" / reference_key(plan)
        try:
            self._warnings += self._of_reference(plan).ask(
                tuple[str, ...], "reference", plan=encode(plan), folder=str(folder)
            )
        except WorkerFailed as lost:
            return _told(plan.reference, lost.failure)
        return folder

    def _twin(self, plan: Plan) -> Path:
        """Where the precision twin's outputs are, computed once; or why there are none."""
        return self.shared.twins.get(twin_key(plan), lambda: self._make_twin(plan))

    def _make_twin(self, plan: Plan) -> Path:
        folder = self.shared.folder / "twins" / twin_key(plan)
        start = monotonic()
        try:
            self._twin_s, warnings = self._ask_twin(plan, folder)
            self._warnings += warnings
        except WorkerFailed as lost:
            if lost.failure.kind in LOST:  # not a word on the model: that would leave a case unchecked that passes
                failure = replace(lost.failure, message=f"the precision twin: {lost.failure.message}")
                raise WorkerFailed(failure) from lost
            self._twin_s = monotonic() - start
            folder.mkdir(parents=True, exist_ok=True)
            (folder / REFUSED).write_text(f"{lost.failure.kind}: {first_line(lost.failure.message)}", "utf-8")
        return folder

    def _ask_twin(self, plan: Plan, folder: Path) -> tuple[float, tuple[str, ...]]:
        """The seconds it took, and warnings; a worker that is lost over it is replaced once."""

        def ask() -> tuple[float, tuple[str, ...]]:
            worker = self._workers.of(OWN, TWIN_BACKEND)
            return worker.ask(tuple[float, tuple[str, ...]], "twin", plan=encode(plan), folder=str(folder))

        try:
            return ask()
        except WorkerFailed as lost:
            if lost.failure.kind not in LOST:
                raise
        return ask()


def _raised(found: T | Failure) -> T:
    """What was made, or the failure as an error."""
    if isinstance(found, Failure):
        raise WorkerFailed(found)
    return found


def _rounds_otherwise(plan: Plan) -> bool:
    """Whether a case computes in less than fp32 something else than the file: a batch norm that the export folded."""
    return plan.case.backend in OF_MODULES and plan.case.precision not in ("fp32", "as-is")


def excluded(reason: str) -> Outcome:
    """The outcome of a case that its suite leaves out."""
    return Outcome(skipped=f"excluded by the suite: {reason}")


def _told(reference: Reference, failure: Failure) -> Failure:
    """The failure of a reference, as its cases tell it."""
    if failure.kind == "input":  # the suite or the model is wrong, whichever backend finds out first
        return replace(failure, stage=failure.stage.removeprefix("reference "))
    words = f"the reference ({reference.backend}, {reference.precision}): {failure.message}"
    return replace(failure, message=words)
