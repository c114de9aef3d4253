"""How a run is made, and its seats: where cases are worked on at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.records import Duel, Failure, Outcome, Plan, Screening
from harness.runner.client import Halt, Limits
from harness.runner.workers import Told

if TYPE_CHECKING:
    from harness.runner.duels import Match
    from harness.runner.screen import Case

DEFAULT_TIMEOUT_S = 600.0


class Measuring(Protocol):
    """Where cases are measured: a bench, here or elsewhere."""

    def outcome(self, plan: Plan, before: Sequence[Failure] = ()) -> Outcome: ...

    def raise_sick(self) -> None: ...

    @property
    def told(self) -> Told: ...


class Elsewhere(Measuring, Protocol):
    """A seat on another machine."""

    def launch(self, matches: Sequence[Match], first: str) -> Iterator[Duel]:
        """As `duels.launch`."""

    def once_more(self, cases: Sequence[Case]) -> Iterator[Screening]:
        """As `screen.once_more`."""


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
    others: tuple[Elsewhere, ...] = field(default=(), compare=False)
    """The seats, where they are on other machines."""
    elsewhere: Elsewhere | None = field(default=None, compare=False)
    """The one of these that a seat is."""
    halt: Halt = field(default_factory=Halt, compare=False)

    @property
    def limits(self) -> Limits:
        """What one worker may take."""
        return Limits(self.timeout_s, self.worker_memory_mib, self.gpu, self.halt)

    @property
    def seats(self) -> list[Settings]:
        """The settings of each seat: jobs take the GPUs by turns."""
        if self.others:
            return [replace(self, jobs=1, others=(), elsewhere=one) for one in self.others]
        gpus = self.gpus or (self.gpu,)
        return [replace(self, jobs=1, gpus=(), gpu=gpus[number % len(gpus)]) for number in range(self.jobs)]
