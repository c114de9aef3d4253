"""The canary: fixed work, timed in turns with what a case is."""

from __future__ import annotations

import pytest

from harness.backends.base import Step
from harness.records import LatencyPlan
from harness.timing import loop
from harness.timing.canary import canary
from harness.timing.laps import Lap


class Turns:
    """A case and a canary on one clock, which tells who ran when."""

    def __init__(self, monkeypatch, case_ms: float, canary_ms: float) -> None:
        self.now, self.ran = 0.0, []
        monkeypatch.setattr(loop, "perf_counter", lambda: self.now)
        self.case, self.canary = (self._lap("case", case_ms), self._lap("canary", canary_ms))

    def _lap(self, name: str, took_ms: float):
        def lap() -> Lap:
            self.now += took_ms / 1e3
            self.ran.append(name)
            return Lap(took_ms, None)

        return lap

    def switches(self) -> int:
        return sum(one != other for one, other in zip(self.ran, self.ran[1:], strict=False))


def test_the_canary_takes_turns_with_the_case_for_a_tenth_of_the_time(monkeypatch):
    turns = Turns(monkeypatch, 1.0, 0.1)

    found, beside = loop.laps(turns.case, 1.0, 64, 30.0, turns.canary)

    assert sum(one.host_ms for one in found) == pytest.approx(1000, rel=0.01)
    assert sum(one.host_ms for one in beside) == pytest.approx(0.1 * 1000, rel=0.1)
    assert turns.switches() == pytest.approx(2 * 1000 / (1e3 * loop.TURN_S), abs=2)


def test_the_first_lap_after_a_switch_counts_on_neither_side(monkeypatch):
    turns = Turns(monkeypatch, 1.0, 0.1)

    found, beside = loop.laps(turns.case, 0.2, 1, 6.0, turns.canary)

    starts = turns.switches() + 1
    assert len(found) + len(beside) == len(turns.ran) - starts


def test_without_a_canary_every_lap_is_the_cases_own(monkeypatch):
    turns = Turns(monkeypatch, 1.0, 0.1)

    found, beside = loop.laps(turns.case, 0.1, 64, 6.0)

    assert (len(found), beside, set(turns.ran)) == (100, [], {"case"})


def test_of_a_slow_case_no_more_than_one_lap_in_eleven_is_dropped(monkeypatch):
    turns = Turns(monkeypatch, 1000.0, 0.1)

    found, beside = loop.laps(turns.case, 1.0, 64, 30.0, turns.canary)

    assert turns.ran.count("case") - len(found) in (3, 4)
    assert len(found) == pytest.approx(30, abs=1)
    assert len(beside) > 4 * 30


def test_a_latency_holds_the_tenth_percentile_of_its_canary():
    times = iter(range(1, 10**6))
    beside = Step(lambda _: None, scripted_ms=lambda: float(next(times) % 100 + 1))

    latency, _ = loop.window(Step(lambda _: None), LatencyPlan(min_time_s=0.05, warmup_s=0), beside)

    assert latency.canary_ms == pytest.approx(10, abs=1.5)  # the last hundred is cut off where the time is up


def test_the_canary_of_the_host_takes_time():
    with canary("cpu") as step:
        latency = loop.measure(step, LatencyPlan(min_time_s=0.02, warmup_s=0))

    assert latency.host.samples >= 64
    assert 0 < latency.host.p50_ms <= latency.host.p99_ms
