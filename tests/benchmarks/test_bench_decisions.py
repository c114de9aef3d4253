"""Deciding on a suite's launches: every look, every p-value, their adjustment, every verdict."""

from __future__ import annotations

import random

from bench import Tell
from pytest_benchmark.fixture import BenchmarkFixture

from harness.judge.duels import LOOKS, adjusted, judge_duel, mde, p_values, wanted
from harness.records import Admission, Duel, LatencyPlan, Launch

CASES = 500


def duels() -> list[Duel]:
    """Ten launches of each case; every tenth case is slower by 3 %."""
    rng = random.Random(0)
    return [
        Duel(
            tuple(
                Launch(rng.gauss(0.0 if case % 10 else 0.03, 0.002), 0.0, 1.0, 1.0, 50, 300, "ab"[number % 2])
                for number in range(LOOKS[-1])
            ),
            "gpu",
            {},
            "the accepted artefact",
        )
        for case in range(CASES)
    ]


def test_deciding_on_500_cases(benchmark: BenchmarkFixture, tell: Tell) -> None:
    suite, plan, admission = duels(), LatencyPlan(), Admission(0.002, 10, mde(0.002))

    def decide() -> int:
        for duel in suite:
            for look in LOOKS:
                wanted(Duel(duel.launches[:look], "gpu", {}, duel.against), plan, admission)
        p = adjusted({str(case): p_values(duel, plan, admission) for case, duel in enumerate(suite)})
        verdicts = [judge_duel(plan, duel, admission, p[str(case)]) for case, duel in enumerate(suite)]
        return sum(status == "regressed" for _, status, _ in verdicts)

    assert benchmark.pedantic(decide, rounds=7, warmup_rounds=1) == CASES // 10
    tell("deciding on 500 cases of 10 launches", benchmark.stats.stats.data, "s", "< 1 s")
    assert benchmark.stats.stats.min < 2
