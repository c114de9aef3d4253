"""Which cases change their verdict although nothing that they are made of changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.history.reading import Result
from harness.records import BLOCKING

LAST = 20
"""Verdicts that are looked at."""
FLIPS = 2
"""Changes from which a case is unstable: one may be a repair, or a change outside of what is known."""
LETS_THROUGH = frozenset({"passed", "improved", "new"})
BLOCKS = BLOCKING - {"missing"} | {"acknowledged"}
DEFINITION = (
    f"A case is unstable on a machine class where its last {LAST} verdicts changed at least {FLIPS} times between "
    "blocking (error, failed, regressed, or acknowledged as such) and not (passed, improved, new), all of them with "
    "the model, variant, inputs, options and versions of the latest. Runs that left it open (inconclusive, skipped, "
    "missing) do not count; a rebuilt engine is no change."
)


@dataclass(frozen=True)
class Unstable:
    """The verdicts looked at, oldest first, and how often they changed."""

    verdicts: tuple[Result, ...]
    flips: int


def unstable(results: Sequence[Result]) -> Unstable | None:
    """The verdicts of a case, oldest first, where it is unstable by the definition; else None."""
    decided = [one for one in results if one.status in LETS_THROUGH | BLOCKS]
    alike = [one for one in decided if one.footing == decided[-1].footing][-LAST:]
    flips = sum((a.status in BLOCKS) != (b.status in BLOCKS) for a, b in pairwise(alike))
    return Unstable(tuple(alike), flips) if flips >= FLIPS else None
