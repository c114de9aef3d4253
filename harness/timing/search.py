"""The highest rate that holds: doubling until one fails, then bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

PRECISION = 0.025
"""Between the highest rate that held and the lowest that failed, as a share of the former."""
MOST_PER_S = 1_000_000
"""No rate beyond that is tried: a query would be due each microsecond."""


@dataclass(frozen=True)
class Found:
    """Between which rates the bound is lost."""

    held: float | None
    """The highest rate that held; None where none did."""
    failed: float | None
    """The lowest that did not; None where none failed."""
    whole: bool
    """False: the search was ended before it was as precise as it should be."""


def highest_rate(holds: Callable[[float], bool | None], start: float, least: float) -> Found:
    """The highest rate that holds, by trials from `start` on; below `least` none is tried.

    `holds` gives None for a trial that cannot be made any more. The same answers give the same rates.
    """
    held: float | None = None
    failed: float | None = None
    rate = start
    while (kept := holds(rate)) is not None:
        held, failed = (rate, failed) if kept else (held, rate)
        if failed is None:
            if rate >= MOST_PER_S:
                return Found(held, failed, whole=True)
            rate = min(2 * rate, MOST_PER_S)
        elif held is None:
            rate /= 2
            if rate < least:
                return Found(held, failed, whole=True)
        elif failed / held <= 1 + PRECISION:
            return Found(held, failed, whole=True)
        else:
            rate = math.sqrt(held * failed)
    return Found(held, failed, whole=False)
