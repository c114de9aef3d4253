"""A kernel that does nothing but take time: a chain of dependent multiply-adds on one thread of the GPU."""

from __future__ import annotations

import ctypes
from typing import Any

from harness.backends.cuda import Buffer, Stream, check, runtime

PTX = b"""
.version 6.4
.target sm_70
.address_size 64
.visible .entry spin(.param .u32 count, .param .u64 out)
{
    .reg .pred p;
    .reg .u32 n;
    .reg .f32 x;
    .reg .u64 address;
    ld.param.u32 n, [count];
    ld.param.u64 address, [out];
    cvta.to.global.u64 address, address;
    mov.f32 x, 0f3F800000;
    bra test;
loop:
    fma.rn.f32 x, x, 0f3F000000, 0f3F000000;
    sub.u32 n, n, 1;
test:
    setp.ne.u32 p, n, 0;
    @p bra loop;
    st.global.f32 [address], x;
    ret;
}
\0"""
"""x = x * 0.5 + 0.5, some nanoseconds each, stored in the end so that no assembler may leave it out."""


class Spin:
    """The kernel on one stream; a launch takes its share of the stream's time and touches nothing of anybody's."""

    def __init__(self, stream: int) -> None:
        self._driver = _driver()
        check(runtime().cudaFree(0))  # makes the runtime's context current, which the driver's calls need
        self._stream = stream
        self._module = check(self._driver.cuModuleLoadData(PTX))
        self._kernel = check(self._driver.cuModuleGetFunction(self._module, b"spin"))
        self._own = Stream()
        self._out = Buffer(4, self._own)

    def launch(self, count: int) -> None:
        """Enqueue that many dependent multiply-adds."""
        values = (count, self._out.address)
        kinds = (ctypes.c_uint32, ctypes.c_uint64)
        check(self._driver.cuLaunchKernel(self._kernel, 1, 1, 1, 1, 1, 1, 0, self._stream, (values, kinds), 0))

    def free(self) -> None:
        """Unload the kernel."""
        self._out.free()
        self._own.free()
        self._driver.cuModuleUnload(self._module)


def _driver() -> Any:
    """The CUDA driver bindings (their module moved in cuda-bindings 12.6)."""
    try:
        from cuda.bindings import driver
    except ImportError:
        from cuda import cuda as driver
    return driver
