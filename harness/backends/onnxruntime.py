"""ONNX Runtime on CPU, CUDA and its TensorRT provider."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Artefact, BuildSpec, Feeds, Session, Step, Tensor
from harness.backends.cuda import Stream, why_no_gpu
from harness.errors import BuildError, CaseError, DeviceError, InputError, OutOfMemory, Unsupported

LEVELS = {"disable": 0, "basic": 1, "extended": 2, "all": 99}
HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Attention", "LSTM", "GRU")
"""Operators that must not leave the provider that was asked for."""


class Cpu:
    """The CPU provider; `threads` and `graph_optimization` are options."""

    device = "cpu"
    provider = "CPUExecutionProvider"

    def why_not(self) -> str | None:
        try:
            import onnxruntime
        except ImportError as error:
            return f"onnxruntime is not installed ({error}): pip install 'trt-harness[cpu]'"
        if self.provider not in onnxruntime.get_available_providers():
            return (
                f"this onnxruntime has no {self.provider}: pip install 'trt-harness[gpu]' in an environment of its own"
            )
        return self._why_not_provider()

    def _why_not_provider(self) -> str | None:
        return None

    def why_not_run(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:  # noqa: ARG002 - ONNX Runtime builds when it loads
        return Artefact(spec.model)

    def open(self, artefact: Artefact, spec: BuildSpec) -> Session:
        import onnxruntime

        if spec.precision == "tf32":
            self._refuse_tf32()
        options = self._session_options(spec.options)
        try:
            session = onnxruntime.InferenceSession(str(artefact.path), options, providers=self._providers(spec))
        except Exception as error:
            raise translate(error) from error
        session.disable_fallback()
        self._check_provider(session)
        return self._session(session, spec)

    def _refuse_tf32(self) -> None:
        raise Unsupported("CPUs have no TF32: nothing to measure")

    def _session_options(self, options: Mapping[str, Any]) -> Any:
        import onnxruntime

        made = onnxruntime.SessionOptions()
        made.log_severity_level = 3
        made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        made.intra_op_num_threads = int(options.get("threads", 0))
        level = options.get("graph_optimization", "all")
        made.graph_optimization_level = onnxruntime.GraphOptimizationLevel(LEVELS[level])
        return made

    def _providers(self, spec: BuildSpec) -> list[Any]:  # noqa: ARG002 - the GPU providers need it
        return [self.provider]

    def _check_provider(self, session: Any) -> None:
        pass

    def _session(self, session: Any, spec: BuildSpec) -> Session:
        return HostSession(session, spec, attested(session))


class Cuda(Cpu):
    """The CUDA provider; TF32 is on only at precision tf32."""

    device = "cuda"
    provider = "CUDAExecutionProvider"
    library = "libonnxruntime_providers_cuda.so"

    def __init__(self) -> None:
        self._stream: Stream | None = None

    def _why_not_provider(self) -> str | None:
        return why_no_gpu() or _unloadable(self.library)

    def _refuse_tf32(self) -> None:
        pass

    def _providers(self, spec: BuildSpec) -> list[Any]:
        self._stream = Stream()
        return [
            (
                self.provider,
                {"use_tf32": int(spec.precision == "tf32"), "user_compute_stream": str(self._stream.handle)},
            )
        ]

    def _check_provider(self, session: Any) -> None:
        """A provider that falls back would measure something else: an error, never a warning."""
        if session.get_providers()[0] != self.provider:
            raise DeviceError(f"{self.provider} was asked for, ONNX Runtime fell back to {session.get_providers()}")
        strays = [
            f"{op} on {provider}"
            for provider, ops in attested(session).get("nodes", {}).items()
            for op in ops
            if provider == Cpu.provider and op in HEAVY
        ]
        if strays:
            raise Unsupported(f"{self.provider} left {', '.join(strays)}: it has no kernel for them")

    def _session(self, session: Any, spec: BuildSpec) -> Session:
        if self._stream is None:
            raise DeviceError("the session has no stream")
        return CudaSession(session, spec, self._stream, attested(session))


class TensorRT(Cuda):
    """The TensorRT provider; needs the TensorRT major that this ONNX Runtime was linked against.

    TF32 is switched off by the variable NVIDIA_TF32_OVERRIDE that its worker starts with.
    """

    provider = "TensorrtExecutionProvider"
    library = "libonnxruntime_providers_tensorrt.so"

    def _providers(self, spec: BuildSpec) -> list[Any]:
        cuda = super()._providers(spec)[0][1]
        options: dict[str, Any] = {
            "user_compute_stream": cuda["user_compute_stream"],
            "trt_engine_cache_enable": 0,
        }
        if spec.precision in ("fp16", "bf16", "int8"):
            options[f"trt_{spec.precision}_enable"] = 1
        if spec.profile:
            for position, which in enumerate(("min", "opt", "max")):
                options[f"trt_profile_{which}_shapes"] = ",".join(
                    f"{name}:{'x'.join(map(str, shapes[position]))}" for name, shapes in spec.profile.items()
                )
        if "optimization_level" in spec.options:
            options["trt_builder_optimization_level"] = int(spec.options["optimization_level"])
        if "workspace_mib" in spec.options:
            options["trt_max_workspace_size"] = int(spec.options["workspace_mib"]) << 20
        return [(self.provider, options), ("CUDAExecutionProvider", cuda)]


class HostSession:
    """A session whose tensors live on the host."""

    def __init__(self, session: Any, spec: BuildSpec, attested: Mapping[str, Any]) -> None:
        self._session = session
        self._dtypes = spec.dtypes
        self._names = [output.name for output in session.get_outputs()]
        self.attested = attested

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host."""
        try:
            values = self._session.run(self._names, {name: _portable(value) for name, value in feeds.items()})
        except Exception as error:
            raise translate(error) from error
        return {name: self._tensor(name, value) for name, value in zip(self._names, values, strict=True)}

    def bind(self, feeds: Feeds) -> Step:
        """A step over bound inputs; outputs are written where the first run left them."""
        import onnxruntime

        if any(value.dtype.kind in "OUST" for value in feeds.values()):  # strings cannot be bound
            return Step(lambda n: _run_times(self._session, self._names, feeds, n))
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(_portable(value)))
        for name in self._names:
            binding.bind_output(name)
        return Step(lambda n: _repeat(self._session, binding, n, None))

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _tensor(self, name: str, value: Any) -> Tensor:
        if not isinstance(value, np.ndarray):
            raise Unsupported(f"output '{name}' is a {type(value).__name__}, not a tensor: not supported yet")
        wanted = self._dtypes.get(name, "")
        if wanted.startswith("float8") and value.dtype == np.uint8:  # ONNX Runtime hands out the bits
            return value.view(np.dtype(wanted))
        return value


class CudaSession(HostSession):
    """A session whose bound tensors live on the GPU and whose work runs on our stream."""

    def __init__(self, session: Any, spec: BuildSpec, stream: Stream, attested: Mapping[str, Any]) -> None:
        super().__init__(session, spec, attested)
        self._stream = stream

    def bind(self, feeds: Feeds) -> Step:
        """A step over tensors resident on the GPU; outputs keep the buffers of the first run."""
        import onnxruntime

        first = self._session.io_binding()
        binding = self._session.io_binding()
        for name, value in feeds.items():
            resident = onnxruntime.OrtValue.ortvalue_from_numpy(_portable(value), "cuda", 0)
            first.bind_ortvalue_input(name, resident)
            binding.bind_ortvalue_input(name, resident)
        for name in self._names:
            first.bind_output(name, "cuda", 0)
        try:
            self._session.run_with_iobinding(first)
        except Exception as error:
            raise translate(error) from error
        for name, value in zip(self._names, first.get_outputs(), strict=True):
            binding.bind_ortvalue_output(name, value)
        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return Step(lambda n: _repeat(self._session, binding, n, run_options), self._stream.handle)

    def close(self) -> None:
        """Free the session, then its stream."""
        super().close()
        self._stream.free()


def _repeat(session: Any, binding: Any, count: int, options: Any) -> None:
    for _ in range(count):
        session.run_with_iobinding(binding, options)


def _run_times(session: Any, names: list[str], feeds: Feeds, count: int) -> None:
    for _ in range(count):
        session.run(names, feeds)


def _portable(value: Tensor) -> Tensor:
    """A contiguous array that ONNX Runtime takes; it has no way in for NumPy's extension dtypes."""
    if value.dtype.kind == "V":
        raise Unsupported(f"onnxruntime's Python API takes no {value.dtype.name} inputs")
    return np.ascontiguousarray(value)


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


def _unloadable(library: str) -> str | None:
    """The dynamic linker's own words if a provider library cannot be loaded."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / library))
    except OSError as error:
        return f"{library} cannot be loaded: {error}"
    return None


PATTERNS: tuple[tuple[str, type[CaseError]], ...] = (
    (
        r"NOT_IMPLEMENTED|is not a registered function|Could not find an implementation|is not supported"
        r"|Provider type for .* is not set"  # no provider took the node
        r"|No corresponding Numpy type|can't be converted to MLDataType|not currently registered or supported"
        r"|Type Error: Type '.*' of input parameter .* is invalid"
        r"|Failed to construct locale",  # StringNormalizer where the machine lacks its language
        Unsupported,
    ),
    (r"out of memory|Failed to allocate|bad_alloc|CUBLAS_STATUS_ALLOC_FAILED", OutOfMemory),
    (r"CUDA failure|CUDA error|CUDNN failure|CUBLAS failure", DeviceError),
    (r"INVALID_PROTOBUF|INVALID_GRAPH|INVALID_ARGUMENT|NO_SUCHFILE|Load model .* failed", InputError),
)


def translate(error: Exception) -> CaseError:
    """The harness's error for one of ONNX Runtime's, told apart by its words (it has no classes for them)."""
    if isinstance(error, CaseError):
        return error
    words = str(error)
    for pattern, kind in PATTERNS:
        if re.search(pattern, words, re.IGNORECASE):
            return kind(words)
    return BuildError(words)
