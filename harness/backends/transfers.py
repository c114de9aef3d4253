"""Iterations with their copies: inputs in before the work, outputs out after it, on the same stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harness.backends.base import Part, Step, Tensor
from harness.backends.cuda import Pinned, check, runtime


class Transfers:
    """Pinned memory for every input and output; `free` when nothing is timed any more.

    `inputs` are device address and contiguous host array by name, `outputs` device address and size in bytes.
    """

    def __init__(
        self, inputs: Mapping[str, tuple[int, Tensor]], outputs: Mapping[str, tuple[int, int]], stream: int
    ) -> None:
        self._stream = stream
        self._in: list[tuple[int, Pinned]] = []
        self._out: list[tuple[int, Pinned]] = []
        for address, value in inputs.values():
            self._in.append((address, Pinned(value.nbytes)))
            self._in[-1][1].fill(value)
        for address, nbytes in outputs.values():
            self._out.append((address, Pinned(nbytes)))

    def around(self, compute: Callable[[int], None]) -> Step:
        """A step of which `compute` is the middle part."""
        parts = (Part("copy_in", self._copy_in), Part("compute", partial(compute, 1)), Part("copy_out", self._copy_out))
        return Step(partial(_run, parts), self._stream, parts=parts)

    def free(self) -> None:
        """Give the pinned memory back."""
        for _, pinned in (*self._in, *self._out):
            pinned.free()

    def _copy_in(self) -> None:
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        for address, pinned in self._in:
            check(runtime().cudaMemcpyAsync(address, pinned.address, pinned.nbytes, kind, self._stream))

    def _copy_out(self) -> None:
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        for address, pinned in self._out:
            check(runtime().cudaMemcpyAsync(pinned.address, address, pinned.nbytes, kind, self._stream))


def _run(parts: Sequence[Part], count: int) -> None:
    for _ in range(count):
        for part in parts:
            part.run()
