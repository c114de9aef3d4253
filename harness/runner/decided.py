"""Measured cases become records; those that can be are timed in turns with what was accepted for them first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.records import Outcome, Plan, Record
from harness.runner.duels import duels
from harness.runner.footing import Footing
from harness.runner.recorder import Judged
from harness.runner.runner import Settings

TIMED = frozenset({"passed", "improved", "regressed", "inconclusive"})
"""Statuses of cases whose other checks hold: only then is it worth timing them again."""


@dataclass(frozen=True)
class Held:
    """A measured case whose speed is still to be decided."""

    plan: Plan
    outcome: Outcome
    on: Footing


def held(plan: Plan, outcome: Outcome, judged: Judged, settings: Settings) -> Held | Record:
    """The record of a measured case, or the case itself where it is to be timed in turns with what was accepted."""
    on = judged.footing(plan, outcome, settings.cache)
    record = judged.record(plan, outcome, on)
    return Held(plan, outcome, on) if on.in_turns and record.status in TIMED else record


def decided(cases: Sequence[Held], judged: Judged, settings: Settings, others: int = 0) -> list[Record]:
    """The records of cases that are timed in turns now and decided together.

    `others` is the number of cases that are decided apart from these and count as much for false alarms.
    """
    if not cases:
        return []
    fought = duels([judged.match(one.plan, one.on) for one in cases], settings)
    found = {one.plan.case.id: duel for one, duel in zip(cases, fought, strict=True)}
    p = judged.p_values([one.plan for one in cases], found)
    return [
        judged.record(
            one.plan, one.outcome, one.on, found[one.plan.case.id], _among(p.get(one.plan.case.id, {}), others)
        )
        for one in cases
    ]


def undecided(cases: Sequence[Held], judged: Judged) -> list[Record]:
    """The records of cases that were not timed again, because the run was interrupted."""
    return [judged.record(one.plan, one.outcome, one.on) for one in cases]


def _among(p: Mapping[str, float], others: int) -> dict[str, float]:
    """Bonferroni: what others are decided is not known here, only how many."""
    return {name: min(1.0, value * (others + 1)) for name, value in p.items()}
