"""The sums and maxima that all metrics of numbers are made of, measured in one pass over pieces of the outputs.

Inside a piece the arithmetic is that of float32 where the elements' type has no more to give, and the sums are taken
in blocks by BLAS; blocks and pieces are added up in higher precision. That holds to about 1e-6 of each sum. A piece
with a NaN, an infinity, or numbers whose squares leave the range goes the careful way: in float64, finite elements
only, squares scaled by powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from harness.metrics.arithmetic import (
    SAFE,
    Floats,
    Scratch,
    added,
    as_float64,
    difference,
    dot,
    load,
    maxima,
    scaled_dot,
    working_dtype,
)
from harness.metrics.base import Tensor
from harness.metrics.elementwise import Worst
from harness.metrics.extremes import Peaks
from harness.metrics.pieces import Pair, Piece


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


def measure(piece: Piece, scratch: Scratch) -> tuple[Moments, Peaks]:
    """The moments of one piece, flat vectors of any numeric type; without what `extremes` finds later."""
    pair = piece.load()
    with np.errstate(all="ignore"):
        return _fast(piece, pair, scratch) or (_careful(piece.offset, pair), Peaks(piece))


def reference_sum(reference: Tensor) -> tuple[Any, int]:
    """sum r^2 and the number of finite elements of one piece."""
    with np.errstate(all="ignore"):
        values: Any = reference.astype(working_dtype(reference, reference), copy=False)
        peak = max(float(values.max()), -float(values.min()))
        if _safe(values.dtype, peak):
            return dot(values, values), values.size
        values = values[np.isfinite(values)].astype(np.float64)
        return scaled_dot(values, values), values.size


def _fast(piece: Piece, pair: Pair, scratch: Scratch) -> tuple[Moments, Peaks] | None:
    """The moments in the scratch memory's precision; None where that would not hold."""
    r_room, c_room, d, magnitude, spare = scratch.cut(pair[0].size)
    r, c = load(pair[0], r_room), load(pair[1], c_room)
    difference(pair, r, c, d)
    cross, noise = dot(r, d), dot(d, d)
    errors = maxima(np.abs(d, out=d))
    peak, max_abs = float(np.maximum.reduce(np.abs(r, out=magnitude))), float(errors.max())
    if not _safe(scratch.dtype, peak, max_abs):
        return None
    np.maximum(magnitude, np.abs(c, out=spare), out=spare)
    relatives = maxima(np.divide(d, spare, out=spare))
    if np.isnan(relatives).any():  # 0 / 0
        relatives = maxima(np.fmax(spare, 0, out=spare))
    signal = dot(r, r)
    energy = signal + 2 * cross + noise
    if noise > signal / 16:  # little may be left of them
        if not _safe(scratch.dtype, float(np.abs(c, out=magnitude).max())):
            return None
        energy = dot(c, c)
    sums = (signal, energy, cross, noise, added(d), added(spare))
    moments = Moments(piece.offset, r.size, r.size, *sums, peak, max_abs, float(relatives.max()))
    return moments, Peaks(piece, errors, relatives)


def _safe(dtype: np.dtype[Any], *peaks: float) -> bool:
    """Whether squares of numbers up to these can be added up."""
    low, high = SAFE[dtype.name]
    return all(peak == 0 or low <= peak <= high for peak in peaks)


def _relative(error: Floats, scale: Floats) -> Floats:
    """|d| / max(|c|, |r|), 0 where both are 0."""
    return error / np.where(scale == 0, 1, scale)


def _careful(offset: int, pair: Pair) -> Moments:
    """The moments in float64 over the elements finite in both, whatever their magnitude."""
    r, c = (as_float64(tensor) for tensor in pair)
    finite = np.isfinite(r) & np.isfinite(c)
    nan = np.isnan(r) & np.isnan(c)
    unlike = ~finite & ~((r == c) | nan)
    first = int(np.argmax(unlike))
    size, both_nan, several = r.size, int(np.count_nonzero(nan)), int(np.count_nonzero(unlike))
    where = (offset + first, float(r[first]), float(c[first])) if several else None
    r, c = r[finite], c[finite]
    d = c - r
    error, magnitude = np.abs(d), np.abs(r)
    relative = _relative(error, np.maximum(magnitude, np.abs(c)))
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
        relative=scaled_dot(relative, ones),
        peak=float(magnitude.max(initial=0)),
        max_abs=float(error.max(initial=0)),
        max_rel=float(relative.max(initial=0)),
        unlike=several,
        both_nan=both_nan,
        first=where,
    )
