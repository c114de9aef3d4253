"""Whether a GPU does what it is told, whether a context can still be used, and whether a model has room."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from threading import Thread
from typing import Any

import numpy as np

from harness.backends.cuda import Buffer, Stream, check, runtime
from harness.errors import DeviceError, DeviceMemory

PROBE_BYTES = 1 << 20
SYNCHRONISE_S = 20.0
LOST = frozenset(
    (
        "cudaErrorNoDevice",
        "cudaErrorDevicesUnavailable",
        "cudaErrorECCUncorrectable",
        "cudaErrorNvlinkUncorrectable",
        "cudaErrorSystemNotReady",
        "cudaErrorUnknown",  # what is left when a GPU has fallen off its bus
    )
)
"""Errors of the device itself; all others that stay are of the context of one process (driver_types.h)."""


LAUNCH_FAILURES = range(700, 800)
"""What the driver says of work that failed on the GPU, which there is a context for (cuda.h: CUresult)."""


def probe() -> None:
    """Raise DeviceError unless the GPU keeps what it is given: bytes go in, to another place on it, and back."""
    cudart = runtime()
    given = np.random.default_rng(7).integers(0, 256, PROBE_BYTES, np.uint8)
    with ExitStack() as held:
        stream = Stream()
        held.callback(stream.free)
        first, second = (_held(Buffer(PROBE_BYTES, stream), held) for _ in range(2))
        first.write(given)
        copied = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        check(cudart.cudaMemcpyAsync(second.address, first.address, PROBE_BYTES, copied, stream.handle), "probe")
        back = second.read(given.shape, given.dtype)
        check(cudart.cudaDeviceSynchronize(), "probe")
    if wrong := int(np.count_nonzero(back != given)):
        raise DeviceError(f"of {PROBE_BYTES} bytes written to the GPU and read back {wrong} are others")


def _held(buffer: Buffer, held: ExitStack) -> Buffer:
    held.callback(buffer.free)
    return buffer


def why_lost() -> str | None:
    """What is wrong with this process's context, if it cannot be used any more; None where it can, or there is none.

    An error that the next call reports again is sticky: all later calls will (CUDA runtime API, cudaError). Raises
    ImportError without CUDA's bindings.
    """
    if not _has_context():
        return None
    cudart, found = runtime(), list[str]()
    asking = Thread(target=lambda: found.append(_sticky(cudart)), daemon=True)
    asking.start()
    asking.join(SYNCHRONISE_S)
    if not found:
        return f"the GPU has not ended its work in {SYNCHRONISE_S:g} s: the context of this process is lost"
    return meaning(found[0]) if found[0] else None


def meaning(name: str) -> str:
    """What an error that stays says about the device, from CUDA's name for it."""
    if name in LOST:
        return f"the device is lost: {name}"
    return f"a sticky CUDA error, {name}: the context of this process is lost"


def _sticky(cudart: Any) -> str:
    for _ in range(2):
        status = cudart.cudaDeviceSynchronize()[0]
        if int(status) == 0:
            return ""
        cudart.cudaGetLastError()  # clears those that do not stay
    return str(getattr(status, "name", status))


@cache
def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _has_context() -> bool:
    """Whether any library of this process has made a context on its first GPU; asking makes none."""
    flags, active = ctypes.c_uint(0), ctypes.c_int(0)
    driver = _driver()
    if driver is None:
        return False
    status: int = driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active))
    return bool(active.value) if status == 0 else status in LAUNCH_FAILURES


def refuse_without_room(needs: Mapping[str, int]) -> None:
    """DeviceMemory with figures where more is needed, in bytes by what for, than is free on the GPU now.

    What is needed must be certain: the rest finds out for itself.
    """
    free, total = check(runtime().cudaMemGetInfo())
    if sum(needs.values()) <= free:
        return
    parts = ", ".join(f"{what} {_mib(size)}" for what, size in needs.items())
    raise DeviceMemory(
        f"{_mib(sum(needs.values()))} needed ({parts}), {_mib(free)} of {_mib(total)} free on the GPU: end what else "
        "uses it, or take smaller shapes (`shapes`, `profile`) or a smaller `workspace_mib`"
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
