"""Absolute error, in the unit of the output."""

import numpy as np

from harness.metrics.base import Metric, Values


def max_abs(reference: Values, candidate: Values) -> float:
    """max |c - r|; 0 for empty outputs."""
    return float(np.max(np.abs(candidate - reference), initial=0.0))


def mean_abs(reference: Values, candidate: Values) -> float:
    """mean |c - r|; 0 for empty outputs."""
    return float(np.mean(np.abs(candidate - reference))) if reference.size else 0.0


MAX_ABS = Metric("max_abs", "", "lower", max_abs)
MEAN_ABS = Metric("mean_abs", "", "lower", mean_abs)
