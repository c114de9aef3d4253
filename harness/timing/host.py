"""What the kernel tells of the thread that times: CPU time, waiting for a CPU, switches against its will."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Spent:
    """Counters of the calling thread, or their growth; None where the kernel does not tell."""

    wall_s: float
    cpu_s: float
    waited_s: float | None
    """Time in which the thread could have run and no CPU was free."""
    switches: int | None
    """Times that a thread of this process lost its CPU against its will: pools of threads have it too."""

    def since(self, before: Spent) -> Spent:
        """The growth since an earlier reading."""
        return Spent(
            self.wall_s - before.wall_s,
            self.cpu_s - before.cpu_s,
            None if self.waited_s is None or before.waited_s is None else self.waited_s - before.waited_s,
            None if self.switches is None or before.switches is None else self.switches - before.switches,
        )


def spent(schedstat: Path | None) -> Spent:
    """The counters now; `schedstat` is the thread's file, None where the kernel keeps none."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else None
    waited_s = _waited_s(schedstat) if schedstat else None
    return Spent(time.perf_counter(), time.thread_time(), waited_s, switches)


def schedstat_of_thread() -> Path | None:
    """The calling thread's file; None where the kernel has none or only writes zeros into it."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    try:
        told = path.read_text().split()
    except OSError:
        return None
    return path if told and any(map(int, told)) else None


def _waited_s(schedstat: Path) -> float:
    """Second field: nanoseconds spent waiting on a run queue (Documentation/scheduler/sched-stats.rst)."""
    return int(schedstat.read_bytes().split()[1]) * 1e-9
