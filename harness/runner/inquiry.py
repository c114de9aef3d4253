"""Asks a case's worker for the steps of `harness debug`, and counts builds and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from harness.codec import decode
from harness.errors import HarnessError
from harness.judge import first_line
from harness.judge.accuracy import judge_outputs, judge_task
from harness.judge.fidelity import judge_fidelity
from harness.records import Check, Outcome, Plan
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.findings import Probe, Survey, Trial

HALVES = ("fp16", "bf16")
"""Precisions in which a model with every node in fp32 is the model itself."""
REFUSALS = ("build", "unsupported")
"""Kinds of failure of a build with marked tensors after which others are tried."""


@dataclass
class Inquiry:
    """Asks a case's worker, and counts builds and time."""

    bench: Bench
    plan: Plan
    folder: Path
    """For what the worker leaves between steps."""
    builds: int
    deadline: float
    say: Callable[[str], None]
    batches: tuple[int, ...] = ()
    used: int = 1
    trials: list[Trial] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    clock: Callable[[], float] = monotonic

    def survey(self) -> Survey:
        """What is known before any tensor is marked; HarnessError names the step that failed."""
        try:
            found = decode(Survey, self._debug("survey", reference=self.bench.reference(self.plan)))
        except WorkerFailed as lost:
            raise self._told(lost) from lost
        self.batches = found.batches
        return found

    def allowed(self, most: int) -> bool:
        """Whether another build fits into a number of builds and into the time."""
        return self.used < most and self.clock() < self.deadline

    def look(self, most: int) -> Callable[[Sequence[str]], Probe | None]:
        """A function that makes one build with tensors marked, while fewer than `most` builds were made."""

        def probe(marks: Sequence[str]) -> Probe | None:
            if not self.allowed(most):
                return None
            self.used += 1
            self.say(f"build {self.used}: looking at {len(marks)} tensors")
            try:
                answer = self._debug("probe", number=self.used, marks=list(marks), batches=list(self.batches))
            except WorkerFailed as lost:
                if lost.failure.kind not in REFUSALS:
                    raise self._told(lost) from lost
                return Probe(self.used, {}, (), None, first_line(lost.failure.message))
            return decode(Probe, answer)

        return probe

    def test(self, kept: Sequence[str], precision: str | None = None) -> bool | None:
        """Whether the case passes with these nodes in fp32; None when no more builds are allowed."""
        known = {frozenset(trial.kept): trial.passed for trial in self.trials}
        if frozenset(kept) in known:
            return known[frozenset(kept)]
        if not self.allowed(self.builds):
            return None
        self.used += 1
        trial = self._trial(kept, precision or self.plan.case.precision)
        self.trials.append(trial)
        self.say(f"build {self.used}: {len(kept)} nodes in fp32: {'passes' if trial.passed else 'fails'}")
        return trial.passed

    def _trial(self, kept: Sequence[str], precision: str) -> Trial:
        try:
            reference = self.bench.reference(self.plan)
            whole = precision == "fp32" and self.plan.case.precision in HALVES
            given = None if whole else list(kept)
            answer = self._debug("trial", number=self.used, kept=given, reference=reference)
        except WorkerFailed as lost:  # a set that cannot be built does not mend the case
            return Trial(tuple(kept), False, f"{lost.failure.kind} in {lost.failure.stage}: {first_line(str(lost))}")
        failed = failing(self.plan, decode(Outcome, answer), precision)
        return Trial(tuple(kept), not failed, failed[0].reason if failed else "passes")

    def _debug(self, step: str, **arguments: Any) -> Any:
        """The answer to one step; rows moved and images mirrored say nothing about tensors, so they are left out."""
        plan = replace(self.plan, fidelity=replace(self.plan.fidelity, batch=False), flip=None)
        return self.bench.debug(plan, step, folder=str(self.folder), **arguments)

    def _told(self, lost: WorkerFailed) -> HarnessError:
        """One error that names the step."""
        told = lost.failure
        log = f"\n{told.log}" if told.log else ""
        return HarnessError(f"{self.plan.case.id}: {told.kind} in {told.stage}: {first_line(told.message)}{log}")


def failing(plan: Plan, outcome: Outcome, precision: str | None = None) -> list[Check]:
    """The accuracy checks of a case that fail; `precision` is the one whose rounding is allowed for."""
    measured = outcome.measurements
    allowed = replace(plan, case=replace(plan.case, precision=precision or plan.case.precision))
    checks = (*judge_outputs(plan, measured), *judge_task(plan, measured), *judge_fidelity(allowed, measured))
    return [check for check in checks if not check.ok]
