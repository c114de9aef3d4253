"""Times cases against themselves, unchanged and slowed on purpose, in launches that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import artefacts
from harness.backends import RUNTIMES
from harness.judge import first_line
from harness.judge.duels import admit
from harness.judge.launches import LOOKS, clean, weigh
from harness.judge.selftest import ARMS, UNCHANGED, arm, decisions
from harness.records import Admission, Arm, Contestant, Duel, FidelityPlan, Outcome, Plan
from harness.runner.bench import Bench
from harness.runner.duels import Match, duels
from harness.runner.footing import as_measured, contestant
from harness.runner.settings import Settings

ADMISSION = "admission"


@dataclass(frozen=True)
class Timed:
    """A case that was built and can be timed."""

    plan: Plan
    artefact: Contestant


@dataclass(frozen=True)
class Tested:
    """The launches of one case, by arm."""

    plan: Plan
    arms: Mapping[str, Duel]
    admission: Admission | None

    @property
    def resolved(self) -> bool:
        """Whether the case repeats well enough for its limit."""
        found = weigh(self.arms[UNCHANGED], self.plan.latency, self.admission)
        return self.admission is not None and found is not None and not found.advisory

    def decisions(self, name: str, cases: int) -> Iterator[tuple[str, int]]:
        """What the gate decides on one arm; launches that were looked at and left undecided are inconclusive."""
        duel, decided, spent = self.arms[name], 0, 0
        for status, launches in decisions(duel, self.plan.latency, self.admission, cases):
            yield status, launches
            decided, spent = decided + 1, spent + launches
        left = len(duel.launches) - spent
        if left >= LOOKS[0] or not decided:
            yield "inconclusive", left


@dataclass(frozen=True)
class Counted:
    """What the gate decided."""

    arms: tuple[Arm, ...]
    admissions: Mapping[str, Admission | None]
    advisory: tuple[str, ...]
    """Cases that repeat too badly for their limit."""
    failures: Mapping[str, str]


def build(plans: Sequence[Plan], bench: Bench, settings: Settings) -> tuple[list[Timed], dict[str, str]]:
    """The cases that can be timed here, built, and why others cannot."""
    timed, left_out = [], {}
    for plan in plans:
        quick = replace(plan.latency, min_time_s=min(plan.latency.min_time_s, 0.1), budget={})
        outcome = bench.outcome(replace(plan, latency=quick, fidelity=FidelityPlan(enabled=False), builds=1, task=None))
        artefact = contestant(outcome.digests, outcome.attested.get("options"))
        if plan.case.backend not in RUNTIMES:
            left_out[plan.case.id] = "its times are scripted"
        elif outcome.latency is None or artefact is None or not artefacts.has(settings.cache, artefact.digest):
            left_out[plan.case.id] = _why(plan, outcome)
        else:
            timed.append(Timed(as_measured(plan, outcome.digests), artefact))
    return timed, left_out


def _why(plan: Plan, outcome: Outcome) -> str:
    if outcome.error is not None:
        return first_line(outcome.error.message)
    return first_line(outcome.skipped or ("latency is off" if not plan.latency.enabled else "it was not timed"))


def count(cases: Sequence[Timed], settings: Settings, launches: int) -> Counted:
    """What the gate decides on `launches` launches of every case and arm.

    As many more of the case against itself are its admission: none of the launches that are judged.
    """
    names = (ADMISSION, *ARMS)
    matches = [
        Match(one.plan, one.artefact, one.artefact, None, "itself", ARMS.get(name)) for one in cases for name in names
    ]

    def more(_: Match, duel: Duel) -> int:
        return 0 if len(duel.launches) >= 2 * launches else launches - len(clean(duel))

    found = duels(matches, settings, more)
    by_case = [dict(zip(names, found[at : at + len(names)], strict=True)) for at in range(0, len(found), len(names))]
    tested = [
        Tested(one.plan, arms, admit(arms.pop(ADMISSION), one.plan.latency))
        for one, arms in zip(cases, by_case, strict=True)
    ]
    return Counted(
        tuple(arm(name, [list(one.decisions(name, len(cases))) for one in tested if one.resolved]) for name in ARMS),
        {one.plan.case.id: one.admission for one in tested},
        tuple(one.plan.case.id for one in tested if not one.resolved),
        {
            f"{match.plan.case.id} {name}": duel.failures[0]
            for match, name, duel in zip(matches, names * len(cases), found, strict=True)
            if duel.failures
        },
    )
