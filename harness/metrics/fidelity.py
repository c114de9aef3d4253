"""How far a candidate is from its precision twin, in units of what rounding does to this file on these inputs.

The differences between a candidate and the twin are summed up over every slice of every axis of an output: as mean
square and as signed mean. The same is done for several noisy evaluations of the twin. An error is then told as a
multiple of the noise in the same slice. Rounding differs from element to element and from sample to sample, so the
signed mean of many differences is small beside their spread; what a defect adds is there in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.metrics.slices import BLOCK, FURTHEST, WHOLE, Array, Differences, Sums, common

PRIOR = 8.0
"""Degrees of freedom that the typical slice adds to the variance of each (Smyth, 2004: moderated t)."""
MOST_SAMPLES = 64.0
"""A signed mean is not expected to shrink further: units that cut instead of rounding err to one side (TF32 does)."""
BEYOND = 1e30
"""Stands for a distance that is not finite."""
TINY = 1e-300
"""Keeps a ratio finite where neither noise nor values are there; any difference is then far beyond it."""
SMALLEST = 5e-324
"""The same where no squares are taken."""


@dataclass(frozen=True)
class Members:
    """Noisy evaluations of the twin, added up one by one: all of them together would take much memory."""

    count: int
    spread: Mapping[int, Array]
    """Axis to the sum of the mean square differences of each slice."""
    drift: Mapping[int, Array]
    """Axis to the sum of the squared signed means of each slice."""
    largest: float
    unit: float

    def in_unit(self, unit: float) -> Members:
        """The same sums in another unit."""
        if unit == self.unit:
            return self
        times = min(self.unit / unit, FURTHEST)
        with np.errstate(over="ignore", under="ignore"):
            spread, drift = ({a: v * times * times for a, v in one.items()} for one in (self.spread, self.drift))
        return replace(self, spread=spread, drift=drift, unit=unit)


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
    unit: float = 1.0
    """What all but `largest` was divided by before it was squared."""

    def rms(self) -> float:
        """The root mean square of the noise over the whole output."""
        return float(np.sqrt(self.spread[WHOLE][0])) * self.unit

    def least(self) -> float:
        """The root mean square of what one rounding of the twin's own values makes."""
        return float(np.sqrt(self.floor[WHOLE][0])) * self.unit


@dataclass(frozen=True)
class Distance:
    """One kind of distance from the twin, as a multiple of the noise, and where it is worst."""

    times: float
    axis: int = WHOLE
    index: int = 0


def added(so_far: Members | None, one: Differences) -> Members:
    """The noisy evaluations so far and one more."""
    unit = common((one.largest, one.unit), *([(so_far.largest, so_far.unit)] if so_far else []))
    axes = one.in_unit(unit).axes
    spread = {axis: sums.mean_square() for axis, sums in axes.items()}
    drift = {axis: _squared(sums.mean()) for axis, sums in axes.items()}
    if so_far is None:
        return Members(1, spread, drift, one.largest, unit)
    before = so_far.in_unit(unit)
    for sums, more in ((before.spread, spread), (before.drift, drift)):
        for axis in more:
            more[axis] += sums[axis]
    return Members(before.count + 1, spread, drift, max(before.largest, one.largest), unit)


def noise(members: Members, twin: Differences, roundoff: float, *, fine: bool = True) -> Noise:
    """The noise of each slice; `twin` holds the sums of the twin itself, `roundoff` is that of the precision."""
    unit = common((twin.largest, twin.unit), (members.largest, members.unit))
    twin, members = twin.in_unit(unit), members.in_unit(unit)
    whole = float(twin.axes[WHOLE].mean_square()[0])
    return Noise(
        members=members.count,
        spread={axis: members.spread[axis] / members.count for axis in twin.axes},
        drift={axis: members.drift[axis] / members.count for axis in twin.axes},
        floor={axis: _floor(sums.mean_square(), roundoff, whole) for axis, sums in twin.axes.items()},
        largest=members.largest,
        fine=fine,
        unit=unit,
    )


def distances(candidate: Differences, yardstick: Noise) -> dict[str, Distance]:
    """The distances of a candidate from its twin by name, in multiples of the noise.

    "spread" is the root mean square over the whole output, "slice" that of the worst slice, "drift" the worst signed
    mean of a slice, "largest" the largest difference over the largest that noise made.
    """
    spread, drift = [], []
    for axis, sums in candidate.in_unit(yardstick.unit).axes.items():
        variance = _variance(yardstick, axis, sums)
        means, floor = yardstick.drift[axis], yardstick.floor[axis]
        typical = _typical(means, variance)
        spreads, drifts = [], []
        for part in _parts(len(variance)):
            own = sums.part(part)
            spreads.append(_worst(own.mean_square(), variance[part], axis, part.start))
            drawn = _moderated(means[part], variance[part], float(yardstick.members), typical)
            drawn = np.maximum(drawn, variance[part] / MOST_SAMPLES) + floor[part] / 10
            drifts.append(_worst(_squared(own.mean()), drawn, axis, part.start))
        spread.append(max(spreads, key=_times))
        drift.append(max(drifts, key=_times))
    most = max(yardstick.largest, yardstick.least(), SMALLEST)
    return {
        "spread": spread[0],
        "slice": max(spread, key=_times),
        "drift": max(drift, key=_times),
        "largest": Distance(min(candidate.largest / most, BEYOND)),
    }


def _times(distance: Distance) -> float:
    return distance.times


def _parts(slices: int) -> list[slice]:
    """The slices of an axis in parts: where each is an element there are as many as in the output."""
    return [slice(start, min(start + BLOCK, slices)) for start in range(0, max(1, slices), BLOCK)]


def _variance(yardstick: Noise, axis: int, sums: Sums) -> Array:
    """The variance of the noise in every slice of an axis."""
    spread, floor = yardstick.spread[axis], yardstick.floor[axis]
    typical, variance = _typical(spread, floor), np.empty_like(floor)
    for part in _parts(len(floor)):
        freedom = yardstick.members * sums.count[part]
        variance[part] = np.maximum(_moderated(spread[part], floor[part], freedom, typical), floor[part])
    return variance


def _worst(squares: Array, variances: Array, axis: int, start: int) -> Distance:
    times = np.nan_to_num(np.sqrt(squares / np.maximum(variances, TINY)), nan=BEYOND, posinf=BEYOND)
    index = int(np.argmax(times))
    return Distance(float(times[index]), axis, start + index)


def _typical(variances: Array, scale: Array) -> float:
    """The median multiple of their scale that variances are."""
    multiples = np.maximum(scale, TINY)
    np.divide(variances, multiples, out=multiples)
    return float(np.median(multiples, overwrite_input=True))


def _moderated(variances: Array, scale: Array, freedom: Array | float, typical: float) -> Array:
    """Variances of slices, drawn towards the typical multiple of their scale the less they are known."""
    drawn: Array = (freedom * variances + PRIOR * typical * scale) / (freedom + PRIOR)
    return drawn


def _squared(values: Array) -> Array:
    """The squares in the place of values; infinite beyond the range."""
    with np.errstate(over="ignore"):
        return np.square(values, out=values)


def _floor(squares: Array, roundoff: float, whole: float) -> Array:
    """In the place of mean squares: evenly spread over one rounding; 2^-24 of the whole where a slice is all zero."""
    squares *= roundoff**2
    squares /= 3
    squares += whole * 2.0**-48
    return squares
