"""How far a candidate is from its precision twin, in units of what rounding does to this file on these inputs.

The differences between a candidate and the twin are summed up over every slice of every axis of an output: as mean
square and as signed mean. The same is done for several noisy evaluations of the twin. An error is then told as a
multiple of the noise in the same slice. Rounding differs from element to element and from sample to sample, so the
signed mean of many differences is small beside their spread; what a defect adds is there in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Tensor = NDArray[np.generic]
WHOLE = -1
"""Stands for the one slice that is the whole output."""
PRIOR = 8.0
"""Degrees of freedom that the typical slice adds to the variance of each (Smyth, 2004: moderated t)."""
MOST_SAMPLES = 64.0
"""A signed mean is not expected to shrink further: units that cut instead of rounding err to one side (TF32 does)."""
BLOCK = 1 << 21
"""Elements that are looked at together, so that memory stays bounded."""
BEYOND = 1e30
"""Stands for a distance that is not finite."""
TINY = 1e-300
"""Keeps a ratio finite where neither noise nor values are there; any difference is then far beyond it."""


@dataclass(frozen=True)
class Sums:
    """Sums of differences over every slice of one axis; arrays of [slices]."""

    count: Array
    signed: Array
    squared: Array

    def mean_square(self) -> Array:
        """The mean square of each slice."""
        return self.squared / np.maximum(self.count, 1.0)

    def mean(self) -> Array:
        """The signed mean of each slice."""
        return self.signed / np.maximum(self.count, 1.0)


@dataclass(frozen=True)
class Differences:
    """Sums of one set of differences over each axis of an output, and the largest of them."""

    axes: Mapping[int, Sums]
    largest: float
    nonfinite: int = 0
    """Elements that are finite in the twin but not in the other."""
    masked: int = 0
    """Elements that are finite in the other but not in the twin."""


@dataclass(frozen=True)
class Noise:
    """What rounding does to one output, from several noisy evaluations of the twin."""

    members: int
    spread: Mapping[int, Array]
    """Axis to the mean square difference of each slice."""
    drift: Mapping[int, Array]
    """Axis to the mean over members of the squared signed mean of each slice."""
    floor: Mapping[int, Array]
    """Axis to the mean square of what one rounding of the twin's own values makes."""
    largest: float
    fine: bool = True
    """Whether only float32 rounding makes it."""


@dataclass(frozen=True)
class Distance:
    """One kind of distance from the twin, as a multiple of the noise, and where it is worst."""

    times: float
    axis: int = WHOLE
    index: int = 0


def differences(twin: Sequence[Tensor], other: Sequence[Tensor]) -> Differences:
    """Sums over all batches of other - twin, where both are finite; batches lie along axis 0 and are equal in shape."""
    return _joined([_block(t, o) for pair in zip(twin, other, strict=True) for t, o in _blocks(*pair)])


def noise(members: Sequence[Differences], twin: Differences, roundoff: float, *, fine: bool = True) -> Noise:
    """The noise of each slice; `twin` holds the sums of the twin itself, `roundoff` is that of the precision."""
    whole = float(twin.axes[WHOLE].mean_square()[0])
    return Noise(
        members=len(members),
        spread={axis: np.mean([m.axes[axis].mean_square() for m in members], axis=0) for axis in twin.axes},
        drift={axis: np.mean([np.square(m.axes[axis].mean()) for m in members], axis=0) for axis in twin.axes},
        # evenly spread over one rounding; 2^-24 of the whole where a slice is all zero
        floor={axis: sums.mean_square() * roundoff**2 / 3 + whole * 2.0**-48 for axis, sums in twin.axes.items()},
        largest=max(m.largest for m in members),
        fine=fine,
    )


def distances(candidate: Differences, yardstick: Noise) -> dict[str, Distance]:
    """The distances of a candidate from its twin by name, in multiples of the noise.

    "spread" is the root mean square over the whole output, "slice" that of the worst slice, "drift" the worst signed
    mean of a slice, "largest" the largest difference over the largest that noise made.
    """
    spread, drift = [], []
    for axis, sums in candidate.axes.items():
        floor = yardstick.floor[axis]
        freedom = yardstick.members * sums.count
        variance = np.maximum(_moderated(yardstick.spread[axis], floor, freedom), floor)
        spread.append(_worst(sums.mean_square(), variance, axis))
        means = _moderated(yardstick.drift[axis], variance, np.full_like(variance, yardstick.members))
        means = np.maximum(means, variance / MOST_SAMPLES)
        drift.append(_worst(np.square(sums.mean()), means + floor / 10, axis))
    least = float(np.sqrt(np.max(yardstick.floor[WHOLE])))
    return {
        "spread": spread[0],
        "slice": max(spread, key=_times),
        "drift": max(drift, key=_times),
        "largest": Distance(candidate.largest / max(yardstick.largest, least, TINY)),
    }


def _times(distance: Distance) -> float:
    return distance.times


def _worst(squares: Array, variances: Array, axis: int) -> Distance:
    times = np.nan_to_num(np.sqrt(squares / np.maximum(variances, TINY)), nan=BEYOND, posinf=BEYOND)
    index = int(np.argmax(times))
    return Distance(float(times[index]), axis, index)


def _moderated(variances: Array, scale: Array, freedom: Array) -> Array:
    """Variances of slices, drawn towards the typical multiple of their scale the less they are known."""
    typical = float(np.median(variances / np.maximum(scale, TINY)))
    drawn: Array = (freedom * variances + PRIOR * typical * scale) / (freedom + PRIOR)
    return drawn


def _blocks(twin: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    twin, other = np.atleast_1d(twin), np.atleast_1d(other)
    rows = max(1, BLOCK // max(1, prod(twin.shape[1:])))
    for start in range(0, len(twin), rows):
        yield twin[start : start + rows], other[start : start + rows]


def _block(twin: Tensor, other: Tensor) -> Differences:
    expected, found = twin.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = found - expected
    finite = np.isfinite(expected) & np.isfinite(found)
    same = finite | (found == expected) | (np.isnan(found) & np.isnan(expected))
    error[~finite] = 0.0
    counted = finite.astype(np.float64)
    return Differences(
        axes={axis: _sums(error, counted, axis) for axis in (WHOLE, *range(error.ndim))},
        largest=float(np.max(np.abs(error), initial=0.0)),
        nonfinite=int(np.count_nonzero(~same & np.isfinite(expected))),
        masked=int(np.count_nonzero(~same & ~np.isfinite(expected))),
    )


def _sums(error: Array, counted: Array, axis: int) -> Sums:
    over = tuple(other for other in range(error.ndim) if other != axis)
    return Sums(*(np.atleast_1d(np.sum(values, axis=over)) for values in (counted, error, np.square(error))))


def _joined(parts: Sequence[Differences]) -> Differences:
    """The sums of several blocks: the slices of axis 0 one after the other, those of other axes added up.

    An axis that is not equally long in all of them is left out.
    """
    lengths = {axis: {len(part.axes[axis].count) for part in parts if axis in part.axes} for axis in parts[0].axes}
    shared = [axis for axis, found in lengths.items() if axis == 0 or len(found) == 1]
    return Differences(
        axes={axis: _added([part.axes[axis] for part in parts], along=axis == 0) for axis in shared},
        largest=max(part.largest for part in parts),
        nonfinite=sum(part.nonfinite for part in parts),
        masked=sum(part.masked for part in parts),
    )


def _added(parts: Sequence[Sums], *, along: bool) -> Sums:
    columns = [[getattr(part, name) for part in parts] for name in ("count", "signed", "squared")]
    if along:
        return Sums(*(np.concatenate(column) for column in columns))
    return Sums(*(np.sum(column, axis=0) for column in columns))
