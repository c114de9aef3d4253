"""Stability checks: what differs between identical runs cannot be compared element by element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.judge.accuracy import exact_outputs, judge_outputs
from harness.metrics.defaults import explicit_limits
from harness.records import Check, Measurement, Plan

REPEAT = "reference_repeat"
"""The largest difference between two runs of the reference on the first batch, measured for each of its outputs."""
AGAIN = "again:"
"""Begins the name of a metric that compares these two runs; measured only for outputs that differ."""
ELEMENTS = "reference_elements"
"""How many elements all outputs of a computed reference have together."""
BUILD, BUILDS = "build", "builds"
"""Settings of a number that differs between builds: the build that it is of, counted from 1, and how many there are."""
REMEDY = (
    "give its random operators a seed, exclude the case, or set limits under accuracy.outputs.{output} that allow it"
)


def naming_builds(checks: Sequence[Check], measurements: Sequence[Measurement]) -> list[Check]:
    """The checks with the build that decided them, where builds differ."""
    of = {(m.output, m.metric): m.settings for m in measurements if BUILD in m.settings}
    return [_naming(check, of.get((check.output, check.metric.removesuffix("_drop")), {})) for check in checks]


def _naming(check: Check, settings: Mapping[str, float | str]) -> Check:
    if BUILD not in settings:
        return check
    return replace(
        check, reason=f"{check.reason} (the worst of {settings[BUILDS]:g} builds, number {settings[BUILD]:g})"
    )


def judge_stability(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """One check for every output of a reference that was run twice, and one that they are not all empty.

    An output that differs passes only where the suite's own limits for it hold between the two runs as well.
    """
    exact = exact_outputs(measurements)
    repeats = [m for m in measurements if m.metric == REPEAT]
    counts = [_elements(m) for m in measurements if m.metric == ELEMENTS]
    return counts + [_stable(plan, m, measurements, exact=m.output in exact) for m in repeats]


def _elements(measured: Measurement) -> Check:
    ok = bool(measured.value)
    empty = "every output is empty, so nothing was compared; give inputs for which the model has something to say"
    reason = f"{measured.value:g} elements" if ok else empty
    return Check("outputs/elements", "fidelity", None, ELEMENTS, measured.value, None, None, ok, reason)


def _stable(plan: Plan, measured: Measurement, measurements: Sequence[Measurement], *, exact: bool) -> Check:
    output, name = str(measured.output), f"{measured.output}/reference_stable"
    if measured.value == 0:
        reason = "two runs of the reference gave the same"
        return Check(name, "fidelity", output, REPEAT, 0.0, 0.0, None, ok=True, reason=reason)
    again = [replace(m, metric=m.metric.removeprefix(AGAIN)) for m in measurements if _of(m, output)]
    own = replace(plan, output_limits={o: v for o, v in plan.output_limits.items() if o == output}, task=None)
    broken = [check for check in judge_outputs(own, again) if not check.ok]
    allowed = bool(explicit_limits(plan, output, exact=exact)) and not broken
    words = f"two runs of the reference on the same inputs differ {_far(measured, again)}"
    if allowed:
        reason = f"{words}: within this output's own limits"
        return Check(name, "fidelity", output, REPEAT, measured.value, None, None, ok=True, reason=reason)
    because = f" ({measured.detail})" if measured.detail else ""
    reason = f"{words}{because}: nothing can be compared with it; {REMEDY.format(output=output)}"
    return Check(name, "fidelity", output, REPEAT, measured.value, 0.0, None, ok=False, reason=reason)


def _of(measured: Measurement, output: str) -> bool:
    return measured.output == output and measured.metric.startswith(AGAIN)


def _far(measured: Measurement, again: Sequence[Measurement]) -> str:
    """How far apart two runs were, in words."""
    found = {m.metric: m for m in again}
    if measured.value is None:
        unlike = [m.detail for m in again if m.metric in ("shape_mismatches", "dtype_mismatches", "nonfinite")]
        return f"in more than values ({'; '.join(filter(None, unlike)) or 'not finite'})"
    if "max_abs" not in found:
        return f"in {measured.value:g} elements"
    cosine = found["cosine"].value if "cosine" in found else None
    return f"by up to {measured.value:.4g}" + (f" (cosine {cosine:.4g})" if cosine is not None else "")
