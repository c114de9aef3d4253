"""Differences between an output and its twin, summed up over every slice of every axis, piece by piece.

Memory stays bounded by what the sums themselves need, however an output is shaped; and differences whose squares would
leave float64 are told in a unit of their own, a power of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from harness.metrics.arithmetic import SAFE

Array = NDArray[np.float64]
Tensor = NDArray[np.generic]
WHOLE = -1
"""Stands for the one slice that is the whole output."""
BLOCK = 1 << 21
"""Elements that are looked at together, so that memory stays bounded."""
FURTHEST = 2.0**1000
"""By how much sums are scaled at most: what is larger is beyond all limits anyway."""


@dataclass(frozen=True)
class Sums:
    """Sums of differences over every slice of one axis; arrays of [slices]."""

    count: Array
    signed: Array
    squared: Array

    def mean_square(self) -> Array:
        """The mean square of each slice."""
        return self._over_count(self.squared)

    def mean(self) -> Array:
        """The signed mean of each slice."""
        return self._over_count(self.signed)

    def _over_count(self, sums: Array) -> Array:
        means: Array = np.maximum(self.count, 1.0)
        return np.divide(sums, means, out=means)

    def part(self, slices: slice) -> Sums:
        """The sums over some of the slices."""
        return Sums(self.count[slices], self.signed[slices], self.squared[slices])


@dataclass(frozen=True)
class Differences:
    """Sums of one set of differences over each axis of an output, and the largest of them."""

    axes: Mapping[int, Sums]
    largest: float
    nonfinite: int = 0
    """Elements that are finite in the twin but not in the other."""
    masked: int = 0
    """Elements that are finite in the other but not in the twin."""
    unit: float = 1.0
    """A power of two that the differences were divided by before they were added up: no square leaves the range."""

    def rms(self) -> float:
        """The root mean square over the whole output."""
        return float(np.sqrt(self.axes[WHOLE].mean_square()[0])) * self.unit

    def in_unit(self, unit: float) -> Differences:
        """The same sums in another unit."""
        if unit == self.unit:
            return self
        times = min(self.unit / unit, FURTHEST)
        with np.errstate(over="ignore", under="ignore"):
            axes = {a: Sums(s.count, s.signed * times, s.squared * times * times) for a, s in self.axes.items()}
        return replace(self, axes=axes, unit=unit)


def differences(twin: Sequence[Tensor], other: Sequence[Tensor]) -> Differences:
    """Sums over all batches of other - twin, where both are finite; batches lie along axis 0 and are equal in shape."""
    return _joined([_tensor(np.atleast_1d(t), np.atleast_1d(o)) for t, o in zip(twin, other, strict=True)])


def common(*parts: tuple[float, float]) -> float:
    """The unit in which several sums can be told, each given as its largest difference and its unit; zeros have any."""
    return max((unit for largest, unit in parts if largest > 0), default=1.0)


def _tensor(twin: Tensor, other: Tensor) -> Differences:
    places = list(_places(twin.shape))
    if len(places) <= 1:
        return _block(twin, other)
    running = _Running(twin.shape)
    for place in places:
        running.add(place, _block(twin[place], other[place]))
    return running.total()


def _places(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Where the pieces of a tensor are: cut along the first axis whose slices are no larger than a block."""
    inner = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    cut = next(axis for axis, size in enumerate(inner) if size <= BLOCK)
    rows = max(1, BLOCK // max(1, inner[cut]))
    for outer in np.ndindex(*shape[:cut]):
        for start in range(0, shape[cut], rows):
            inside = (slice(start, min(start + rows, shape[cut])), *(slice(0, size) for size in shape[cut + 1 :]))
            yield (*(slice(index, index + 1) for index in outer), *inside)


class _Running:
    """The sums over one tensor, to which those over its pieces are added."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        lengths = {WHOLE: 1, **dict(enumerate(shape))}
        self._counts = {axis: math.prod(shape) / length for axis, length in lengths.items()}
        self._signed, self._squared = ({axis: np.zeros(size) for axis, size in lengths.items()} for _ in range(2))
        self._missing: dict[int, Array] = {}
        self._parts = Differences({}, 0.0)

    def add(self, place: tuple[slice, ...], part: Differences) -> None:
        """Add the sums over the piece at a place."""
        unit = common((self._parts.largest, self._parts.unit), (part.largest, part.unit))
        self._rescale(min(self._parts.unit / unit, FURTHEST))
        size = math.prod(where.stop - where.start for where in place)
        short = part.axes[WHOLE].count[0] < size
        for axis, sums in part.in_unit(unit).axes.items():
            where = slice(0, 1) if axis == WHOLE else place[axis]
            self._signed[axis][where] += sums.signed
            self._squared[axis][where] += sums.squared
            if short:
                missing = self._missing.setdefault(axis, np.zeros(len(self._signed[axis])))
                missing[where] += size / len(sums.count) - sums.count
        self._parts = Differences(
            {},
            max(self._parts.largest, part.largest),
            self._parts.nonfinite + part.nonfinite,
            self._parts.masked + part.masked,
            unit,
        )

    def _rescale(self, times: float) -> None:
        if times == 1 or self._parts.largest == 0:
            return
        with np.errstate(over="ignore", under="ignore"):
            for axis in self._signed:
                self._signed[axis] *= times
                self._squared[axis] *= times
                self._squared[axis] *= times

    def total(self) -> Differences:
        """The sums over all pieces."""
        axes = {}
        for axis, signed in self._signed.items():
            count: Array = np.broadcast_to(np.float64(self._counts[axis]), signed.shape)
            count = count - self._missing[axis] if axis in self._missing else count
            axes[axis] = Sums(count, signed, self._squared[axis])
        return replace(self._parts, axes=axes)


def _block(twin: Tensor, other: Tensor) -> Differences:
    expected, found = twin.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = found - expected
    finite = np.isfinite(expected) & np.isfinite(found)
    same = finite | (found == expected) | (np.isnan(found) & np.isnan(expected))
    error[~finite] = 0.0
    largest = float(np.max(np.abs(error), initial=0.0))
    unit = _unit(largest)
    error /= unit
    return Differences(
        axes={axis: _sums(error, None if finite.all() else finite, axis) for axis in (WHOLE, *range(error.ndim))},
        largest=largest,
        nonfinite=int(np.count_nonzero(~same & np.isfinite(expected))),
        masked=int(np.count_nonzero(~same & ~np.isfinite(expected))),
        unit=unit,
    )


def _unit(largest: float) -> float:
    """1, or the power of two next to the largest number where squares of such numbers leave the range."""
    low, high = SAFE["float64"]
    if largest == 0 or low <= largest <= high or not math.isfinite(largest):
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def _sums(error: Array, finite: NDArray[np.bool_] | None, axis: int) -> Sums:
    """The sums over the slices of one axis, where all elements are finite or those of a mask are."""
    over = tuple(other for other in range(error.ndim) if other != axis)
    signed, squared = (np.atleast_1d(np.sum(values, axis=over)) for values in (error, error * error))
    if finite is None:
        return Sums(np.full(len(signed), error.size / max(1, len(signed))), signed, squared)
    return Sums(np.atleast_1d(np.sum(finite, axis=over, dtype=np.float64)), signed, squared)


def _joined(parts: Sequence[Differences]) -> Differences:
    """The sums of several tensors: the slices of axis 0 one after the other, those of other axes added up.

    An axis that is not equally long in all of them is left out.
    """
    if len(parts) == 1:
        return parts[0]
    unit = common(*((part.largest, part.unit) for part in parts))
    parts = [part.in_unit(unit) for part in parts]
    lengths = {axis: {len(part.axes[axis].count) for part in parts if axis in part.axes} for axis in parts[0].axes}
    shared = [axis for axis, found in lengths.items() if axis == 0 or len(found) == 1]
    return Differences(
        axes={axis: _added([part.axes[axis] for part in parts], along=axis == 0) for axis in shared},
        largest=max(part.largest for part in parts),
        nonfinite=sum(part.nonfinite for part in parts),
        masked=sum(part.masked for part in parts),
        unit=unit,
    )


def _added(parts: Sequence[Sums], *, along: bool) -> Sums:
    columns = [[getattr(part, name) for part in parts] for name in ("count", "signed", "squared")]
    if along:
        return Sums(*(np.concatenate(column) for column in columns))
    return Sums(*(reduce(np.add, column) for column in columns))
