"""A fixed piece of work that no change under test can touch: where it moves, the machine moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from harness.backends.base import Step
from harness.backends.cuda import Buffer, Stream, check, runtime
from harness.timing.spin import Spin

SIDE = 96
"""Of float32 matrices, 36 KiB each: all of them stay in a core's own cache."""
MULTIPLY_ADDS = 20_000
COPIED_ON_GPU_MIB = 64
"""More than the second-level cache of any GPU of today holds."""


@contextmanager
def canary(device: str) -> Iterator[Step]:
    """The fixed work on "cpu" or "cuda"; DeviceError where there is no GPU."""
    if device == "cpu":
        yield host_step()
        return
    with gpu_step() as step:
        yield step


def host_step() -> Step:
    """A product of small matrices on one thread, by NumPy's own loop; no runtime or BLAS takes part.

    Nothing goes through memory: what neighbours do there was as much as what cases differ by from run to run.
    """
    x = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    y, out = x[::-1].copy(), np.empty_like(x)

    def run(count: int) -> None:
        for _ in range(count):
            np.einsum("ij,kj->ik", x, y, out=out)

    return Step(run)


@contextmanager
def gpu_step() -> Iterator[Step]:
    """A chain of multiply-adds and a copy within the GPU's memory, on a stream of its own."""
    stream = Stream()
    spin = Spin(stream.handle)
    source, target = (Buffer(COPIED_ON_GPU_MIB << 20, stream) for _ in range(2))
    kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice

    def run(count: int) -> None:
        for _ in range(count):
            spin.launch(MULTIPLY_ADDS)
            check(runtime().cudaMemcpyAsync(target.address, source.address, source.nbytes, kind, stream.handle))

    try:
        yield Step(run, stream.handle)
    finally:
        for held in (source, target, spin, stream):
            held.free()
