"""Which builds of a model are worth having: none other is as good in accuracy, latency and size together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAME = 1.05
"""Latencies of two windows that are no further apart count as the same: what a stored baseline can tell as well."""


@dataclass(frozen=True)
class Point:
    """What a build is weighed by."""

    merit: float
    """Accuracy, as what is to be large."""
    p50_ms: float
    bytes: float


def front(points: Sequence[Point], room: float = 0.0) -> list[int]:
    """The places of the points that no other one is as good as in all three, and better in one; never empty of some.

    Merits that are no further apart than `room` count as the same. There is no circle of points that beat each other:
    what one step may lose in latency or merit is less than what another must win, and sizes count as they are.
    """
    order = sorted(points, key=lambda one: -one.merit)  # what beats a point is about as accurate: seldom far away
    return [place for place, one in enumerate(points) if not _beaten(one, order, room)]


def _beaten(one: Point, by_merit: Sequence[Point], room: float) -> bool:
    for other in by_merit:
        if other.merit + room < one.merit:
            return False
        if _dominates(other, one, room):
            return True
    return False


def _dominates(a: Point, b: Point, room: float) -> bool:
    as_good = a.merit + room >= b.merit and a.p50_ms <= b.p50_ms * SAME and a.bytes <= b.bytes
    return as_good and (a.merit > b.merit + room or a.p50_ms * SAME < b.p50_ms or a.bytes < b.bytes)
