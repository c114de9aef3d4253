"""The layers that ran: what they read, in which precision they multiplied, and their compact form in the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"
HEAVY = ("conv", "matmul", "fused")
"""Kinds that decide on a case: convolutions, matrix products, and regions that may hide either."""
MOST_ROWS = 200
"""Single layers that a record holds at most; the counts are always of all."""
LONGEST = 160


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, or one node of a session's optimised graph."""

    name: str
    kind: str
    """"conv", "matmul", "fused" (opaque: may hold either or neither) or "other"."""
    storage: str = UNKNOWN
    """Precision of the values that it reads: fp32, fp16, bf16, int8, fp8, int4, fp4 or unknown."""
    compute: str = UNKNOWN
    """Precision of the factors that it multiplies (sums may be wider): as storage, or tf32."""
    kernel: str = ""


def record(layers: Iterable[Layer]) -> dict[str, Any]:
    """What `attested` keeps: `layers`, counts by kind, storage and compute; `rows`, the first of them one by one."""
    heavy = [layer for layer in layers if layer.kind in HEAVY]
    rows = [
        {
            "name": layer.name[:LONGEST],
            "kind": layer.kind,
            "storage": layer.storage,
            "compute": layer.compute,
            "kernel": layer.kernel[:LONGEST],
        }
        for layer in heavy[:MOST_ROWS]
    ]
    return {"layers": counts(heavy), "rows": rows}


def counts(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """How many layers there are of each kind, storage and compute; those that decide on a case alone."""
    found = Counter((layer.kind, layer.storage, layer.compute) for layer in layers if layer.kind in HEAVY)
    return [
        {"kind": kind, "storage": storage, "compute": compute, "count": count}
        for (kind, storage, compute), count in sorted(found.items())
    ]
