"""Cold caches: the GPU's second-level cache is overwritten before every iteration, outside of what is timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from harness.backends.base import Step
from harness.backends.cuda import check, l2_bytes, runtime


@contextmanager
def flushed(step: Step) -> Iterator[Step]:
    """The step after a memset of the cache's size on its own stream, each time; as it is where it has no stream."""
    if step.stream is None:
        yield step
        return
    stream, size = step.stream, l2_bytes()
    address = check(runtime().cudaMalloc(size))

    def overwrite() -> None:
        check(runtime().cudaMemsetAsync(address, 0, size, stream))
        check(runtime().cudaStreamSynchronize(stream))

    try:
        yield replace(step, before=overwrite)
    finally:
        runtime().cudaFree(address)
