"""Accuracy checks: structure, limits, task metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.errors import did_you_mean
from harness.judge.passing import at_least, at_most, would_pass
from harness.metrics import LIMITS, SETTINGS, Bound
from harness.metrics.defaults import default_limits, explicit_limits, is_exact
from harness.records import Check, Limits, Measurement, Plan

STRUCTURE = {
    "batches": "{value:g} batches are missing ({detail} measured)",
    "missing_outputs": "missing outputs: {detail}",
    "extra_outputs": "unexpected outputs: {detail}",
    "shape_mismatches": "shape: {detail}",
    "dtype_mismatches": "dtype: {detail}",
    "nothing_finite": "every element is NaN in both: nothing was compared",
    "nonfinite": "{value:g} elements are NaN or infinite where the reference is not ({detail})",
}
"""Measurements that must be 0, and what to say when they are not."""


def judge_outputs(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks on structure (names, shapes, dtypes, finite numbers) and on the limits of every output."""
    tasks = {plan.task.metric, f"{plan.task.metric}_reference"} if plan.task else set()
    checks = [_structure(m) for m in measurements if m.metric in STRUCTURE]
    outputs: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.output is not None and measurement.metric not in (*STRUCTURE, *tasks):
            outputs.setdefault(measurement.output, []).append(measurement)
    exact = exact_outputs(measurements)
    for output, measured in outputs.items():
        checks += _budget(plan, output, measured, exact=output in exact)
    known = {m.output for m in measurements if m.output}
    return checks + [_unknown(output, known) for output in sorted(set(plan.output_limits) - known)]


def exact_outputs(measurements: Sequence[Measurement]) -> set[str]:
    """Outputs of integers, booleans or strings."""
    dtypes = {
        m.output: str(m.settings.get("expected", "float")) for m in measurements if m.metric == "dtype_mismatches"
    }
    return {output for output, dtype in dtypes.items() if output and is_exact(dtype)}


def _structure(measured: Measurement) -> Check:
    ok = measured.value == 0
    where = measured.output or "outputs"
    words = STRUCTURE[measured.metric].format(value=measured.value or 0, detail=measured.detail)
    reason = measured.detail if ok else words
    return Check(
        f"{where}/{measured.metric}",
        "fidelity",
        measured.output,
        measured.metric,
        measured.value,
        0.0,
        None,
        ok,
        reason,
    )


def _budget(plan: Plan, output: str, measured: list[Measurement], *, exact: bool) -> list[Check]:
    found = {m.metric: m for m in measured}
    limits = explicit_limits(plan, output, exact=exact) or default_limits(plan.case.precision, exact=exact)
    found = _same_settings(found, limits)
    checks = [_bound(output, name, limit, found) for name, limit in limits.items() if name in LIMITS]
    if "atol" in limits or "rtol" in limits:
        checks.append(_tolerance(output, limits, found))
    elif "mismatch_share_max" in limits:
        checks.append(_share(output, float(limits["mismatch_share_max"]), found))
    if limits.get("exact"):
        checks.append(_exact(output, found))
    if not checks:
        reason = f"the limits {', '.join(limits)} of '{output}' decide nothing; give it one that does"
        checks.append(_failed(f"{output}/limits", output, reason))
    return checks


def _same_settings(found: dict[str, Measurement], limits: Limits) -> dict[str, Measurement]:
    """Without what was measured with other settings (k, margin) than the limits name now: measure it again."""
    return {name: measured for name, measured in found.items() if _as_set(measured, limits)}


def _as_set(measured: Measurement, limits: Limits) -> bool:
    defaults: Limits = {"topk": 5}
    then, now = {**defaults, **measured.settings}, {**defaults, **limits}
    return all(then.get(name) == now.get(name) for name, metrics in SETTINGS.items() if measured.metric in metrics)


def _unknown(output: str, known: Iterable[str]) -> Check:
    reason = f"a limit is set for '{output}', but there is no such output{did_you_mean(output, known)}"
    return _failed(f"{output}/measured", output, reason)


def _failed(name: str, output: str, reason: str) -> Check:
    return Check(name, "budget", output, "measured", None, None, None, False, reason)


def _share(output: str, limit: float, found: dict[str, Measurement]) -> Check:
    """The share of elements that are not equal, for outputs without an element-wise allowance."""
    measured = found.get("mismatch_share")
    value = measured.value if measured else None
    ok = value is not None and value <= limit
    needs = "mismatch_share_max needs atol or rtol beside it"
    reason = needs if value is None else f"{value:.4g} of the elements differ (limit {limit:g})"
    if value is not None and not ok:
        reason += would_pass(mismatch_share_max=at_most(value))
    return Check(f"{output}/mismatch_share", "budget", output, "mismatch_share", value, limit, None, ok, reason)


def _bound(output: str, name: str, limit: float | bool | str, found: dict[str, Measurement]) -> Check:
    bound = LIMITS[name]
    measured = found.get(bound.metric)
    value = measured.value if measured else None
    level = float(limit)
    ok = value is not None and (value <= level if bound.side == "max" else value >= level)
    reason = _not_measured(bound.metric) if value is None else _relation(bound, value, level)
    if value is not None and not ok:
        reason += would_pass(**{name: at_most(value) if bound.side == "max" else at_least(value)})
    return Check(f"{output}/{name}", "budget", output, bound.metric, value, level, None, ok, reason)


def _relation(bound: Bound, value: float, level: float) -> str:
    """The value beside its limit, with as many digits as tell them apart."""
    sign = "<=" if value <= level else ">"
    if bound.side == "min":
        sign = ">=" if value >= level else "<"
    digits = next((n for n in range(7, 17) if value == level or f"{value:.{n}g}" != f"{level:.{n}g}"), 17)
    return f"{bound.metric} {value:.{digits}g} {sign} {level:.{digits}g}"


def _not_measured(metric: str) -> str:
    return f"{metric} could not be measured for this output; absence never passes"


def _tolerance(output: str, limits: Limits, found: dict[str, Measurement]) -> Check:
    """The element-wise rule: no element beyond its allowance, or at most the allowed share of them."""
    share = "mismatch_share_max" in limits
    metric = "mismatch_share" if share else "tolerance_ratio"
    limit = float(limits["mismatch_share_max"]) if share else 1.0
    measured = found.get(metric)
    if measured is None or not measured.settings:
        return Check(f"{output}/tolerance", "budget", output, metric, None, limit, None, False, _not_measured(metric))
    value = measured.value
    ok = value is not None and value <= limit
    reason = f"{_how_far(value, measured.settings, share=share)} (limit {limit:g}); {measured.detail}"
    if not ok:
        larger = _larger_allowance(measured, found)
        reason += would_pass(mismatch_share_max=at_most(value)) if share and value is not None else larger
    return Check(f"{output}/tolerance", "budget", output, metric, value, limit, None, ok, reason)


def _how_far(value: float | None, settings: Mapping[str, float | str], *, share: bool) -> str:
    rule, atol, rtol = (settings[key] for key in ("rule", "atol", "rtol"))
    allowed = f"{atol:.3g} + {rtol:g}*|r|" if rule == "sum" else f"max({atol:.3g}, {rtol:g}*|r|)"
    if share:
        return f"{value:.4g} of the elements beyond |c-r| <= {allowed}"
    times = "infinitely many" if value is None else f"{value:.4g}"
    return f"the worst error is {times} times what |c-r| <= {allowed} allows"


def _larger_allowance(measured: Measurement, found: dict[str, Measurement]) -> str:
    """The element-wise limits that would have passed, in the unit of the output."""
    room = 1 + 1e-6  # an element may be measured in float32
    largest = found.get("max_abs")
    if measured.value is not None:
        grown = {key: float(measured.settings[key]) * measured.value * room for key in ("atol", "rtol")}
        return would_pass(**{key: at_most(value) for key, value in grown.items() if value})
    if largest is not None and largest.value is not None:
        return would_pass(atol=at_most(largest.value * room))
    return ""


def _exact(output: str, found: dict[str, Measurement]) -> Check:
    measured = found.get("mismatches")
    value = measured.value if measured else None
    reason = f"{value:g} differ, {measured.detail}" if measured and value is not None else _not_measured("mismatches")
    if value:
        reason += _instead_of_exact(found)
    return Check(f"{output}/exact", "budget", output, "mismatches", value, 0.0, None, value == 0, reason)


def _instead_of_exact(found: dict[str, Measurement]) -> str:
    """The limit that would have passed in its place."""
    for name, metric in (("max_abs", "max_abs"), ("mismatch_share_max", "mismatch_share")):
        measured = found.get(metric)
        if measured is not None and measured.value is not None:
            return would_pass(**{name: at_most(measured.value)}) + " instead of exact"
    return ""


def judge_task(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks on the task metric; none without a task."""
    task = plan.task
    if task is None:
        return []
    found = {m.metric: m.value for m in measurements if m.output == task.output}
    value, reference = found.get(task.metric), found.get(f"{task.metric}_reference")
    checks = []
    if task.min is not None:
        ok = value is not None and value >= task.min
        words = f"{task.metric} {value:.4g} {'>=' if ok else '<'} {task.min:g}" if value is not None else "not measured"
        if value is not None and not ok:
            words += would_pass(min=at_least(value))
        checks.append(Check(f"task/{task.metric}", "task", task.output, task.metric, value, task.min, None, ok, words))
    if task.max_drop is not None:
        drop = reference - value if value is not None and reference is not None else None
        # a drop of exactly the limit passes, also when subtraction of shares rounds
        ok = drop is not None and drop <= task.max_drop + 1e-12
        words = f"{task.metric} {value:.4g} against {reference:.4g} of the reference" if ok or drop else "not measured"
        if drop is not None and not ok:
            words += would_pass(max_drop=at_most(drop))
        name, metric = f"task/{task.metric}_drop", f"{task.metric}_drop"
        checks.append(Check(name, "task", task.output, metric, drop, task.max_drop, reference, ok, words))
    return checks


def changed_tolerances(plan: Plan, measurements: Sequence[Measurement]) -> list[str]:
    """Outputs whose element-wise limits are not those that were measured."""
    stored = {m.output: m.settings for m in measurements if m.metric == "tolerance_ratio" and m.output}
    exact = exact_outputs(measurements)
    outputs = {m.output for m in measurements if m.metric == "dtype_mismatches" and m.output}
    return sorted(o for o in outputs if not _same_tolerance(plan, o, stored.get(o), exact=o in exact))


def _same_tolerance(plan: Plan, output: str, settings: Mapping[str, float | str] | None, *, exact: bool) -> bool:
    limits = explicit_limits(plan, output, exact=exact)
    default = not limits
    limits = limits or default_limits(plan.case.precision, exact=exact)
    if "atol" not in limits and "rtol" not in limits:
        return True
    if settings is None or ("scaled" in settings) != default:
        return False
    wanted = {"rule": limits.get("rule", "sum"), "rtol": float(limits.get("rtol", 0.0))}
    if not default:
        wanted["atol"] = float(limits.get("atol", 0.0))
    return all(settings.get(key) == value for key, value in wanted.items())
