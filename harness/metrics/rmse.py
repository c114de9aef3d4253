"""Root mean square error, in the unit of the output and relative to the reference."""

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def rmse(moments: Moments) -> float:
    """sqrt(mean (c - r)^2); 0 for empty outputs."""
    return moments.rms


def rmse_rel(moments: Moments) -> float:
    """sqrt(sum (c - r)^2 / sum r^2); infinite for an all-zero reference that is not met exactly."""
    if moments.noise == 0:
        return 0.0
    return float(np.sqrt(moments.noise / moments.signal)) if moments.signal > 0 else float("inf")


RMSE = Metric("rmse", "", "lower", rmse, of="moments")
RMSE_REL = Metric("rmse_rel", "", "lower", rmse_rel, of="moments")
