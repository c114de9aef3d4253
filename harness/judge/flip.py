"""The check on mirrored images: a backend computes them as right as others, and some models name both alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.judge.accuracy import judge_task
from harness.judge.fidelity import judge_fidelity
from harness.judge.passing import at_most, would_pass
from harness.records import Check, FlipPlan, Measurement, Plan

FLIP = "flip:"
"""Begins the name of a metric that is measured on mirrored images."""
ROWS, CHANGED = "rows", "changed"


def judge_flip(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks of a case on mirrored images; none where they were not run.

    The limits of fidelity hold for them as for the others, and so does how far the task metric may be from the
    reference's on the same images; its least value does not, since a model may be trained to tell them apart.
    """
    found = [replace(m, metric=m.metric.removeprefix(FLIP)) for m in measurements if m.metric.startswith(FLIP)]
    if plan.flip is None or not found:
        return []
    checks = judge_fidelity(plan, found)
    if plan.task and any(m.metric == f"{plan.task.metric}_reference" for m in found):
        checks += judge_task(replace(plan, task=replace(plan.task, min=None, max=None)), found)
    checks += _task(plan, plan.flip, measurements, found)
    checks += _changed(plan, plan.flip, found)
    return [_told(one) for one in checks]


def _told(check: Check) -> Check:
    words = f"on mirrored images: {check.reason}"
    return replace(check, name=f"flip/{check.name}", metric=FLIP + check.metric, reason=words)


def _task(
    plan: Plan, flip: FlipPlan, measurements: Sequence[Measurement], found: Sequence[Measurement]
) -> Iterator[Check]:
    """How far the task metric falls from the images as they are to the mirrored ones."""
    if plan.task is None or flip.max_drop is None:
        return
    name = plan.task.metric
    plain, mirrored = (_value(one, plan.task.output, name) for one in (measurements, found))
    drop = None if plain is None or mirrored is None else plain - mirrored
    ok = drop is not None and drop <= flip.max_drop + 1e-12  # shares that differ by exactly the limit pass
    words = "not measured" if drop is None else f"{name} {mirrored:.4g} against {plain:.4g} on the others"
    if drop is not None and not ok:
        words += would_pass(max_drop=at_most(drop))
    yield Check(f"{name}_drop", "task", plan.task.output, f"{name}_drop", drop, flip.max_drop, plain, ok, words)


def _changed(plan: Plan, flip: FlipPlan, found: Sequence[Measurement]) -> Iterator[Check]:
    """The share of rows that are named otherwise: of the task's output, else of every one that scores classes."""
    if flip.max_changed is None:
        return
    limit = flip.max_changed
    shares = {m.output: m.value for m in found if m.metric == CHANGED}
    for output in [plan.task.output] if plan.task else [*shares] or [None]:
        share = shares.get(output)
        ok = share is not None and share <= limit
        words = (
            "no output scores classes"
            if share is None
            else f"{100 * share:.4g} % of the rows have another largest entry"
        )
        if share is not None and not ok:
            words += would_pass(max_changed=at_most(share))
        yield Check(f"{output or 'outputs'}/{CHANGED}", "task", output, CHANGED, share, limit, None, ok, words)


def _value(measurements: Sequence[Measurement], output: str, metric: str) -> float | None:
    return next((m.value for m in measurements if (m.output, m.metric) == (output, metric)), None)
