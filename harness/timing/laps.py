"""One iteration, timed: by CUDA events, by the host's clock, or as a script tells."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from harness.backends.base import Step
from harness.backends.cuda import check
from harness.timing.events import Events


@dataclass(frozen=True, slots=True)
class Lap:
    """One iteration; `gpu_ms` is None for host work."""

    host_ms: float
    gpu_ms: float | None
    enqueue_ms: float | None = None
    """Until the host had given the work to the GPU."""
    parts_ms: tuple[float, ...] = ()
    """Of the step's parts, on the GPU's clock."""


@contextmanager
def timed(step: Step) -> Iterator[Callable[[], Lap]]:
    """What runs and times one iteration of the step.

    Host time runs from enqueueing until the result is ready; GPU time is the difference of two CUDA events that
    enclose the iteration on its own stream. What is done before an iteration belongs to neither.
    """
    if step.scripted_ms is not None:
        next_ms = step.scripted_ms
        yield lambda: Lap(next_ms(), None)
    elif step.stream is None:
        yield lambda: _host_lap(step)
    else:
        with Events(step.stream, max(2, len(step.parts) + 1)) as events:
            yield _parts_lap(step, events) if step.parts else _gpu_lap(step, events)


@contextmanager
def uncollected() -> Iterator[None]:
    """While this holds, the garbage collector does not fall into an iteration."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _host_lap(step: Step) -> Lap:
    start = perf_counter()
    step.run(1)
    return Lap((perf_counter() - start) * 1e3, None)


def _gpu_lap(step: Step, events: Events) -> Callable[[], Lap]:
    """As little as can be between the two moments: where the GPU waits for the host, it is timed as well."""
    before, run, begin, end = step.before, step.run, events.marker(0), events.marker(1)

    def lap() -> Lap:
        if before is not None:
            before()
        start = perf_counter()
        begun = begin()
        run(1)
        ended = end()
        enqueued = perf_counter()
        gpu_ms = events.elapsed_ms(0, 1)
        host_ms = (perf_counter() - start) * 1e3
        check(begun)
        check(ended)
        return Lap(host_ms, gpu_ms, (enqueued - start) * 1e3)

    return lap


def _parts_lap(step: Step, events: Events) -> Callable[[], Lap]:
    before, parts = step.before, step.parts

    def lap() -> Lap:
        if before is not None:
            before()
        start = perf_counter()
        events.mark(0)
        for number, part in enumerate(parts, 1):
            part.run()
            events.mark(number)
        enqueued = perf_counter()
        gpu_ms = events.elapsed_ms(0, len(parts))
        host_ms = (perf_counter() - start) * 1e3
        parts_ms = tuple(events.elapsed_ms(number, number + 1) for number in range(len(parts)))
        return Lap(host_ms, gpu_ms, (enqueued - start) * 1e3, parts_ms)

    return lap
