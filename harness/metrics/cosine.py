"""Cosine similarity of the flattened outputs."""

import numpy as np

from harness.metrics.base import Metric, Values


def cosine(reference: Values, candidate: Values) -> float:
    """r.c / (|r| |c|); 1 when both are zero (as Polygraphy has it), 0 when one is."""
    scale = float(np.linalg.norm(reference)) * float(np.linalg.norm(candidate))
    if scale > 0:
        return float(np.clip(np.dot(reference, candidate) / scale, -1.0, 1.0))
    return 1.0 if not reference.any() and not candidate.any() else 0.0


COSINE = Metric("cosine", "", "higher", cosine)
