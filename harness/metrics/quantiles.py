"""Quantiles of the absolute and the relative error, from a histogram: one number never decides alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.metrics.base import Metric, Tensor

Counts = NDArray[np.int64]

SHIFT = 16
"""Bits of a float32 that share a bin: 8 of exponent and 7 of mantissa are left, so a bin is 0.8 % wide."""
BINS = 1 << (31 - SHIFT)


def absolute(reference: Tensor, candidate: Tensor) -> Counts:
    """Histogram of |c - r| where both are finite."""
    with np.errstate(all="ignore"):
        r, c = _finite(reference, candidate)
        return _histogram(np.abs(c - r))


def relative(reference: Tensor, candidate: Tensor) -> Counts:
    """Histogram of |c - r| / max(|c|, |r|), 0 where both are 0, where both are finite."""
    with np.errstate(all="ignore"):
        r, c = _finite(reference, candidate)
        scale = np.maximum(np.abs(r), np.abs(c))
        return _histogram(np.abs(c - r) / np.where(scale == 0, 1, scale))


def _finite(reference: Tensor, candidate: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(r) & np.isfinite(c)
    return r[finite], c[finite]


def _histogram(errors: NDArray[np.float64]) -> Counts:
    """How many errors share the upper bits of a float32; its bits rise with its value."""
    bits = errors.astype(np.float32).view(np.int32)
    return np.bincount(bits >> SHIFT, minlength=BINS)


def quantile(share: float) -> Callable[[Counts | None], float]:
    """A function of a histogram: what that share of the errors does not exceed, rounded up by at most 0.8 %."""

    def finish(counts: Counts | None) -> float:
        if counts is None or not counts.any():
            return 0.0
        place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
        return float(np.array([((place + 1) << SHIFT) - 1], np.int32).view(np.float32)[0]) if place else 0.0

    return finish


def _metric(name: str, measure: Callable[[Tensor, Tensor], Counts], share: float) -> Metric:
    return Metric(name, "", "lower", measure, of="pieces", fold=np.add, finish=quantile(share), on_request=True)


P50_ABS, P99_ABS = _metric("p50_abs", absolute, 0.50), _metric("p99_abs", absolute, 0.99)
P50_REL, P99_REL = _metric("p50_rel", relative, 0.50), _metric("p99_rel", relative, 0.99)
