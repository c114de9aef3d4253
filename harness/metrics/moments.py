"""The sums and maxima that all metrics of numbers are made of, measured in one pass over pieces of the outputs.

Inside a piece the arithmetic is that of float32 where the elements' type has no more to give, and the sums are taken
in blocks by BLAS; blocks and pieces are added up in higher precision. That holds to about 1e-6 of each sum. A piece
with a NaN, an infinity, or numbers whose squares leave the range goes the careful way: in float64, finite elements
only, squares scaled by powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics.arithmetic import (
    SAFE,
    Floats,
    Scratch,
    as_float64,
    difference,
    dot,
    load,
    scaled_dot,
    working_dtype,
)
from harness.metrics.base import Tensor
from harness.metrics.elementwise import Allowance, Worst
from harness.metrics.pieces import Pair
from harness.metrics.ulp import finite_steps, has_steps, steps


@dataclass(frozen=True)
class Moments:
    """Sums and maxima over the elements finite in both: r of the reference, c of the candidate, d = c - r."""

    offset: int = 0
    size: int = 0
    """All elements; a complex one counts as two."""
    finite: int = 0
    signal: Any = 0.0
    """sum r^2, a long double like the following: float64 cannot hold every square."""
    energy: Any = 0.0
    """sum c^2"""
    cross: Any = 0.0
    """sum r d"""
    noise: Any = 0.0
    """sum d^2"""
    error: Any = 0.0
    """sum |d|"""
    relative: Any = 0.0
    """sum |d| / max(|c|, |r|), 0 where both are 0"""
    peak: float = 0.0
    """max |r|"""
    max_abs: float = 0.0
    max_rel: float = 0.0
    steps: float = 0.0
    """Largest distance in units in the last place."""
    worst: Worst | None = None
    beyond: int = 0
    """Elements beyond their allowance."""
    unlike: int = 0
    """Elements NaN or infinite that are not the same in both."""
    both_nan: int = 0
    first: tuple[int, float, float] | None = None
    """The first unlike element: flat index, expected, found."""

    @property
    def all_finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return self.finite == self.size

    @property
    def reference_rms(self) -> float:
        """Root mean square of the reference."""
        return float(np.sqrt(self.signal / self.finite)) if self.finite else 0.0

    @property
    def rms(self) -> float:
        """Root mean square of the difference."""
        return float(np.sqrt(self.noise / self.finite)) if self.finite else 0.0


_LARGEST = ("peak", "max_abs", "max_rel", "steps")


def total(parts: Sequence[Moments]) -> Moments:
    """The moments of all pieces together, the same in whichever order they were measured."""
    if len(parts) == 1:
        return parts[0]
    parts = sorted(parts, key=lambda part: part.offset)
    merged: dict[str, Any] = {}
    for field in fields(Moments):
        values = [getattr(part, field.name) for part in parts]
        if field.name in _LARGEST:
            merged[field.name] = max(values, default=0.0)
        elif field.name not in ("offset", "worst", "first"):
            merged[field.name] = sum(values)
    merged["worst"] = max((part.worst for part in parts if part.worst), key=lambda worst: worst.ratio, default=None)
    merged["first"] = next((part.first for part in parts if part.first), None)
    return Moments(**merged)


def measure(offset: int, pair: Pair, allowance: Allowance | None, scratch: Scratch) -> Moments:
    """The moments of one piece: flat vectors of equal length and any numeric type."""
    with np.errstate(all="ignore"):
        return _fast(offset, pair, allowance, scratch) or _careful(offset, pair, allowance)


def reference_sum(reference: Tensor) -> tuple[Any, int]:
    """sum r^2 and the number of finite elements of one piece."""
    with np.errstate(all="ignore"):
        values: Any = reference.astype(working_dtype(reference, reference, None), copy=False)
        low, high = SAFE[values.dtype.name]
        peak = max(float(values.max()), -float(values.min()))
        if peak == 0 or low <= peak <= high:
            return dot(values, values), values.size
        values = values[np.isfinite(values)].astype(np.float64)
        return scaled_dot(values, values), values.size


def _fast(offset: int, pair: Pair, allowance: Allowance | None, scratch: Scratch) -> Moments | None:
    """The moments in the scratch memory's precision; None where that would not hold."""
    (r_room, c_room, d, magnitude, largest, spare), ones, mask = scratch.cut(pair[0].size)
    r, c = load(pair[0], r_room), load(pair[1], c_room)
    difference(pair, r, c, d)
    np.abs(r, out=magnitude)
    np.abs(c, out=largest)
    cross, noise = dot(r, d), dot(d, d)
    np.abs(d, out=d)
    low, high = SAFE[scratch.dtype.name]
    peaks = [float(values.max()) for values in (magnitude, largest, d)]
    if not all(peak == 0 or low <= peak <= high for peak in peaks):
        return None
    worst, beyond = _worst(offset, (r, c, d), magnitude, allowance, spare, mask)
    max_rel = _relative(d, np.maximum(magnitude, largest, out=spare), spare)
    sums = (dot(r, r), dot(c, c), cross, noise, dot(d, ones), dot(spare, ones))
    distance = 0.0
    if has_steps(pair[0]) and pair[0].dtype == pair[1].dtype:
        # only what is off by its own size can have changed its sign
        apart = np.flatnonzero(np.greater_equal(spare, 1, out=mask)) if max_rel >= 1 else None
        distance = finite_steps(pair, (magnitude, largest) if r is pair[0] else None, apart, spare)
    elif has_steps(pair[0]):
        distance = steps(*pair)
    return Moments(offset, r.size, r.size, *sums, peaks[0], peaks[2], max_rel, distance, worst, beyond)


def _worst(
    offset: int,
    values: tuple[Floats, Floats, Floats],
    magnitude: Floats,
    allowance: Allowance | None,
    spare: Floats,
    mask: NDArray[np.bool_],
) -> tuple[Worst | None, int]:
    """The worst element, its ratio in float64, and how many are beyond their allowance."""
    if allowance is None or not spare.size:
        return None, 0
    r, c, error = values
    allowance.allowed(magnitude, spare)
    np.divide(error, spare, out=spare)
    if allowance.atol == 0:
        np.copyto(spare, 0, where=np.equal(error, 0, out=mask))
    index = int(spare.argmax())
    expected, found = float(r[index]), float(c[index])
    exact = float(error[index]) if error.dtype == np.float64 else abs(found - expected)
    ratio = allowance.ratio(exact, expected)
    beyond = max(1, int(np.count_nonzero(np.greater(spare, 1, out=mask)))) if ratio > 1 else 0
    return Worst(ratio, offset + index, expected, found), beyond


def _relative(error: Floats, scale: Floats, out: Floats) -> float:
    """|d| / max(|c|, |r|), 0 where both are 0, written to `out`, which may be `scale`; the largest of them."""
    if not scale.size:
        return 0.0
    if scale.min() == 0:
        scale += scale == 0
    return float(np.divide(error, scale, out=out).max())


def _careful(offset: int, pair: Pair, allowance: Allowance | None) -> Moments:
    """The moments in float64 over the elements finite in both, whatever their magnitude."""
    r, c = (as_float64(tensor) for tensor in pair)
    finite = np.isfinite(r) & np.isfinite(c)
    nan = np.isnan(r) & np.isnan(c)
    unlike = ~finite & ~((r == c) | nan)
    first = int(np.argmax(unlike))
    size, both_nan, several = r.size, int(np.count_nonzero(nan)), int(np.count_nonzero(unlike))
    where = (offset + first, float(r[first]), float(c[first])) if several else None
    distance = steps(*pair) if has_steps(pair[0]) else 0.0
    r, c = r[finite], c[finite]
    d = c - r
    error, magnitude, spare = np.abs(d), np.abs(r), np.empty_like(r)
    worst, beyond = _worst(0, (r, c, error), magnitude, allowance, spare, np.empty(r.size, np.bool_))
    if worst is not None:
        worst = replace(worst, index=offset + int(np.flatnonzero(finite)[worst.index]))
    max_rel = _relative(error, np.maximum(magnitude, np.abs(c)), spare)
    ones = np.ones_like(r)
    return Moments(
        offset=offset,
        size=size,
        finite=r.size,
        signal=scaled_dot(r, r),
        energy=scaled_dot(c, c),
        cross=scaled_dot(r, d),
        noise=scaled_dot(d, d),
        error=scaled_dot(error, ones),
        relative=scaled_dot(spare, ones),
        peak=float(magnitude.max(initial=0)),
        max_abs=float(error.max(initial=0)),
        max_rel=max_rel,
        steps=distance,
        worst=worst,
        beyond=beyond,
        unlike=several,
        both_nan=both_nan,
        first=where,
    )
