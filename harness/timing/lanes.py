"""Sessions that answer queries side by side: each takes the next query when it is free, and waits until it arrives.

That is a queue in the order of arrival with as many servers as there are lanes. A latency counts from the moment at
which its query was due, whether a lane was free then or not, so a stall is paid by all whom it kept waiting
("coordinated omission" is what leaves them out).
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Protocol

from harness.backends.base import Step
from harness.timing.events import Events
from harness.timing.laps import uncollected

SPIN_S = 0.2e-3
"""Before a query is due its lane wakes up and looks at the clock: a sleep ends up to 0.1 ms late."""
LEAD_S = 2e-3
"""From the start to the first arrival, so that every thread is there."""


def until(due_s: float) -> None:
    """Wait for a moment of the host's clock."""
    while (left_s := due_s - time.perf_counter()) > 0:
        time.sleep(left_s - SPIN_S if left_s > SPIN_S else 0)  # 0 lets other lanes run


class Lane(Protocol):
    """What answers one query after the other."""

    scripted: bool
    """Whether its clock moves by scripted durations alone."""

    def now(self) -> float:
        """Its clock, in seconds."""

    def serve(self, due_s: float, samples: int = 1) -> float:
        """Wait until a moment of its clock, infer that many samples, and tell when they were done."""


class ScriptedLane:
    """A lane on a clock of its own, which scripted durations move."""

    scripted = True

    def __init__(self, next_ms: Callable[[], float]) -> None:
        self._next_ms, self._now = next_ms, 0.0

    def now(self) -> float:
        """When it is free."""
        return self._now

    def serve(self, due_s: float, samples: int = 1) -> float:
        """Wait and infer, in no time at all."""
        self._now = max(self._now, due_s) + sum(self._next_ms() for _ in range(samples)) / 1e3
        return self._now


class LocalLane:
    """A bound step of this process; on a GPU its answer is there when its stream has done all."""

    scripted = False

    def __init__(self, step: Step, events: Events | None) -> None:
        self._run, self._events = step.run, events

    def now(self) -> float:
        """The host's clock."""
        return time.perf_counter()

    def serve(self, due_s: float, samples: int = 1) -> float:
        """Wait, infer, and wait for the answer."""
        until(due_s)
        self._run(samples)
        if self._events is not None:
            self._events.mark(0)
            self._events.wait(0)
        return time.perf_counter()


@contextmanager
def lanes(steps: Sequence[Step]) -> Iterator[list[Lane]]:
    """A lane for each step; the garbage collector rests meanwhile."""
    with ExitStack() as held, uncollected():
        made: list[Lane] = []
        for step in steps:
            if scripted_ms := step.scripted_load_ms or step.scripted_ms:
                made.append(ScriptedLane(scripted_ms))
                continue
            events = None if step.stream is None else held.enter_context(Events(step.stream, 1))
            made.append(LocalLane(step, events))
        yield made


class _Queue:
    """Queries in the order in which they are due; it closes once too many answers were late."""

    def __init__(self, due_s: Iterator[float], bound_s: float, may_exceed: int) -> None:
        self._due, self._bound_s, self._left = due_s, bound_s, may_exceed
        self._lock = Lock()
        self.latencies_s = array("d")

    def take(self) -> float | None:
        """When the next query is due; None when there is none."""
        with self._lock:
            return next(self._due, None) if self._left >= 0 else None

    def answered(self, due_s: float, done_s: float) -> None:
        """One answer."""
        with self._lock:
            self.latencies_s.append(done_s - due_s)
            self._left -= done_s - due_s > self._bound_s

    def close(self) -> None:
        """No query is given out any more."""
        with self._lock:
            self._left = -1


def open_loop(
    lanes: Sequence[Lane], arrivals_s: Iterable[float], bound_s: float = float("inf"), may_exceed: int = 0
) -> Sequence[float]:
    """Latencies in seconds of queries that arrive at these times from the start, whether the last is answered or not.

    Ends early once more than `may_exceed` are above the bound.
    """
    begin = max(lane.now() for lane in lanes) + LEAD_S
    queue = _Queue((begin + arrival for arrival in arrivals_s), bound_s, may_exceed)
    if lanes[0].scripted:
        while (due_s := queue.take()) is not None:
            free = min(lanes, key=lambda lane: lane.now())
            queue.answered(due_s, free.serve(due_s))
    elif len(lanes) == 1:
        _work(lanes[0], queue)
    else:
        with ThreadPoolExecutor(len(lanes)) as threads:
            for worker in [threads.submit(_work, lane, queue) for lane in lanes]:
                worker.result()
    return queue.latencies_s


def _work(lane: Lane, queue: _Queue) -> None:
    try:
        while (due_s := queue.take()) is not None:
            queue.answered(due_s, lane.serve(due_s))
    finally:
        queue.close()  # after an error the others need not go on


def closed_loop(lanes: Sequence[Lane], samples: int, *, least_s: float, count: int, most_s: float) -> list[float]:
    """Latencies in seconds of queries of so many samples, each sent when the last is answered.

    The lanes share a query's samples evenly, and it is answered with the last of them. Goes on until time and count
    are both reached, or until `most_s`.
    """
    shares = [(lane, len(range(number, samples, len(lanes)))) for number, lane in enumerate(lanes)]
    busy = [(lane, share) for lane, share in shares if share]
    found: list[float] = []
    with ThreadPoolExecutor(len(busy)) as threads:
        apply = map if lanes[0].scripted or len(busy) == 1 else threads.map
        begin = sent = max(lane.now() for lane, _ in busy)
        while (len(found) < count or sent - begin < least_s) and sent - begin < most_s:
            found.append(max(apply(partial(_serve, sent), busy)) - sent)
            sent = max(lane.now() for lane, _ in busy)
    return found


def _serve(due_s: float, one: tuple[Lane, int]) -> float:
    lane, samples = one
    return lane.serve(due_s, samples)
