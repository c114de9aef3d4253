"""How the errors of an output are distributed and where the largest are: for people to look at, no limit uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np
from numpy.typing import NDArray

from harness.metrics.arithmetic import difference
from harness.metrics.base import Tensor
from harness.metrics.pieces import Pair, Piece, elements, spread
from harness.records import Deviations, Element

MOST = 8
"""Elements that are told one by one."""
LONGEST = 80
"""Characters of a label."""
LABELS = "OUSTb"
"""Kinds of elements that are equal or not: there is no distance between them."""

Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Found:
    """Of one piece: elements that are equal, errors by their power of two, and (error, index) of the largest."""

    equal: int
    counts: Counter[int]
    largest: list[tuple[float, int]]


def deviations(reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> tuple[Deviations, ...]:
    """The errors |c - r| of every output over all batches; of none whose shapes, or whose kinds, differ."""
    names = list(reference[0]) if reference else []
    sides = {
        name: [(r[name], c[name]) for r, c in zip(reference, candidate, strict=False) if name in c] for name in names
    }
    return tuple(_deviations(name, pairs) for name, pairs in sides.items() if pairs and all(map(_alike, pairs)))


def worst(builds: Sequence[tuple[Deviations, ...]]) -> tuple[Deviations, ...]:
    """Of every output those of the build with the largest error, of equal ones of that where more elements differ."""
    found: dict[str, Deviations] = {}
    for one in (one for build in builds for one in build):
        if one.output not in found or _far(one) > _far(found[one.output]):
            found[one.output] = one
    return tuple(found.values())


def _far(one: Deviations) -> tuple[float, int]:
    return one.largest, one.size - one.equal


def _alike(pair: Pair) -> bool:
    reference, candidate = pair
    kinds = {tensor.dtype.kind for tensor in pair}
    return reference.shape == candidate.shape and (len(kinds) == 1 or not kinds & set("cOUST"))


def _deviations(name: str, pairs: Sequence[Pair]) -> Deviations:
    def work(mine: Iterator[Piece]) -> list[_Found]:
        with np.errstate(all="ignore"):
            return [_look(piece) for piece in mine]

    found = [one for share in spread(elements(pairs), work) for one in share]
    largest = nlargest(MOST, (one for some in found for one in some.largest), key=lambda one: (one[0], -one[1]))
    counts: Counter[int] = sum((one.counts for one in found), Counter())
    labels = pairs[0][0].dtype.kind in LABELS
    return Deviations(
        output=name,
        size=sum(r.size for r, _ in pairs),
        equal=sum(one.equal for one in found),
        counts={} if labels else {str(power): counts[power] for power in sorted(counts)},
        worst=tuple(_element(pairs, error, index, labels=labels) for error, index in largest),
    )


def _look(piece: Piece) -> _Found:
    reference, candidate = piece.load()
    distance = _distance(reference, candidate)
    unequal = distance > 0
    places = _largest(distance, min(MOST, int(np.count_nonzero(unequal))))
    powers = np.frexp(distance[unequal & np.isfinite(distance)])[1] - 1
    low = int(powers.min(initial=0))
    counts = Counter({low + at: int(n) for at, n in enumerate(np.bincount(powers - low)) if n})
    largest = [(float(distance[at]), piece.offset + at) for at in places]
    return _Found(distance.size - int(np.count_nonzero(unequal)), counts, largest)


def _largest(distance: NDArray[np.float64], many: int) -> Sequence[int]:
    """The places of the largest, of equal ones the first: where NaN begins is what one looks for."""
    if not many:
        return ()
    least = np.partition(distance, -many)[-many]
    above = np.flatnonzero(distance > least)
    return [*above.tolist(), *np.flatnonzero(distance == least)[: many - len(above)].tolist()]


def _distance(reference: Tensor, candidate: Tensor) -> NDArray[np.float64]:
    """|c - r|; infinite where one of them is not finite, or where labels differ, and 0 where both are the same."""
    same = reference == candidate
    if reference.dtype.kind in LABELS:
        return np.where(same, 0.0, np.inf)
    if reference.dtype.kind == "c":
        distance = np.abs(candidate.astype(np.complex128) - reference.astype(np.complex128))
    else:
        distance = np.empty(reference.size)
        r, c = (tensor.astype(np.float64) for tensor in (reference, candidate))
        difference((reference, candidate), r, c, distance)
        np.abs(distance, out=distance)
    same |= (reference != reference) & (candidate != candidate)  # noqa: PLR0124 - NaN differs from itself
    return np.where(same, 0.0, np.where(np.isfinite(distance), distance, np.inf))


def _element(pairs: Sequence[Pair], error: float, index: int, *, labels: bool) -> Element:
    """The element at an index counted over all batches."""
    batch = 0
    while index >= pairs[batch][0].size:
        index -= pairs[batch][0].size
        batch += 1
    reference, candidate = pairs[batch]
    place = tuple(int(at) for at in np.unravel_index(index, reference.shape))
    expected, found = (_text(tensor[place], labels=labels) for tensor in (reference, candidate))
    return Element(batch, place, expected, found, None if np.isinf(error) else error)


def _text(value: object, *, labels: bool) -> str:
    """The shortest text that tells a number from its neighbours, without the type; of labels the beginning."""
    text = str(value)
    if labels:
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text.strip("()").removesuffix(".0")
