"""The stages of a case: which one begins, how long it takes, and the lock of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from harness.runner.lock import device_locks


@dataclass
class Stages:
    """Seconds spent in each stage of one case; `announce` tells the parent which one begins."""

    announce: Callable[[str], None]
    gpu: str | None
    """UUID of the GPU that the case runs on; None: it runs on the CPU."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, *, alone: bool = False) -> Iterator[None]:
        """One stage; waiting for the device counts neither as the stage nor towards its time-out."""
        with device_locks(self.gpu, alone=alone, waits=lambda: self.announce("wait")):
            self.announce(name)
            start = perf_counter()
            try:
                yield
            finally:
                self.seconds[f"{name}_s"] = self.seconds.get(f"{name}_s", 0.0) + perf_counter() - start
