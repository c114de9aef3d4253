"""Measured cases become records; before that some are timed again: in turns with what was accepted, or alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.records import Duel, Outcome, Plan, Record, Screening
from harness.runner.duels import Match
from harness.runner.footing import NO_FOOTING, Footing, across, as_measured
from harness.runner.recorder import Judged
from harness.runner.screen import of_this_job, open_question, screening
from harness.runner.settings import Settings
from harness.runner.spread import spread_duels, spread_screens

TIMED = frozenset({"passed", "improved", "regressed", "inconclusive", "acknowledged"})
"""Statuses of cases whose other checks hold, or may fail: only then is it worth timing them again."""


@dataclass(frozen=True)
class Held:
    """A measured case whose speed is still to be decided."""

    plan: Plan
    outcome: Outcome
    on: Footing
    screening: Screening | None = None
    """Against earlier runs, where it cannot be timed in turns."""
    duel: Duel | None = None
    """What there is of a duel that gave no launch."""
    so_far: Record | None = None
    """Its record by what is known of it."""

    @property
    def next(self) -> str:
        """What is still to be done with it, in words."""
        return f"next: {'timed in turns with what was accepted' if self.on.in_turns else 'compared with earlier runs'}"


@dataclass(frozen=True)
class Undecided:
    """What became of a measured case that has no record yet."""

    words: str
    so_far: Record | None = None
    """None for a case that is only measured because another is compared with it."""


@dataclass(frozen=True)
class Memory:
    """What was timed again before a run was interrupted, and who keeps what is timed again now."""

    launches: Callable[[Match], Sequence[Duel]] = lambda _: ()
    screening: Callable[[Plan], Screening | None] = lambda _: None
    launched: Callable[[Match, Duel], None] = lambda *_: None
    screened: Callable[[Plan, Screening], None] = lambda *_: None


NOTHING = Memory()


def held(plan: Plan, outcome: Outcome, judged: Judged, settings: Settings) -> Held | Record:
    """The record of a measured case, or the case itself where it is to be timed again before it is decided."""
    on = judged.footing(plan, outcome, settings.cache)
    entry = judged.entries(plan.case).get(plan.case.id)
    asked = None if on.in_turns else screening(plan, outcome, entry, on)
    record = judged.record(plan, outcome, on, screening=asked)
    if record.status not in TIMED:
        return record
    open_ = entry is not None and asked is not None and open_question(plan, outcome, entry, asked)
    return Held(plan, outcome, on, asked, so_far=record) if on.in_turns or open_ else record


class Pending:
    """The cases of a run whose speed is decided when all are measured."""

    def __init__(
        self, plans: Sequence[Plan], opponents: Mapping[str, Plan], judged: Judged, settings: Settings
    ) -> None:
        self._judged, self._settings, self._opponents = judged, settings, opponents
        self._places = {plan.case.id: place for place, plan in enumerate(plans)}
        self._sides = {other.case.id for other in opponents.values()}
        self._theirs: dict[str, Outcome] = {}
        self._facing: list[tuple[Plan, Outcome]] = []
        self._held: list[Held] = []
        self._screened: list[tuple[Plan, Screening]] = []

    def take(self, plan: Plan, outcome: Outcome) -> Record | Undecided:
        """The record of a measured case, or what is still to be done with it."""
        case = plan.case.id
        if case in self._sides:
            self._theirs[case] = outcome
        if case not in self._places:
            return Undecided("what another case is compared with")
        if case in self._opponents and outcome.latency is not None:
            self._facing.append((plan, outcome))
            words = f"next: timed in turns with environment {self._opponents[case].case.environment}"
            return Undecided(words, self._judged.record(plan, outcome))
        found = held(plan, outcome, self._judged, self._settings)
        if isinstance(found, Record):
            self._screened += [(plan, found.screening)] if found.screening else []
            return found
        self._held.append(found)
        return Undecided(found.next, found.so_far)

    def recall(self, plan: Plan, outcome: Callable[[str], Outcome], record: Record) -> None:
        """As `take`, for a case that was decided before the run was interrupted."""
        if plan.case.id in self._sides:
            self._theirs[plan.case.id] = outcome(plan.case.id)
        self._screened += [(plan, record.screening)] if record.screening else []

    def decided(self, memory: Memory = NOTHING) -> Iterator[Record]:
        """The records of what is left, each as soon as it is decided; it is timed in turns now."""
        left = list(self._held)
        for plan, outcome in self._facing:
            found = self._faced(plan, outcome)
            if isinstance(found, Record):
                yield found
            else:
                left.append(found)
        left.sort(key=lambda one: self._places[one.plan.case.id])  # however they came: another run finds them so too
        yield from decided(left, self._judged, self._settings, screened=self._screened, memory=memory)

    def undecided(self, kept: Collection[str] = ()) -> list[Record]:
        """The records of what is left, because the run ends before it is decided; `kept` are cases that have one."""
        facing = [Held(plan, outcome, NO_FOOTING) for plan, outcome in self._facing]
        left = [one for one in (*facing, *self._held) if one.plan.case.id not in kept]
        return undecided(left, self._judged, self._screened)

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
    return Held(plan, outcome, on, so_far=record) if on.in_turns and record.status in TIMED else record


def decided(
    cases: Sequence[Held],
    judged: Judged,
    settings: Settings,
    others: int = 0,
    screened: Sequence[tuple[Plan, Screening]] = (),
    memory: Memory = NOTHING,
) -> Iterator[Record]:
    """The records of cases that are timed again now and decided together, each as soon as it is known.

    `others` is the number of cases that are decided apart from these and count as much for false alarms, `screened` are
    cases of the same job that are decided already.
    """
    in_turns = [one for one in cases if one.on.in_turns]
    matches = [judged.match(as_measured(one.plan, one.outcome.digests), one.on) for one in in_turns]
    earlier = [memory.launches(match) for match in matches]
    fought = spread_duels(matches, settings, earlier=earlier, tell=memory.launched)
    found = {one.plan.case.id: duel for one, duel in zip(in_turns, fought, strict=True)}
    p = judged.p_values([one.plan for one in in_turns], found)
    for one, duel in zip(in_turns, fought, strict=True):
        if duel.launches:
            yield judged.record(one.plan, one.outcome, one.on, duel, _among(p.get(one.plan.case.id, {}), others))
    left = [one for one in cases if not one.on.in_turns]
    left += [_without(one, duel, judged) for one, duel in zip(in_turns, fought, strict=True) if not duel.launches]
    yield from undecided(_measured_again(left, judged, settings, memory), judged, screened)


def undecided(cases: Sequence[Held], judged: Judged, screened: Sequence[tuple[Plan, Screening]] = ()) -> list[Record]:
    """The records of cases by what is known of them: no more is measured."""
    own = [(one.plan, one.screening) for one in cases if one.screening is not None]
    found = of_this_job([*screened, *own])
    return [
        judged.record(one.plan, one.outcome, one.on, one.duel, screening=found.get(one.plan.case.id)) for one in cases
    ]


def _without(one: Held, duel: Duel, judged: Judged) -> Held:
    """A case that could not be timed in turns after all."""
    entry = judged.entries(one.plan.case).get(one.plan.case.id)
    return replace(one, duel=duel, screening=screening(one.plan, one.outcome, entry, one.on))


def _measured_again(cases: Sequence[Held], judged: Judged, settings: Settings, memory: Memory) -> list[Held]:
    asked = [
        (place, (one.plan, one.outcome, entry, _continued(one.screening, memory.screening(one.plan))))
        for place, one in enumerate(cases)
        if one.screening is not None and (entry := judged.entries(one.plan.case).get(one.plan.case.id)) is not None
    ]
    found = spread_screens([case for _, case in asked], settings, memory.screened)
    known = {place: more for (place, _), more in zip(asked, found, strict=True)}
    return [replace(one, screening=known.get(place)) for place, one in enumerate(cases)]


def _continued(now: Screening, earlier: Screening | None) -> Screening:
    """The screening of before the interruption, where it began as this one does."""
    if earlier is None:
        return now
    began = replace(earlier, now=earlier.now[: len(now.now)], again=(), failures=(), broken=None)
    return earlier if began == replace(now, again=(), failures=(), broken=None) else now


def _among(p: Mapping[str, float], others: int) -> dict[str, float]:
    """Bonferroni: what others are decided is not known here, only how many."""
    return {name: min(1.0, value * (others + 1)) for name, value in p.items()}
