"""Relative error that is symmetric and safe at zero."""

import numpy as np

from harness.metrics.base import Metric, Values


def max_rel(reference: Values, candidate: Values) -> float:
    """max |c - r| / max(|c|, |r|), 0 where both are 0 (the form of OpenVINO's benchmark_app); at most 2."""
    scale = np.maximum(np.abs(reference), np.abs(candidate))
    error = np.abs(candidate - reference)
    return float(np.max(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0), initial=0.0))


MAX_REL = Metric("max_rel", "", "lower", max_rel)
