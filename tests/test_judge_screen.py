"""The screen against earlier runs: one rule each, without any I/O."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.judge.latency import measured_again
from harness.judge.screen import KEPT, TIMES, broken_job, broken_jobs, judge_screen, suspicious
from harness.records import Latency, LatencyPlan, Quantiles, Screened, Screening

PLAN = LatencyPlan(floor_us=1.0)
HISTORY = tuple(Screened(1.0 + 0.002 * (i % 5 - 2), 0.5) for i in range(KEPT))


def screening(*changes, machine=1.0, canary=True, history=HISTORY):
    """A case that takes 1 ms as a rule, on a machine that is slower now by a factor."""
    measured = (Screened((1 + change) * machine, 0.5 * machine if canary else None) for change in changes)
    return Screening("p10", tuple(history), tuple(measured), "host")


def decide(asked, plan=PLAN, broken=None):
    return judge_screen(plan, asked, broken)


def status(*args, **options):
    return decide(*args, **options)[1]


def words(*args, **options):
    return decide(*args, **options)[2]


def again(asked):
    """Whether it is measured once more in a fresh process."""
    window = Latency(Quantiles(1.0, None, None, 1.0, (1.0, 1.0), 100), None, "host", {})
    return measured_again(PLAN, window, window, asked)


def test_a_time_within_2_percent_is_not_suspicious_and_passes():
    assert not suspicious(PLAN, screening(0.019))
    assert not again(screening(0.019))
    assert status(screening(0.019)) == "passed"
    assert suspicious(PLAN, screening(0.021))


def test_a_suspicious_case_is_measured_up_to_three_times():
    assert again(screening(0.05))
    assert again(screening(0.05, 0.05))
    assert not again(screening(0.05, 0.05, 0.05))
    assert again(replace(screening(0.05), failures=("crash in time: signal 11",)))  # the next attempt may be sound
    assert not again(replace(screening(0.05), failures=("crash in time: signal 11",) * 2))
    assert status(screening(0.05, 0.05)) == "inconclusive"
    assert "only 2 of 3 times" in words(screening(0.05, 0.05))


@pytest.mark.parametrize("place", range(3))
def test_any_clean_measurement_acquits(place):
    changes = [0.5, 0.5, 0.5]
    changes[place] = 0.01

    assert status(screening(*changes)) == "passed"


def test_all_of_three_beyond_the_margin_fail():
    (check,), found, _ = decide(screening(0.05, 0.08, 0.04))

    assert (found, check.ok) == ("regressed", False)
    assert check.value / check.baseline == pytest.approx(1.04)
    assert check.limit / check.baseline == pytest.approx(1.025)


def test_between_what_is_suspicious_and_the_margin_nothing_is_decided():
    assert status(screening(0.05, 0.08, 0.023)) == "inconclusive"


def test_earlier_runs_that_lie_apart_widen_the_margin():
    apart = [Screened(1.0 + 0.02 * (i % 5 - 2), 0.5) for i in range(KEPT)]  # three standard deviations are 9 %
    asked = screening(0.07, 0.07, 0.07, history=apart)

    assert status(asked) == "inconclusive"
    assert "margin 9." in words(asked)
    assert status(screening(0.12, 0.12, 0.12, history=apart)) == "regressed"
    assert status(screening(-0.05, history=apart)) == "passed"


def test_a_slower_machine_is_told_by_its_canary():
    assert status(screening(0.0, machine=1.3)) == "passed"
    assert status(screening(0.05, 0.05, 0.05, machine=0.8)) == "regressed"


def test_nothing_fails_without_a_canary():
    slow = screening(0.1, 0.1, 0.1, canary=False)

    assert suspicious(PLAN, slow)
    assert status(slow) == "inconclusive"
    assert "without a canary" in words(slow)
    assert status(screening(0.0, canary=False)) == "passed"
    without = [replace(one, canary_ms=None) for one in HISTORY]
    assert status(screening(0.1, 0.1, 0.1, history=without)) == "inconclusive"


def test_an_earlier_run_without_a_canary_disarms_nothing():
    bare = Screened(2.0, None)

    assert status(screening(0.05, 0.05, 0.05, history=[*HISTORY, bare])) == "regressed"
    assert "against 5 earlier runs" in words(screening(0.05, 0.05, 0.05, history=[bare, *HISTORY[:5], bare]))
    four = screening(0.05, 0.05, 0.05, history=[*HISTORY[:4], Screened(1.0, None)])
    assert status(four) == "inconclusive"  # five runs are needed, and one of these has no canary


def test_only_the_latest_20_runs_are_compared_with():
    slower_once = [Screened(2.0, 0.5)] * 100

    assert status(screening(0.05, 0.05, 0.05, history=[*slower_once, *HISTORY])) == "regressed"


def test_too_few_runs_are_nothing_to_compare_with():
    assert status(screening(0.5, 0.5, 0.5, history=HISTORY[:4])) == "inconclusive"
    assert words(screening(0.5, history=HISTORY[:4])).startswith("4 earlier runs")
    assert words(screening()) == "not timed"


def test_changes_below_the_floor_never_count():
    assert status(screening(0.05, 0.05, 0.05), replace(PLAN, floor_us=60.0)) == "passed"


def test_a_larger_limit_widens_the_margins():
    wide = replace(PLAN, regression=0.10)

    assert status(screening(0.039), wide) == "passed"
    assert status(screening(0.07, 0.07, 0.07), wide) == "regressed"
    assert status(screening(0.05, 0.05, 0.05), replace(PLAN, regression=0.01)) == "regressed"


def test_a_canary_beyond_three_sigma_makes_the_job_invalid():
    earlier = [0.500, 0.505, 0.495, 0.502, 0.498] * 4

    assert broken_job(earlier, [0.505], []) is None
    broken = broken_job(earlier, [0.55, 0.56], [])
    assert "moved by +11.0%" in broken
    assert status(screening(0.05, 0.05, 0.05), broken=broken) == "inconclusive"
    assert status(screening(0.0), broken=broken) == "passed"
    assert status(screening(0.0, machine=1.1), broken=broken) == "inconclusive"  # that canary is not trusted
    assert broken_job(earlier, [0.45], []) is not None
    assert broken_job(earlier[:4], [5.0], []) is None  # four runs have no band


def test_jobs_are_told_apart_by_their_canary():
    moved = replace(screening(0.0, machine=1.2), decided_on="gpu")

    assert list(broken_jobs([("host", PLAN, screening(0.0)), ("gpu", PLAN, moved)])) == ["gpu"]
    assert broken_jobs([("gpu", PLAN, replace(moved, history=HISTORY[:4]))]) == {}


def test_a_case_that_is_faster_beyond_the_margin_is_improved_where_the_canary_is_trusted():
    assert status(screening(-0.05)) == "improved"
    assert status(screening(-0.02)) == "passed"
    assert status(screening(-0.05, canary=False)) == "passed"
    assert status(screening(-0.05), broken="it moved") == "passed"


def test_many_slower_cases_are_the_machines_doing_only_where_no_canary_tells():
    def job(*, canary):
        return [("gpu", PLAN, screening(*[0.5 if case < 2 else 0.0] * 3, canary=canary)) for case in range(10)]

    assert "2 of 10 cases" in broken_jobs(job(canary=False))["gpu"]
    assert broken_jobs(job(canary=True)) == {}
    assert status(job(canary=True)[0][2]) == "regressed"
    steady = [0.500, 0.505, 0.495, 0.502, 0.498]
    assert broken_job(steady, [0.5], [True] * 10) is None
    assert "the canary" in broken_job(steady, [0.6], [True] * 10)
    assert "10 of 10 cases" in broken_job(steady[:4], [0.5], [True] * 10)  # it has no band


def test_more_than_a_tenth_of_at_least_ten_cases_make_the_job_invalid():
    assert broken_job([], [], [True] * 9) is None
    assert broken_job([], [], [True] + [False] * 9) is None
    assert "2 of 10 cases" in broken_job([], [], [True] * 2 + [False] * 8)


def simulated(change, rng, runs):
    """Decisions on a machine with slow moments, whose speed drifts by 0.3 % from run to run."""
    speed, history, found = 1.0, [], []
    for _ in range(KEPT + runs):
        speed *= 1 + rng.gauss(0, 0.003)
        now = []
        while len(now) < 3:
            moment = speed * (1.1 if rng.random() < 0.05 else 1.0)
            noise = [1 + rng.gauss(0, 0.006) for _ in range(2)]
            now.append(Screened((1 + change) * moment * noise[0], 0.5 * moment * noise[1]))
            asked = Screening("p10", tuple(history[-KEPT:]), tuple(now), "host")
            if len(history) >= KEPT and (len(now) == TIMES or not suspicious(PLAN, asked)):
                found.append(status(asked))
                break
        history.append(Screened(now[0].value_ms / (1 + change), now[0].canary_ms))
    return found


def test_unchanged_code_raises_no_alarm_and_five_percent_are_found():
    clean, slow = simulated(0.0, random.Random(3), 1000), simulated(0.05, random.Random(4), 1000)

    assert "regressed" not in clean
    assert clean.count("passed") >= 995  # one in a thousand is three standard deviations faster
    assert slow.count("regressed") > 900


def test_a_case_that_was_measured_more_often_decides_no_more_on_its_job():
    noisy = Screening("p10", HISTORY, tuple(Screened(1.3, 0.6) for _ in range(TIMES)), "host")
    quiet = [("cpu", PLAN, screening(0.0)) for _ in range(2)]

    assert broken_jobs([("cpu", PLAN, noisy), *quiet]) == {}
    assert broken_jobs([("cpu", PLAN, noisy), ("cpu", PLAN, noisy), quiet[0]])
