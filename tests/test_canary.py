"""The canary of a process: one measurement stands for the machine for some seconds, on each device."""

from __future__ import annotations

from harness.timing.canary import FRESH_S, Canary
from harness.timing.loop import quantiles


def test_it_is_measured_again_only_when_it_is_no_longer_fresh():
    now, asked = [100.0], []

    def measured(device):
        asked.append(device)
        return quantiles([float(len(asked))])

    canary = Canary(measured, lambda: now[0])

    assert [canary.p10_ms("cpu"), canary.p10_ms("cpu"), canary.p10_ms("cuda")] == [1.0, 1.0, 2.0]
    now[0] += FRESH_S + 0.1
    assert canary.p10_ms("cpu") == 3.0
    assert asked == ["cpu", "cuda", "cpu"]


def test_the_quantile_is_the_tenth_percentile():
    assert Canary(lambda _: quantiles([float(ms) for ms in range(1, 101)])).p10_ms("cpu") == 10.0
