"""Relative error that is symmetric and safe at zero."""

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def max_rel(moments: Moments) -> float:
    """max |c - r| / max(|c|, |r|), 0 where both are 0 (the form of OpenVINO's benchmark_app); at most 2."""
    return moments.max_rel


MAX_REL = Metric("max_rel", "", "lower", max_rel, of="moments")
