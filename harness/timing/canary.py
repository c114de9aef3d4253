"""A fixed piece of work that no change under test can touch: where it moves, the machine moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import numpy as np

from harness.backends.base import Step
from harness.backends.cuda import Buffer, Stream, check, runtime
from harness.records import LatencyPlan, Quantiles
from harness.timing.loop import measure
from harness.timing.spin import Spin

CACHED = 1 << 16
"""float32 elements of each of two arrays: half a MiB together, which stays in a second-level cache."""
COPIED_MIB = 4
"""More than most second-level caches hold: this part sees neighbours on the memory's bus."""
PASSES = 8
MULTIPLY_ADDS = 20_000
COPIED_ON_GPU_MIB = 64
"""More than the second-level cache of any GPU of today holds."""
PLAN = LatencyPlan(min_time_s=0.1, min_count=64, warmup_s=0.02)
FRESH_S = 5.0
"""For so long one measurement stands for the machine: its slow spells last longer."""


class Canary:
    """The canary of one process, measured again where the last measurement is no longer fresh."""

    def __init__(
        self, measured: Callable[[str], Quantiles] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._measured, self._clock = measured or canary, clock
        self._known: dict[str, tuple[float, float | None]] = {}

    def p10_ms(self, device: str) -> float | None:
        """The quantile that times are divided by, on "cpu" or "cuda"; CaseError where it cannot be measured."""
        when, value = self._known.get(device, (0.0, None))
        if value is None or self._clock() - when > FRESH_S:
            value = self._measured(device).p10_ms
            self._known[device] = self._clock(), value
        return value


def canary(device: str) -> Quantiles:
    """The latency of the fixed work on "cpu" or "cuda"; DeviceError where there is no GPU."""
    if device == "cpu":
        return measure(host_step(), PLAN).host
    with gpu_step() as step:
        latency = measure(step, PLAN)
    return latency.gpu or latency.host


def host_step() -> Step:
    """Arithmetic in cache and a copy through memory, on one thread: NumPy's loops start no others."""
    x, y = np.linspace(0, 1, CACHED, dtype=np.float32), np.ones(CACHED, np.float32)
    source = np.zeros(COPIED_MIB << 20, np.uint8)
    target = np.ones_like(source)

    def run(count: int) -> None:
        for _ in range(count):
            for _ in range(PASSES):
                np.multiply(x, 0.5, out=y)
                np.add(y, 0.5, out=x)
            np.copyto(target, source)

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
