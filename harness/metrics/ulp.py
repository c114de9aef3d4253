"""Distance in units in the last place of the reference's own dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics.base import Metric, Tensor

if TYPE_CHECKING:
    from harness.metrics.moments import Moments

_INTEGER = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
_MAGNITUDE = {size: (1 << (8 * size - 1)) - 1 for size in _INTEGER}
"""All bits but the sign."""


def has_steps(dtype: np.dtype[Any]) -> bool:
    """Whether the bits of a type, read as sign and magnitude, are ordered as its values."""
    name = dtype.name
    return name in ("float16", "bfloat16", "float32", "float64") or name.startswith(
        ("float8_e3", "float8_e4", "float8_e5")
    )


def steps(reference: Tensor, candidate: Tensor) -> float:
    """The largest number of representable steps between c and r where both are finite, for every type that has them."""
    with np.errstate(over="ignore"):
        same = candidate.astype(reference.dtype)
    with np.errstate(invalid="ignore"):  # bfloat16's signalling NaN
        finite = np.isfinite(reference) & np.isfinite(same)
    apart = np.subtract(_ordered(same[finite]), _ordered(reference[finite]), dtype=np.float64)
    return float(max(np.max(apart, initial=0.0), -np.min(apart, initial=0.0)))


def _ordered(values: Tensor) -> np.ndarray:
    """The bits of floats as integers that rise with the value (Bruce Dawson, Comparing Floating Point Numbers)."""
    bits = np.ascontiguousarray(values).view(_INTEGER[values.dtype.itemsize])
    return np.where(bits < 0, np.iinfo(bits.dtype).min - bits, bits)


def finite_steps(pair: tuple[Any, Any], rooms: Sequence[Any]) -> float:
    """The same, faster, for finite vectors of one type, in memory as large.

    Where the signs agree the distance is that of the magnitudes' bits, else their sum, which is the larger of the two.
    """
    size = pair[0].dtype.itemsize
    integer, bits = _INTEGER[size], _MAGNITUDE[size]
    r, c = (tensor.view(integer) for tensor in pair)
    expected, found, apart = (room.view(integer)[: r.size] for room in rooms[:3])
    if np.bitwise_xor(r, c, out=apart).min() >= 0:
        np.subtract(c, r, out=apart)
        return max(float(apart.max()), -float(apart.min()))
    across = np.flatnonzero(apart < 0)
    np.subtract(np.bitwise_and(c, bits, out=found), np.bitwise_and(r, bits, out=expected), out=apart)
    signs = np.add(expected[across], found[across], dtype=np.float64)
    return max(float(apart.max()), -float(apart.min()), float(signs.max()))


def ulp(moments: Moments) -> float:
    """The largest number of representable steps between c and r where both are finite."""
    return moments.steps


def _applies(reference: Tensor) -> bool:
    return has_steps(reference.dtype)


ULP = Metric("ulp", "ulp", "lower", ulp, of="moments", applies=_applies)
