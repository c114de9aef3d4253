"""How far probabilities moved."""

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.ranking import has_classes

NEAR_ONE = 0.02
"""How far the sum of a row of probabilities may be from 1: bf16 and fp16 round each of them."""


def kl_nats(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """The Kullback-Leibler divergence sum r ln(r / c) of each row, 0 where r is 0, both scaled to sum 1; in nats.

    Infinite where the candidate rules out what the reference does not; NaN for rows that are no probabilities.
    """
    sums = [rows.sum(axis=1, dtype=np.float64, keepdims=True) for rows in (reference, candidate)]
    least = np.minimum(reference.min(axis=1), candidate.min(axis=1))
    proper = (least >= 0) & (np.abs(np.hstack(sums) - 1) <= NEAR_ONE).all(axis=1)
    with np.errstate(all="ignore"):
        r, c = reference / sums[0], candidate / sums[1]
        each = np.where(r > 0, r * np.log(r / c), 0.0)
        divergence: np.ndarray = np.where(proper, np.maximum(each.sum(axis=1), 0.0), np.nan)
    return divergence


KL_NATS = Metric("kl_nats", "nats", "lower", kl_nats, of="rows", applies=has_classes, on_request=True)
