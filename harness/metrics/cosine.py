"""Cosine similarity of the flattened outputs."""

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.moments import Moments


def cosine(moments: Moments) -> float:
    """r.c / (|r| |c|); 1 when both are zero (as Polygraphy has it), 0 when one is.

    Computed as 1 - (|d|^2 - (|c| - |r|)^2) / (2 |r| |c|) with d = c - r (the law of cosines), and |c| - |r| from d
    as well: outputs that hardly differ lose no digits to cancellation.
    """
    if moments.signal == 0 or moments.energy == 0:
        return float(moments.signal == moments.energy)
    r, c = np.sqrt(np.longdouble(moments.signal)), np.sqrt(np.longdouble(moments.energy))
    longer = (2 * moments.cross + moments.noise) / (r + c)
    return float(np.clip(1 - (moments.noise - longer**2) / (2 * r * c), -1.0, 1.0))


COSINE = Metric("cosine", "", "higher", cosine, of="moments")
