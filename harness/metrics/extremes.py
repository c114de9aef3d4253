"""The element furthest beyond its allowance and the largest distance in steps, without a second look at every element.

The pass over all elements keeps the largest |d| and the largest |d| / max(|c|, |r|) of every block of them. These
bound what else a block can hold: |d| / (atol + rtol |r|) is at most |d| / atol and |d| / |r| / rtol, and the number of
representable steps at most 2^(bits + 1) |d| / min(|c|, |r|). So the blocks with the largest bounds are looked at first,
and then those whose bounds are larger than what was found there, if there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from harness.metrics.arithmetic import BLOCK, Floats, Scratch, difference, load
from harness.metrics.elementwise import Allowance, Worst
from harness.metrics.pieces import PIECE, Pair, Piece, spread
from harness.metrics.ulp import finite_steps, has_steps, steps

FIRST = 64
"""Blocks that are looked at first."""
SLACK = 1.001
"""By how much a bound is raised, because float32 rounded it."""
NEAR = 0.999
"""Relative errors beyond tell nothing of the smaller of the two numbers; those of changed signs are 1 and more."""

Bounds = NDArray[np.float64]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Peaks:
    """The largest errors of each block of a piece; none of a piece that is not finite or out of range."""

    piece: Piece
    errors: Floats | None = None
    """|d|"""
    relatives: Floats | None = None
    """|d| / max(|c|, |r|)"""


@dataclass(frozen=True)
class Chosen:
    """Neighbouring blocks, or some from all over an output."""

    runs: tuple[Piece, ...]
    finite: bool
    """Whether all elements are finite and within range."""

    def load(self) -> Pair:
        """Reference and candidate, one run after the other."""
        pairs = [run.load() for run in self.runs]
        if len(pairs) == 1:
            return pairs[0]
        return np.concatenate([r for r, _ in pairs]), np.concatenate([c for _, c in pairs])

    @property
    def size(self) -> int:
        """The number of elements."""
        return sum(run.size for run in self.runs)

    def index(self, position: int) -> int:
        """Where in the output the element at a position of these lies."""
        for run in self.runs:
            if position < run.size:
                return run.offset + position
            position -= run.size
        raise IndexError(f"{position} elements beyond the end of the chosen blocks")


class Blocks:
    """The blocks of an output, numbered through, with what bounds their errors."""

    def __init__(self, peaks: Sequence[Peaks]) -> None:
        self._pieces = [one.piece for one in peaks]
        errors = [_bounds(one.piece, one.errors) for one in peaks]
        relatives = [_bounds(one.piece, one.relatives) for one in peaks]
        self._first = np.cumsum([0, *map(len, errors)])
        self.errors, self.relatives = (np.concatenate([np.zeros(0), *side]) for side in (errors, relatives))

    def of_smaller(self) -> Bounds:
        """At most how large |d| is beside the smaller of |c| and |r|."""
        with np.errstate(all="ignore"):
            relatives = self.relatives + np.finfo(np.float32).tiny  # what may have been lost to underflow
            larger = np.where(relatives > NEAR, np.inf, relatives / (1 - relatives))
            return np.where(self.errors == 0, 0, larger)

    def chosen(self, numbers: NDArray[np.intp], *, finite: bool) -> Iterator[Chosen]:
        """Blocks by their ascending numbers, about as many together as make a piece."""
        owners = np.searchsorted(self._first, numbers, side="right") - 1
        ends = np.flatnonzero((numbers[1:] != numbers[:-1] + 1) | (owners[1:] != owners[:-1])) + 1
        runs: list[Piece] = []
        size = 0
        for low, high in zip([0, *ends], [*ends, len(numbers)], strict=True):
            runs.append(self._run(int(owners[low]), int(numbers[low]), int(numbers[high - 1]) + 1))
            size += runs[-1].size
            if size >= PIECE or high == len(numbers):
                yield Chosen(tuple(runs), finite)
                runs, size = [], 0

    def _run(self, owner: int, low: int, high: int) -> Piece:
        piece, before, after = self._pieces[owner], int(self._first[owner]), int(self._first[owner + 1])
        if (low, high) == (before, after):
            return piece
        ((reference, candidate, part),) = piece.parts
        start, stop = part.start + (low - before) * BLOCK, min(part.start + (high - before) * BLOCK, part.stop)
        return Piece(piece.offset + start - part.start, ((reference, candidate, slice(start, stop)),))


def _bounds(piece: Piece, values: Floats | None) -> Bounds:
    """A bound for each block; one for small batches that were measured together; none where nothing is known."""
    if values is None:
        return np.array([np.inf])
    return np.asarray(values if len(piece.parts) == 1 else [values.max()], np.float64)


def worst(blocks: Blocks, allowance: Allowance, dtype: np.dtype[Any]) -> tuple[Worst | None, int]:
    """The worst element, its ratio in float64, and how many are beyond their allowance."""

    def look(some: Chosen, scratch: Scratch) -> tuple[Worst | None, int]:
        return _furthest(some, allowance, scratch)

    def floor(found: list[tuple[Worst | None, int]]) -> float:
        return min(1.0, max((one.ratio for one, _ in found if one), default=-1.0))

    found = _search(blocks, lambda: _ratios(blocks, allowance), floor, dtype, look)
    furthest = max((one for one, _ in found if one), key=lambda one: (one.ratio, -one.index), default=None)
    return furthest, max(1, sum(beyond for _, beyond in found)) if furthest and furthest.ratio > 1 else 0


def largest_steps(blocks: Blocks, types: set[np.dtype[Any]], dtype: np.dtype[Any]) -> float:
    """The largest number of representable steps between c and r where both are finite; 0 for types without."""
    if not all(has_steps(one) for one in types):
        return 0.0
    alike = len(types) == 1

    def look(some: Chosen, scratch: Scratch) -> float:
        pair = some.load()
        return finite_steps(pair, scratch.cut(some.size)) if alike and some.finite else steps(*pair)

    def bounds() -> Bounds:
        if not alike:
            return np.full(len(blocks.errors), np.inf)
        # between a < b of one sign there are at most (b - a) / (spacing at a), and that is above a / 2^(bits + 1)
        bits = ml_dtypes.finfo(*types).nmant  # type: ignore[no-untyped-call]
        return SLACK * blocks.of_smaller() * 2.0 ** (bits + 1)

    return max(_search(blocks, bounds, max, dtype, look), default=0.0)


def _ratios(blocks: Blocks, allowance: Allowance) -> Bounds:
    """The ratio to the allowance that no element of a block exceeds."""
    with np.errstate(all="ignore"):
        by_atol, by_rtol = blocks.errors / allowance.atol, blocks.of_smaller() / allowance.rtol
        both = 1 / (1 / by_atol + 1 / by_rtol) if allowance.rule == "sum" else np.fmin(by_atol, by_rtol)
        return np.where(blocks.errors == 0, 0, SLACK * both)


def _search(
    blocks: Blocks,
    bounds: Callable[[], Bounds],
    floor: Callable[[list[Result]], float],
    dtype: np.dtype[Any],
    look: Callable[[Chosen, Scratch], Result],
) -> list[Result]:
    """What is found in the blocks of the largest bounds, and in all whose bounds are above the floor that it sets."""
    every = np.arange(len(blocks.errors))
    if len(every) <= FIRST:
        return _look(blocks, every, dtype, look)
    highest = bounds()
    first = np.sort(np.argsort(-highest, kind="stable")[:FIRST])
    found = _look(blocks, first, dtype, look)
    wanted = highest > floor(found)
    wanted[first] = False
    return found + _look(blocks, np.flatnonzero(wanted), dtype, look)


def _look(
    blocks: Blocks, numbers: NDArray[np.intp], dtype: np.dtype[Any], look: Callable[[Chosen, Scratch], Result]
) -> list[Result]:
    """What is found in blocks; those that are not finite, or out of range, are looked at in float64."""
    known = np.isfinite(blocks.errors[numbers])
    found: list[Result] = []
    for finite, own in ((True, dtype), (False, np.dtype(np.float64))):
        if not len(wanted := numbers[known == finite]):
            continue
        groups = list(blocks.chosen(wanted, finite=finite))
        room = max(some.size for some in groups)

        def work(mine: Iterator[Chosen], room: int = room, own: np.dtype[Any] = own) -> list[Result]:
            scratch = Scratch(room, own)
            with np.errstate(all="ignore"):
                return [look(some, scratch) for some in mine]

        found += [one for share in spread(groups, work) for one in share]
    return found


def _furthest(some: Chosen, allowance: Allowance, scratch: Scratch) -> tuple[Worst | None, int]:
    pair = some.load()
    r_room, c_room, error, spare, magnitude = scratch.cut(some.size)
    r, c = load(pair[0], r_room), load(pair[1], c_room)
    difference(pair, r, c, error)
    np.abs(error, out=error)
    allowance.allowed(np.abs(r, out=magnitude), spare)
    np.divide(error, spare, out=spare)
    if allowance.atol == 0:
        np.copyto(spare, 0, where=error == 0)
    if not some.finite:
        np.copyto(spare, -1, where=~(np.isfinite(r) & np.isfinite(c)))
    position = int(spare.argmax())
    if spare[position] < 0:
        return None, 0
    expected, found = float(r[position]), float(c[position])
    exact = float(error[position]) if error.dtype == np.float64 else abs(found - expected)
    beyond = int(np.count_nonzero(np.greater(spare, 1)))
    return Worst(allowance.ratio(exact, expected), some.index(position), expected, found), beyond
