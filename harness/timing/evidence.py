"""What the machine did while something was timed, and whether two blocks may be compared."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import DeviceError
from harness.records import Evidence
from harness.timing import nvml
from harness.timing.sides import Block

CLOCKS_APART = 0.01
"""Sides whose SM clocks differ by more are not compared; NVIDIA's GPUs step by 15 MHz, less than this at 1.5 GHz."""
FULL_SHARE = 0.95
"""With less of a CPU than this, and waiting seen, a block was disturbed."""
WAITED_SHARE = 0.01
"""Waiting for a CPU that is worth the name, as a share of a block's time."""
SLOWDOWNS = frozenset({"HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown"})
"""Reasons that come from outside the work; a power cap comes from the work itself and is the same for both sides."""


@dataclass(frozen=True)
class Sight:
    """What was seen of one block."""

    gpu: nvml.Reading | None
    cpu_share: float | None = None
    waited_ms: float | None = None
    switches: int | None = None

    @property
    def kept_waiting(self) -> bool:
        """Whether the thread lacked a CPU because others had it; sleeping until a GPU is done is not waiting."""
        if self.cpu_share is None or self.cpu_share >= FULL_SHARE:
            return False
        return bool(self.waited_ms) or bool(self.switches)


@dataclass(frozen=True)
class Objection:
    """Why two blocks may not be compared."""

    word: str
    words: str
    sides: str
    """Whose block shows it: "a", "b" or "ab"."""


class Watch:
    """Sees every block of a launch; `gpu` is None where no GPU takes part or none can be asked.

    `ours` are the processes that belong to the measurement beside this one; workers of the harness belong to it too:
    they keep memory on the GPU, and work only while nobody holds it alone for timing.
    """

    def __init__(self, gpu: nvml.Device | None, *, ours: Collection[int] = (), untold: tuple[str, ...] = ()) -> None:
        self._gpu, self._untold = gpu, untold
        self._ours = frozenset({os.getpid(), *ours})
        self._readings: list[nvml.Reading] = []
        self._hosts: list[Block] = []
        self._load = _load()
        self._known: frozenset[str] | None = None
        self._processes = self._look()

    def see(self, block: Block) -> Sight:
        """What is to be said of a block that has just ended; asks the GPU once."""
        reading = self._gpu.read() if self._gpu else None
        if reading is not None:
            self._readings.append(reading)
        if block.wall_s is None or block.cpu_s is None:
            return Sight(reading)
        self._hosts.append(block)
        waited = block.waited_s if block.waited_s and block.waited_s > WAITED_SHARE * block.wall_s else 0.0
        waited_ms = None if block.waited_s is None else waited * 1e3
        return Sight(reading, block.cpu_s / block.wall_s, waited_ms, block.switches)

    def objection(self, a: Sight, b: Sight) -> Objection | None:
        """Why two blocks may not be compared; None if they may."""
        first, second = a.gpu or nvml.Reading(), b.gpu or nvml.Reading()
        throttled = frozenset({*first.throttled, *second.throttled})
        if self._known is None:
            self._known = throttled
        if first.sm_mhz and second.sm_mhz and abs(first.sm_mhz / second.sm_mhz - 1) > CLOCKS_APART:
            words = f"SM clock {first.sm_mhz:g} MHz for a, {second.sm_mhz:g} MHz for b"
            return Objection("clocks", words, "a" if first.sm_mhz < second.sm_mhz else "b")
        new = {*(throttled & SLOWDOWNS) - self._known, *frozenset(first.throttled) ^ frozenset(second.throttled)}
        if new:
            of = [name for name, side in (("a", first), ("b", second)) if new & frozenset(side.throttled)]
            return Objection("throttling", f"clocks lowered by {', '.join(sorted(new))}", "".join(of))
        late = [(name, side) for name, side in (("a", a), ("b", b)) if side.kept_waiting]
        if not late:
            return None
        words = "; ".join(_waited(name, side) for name, side in late)
        return Objection("waiting", words, "".join(name for name, _ in late))

    def summary(self) -> Evidence:
        """All that was seen, for the record; looks for other processes once more, which takes milliseconds."""
        hottest = partial(_most, self._readings)
        foreign, unknown = self._strangers()
        wall_s = sum(block.wall_s or 0.0 for block in self._hosts)
        cpu_s = sum(block.cpu_s or 0.0 for block in self._hosts)
        loads = [load for load in (self._load, _load()) if load is not None]
        return Evidence(
            cpu_share=cpu_s / wall_s if wall_s else None,
            load=max(loads, default=None),
            sm_mhz=_span([reading.sm_mhz for reading in self._readings]),
            memory_mhz=_span([reading.memory_mhz for reading in self._readings]),
            temperature_c=hottest("temperature_c"),
            power_w=hottest("power_w"),
            throttled=tuple(sorted({reason for reading in self._readings for reason in reading.throttled})),
            foreign=foreign,
            untold=(*self._untold, *unknown, *self._refused()),
        )

    def _look(self) -> dict[int, str] | None:
        """The processes that compute on the GPU now, with their names; None where that is not told."""
        pids = self._gpu.processes() if self._gpu else None
        if pids is None or self._gpu is None:
            return None
        workers = {pid for pid in pids if pid != os.getpid() and _is_worker(pid)}
        return {pid: f"{self._gpu.name_of(pid)} (process {pid})" for pid in pids if pid not in workers}

    def _strangers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Processes that are not ours, and what cannot be known of them: a container may have ids of its own."""
        now = self._look()
        if now is None:
            return (), ()
        if self._ours & now.keys():
            seen = {**(self._processes or {}), **now}
            return tuple(name for pid, name in sorted(seen.items()) if pid not in self._ours), ()
        return (), (f"whose processes use the GPU: NVML lists {len(now)}, and this one is not among them",)

    def _refused(self) -> tuple[str, ...]:
        told = [f"GPU's {what}: {why}" for what, why in self._gpu.untold.items()] if self._gpu else []
        if any(block.waited_s is None for block in self._hosts):
            told.append("waiting for a CPU: the kernel keeps no /proc/<pid>/schedstat")
        return tuple(told)


def watch(uuid: str | None, *, ours: Collection[int] = ()) -> Watch:
    """A watch over the host and, where a GPU takes part, over the one of that UUID."""
    if uuid is None:
        return Watch(None, ours=ours)
    try:
        return Watch(nvml.find(uuid), ours=ours)
    except DeviceError as error:
        return Watch(None, ours=ours, untold=(f"clocks and processes of the GPU: {error}",))


def _is_worker(process: int) -> bool:
    """Whether a process is a worker of the harness, of the same user: those share its locks."""
    place = Path(f"/proc/{process}")
    try:
        return b"harness.runner.worker" in (place / "cmdline").read_bytes() and place.stat().st_uid == os.getuid()
    except OSError:
        return False


def _waited(name: str, side: Sight) -> str:
    told = [f"{side.waited_ms:.2g} ms waiting for a CPU"] if side.waited_ms else []
    told += [f"{side.switches} involuntary switches"] if side.switches else []
    return f"{name} had {side.cpu_share:.2f} of a CPU ({', '.join(told)})"


def _most(readings: list[nvml.Reading], name: str) -> float | None:
    return max((value for reading in readings if (value := getattr(reading, name)) is not None), default=None)


def _span(values: list[float | None]) -> tuple[float, float] | None:
    told = [float(value) for value in values if value is not None]
    return (min(told), max(told)) if told else None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None
