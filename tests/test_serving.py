"""Load: queues behave as queueing theory says, nothing that waited is left out, and a search finds the highest rate."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest

from harness import stats
from harness.backends.base import Step
from harness.records import LatencyPlan, MultiStream, Server
from harness.timing.lanes import LEAD_S, LocalLane, ScriptedLane, closed_loop, lanes, open_loop
from harness.timing.scenarios import at_most_ms, multi_stream, offline, sample_s, single_stream
from harness.timing.search import MOST_PER_S, PRECISION, highest_rate
from harness.timing.server import arrivals_s, attempt, server

SERVICE_MS = 1.0
TIMING = LatencyPlan(min_time_s=1.0, min_count=64, warmup_s=0.0)


def constant(count=1):
    return [ScriptedLane(lambda: SERVICE_MS) for _ in range(count)]


def exponential(count, seed=1):
    rng = np.random.default_rng(seed)
    return [ScriptedLane(lambda: float(rng.exponential(SERVICE_MS))) for _ in range(count)]


def waits(served, rate_per_s, count=200_000):
    """Waiting times in ms, without the time of the first arrivals, and the standard error of their mean."""
    found = np.array(open_loop(served, arrivals_s(rate_per_s, count, seed=3)))[count // 20 :] * 1e3 - SERVICE_MS
    batches = [batch.mean() for batch in np.array_split(found, 40)]
    return found, float(np.std(batches, ddof=1)) / math.sqrt(len(batches))


def erlang_c(servers, load):
    """Share of queries that wait in M/M/c (Erlang, 1917)."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


def md1_at_most(wait_ms, rate_per_ms):
    """Share of queries that wait no longer in M/D/1 (Erlang, 1909)."""
    terms = (
        (-rate_per_ms * (wait_ms - k * SERVICE_MS)) ** k
        / math.factorial(k)
        * math.exp(rate_per_ms * (wait_ms - k * SERVICE_MS))
        for k in range(math.floor(wait_ms / SERVICE_MS) + 1)
    )
    return (1 - rate_per_ms * SERVICE_MS) * sum(terms)


@pytest.mark.parametrize("use", [0.3, 0.5, 0.8, 0.9])
def test_constant_service_waits_as_long_as_pollaczek_and_khinchine_say(use):
    found, error = waits(constant(), use / SERVICE_MS * 1e3)
    expected = use * SERVICE_MS / (2 * (1 - use))

    assert error < 0.05 * expected  # or the next line would say little
    assert abs(found.mean() - expected) < 4 * error


@pytest.mark.parametrize("wait_ms", [0.5, 1.5, 3.0, 6.0])
def test_the_waits_of_constant_service_are_distributed_as_erlang_says(wait_ms):
    found, _ = waits(constant(), 700.0)

    assert np.mean(found <= wait_ms) == pytest.approx(md1_at_most(wait_ms, 0.7), abs=0.01)


@pytest.mark.parametrize(("servers", "use"), [(1, 0.7), (2, 0.7), (4, 0.8)])
def test_several_lanes_wait_as_long_as_one_queue_with_so_many_servers(servers, use):
    found, error = waits(exponential(servers), use * servers / SERVICE_MS * 1e3)
    expected = erlang_c(servers, use * servers) * SERVICE_MS / (servers * (1 - use))

    assert error < 0.05 * expected
    assert abs(found.mean() - expected) < 4 * error


def test_arrivals_are_poisson_at_their_rate_and_the_same_ones_at_every_rate():
    slow, fast = (np.array(list(arrivals_s(rate, 100_000, seed=0))) for rate in (10.0, 40.0))
    counts = np.bincount(np.floor(slow).astype(int))[: int(slow[-1])]

    assert np.allclose(slow, 4 * fast)
    assert counts.mean() == pytest.approx(10, rel=0.02)
    assert counts.var() == pytest.approx(10, rel=0.05)
    assert list(arrivals_s(10.0, 5, seed=0)) != list(arrivals_s(10.0, 5, seed=1))


def test_arrivals_are_drawn_as_one_process_however_few_at_a_time():
    whole = np.cumsum(np.random.default_rng(3).exponential(size=5000)) / 7.0

    np.testing.assert_array_equal(list(arrivals_s(7.0, 5000, seed=3)), whole)


def test_a_trial_takes_no_memory_for_arrivals_that_are_not_due_yet():
    tracemalloc.start()
    open_loop(constant(), arrivals_s(1e6, 10**9, seed=0), bound_s=1e-9, may_exceed=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20  # all of them: 8 GB


def test_a_latency_takes_the_memory_of_a_number():
    tracemalloc.start()
    found = open_loop(constant(), arrivals_s(500.0, 100_000, seed=0), bound_s=1e9)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == 100_000
    assert held < 1.3 * 8 * 100_000


def test_a_stall_is_paid_by_every_query_that_it_kept_waiting():
    """A loop that sends a query when the last is answered would see one slow query of all."""
    durations = iter([1.0] * 100 + [200.0] + [1.0] * 400)
    found = open_loop([ScriptedLane(lambda: next(durations))], [number / 200 for number in range(500)])  # each 5 ms

    assert sum(latency > 0.1 for latency in found) == 25  # 200 ms, and 4 ms less for each query after it
    assert found[101] == pytest.approx(0.196)


def test_a_stall_of_a_real_lane_is_paid_by_every_query_that_it_kept_waiting():
    calls = iter(range(100))
    stalled = LocalLane(Step(lambda _: time.sleep(0.2 if next(calls) == 10 else 0)), None)
    found = open_loop([stalled], [number / 200 for number in range(80)])

    assert len(found) == 80
    assert 20 <= sum(latency > 0.09 for latency in found) <= 40  # 22 on a machine with nothing else to do


def test_real_lanes_answer_side_by_side():
    made = [LocalLane(Step(lambda _: time.sleep(0.05)), None) for _ in range(4)]

    assert max(open_loop(made, [0.0] * 8)) < 0.3  # one after the other: 0.4


def test_no_query_is_answered_before_it_is_due():
    sent = []
    lane = LocalLane(Step(lambda _: sent.append(time.perf_counter())), None)
    begin = time.perf_counter()
    open_loop([lane], [0.0, 0.02, 0.021])

    assert [moment - begin >= LEAD_S + due for moment, due in zip(sent, (0.0, 0.02, 0.021), strict=True)] == [True] * 3


def test_an_error_of_one_lane_ends_the_others_and_is_told():
    answered = []

    def broken(_):
        raise OSError("gone")

    def slow(_):
        answered.append(1)
        time.sleep(0.01)

    with pytest.raises(OSError, match="gone"):
        open_loop([LocalLane(Step(slow), None), LocalLane(Step(broken), None)], [0.0] * 1000)
    assert len(answered) < 500


def test_a_trial_ends_when_it_cannot_hold_any_more():
    found = open_loop(constant(), [0.0] * 1000, bound_s=0.1, may_exceed=5)

    assert sum(latency > 0.1 for latency in found) == 6
    assert len(found) < 120


def test_a_query_of_several_samples_is_answered_with_the_last_of_them():
    assert closed_loop(constant(2), 5, least_s=0, count=3, most_s=9) == pytest.approx([3e-3] * 3)
    assert multi_stream(constant(), MultiStream(samples=8), TIMING, 60).measures == {
        "multi_stream_p99_ms": pytest.approx(8.0)
    }


def test_lanes_share_a_query_when_they_are_real():
    made = [LocalLane(Step(lambda count: time.sleep(0.03 * count)), None) for _ in range(2)]

    assert max(closed_loop(made, 4, least_s=0, count=3, most_s=9)) < 0.1  # one alone: 0.12


def test_a_single_stream_has_the_samples_that_its_percentile_needs():
    shown = single_stream(constant(), LatencyPlan(min_time_s=0.001, min_count=1), 60)

    assert [trial.queries for trial in shown.trials] == [stats.samples_for(0.9)]
    assert shown.measures == {"single_stream_p90_ms": pytest.approx(1.0)}


def test_too_few_queries_tell_no_percentile():
    shown = single_stream(constant(), TIMING, 0.02)

    assert shown.measures == {"single_stream_p90_ms": None}
    assert shown.notes == (
        "serving: single_stream: 20 queries in 0.02 s are too few for a p90: it needs 64, and a longer max_time_s "
        "gives more",
    )


def test_offline_is_the_rate_of_all_lanes_together():
    assert offline(constant(4), 1e-3, TIMING, 60).measures["offline_per_s"] == pytest.approx(4000, rel=0.01)


def test_offline_ends_in_its_time_where_lanes_hinder_each_other():
    """Each answers in 1 ms when it is alone, and takes 20 beside the others."""
    beside = [ScriptedLane(lambda: 20.0) for _ in range(4)]
    shown = offline(beside, 1e-3, TIMING, 2)

    assert max(lane.now() for lane in beside) < 2.1
    assert shown.measures["offline_per_s"] == pytest.approx(200, rel=0.02)
    assert shown.trials[0].queries < 4000


def test_too_few_samples_tell_no_offline_rate():
    shown = offline([ScriptedLane(lambda: 400.0)], 0.4, TIMING, 2)

    assert shown.measures == {"offline_per_s": None}
    assert shown.notes == (
        "serving: offline: 6 samples in 2 s are too few for a rate, and a longer max_time_s gives more",
    )


@pytest.mark.parametrize(("count", "share", "allowed"), [(662, 0.99, 1), (459, 0.99, 0), (458, 0.99, -1), (64, 0.9, 1)])
def test_as_many_may_lie_above_a_limit_as_loadgen_lets(count, share, allowed):
    assert stats.may_exceed(count, share) == allowed


def test_a_percentile_is_told_as_what_it_is_at_most():
    assert at_most_ms([0.001, 0.003, 0.002], 1) == pytest.approx(2.0)
    assert at_most_ms([0.001], -1) is None
    assert at_most_ms([0.001], 1) is None


@pytest.mark.parametrize("limit", [0.3, 7.0, 640.0, 12_345.6])
@pytest.mark.parametrize("start", [10.0, 640.0])
def test_a_search_finds_the_highest_rate(limit, start):
    asked = []
    found = highest_rate(lambda rate: asked.append(rate) or rate <= limit, start, least=0.01)

    assert found.whole
    assert found.held <= limit < found.failed <= found.held * (1 + PRECISION)
    assert len(asked) <= 2 + abs(math.log2(limit / start)) + 6
    assert asked[0] == start


def test_a_search_tells_that_no_rate_holds_that_all_do_and_that_its_time_was_over():
    none = highest_rate(lambda _: False, 100, least=10)
    every = highest_rate(lambda _: True, 100, least=10)
    kept = iter([True, None])
    cut = highest_rate(lambda _: next(kept), 100, least=10)

    assert (none.held, none.whole) == (None, True)
    assert (every.held, every.failed, every.whole) == (MOST_PER_S, None, True)
    assert (cut.held, cut.failed, cut.whole) == (100, None, False)


def test_the_highest_rate_of_the_server_is_that_of_the_theory():
    """p99 of M/D/1: the rate at which a query waits no more than bound - service in 99 of 100 cases."""
    shown = server(constant(), 1e-3, Server(p99_ms=5.0), LatencyPlan(min_time_s=200.0), 1e9)
    rates = np.linspace(0.1, 0.99, 2000)
    highest = 1e3 * max(rate for rate in rates if md1_at_most(5.0 - SERVICE_MS, rate) >= 0.99)

    assert shown.measures["server_per_s"] == pytest.approx(highest, rel=0.04)
    assert f"{shown.measures['server_per_s']:.4g}/s keeps p99 <= 5 ms" in shown.notes[0]


def test_the_same_times_give_the_same_trials():
    first, second = (server(exponential(2), 5e-4, Server(p99_ms=5.0), TIMING, 1e9) for _ in range(2))

    assert first == second
    assert len(first.trials) > 3


def test_the_rate_that_must_hold_is_itself_tried():
    shown = server(constant(), 1e-3, Server(p99_ms=5.0, min_per_s=123.0), TIMING, 1e9)

    assert shown.trials[0].rate_per_s == 123.0


def test_a_bound_below_the_service_time_is_kept_at_no_rate():
    shown = server(constant(), 1e-3, Server(p99_ms=0.9), TIMING, 1e9)

    assert shown.measures == {"server_per_s": 0.0}
    assert shown.notes[0].startswith("serving: server: no rate was seen to keep p99 <= 0.9 ms, ")


def test_lanes_on_one_processor_are_tried_at_rates_that_one_lane_could_answer():
    """64 of them answer no more than one; a hundredth of what they could answer alone would be 640/s."""
    one = ScriptedLane(lambda: SERVICE_MS)
    shown = server([one] * 64, 1e-3, Server(p99_ms=2.5), TIMING, 1e9)

    assert 40 < shown.measures["server_per_s"] < 160


def test_a_search_without_time_tells_nothing():
    shown = server(constant(), 1e-3, Server(p99_ms=5.0), TIMING, 0.5)

    assert shown.measures == {"server_per_s": None}
    assert shown.trials == ()
    assert "max_time_s" in shown.notes[0]


@pytest.mark.parametrize(("rate", "holds"), [(500.0, True), (2000.0, False)])
def test_a_given_rate_is_the_only_one_that_is_tried(rate, holds):
    shown = server(constant(), 1e-3, Server(p99_ms=20.0, rate_per_s=rate), TIMING, 60)

    assert [(trial.rate_per_s, trial.holds) for trial in shown.trials] == [(rate, holds)]
    assert (shown.measures["server_p99_ms"] <= 20.0) is holds


def test_a_trial_holds_only_when_loadgens_rule_allows_its_late_queries():
    """1 of 662 may be late; with two late ones a p99 by nearest rank would still be inside the bound."""

    def trial(late):
        durations = iter([1.0] * 300 + [9.0] * late + [1.0] * 1000)
        plan = Server(p99_ms=8.0)
        return attempt([ScriptedLane(lambda: next(durations))], plan, 0.5, LatencyPlan(min_time_s=0.1))

    assert [(trial(late).over, trial(late).holds) for late in (1, 2)] == [(1, True), (2, False)]


def test_the_lanes_of_scripted_steps_have_scripted_clocks():
    with lanes([Step(lambda _: None, scripted_ms=lambda: 2.0), Step(lambda _: None)]) as made:
        assert [lane.scripted for lane in made] == [True, False]
        assert sample_s(made[:1], 0.0, 60) == pytest.approx(2e-3)
