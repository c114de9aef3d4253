"""Outputs in pieces that fit the cache, spread over the processors: no output is ever joined whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from harness.metrics.base import Tensor

PIECE = 1 << 18
"""Elements of a piece, 1 MiB of float32: threads seldom meet at the interpreter's lock, and caches still hold it."""
THREADS = 8
"""At most: the memory is the bottleneck before."""

Pair = tuple[Tensor, Tensor]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Piece:
    """Neighbouring elements of an output, flat, or neighbouring rows of it; small batches share a piece."""

    offset: int
    """Index of the first element or row, counted over all batches."""
    parts: tuple[tuple[Any, Any, slice], ...]
    """Reference and candidate, as arrays or their flat iterators, and which part of them."""

    @property
    def size(self) -> int:
        """The number of elements or rows."""
        return sum(part.stop - part.start for *_, part in self.parts)

    def load(self) -> Pair:
        """Reference and candidate: views of one batch, or copies of several small ones."""
        if len(self.parts) == 1:
            reference, candidate, part = self.parts[0]
            return reference[part], candidate[part]
        return np.concatenate([r[s] for r, _, s in self.parts]), np.concatenate([c[s] for _, c, s in self.parts])


def elements(batches: Iterable[Pair]) -> list[Piece]:
    """All elements of all batches, flat; the two of a pair have one shape."""
    return list(_cut([(_flat(r), _flat(c)) for r, c in batches], PIECE))


def rows(batches: Iterable[Pair]) -> list[Piece]:
    """All vectors along the last axis of all batches, as matrices of one width."""
    matrices = [(r.reshape(-1, r.shape[-1]), c.reshape(-1, c.shape[-1])) for r, c in batches if r.size]
    width = max((r.shape[1] for r, _ in matrices), default=1)
    return list(_cut(matrices, max(1, PIECE // width)))


def spread(pieces: Sequence[Item], work: Callable[[Iterator[Item]], Result]) -> list[Result]:
    """What `work` makes of its share of the pieces, one result a thread; NumPy runs outside the interpreter's lock."""
    threads = min(len(pieces), THREADS, len(os.sched_getaffinity(0)))
    shared = iter(pieces)  # threads may take from a list's iterator in turns: each item goes to one of them
    if threads <= 1:
        return [work(shared)]
    with ThreadPoolExecutor(threads) as pool:
        return [started.result() for started in [pool.submit(work, shared) for _ in range(threads)]]


def _flat(tensor: Tensor) -> Any:
    """A flat view; of a tensor that does not lie in one stretch its iterator, whose slices are copies."""
    return tensor.reshape(-1) if tensor.flags.c_contiguous else tensor.flat


def _cut(pairs: Sequence[tuple[Any, Any]], most: int) -> Iterator[Piece]:
    offset = start = 0
    run: list[tuple[Any, Any, slice]] = []
    for reference, candidate in pairs:
        size = len(reference)
        alike = not run or getattr(run[0][0], "shape", ())[1:] == getattr(reference, "shape", ())[1:]
        if run and (not alike or offset - start + size > most):
            yield Piece(start, tuple(run))
            run, start = [], offset
        if size > most:
            for low in range(0, size, most):
                yield Piece(offset + low, ((reference, candidate, slice(low, min(low + most, size))),))
            start = offset + size
        elif size:
            run.append((reference, candidate, slice(0, size)))
        offset += size
    if run:
        yield Piece(start, tuple(run))
