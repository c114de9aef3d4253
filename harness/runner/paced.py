"""Runs of the precision twin within a budget of seconds: nothing begins that would exceed it, going by the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from harness.backends.base import Tensor

TICK_S = 1e-9
"""Shorter than any run."""
FEWEST = 3
"""Noisy evaluations below which nothing can be said about their spread."""

Batches = Sequence[Mapping[str, Tensor]]


class Evaluation(Protocol):
    """What gives outputs for feeds."""

    def infer(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs."""
        ...


def afforded(
    plain: Evaluation,
    feeds: Batches,
    first: tuple[dict[str, Tensor], float],
    budget_s: float,
    each: float,
    clock: Callable[[], float],
) -> tuple[list[dict[str, Tensor]], float]:
    """Outputs of as many batches as the budget pays for, the first at least, and the seconds left for the noise.

    `each` is what a batch costs with its noise, in multiples of one plain run. A batch is taken to last as long as the
    one before.
    """
    outputs, took_s, last_s = [first[0]], first[1], first[1]
    for batch in feeds[1:]:
        if (took_s + last_s) * each > budget_s:
            break
        start = clock()
        outputs.append(plain.infer(batch))
        last_s = clock() - start
        took_s += last_s
    return outputs, budget_s - took_s


def gathered(
    add: Callable[[Batches], None],
    noisy: Evaluation,
    feeds: Batches,
    members: int,
    left_s: float,
    clock: Callable[[], float],
) -> int:
    """How many noisy evaluations were taken: none begins for which no time is left, save the fewest there must be."""
    start, last_s = clock(), 0.0
    for taken in range(members):
        begin = clock()
        if taken >= FEWEST and begin - start + last_s > left_s:
            return taken
        add([noisy.infer(batch) for batch in feeds])
        last_s = clock() - begin
    return members


def timed(
    session: Evaluation, feed: Mapping[str, Tensor], clock: Callable[[], float]
) -> tuple[dict[str, Tensor], float]:
    """Outputs and seconds of a second run; the first one of a session also allocates."""
    session.infer(feed)
    start = clock()
    return session.infer(feed), clock() - start
