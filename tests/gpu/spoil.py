"""A kernel that writes where nothing is: the CUDA context of the process that runs it is lost."""

from __future__ import annotations

import ctypes

PTX = b"""
.version 6.4
.target sm_75
.address_size 64
.visible .entry spoil()
{
    .reg .u64 %place;
    .reg .u32 %value;
    mov.u64 %place, 16;
    mov.u32 %value, 1;
    st.global.u32 [%place], %value;
    ret;
}
"""


def spoil() -> None:
    """Enqueue it in the primary context, which the CUDA runtime and all that stands on it share."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    for status in (
        cuda.cuInit(0),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
        cuda.cuCtxSetCurrent(context),
        cuda.cuModuleLoadData(ctypes.byref(module), PTX),
        cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"spoil"),
        cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None),
    ):
        if status:
            raise RuntimeError(f"CUDA driver error {status}")
