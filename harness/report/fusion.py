"""What was fused in one case: a row for each layer, and what is known of the nodes that none of them names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.records import Fused, Record
from harness.records.fusion import UNKNOWN
from harness.report.rows import on_clock


def fusion(record: Record) -> dict[str, Any] | None:
    """The layers in the order of the record, slowest first where they were timed; None where none are known.

    Each row is: nodes, how many more there are, name, kind, precision, kernel, whether it is opaque, ms or None.
    """
    found = record.fusion
    if found is None or not found.layers:
        return None
    return {
        "rows": [_row(layer) for layer in found.layers],
        "others": [found.others, _digits(found.others_ms)] if found.others else None,
        "nodes": found.nodes,
        "unnamed": [[one.why, one.count, one.nodes] for one in found.unnamed],
        "times": _times(record, found.layers) if any(layer.ms is not None for layer in found.layers) else None,
    }


def _row(layer: Fused) -> list[Any]:
    about = layer.name, layer.kind, precision(layer), layer.kernel
    return [layer.nodes, layer.more_nodes, *about, layer.opaque, _digits(layer.ms)]


def precision(layer: Fused) -> str:
    """What it stores, and what it computes in where that is told and another."""
    if layer.compute in (layer.storage, UNKNOWN):
        return "" if layer.storage == UNKNOWN else layer.storage
    return f"{layer.storage} / {layer.compute}"


def _times(record: Record, layers: Iterable[Fused]) -> dict[str, Any]:
    """The times together, and beside them the latency on the same clock, which no profiler slowed."""
    profile = record.profile
    by: dict[str, float] = {}
    for layer in layers:
        by[precision(layer)] = by.get(precision(layer), 0.0) + (layer.ms or 0.0)
    whole = record.latency and profile and on_clock(record.latency, profile.clock)
    return {
        "total_ms": _digits(profile.total_ms if profile else sum(by.values())),
        "clock": profile.clock if profile else "",
        "iterations": profile.iterations if profile else 0,
        "p50_ms": _digits(whole.p50_ms) if whole else None,
        "by": [[name, _digits(ms)] for name, ms in sorted(by.items(), key=lambda one: -one[1])],
    }


def _digits(ms: float | None) -> float | None:
    return None if ms is None else float(f"{ms:.4g}")
