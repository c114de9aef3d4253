"""Replays stored launches through every rule, as if a change were being judged.

A trial is one decision on one cell. Disjoint trials share no launch; further ones are drawn again from the same
launches (the gate: ten launches at random, as many of each order of creation) or overlap in time (rules that compare
windows: every launch as candidate, the ones before it as what is compared with).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.judge.duels import LOOKS, adjusted, admit, judge_duel, mde, p_values, wanted
from harness.judge.launches import HISTORY, LIMIT
from harness.judge.screen import KEPT, TIMES, broken_job, judge_screen, suspicious
from harness.records import Admission, Duel, LatencyPlan, Launch, Screened, Screening
from quality.latency.rules import Rule
from quality.latency.stored import ARMS, TAIL, UNCHANGED, Cell, Window

HYPOTHESES = 400
"""Of a suite of 200 cases, for decisions that are looked at one by one: Holm's first step."""
ALL_ARMS = (*ARMS, TAIL)


@dataclass(frozen=True)
class Trial:
    """One decision: the status that it led to, and the launches of the candidate that it took."""

    status: str
    launches: int = 1
    p: Mapping[str, float] | None = None
    """Not yet adjusted."""

    @property
    def alarm(self) -> bool:
        """Whether it would block."""
        return self.status == "regressed"


@dataclass(frozen=True)
class Gate:
    """The harness's gate with settings of a suite."""

    name: str
    plan: LatencyPlan
    spoiled_count: bool = False
    """Whether launches that the machine disturbed are taken as evidence all the same."""

    def launches(self, cell: Cell, arm: str) -> Sequence[Launch]:
        """The launches of an arm, as the gate would take them."""
        return cell.disturbed.get(arm, ()) if self.spoiled_count else cell.turns.get(arm, ())

    def decide(self, launches: Sequence[Launch], admission: Admission | None) -> Trial | None:
        """Look by look, as the runner does; None where the launches do not suffice."""
        duel = Duel((), "", {}, "itself")
        while more := wanted(duel, self.plan, admission):
            if len(duel.launches) + more > len(launches):
                return None
            duel = replace(duel, launches=tuple(launches[: len(duel.launches) + more]))
        p = p_values(duel, self.plan, admission)
        alone = {quantity: min(1.0, HYPOTHESES * value) for quantity, value in p.items()}
        return Trial(judge_duel(self.plan, duel, admission, alone)[1], len(duel.launches), p)

    def judged_among(self, launches: Sequence[Sequence[Launch]], known_of: Sequence[Admission | None]) -> int:
        """How many cases of a whole suite are called slower, their p-values adjusted together."""
        duels = [Duel(tuple(some), "", {}, "itself") for some in launches]
        raw = [p_values(duel, self.plan, known) for duel, known in zip(duels, known_of, strict=True)]
        corrected = adjusted({str(i): p for i, p in enumerate(raw)}).values()
        judged = zip(duels, known_of, corrected, strict=True)
        return sum(judge_duel(self.plan, duel, known, mine)[1] == "regressed" for duel, known, mine in judged)


GATES = (
    Gate("harness gate", LatencyPlan()),
    Gate("harness gate, floor 0.5 us", LatencyPlan(floor_us=0.5)),
    Gate("harness gate, strict (1 %), floor 0.5 us", LatencyPlan(regression=0.01, floor_us=0.5)),
    Gate("harness gate, floor 0.5 us, disturbed launches counted", LatencyPlan(floor_us=0.5), spoiled_count=True),
)


def admission_of(gate: Gate, cell: Cell) -> tuple[Admission | None, int]:
    """What the first clean A/A launches say, and how many launches that used up."""
    taken: list[Launch] = []
    for used, launch in enumerate(gate.launches(cell, "null"), 1):
        taken += [launch] if launch.spoiled is None else []
        if len(taken) == HISTORY:
            return admit(Duel(tuple(taken), "", {}, "itself"), gate.plan), used
    return None, len(gate.launches(cell, "null"))


def admitted(gate: Gate, cell: Cell) -> bool:
    """Whether the gate would decide on the cell at all."""
    admission, _ = admission_of(gate, cell)
    limit = LIMIT if gate.plan.regression is None else gate.plan.regression
    return admission is not None and mde(admission.sd, limit) <= limit


def disjoint(gate: Gate, cell: Cell, arm: str) -> Iterator[Trial]:
    """Decisions on consecutive launches, none used twice, none that admission used."""
    admission, used = admission_of(gate, cell)
    left = list(gate.launches(cell, arm))[used if arm == UNCHANGED["turns"] else 0 :]
    # a decision that might need more launches than are left would only be seen if it was an easy one
    while admission is not None and len(left) >= LOOKS[-1]:
        trial = gate.decide(left, admission)
        if trial is None:
            return
        yield trial
        left = left[trial.launches :]


def drawn(gate: Gate, cell: Cell, arm: str, count: int, rng: random.Random) -> Iterator[Trial]:
    """Decisions on launches drawn at random, with an admission from other A/A launches drawn at random."""
    for _ in range(count):
        admission, launches = draw_case(gate, cell, gate.launches(cell, arm), rng)
        trial = gate.decide(launches, admission)
        if trial is not None:
            yield trial


def draw_case(
    gate: Gate, cell: Cell, pool: Sequence[Launch], rng: random.Random
) -> tuple[Admission | None, list[Launch]]:
    """Ten clean A/A launches for the admission, others of a pool to decide on."""
    known = draw([one for one in gate.launches(cell, UNCHANGED["turns"]) if one.spoiled is None], HISTORY, rng)
    taken = {id(one) for one in known}
    left = [one for one in pool if id(one) not in taken]
    return admit(Duel(tuple(known), "", {}, "itself"), gate.plan), draw(left, 2 * LOOKS[-1], rng)


def draw(launches: Sequence[Launch], count: int, rng: random.Random) -> list[Launch]:
    """Launches with side a's session first and with side b's, by turns; fewer where there are no more."""
    kinds = [[one for one in launches if one.first == first] for first in "ab"]
    for some in kinds:
        rng.shuffle(some)
    return [one for pair in zip(*kinds, strict=False) for one in pair][:count]


def compared(rule: Rule, cell: Cell, arm: str, *, apart: bool) -> list[Trial]:
    """Decisions of a rule that compares a window with earlier ones; `apart`: no window is used twice."""
    windows, base = cell.windows.get(arm, ()), cell.windows.get(UNCHANGED["window"], ())
    step = rule.earlier + 1 if apart else 1
    places = range(rule.earlier, min(len(windows), len(base)), step)
    alarms = (rule.alarm(base[place - rule.earlier : place], windows[place]) for place in places)
    return [Trial("regressed" if alarm else "passed") for alarm in alarms]


def screened(cell: Cell, arm: str, *, quantile: str, apart: bool, broken: str | None = None) -> list[Trial]:
    """Decisions of the harness's screen; a decision takes up to three launches after twenty earlier ones."""
    windows, base = cell.windows.get(arm, ()), cell.windows.get(UNCHANGED["window"], ())
    places = range(KEPT, min(len(windows), len(base)) - TIMES + 1, KEPT + TIMES if apart else 1)
    return [_screen(base[place - KEPT : place], windows[place : place + TIMES], quantile, broken) for place in places]


def _screen(history: Sequence[Window], now: Sequence[Window], quantile: str, broken: str | None) -> Trial:
    plan = LatencyPlan(floor_us=0.5)
    earlier, later = ([_screened(one, quantile) for one in some] for some in (history, now))
    asked = Screening(quantile, tuple(earlier), (), "host")
    while not asked.now or (len(asked.now) < TIMES and suspicious(plan, asked)):
        asked = replace(asked, now=tuple(later[: len(asked.now) + 1]))
    return Trial(judge_screen(plan, asked, broken)[1], len(asked.now), {"suspicious": float(suspicious(plan, asked))})


def _screened(one: Window, quantile: str) -> Screened:
    return Screened(getattr(one, f"{quantile}_ms"), getattr(one, f"canary_{quantile}_ms"))


SUITE, IN_A_JOB = 200, 15
"""Cases of a suite; launches in a row from which one job is drawn, so that slow spells are shared."""


def clean_suites(gate: Gate, cells: Sequence[Cell], count: int, rng: random.Random, *, one_job: bool) -> int:
    """How many of so many suites without a change have an alarm."""
    alarms = 0
    for _ in range(count):
        place, cases, admissions = rng.random(), [], []
        for _ in range(SUITE):
            cell = rng.choice(cells)
            launches = gate.launches(cell, "null")
            start = int(place * max(1, len(launches) - 2 * IN_A_JOB))
            pool = launches[start : start + 2 * IN_A_JOB] if one_job else launches
            admission, asked = draw_case(gate, cell, pool, rng)
            trial = gate.decide(asked, admission)
            cases.append(asked[: trial.launches] if trial else [])
            admissions.append(admission)
        alarms += gate.judged_among(cases, admissions) > 0
    return alarms


def clean_suites_of(trials: Sequence[Sequence[Trial]], count: int, rng: random.Random, *, one_job: bool) -> int:
    """The same of a rule without p-values, from its trials on each cell in the order of time."""
    alarms = 0
    for _ in range(count):
        place, found = rng.random(), []
        for _ in range(SUITE):
            some = rng.choice(trials)
            start = int(place * max(1, len(some) - IN_A_JOB))
            found.append(rng.choice(some[start : start + IN_A_JOB] if one_job else some))
        many = broken_job([], [], [bool(one.p and one.p.get("suspicious")) for one in found])
        alarms += many is None and any(one.alarm for one in found)
    return alarms
