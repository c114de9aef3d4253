"""Steps made slower on purpose, by the same means on the same clock: they prove that a slowdown is found.

On the host the added time is a busy-wait, on a GPU a kernel on the step's own stream; both inside what is timed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from time import perf_counter

from harness import stats
from harness.backends.base import Step
from harness.errors import CaseError
from harness.timing.laps import Lap, timed
from harness.timing.settle import settle
from harness.timing.spin import Spin

LAPS = 100
"""Iterations of a calibration, fewer where they would take longer than a second."""
ROUNDS, BLOCK_MS = 20, 5.0
"""Blocks of each step that are timed in turns to learn what an added kernel takes."""
PROBE = 20_000
"""Multiply-adds of the launch that tells what one costs; about 40 us on a GPU of 2 GHz."""


@contextmanager
def slowed(step: Step, share: float) -> Iterator[Step]:
    """A step that takes `share` of its median longer, at every iteration; CaseError where that is too little to add."""
    if step.scripted_ms is not None:
        next_ms = step.scripted_ms
        yield replace(step, scripted_ms=lambda: next_ms() * (1 + share))
        return
    with _delay(step, share * _median_ms(step)) as delay:
        yield replace(step, run=_followed(step, delay), parts=())


@contextmanager
def tail(step: Step, share_of_calls: float, factor: float, seed: int = 0) -> Iterator[Step]:
    """A step of which that share of iterations takes `factor` times the median; which ones is drawn by the seed."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    if step.scripted_ms is not None:
        next_ms = step.scripted_ms
        yield replace(step, scripted_ms=lambda: next_ms() * (factor if draw.random() < share_of_calls else 1))
        return
    with _delay(step, (factor - 1) * _median_ms(step)) as delay:
        yield replace(step, run=_followed(step, lambda: delay() if draw.random() < share_of_calls else None), parts=())


def _followed(step: Step, delay: Callable[[], None]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            step.run(1)
            delay()

    return run


@contextmanager
def _delay(step: Step, delay_ms: float) -> Iterator[Callable[[], None]]:
    """What takes so long on the step's clock."""
    if step.stream is None:
        wait_ms = max(0.0, delay_ms - _own_cost_ms())
        yield lambda: _busy(wait_ms)
        return
    spin = Spin(step.stream)
    try:
        count = calibrated(step, spin.launch, delay_ms)
        yield lambda: spin.launch(count)
    finally:
        spin.free()


@cache
def _own_cost_ms() -> float:
    """What a busy-wait of no time adds to an iteration: some tenths of a microsecond, much for short steps.

    Measured once in a process.
    """
    nothing = Step(lambda _: None)
    return _steps_ms(nothing, replace(nothing, run=_followed(nothing, lambda: _busy(0.0))))[0]


def _busy(delay_ms: float) -> None:
    until = perf_counter() + delay_ms * 1e-3
    while perf_counter() < until:
        pass


def calibrated(step: Step, launch: Callable[[int], None], delay_ms: float) -> int:
    """How many multiply-adds after the step add so many milliseconds to it, from the cost of none and of `PROBE`.

    A second kernel on a stream has a price of its own, about 2 us; CaseError where that alone is more.
    """
    empty = replace(step, run=_followed(step, lambda: launch(0)), parts=())
    probed = replace(step, run=_followed(step, lambda: launch(PROBE)), parts=())
    price_ms, probe_ms = _steps_ms(step, empty, probed)
    if price_ms > delay_ms:
        raise CaseError(
            f"{delay_ms * 1e3:.3g} us cannot be added to an iteration on the GPU: an empty kernel alone takes "
            f"{price_ms * 1e3:.3g} us; add more, or use a slower case"
        )
    return round((delay_ms - price_ms) / probe_ms * PROBE)


def _steps_ms(*steps: Step) -> list[float]:
    """By how much each step takes longer than the one before: medians over blocks in turns, since machines drift."""
    with ExitStack() as held:
        laps = [held.enter_context(timed(step)) for step in steps]
        about_ms = settle(laps[0], least_s=0.1, most_s=1.0)
        count = max(3, min(LAPS, int(BLOCK_MS / about_ms)))
        blocks = [[_block_ms(lap, count) for lap in laps] for _ in range(ROUNDS)]
    return [stats.median(sorted(block[at] - block[at - 1] for block in blocks)) for at in range(1, len(steps))]


def _block_ms(lap: Callable[[], Lap], count: int) -> float:
    lap()  # the first after another step is slower
    return _median([lap() for _ in range(count)])


def _median_ms(step: Step) -> float:
    with timed(step) as lap:
        about_ms = settle(lap, least_s=0.1, most_s=1.0)
        laps = [lap() for _ in range(max(9, min(LAPS, int(1e3 / about_ms))))]
    return _median(laps)


def _median(laps: Sequence[Lap]) -> float:
    return stats.median(sorted(one.host_ms if one.gpu_ms is None else one.gpu_ms for one in laps))
