"""Errors against those of the accepted baseline: one may grow inside its limit, and should not do so unseen.

Four errors are watched. `rmse_rel` is the error of a whole output (cosine and SQNR tell the same, less finely),
`max_abs` that of its worst element, `mismatches` counts integers that differ, `twin_spread` is what a backend adds to
the rounding of the file. Agreements of rankings are left out: a few rows flip them, and how many rows there were is
not known. Growth counts beyond a factor, and only where noise does not explain it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import did_you_mean
from harness.judge.export import PREFIX
from harness.judge.fidelity import WORDS, limits_at
from harness.records import Check, Digests, DriftPlan, Measurement, Outcome, Plan, Record

WATCHED: Mapping[str, str] = {
    "rmse_rel": "budget",
    "max_abs": "budget",
    "mismatches": "budget",
    "twin_spread": "fidelity",
}
"""Metric to the question that it answers; of all of them lower is better."""
ROUNDING: Mapping[str, str] = {"rmse_rel": "twin_spread", "max_abs": "twin_largest", "twin_spread": "twin_spread"}
"""Metric to the distance from the precision twin that tells whether rounding explains it."""
EXPLAINED = 0.75
"""Share of the limit on that distance below which healthy builds lie anywhere: 1.5 times the noise, 3.75 in fp32."""
SMALLEST = 1e-6
"""Relative errors below this are orders of summation in float32."""
PRECISE: Mapping[str, float] = {
    "fp32": SMALLEST,
    "as-is": SMALLEST,
    "tf32": 2.0**-11,
    "fp16": 2.0**-11,
    "bf16": 2.0**-8,
    "int8": 2.0**-8,
    "fp8": 2.0**-4,
}
"""Relative errors that the number formats alone bring about; where no twin tells, up to twice as much is no drift.

Builds of one fp16 network by TensorRT 8.6 had errors of 2.4e-4 and 7.0e-4: it chose other kernels.
"""
SIGMAS = 3.0
DRIFTED = "accuracy drifted"
"""Begins the headline of a case that passes although an error drifted."""
BUILDS = "build_variation"
"""The largest difference between several builds of a case, where the suite asks for them."""

Values = Mapping[str, Mapping[str, float | None]]
"""Output to metric to value."""


@dataclass(frozen=True)
class Accuracy:
    """The errors of one case, and what they were measured on."""

    values: Values
    digests: Digests
    reference: str | None
    """What the outputs were compared with; None in baselines that are older than its recording."""


@dataclass(frozen=True)
class Drift:
    """One error then and now."""

    output: str
    metric: str
    then: float
    now: float | None
    max_factor: float
    explained: str = ""
    """Why growth beyond the factor does not count; empty where it does."""

    @property
    def drifted(self) -> bool:
        """Whether the error grew beyond the factor without an explanation, or is not known any more."""
        return self.now is None or (self.now > self.max_factor * self.then and not self.explained)

    def words(self) -> str:
        """Then, now and the growth, as a headline tells them."""
        return f"{self.output} {self.metric} {self.then:.3g} -> {_number(self.now)} ({_times(self.then, self.now)})"


def judge_drift(plan: Plan, outcome: Outcome, accepted: Accuracy | None) -> tuple[list[Check], str]:
    """Checks against the accepted errors, and what a passing case says of those that drifted (or nothing)."""
    now = Accuracy(values_of(outcome.measurements), outcome.digests, reference_of(plan))
    known = {m.output for m in outcome.measurements if m.output}
    checks = [_unknown(output, known) for output in sorted(set(plan.output_drift) - known)]
    if accepted is None or not any(accepted.values.values()):
        return checks, ""
    if refusal := incomparable(accepted, now):
        return [*checks, Check("drift", "budget", None, "drift", None, None, None, ok=True, reason=refusal)], ""

    def settings(output: str) -> DriftPlan:
        return plan.output_drift.get(output, plan.drift)

    found = drifts(accepted, now, plan.case.precision, plan.fidelity.slack, lambda output: settings(output).max_factor)
    checks += [_check(one, gate=settings(one.output).gate) for one in found]
    return checks, told([one for one in found if one.now is not None])


def incomparable(then: Accuracy, now: Accuracy) -> str | None:
    """Why two sets of errors say nothing about each other; None where they do."""
    pairs = {
        "the model": (then.digests.model, now.digests.model),
        "the inputs": (then.digests.inputs, now.digests.inputs),
        "the reference": (then.reference, now.reference),
    }
    changed = [what for what, (old, new) in pairs.items() if None not in (old, new) and old != new]
    if not changed:
        return None
    return f"errors are not compared with the accepted ones: {' and '.join(changed)} changed since then"


def drifts(then: Accuracy, now: Accuracy, precision: str, slack: float, factor: Callable[[str], float]) -> list[Drift]:
    """Every watched error that is known of both sides, or was known and should be.

    `slack` multiplies what rounding explains; `factor` says for an output what growth counts.
    """
    same_variant = then.digests.variant is not None and then.digests.variant == now.digests.variant
    found = []
    for output, metrics in now.values.items():
        for metric in WATCHED:
            old, new = then.values.get(output, {}).get(metric), metrics.get(metric)
            if old is None or (metric not in metrics and metric in ROUNDING.values()):
                continue
            why = _explanation(metric, old, metrics, precision, slack, same_variant=same_variant)
            found.append(Drift(output, metric, old, new, factor(output), why))
    return found


def _explanation(
    metric: str, then: float, now: Mapping[str, float | None], precision: str, slack: float, *, same_variant: bool
) -> str:
    """What makes an error as large as this one, however much it grew; empty when nothing does."""
    value, relative, builds = now.get(metric), now.get("rmse_rel"), now.get(BUILDS)
    grown = None if value is None else value - then
    if metric in ("max_abs", "mismatches") and grown is not None and builds is not None and grown <= builds:
        return f"builds of this run differ by as much ({builds:.3g})"
    if metric == "mismatches":
        few = grown is not None and grown <= SIGMAS * math.sqrt(2 * then + grown)
        return f"as counts do by chance ({SIGMAS:g} standard deviations)" if few else ""
    if metric in ("rmse_rel", "max_abs") and relative is not None and relative <= SMALLEST:
        return f"below {SMALLEST:g} of the output"
    # of another file the twin is another one: its noise says nothing about how far the file is from the reference
    distance = ROUNDING[metric]
    times, limit = now.get(distance), EXPLAINED * limits_at(precision, slack)[distance]
    if times is None or not (same_variant or metric in ROUNDING.values()):
        most = 2 * slack * PRECISE.get(precision, SMALLEST)  # results of others may know other precisions
        tiny = relative is not None and relative <= most and metric != distance
        return f"up to {most:.2g} of the output is what {precision} brings" if tiny else ""
    if times > limit:
        return ""
    return f"as rounding does: {WORDS[distance]} is {times:.3g} times its noise (up to {limit:g} is)"


def _check(drift: Drift, *, gate: bool) -> Check:
    """The check of one error; only one that may fail has a limit."""
    limit = drift.max_factor * drift.then if gate and not drift.explained else None
    reason = drift.words().removeprefix(f"{drift.output} ")
    if drift.explained and drift.now is not None and drift.now > drift.max_factor * drift.then:
        reason += f"; not counted, {drift.explained}"
    else:
        reason += f"; counts beyond {drift.max_factor:g}x" + ("" if gate else ", told only, as `gate` is not set")
    name = f"{drift.output}/{drift.metric}_drift"
    ok = not (gate and drift.drifted)
    return Check(name, WATCHED[drift.metric], drift.output, drift.metric, drift.now, limit, drift.then, ok, reason)


def told(found: Sequence[Drift]) -> str:
    """The drifted errors in one phrase, that of a whole output first; empty when none did."""
    order = list(WATCHED)
    drifted = sorted(
        (one for one in found if one.drifted),
        key=lambda one: (order.index(one.metric), -_growth(one.then, one.now)),
    )
    if not drifted:
        return ""
    more = f" and {len(drifted) - 1} more" if len(drifted) > 1 else ""
    return f"{DRIFTED}: {drifted[0].words()}{more}, inside its limit"


def between(then: Accuracy, now: Accuracy, precision: str) -> list[Drift]:
    """The errors that drifted by the rule of a suite that says nothing; none where they cannot be compared."""
    if incomparable(then, now):
        return []
    found = drifts(then, now, precision, 1.0, lambda _: DriftPlan.max_factor)
    return [one for one in found if one.drifted and one.now is not None]


def has_drifted(record: Record) -> bool:
    """Whether a case passes although one of its errors drifted."""
    return record.headline.startswith(f"{DRIFTED}: ")


def accuracy_of(record: Record) -> Accuracy:
    """The errors of a record."""
    return Accuracy(values_of(record.measurements), record.digests, record.reference)


def values_of(measurements: Iterable[Measurement]) -> dict[str, dict[str, float | None]]:
    """Output to metric to value."""
    values: dict[str, dict[str, float | None]] = {}
    for measured in measurements:
        if measured.output is not None and not measured.metric.startswith(PREFIX):
            values.setdefault(measured.output, {})[measured.metric] = measured.value
    return values


def reference_of(plan: Plan) -> str:
    """What the outputs of a case are compared with, in words that hold in every checkout."""
    reference = plan.reference
    if reference.kind == "backend":
        return f"{reference.backend} {reference.precision}"
    suite = Path(plan.case.location.file).absolute().parent
    return os.path.relpath(reference.file, suite) if reference.file else reference.kind


def _unknown(output: str, known: Iterable[str]) -> Check:
    reason = f"`drift` names '{output}', but there is no such output{did_you_mean(output, known)}"
    return Check(f"{output}/drift", "budget", output, "drift", None, None, None, ok=False, reason=reason)


def _growth(then: float, now: float | None) -> float:
    if now is None:
        return math.inf
    return now / then if then > 0 else math.inf if now > 0 else 1.0


def _times(then: float, now: float | None) -> str:
    growth = _growth(then, now)
    return f"{growth:.2g}x" if growth < 10 else f"{growth:.0f}x" if math.isfinite(growth) else "was none"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"
