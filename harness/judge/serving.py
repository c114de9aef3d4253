"""Decides on what a case does under load, against the limits of its suite."""

from __future__ import annotations

from collections.abc import Iterator

from harness.records import Check, Outcome, Plan, ServingPlan

UNITS = {"_ms": " ms", "_per_s": "/s"}


def judge_serving(plan: Plan, outcome: Outcome) -> Iterator[Check]:
    """A check for each limit on a scenario; what could not be measured does not pass."""
    if plan.serving is not None:
        for measure, limit in limits(plan.serving):
            yield _check(measure, limit, outcome.measures.get(measure))


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


def _check(measure: str, limit: float, value: float | None) -> Check:
    ending = next(end for end in UNITS if measure.endswith(end))
    told, unit = measure.removesuffix(ending).replace("_", " "), UNITS[ending]
    name = f"resource/{measure}"
    if value is None:
        reason = f"{told} was not measured, so the limit of {limit:g}{unit} cannot be checked: the notes say why"
        return Check(name, "resource", None, measure, None, limit, None, ok=False, reason=reason)
    at_most = ending == "_ms"
    ok = value <= limit if at_most else value >= limit
    sign = ("<=" if ok else ">") if at_most else (">=" if ok else "<")
    reason = f"{told} {value:.4g}{unit} {sign} {limit:g}{unit}"
    return Check(name, "resource", None, measure, value, limit, None, ok, reason)
