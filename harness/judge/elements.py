"""Checks on single elements: the element-wise rule, the share that may break it, and equality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.judge.passing import at_most, would_pass
from harness.metrics.defaults import CONDITIONING_ROOM
from harness.records import Check, Limits, Measurement

RESOLUTION: Mapping[str, float] = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number of a type: one unit in the last place, relative to the number."""
UNITS = 2
"""So many units in the last place two healthy evaluations are apart that round to the type once, or after each step."""


def resolution_room(limits: Limits, dtype: str) -> float:
    """By how much the default limits grow for an output whose type cannot tell numbers that near apart; else 1."""
    return max(1.0, UNITS * RESOLUTION.get(dtype, 0.0) / float(limits.get("rtol", 1.0)))


def tolerance(output: str, limits: Limits, found: dict[str, Measurement], room: float = 1.0) -> Check:
    """The element-wise rule: no element beyond its allowance, or at most the allowed share of them.

    `room` multiplies the allowance that was measured by.
    """
    share = "mismatch_share_max" in limits
    metric = "mismatch_share" if share else "tolerance_ratio"
    limit = float(limits["mismatch_share_max"]) if share else 1.0
    measured = found.get(metric)
    if measured is None or not measured.settings:
        return Check(f"{output}/tolerance", "budget", output, metric, None, limit, None, False, not_measured(metric))
    value = measured.value
    if room > 1:
        value = None if value is None else value / room
        wider = {key: float(measured.settings[key]) * room for key in ("atol", "rtol")}
        measured = replace(measured, value=value, settings={**measured.settings, **wider})
    ok = value is not None and value <= limit
    reason = f"{_how_far(value, measured.settings, share=share)} (limit {limit:g}); {measured.detail}"
    if not ok:
        larger = _larger_allowance(measured, found)
        reason += would_pass(mismatch_share_max=at_most(value)) if share and value is not None else larger
    return Check(f"{output}/tolerance", "budget", output, metric, value, limit, None, ok, reason)


def _how_far(value: float | None, settings: Mapping[str, float | str], *, share: bool) -> str:
    rule, atol, rtol = (settings[key] for key in ("rule", "atol", "rtol"))
    allowed = f"{atol:.3g} + {rtol:g}*|r|" if rule == "sum" else f"max({atol:.3g}, {rtol:g}*|r|)"
    if atol == CONDITIONING_ROOM * float(settings.get("conditioning_rms", 0)) > 0:
        allowed += f", {CONDITIONING_ROOM} times what healthy evaluations differ by,"
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


def exact(output: str, found: dict[str, Measurement], *, ties: bool = False) -> Check:
    """Every element must be equal; with `ties` an index may be that of a score which rounding does not tell apart."""
    measured = found.get("mismatches")
    value = measured.value if measured else None
    reason = not_measured("mismatches")
    if measured and value is not None:
        reason = f"{value:g} differ, {measured.detail}" if value else f"all are equal, {measured.detail}"
    beyond = found.get("index_beyond_ties")
    if value and beyond is not None:
        reason += f"; {beyond.detail}"
        if ties and beyond.value == 0:
            return Check(f"{output}/exact", "budget", output, beyond.metric, 0.0, 0.0, None, True, reason)
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


def share(output: str, limit: float, found: dict[str, Measurement]) -> Check:
    """The share of elements that are not equal, for outputs without an element-wise allowance."""
    measured = found.get("mismatch_share")
    value = measured.value if measured else None
    ok = value is not None and value <= limit
    needs = "mismatch_share_max needs atol or rtol beside it"
    reason = needs if value is None else f"{value:.4g} of the elements differ (limit {limit:g})"
    if value is not None and not ok:
        reason += would_pass(mismatch_share_max=at_most(value))
    return Check(f"{output}/mismatch_share", "budget", output, "mismatch_share", value, limit, None, ok, reason)


def not_measured(metric: str) -> str:
    """The reason of a check without a value."""
    return f"{metric} could not be measured for this output; absence never passes"
