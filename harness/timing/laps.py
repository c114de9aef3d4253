"""One iteration, timed: by CUDA events, by the host's clock, or as a script tells."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from harness.backends.base import Step
from harness.timing.events import Events


@dataclass(frozen=True, slots=True)
class Lap:
    """One iteration; `gpu_ms` is None for host work."""

    host_ms: float
    gpu_ms: float | None


@contextmanager
def timed(step: Step) -> Iterator[Callable[[], Lap]]:
    """What runs and times one iteration of the step.

    Host time runs from enqueueing until the result is ready; GPU time is the difference of two CUDA events that
    enclose the iteration on its own stream.
    """
    if step.scripted_ms is not None:
        next_ms = step.scripted_ms
        yield lambda: Lap(next_ms(), None)
    elif step.stream is None:
        yield lambda: _host_lap(step)
    else:
        with Events(step.stream) as events:
            yield lambda: _gpu_lap(step, events)


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


def _gpu_lap(step: Step, events: Events) -> Lap:
    start = perf_counter()
    events.start()
    step.run(1)
    events.stop()
    gpu_ms = events.elapsed_ms()
    return Lap((perf_counter() - start) * 1e3, gpu_ms)
