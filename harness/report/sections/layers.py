"""Where the time of one case went: its slowest layers beside those of the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from harness.judge.slower import Pair, label, pairs
from harness.records import Profile, Record
from harness.report.format import milliseconds

ROWS = 12


@dataclass(frozen=True)
class LayerRow:
    """Layers that compute the same nodes, now and then."""

    label: str
    kind: str
    ms: float
    share: str
    before_ms: float | None
    was: str
    """The layers of the baseline, where the nodes were fused otherwise."""


@dataclass(frozen=True)
class Layers:
    """The table of layers and the line above it."""

    summary: str
    rows: list[LayerRow]


def layers(record: Record) -> Layers | None:
    """The slowest layers of a case, or why they are not known; None where nobody asked."""
    now = record.profile
    if now is None:
        return None
    if not now.layers:
        return Layers(f"Layers were not profiled: {now.untold or 'none ran'}", [])
    before = record.baseline_profile
    compared = before if before is not None and before.clock == now.clock else Profile()
    found = [_row(pair, now) for pair in pairs(compared, now) if pair.now][:ROWS]
    count = len(now.layers) + now.others
    words = f"The {len(found)} slowest of {count} layers" if count > len(found) else f"All {count} layers"
    took = f"{milliseconds(now.total_ms)} together, median of {now.iterations} profiled inferences on the {now.clock}"
    return Layers(f"{words}: {took}", found)


def _row(pair: Pair, now: Profile) -> LayerRow:
    return LayerRow(
        label(pair.now),
        ", ".join(dict.fromkeys(layer.kind for layer in pair.now)),
        pair.now_ms,
        f"{pair.now_ms / now.total_ms:.0%}" if now.total_ms else "",
        pair.before_ms if pair.before else None,
        label(pair.before) if pair.fused_otherwise else "",
    )
