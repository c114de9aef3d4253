"""More shapes inside the profile, drawn by the name of the model: the same for every backend, in every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from math import prod

Dimensions = Mapping[str, int]
Spans = Mapping[str, tuple[int, int]]


def spans(shapes: Sequence[Dimensions], profile: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, int]]:
    """The smallest and largest value of every dimension: the profile's, else the smallest and largest among shapes."""
    listed: dict[str, list[int]] = {}
    for shape in shapes:
        for name, value in shape.items():
            listed.setdefault(name, []).append(value)
    inside = {name: (min(values), max(values)) for name, values in listed.items()}
    return inside | {name: (least, most) for name, (least, _, most) in (profile or {}).items()}


def draw(model: str, wanted: int, shapes: Sequence[Dimensions], within: Spans) -> list[dict[str, int]]:
    """As many shapes as wanted that no listed shape is, or all there are; a dimension that a shape leaves out is 1.

    The first n of more shapes are the n that are drawn when only n are wanted.
    """
    listed = {tuple(shape.get(name, 1) for name in within) for shape in shapes or [{}]}
    inside = sum(all(low <= v <= high for v, (low, high) in zip(one, within.values(), strict=True)) for one in listed)
    there_are = prod(high - low + 1 for low, high in within.values()) - inside
    found: dict[tuple[int, ...], None] = {}
    for values in _values(model, within):
        if len(found) >= min(wanted, there_are):
            break
        if values not in listed:
            found[values] = None
    return [dict(zip(within, values, strict=True)) for values in found]


def _values(model: str, within: Spans) -> Iterator[tuple[int, ...]]:
    for number in count():
        yield tuple(low + _seed(model, number, name) % (high - low + 1) for name, (low, high) in within.items())


def _seed(model: str, number: int, name: str) -> int:
    """A number that only these three decide, on every machine and Python."""
    return int.from_bytes(sha256(f"{model}\n{number}\n{name}".encode()).digest()[:8])
