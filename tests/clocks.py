# ruff: noqa: ARG002, N802 - the names and arguments are those of pynvml
"""Steps whose clock tells a script, sides that remember their turns, and a stand-in for NVML."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace

from harness.backends.base import Step
from harness.timing.sides import Block, LocalSide


def scripted(*durations_ms: float) -> Step:
    """A step of these durations, over and over."""
    told = itertools.cycle(durations_ms)
    return Step(lambda _: None, scripted_ms=lambda: next(told))


class Script:
    """A side of blocks with the same durations; what else a block shows can be scripted a block at a time."""

    decided_on = "host"

    def __init__(
        self, name: str, later_ms: float, *, first_ms: float | None = None, turns: list[str] | None = None,
        shows: Iterable[dict[str, float]] = (),
    ) -> None:  # fmt: skip
        self._name, self._later_ms, self._first_ms = name, later_ms, first_ms or later_ms
        self._turns = [] if turns is None else turns
        self._shows = iter(shows)
        self.counts: list[int] = []

    def block(self, count: int) -> Block:
        self._turns.append(self._name)
        self.counts.append(count)
        times = (self._first_ms, *[self._later_ms] * (count - 1))
        return replace(Block(times, None), **next(self._shows, {}))


def side(*durations_ms: float) -> LocalSide:
    """A local side of a scripted step."""
    return LocalSide(scripted(*durations_ms))


class Stream:
    """A CUDA stream whose clock tells what was enqueued on it; `events` takes the place of CUDA's."""

    def __init__(self) -> None:
        self.enqueued_ms = 0.0

    def takes(self, duration_ms: float):
        """Work of this duration, to be enqueued some number of times."""

        def run(count: int = 1) -> None:
            self.enqueued_ms += duration_ms * count

        return run

    def events(self, _handle: int, count: int):
        return _Events(self, count)


class _Events:
    def __init__(self, stream: Stream, count: int) -> None:
        self._stream, self._moments = stream, [0.0] * count

    def mark(self, number: int) -> None:
        self._moments[number] = self._stream.enqueued_ms

    def marker(self, number: int):
        def mark():
            self.mark(number)
            return (0,)

        return mark

    def elapsed_ms(self, first: int, last: int) -> float:
        return self._moments[last] - self._moments[first]

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass


class NVMLError(Exception):
    """As pynvml's."""


class FakeNvml:
    """pynvml for one GPU: clocks follow a script, one reading after the other, the last for ever."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVMLError = NVMLError

    def __init__(
        self, *, sm_mhz: Sequence[float] = (1980,), reasons: Sequence[int] = (0,),
        processes: Sequence[Sequence[int]] = (), refuses: Sequence[str] = (),
        persistent: bool = True,
    ) -> None:  # fmt: skip
        self._scripts = {"sm": iter(sm_mhz), "reasons": iter(reasons), "processes": iter(processes or [[os.getpid()]])}
        self._last: dict[str, object] = {}
        self._refuses, self._persistent = refuses, persistent
        self.asked: list[str] = []

    def _next(self, what: str):
        self.asked.append(what)
        self._last[what] = next(self._scripts[what], self._last.get(what))
        return self._last[what]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self._next("sm") if kind == self.NVML_CLOCK_SM else 3201

    def nvmlDeviceGetPersistenceMode(self, handle):
        return int(self._persistent)

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):
        return 1980

    def nvmlDeviceGetMigMode(self, handle):
        if "MIG" in self._refuses:
            raise NVMLError("Not Supported")
        return [0, 0]

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 41

    def nvmlDeviceGetPowerUsage(self, handle):
        self.asked.append("power")
        if "power" in self._refuses:
            raise NVMLError("Not Supported")
        return 123_456

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._next("reasons")

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if "processes" in self._refuses:
            raise NVMLError("Insufficient Permissions")
        return [SimpleNamespace(pid=pid) for pid in self._next("processes")]

    def nvmlSystemGetProcessName(self, pid):
        return f"train-{pid}"
