"""Measured cases become records; those that can be are timed in turns with what was accepted for them first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.records import Outcome, Plan, Record
from harness.runner.duels import duels
from harness.runner.footing import NO_FOOTING, Footing, across
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


class Pending:
    """The cases of a run whose speed is decided when all are measured."""

    def __init__(
        self, plans: Sequence[Plan], opponents: Mapping[str, Plan], judged: Judged, settings: Settings
    ) -> None:
        self._judged, self._settings, self._opponents = judged, settings, opponents
        self._own = {plan.case.id for plan in plans}
        self._sides = {other.case.id for other in opponents.values()}
        self._theirs: dict[str, Outcome] = {}
        self._facing: list[tuple[Plan, Outcome]] = []
        self._held: list[Held] = []

    def take(self, plan: Plan, outcome: Outcome) -> Record | str:
        """The record of a measured case, or what is still to be done with it."""
        case = plan.case.id
        if case in self._sides:
            self._theirs[case] = outcome
        if case not in self._own:
            return "what another case is compared with"
        if case in self._opponents and outcome.latency is not None:
            self._facing.append((plan, outcome))
            return f"next: timed in turns with environment {self._opponents[case].case.environment}"
        found = held(plan, outcome, self._judged, self._settings)
        if isinstance(found, Record):
            return found
        self._held.append(found)
        return "next: timed in turns with what was accepted"

    def decided(self) -> list[Record]:
        """The records of what is left, timed in turns now."""
        found = [self._faced(plan, outcome) for plan, outcome in self._facing]
        self._facing = []
        self._held += [one for one in found if isinstance(one, Held)]
        at_once = [one for one in found if isinstance(one, Record)]
        return [*at_once, *decided(self._held, self._judged, self._settings)]

    def undecided(self) -> list[Record]:
        """The records of what is left, because the run was interrupted."""
        facing = [Held(plan, outcome, NO_FOOTING) for plan, outcome in self._facing]
        return undecided([*facing, *self._held], self._judged)

    def _faced(self, plan: Plan, outcome: Outcome) -> Held | Record:
        other = self._opponents[plan.case.id]
        return facing(plan, outcome, other, self._theirs.get(other.case.id), self._judged, self._settings)


def opponents(plans: Sequence[Plan], every: Sequence[Plan]) -> dict[str, Plan]:
    """Case id to the same case in the environment that it is timed against, as the suites have it or would."""
    listed = {plan.case.id: plan for plan in every}
    found = {}
    for plan in plans:
        if plan.against is not None and plan.latency.enabled and plan.excluded is None:
            there = plan.case.moved(plan.against.name)
            found[plan.case.id] = listed.get(there.id) or replace(
                plan, case=there, interpreter=plan.against, against=None
            )
    return found


def with_opponents(plans: Sequence[Plan], others: Mapping[str, Plan]) -> list[Plan]:
    """The plans, and before each what it is timed against where that is not among them."""
    known = {plan.case.id for plan in plans}
    found: dict[str, Plan] = {}
    for plan in plans:
        other = others.get(plan.case.id)
        if other is not None and other.case.id not in known:
            found[other.case.id] = other
        found[plan.case.id] = plan
    return list(found.values())


def facing(
    plan: Plan, outcome: Outcome, other: Plan, theirs: Outcome | None, judged: Judged, settings: Settings
) -> Held | Record:
    """As `held`, for a case that is timed in turns with the same case in another environment."""
    on = across(plan, outcome, other, theirs, settings.cache)
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
