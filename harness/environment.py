"""What machine this is, with which versions."""

from __future__ import annotations

import ctypes
import platform
import re
import socket
import sys
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import harness
from harness.records import Environment, Gpu

PACKAGES = ("numpy", "onnx", "polygraphy")


def describe() -> Environment:
    """This machine and the interpreter that runs here; no CUDA context is made."""
    gpus, cpu = _gpus(), _cpu()
    versions = {"python": platform.python_version(), "trt-harness": harness.__version__}
    versions |= {name: found for name in PACKAGES if (found := _version(name))}
    if gpus:
        versions["driver"] = gpus[0].driver
    return Environment(socket.gethostname(), cpu, gpus, versions, fingerprint(gpus, cpu))


def fingerprint(gpus: tuple[Gpu, ...], cpu: str) -> str:
    """The machine class: GPU model and count, or the CPU model; names a folder of baselines."""
    if gpus:
        names = sorted({gpu.name for gpu in gpus})
        return f"{_slug('-'.join(names))}-x{len(gpus)}"
    return f"cpu-{_slug(cpu)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA programs see here, told by NVML; none where the driver or nvidia-ml-py is missing."""
    found = _visible_uuids()
    if not found:
        return ()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return ()
    return tuple(_gpu(pynvml, name) for name in found)


def _visible_uuids() -> list[str]:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for index in range(count.value):
        raw = (ctypes.c_ubyte * 16)()
        if driver.cuDeviceGetUuid(raw, index) == 0:
            found.append(f"GPU-{uuid.UUID(bytes=bytes(raw))}")
    return found


def _gpu(nvml: object, identity: str) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByUUID(identity)  # type: ignore[attr-defined]
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)  # type: ignore[attr-defined]
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),  # type: ignore[attr-defined]
        uuid=identity,
        driver=_text(nvml.nvmlSystemGetDriverVersion()),  # type: ignore[attr-defined]
        compute_capability=f"{major}.{minor}",
        memory_mib=int(nvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20,  # type: ignore[attr-defined]
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(package)
        return str(getattr(module, "__version__", "")) or None
