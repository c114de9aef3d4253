"""The sides of a duel: what is timed in blocks, here or in another process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from harness.backends.base import Step
from harness.timing.host import schedstat_of_thread, spent
from harness.timing.laps import timed, uncollected


@dataclass(frozen=True)
class Block:
    """Consecutive iterations of one side, and what their thread got from the CPU meanwhile."""

    host_ms: tuple[float, ...]
    gpu_ms: tuple[float, ...] | None
    wall_s: float | None = None
    """None, as all that follows, for scripted durations: nothing really ran."""
    cpu_s: float | None = None
    waited_s: float | None = None
    """Time in which the thread could have run and no CPU was free; None where the kernel does not tell."""
    switches: int | None = None
    """Times that a thread of the process lost its CPU against its will."""


class Side(Protocol):
    """What can be timed in blocks."""

    @property
    def decided_on(self) -> str:
        """The clock that decides: "gpu" or "host"."""

    def block(self, count: int) -> Block:
        """That many iterations, one after the other, each timed by itself."""


class LocalSide:
    """A bound step of this process; it is timed by the thread that made the side, and closed after use."""

    def __init__(self, step: Step) -> None:
        self.decided_on = "host" if step.stream is None or step.scripted_ms is not None else "gpu"
        self._scripted = step.scripted_ms is not None
        self._schedstat = schedstat_of_thread()
        self._held = ExitStack()
        self._lap = self._held.enter_context(timed(step))

    def block(self, count: int) -> Block:
        """That many iterations; the garbage collector rests meanwhile."""
        with uncollected():
            before = spent(self._schedstat)
            laps = [self._lap() for _ in range(count)]
            used = spent(self._schedstat).since(before)
        host_ms = tuple(lap.host_ms for lap in laps)
        gpu_ms = tuple(lap.gpu_ms for lap in laps if lap.gpu_ms is not None) or None
        if self._scripted:
            return Block(host_ms, gpu_ms)
        return Block(host_ms, gpu_ms, used.wall_s, used.cpu_s, used.waited_s, used.switches)

    def close(self) -> None:
        """Free the events."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
