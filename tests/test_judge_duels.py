"""The decision on launches in which two artefacts were timed in turns: one rule each, without any I/O."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats
from harness.judge.duels import LOOKS, adjusted, admit, judge_duel, mde, p_values, wanted
from harness.judge.launches import MOST, SMALLEST_SD, smallest_limit, weigh
from harness.records import Admission, Duel, LatencyPlan, Launch

PLAN = LatencyPlan(floor_us=0.1)
STRICT = replace(PLAN, regression=0.01)
QUIET = Admission(sd=0.0018, launches=10, mde=mde(0.0018))
HOPELESS = Admission(sd=0.15, launches=10, mde=mde(0.15))


def launch(change=0.0, tail=0.0, spoiled=None, a_ms=0.3, first="a"):
    return Launch(math.log1p(change), tail, a_ms, a_ms * (1 + change), 50, 250, first, spoiled=spoiled)


def duel(*launches):
    return Duel(tuple(launches), "host", {}, "accepted artefact 1a2b3c4d")


def steady(count, change=0.0, tail=0.0, **more):
    """Launches that wobble by 0.1 % around a change, which is their median."""
    return duel(*(launch(change + 0.001 * (i % 3 - 1), tail, **more) for i in range(count)))


def decide(asked, plan=PLAN, admission=QUIET, among=1):
    """The decision on a case of a suite in which nothing else happens."""
    p = {"case": p_values(asked, plan, admission)} | {f"other {i}": {"median": 1.0, "tail": 1.0} for i in range(among)}
    return judge_duel(plan, asked, admission, adjusted(p)["case"])


def status(asked, *more, **options):
    return decide(asked, *more, **options)[1]


def words(asked, *more, **options):
    return decide(asked, *more, **options)[2]


def leaves(asked, admission=QUIET):
    """Whether a case is asked for no more launches."""
    return wanted(asked, PLAN, admission) == 0


def test_looks_are_after_2_5_and_10_launches():
    assert LOOKS == (2, 5, 10)


@pytest.mark.parametrize("look", [2, 5])
def test_an_unchanged_case_leaves_early_and_passes(look):
    assert leaves(steady(look), QUIET)
    assert status(steady(look)) == "passed"


@pytest.mark.parametrize("count", [3, 4, 6, 9])
def test_nothing_passes_between_two_looks(count):
    assert wanted(steady(count), PLAN, QUIET) == (5 if count < 5 else 10) - count
    assert status(steady(count)) == "inconclusive"


@pytest.mark.parametrize("look", [2, 5])
def test_only_the_last_look_may_fail(look):
    slow = steady(look, 0.5, tail=0.5)

    assert p_values(slow, PLAN, QUIET) == {"median": 1.0, "tail": 1.0}
    assert not leaves(slow, QUIET)
    assert status(slow) == "inconclusive"
    assert "10 clean launches are needed" in words(slow)
    assert status(steady(10, 0.5)) == "regressed"


def test_an_estimate_of_three_quarters_of_the_margin_is_not_acquitted():
    assert leaves(steady(5, 0.0070), QUIET)
    assert not leaves(steady(5, 0.0080), QUIET)
    assert status(steady(10, 0.0080)) == "passed"  # its bound is below the limit, which the last look asks for


def test_a_bound_above_the_limit_is_not_acquitted():
    wide = duel(launch(-0.03), launch(0.03))
    unknown = duel(launch(0.0), launch(0.001))

    assert not leaves(wide, QUIET)
    assert not leaves(unknown, None)  # two launches alone say nothing about their spread


def test_a_loud_tail_is_not_acquitted():
    assert leaves(steady(2, tail=0.003), QUIET)
    assert not leaves(steady(2, tail=0.008), QUIET)


@pytest.mark.parametrize(("plan", "change"), [(PLAN, 0.02), (STRICT, 0.01)])
def test_a_slowdown_as_large_as_the_limit_fails(plan, change):
    checks, found, told = decide(steady(10, change), plan)

    assert found == "regressed"
    assert {check.name: check.ok for check in checks} == {"latency/regression": False, "latency/tail": True}
    assert checks[0].value / checks[0].baseline == pytest.approx(1 + change, rel=1e-6)
    assert checks[0].limit / checks[0].baseline == pytest.approx(1 + change)
    assert f"{change:+.2%}" in told


@pytest.mark.parametrize(("plan", "change"), [(PLAN, 0.009), (STRICT, 0.0045)])
def test_changes_within_half_of_the_limit_never_fail(plan, change):
    assert status(steady(10, change), plan) == "passed"


def test_a_slowdown_fails_only_if_the_last_five_launches_confirm_it():
    burst = [launch(0.06 + 0.001 * i) for i in range(5)]
    calm = [launch(0.009) for _ in range(5)]

    found = judge_duel(PLAN, duel(*burst, *calm), None, {"median": 0.001, "tail": 1.0})
    assert found[1] == "inconclusive"
    assert "do not confirm" in found[2]
    assert judge_duel(PLAN, duel(*calm, *burst), None, {"median": 0.001, "tail": 1.0})[1] == "regressed"


def test_a_slowdown_below_the_floor_never_counts():
    floor = replace(PLAN, floor_us=5.0)  # of 20 us a quarter

    assert status(steady(10, 0.10, a_ms=0.020), floor) == "passed"
    assert "limit +25.00%" in words(steady(10, 0.10, a_ms=0.020), floor)
    assert status(steady(10, 0.30, a_ms=0.020), floor) == "regressed"


def test_it_needs_an_adjusted_p_below_5_percent():
    slow = steady(10, 0.03)

    assert judge_duel(PLAN, slow, QUIET, {"median": 0.049, "tail": 1.0})[1] == "regressed"
    assert judge_duel(PLAN, slow, QUIET, {"median": 0.051, "tail": 1.0})[1] == "inconclusive"


def test_a_slow_tail_fails_though_the_median_does_not_move():
    checks, found, _ = decide(steady(10, tail=0.05), among=1000)

    assert found == "regressed"
    assert {check.name: check.ok for check in checks} == {"latency/regression": True, "latency/tail": False}


def test_a_tail_within_its_margin_never_fails():
    assert status(steady(10, tail=0.009)) == "passed"


def test_a_tail_that_is_neither_proven_nor_excluded_is_inconclusive():
    loud = duel(*(launch(tail=0.06 if i % 3 == 0 else 0.0) for i in range(10)))

    assert status(loud) == "inconclusive"
    assert "of calls beyond 1.5 medians" in words(loud)


def test_slow_calls_below_the_floor_never_count():
    assert status(steady(10, tail=0.05, a_ms=0.008), replace(PLAN, floor_us=5.0)) == "passed"


def test_passing_must_be_earned():
    wide = duel(*(launch(0.04 if i % 2 else -0.03) for i in range(10)))

    assert status(wide, admission=None) == "inconclusive"
    assert "quieter machine" in words(wide, admission=None)


def test_what_lies_between_margin_and_limit_says_what_would_decide():
    between = [launch(0.014 + (0.004 if i % 2 else -0.004)) for i in range(10)]

    found = judge_duel(PLAN, duel(*between), Admission(0.004, 10, 0.01), {"median": 0.2, "tail": 1.0})
    assert found[1] == "passed"
    between = [launch(0.018 + (0.004 if i % 2 else -0.004)) for i in range(10)]
    found = judge_duel(PLAN, duel(*between), Admission(0.004, 10, 0.01), {"median": 0.2, "tail": 1.0})
    assert found[1] == "inconclusive"
    assert "a latency.regression above 2.1" in found[2]


def test_improved_is_a_bound_below_minus_the_margin():
    assert status(steady(10, -0.03)) == "improved"
    assert status(steady(2, -0.03)) == "improved"
    assert status(steady(10, -0.009)) == "passed"
    assert status(steady(10, -0.03), replace(PLAN, floor_us=20.0)) == "passed"


@pytest.mark.parametrize("count", [2, 5, 9])
def test_an_advisory_case_that_seems_much_slower_is_timed_up_to_the_last_look(count):
    assert wanted(steady(count, 5.0), PLAN, HOPELESS) > 0
    assert status(steady(count, 5.0), admission=HOPELESS) == "inconclusive"
    assert wanted(steady(count, 0.2), PLAN, HOPELESS) == 0  # less than what is found of such a case


def test_an_advisory_case_fails_if_it_is_surely_slower_than_what_is_found_of_it():
    checks, found, told = decide(steady(10, 1.0), admission=HOPELESS)

    assert found == "regressed"
    assert {check.name: check.ok for check in checks} == {"latency/regression": False, "latency/tail": True}
    assert f"slower by more than the {HOPELESS.mde:.2%}" in told
    assert status(steady(10, 0.35), admission=HOPELESS) == "inconclusive"  # its lower bound is below
    assert status(steady(10, 1.0, a_ms=0.001), replace(PLAN, floor_us=5.0), HOPELESS) == "passed"


def test_a_case_that_repeats_too_badly_is_advisory():
    for change in (-0.5, 0.0, 0.03):
        checks, found, told = decide(steady(10, change), admission=HOPELESS)
        assert found == "inconclusive"
        assert "advisory" in told
        assert all(check.ok for check in checks)
    assert wanted(steady(2), PLAN, HOPELESS) == 0


def test_a_wider_limit_admits_a_case_and_a_narrower_one_does_not():
    some = Admission(0.004, 10, mde(0.004))

    assert status(steady(10), admission=some) == "passed"
    assert "advisory" in words(steady(10), STRICT, some)


@pytest.mark.parametrize("launches", [2, 5, 10])
def test_a_limit_that_no_launches_can_resolve_is_raised_to_the_smallest_that_they_can(launches):
    tiny, least = replace(PLAN, regression=0.003, floor_us=0.0), smallest_limit(launches)
    quiet = Admission(0.0002, launches, 0.0)

    assert mde(SMALLEST_SD, least, launches=launches) == pytest.approx(least)
    assert mde(SMALLEST_SD, 0.99 * least, launches=launches) > 0.99 * least
    told = words(duel(*[launch()] * 10), tiny, quiet)
    assert f"limit {least:+.2%}, raised from +0.30%: the smallest that can be resolved" in told
    assert status(duel(*[launch()] * 10), tiny, quiet) == "passed"
    assert status(duel(*[launch(0.01)] * 10), tiny, quiet) == "regressed"
    assert "raised" not in words(steady(10), STRICT)


def test_a_wide_limit_lets_a_case_decide_that_repeats_badly():
    assert status(steady(10), replace(PLAN, regression=1.0), HOPELESS) == "passed"


def test_spoiled_launches_never_count():
    clean = steady(10).launches
    spoiled = [launch(5.0, 0.9, spoiled="the GPU ran hot") for _ in range(3)]
    nothing = replace(launch(), log_ratio=math.nan)

    with_them, without = decide(duel(*spoiled, *clean, nothing)), decide(duel(*clean))
    assert with_them[1] == without[1]
    assert [(one.value, one.limit, one.ok) for one in with_them[0]] == [(c.value, c.limit, c.ok) for c in without[0]]


def test_too_few_clean_launches_decide_nothing_and_say_why():
    spoiled = [launch(spoiled="kept waiting for the CPU") for _ in range(5)]

    assert status(duel(*spoiled)) == "inconclusive"
    assert words(duel(*spoiled)) == "0 of 5 launches are evidence; 5 spoiled: kept waiting for the CPU"
    slow = duel(*spoiled * 2, *steady(5, 0.05).launches)
    assert status(slow) == "inconclusive"
    assert "8 clean launches are needed to decide; 10 spoiled: kept waiting" in words(slow)
    assert status(duel(*spoiled, *spoiled[:2], *steady(8, 0.05).launches)) == "regressed"


def test_the_launches_wanted_lead_from_look_to_look():
    assert wanted(duel(), PLAN, QUIET) == 2
    assert wanted(duel(launch(), launch(spoiled="hot")), PLAN, QUIET) == 1
    assert wanted(steady(2), PLAN, QUIET) == 0
    assert wanted(steady(2, 0.03), PLAN, QUIET) == 3
    assert wanted(steady(5, 0.03), PLAN, QUIET) == 5
    assert wanted(steady(10, 0.03), PLAN, QUIET) == 0
    assert wanted(duel(*steady(7, 0.03).launches, *[launch(spoiled="hot")] * 3), PLAN, QUIET) == 3
    assert wanted(duel(*[launch(spoiled="hot")] * MOST), PLAN, QUIET) == 0


def test_the_variance_is_pulled_towards_that_of_the_admission():
    lucky = duel(*[launch(0.012)] * 10)  # ten times the same: no spread of their own

    some = Admission(0.004, 10, mde(0.004))
    assert p_values(lucky, PLAN, some)["median"] > p_values(lucky, PLAN, None)["median"]
    ten, three = Admission(0.01, 10, 0.05), Admission(0.01, 3, 0.05)
    wide = replace(PLAN, regression=0.05)
    fast = duel(*[launch(0.03)] * 10)
    assert p_values(fast, wide, ten)["median"] > p_values(fast, wide, three)["median"]


def test_p_is_that_of_the_t_test_where_nothing_was_known():
    ratios = [0.011, 0.013, 0.019, 0.008, 0.015, 0.021, 0.010, 0.012, 0.017, 0.014]
    asked = duel(*(launch(math.expm1(ratio)) for ratio in ratios))
    from scipy.stats import ttest_1samp

    expected = ttest_1samp(ratios, math.log1p(0.01), alternative="greater").pvalue
    assert p_values(asked, PLAN, None)["median"] == pytest.approx(expected)


def test_admission_is_the_spread_of_launches_against_themselves():
    ratios = [0.001, -0.002, 0.003, 0.0, -0.001]
    found = admit(duel(*(launch(math.expm1(one)) for one in ratios), launch(9.0, spoiled="hot")), PLAN)

    assert found == Admission(pytest.approx(stats.spread(ratios)), 5, mde(found.sd, launches=5))
    assert admit(duel(launch()), PLAN) is None


def test_an_admission_of_fewer_launches_finds_less():
    assert mde(0.002, launches=2) > mde(0.002, launches=5) > mde(0.002) == mde(0.002, launches=15)


def test_an_admission_counts_for_two_launches_less_than_it_has():
    asked = duel(*[launch(0.02)] * 10)
    df, sd = 9 + 3, math.sqrt(3 / 12) * 0.005  # its own launches do not differ at all
    t = (math.log(1.02) - math.log(1.01)) / (sd / math.sqrt(10))

    found = p_values(asked, PLAN, Admission(0.005, 5, 0.01))["median"]
    assert found == pytest.approx(stats.student_tail(t, df))


def in_turns(ratios):
    return duel(*(launch(math.expm1(ratio), first="ab"[i % 2]) for i, ratio in enumerate(ratios)))


def test_what_the_order_of_creation_is_worth_counts_for_neither_side():
    wobble = [0.0004, -0.0003, 0.0, 0.0002, -0.0004, 0.0001, 0.0003, -0.0002, 0.0, -0.0001]
    ordered = in_turns([one + (0.005 if i % 2 else -0.005) for i, one in enumerate(wobble)])

    assert admit(ordered, PLAN).sd == pytest.approx(admit(in_turns(wobble), PLAN).sd)
    assert admit(ordered, PLAN).mde < math.expm1(0.015)
    found = weigh(ordered, PLAN, QUIET).ratio
    assert found.mean == pytest.approx(weigh(in_turns(wobble), PLAN, QUIET).ratio.mean)
    assert found.error == pytest.approx(weigh(in_turns(wobble), PLAN, QUIET).ratio.error)


def test_a_mean_of_both_orders_and_its_t_are_those_of_a_linear_model():
    ratios, orders = [0.012, 0.018, 0.011, 0.02, 0.013], "ababa"
    from numpy.linalg import inv, lstsq
    from scipy.stats import t

    design = np.array([[1, 1 if one == "a" else -1] for one in orders], float)
    (mean, _), (residual,), *_ = lstsq(design, np.array(ratios), rcond=None)
    error = math.sqrt(residual / 3 * inv(design.T @ design)[0, 0])

    p = weigh(in_turns(ratios), PLAN, None).ratio.p(math.log1p(0.01))
    assert p == pytest.approx(t.sf((mean - math.log1p(0.01)) / error, 3))


def test_two_launches_that_contradict_each_other_do_not_let_a_case_go():
    assert weigh(in_turns([0.001, 0.003]), PLAN, None).ratio.df == 1
    assert weigh(in_turns([0.10, -0.10]), PLAN, QUIET).acquitted is False
    assert weigh(in_turns([0.004, -0.004]), PLAN, QUIET).acquitted is True


def test_a_case_of_which_launches_failed_does_not_pass():
    failed = replace(steady(2), failures=("oom in time: out of memory",))

    assert status(failed) == "inconclusive"
    assert "1 launch failed, so it does not pass: oom in time: out of memory" in words(failed)
    slow = replace(steady(10, 0.05), failures=("crash in time: signal 11",) * 2)
    assert status(slow) == "regressed"
    assert "2 launches failed" in words(slow)


def test_the_same_launches_give_the_same_decision():
    assert decide(steady(10, 0.02)) == decide(steady(10, 0.02))


def test_holm_is_that_of_the_textbook():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.5))
def test_holm_rejects_what_stepping_down_rejects(p, alpha):
    rejected, left = set(), sorted(range(len(p)), key=lambda place: p[place])
    for step, place in enumerate(left):
        if (len(p) - step) * p[place] >= alpha:
            break
        rejected.add(place)

    assert {place for place, value in enumerate(stats.holm(p)) if value < alpha} == rejected


@settings(max_examples=60)
@given(st.lists(st.floats(-0.05, 0.1), min_size=10, max_size=10), st.floats(0.0, 0.05))
def test_slower_launches_are_never_judged_better(changes, more):
    order = ["improved", "passed", "inconclusive", "regressed"]
    before = status(duel(*(launch(one) for one in changes)))
    after = status(duel(*((launch((1 + one) * (1 + more) - 1)) for one in changes)))

    assert order.index(after) >= order.index(before)


@settings(max_examples=60)
@given(st.lists(st.floats(-0.3, 3.0), min_size=0, max_size=12), st.sampled_from([None, QUIET, HOPELESS]))
def test_a_failure_and_a_pass_are_what_their_checks_say(changes, admission):
    checks, found, told = decide(duel(*(launch(one) for one in changes)), admission=admission)

    assert (found == "regressed") == any(not check.ok for check in checks)
    assert told
    if found in ("passed", "improved"):
        assert admission is not HOPELESS


def simulated(change, tail, rng, sd, heavy):
    """Ten launches of a machine with slow moments: one launch in twenty is `heavy` times as far off."""
    return [
        launch(
            math.expm1(math.log1p(change) + rng.gauss(0, sd) * (heavy if rng.random() < 0.05 else 1)),
            tail + rng.gauss(0, 0.003),
        )
        for _ in range(LOOKS[-1])
    ]


def shares(change, *, sd=0.0018, tail=0.0, heavy=3, count=400, plan=PLAN, seed=7):
    """Shares of decisions on admitted cases by status, and launches each took; every suite has 200 cases."""
    rng, found, taken = random.Random(seed), [], 0
    for _ in range(count):
        history = [one.log_ratio for one in simulated(0.0, 0.0, rng, sd, heavy)]
        admission = Admission(stats.spread(history), 10, mde(stats.spread(history)))
        if mde(admission.sd, plan.regression or 0.02) > (plan.regression or 0.02):
            continue  # not admitted
        launches = simulated(change, tail, rng, sd, heavy)
        for look in LOOKS:
            asked = duel(*launches[:look])
            if wanted(asked, plan, admission) == 0:
                break
        taken += len(asked.launches)
        found.append(status(asked, plan, admission, among=200))
    return {one: found.count(one) / len(found) for one in set(found)}, taken / len(found)


@pytest.mark.parametrize("sd", [0.0018, 0.0032])
def test_unchanged_code_raises_no_alarm_and_takes_two_launches(sd):
    found, launches = shares(0.0, sd=sd)

    assert "regressed" not in found
    assert found["passed"] > 0.98
    assert launches < 2.2


@pytest.mark.parametrize(("change", "least"), [(0.02, 0.95), (0.03, 0.99), (0.05, 0.999), (0.10, 0.999)])
def test_slowdowns_from_the_limit_on_are_found(change, least):
    found, _ = shares(change)

    assert found.get("regressed", 0) >= least
    assert change <= 0.02 or "passed" not in found


def test_the_strict_profile_finds_one_percent():
    found, _ = shares(0.01, plan=STRICT)

    assert found["regressed"] >= 0.9


def test_slow_calls_are_found_and_uniform_slowness_is_none():
    assert shares(0.0, tail=0.05)[0]["regressed"] >= 0.95
    asked = duel(*simulated(0.10, 0.0, random.Random(1), 0.0018, 3))
    checks, _, _ = decide(asked)
    assert next(check for check in checks if check.name == "latency/tail").ok


@pytest.mark.parametrize("sd", [0.001, 0.0018, 0.005])
def test_the_smallest_slowdown_that_is_found_is_found_19_times_of_20(sd):
    rng, plan, hits = random.Random(11), replace(PLAN, regression=0.02), 0
    for _ in range(2000):
        asked = duel(*(launch(math.expm1(math.log1p(mde(sd)) + rng.gauss(0, sd))) for _ in range(10)))
        hits += status(asked, plan, Admission(sd, 10, mde(sd)), among=24) == "regressed"  # 50 hypotheses

    assert 0.935 < hits / 2000 < 0.965


def test_launches_of_a_cell_with_two_modes_are_no_alarm():
    rng, plan = random.Random(5), PLAN
    modes = [launch(rng.choice([-0.45, 0.0, 0.0, 0.8])) for _ in range(10)]
    admission = admit(duel(*modes), plan)

    for _ in range(200):
        asked = duel(*(launch(rng.choice([-0.45, 0.0, 0.0, 0.8])) for _ in range(10)))
        assert status(asked, plan, admission) == "inconclusive"
        assert status(asked, plan, None, among=200) not in ("regressed", "passed")


def test_a_headline_tells_how_many_launches_were_spoiled_and_replaced():
    spoiled = launch(spoiled="others kept the CPU")

    told = words(duel(spoiled, spoiled, launch(), launch()))

    assert "2 launches in turns with accepted artefact 1a2b3c4d, 2 spoiled ones replaced;" in told
