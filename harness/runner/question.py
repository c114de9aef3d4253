"""What is asked about a failing case: which of its outputs is looked into, and from what it must have parted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.errors import UsageError
from harness.records import Check, Plan
from harness.runner.findings import Distance, Survey
from harness.runner.narrow import MARKS, Question

FP32 = ("fp32", "as-is")
"""Precisions whose file has no other fp32 model to be compared with."""
PARTED: Mapping[str, float] = {"tf32": 2e-2, "fp16": 3e-2, "bf16": 2e-1, "int8": 0.1, "fp8": 0.32}
"""Relative error at which a tensor is no longer that of the fp32 model, unless half the failing output's is less."""
WITHIN: Mapping[str, float] = {"twin": 1.0, "fp32": 0.0}
"""Up to here a tensor is that of the yardstick, whatever else fails."""
IS_RIGHT: Mapping[str, str] = {
    "twin": "is within what rounding does to the file",
    "fp32": "is that of the fp32 model",
}


def asked(plan: Plan, survey: Survey, failed: Sequence[Check]) -> tuple[Question, tuple[str, ...]]:
    """The failing output to look into, and notes; its threshold is not settled yet.

    Outputs that part from the precision twin come first. One without floats is looked into by the float tensors that
    it is computed from. UsageError where no failing output is computed from floats in the graph.
    """
    against_twin = [check for check in failed if check.metric.startswith("twin")]
    own = plan.case.precision in FP32
    yardstick = "twin" if (against_twin or own) and survey.untwinned is None else "fp32"
    outputs = [name for name in dict.fromkeys(check.output for check in (*against_twin, *failed)) if name]
    finals = {spot.tensor for spot in survey.spots if spot.final}
    decisive = {check.output for check in against_twin or failed}
    known = sorted((n for n in outputs if n in finals or survey.above.get(n)), key=lambda name: name not in decisive)
    floats = [name for name in known if name in finals and (name in decisive or known[0] not in decisive)]
    if not known:
        told = ", ".join(f"'{name}'" for name in outputs) or failed[0].name
        raise UsageError(f"{plan.case.id}: {told}, which fails, is computed from no float tensor: nothing to look into")
    chosen = (floats or known)[0]
    left = ", ".join(f"'{name}'" for name in outputs if name != chosen)
    notes = [f"{left} fails too; looked into is '{chosen}'"] if left else []
    if floats:
        return Question(yardstick, 0.0, chosen), tuple(notes)
    names = ", ".join(f"'{name}'" for name in survey.above[chosen][:MARKS])
    notes.append(
        f"'{chosen}' holds no floats: looked into are the nearest float tensors that it is computed from, {names}"
    )
    return Question(yardstick, 0.0, survey.above[chosen][0], stands_for=chosen), tuple(notes)


def farthest(question: Question, survey: Survey, distances: Mapping[str, Distance]) -> Question:
    """Of the tensors that stand for an output the one that is farthest from the yardstick."""
    names = survey.above[question.stands_for or ""][:MARKS]
    return replace(question, output=max(names, key=lambda name: question.far(distances.get(name))))


def settled(question: Question, precision: str, distances: Mapping[str, Distance]) -> Question:
    """The question with its threshold: less than how far the output itself is, so that it counts as parted."""
    size = question.far(distances.get(question.output))
    if question.yardstick == "twin":
        return replace(question, threshold=max(1.0, math.sqrt(size)) if math.isfinite(size) else 1.0)
    return replace(question, threshold=min(PARTED.get(precision, 1e-4), size / 2 or math.inf))
