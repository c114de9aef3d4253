"""From what a runtime reported of each inference to one time a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import stats
from harness.records import LayerTime


@dataclass(frozen=True)
class About:
    """What is known of a layer beside its time."""

    kind: str = ""
    nodes: tuple[str, ...] = ()


def layer_times(runs: Sequence[Mapping[str, float]], about: Mapping[str, About]) -> tuple[LayerTime, ...]:
    """Each layer's median over the runs (name to ms), in the order in which they ran; 0 where a run had it not."""
    names = dict.fromkeys(name for run in runs for name in run)
    medians = {name: stats.median(sorted(run.get(name, 0.0) for run in runs)) for name in names}
    total = sum(medians.values())
    return tuple(
        LayerTime(name, found.kind, ms, ms / total if total else 0.0, found.nodes)
        for name, ms in medians.items()
        for found in (about.get(name, About()),)
    )
