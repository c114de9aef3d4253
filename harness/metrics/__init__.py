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
    "p50_abs_max": Bound("p50_abs", "max"),
    "p99_abs_max": Bound("p99_abs", "max"),
    "max_rel": Bound("max_rel", "max"),
    "mean_rel_max": Bound("mean_rel", "max"),
    "p50_rel_max": Bound("p50_rel", "max"),
    "p99_rel_max": Bound("p99_rel", "max"),
    "rmse_max": Bound("rmse", "max"),
    "rmse_rel_max": Bound("rmse_rel", "max"),
    "cosine_min": Bound("cosine", "min"),
    "sqnr_min_db": Bound("sqnr_db", "min"),
    "psnr_min_db": Bound("psnr_db", "min"),
    "ulp_max": Bound("ulp", "max"),
    "argmax_agreement_min": Bound("argmax_agreement", "min"),
    "argmax_agreement_raw_min": Bound("argmax_agreement_raw", "min"),
    "topk_agreement_min": Bound("topk_agreement", "min"),
    "kl_max_nats": Bound("kl_nats", "max"),
    "mask_iou_min": Bound("mask_iou", "min"),
    "box_iou_min": Bound("box_iou", "min"),
    "embedding_cosine_min": Bound("embedding_cosine", "min"),
}
"""Limits on one scalar metric; those on single elements are in ELEMENTWISE."""

ELEMENTWISE = ("atol", "rtol", "rule", "mismatch_share_max", "exact")

SETTINGS: dict[str, tuple[str, ...]] = {
    "topk": ("topk_agreement",),
    "margin": ("argmax_agreement", "topk_agreement"),
}
"""Settings that stand among the limits, and the metrics they change."""


def bound(limit: str) -> Bound | None:
    """What a limit on a metric bounds; that of an installed distribution's says it by its name. None for others."""
    if limit in LIMITS or limit in ELEMENTWISE or limit in SETTINGS:
        return LIMITS.get(limit)
    metric, _, side = limit.rpartition("_")
    return Bound(metric, side) if side in ("min", "max") else None


METRICS = Registry(
    "metric",
    {
        "max_abs": "harness.metrics.absolute:MAX_ABS",
        "mean_abs": "harness.metrics.absolute:MEAN_ABS",
        "p50_abs": "harness.metrics.quantiles:P50_ABS",
        "p99_abs": "harness.metrics.quantiles:P99_ABS",
        "max_rel": "harness.metrics.relative:MAX_REL",
        "mean_rel": "harness.metrics.relative:MEAN_REL",
        "p50_rel": "harness.metrics.quantiles:P50_REL",
        "p99_rel": "harness.metrics.quantiles:P99_REL",
        "rmse": "harness.metrics.rmse:RMSE",
        "rmse_rel": "harness.metrics.rmse:RMSE_REL",
        "cosine": "harness.metrics.cosine:COSINE",
        "sqnr_db": "harness.metrics.noise:SQNR_DB",
        "psnr_db": "harness.metrics.noise:PSNR_DB",
        "ulp": "harness.metrics.ulp:ULP",
        "argmax_agreement": "harness.metrics.ranking:ARGMAX",
        "argmax_agreement_raw": "harness.metrics.ranking:ARGMAX_RAW",
        "topk_agreement": "harness.metrics.ranking:TOPK",
        "kl_nats": "harness.metrics.divergence:KL_NATS",
        "mask_iou": "harness.metrics.masks:MASK_IOU",
        "box_iou": "harness.metrics.boxes:BOX_IOU",
        "embedding_cosine": "harness.metrics.retrieval:EMBEDDING_COSINE",
    },
)

TASKS = Registry(
    "task metric",
    {
        "top1": "harness.metrics.task:TOP1",
        "top5": "harness.metrics.task:TOP5",
        "accuracy": "harness.metrics.task:ACCURACY",
        "mean_iou": "harness.metrics.segmentation:MEAN_IOU",
        "coco_map": "harness.metrics.detection:COCO_MAP",
        "recall_at_1": "harness.metrics.retrieval:RECALL_AT_1",
        "recall_at_5": "harness.metrics.retrieval:RECALL_AT_5",
        "mrr": "harness.metrics.retrieval:MRR",
        "wer": "harness.metrics.speech:WER",
    },
)

LOWER_TASKS = frozenset({"wer"})
"""Task metrics of which lower is better; suites are checked by it without loading them."""

PLACED_TASKS = frozenset({"mean_iou", "coco_map"})
"""Task metrics whose labels are places in the image."""

TASK_SETTINGS: dict[str, tuple[str, ...]] = {"wer": ("tokens", "stride")}
"""Keys that a task metric takes beside its labels."""
