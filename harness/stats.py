"""Statistics on sequences of numbers; nothing here knows what is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of values in rising order: element ceil(share * n), no interpolation."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(ordered: Sequence[float]) -> float:
    """The median of values in rising order."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median of values in rising order.

    Distribution-free, from order statistics with the normal approximation of the binomial (Conover, Practical
    Nonparametric Statistics, 3rd edition, section 3.2). It covers the noise inside one window, not between windows.
    """
    count = len(ordered)
    half = 1.959964 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - half))
    high = min(count - 1, math.ceil(count / 2 + half))
    return ordered[low], ordered[high]
