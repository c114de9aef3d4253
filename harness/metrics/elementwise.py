"""Element-wise tolerance in two named forms, and exact equality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.metrics.base import Tensor, Values


@dataclass(frozen=True)
class Excess:
    """How far a pair of outputs is from its tolerance; the worst element passes when `ratio` is at most 1."""

    ratio: float
    share: float
    worst: int
    """Index of the worst element in the vectors given."""


def tolerance(reference: Values, candidate: Values, rule: str, atol: float, rtol: float) -> Excess:
    """The largest error over its allowance, and the share of elements beyond it.

    Rule "sum" allows atol + rtol |r| (NumPy's form); rule "either" allows max(atol, rtol |r|) (Polygraphy's form).
    """
    if not reference.size:
        return Excess(0.0, 0.0, 0)
    scaled = rtol * np.abs(reference)
    allowed = atol + scaled if rule == "sum" else np.maximum(atol, scaled)
    error = np.abs(candidate - reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    worst = int(np.argmax(ratio))
    return Excess(float(ratio[worst]), float(np.mean(ratio > 1)), worst)


def mismatches(reference: Tensor, candidate: Tensor) -> int:
    """How many elements differ; NaN equals NaN."""
    differs = reference != candidate
    if reference.dtype.kind in "fc":
        differs &= ~((reference != reference) & (candidate != candidate))  # noqa: PLR0124 - NaN differs from itself
    return int(np.count_nonzero(differs))
