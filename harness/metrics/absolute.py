"""Absolute error, in the unit of the output."""

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def max_abs(moments: Moments) -> float:
    """max |c - r|; 0 for empty outputs."""
    return moments.max_abs


def mean_abs(moments: Moments) -> float:
    """mean |c - r|; 0 for empty outputs."""
    return float(moments.error / moments.finite) if moments.finite else 0.0


MAX_ABS = Metric("max_abs", "", "lower", max_abs, of="moments")
MEAN_ABS = Metric("mean_abs", "", "lower", mean_abs, of="moments")
