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
from typing import Any

import harness
from harness.records import Environment, Gpu

PACKAGES = ("numpy", "onnx", "polygraphy")
CANARY = "2"
"""The fixed work of `harness.timing.canary`: another number for other work."""


def describe() -> Environment:
    """This machine and the interpreter that runs here; no CUDA context is made."""
    gpus, cpu = _gpus(), _cpu()
    versions = {"python": platform.python_version(), "trt-harness": harness.__version__}
    versions |= {name: found for name in PACKAGES if (found := _version(name))}
    versions["canary"] = f"{CANARY} with numpy {versions.get('numpy')}"
    if gpus and gpus[0].driver:
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
    """The GPUs that CUDA programs see here; what only NVML knows is empty where it cannot be asked."""
    driver, count = _cuda(), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    version = _driver_version()
    return tuple(_gpu(driver, index, version) for index in range(count.value))


def _cuda() -> Any:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def _driver_version() -> str:
    try:
        import pynvml

        pynvml.nvmlInit()
        return _text(pynvml.nvmlSystemGetDriverVersion())
    except Exception:
        return ""


def _gpu(driver: Any, index: int, version: str) -> Gpu:
    """One device as the CUDA driver tells it (cuda.h: attributes 75 and 76 are the compute capability)."""
    name, raw = ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
    memory, major, minor = ctypes.c_size_t(0), ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGetName(name, len(name), index)
    driver.cuDeviceGetUuid(raw, index)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, index)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, index)
    return Gpu(
        name=name.value.decode(errors="replace"),
        uuid=f"GPU-{uuid.UUID(bytes=bytes(raw))}",
        driver=version,
        compute_capability=f"{major.value}.{minor.value}",
        memory_mib=memory.value >> 20,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(package)
        return str(getattr(module, "__version__", "")) or None
