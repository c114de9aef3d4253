"""Is the ONNX file that was exported from a model what its framework computes?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.judge.accuracy import STRUCTURE, judge_outputs
from harness.judge.fidelity import judge_fidelity
from harness.metrics import bound
from harness.metrics.defaults import default_limits
from harness.records import Check, FidelityPlan, Measurement, Plan
from harness.sources import FRAMEWORKS

PREFIX = "export_"
"""Before the metrics of the framework's own fp32 outputs against those of ONNX Runtime on the export."""
RATIOS = {"tolerance_ratio", "mismatch_share", "mismatches", "conditioning_rms"}


def of_export(plan: Plan, measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """What the judgement of an export needs of what was measured of it, under names of its own; the plan is in fp32."""
    metrics = {bounds.metric for bounds in map(bound, default_limits(plan, exact=False)) if bounds}
    wanted = {*STRUCTURE, *RATIOS, *metrics}
    return tuple(
        replace(one, metric=PREFIX + one.metric)
        for one in measurements
        if one.metric in wanted or one.metric.startswith("twin")
    )


def judge_export(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """The checks of an export that fail, or one that says that all hold; none where nothing was exported.

    They are those of a backend in fp32 under the default limits, whatever the case's precision and limits are.
    """
    found = [
        replace(one, metric=one.metric.removeprefix(PREFIX)) for one in measurements if one.metric.startswith(PREFIX)
    ]
    if not found:
        return []
    case = replace(plan.case, precision="fp32", chain=())
    plain = replace(plan, case=case, changed=False, limits={}, output_limits={}, task=None, fidelity=FidelityPlan())
    checks = [*judge_outputs(plain, found), *judge_fidelity(plain, found)]
    failed = [replace(one, name=f"export/{one.name}", question="fidelity") for one in checks if not one.ok]
    framework = FRAMEWORKS.get(plan.source.kind, "its framework")
    if failed:
        return [replace(one, reason=f"the export is not what {framework} computes: {one.reason}") for one in failed]
    worst = max((one.value or 0.0 for one in found if one.metric == "tolerance_ratio"), default=None)
    words = f"what {framework} computes: {len(checks)} checks of the export against {framework} in fp32 hold"
    return [Check("export", "fidelity", None, "export", worst, 1.0, None, True, words)]
