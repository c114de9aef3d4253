"""Warm-up: until blocks of iterations agree, not for a fixed time. Clocks, caches and allocators differ in need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from harness import stats
from harness.timing.laps import Lap

WITHIN = 0.02
"""Blocks whose medians differ by no more agree."""
AGREEING = 4
"""Blocks in a row that must agree, each with the one before."""
MOST_S = 5.0
"""A warm-up ends after this time even if nothing has settled: some steps never do."""
BLOCK_CALLS, BLOCK_MS = 5, 4.0
"""A block has at least so many iterations and lasts at least so long."""


def has_settled(medians: Sequence[float], within: float = WITHIN) -> bool:
    """Whether the last blocks agree, by their medians in the order of time."""
    last = medians[-AGREEING:]
    return len(last) == AGREEING and all(abs(now - before) <= within * before for before, now in pairwise(last))


def settle(lap: Callable[[], Lap], least_s: float, most_s: float = MOST_S) -> float:
    """Run until blocks agree and `least_s` has passed, at most `most_s`; the last block's median in milliseconds."""
    medians: list[float] = []
    spent_ms = 0.0
    while True:
        block, took_ms = _block(lap)
        medians.append(stats.median(sorted(one.host_ms if one.gpu_ms is None else one.gpu_ms for one in block)))
        spent_ms += took_ms
        if spent_ms >= least_s * 1e3 and (has_settled(medians) or spent_ms >= most_s * 1e3):
            return medians[-1]


def _block(lap: Callable[[], Lap]) -> tuple[list[Lap], float]:
    """Iterations, and the milliseconds that they took on the host."""
    block: list[Lap] = []
    took_ms = 0.0
    while len(block) < BLOCK_CALLS or took_ms < BLOCK_MS:
        block.append(lap())
        took_ms += block[-1].host_ms
    return block, took_ms
