"""Throughput: iterations in flight on several streams, as many as the GPU finishes in a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter

from harness.backends.base import Step
from harness.errors import CaseError
from harness.records import LatencyPlan
from harness.timing.events import Events
from harness.timing.laps import uncollected
from harness.timing.settle import AGREEING, has_settled

MAX_WARMUP_FACTOR = 10.0
"""As of a window of latencies: at most so many times `warmup_s`."""


class Lane:
    """One step with at most `depth` iterations in flight."""

    def __init__(self, step: Step, events: Events, depth: int) -> None:
        self._step, self._events = step, events
        self._free = deque(range(depth))
        self._flying: deque[int] = deque()

    def enqueue(self) -> None:
        """One iteration more; waits for the oldest where too many are in flight."""
        if not self._free:
            self._wait()
        self._step.run(1)
        self._events.mark(self._free[0])
        self._flying.append(self._free.popleft())

    def drain(self) -> None:
        """Wait for all."""
        while self._flying:
            self._wait()

    def _wait(self) -> None:
        self._events.wait(self._flying[0])
        self._free.append(self._flying.popleft())


def throughput(steps: Sequence[Step], plan: LatencyPlan, clock: Callable[[], float] = perf_counter) -> float:
    """Iterations a second of steps on streams of their own, `plan.depth` in flight on each; settled first."""
    with ExitStack() as held, uncollected():
        lanes = [Lane(step, held.enter_context(_events(step, plan.depth)), plan.depth) for step in steps]
        rates: list[float] = []
        begun = clock()
        while not has_settled(rates) and clock() - begun < plan.warmup_s * MAX_WARMUP_FACTOR:
            rates.append(_rate(lanes, plan.warmup_s / AGREEING, 1, clock))
        return _rate(lanes, plan.min_time_s, plan.min_count, clock)


def _events(step: Step, depth: int) -> Events:
    if step.stream is None:
        raise CaseError("throughput is measured on a GPU's streams, and this step has none")
    return Events(step.stream, depth)


def _rate(lanes: Sequence[Lane], least_s: float, count: int, clock: Callable[[], float]) -> float:
    """Finished iterations over the time until the last one was."""
    start, rounds = clock(), 0
    while rounds * len(lanes) < count or clock() - start < least_s:
        for lane in lanes:
            lane.enqueue()
        rounds += 1
    for lane in lanes:
        lane.drain()
    return rounds * len(lanes) / (clock() - start)
