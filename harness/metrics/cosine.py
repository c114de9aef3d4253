"""Cosine similarity of the flattened outputs."""

import numpy as np

from harness.metrics.base import Metric, Values


def cosine(reference: Values, candidate: Values) -> float:
    """r.c / (|r| |c|); 1 when both are zero (as Polygraphy has it), 0 when one is."""
    if not reference.any() or not candidate.any():
        return float(reference.any() == candidate.any())
    r, c = _direction(reference), _direction(candidate)
    return float(np.clip(np.dot(r, c), -1.0, 1.0))


def _direction(values: Values) -> Values:
    """The unit vector; scaled first, so that squares neither underflow nor overflow."""
    scaled = values / np.max(np.abs(values))
    unit: Values = scaled / np.linalg.norm(scaled)
    return unit


COSINE = Metric("cosine", "", "higher", cosine)
