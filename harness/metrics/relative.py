"""Relative error that is symmetric and safe at zero."""

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def max_rel(moments: Moments) -> float:
    """max |c - r| / max(|c|, |r|), 0 where both are 0 (the form of OpenVINO's benchmark_app); at most 2."""
    return moments.max_rel


def mean_rel(moments: Moments) -> float:
    """mean of |c - r| / max(|c|, |r|), 0 where both are 0; 0 for empty outputs."""
    return float(moments.relative / moments.finite) if moments.finite else 0.0


MAX_REL = Metric("max_rel", "", "lower", max_rel, of="moments")
MEAN_REL = Metric("mean_rel", "", "lower", mean_rel, of="moments")
