"""Cases of the fake backend that are timed in turns, by a script: their times are made up, what decides is real."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

import pytest

from harness.records import Contestant, Duel, Launch, Plan
from harness.runner.duels import Match
from harness.runner.footing import NO_FOOTING, Footing
from harness.runner.recorder import Judged


@dataclass
class Ring:
    """What the script says, and what was asked of it."""

    shifts: Mapping[str, float]
    """Pattern of case ids to how much slower (log) side b is."""
    fought: list[str] = field(default_factory=list)
    before_each: Callable[[Ring], None] = lambda _: None

    def launch(self, matches: Sequence[Match], *_: object) -> Iterator[Duel]:
        """One launch of each; the same number of the same case is the same launch."""
        for match in matches:
            self.before_each(self)
            case = match.plan.case.id
            self.fought.append(case)
            noise = random.Random(f"{case} {self.fought.count(case) + self.skipped(case)}").gauss(0, 0.004)
            shift = next((shift for pattern, shift in self.shifts.items() if fnmatch(case, pattern)), 0.0)
            launch = Launch(shift + noise, 0.0, 1.0, 1.0 + shift, 50, 500, "a")
            yield Duel((launch,), "host", {}, match.against, a=match.a, b=match.b)

    known: dict[str, int] = field(default_factory=dict)

    def skipped(self, case: str) -> int:
        """Launches of a case that another process made."""
        return self.known.get(case, 0)


def ring(monkeypatch: pytest.MonkeyPatch, shifts: Mapping[str, float]) -> Ring:
    """From now on accepted cases of the fake backend take turns, by this script."""
    made = Ring(shifts)

    def footing(self: Judged, plan: Plan, *_: object) -> Footing:
        if self.entries(plan.case).get(plan.case.id) is None:
            return NO_FOOTING
        return Footing(a=Contestant("a" * 64, {}), b=Contestant("b" * 64, {}))

    monkeypatch.setattr(Judged, "footing", footing)
    monkeypatch.setattr(Judged, "_outdated", lambda *_: False)
    monkeypatch.setattr("harness.runner.duels.launch", made.launch)
    return made
