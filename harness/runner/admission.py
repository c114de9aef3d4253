"""Admission: a case timed against itself tells which slowdowns can be seen of it on this machine class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.judge.duels import admit
from harness.judge.launches import clean
from harness.records import Admission, Contestant, Duel, Plan
from harness.runner.duels import Match, duels
from harness.runner.settings import Settings


@dataclass(frozen=True)
class Candidate:
    """A case that is to be admitted, with the artefact that is accepted for it."""

    plan: Plan
    artefact: Contestant


def admissions(
    candidates: Sequence[Candidate],
    settings: Settings,
    launches: int,
    tell: Callable[[Match, Duel], None] = lambda *_: None,
) -> Iterator[tuple[Plan, Duel, Admission | None]]:
    """Each case with its launches against itself and what they tell; None where too few of them are evidence.

    `tell` is called for each launch of a case as it is made.
    """
    matches = [Match(one.plan, one.artefact, one.artefact, None, "itself") for one in candidates]

    def more(_: Match, duel: Duel) -> int:
        tried = len(duel.launches) >= 2 * launches
        return 0 if tried else launches - len(clean(duel))

    found = duels(matches, settings, more, tell=tell)
    for one, duel in zip(candidates, found, strict=True):
        yield one.plan, duel, admit(duel, one.plan.latency)
