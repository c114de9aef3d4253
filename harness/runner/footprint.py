"""What a case takes of memory, from before its model is loaded until after its first inference."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.backends import cuda
from harness.errors import DeviceError
from harness.timing import nvml

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Documentation/filesystems/proc.rst: sets the peak of resident memory to what is resident now."""


@dataclass(frozen=True)
class Before:
    """Memory in use before the model was loaded, in MiB; None where it cannot be told."""

    host_mib: float | None
    device_mib: float | None
    on_device: Callable[[], float | None] | None
    """Asks for the memory of the GPU in use; None where no GPU takes part."""


def before(uuid: str | None) -> Before:
    """Begin to watch; `uuid` is that of the GPU that takes part. Memory of earlier cases is given back first."""
    on_device = None if uuid is None else _asks(uuid)
    return Before(_resident_mib(), on_device() if on_device else None, on_device)


def taken(since: Before) -> dict[str, float | None]:
    """`host_mib`: the peak above what was resident; `device_mib`: what is in use now above what was. None: not told.

    Without CUDA's own context, whose size is that of the driver; a case on the CPU has no `device_mib`.
    """
    found = {"host_mib": _less(_status_mib("VmHWM"), since.host_mib)}
    if since.on_device is not None:
        found["device_mib"] = _less(since.on_device(), since.device_mib)
    return found


def _resident_mib() -> float | None:
    """What is resident once freed memory went back to the kernel, whose record of the peak begins anew."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
    except (AttributeError, OSError):  # another C library, or a kernel that keeps no peak
        return None
    return _status_mib("VmRSS")


def _status_mib(name: str) -> float | None:
    lines = _STATUS.read_text().splitlines()
    sizes_kib = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(sizes_kib[0]) / 1024 if sizes_kib else None


def _asks(uuid: str) -> Callable[[], float | None]:
    """This process's memory where NVML tells it, else all that is in use; a context is made first, for it counts."""
    cuda.used_mib()
    try:
        device = nvml.find(uuid)
        own = device.used_mib(os.getpid())
    except DeviceError:
        return cuda.used_mib
    return cuda.used_mib if own is None else lambda: device.used_mib(os.getpid())


def _less(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None else max(0.0, now - then)
