"""Where the time of one case went: its slowest layers beside those of the baseline."""

from __future__ import annotations

from typing import Any

from harness.judge.slower import Pair, label, pairs
from harness.records import Profile, Record

MOST = 40
"""Layers shown of a case that is slower or otherwise worth a look."""
FEW = 10
"""Layers shown of a case that passed."""


def layers(record: Record) -> dict[str, Any] | None:
    """The slowest layers of a case, or why they are not known; None where nobody asked.

    Each row is: nodes (or name), kind, precision, ms, ms of the baseline or None, and how the nodes were fused then
    where that was otherwise.
    """
    now = record.profile
    if now is None:
        return None
    if not now.layers:
        return {"untold": now.untold or "none ran"}
    before = record.baseline_profile
    compared = before if before is not None and before.clock == now.clock else Profile()
    ran = _precisions(record)
    most = FEW if record.status == "passed" else MOST
    return {
        "rows": [_row(pair, ran) for pair in _pairs(compared, now, most)],
        "count": len(now.layers) + now.others,
        "total_ms": now.total_ms,
        "baseline_ms": compared.total_ms or None,
        "iterations": now.iterations,
        "clock": now.clock,
    }


def _pairs(before: Profile, now: Profile, most: int) -> list[Pair]:
    """Layers now with those of the baseline; by name alone where every shown one was there."""
    then = {layer.name: layer for layer in before.layers}
    shown = now.layers[:most]
    if not before.layers or all(layer.name in then for layer in shown):  # names tell what was fused
        return [Pair((layer,), (then[layer.name],) if then else ()) for layer in shown]
    return [pair for pair in pairs(before, now) if pair.now][:most]


def _row(pair: Pair, ran: dict[str, str]) -> list[Any]:
    same = len(pair.now) == len(pair.before) == 1 and pair.now[0].name == pair.before[0].name
    return [
        label(pair.now),
        ", ".join(dict.fromkeys(layer.kind for layer in pair.now)),
        ", ".join(dict.fromkeys(ran[layer.name] for layer in pair.now if layer.name in ran)),
        float(f"{pair.now_ms:.4g}"),
        float(f"{pair.before_ms:.4g}") if pair.before else None,
        label(pair.before) if not same and pair.fused_otherwise else "",
    ]


def _precisions(record: Record) -> dict[str, str]:
    """Layer name to the precision in which it was seen to compute."""
    rows = record.attested.get("rows")
    if not isinstance(rows, list | tuple):
        return {}
    told = [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    return {row["name"]: str(row.get("compute", "")) for row in told}
