"""Accuracy metrics: pure functions of two arrays, each with its unit and its direction."""

from __future__ import annotations

from dataclasses import dataclass

from harness.registry import Registry


@dataclass(frozen=True)
class Bound:
    """What a limit in a suite file bounds: a metric, from above ("max") or from below ("min")."""

    metric: str
    side: str


LIMITS: dict[str, Bound] = {
    "max_abs": Bound("max_abs", "max"),
    "mean_abs": Bound("mean_abs", "max"),
    "max_rel": Bound("max_rel", "max"),
    "rmse_rel_max": Bound("rmse_rel", "max"),
    "cosine_min": Bound("cosine", "min"),
    "sqnr_min_db": Bound("sqnr_db", "min"),
    "psnr_min_db": Bound("psnr_db", "min"),
    "ulp_max": Bound("ulp", "max"),
    "argmax_agreement_min": Bound("argmax_agreement", "min"),
    "topk_agreement_min": Bound("topk_agreement", "min"),
}
"""Limits on one scalar metric; those on single elements are in ELEMENTWISE."""

ELEMENTWISE = ("atol", "rtol", "rule", "mismatch_share_max", "exact")

METRICS = Registry(
    "metric",
    {
        "max_abs": "harness.metrics.absolute:MAX_ABS",
        "mean_abs": "harness.metrics.absolute:MEAN_ABS",
        "max_rel": "harness.metrics.relative:MAX_REL",
        "rmse_rel": "harness.metrics.rmse:RMSE_REL",
        "cosine": "harness.metrics.cosine:COSINE",
        "sqnr_db": "harness.metrics.noise:SQNR_DB",
        "psnr_db": "harness.metrics.noise:PSNR_DB",
        "ulp": "harness.metrics.ulp:ULP",
        "argmax_agreement": "harness.metrics.ranking:ARGMAX",
        "topk_agreement": "harness.metrics.ranking:TOPK",
    },
)

TASKS = Registry("task metric", {"top1": "harness.metrics.task:TOP1"})
