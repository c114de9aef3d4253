"""Decides on what a case does under load, against the limits of its suite."""

from __future__ import annotations

from collections.abc import Iterator

from harness.records import Check, Outcome, Plan, ServingPlan, VideoStream

UNITS = {"_ms": (" ms", 1), "_per_s": ("/s", 1), "_fps": (" fps", 1), "_share": (" %", 100)}
"""How names of measures end, to the unit and how many of it make one of the measure's."""
AT_MOST = ("_ms", "_share")
WHY = "the notes say why"
NEVER = "its run was not asked for it: run the case again"
"""Of several percentiles only those that have a limit are measured, so a limit may come too late."""


def judge_serving(plan: Plan, outcome: Outcome) -> Iterator[Check]:
    """A check for each limit on a scenario; what could not be measured does not pass."""
    if plan.serving is not None:
        for measure, limit in limits(plan.serving):
            asked = measure in outcome.measures
            yield _check(measure, limit, outcome.measures.get(measure), WHY if asked else NEVER)


def limits(plan: ServingPlan) -> Iterator[tuple[str, float]]:
    """Measures and their limits: the least of rates, the most of times."""
    if plan.single_stream is not None and plan.single_stream.p90_ms is not None:
        yield "single_stream_p90_ms", plan.single_stream.p90_ms
    if plan.multi_stream is not None and plan.multi_stream.p99_ms is not None:
        yield "multi_stream_p99_ms", plan.multi_stream.p99_ms
    if plan.server is not None and plan.server.rate_per_s is not None:
        percentile, bound_ms = plan.server.bound
        yield f"server_{percentile}", bound_ms
    if plan.server is not None and plan.server.min_per_s is not None:
        yield "server_per_s", plan.server.min_per_s
    if plan.offline is not None and plan.offline.min_per_s is not None:
        yield "offline_per_s", plan.offline.min_per_s
    if plan.video is not None:
        yield from _of_video(plan.video)


def _of_video(plan: VideoStream) -> Iterator[tuple[str, float]]:
    limits = {
        "video_fps": plan.fps_min,
        "video_drop_share": plan.most_drops,
        "video_p90_ms": plan.p90_ms,
        "video_p99_ms": plan.p99_ms,
        "video_unpaced_fps": plan.unpaced_fps_min,
    }
    yield from ((measure, limit) for measure, limit in limits.items() if limit is not None)


def _check(measure: str, limit: float, value: float | None, why_none: str) -> Check:
    ending = next(end for end in UNITS if measure.endswith(end))
    told, (unit, scale) = measure.removesuffix(ending).replace("_", " "), UNITS[ending]
    name, most = f"resource/{measure}", f"{limit * scale:g}{unit}"
    if value is None:
        reason = f"{told} was not measured, so the limit of {most} cannot be checked: {why_none}"
        return Check(name, "resource", None, measure, None, limit, None, ok=False, reason=reason)
    at_most = ending in AT_MOST
    ok = value <= limit if at_most else value >= limit
    sign = ("<=" if ok else ">") if at_most else (">=" if ok else "<")
    reason = f"{told} {value * scale:.4g}{unit} {sign} {most}"
    return Check(name, "resource", None, measure, value, limit, None, ok, reason)
