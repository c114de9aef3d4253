"""The arithmetic inside a piece: in memory used again and again, in the least precision that holds the values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics.base import Tensor
from harness.metrics.elementwise import Allowance
from harness.metrics.pieces import Pair

Floats = NDArray[np.floating[Any]]

BLOCK = 4096
"""Elements that BLAS adds up in the elements' own precision; below the size at which it starts threads of its own.

Largest errors are kept for as many elements, too: see `extremes`.
"""
SAFE = {"float32": (2.0**-44, 2.0**40), "float64": (2.0**-400, 2.0**400)}
"""Between these, sums of squares neither overflow nor lose what counts to underflow; as are zeros."""


class Scratch:
    """Memory that one thread uses for every piece: fresh memory would cost more than the arithmetic."""

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._arrays = [np.empty(size, dtype) for _ in range(5)]

    def cut(self, size: int) -> list[Floats]:
        """Five arrays of that many elements."""
        return [array[:size] for array in self._arrays]


def working_dtype(reference: Tensor, candidate: Tensor, allowance: Allowance | None = None) -> np.dtype[Any]:
    """float32 where it holds every value of the two types and the allowance, else float64."""
    tiny = allowance is not None and any(0 < x < 1e-30 or x > 1e30 for x in (allowance.atol, allowance.rtol))
    narrow = all(_fits(tensor.dtype) for tensor in (reference, candidate))
    return np.dtype(np.float32 if narrow and not tiny else np.float64)


def _fits(dtype: np.dtype[Any]) -> bool:
    if dtype.kind in "iub":
        return dtype.itemsize <= 2
    if dtype.kind == "c":
        return dtype.itemsize == 8
    return dtype.itemsize <= 4  # float32, float16 and the narrower types of ml_dtypes


def real_parts(pair: Pair) -> Pair:
    """Complex elements as pairs of real ones; everything else as it is."""
    if pair[0].dtype.kind != "c":
        return pair
    single = pair[0].dtype == pair[1].dtype == np.complex64
    reference, candidate = (np.ascontiguousarray(one, np.complex64 if single else np.complex128) for one in pair)
    real = np.float32 if single else np.float64
    return reference.view(real), candidate.view(real)


def load(tensor: Tensor, room: Floats) -> Floats:
    """The values in the room's precision: the tensor itself where it has it."""
    if tensor.dtype == room.dtype:
        same: Any = tensor
        return same  # type: ignore[no-any-return]
    np.copyto(room, tensor, casting="unsafe")
    return room


def as_float64(tensor: Tensor) -> Floats:
    """The values in float64."""
    return tensor.astype(np.float64, copy=False)


def difference(pair: Pair, r: Floats, c: Floats, out: Floats) -> None:
    """c - r; of 64-bit integers exactly before it is rounded."""
    if pair[0].dtype != pair[1].dtype or pair[0].dtype not in (np.int64, np.uint64):
        np.subtract(c, r, out=out)
        return
    reference, candidate = (tensor.view(np.uint64) for tensor in pair)
    more = np.greater_equal(*pair[::-1])
    np.copyto(out, np.where(more, candidate - reference, reference - candidate), casting="unsafe")
    np.negative(out, out=out, where=~more)


def dot(x: Floats, y: Floats) -> float:
    """x.y in blocks, each in the precision of x and y, their sum in float64."""
    whole = x.size - x.size % BLOCK
    rest = float(np.dot(x[whole:], y[whole:])) if whole < x.size else 0.0
    if not whole:
        return rest
    sums = _by_block(x[:whole].reshape(-1, BLOCK), y[:whole].reshape(-1, BLOCK))
    return float(np.add.reduce(sums, dtype=np.float64)) + rest


def added(x: Floats) -> float:
    """The sum of x, taken like a dot product."""
    ones = np.ones(min(x.size, BLOCK), x.dtype)
    whole = x.size - x.size % BLOCK
    rest = float(np.dot(x[whole:], ones[: x.size - whole])) if whole < x.size else 0.0
    if not whole:
        return rest
    return float(np.add.reduce(_by_block(x[:whole].reshape(-1, BLOCK), ones), dtype=np.float64)) + rest


def _by_block(x: Floats, y: Floats) -> Floats:
    """The dot product of each row with the same row of y, or with y; before NumPy 2 without BLAS."""
    sums: Floats = np.vecdot(x, y) if hasattr(np, "vecdot") else np.einsum("ij,ij->i", x, np.broadcast_to(y, x.shape))
    return sums


def maxima(x: Floats) -> Floats:
    """The largest value of each block; NaN where there is one."""
    whole = x.size - x.size % BLOCK
    found = np.empty(-(-x.size // BLOCK), x.dtype)
    if whole:
        np.maximum.reduce(x[:whole].reshape(-1, BLOCK), axis=1, out=found[: whole // BLOCK])
    if whole < x.size:
        found[-1] = np.maximum.reduce(x[whole:])
    return found


def scaled_dot(x: Floats, y: Floats) -> Any:
    """x.y of float64 vectors as a long double; scaled by powers of two where a product could overflow or underflow."""
    if not x.size:
        return np.longdouble(0)
    peaks = float(np.abs(x).max()), float(np.abs(y).max())
    low, high = SAFE["float64"]
    if all(peak == 0 or low <= peak <= high for peak in peaks):
        return np.longdouble(dot(x, y))
    a, b = (math.frexp(peak)[1] for peak in peaks)
    return np.ldexp(np.longdouble(dot(np.ldexp(x, -a), np.ldexp(y, -b))), a + b)
