"""What NVML tells of a GPU: clocks, reasons for lower ones, temperature, power, processes. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.errors import DeviceError

REASONS = {
    0x4: "SwPowerCap",
    0x8: "HwSlowdown",
    0x20: "SwThermalSlowdown",
    0x40: "HwThermalSlowdown",
    0x80: "HwPowerBrakeSlowdown",
}
"""Why clocks are lower than they could be (nvml.h); that the GPU idles, or runs as it was set to, is left out."""


@dataclass(frozen=True)
class Reading:
    """A GPU at one moment; None for what it does not tell."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """How a GPU is set up; None for what it does not tell."""

    persistent: bool | None
    """Whether the driver stays loaded while nobody uses the GPU."""
    max_sm_mhz: float | None
    mig: bool | None
    """Whether the GPU is divided into instances."""


class Device:
    """One GPU as NVML sees it; what it refuses to tell is asked once and kept in `untold` with the reason."""

    def __init__(self, nvml: Any, uuid: str) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        self.untold: dict[str, str] = {}

    def read(self) -> Reading:
        """Clocks, temperature, power and throttle reasons now."""
        nvml, gpu = self._nvml, self._handle
        power_mw = self._ask("power", lambda: nvml.nvmlDeviceGetPowerUsage(gpu))
        bits = self._ask("throttle reasons", lambda: _reasons(nvml, gpu)) or 0
        return Reading(
            sm_mhz=self._ask("SM clock", lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
            memory_mhz=self._ask("memory clock", lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)),
            temperature_c=self._ask(
                "temperature", lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
            ),
            power_w=None if power_mw is None else power_mw / 1e3,
            throttled=tuple(name for bit, name in REASONS.items() if int(bits) & bit),
        )

    def standing(self) -> Standing:
        """How the GPU is set up."""
        nvml, gpu = self._nvml, self._handle
        persistent = self._ask("persistence mode", lambda: nvml.nvmlDeviceGetPersistenceMode(gpu))
        mig = self._ask("MIG", lambda: nvml.nvmlDeviceGetMigMode(gpu)[0])
        return Standing(
            persistent=None if persistent is None else bool(persistent),
            max_sm_mhz=self._ask("highest clock", lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)),
            mig=None if mig is None else bool(mig),
        )

    def processes(self) -> tuple[int, ...] | None:
        """The ids of the processes that compute on the GPU; None where it does not tell."""
        found = self._ask("processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        return None if found is None else tuple(int(process.pid) for process in found)

    def used_mib(self, process: int) -> float | None:
        """Memory of the GPU that a process holds; None where it does not tell, as in most containers."""
        found = self._ask("processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)) or ()
        held = [one.usedGpuMemory for one in found if int(one.pid) == process and one.usedGpuMemory]
        return sum(held) / 2**20 if held else None

    def name_of(self, process: int) -> str:
        """What a process is called, where that is told."""
        try:
            name = self._nvml.nvmlSystemGetProcessName(process)
        except self._nvml.NVMLError:
            return "?"
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def _ask(self, what: str, ask: Callable[[], Any]) -> Any:
        if what in self.untold:
            return None
        try:
            return ask()
        except self._nvml.NVMLError as error:
            self.untold[what] = str(error)
            return None


def find(uuid: str) -> Device:
    """The GPU of a UUID; DeviceError says why NVML cannot be asked about it."""
    try:
        import pynvml
    except ImportError as error:
        raise DeviceError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
        return Device(pynvml, uuid)
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML: {error}") from error


def _reasons(nvml: Any, gpu: Any) -> int:
    """The function was renamed in driver 535; every driver still knows the old name."""
    old = getattr(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", None)
    return int((old or nvml.nvmlDeviceGetCurrentClocksEventReasons)(gpu))
