"""How a run is made, and its seats: where cases are worked on at the same time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.runner.client import Halt, Limits

DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Settings:
    """How a run is made."""

    cache: Path
    timeout_s: float = DEFAULT_TIMEOUT_S
    jobs: int = 1
    """Seats."""
    keep_outputs: Path | None = None
    retries: int = 0
    """How often a case is measured again that did not fail by itself: see `RETRIED`."""
    worker_memory_mib: int | None = None
    """What a worker and its children may hold of the host's memory."""
    kept_since: float | None = None
    """Nothing that was kept before (seconds since the epoch) is used; None: whatever is kept."""
    trusted: frozenset[str] = frozenset()
    """Digests of engine files that the user or an accepted baseline names."""

    gpus: tuple[str, ...] = ()
    """UUIDs of what the seats are spread over, where there are several."""
    gpu: str | None = None
    """UUID of the only one that workers see; None for all."""
    halt: Halt = field(default_factory=Halt, compare=False)

    @property
    def limits(self) -> Limits:
        """What one worker may take."""
        return Limits(self.timeout_s, self.worker_memory_mib, self.gpu, self.halt)

    @property
    def seats(self) -> list[Settings]:
        """The settings of each seat: jobs take the GPUs by turns."""
        gpus = self.gpus or (self.gpu,)
        return [replace(self, jobs=1, gpus=(), gpu=gpus[number % len(gpus)]) for number in range(self.jobs)]
