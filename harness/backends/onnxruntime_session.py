"""ONNX Runtime sessions with their tensors on the host or resident on the GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Feeds, Mode, Step, Tensor
from harness.backends.cuda import Stream
from harness.backends.onnxruntime_values import contiguous, from_ortvalue, has_native, is_native, to_ortvalue
from harness.backends.transfers import Transfers
from harness.errors import BuildError, CaseError, DeviceError, DeviceMemory, HostMemory, InputError, Unsupported
from harness.records import Fusion, LayerTime

TRACED_S = 40e-6
"""What it takes to trace one node in one inference, to write it and to read it again."""


@dataclass(frozen=True)
class Profiler:
    """How the layers of a session are profiled, why they are not, and what was fused into them."""

    why_not: Callable[[], str | None]
    layers: Callable[[Feeds, int], tuple[LayerTime, ...]]
    fusion: Callable[[], Fusion | None] = lambda: None


UNCAPTURED = {"gpu_graph_id": "-1"}
"""The entry with which a run of a session with CUDA graphs captures none (onnxruntime_run_options_config_keys.h)."""


class HostSession:
    """A session whose tensors live on the host."""

    loads_again = True
    device = "cpu"

    def __init__(self, session: Any, attested: Mapping[str, Any], profiler: Profiler) -> None:
        self._session = session
        self._profiler = profiler
        self.overhead_s = TRACED_S * sum(sum(ops.values()) for ops in attested.get("nodes", {}).values())
        self._names = [output.name for output in session.get_outputs()]
        self._native = all(has_native(output.type) for output in session.get_outputs())
        self.attested = attested

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host."""
        try:
            values = self._run(feeds)
        except Exception as error:
            raise translate(error, self.device) from error
        return {name: _tensor(name, value) for name, value in zip(self._names, values, strict=True)}

    def _run(self, feeds: Feeds) -> list[Any]:
        """The outputs in their order; through values of ONNX Runtime's own where NumPy lacks the types."""
        if self._native and all(map(is_native, feeds.values())):
            arrays = {name: contiguous(value) for name, value in feeds.items()}
            return list(self._session.run(self._names, arrays))
        values = {name: to_ortvalue(value) for name, value in feeds.items()}
        return [from_ortvalue(value) for value in self._session.run_with_ort_values(self._names, values)]

    def bind(self, feeds: Feeds) -> Step:
        """A step over bound inputs; outputs are written where the first run left them."""
        if any(value.dtype.kind in "OUST" for value in feeds.values()):  # strings cannot be bound
            return Step(lambda n: _run_times(self._session, self._names, feeds, n))
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, to_ortvalue(value))
        for name in self._names:
            binding.bind_output(name)
        return Step(lambda n: _repeat(self._session, binding, n, None))

    def fusion(self) -> Fusion | None:
        """Which nodes of the file became which node of the optimised graph; None where that was not written."""
        return self._profiler.fusion()

    def why_no_profile(self) -> str | None:
        """Why its provider does not tell how long a node takes; None if it does."""
        return self._profiler.why_not()

    def profile(self, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:
        """The time of each node of a session of its own."""
        return self._profiler.layers(feeds, iterations)

    def trace(self, feeds: Feeds, runs: int) -> Path:
        """The file with the trace of at least so many runs; for sessions that were made to write one."""
        self.bind(feeds).run(runs)
        self._wait()
        return Path(self._session.end_profiling())

    def _wait(self) -> None:
        """Work on the host is done when it returns."""

    def close(self) -> None:
        """Free the session."""
        self._session = None


class CudaSession(HostSession):
    """A session whose bound tensors live on the GPU and whose work runs on our stream."""

    device = "cuda"

    def __init__(
        self, session: Any, stream: Stream, attested: Mapping[str, Any], profiler: Profiler, mode: Mode
    ) -> None:
        super().__init__(session, attested, profiler)
        self._stream, self._mode = stream, mode
        self._held = ExitStack()

    def bind(self, feeds: Feeds) -> Step:
        """A step over tensors resident on the GPU; outputs keep the buffers of the first run."""
        import onnxruntime

        first = self._session.io_binding()
        binding = self._session.io_binding()
        values = {name: _resident(value) for name, value in feeds.items()}
        inputs = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0) for name, value in values.items()}
        for name, resident in inputs.items():
            first.bind_ortvalue_input(name, resident)
            binding.bind_ortvalue_input(name, resident)
        for name in self._names:
            first.bind_output(name, "cuda", 0)
        run_options = _run_options({"disable_synchronize_execution_providers": "1"})
        try:
            self._session.run_with_iobinding(first, _run_options(UNCAPTURED if self._mode.cuda_graph else {}))
            outputs = dict(zip(self._names, first.get_outputs(), strict=True))
            for name, value in outputs.items():
                binding.bind_ortvalue_output(name, value)
            if self._mode.cuda_graph:
                _repeat(self._session, binding, 2, run_options)  # the first captures, and refuses what cannot be
        except Exception as error:
            raise translate(error, self.device) from error
        run = partial(_repeat, self._session, binding, options=run_options)
        if not self._mode.transfers:
            return Step(run, self._stream.handle)
        made = Transfers(
            {name: (resident.data_ptr(), values[name]) for name, resident in inputs.items()},
            {name: (value.data_ptr(), value.tensor_size_in_bytes()) for name, value in outputs.items()},
            self._stream.handle,
        )
        self._held.callback(made.free)
        return made.around(run)

    def _wait(self) -> None:
        self._stream.synchronize()

    def close(self) -> None:
        """Free the session, then its stream."""
        self._held.close()
        super().close()
        self._stream.free()


def _run_options(entries: Mapping[str, str]) -> Any:
    import onnxruntime

    made = onnxruntime.RunOptions()
    for key, value in entries.items():
        made.add_run_config_entry(key, value)
    return made


def _repeat(session: Any, binding: Any, count: int, options: Any) -> None:
    for _ in range(count):
        session.run_with_iobinding(binding, options)


def _run_times(session: Any, names: list[str], feeds: Feeds, count: int) -> None:
    for _ in range(count):
        session.run(names, feeds)


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        cure = "; scikit-learn's classifiers are exported without one by options={'zipmap': False}"
        told = f"output '{name}' is a {type(value).__name__}, not a tensor: not supported yet"
        raise Unsupported(told + (cure if isinstance(value, list) and value and isinstance(value[0], dict) else ""))
    return value


def _resident(value: Tensor) -> Tensor:
    """An array that goes to the GPU as it is; types that NumPy lacks have no way there yet."""
    if not is_native(value):
        raise Unsupported(f"onnxruntime's Python API puts no {value.dtype.name} inputs on a GPU")
    return contiguous(value)


def attested(session: Any) -> dict[str, Any]:
    """Which provider took how many nodes of which operator, where this ONNX Runtime can tell."""
    told: dict[str, Any] = {"providers": session.get_providers()}
    try:
        assignment = session.get_provider_graph_assignment_info()
    except Exception:
        return told
    nodes: dict[str, dict[str, int]] = {}
    for part in assignment:
        ops = nodes.setdefault(str(part.ep_name), {})
        for node in part.get_nodes():
            ops[str(node.op_type)] = ops.get(str(node.op_type), 0) + 1
    return {**told, "nodes": nodes}


MEMORY = r"Failed to allocate|Available memory of \d+ is smaller than requested"
"""Of whose memory it is, ONNX Runtime does not say: its arenas are on both sides."""
PATTERNS: tuple[tuple[str, type[CaseError]], ...] = (
    (r"CUDA.*out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED", DeviceMemory),
    (r"bad_alloc|out of memory", HostMemory),
    (r"CUDA failure|CUDA error|CUDNN failure|CUBLAS failure", DeviceError),
    (r": 9 : NOT_IMPLEMENTED :", Unsupported),
    (r"is not a registered function|not currently registered or supported", Unsupported),
    (r"Provider type for .* is not set", Unsupported),  # no provider took the node
    (r"No corresponding Numpy type|can't be converted to MLDataType", Unsupported),
    (r"Unsupported model IR version: \d+, max supported", Unsupported),
    (r"Opset \d+ is under development and support for this is limited", Unsupported),  # newer than this ONNX Runtime
    (r"cannot use the (CUDA |GPU )?graph( capture)? feature", Unsupported),  # control flow, or nodes on the CPU
    (r"Failed to construct locale", Unsupported),  # StringNormalizer where the machine lacks its language
    (r": (2|3|7|10) : (INVALID_ARGUMENT|NO_SUCHFILE|INVALID_PROTOBUF|INVALID_GRAPH) :", InputError),
    (r"\b(is|are) not supported\b", Unsupported),  # a kernel that refuses an attribute or a shape
)
"""What ONNX Runtime says, by its own codes where it gives one; names and paths in a message decide nothing."""


def translate(error: Exception, device: str = "cpu") -> CaseError:
    """The harness's error for one of ONNX Runtime's, told apart by its words (it has no classes for them).

    `device` is where the session has its tensors.
    """
    if isinstance(error, CaseError):
        return error
    words = str(error)
    spoken = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|Load model from .*? failed", "", words)
    if re.search(MEMORY, spoken):
        return HostMemory(words) if device == "cpu" else DeviceMemory(words)
    for pattern, kind in PATTERNS:
        if re.search(pattern, spoken):
            return kind(words)
    return BuildError(words)
