"""The cases of a run in the order that people should read them in, the same for every text of a pull request."""

from __future__ import annotations

from dataclasses import dataclass

from harness.judge.drift import has_drifted
from harness.records import Run
from harness.report.rows import Row, rows
from harness.report.scope import named
from harness.report.statuses import CHANGED


@dataclass(frozen=True)
class Ranking:
    """All cases of a run, each in one group; within a group the order is that of the statuses."""

    blocking: tuple[Row, ...]
    changed: tuple[Row, ...]
    drifted: tuple[Row, ...]
    """Passed, but less accurate than what was accepted."""
    quiet: tuple[Row, ...]


def ranking(run: Run) -> Ranking:
    """What blocks, what changed without blocking, and the rest."""
    groups: dict[str, list[Row]] = {"blocking": [], "changed": [], "drifted": [], "quiet": []}
    also = named(run)
    for row in rows(run.records):
        groups[_group(row, also)].append(row)
    return Ranking(**{name: tuple(found) for name, found in groups.items()})


def _group(row: Row, also_blocking: frozenset[str]) -> str:
    if row.status.blocks or row.status.name in also_blocking:
        return "blocking"
    if row.status.name in CHANGED:
        return "changed"
    return "drifted" if has_drifted(row.record) else "quiet"
