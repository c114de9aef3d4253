"""Root mean square error relative to the reference."""

import numpy as np

from harness.metrics.base import Metric, Values


def rmse_rel(reference: Values, candidate: Values) -> float:
    """sqrt(sum (c - r)^2 / sum r^2); infinite for an all-zero reference that is not met exactly."""
    noise = float(np.sum(np.square(candidate - reference)))
    signal = float(np.sum(np.square(reference)))
    if noise == 0:
        return 0.0
    return float(np.sqrt(noise / signal)) if signal > 0 else float("inf")


RMSE_REL = Metric("rmse_rel", "", "lower", rmse_rel)
