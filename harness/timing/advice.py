"""What an administrator can set so that times repeat; told from what the machine shows, and never changed from here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import DeviceError
from harness.timing import nvml

CPUS = Path("/sys/devices/system/cpu")
BUSY_SHARE = 0.2
"""Processes that want a CPU, as a share of the CPUs, from which on others disturb what is timed."""


def advice(gpus: Sequence[str], cpus: Path = CPUS) -> tuple[str, ...]:
    """One line for each thing that could be steadier, for the GPUs of these UUIDs and the host."""
    found = [line for number, uuid in enumerate(gpus) for line in _of_gpu(number, uuid)]
    return (*found, *_of_host(cpus))


def _of_gpu(number: int, uuid: str) -> Iterator[str]:
    try:
        device = nvml.find(uuid)
    except DeviceError as error:
        yield f"GPU {number}: {error}"
        return
    yield from (f"GPU {number}: {line}" for line in of_device(number, device))


def of_device(number: int, device: nvml.Device) -> Iterator[str]:
    """What could be steadier about one GPU."""
    standing, now = device.standing(), device.read()
    if standing.persistent is False:
        yield f"persistence mode is off, so the driver unloads between runs: nvidia-smi -i {number} -pm 1"
    if standing.max_sm_mhz is not None:
        yield (
            f"clocks move up to {standing.max_sm_mhz:g} MHz (NVML does not tell whether they are locked): lock them at "
            f"one that holds under load, nvidia-smi -i {number} -lgc MHZ, and release them with -rgc"
        )
    if now.throttled:
        yield f"clocks are lowered now by {', '.join(now.throttled)}: look after cooling and the power limit"
    if standing.mig:
        yield "MIG is on: other instances share clocks and power with what is timed"
    if others := [pid for pid in device.processes() or () if pid != os.getpid()]:
        names = ", ".join(f"{device.name_of(pid)} (process {pid})" for pid in others)
        yield f"other processes compute on it: {names}; what is timed beside them is no evidence"
    for what, why in device.untold.items():
        yield f"{what} is not told: {why}"


def _of_host(cpus: Path) -> Iterator[str]:
    governors = {_read(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    if governors - {"performance"}:
        found = ", ".join(sorted(governors))
        yield f"CPU: its frequency follows the load ({found}): cpupower frequency-set -g performance"
    if _read(cpus / "intel_pstate/no_turbo") == "0" or _read(cpus / "cpufreq/boost") == "1":
        yield (
            "CPU: boost is on, so its speed depends on heat and on neighbours: write 1 to "
            f"{cpus}/intel_pstate/no_turbo, or 0 to {cpus}/cpufreq/boost"
        )
    if _read(cpus / "smt/active") == "1":
        yield f"CPU: two threads share each core: write off to {cpus}/smt/control"
    if not _read(cpus / "isolated"):
        yield "CPU: none is kept free of other work: isolcpus= at boot and taskset, or a cpuset of its own for the runs"
    yield from _load(os.getloadavg()[0], os.cpu_count() or 1)


def _load(wanted: float, cpus: int) -> Iterator[str]:
    if wanted > BUSY_SHARE * cpus:
        yield f"CPU: {wanted:.1f} processes wanted one of {cpus} over the last minute: time when nothing else runs"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
