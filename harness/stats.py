"""Statistics on sequences of numbers; nothing here knows what is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of values in rising order: element ceil(share * n), no interpolation."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(ordered: Sequence[float]) -> float:
    """The median of values in rising order."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@cache
def samples_for(share: float, confidence: float = 0.99) -> int:
    """The fewest samples that can show that a quantile keeps a limit: one of them may lie above it.

    The smallest n with P(X <= 1) <= 1 - confidence for X binomial over n with the share beyond the quantile (the rule
    of MLPerf LoadGen): 64 for a share of 0.90, 662 for 0.99.
    """
    count = 1
    while share**count + count * (1 - share) * share ** (count - 1) > 1 - confidence:
        count += 1
    return count


@cache
def may_exceed(count: int, share: float, confidence: float = 0.99) -> int:
    """Samples of `count` that may lie above a limit of a quantile that is kept with this confidence; -1: too few.

    The largest t with P(X <= t) <= 1 - confidence for X binomial over the samples with the share beyond the quantile:
    the early stopping of MLPerf LoadGen. 1 of 662 for a share of 0.99, none of 459.
    """
    odds = math.log((1 - share) / share)
    term, total, allowed = count * math.log(share), 0.0, -1  # the logarithm of P(X = 0), which no float may hold
    while (total := total + math.exp(term)) <= 1 - confidence:
        allowed += 1
        term += odds + math.log((count - allowed) / (allowed + 1))
    return allowed


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


def spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample of at least two values; of one value 0."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def student_tail(t: float, df: float) -> float:
    """The probability that Student's t with `df` degrees of freedom is above `t`."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def student_quantile(share: float, df: float) -> float:
    """The value below which `share` of Student's t with `df` degrees of freedom lies."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for being many, in the order given: below alpha where Holm's procedure rejects at alpha.

    Holds whatever the hypotheses have to do with each other (Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted, largest = [1.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
