"""Decides: what was measured and what was accepted before make a verdict. No input, no output, no runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.judge.accuracy import judge_outputs, judge_task
from harness.judge.attestation import judge_attestation
from harness.judge.drift import Accuracy, judge_drift
from harness.judge.duels import REGRESSION, TAIL
from harness.judge.export import judge_export
from harness.judge.fidelity import judge_fidelity
from harness.judge.flip import judge_flip
from harness.judge.invariance import judge_invariance
from harness.judge.latency import Accepted as Timed
from harness.judge.latency import judge_latency
from harness.judge.resources import judge_resources
from harness.judge.serving import judge_serving
from harness.judge.stability import judge_stability, naming_builds
from harness.records import Check, Failure, Outcome, Plan, Verdict

DECIDED_BY_STATUS = (REGRESSION, TAIL)
"""Checks whose failure is the status `regressed`, or `inconclusive`, never `failed`."""
NEVER_TIMED = Timed()
"""Nothing that a latency could be compared with."""


def judge(
    plan: Plan, outcome: Outcome, *, known: bool, accepted: Accuracy | None = None, timed: Timed = NEVER_TIMED
) -> Verdict:
    """The verdict on one case; its headline tells of attempts that failed before.

    `known` says that an accepted baseline holds the case, `timed` is what its latency is compared with, `accepted` its
    errors.
    """
    found = _judged(plan, outcome, known=known, accepted=accepted, timed=timed)
    return replace(found, headline=found.headline + _earlier(outcome))


def _earlier(outcome: Outcome) -> str:
    if not outcome.earlier:
        return ""
    failed = "; ".join(f"{one.kind} in {one.stage}: {first_line(one.message)}" for one in outcome.earlier)
    return f" [attempt {outcome.attempts}; before: {failed}]"


def _judged(plan: Plan, outcome: Outcome, *, known: bool, accepted: Accuracy | None, timed: Timed) -> Verdict:
    if outcome.skipped is not None:
        return _refused(plan, outcome.skipped) if known else Verdict("skipped", outcome.skipped)
    if outcome.error is not None:
        return Verdict("error", f"{outcome.error.kind} in {outcome.error.stage}: {first_line(outcome.error.message)}")
    budget = (*judge_outputs(plan, outcome.measurements), *judge_task(plan, outcome.measurements))
    stability = judge_stability(plan, outcome.measurements)
    fidelity = judge_fidelity(plan, outcome.measurements)
    fidelity += judge_invariance(plan, outcome.measurements)
    fidelity += judge_flip(plan, outcome.measurements)
    fidelity += judge_export(plan, outcome.measurements)
    accuracy = naming_builds((*stability, *budget, *fidelity), outcome.measurements)
    drift, drifted = judge_drift(plan, outcome, accepted)
    timing, change, words = judge_latency(plan.latency, outcome.latency, timed)
    taken = (*judge_resources(plan, outcome), *judge_serving(plan, outcome))
    checks = (*accuracy, *drift, *judge_attestation(plan, outcome), *timing, *taken)
    failed = [check for check in checks if not check.ok and check.name not in DECIDED_BY_STATUS]
    if not budget:
        return Verdict("failed", "nothing was compared: no output, no verdict", checks)
    if failed:
        return Verdict("failed", _headline(failed), checks)
    untimed_before = timed.latency is None and outcome.latency is not None
    words = f"{drifted}; {words}" if drifted else words
    untwinned = next((m for m in outcome.measurements if m.metric == "twin" and m.value is None), None)
    if untwinned is not None:
        words += f"; fidelity was not checked: {first_line(untwinned.detail)}"
    return Verdict(_status(change, known=known and not untimed_before), words, checks)


def _headline(failed: Sequence[Check]) -> str:
    """Which question failed, by what, and how many other checks did.

    An export that is another model comes first, then a broken backend, then its budget.
    """
    failed = sorted(failed, key=lambda check: (not check.name.startswith("export/"), check.question != "fidelity"))
    first = failed[0]
    question = "" if first.name.startswith(f"{first.question}/") else f"{first.question}: "
    counts = Counter(check.question for check in failed[1:])
    others = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return f"{question}{first.name}: {first.reason}" + (f" (also failed: {others})" if others else "")


def _status(change: str | None, *, known: bool) -> str:
    """The status of a case whose checks passed, by what the latency decision says."""
    if change is not None:
        return change
    return "passed" if known else "new"


def _refused(plan: Plan, reason: str) -> Verdict:
    """A case with an accepted baseline was not measured: lost support never turns green."""
    if plan.excluded is not None:
        return Verdict("missing", f"has an accepted baseline, but is {reason}")
    return Verdict("error", f"unsupported: has an accepted baseline, but now: {first_line(reason)}")


def first_line(text: str) -> str:
    """The first line of a message, at most 300 characters."""
    line = text.strip().splitlines()[0] if text.strip() else "no message"
    return line if len(line) <= 300 else line[:297] + "..."


def lost_support(outcome: Outcome, *, known: bool) -> Failure | None:
    """The error of a case that was measured before and is refused now."""
    if outcome.skipped is None or not known:
        return outcome.error
    return Failure("unsupported", "load", outcome.skipped)
