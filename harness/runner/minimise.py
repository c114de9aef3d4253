"""The smallest set that passes a test: a growing prefix of a ranked list, then delta debugging.

Zeller and Hildebrandt, Simplifying and isolating failure-inducing input (IEEE TSE 28, 2002), on complements only: the
set that is made small is the one that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Test = Callable[[Sequence[str]], "bool | None"]
"""Whether a set passes; None when no more tests are allowed."""


@dataclass(frozen=True)
class Small:
    """A set that passes; `minimal`: without any one member it fails."""

    members: tuple[str, ...]
    minimal: bool


def minimise(ranked: Sequence[str], likely: int, test: Test) -> Small:
    """A small set that passes, of a ranked list that passes as a whole while nothing at all fails.

    `likely` is the length of the prefix to begin with. The set is only sufficient when tests ran out.
    """
    length = _prefix(ranked, likely, test)
    if length is None:
        return Small(tuple(ranked), minimal=False)
    low, high = length
    while high - low > 1:
        middle = (low + high) // 2
        passed = test(ranked[:middle])
        if passed is None:
            return Small(tuple(ranked[:high]), minimal=False)
        low, high = (low, middle) if passed else (middle, high)
    return _reduced(list(ranked[:high]), test)


def _prefix(ranked: Sequence[str], likely: int, test: Test) -> tuple[int, int] | None:
    """Lengths of a prefix that fails and of a longer one that passes; None when tests ran out."""
    low, length = 0, max(1, likely)
    while length < len(ranked):
        passed = test(ranked[:length])
        if passed is None:
            return None
        if passed:
            return low, length
        low, length = length, 2 * length
    return low, len(ranked)


def _reduced(members: list[str], test: Test) -> Small:
    pieces = 2
    while len(members) > 1:
        size = -(-len(members) // min(pieces, len(members)))
        for start in reversed(range(0, len(members), size)):  # the end of the ranking first
            rest = members[:start] + members[start + size :]
            passed = test(rest) if rest else False
            if passed is None:
                return Small(tuple(members), minimal=False)
            if passed:
                members, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(2 * pieces, len(members))
    return Small(tuple(members), minimal=True)
