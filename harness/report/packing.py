"""What travels in a page: deflated JSON in base64, numbers with as many digits as are ever shown; trade-offs packed."""

from __future__ import annotations

import math
import zlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from harness.codec import compact
from harness.judge.drift import SMALLEST
from harness.pareto import SAME
from harness.records import Quantiles
from harness.report.statuses import STATUS
from harness.report.tradeoffs import ERROR, ROOM, Option, Tradeoff

TINY_MS = 1e-9
"""No time is smaller: others would be too many times as long."""
MOST = 1e15
"""Numbers up to here travel as whole ones."""
STATUSES = [[one.name, one.glyph, one.tone, one.meaning, one.blocks] for one in STATUS.values()]
RULES = {"same": SAME, "smallest": SMALLEST, "error": ERROR, "room": ROOM}
"""By which trade-offs are weighed, so that the page says the same of two numbers."""
TRADEOFF = (*("suite", "model", "shape", "machine", "metric", "lower", "clock", "notes", "base", "picks", "options"),)
OPTION = ("place", "accuracy", "bytes", "previous", "marks", "around", "times")
WORTHY, FRONT, LINE, WINNER = 1, 2, 4, 8
"""What the marks of an option are made of: its accuracy holds, it is on the front or its line, it won a search."""
WEIGHED = {"tradeoffs": TRADEOFF, "options": OPTION}


@dataclass(frozen=True)
class Payload:
    """The packed index and the packed details."""

    index: str
    chunks: tuple[str, ...]


def deflated(value: Any) -> str:
    """A value as it travels."""
    return b64encode(zlib.compress(compact(value).encode(), 9)).decode()  # with no NaN: JSON.parse takes none


def packed(one: Tradeoff) -> list[Any]:
    """A trade-off by `TRADEOFF`; times stand in the rows, unless those are of other clocks."""
    options = [_option(one, place, option) for place, option in enumerate(one.options)]
    return [
        *(one.suite, one.model, one.shape, one.machine, one.metric, one.lower_is_better, one.clock),
        *(one.notes, one.base, one.picks, options),
    ]


def _option(found: Tradeoff, place: int, one: Option) -> list[Any]:
    """By `OPTION`, without what is empty at its end."""
    marks = (
        WORTHY * one.worthy
        + FRONT * (place in found.front)
        + LINE * (place in found.line)
        + WINNER * (place == found.winner)
    )
    window = one.window
    times = window and not found.same_clock and [short(window.p50_ms, 7), *(short(ms, 5) for ms in window.ci95_ms)]
    size = round(one.bytes) if one.bytes is not None and one.bytes < MOST else short(one.bytes)
    values = [
        one.place,
        short(one.accuracy, 7),
        size,
        found.previous[place],
        marks,
        window and _around(window),
        times or None,
    ]
    while values[-1] is None:
        values.pop()
    return values


def _around(window: Quantiles) -> list[int] | None:
    """p10 and p90 in thousandths of the median, from it."""
    if window.p10_ms is None or window.p90_ms is None or window.p50_ms <= TINY_MS:
        return None
    ends = [(ms / window.p50_ms - 1) * 1e3 for ms in (window.p10_ms, window.p90_ms)]
    return [round(end) for end in ends] if all(abs(end) < MOST for end in ends) else None


def short(value: float | None, digits: int = 4) -> float | None:
    """So many significant digits; shares just below 1 keep nine decimals, which tell them apart."""
    if value is None or type(value) is int:
        return value
    if not math.isfinite(value):
        return None
    return round(value, 9) if 0.9 <= abs(value) < 1 else float(f"{value:.{digits}g}")
