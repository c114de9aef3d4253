"""Element-wise allowance in two named forms, and exact equality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.metrics.base import Tensor


@dataclass(frozen=True)
class Allowance:
    """How far a candidate's element c may be from the reference's r.

    Rule "sum" allows atol + rtol |r| (NumPy's form); rule "either" allows max(atol, rtol |r|) (Polygraphy's form).
    """

    rule: str
    atol: float
    rtol: float

    def ratio(self, error: float, reference: float) -> float:
        """The error over what is allowed at |r|; infinite where nothing is."""
        scaled = self.rtol * abs(reference)
        allowed = self.atol + scaled if self.rule == "sum" else max(self.atol, scaled)
        if error == 0:
            return 0.0
        return error / allowed if allowed > 0 else float("inf")

    def allowed(self, magnitude: np.ndarray, out: np.ndarray) -> np.ndarray:
        """What is allowed at every |r|, written to `out`."""
        np.multiply(magnitude, magnitude.dtype.type(self.rtol), out=out)
        combine = np.add if self.rule == "sum" else np.maximum
        done: np.ndarray = combine(out, magnitude.dtype.type(self.atol), out=out)
        return done


@dataclass(frozen=True)
class Worst:
    """The element furthest beyond its allowance, or nearest to it."""

    ratio: float
    """Its error over its allowance: it passes when this is at most 1."""
    index: int
    expected: float
    found: float


def mismatches(reference: Tensor, candidate: Tensor) -> int:
    """How many elements differ; NaN equals NaN."""
    differs = reference != candidate
    if reference.dtype.kind in "fcV":
        differs &= ~((reference != reference) & (candidate != candidate))  # noqa: PLR0124 - NaN differs from itself
    return int(np.count_nonzero(differs))
