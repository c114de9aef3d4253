"""From plans to outcomes: which worker, which reference, in which order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harness import artefacts
from harness.backends import OF_MODULES, SCRIPTED
from harness.cache import SAID
from harness.codec import encode
from harness.errors import InputError
from harness.inputs.outline import Outline
from harness.records import (
    DEFAULT_ENVIRONMENT,
    Environment,
    Failure,
    Interpreter,
    Measurement,
    Outcome,
    Plan,
)
from harness.records.plans import ENGINE_SUFFIXES
from harness.records.support import Facts
from harness.runner.client import WorkerFailed
from harness.runner.health import SickDevice, check_device, of_reference
from harness.runner.scratch import scratch
from harness.runner.settings import Settings
from harness.runner.shared import Shared
from harness.runner.start import OWN
from harness.runner.supply import Refused, Supply
from harness.runner.workers import Told, Workers

RETRIED = frozenset({"crash", "timeout", "device", "out-of-memory"})
T = TypeVar("T")
UNTWINNED = Measurement(None, "twin", None, detail="PyTorch rounds where the module does, not where its export does")


class Bench:
    """The workers of one thread, and the references they computed; plans of one model belong on one bench."""

    def __init__(self, settings: Settings, shared: Shared | None = None) -> None:
        """`shared` is what another bench of the same run has; it stays open longer than this one."""
        self._settings = settings
        self._held = ExitStack()
        folder = self._held.enter_context(scratch())
        self.shared = shared or self._held.enter_context(Shared())
        self._workers = Workers(settings.cache, folder / "workers", settings.limits)
        self.supply = Supply(self._workers, self.shared)
        self._sick: SickDevice | None = None

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
        return self._workers.of_case(plan).ask(kind, "support", step=step, plan=encode(plan))

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
        worker = self._workers.of_reference if of_reference(failure) else self._workers.of_case
        try:
            check_device(plan, failure, worker(plan))
        except SickDevice as sick:
            self._sick = sick
        except WorkerFailed:  # its interpreter starts none, which is no news of the device
            return

    def _attempt(self, plan: Plan, attempt: int) -> Outcome:
        self.supply.begin()
        plan = self._asked(plan)
        try:
            if reason := self._why_skipped(plan):
                return Outcome(skipped=reason)
            outcome = self._measured(self.supply.exported(plan), attempt)
        except Refused as refusal:
            return Outcome(skipped=str(refusal))
        except WorkerFailed as lost:
            return Outcome(error=lost.failure)
        notes = (*outcome.notes, *self.supply.told())
        for note in notes:
            if note.startswith(SAID):
                print(f"harness: {note}", file=sys.stderr)
        return replace(outcome, notes=notes, stages={**outcome.stages, **self.supply.spent()})

    def _why_skipped(self, plan: Plan) -> str | None:
        """Why the plan cannot be measured here, however its worker would fare."""
        if reason := self.why_not(plan.case.backend, plan.interpreter):
            return reason
        reason = self.supply.why_not_exported(plan)
        return reason and f"the model cannot be exported: {reason}"

    def _measured(self, plan: Plan, attempt: int) -> Outcome:
        """What the worker of a plan measures, once all that it needs is made."""
        more = self.supply.export_checks(plan)
        runs = self.why_not_run(plan.case.backend, plan.interpreter) is None
        plan = plan if plan.interpreter.own else replace(plan, variant=self.supply.variant(plan))
        reference = self.supply.reference(plan) if plan.reference.kind == "backend" and runs else None
        judged = runs and plan.fidelity.enabled and plan.case.backend not in SCRIPTED
        twin = self.supply.twin(plan) if judged and not _rounds_otherwise(plan) else None
        if judged and _rounds_otherwise(plan):
            more = (*more, UNTWINNED)
        keep = self._settings.keep_outputs
        outcome = self._workers.of_case(plan).ask(
            Outcome,
            "measure",
            plan=encode(plan),
            reference=str(reference) if reference else None,
            twin=str(twin) if twin else None,
            keep=str(keep / plan.case.id) if keep else None,
            attempt=attempt,
        )
        return replace(outcome, measurements=outcome.measurements and (*outcome.measurements, *more))

    def debug(self, plan: Plan, step: str, **arguments: Any) -> Any:
        """What the worker of a plan answers to a step of `harness debug`; raises WorkerFailed."""
        asked = self.supply.exported(self._asked(plan))
        return self._workers.of_case(plan).request("debug", step=step, plan=encode(asked), **arguments)

    def reference(self, plan: Plan) -> str | None:
        """Where the reference outputs of a plan are; None when they are stored; raises WorkerFailed."""
        if plan.reference.kind != "backend":
            return None
        return str(self.supply.reference(self.supply.exported(self._asked(plan))))

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


def _rounds_otherwise(plan: Plan) -> bool:
    """Whether a case computes in less than fp32 something else than the file: a batch norm that the export folded."""
    return plan.case.backend in OF_MODULES and plan.case.precision not in ("fp32", "as-is")


def excluded(reason: str) -> Outcome:
    """The outcome of a case that its suite leaves out."""
    return Outcome(skipped=f"excluded by the suite: {reason}")
