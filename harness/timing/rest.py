"""Waits until the threads of this process rest, so that they take nothing from another that is timed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.errors import CaseError

LOOK_S = 1e-3
BUSY = 0.5
"""Of one CPU: a process that uses less while it waits is at rest."""
PATIENCE_S = 1.0


def rest(
    clock: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the process uses no CPU any more; CaseError when it never does.

    Threads of ONNX Runtime's pools spin for about 30 ms after the last run, in case another follows; that is how it
    runs for its users, so it is waited for and not switched off.
    """
    start, (then, used) = clock(), (clock(), cpu())
    while True:
        sleep(LOOK_S)
        now, more = clock(), cpu()
        if more - used < BUSY * (now - then):
            return
        if now - start > PATIENCE_S:
            raise CaseError(
                f"the process still uses a CPU {PATIENCE_S:g} s after its last iteration: two sides in two processes "
                "would disturb each other; fewer threads, or a spinning that ends, would let them take turns"
            )
        then, used = now, more
