"""Keeps the memory of a worker under a limit: RLIMIT_AS would not do, because CUDA reserves more than it takes."""

from __future__ import annotations

from time import monotonic

from harness.runner.processes import resident_mib, with_descendants

LOOK_S = 0.1
FAMILY_S = 1.0
"""How often its children are looked for; their memory is looked at as often as its own."""


class Overgrown(Exception):
    """A worker holds more memory than it may; the message has the figures."""


class Watchdog:
    """Looks at the resident memory of a process and its descendants."""

    def __init__(self, pid: int, limit_mib: int) -> None:
        self._limit_mib = limit_mib
        self._pids = [pid]
        self._next = self._next_family = 0.0

    def look(self) -> None:
        """Raise Overgrown where they hold more than the limit; at most ten times a second."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_S
        if now >= self._next_family:
            self._next_family = now + FAMILY_S
            self._pids = with_descendants(self._pids[0])
        held_mib = resident_mib(self._pids, self._limit_mib)
        if held_mib > self._limit_mib:
            others = len(self._pids) - 1
            family = f" and {others} processes that it started" if others > 1 else ""
            raise Overgrown(
                f"host memory: the worker{family} held {held_mib:.0f} MiB and was ended: "
                f"--worker-memory allows {self._limit_mib} MiB"
            )
