"""Counts what the gate decides on launches of which is known whether anything was slowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.judge.duels import judge_duel, p_values, wanted
from harness.records import Admission, Arm, Duel, Injection, LatencyPlan

UNCHANGED, LARGEST = "unchanged", "+10%"
ARMS: Mapping[str, Injection | None] = {
    UNCHANGED: None,
    **{f"+{share:.0%}": Injection("slow", share) for share in (0.01, 0.02, 0.03, 0.05, 0.10)},
    "5% of calls x2": Injection("tail", 0.05),
}
"""What is timed: the very same thing twice, and slowdowns of it."""


def decisions(duel: Duel, plan: LatencyPlan, admission: Admission | None, cases: int) -> Iterator[tuple[str, int]]:
    """Status and launches of each decision that a series of launches makes; what is left over at the end makes none.

    No launch serves twice, and each decision counts as one of `cases` that are decided together (Bonferroni).
    """
    start = 0
    for stop in range(1, len(duel.launches) + 1):
        so_far = replace(duel, launches=duel.launches[start:stop], failures=())
        if wanted(so_far, plan, admission):
            continue
        p = {name: min(1.0, 2 * cases * value) for name, value in p_values(so_far, plan, admission).items()}
        yield judge_duel(plan, so_far, admission, p)[1], stop - start
        start = stop


def arm(name: str, series: Sequence[Sequence[tuple[str, int]]]) -> Arm:
    """The counts of one arm over the decisions of all cases."""
    every = [decision for one in series for decision in one]
    counts = Counter(status for status, _ in every)
    return Arm(
        name,
        ARMS[name],
        len(every),
        counts["regressed"],
        counts["passed"] + counts["improved"],
        counts["inconclusive"],
        sum(launches for _, launches in every),
    )
