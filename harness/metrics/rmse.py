"""Root mean square error relative to the reference."""

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def rmse_rel(moments: Moments) -> float:
    """sqrt(sum (c - r)^2 / sum r^2); infinite for an all-zero reference that is not met exactly."""
    if moments.noise == 0:
        return 0.0
    return float(np.sqrt(moments.noise / moments.signal)) if moments.signal > 0 else float("inf")


RMSE_REL = Metric("rmse_rel", "", "lower", rmse_rel, of="moments")
