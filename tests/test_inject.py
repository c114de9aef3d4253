"""Injected slowdowns: exact on scripted clocks and with a scripted kernel. No test judges time."""

from __future__ import annotations

import math
import time

import pytest

from clocks import Stream, scripted
from harness.backends.base import Step
from harness.errors import CaseError
from harness.timing.duel import DuelSettings, duel
from harness.timing.evidence import Watch
from harness.timing.inject import calibrated, slowed, tail
from harness.timing.sides import LocalSide


@pytest.fixture
def stream(monkeypatch):
    """A stream with a scripted clock; a step takes 100 us."""
    made = Stream()
    monkeypatch.setattr("harness.timing.laps.Events", made.events)
    return made


def launch(stream):
    """A kernel that takes 2 us, and 2 ns for each multiply-add."""
    return lambda count: stream.takes(0.002 + 2e-6 * count)()


def test_a_scripted_step_becomes_slower_by_the_share():
    with slowed(scripted(2.0, 3.0), 0.05) as slow:
        assert LocalSide(slow).block(2).host_ms == pytest.approx((2.1, 3.15))


def test_a_duel_sees_what_was_injected():
    with slowed(scripted(1.0), 0.03) as slow:
        launch = duel(
            LocalSide(scripted(1.0)), LocalSide(slow), DuelSettings(min_pairs=10), first="a", watch=Watch(None)
        )

    assert launch.log_ratio == pytest.approx(math.log(1.03))
    assert launch.tail == 0


def test_a_tail_leaves_the_median_and_hits_its_share_of_iterations():
    with tail(scripted(1.0), 0.05, 2.0) as slow:
        times = LocalSide(slow).block(10_000).host_ms

    assert set(times) == {1.0, 2.0}
    assert sum(time == 2.0 for time in times) / 10_000 == pytest.approx(0.05, abs=0.01)


def test_a_tail_is_the_same_for_the_same_seed():
    def drawn(seed):
        with tail(scripted(1.0), 0.5, 2.0, seed) as slow:
            return LocalSide(slow).block(100).host_ms

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_host_waits_inside_what_is_timed():
    def spin(_: int) -> None:  # settles sooner than sleep
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass

    with slowed(Step(spin), 1.0) as slow:
        assert min(LocalSide(slow).block(5).host_ms) >= 3.9


def test_the_kernel_is_as_long_as_the_share_asks_for(stream):
    count = calibrated(Step(stream.takes(0.1), stream=1), launch(stream), 0.01)

    assert 0.002 + 2e-6 * count == pytest.approx(0.01)


def test_less_than_the_price_of_a_kernel_is_refused(stream):
    with pytest.raises(CaseError, match=r"1 us cannot be added .* an empty kernel alone takes 2 us"):
        calibrated(Step(stream.takes(0.1), stream=1), launch(stream), 0.001)
