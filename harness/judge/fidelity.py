"""Fidelity checks: does the backend compute what the file says, up to what rounding costs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import Check, FidelityPlan, Measurement, Plan

LIMITS: Mapping[str, float] = {"twin_spread": 2.0, "twin_slice": 6.0, "twin_drift": 9.0, "twin_largest": 3.0}
"""The largest distance from the precision twin that rounding explains, as a multiple of the measured noise."""
FP32_LIMITS: Mapping[str, float] = {"twin_spread": 5.0, "twin_slice": 12.0, "twin_drift": 25.0, "twin_largest": 7.0}
"""Sums in float32 come in many orders, whose errors differ more than single roundings; defects are far beyond."""
WORDS: Mapping[str, str] = {
    "twin_spread": "the error of the whole output",
    "twin_slice": "the error of the worst slice",
    "twin_drift": "the mean signed error of the worst slice",
    "twin_largest": "the largest error",
}
NONE_ALLOWED: Mapping[str, str] = {
    "twin_shapes": "{value:g} batches have another shape than the precision twin's",
    "twin_nonfinite": "{value:g} elements are NaN or infinite where the precision twin is finite",
    "twin_flips": "{value:g} elements differ where every healthy evaluation agrees",
}
HOLDS: Mapping[str, str] = {
    "twin_shapes": "every batch has the shape of the precision twin's",
    "twin_nonfinite": "no element is NaN or infinite where the precision twin is finite",
    "twin_flips": "no element differs where every healthy evaluation agrees",
}
"""What to say where there are none."""
NOTHING = "not checked, the precision twin overflows at every element that is finite here: the budget decides alone"


def judge_fidelity(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks of every output against the precision twin; none where fidelity was not measured."""
    checks = [_twin(plan.fidelity, m) for m in measurements if m.metric == "twin"]
    checks += [_none_allowed(m) for m in measurements if m.metric in NONE_ALLOWED]
    return checks + [_times(m, limit_of(plan, m), plan.fidelity) for m in measurements if m.metric in LIMITS]


def limit_of(plan: Plan, measured: Measurement) -> float:
    """The limit on one distance; an fp32 or as-is file that holds less than float32 is judged by the common ones."""
    limits = limits_at(plan.case.precision, plan.fidelity.slack)
    coarse = measured.settings.get("fine", 1.0) == 0.0
    return (
        min(limits[measured.metric], LIMITS[measured.metric] * plan.fidelity.slack)
        if coarse
        else limits[measured.metric]
    )


def limits_at(precision: str, slack: float = 1.0) -> dict[str, float]:
    """The limits on each distance from the precision twin, in multiples of the noise."""
    limits = FP32_LIMITS if precision in ("fp32", "as-is") else LIMITS
    return {metric: limit * slack for metric, limit in limits.items()}


def _twin(plan: FidelityPlan, measured: Measurement) -> Check:
    if measured.value is None:
        reason = f"not checked, there is no precision twin ({measured.detail}): the budget decides alone"
        return Check("twin", "fidelity", None, "twin", None, None, None, not plan.required, reason)
    reason = f"compared on {measured.settings['batches']:g} batches" + (f"; {measured.detail}" * bool(measured.detail))
    ok = not (plan.required and "is not judged" in measured.detail)
    return Check("twin", "fidelity", None, "twin", 1.0, None, None, ok, reason)


def _none_allowed(measured: Measurement) -> Check:
    ok = measured.value == 0
    words = NONE_ALLOWED[measured.metric].format(value=measured.value or 0)
    name = f"{measured.output}/{measured.metric}"
    reason = (measured.detail or HOLDS[measured.metric]) if ok else words
    return Check(name, "fidelity", measured.output, measured.metric, measured.value, 0.0, None, ok, reason)


def _times(measured: Measurement, limit: float, plan: FidelityPlan) -> Check:
    value, name = measured.value, f"{measured.output}/{measured.metric}"
    if value is None:
        return Check(name, "fidelity", measured.output, measured.metric, None, limit, None, not plan.required, NOTHING)
    where = f" ({measured.detail})" if measured.detail else ""
    alone = f"rounding alone moves the output by {measured.settings['noise_rms']:.3g}"
    noise = f"what rounding does to this file here (limit {limit:g}; {alone})"
    reason = f"{WORDS[measured.metric]}{where} is {value:.4g} times {noise}"
    return Check(name, "fidelity", measured.output, measured.metric, value, limit, None, value <= limit, reason)
