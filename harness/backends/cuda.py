"""CUDA through cuda-bindings: streams, device buffers, copies."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from harness.backends.base import Tensor
from harness.errors import DeviceError, DeviceMemory, HostMemory

OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation (driver_types.h)."""


@cache
def runtime() -> Any:
    """The CUDA runtime bindings (their module moved in cuda-bindings 13)."""
    try:
        from cuda.bindings import runtime as cudart
    except ImportError:
        from cuda import cudart
    return cudart


def check(result: tuple[Any, ...], what: str = "") -> Any:
    """The values after a CUDA call's status; where it failed, an error with CUDA's own words and what was tried.

    DeviceMemory when an allocation found no room, else DeviceError.
    """
    status, *values = result
    if int(status) != 0:
        words = f"CUDA call failed: {getattr(status, 'name', status)}" + (f" ({what})" if what else "")
        raise DeviceMemory(words) if int(status) == OUT_OF_MEMORY else DeviceError(words)
    return values[0] if len(values) == 1 else values


def why_no_gpu() -> str | None:
    """Why no GPU can be used, or None; asks the driver, which makes no CUDA context."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver here ({error})"
    status, count = driver.cuInit(0), ctypes.c_int(0)
    status = status or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"no usable NVIDIA GPU here (CUDA driver error {status})"
    return _why_no_bindings() if count.value else "no NVIDIA GPU here"


def _why_no_bindings() -> str | None:
    try:
        runtime()
    except ImportError as error:
        return f"cuda-bindings cannot be imported ({error}): pip install cuda-bindings"
    return None


def tf32_overridden() -> bool:
    """Whether the environment switches TF32 off for all of NVIDIA's libraries."""
    return os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"


def used_mib() -> float:
    """Memory of the GPU in use by anybody; makes a CUDA context."""
    free, total = check(runtime().cudaMemGetInfo())
    return float(total - free) / 2**20


class Stream:
    """A CUDA stream; `handle` is what other libraries take."""

    def __init__(self) -> None:
        self._lent = bool(_SHARED)
        self._stream = _SHARED[-1] if _SHARED else _created()
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until all work on the stream is done."""
        check(runtime().cudaStreamSynchronize(self._stream))

    def free(self) -> None:
        """Destroy the stream, unless others have it too."""
        if not self._lent:
            runtime().cudaStreamDestroy(self._stream)


_SHARED: list[Any] = []


@contextmanager
def one_stream() -> Iterator[None]:
    """While this holds, all streams made are one and the same; it outlives them.

    Streams of one process differ in the time between kernels, by 0.1 us on an H200: two sides that are timed in turns
    must not differ by theirs.
    """
    _SHARED.append(_created())
    try:
        yield
    finally:
        runtime().cudaStreamDestroy(_SHARED.pop())


def _created() -> Any:
    return check(runtime().cudaStreamCreateWithFlags(runtime().cudaStreamNonBlocking))


class Buffer:
    """Device memory of a fixed size in bytes, copied to and from on one stream."""

    def __init__(self, nbytes: int, stream: Stream) -> None:
        self.nbytes = max(nbytes, 1)
        self._stream = stream
        self.address = int(check(runtime().cudaMalloc(self.nbytes), f"{self.nbytes} bytes for a tensor"))

    def write(self, values: Tensor) -> None:
        """Copy a contiguous host array in and wait until it has arrived."""
        self._copy(self.address, values.ctypes.data, values.nbytes, runtime().cudaMemcpyKind.cudaMemcpyHostToDevice)

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """Copy out as a host array, after all work on the stream."""
        values: Tensor = np.empty(shape, dtype)
        self._copy(values.ctypes.data, self.address, values.nbytes, runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost)
        return values

    def free(self) -> None:
        """Give the memory back."""
        if self.address:
            runtime().cudaFree(self.address)
            self.address = 0

    def _copy(self, target: int, source: int, nbytes: int, kind: Any) -> None:
        check(runtime().cudaMemcpyAsync(target, source, nbytes, kind, self._stream.handle))
        self._stream.synchronize()


class Pinned:
    """Memory of the host that a GPU copies from and to by itself."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        status, address = runtime().cudaMallocHost(max(nbytes, 1))
        if int(status) == OUT_OF_MEMORY:
            raise HostMemory(f"no {nbytes} bytes of it can be pinned for the GPU: {status.name}")
        self.address = int(check((status, address)))

    def fill(self, values: Tensor) -> None:
        """Take the bytes of a contiguous array of this size."""
        ctypes.memmove(self.address, values.ctypes.data, self.nbytes)

    def free(self) -> None:
        """Give the memory back."""
        if self.address:
            runtime().cudaFreeHost(self.address)
            self.address = 0


def l2_bytes() -> int:
    """Size of the second-level cache of the GPU in use."""
    kind = runtime().cudaDeviceAttr.cudaDevAttrL2CacheSize
    return int(check(runtime().cudaDeviceGetAttribute(kind, check(runtime().cudaGetDevice()))))
