"""A TensorRT engine on the GPU: buffers, shapes, one execution context on its own stream."""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any

import ml_dtypes
import numpy as np

from harness.backends.base import Artefact, BuildSpec, Feeds, Step, Tensor
from harness.backends.cuda import Buffer, Stream
from harness.backends.cuda_graph import Graph
from harness.backends.cuda_health import refuse_without_room
from harness.backends.inspector import layers
from harness.backends.layers import record
from harness.backends.tensorrt_fusion import fused
from harness.backends.tensorrt_profiler import about, profile
from harness.backends.transfers import Transfers
from harness.errors import CaseError, DeviceError, DeviceMemory, InputError, Unsupported
from harness.records import Fusion, LayerTime

MEMORY = r"out of memory|OutOfMemory|insufficient memory|Memory allocation|memory .*could not be allocated"
"""What TensorRT says when the GPU has no more."""
DTYPES: Mapping[str, Any] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP8": ml_dtypes.float8_e4m3fn,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


def _bytes(artefact: Artefact) -> bytes:
    """The engine that was built, found or named: an engine may run code, so these very bytes are looked at."""
    content = artefact.path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != artefact.digest:
        raise InputError(f"{artefact.path}: is not the engine that was vouched for, {found} is not {artefact.digest}")
    return content


def _dtype(tensor: str, name: str) -> np.dtype[Any]:
    if name not in DTYPES:
        raise Unsupported(f"'{tensor}' is of TensorRT's type {name}: inputs and outputs of it are not supported yet")
    found: np.dtype[Any] = np.dtype(DTYPES[name])
    return found


class TensorRTSession:
    """One engine, one context, one stream; inputs and outputs stay in the dtypes of the ONNX model."""

    loads_again = False
    overhead_s = 0.0  # events on the stream

    def __init__(self, trt: Any, words: deque[str], artefact: Artefact, spec: BuildSpec) -> None:
        import polygraphy.backend.trt.util as trt_util

        self._trt, self._words = trt, words
        self._runtime = trt.Runtime(trt_util.get_trt_logger())
        plan = _bytes(artefact)
        refuse_without_room({"the engine's weights": len(plan)})
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _failure("the engine cannot be deserialised", words)
        del plan
        refuse_without_room({"an execution context of the engine": context_bytes(self._engine)})
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceMemory("no execution context: " + (" | ".join(words) or "TensorRT gives no reason"))
        self._stream = Stream()
        self._mode, self._model = spec.mode, spec.model
        self._held = ExitStack()
        self._buffers: dict[str, Buffer] = {}
        self._shape_values: dict[str, Tensor] = {}
        self._allocators: dict[str, Any] = {}
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        self._dtypes = {name: _dtype(name, self._engine.get_tensor_dtype(name).name) for name in names}
        self._wanted = {name: np.dtype(dtype) for name, dtype in spec.dtypes.items() if dtype != "string"}
        self._told: Mapping[str, Any] = {**artefact.attested, **self._forced_casts()}

    @cached_property
    def attested(self) -> Mapping[str, Any]:
        """What the builder was told and what runs at the shapes that were fed last: read it before `close`."""
        return {**self._told, **self._ran()}

    @cached_property
    def _seen(self) -> str:
        """What the inspector said first: the context that replaces a profiled one has no shapes."""
        return self.inspect()

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host."""
        self._feed(feeds)
        self._enqueue(1)
        self._stream.synchronize()
        return {name: self._read(name) for name in self._outputs}

    def bind(self, feeds: Feeds) -> Step:
        """A step over these feeds, resident on the GPU."""
        self._feed(feeds)
        run = self._captured() if self._mode.cuda_graph else self._enqueue
        if not self._mode.transfers:
            return Step(run, self._stream.handle)
        return self._transfers(feeds).around(run)

    def _captured(self) -> Callable[[int], None]:
        """The work at these shapes as a CUDA graph; TensorRT wants to have run once before."""
        self._enqueue(1)
        self._stream.synchronize()
        graph = Graph(self._stream.handle, partial(self._enqueue, 1))
        self._held.callback(graph.free)
        return graph.launch

    def _transfers(self, feeds: Feeds) -> Transfers:
        if self._allocators:
            raise Unsupported(
                f"latency.transfers: the shape of '{min(self._allocators)}' depends on the data, so its size is not "
                "known before an iteration"
            )
        resident = [name for name in self._inputs if name not in self._shape_values]
        inputs = {name: (self._buffers[name].address, self._cast(name, feeds[name])) for name in resident}
        outputs = {name: (self._buffers[name].address, self._nbytes(name)) for name in self._outputs}
        made = Transfers(inputs, outputs, self._stream.handle)
        self._held.callback(made.free)
        return made

    def fusion(self) -> Fusion | None:
        """Which nodes went into which layer; None where the inspector cannot be read, which `attested` tells."""
        try:
            return fused(self._seen, self._model)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return None

    def why_no_profile(self) -> str | None:
        """It always tells."""
        return None

    def profile(self, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:
        """The GPU time of each layer of the engine; what was bound before is bound no more."""
        self._feed(feeds)
        try:
            return profile(self._trt, self._context, self._infer_alone, iterations, about(self._seen))
        finally:  # a context that was profiled once stays slower; no two may share the engine's only profile
            self._context = None
            self._context = self._engine.create_execution_context()

    def _infer_alone(self) -> None:
        self._enqueue(1)
        self._stream.synchronize()

    def close(self) -> None:
        """Free graphs, buffers, context, engine and stream, in this order."""
        self._held.close()
        grown = [allocator.buffer for allocator in self._allocators.values() if allocator.buffer is not None]
        for buffer in (*self._buffers.values(), *grown):
            buffer.free()
        self._buffers.clear()
        self._allocators.clear()
        self._context = self._engine = self._runtime = None
        self._stream.free()

    def inspect(self) -> str:
        """The engine inspector's JSON at the shapes that were fed last; without shapes it tells no formats."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _ran(self) -> dict[str, Any]:
        try:
            return record(layers(self._seen))
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            return {"untold": f"the engine inspector cannot be read: {error}"}

    def _forced_casts(self) -> dict[str, Any]:
        """Inputs and outputs whose dtype in the engine is not the model's (TensorRT 8 has no int64)."""
        casts = {
            name: f"{self._wanted[name].name} as {dtype.name}"
            for name, dtype in self._dtypes.items()
            if name in self._wanted and self._wanted[name] != dtype
        }
        return {"io_casts": casts} if casts else {}

    def _feed(self, feeds: Feeds) -> None:
        for name in self._inputs:
            value = self._cast(name, feeds[name])
            if not self._context.set_input_shape(name, value.shape):
                raise InputError(f"input '{name}': shape {list(value.shape)} is outside of the engine's profile")
            if self._engine.is_shape_inference_io(name):
                self._shape_values[name] = value
                self._context.set_tensor_address(name, value.ctypes.data)
            else:
                buffer = self._buffer(name, value.nbytes)
                buffer.write(value)
        for name in self._outputs:
            self._place_output(name)

    def _cast(self, name: str, value: Tensor) -> Tensor:
        cast: Tensor = np.asarray(value.astype(self._dtypes[name], copy=False), order="C")  # a scalar has no axes
        if cast.dtype != value.dtype and cast.dtype.kind in "iu" and not np.array_equal(cast, value):
            raise InputError(f"input '{name}': values do not fit {cast.dtype.name}, which this TensorRT takes instead")
        return cast

    def _place_output(self, name: str) -> None:
        shape = tuple(self._context.get_tensor_shape(name))
        if min(shape, default=0) >= 0:
            self._buffer(name, self._nbytes(name))
            return
        allocator = self._allocators.setdefault(name, _allocator(self._trt, self._stream))
        self._context.set_output_allocator(name, allocator)

    def _buffer(self, name: str, nbytes: int) -> Buffer:
        """The tensor's device buffer, grown when it is too small; the context knows its address."""
        held = self._buffers.get(name)
        if held is None or held.nbytes < nbytes:
            if held is not None:
                held.free()
            held = self._buffers[name] = Buffer(nbytes, self._stream)
        self._context.set_tensor_address(name, held.address)
        return held

    def _nbytes(self, name: str) -> int:
        shape: tuple[int, ...] = tuple(self._context.get_tensor_shape(name))
        return math.prod(shape) * self._dtypes[name].itemsize

    def _enqueue(self, count: int) -> None:
        for _ in range(count):
            if not self._context.execute_async_v3(self._stream.handle):
                raise _failure("TensorRT could not enqueue", self._words)

    def _read(self, name: str) -> Tensor:
        if name in self._allocators:
            allocator = self._allocators[name]
            shape, buffer = tuple(allocator.shape), allocator.buffer
        else:
            shape, buffer = tuple(self._context.get_tensor_shape(name)), self._buffers[name]
        value: Tensor = buffer.read(shape, self._dtypes[name])
        return value.astype(self._wanted.get(name, value.dtype), copy=False)


def context_bytes(engine: Any) -> int:
    """What an execution context allocates on the GPU: TensorRT 8 has the old name, 11 the new one, 10.1 both."""
    size = getattr(engine, "device_memory_size_v2", None)
    return int(engine.device_memory_size if size is None else size)


def _failure(what: str, words: deque[str]) -> CaseError:
    said = " | ".join(words) or "TensorRT gives no reason"
    kind = DeviceMemory if re.search(MEMORY, said) else DeviceError
    return kind(f"{what}: {said}")


def _allocator(trt: Any, stream: Stream) -> Any:
    """Memory for an output whose shape depends on the data."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc] # the base comes from the module at hand
        def __init__(self) -> None:
            super().__init__()
            self.buffer: Buffer | None = None
            self.shape: tuple[int, ...] = ()

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:  # noqa: ARG002
            if self.buffer is None or self.buffer.nbytes < size:
                if self.buffer is not None:
                    self.buffer.free()
                self.buffer = Buffer(size, stream)
            return self.buffer.address

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, on: int) -> int:  # noqa: ARG002
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, name: str, shape: Any) -> None:  # noqa: ARG002
            self.shape = tuple(shape)

    return Allocator()
