"""Accuracy checks: structure, limits, task metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.errors import did_you_mean
from harness.judge import elements
from harness.judge.passing import at_least, at_most, would_pass
from harness.metrics import METRICS, SETTINGS, Bound, bound
from harness.metrics.defaults import (
    conditioned,
    default_cosine,
    default_limits,
    explicit_limits,
    is_exact,
)
from harness.records import Check, Limits, Measurement, Plan, Task

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
HOLDS = {
    "batches": "all batches were measured, {detail}",
    "missing_outputs": "every output of the reference is there",
    "extra_outputs": "no output that the reference lacks",
    "shape_mismatches": "the reference's shape, {detail}",
    "dtype_mismatches": "the reference's type, {detail}",
    "nothing_finite": "there are numbers to compare",
    "nonfinite": "no element is NaN or infinite where the reference is not",
}
"""And what when they are."""
WAYS = {"drop": -1, "rise": 1}
"""How a task metric gets worse than the reference's, and the sign of that change."""


def judge_outputs(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks on structure (names, shapes, dtypes, finite numbers) and on the limits of every output."""
    tasks = {plan.task.metric, f"{plan.task.metric}_reference"} if plan.task else set()
    checks = [_structure(m) for m in measurements if m.metric in STRUCTURE]
    outputs: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.output is not None and measurement.metric not in (*STRUCTURE, *tasks):
            outputs.setdefault(measurement.output, []).append(measurement)
    dtypes = _dtypes(measurements)
    for output, measured in outputs.items():
        checks += _budget(plan, output, measured, dtypes.get(output, "float"))
    known = {m.output for m in measurements if m.output}
    return checks + [_unknown(output, known) for output in sorted(set(plan.output_limits) - known)]


def exact_outputs(measurements: Sequence[Measurement]) -> set[str]:
    """Outputs of integers, booleans or strings."""
    return {output for output, dtype in _dtypes(measurements).items() if is_exact(dtype)}


def _dtypes(measurements: Sequence[Measurement]) -> dict[str, str]:
    """Output to the type of its reference."""
    found = (m for m in measurements if m.metric == "dtype_mismatches")
    return {m.output: str(m.settings.get("expected", "float")) for m in found if m.output}


def _structure(measured: Measurement) -> Check:
    ok = measured.value == 0
    where = measured.output or "outputs"
    words = STRUCTURE[measured.metric].format(value=measured.value or 0, detail=measured.detail)
    holds = measured.detail if measured.metric == "nonfinite" else ""
    reason = (holds or HOLDS[measured.metric].format(detail=measured.detail).rstrip(", ")) if ok else words
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


def _budget(plan: Plan, output: str, measured: list[Measurement], dtype: str) -> list[Check]:
    found = {m.metric: m for m in measured}
    exact = is_exact(dtype)
    explicit = explicit_limits(plan, output, exact=exact)
    limits, note = explicit or default_limits(plan, exact=exact), ""
    if not limits:
        return []  # a variant that changes the model on purpose: its task decides
    if not explicit and conditioned(plan):
        limits, note = _relaxed(limits, found)
    found = _same_settings(found, limits)
    scalar = [(name, bounds, float(limits[name])) for name in limits if (bounds := bound(name))]
    checks = [_limit(output, name, bounds, limit, found, note) for name, bounds, limit in scalar]
    if "atol" in limits or "rtol" in limits:
        room = 1.0 if explicit else elements.resolution_room(limits, dtype)
        checks.append(elements.tolerance(output, limits, found, room))
    elif "mismatch_share_max" in limits:
        checks.append(elements.share(output, float(limits["mismatch_share_max"]), found))
    if limits.get("exact"):
        checks.append(elements.exact(output, found, ties=not explicit and conditioned(plan)))
    if not checks:
        reason = f"the limits {', '.join(limits)} of '{output}' decide nothing; give it one that does"
        checks.append(_failed(f"{output}/limits", output, reason))
    return checks


def _relaxed(limits: Limits, found: dict[str, Measurement]) -> tuple[Limits, str]:
    """The default limits as relaxed by the measured conditioning, and a word about it; else as they are."""
    conditioning, ratio = found.get("conditioning_rms"), found.get("tolerance_ratio")
    if "cosine_min" not in limits or not conditioning or not ratio or "scaled" not in ratio.settings:
        return limits, ""
    cosine_min = float(limits["cosine_min"])
    relaxed = default_cosine(cosine_min, float(ratio.settings["scaled"]), conditioning.value)
    if relaxed == cosine_min:
        return limits, ""
    note = f" ({cosine_min:g}, relaxed because healthy evaluations differ by {conditioning.value:.3g} RMS)"
    return {**limits, "cosine_min": relaxed}, note


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


def _limit(output: str, name: str, bounds: Bound, limit: float, found: dict[str, Measurement], note: str) -> Check:
    metric, side = bounds.metric, bounds.side
    measured = found.get(metric)
    value = measured.value if measured else None
    ok = value is not None and (value <= limit if side == "max" else value >= limit)
    reason = elements.not_measured(metric) if value is None else _relation(bounds, value, limit) + note
    if measured is None:
        reason += "; where the limit is new, run again or judge a run that kept its outputs (--keep-outputs)"
    if value is not None and not ok:
        reason += would_pass(**{name: at_most(value) if side == "max" else at_least(value)})
    return Check(f"{output}/{name}", "budget", output, metric, value, limit, None, ok, reason)


def _relation(bounds: Bound, value: float, level: float) -> str:
    """The value beside its limit, with as many digits as tell them apart."""
    sign = "<=" if value <= level else ">"
    if bounds.side == "min":
        sign = ">=" if value >= level else "<"
    digits = next((n for n in range(7, 17) if value == level or f"{value:.{n}g}" != f"{level:.{n}g}"), 17)
    return f"{bounds.metric} {value:.{digits}g} {sign} {level:.{digits}g}"


def judge_task(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks on the task metric; none without a task."""
    task = plan.task
    if task is None:
        return []
    found = {m.metric: m.value for m in measurements if m.output == task.output}
    value, reference = found.get(task.metric), found.get(f"{task.metric}_reference")
    sides = {side: getattr(task, side) for side in ("min", "max")}
    ways = {way: getattr(task, f"max_{way}") for way in WAYS}
    return [
        *(_bounded(task, side, limit, value, reference) for side, limit in sides.items() if limit is not None),
        *(_moved(task, way, limit, value, reference) for way, limit in ways.items() if limit is not None),
    ]


def _bounded(task: Task, side: str, limit: float, value: float | None, reference: float | None) -> Check:
    """A task metric against its least or largest value."""
    if value is None:
        return Check(f"task/{task.metric}", "task", task.output, task.metric, None, limit, None, False, "not measured")
    ok = _within(value, side, limit)
    sign = (">=" if ok else "<") if side == "min" else ("<=" if ok else ">")
    words = f"{task.metric} {value:.4g} {sign} {limit:g}"
    if not ok and reference is not None and not _within(reference, side, limit):
        words += f", {reference:.4g} of the reference as well: look at inputs, their preparation, labels or the model"
    if not ok:
        words += would_pass(**{side: at_least(value) if side == "min" else at_most(value)})
    return Check(f"task/{task.metric}", "task", task.output, task.metric, value, limit, None, ok, words)


def _moved(task: Task, way: str, limit: float, value: float | None, reference: float | None) -> Check:
    """A task metric against that of the reference: how far it is worse."""
    moved = None if value is None or reference is None else WAYS[way] * (value - reference)
    # a change of exactly the limit passes, also when subtraction of shares rounds
    ok = moved is not None and moved <= limit + 1e-12
    words = "not measured" if moved is None else f"{task.metric} {value:.4g} against {reference:.4g} of the reference"
    if moved is not None and not ok:
        words += would_pass(**{f"max_{way}": at_most(moved)})
    metric = f"{task.metric}_{way}"
    return Check(f"task/{metric}", "task", task.output, metric, moved, limit, reference, ok, words)


def _within(value: float, side: str, limit: float) -> bool:
    return value >= limit if side == "min" else value <= limit


def conditioning(measurements: Sequence[Measurement]) -> dict[str, float]:
    """What a case's comparison was told about the model's conditioning, to compare kept outputs again with it."""
    told = ((m.output, m.value) for m in measurements if m.metric == "conditioning_rms")
    return {output: value for output, value in told if output is not None and value is not None}


def changed_tolerances(plan: Plan, measurements: Sequence[Measurement]) -> list[str]:
    """Outputs whose element-wise limits are not those that were measured, or whose numbers were not measured at all."""
    stored = {m.output: m.settings for m in measurements if m.metric == "tolerance_ratio" and m.output}
    exact = exact_outputs(measurements)
    outputs = {m.output for m in measurements if m.metric == "dtype_mismatches" and m.output}
    changed = {o for o in outputs if not _same_tolerance(plan, o, stored.get(o), exact=o in exact)}
    return sorted(changed | _of_the_other_kind(plan, measurements))


def _of_the_other_kind(plan: Plan, measurements: Sequence[Measurement]) -> set[str]:
    """Outputs with limits that are measured only where a limit asks: equality of floats, numbers of integers."""
    found = {(m.output, m.metric) for m in measurements}
    dtypes = {
        m.output: str(m.settings["expected"])
        for m in measurements
        if m.metric == "dtype_mismatches" and m.output and not m.value
    }
    lacking = set()
    for output, dtype in dtypes.items():
        limits = explicit_limits(plan, output, exact=is_exact(dtype))
        numbers = any(map(bound, limits)) and dtype.startswith(("int", "uint", "bool"))
        if (limits.get("exact") and (output, "mismatches") not in found) or (
            numbers and (output, "nonfinite") not in found
        ):
            lacking.add(output)
    return lacking


def unmeasured(plan: Plan, measurements: Sequence[Measurement]) -> bool:
    """Whether a limit names a metric that was not measured so far, or not with its settings, but could be."""
    exact = exact_outputs(measurements)
    found: dict[str, dict[str, Measurement]] = {}
    for measured in measurements:
        if measured.output:
            found.setdefault(measured.output, {})[measured.metric] = measured
    return any(_lacks(explicit_limits(plan, o, exact=o in exact), measured) for o, measured in found.items())


def _lacks(limits: Limits, found: dict[str, Measurement]) -> bool:
    named = {bounds.metric for bounds in map(bound, limits) if bounds}
    usable = _same_settings(found, limits)
    return any(metric not in usable and (metric in found or _on_request(metric)) for metric in named)


def _on_request(metric: str) -> bool:
    """Whether a metric is measured only where a limit names it; of those not built in nobody knows here."""
    return metric not in METRICS or METRICS.load(metric).on_request


def _same_tolerance(plan: Plan, output: str, settings: Mapping[str, float | str] | None, *, exact: bool) -> bool:
    limits = explicit_limits(plan, output, exact=exact)
    default = not limits
    limits = limits or default_limits(plan, exact=exact)
    if "atol" not in limits and "rtol" not in limits:
        return True
    if settings is None or ("scaled" in settings) != default:
        return False
    wanted = {"rule": limits.get("rule", "sum"), "rtol": float(limits.get("rtol", 0.0))}
    if not default:
        wanted["atol"] = float(limits.get("atol", 0.0))
    return all(settings.get(key) == value for key, value in wanted.items())
