"""ONNX Runtime on CPU, CUDA and its TensorRT provider."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.backends import cuda_health
from harness.backends.base import PLAIN, Artefact, BuildSpec, Feeds
from harness.backends.cuda import Stream, tf32_overridden, why_no_gpu
from harness.backends.cuda_health import refuse_without_room
from harness.backends.layers import UNKNOWN, Layer, record
from harness.backends.onnxruntime_fusion import fused
from harness.backends.onnxruntime_graph import CONVOLUTIONS, HEAVY, OPTIMISED, executed, heavy, watch, workplace
from harness.backends.onnxruntime_origins import places
from harness.backends.onnxruntime_parse import parse
from harness.backends.onnxruntime_session import CudaSession, HostSession, Profiler, attested, translate
from harness.backends.onnxruntime_trace import has_kernels, profiled
from harness.errors import BuildError, CaseError, DeviceError, InputError, Unsupported
from harness.records import Fusion, LayerTime
from harness.records.support import Parsed
from harness.sources.inspect import external_files, load_graph

LEVELS = {"disable": 0, "basic": 1, "extended": 2, "all": 99}
NBITS_ACCURACY = {"float": "1", "int8": "4"}
"""Levels of MatMulNBits, which stands for products with dequantised weights; ONNX Runtime's own default is 4."""
NO_KERNELS = (
    "this onnxruntime was built without CUDA profiling: its trace tells when kernels were started, not how long they "
    "ran; profile the case with Nsight Systems"
)


class Cpu:
    """The CPU provider; `threads` and `graph_optimization` are options."""

    device = "cpu"
    recipe: str | None = None  # ONNX Runtime builds when it loads
    provider = "CPUExecutionProvider"
    tells = True
    """Its optimised model holds every node that runs."""

    def __init__(self, trace_to: Path | None = None) -> None:
        self._trace_to = trace_to
        """Where its sessions write what they ran and how long it took; nothing is traced without."""

    def why_not(self) -> str | None:
        try:
            import onnxruntime
        except ImportError as error:
            return f"onnxruntime is not installed ({error}): pip install onnxruntime, or onnxruntime-gpu"
        if self.provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {self.provider}: install onnxruntime-gpu instead, in its own environment"
        return self._why_not_provider()

    def _why_not_provider(self) -> str | None:
        return None

    def why_not_run(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def probe(self, case: str, options: Mapping[str, Any]) -> None:
        """A CPU that were sick would not run this."""

    def parse(self, model: Path) -> Parsed:
        """What a session says of a file."""
        return parse(model, self.provider)

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:  # noqa: ARG002 - ONNX Runtime builds when it loads
        return Artefact(spec.model)

    def open(self, artefact: Artefact, spec: BuildSpec) -> HostSession:
        if spec.precision == "tf32":
            self._refuse_tf32()
        profiler = Profiler(self._why_no_profile, partial(self._profile, artefact, spec))
        if self._trace_to is not None or not spec.attest:
            return self._session(self._load(artefact.path, spec, self._trace_to), {}, profiler)
        folder = Path(workplace().name)
        session = self._load(artefact.path, spec, folder)
        told = {**attested(session), **self._settings(session)}
        ran = self._ran(session, spec, folder, told)
        if self.tells and "untold" not in ran:  # not later: the next session writes to the same folder
            optimised = load_graph(folder / OPTIMISED)
            profiler = replace(profiler, fusion=partial(_fused, spec.model, optimised, tf32=bool(told.get("tf32"))))
        return self._session(session, {**told, **ran}, profiler)

    def _profile(self, artefact: Artefact, spec: BuildSpec, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:
        """The nodes of a session of its own, so that the one that is timed never traces."""
        with TemporaryDirectory(prefix="trt-harness-") as name:
            place = Path(name)
            session = type(self)(place).open(artefact, spec)
            try:
                trace = session.trace(feeds, 1 + iterations)
            except Exception as error:
                raise translate(error, self.device) from error
            finally:
                session.close()
            if self.device != "cpu" and not has_kernels(trace):
                raise Unsupported(NO_KERNELS)
            optimised = place / OPTIMISED
            return profiled(trace, places(spec.model, optimised) if optimised.exists() else (), iterations)

    def _why_no_profile(self) -> str | None:
        return None

    def _load(self, model: Path, spec: BuildSpec, place: Path | None) -> Any:
        """A session that wrote its optimised model to a folder, or one that did not where it cannot or need not."""
        import onnxruntime

        providers = self._providers(spec)
        watched = self._session_options(spec.options)
        if self.tells and place is not None:
            try:
                watch(watched, place)
                return self._checked(onnxruntime.InferenceSession(str(model), watched, providers=providers))
            except CaseError:
                raise
            except Exception:  # noqa: S110 - of the model or of writing it: the next attempt tells which
                pass
        try:
            plain = self._session_options(spec.options)
            return self._checked(onnxruntime.InferenceSession(str(model), plain, providers=providers))
        except Exception as error:
            raise _of_variant(translate(error, self.device), spec.precision) from error

    def _checked(self, session: Any) -> Any:
        session.disable_fallback()
        self._check_provider(session)
        return session

    def _settings(self, session: Any) -> dict[str, Any]:  # noqa: ARG002 - the GPU providers need it
        """What the provider was allowed, read back from the session."""
        return {}

    def _ran(self, session: Any, spec: BuildSpec, place: Path, told: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The layers that run, for the record."""
        try:
            layers = executed(place, spec.model)
        except InputError as error:
            return {"untold": f"ONNX Runtime wrote no optimised model: {error}"}
        return record(_may_be_tf32(layers) if told.get("tf32") else layers)

    def _refuse_tf32(self) -> None:
        raise Unsupported("CPUs have no TF32: nothing to measure")

    def _session_options(self, options: Mapping[str, Any]) -> Any:
        import onnxruntime

        made = onnxruntime.SessionOptions()
        made.log_severity_level = 3
        if self._trace_to is not None:
            made.enable_profiling = True
            made.profile_file_prefix = str(self._trace_to / "trace")
        made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        made.intra_op_num_threads = int(options.get("threads", 0))
        if not options.get("spinning", True):  # no suite says so: what is timed runs as users run it
            made.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if products := options.get("weight_only_products"):
            made.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", NBITS_ACCURACY[str(products)])
        level = options.get("graph_optimization", "all")
        made.graph_optimization_level = onnxruntime.GraphOptimizationLevel(LEVELS[level])
        for library in options.get("custom_ops") or ():
            _register(made, library)
        return made

    def _providers(self, spec: BuildSpec) -> list[Any]:  # noqa: ARG002 - the GPU providers need it
        return [self.provider]

    def _check_provider(self, session: Any) -> None:
        pass

    def _session(self, session: Any, told: Mapping[str, Any], profiler: Profiler) -> HostSession:
        return HostSession(session, told, profiler)


def _stored_bytes(model: Path) -> int:
    """The size of a file and of those beside it that hold its weights; large files are taken to hold them all."""
    inside = model.stat().st_size
    if inside >= 64 << 20:
        return inside
    with suppress(InputError):  # which is told by what loads it
        return inside + sum(file.stat().st_size for file in external_files(model))
    return inside


def _register(options: Any, library: str) -> None:
    try:
        options.register_custom_ops_library(library)
    except Exception as error:
        raise InputError(
            f"custom_ops: {library} cannot be registered: {' '.join(str(error).split())}; it must be a library of "
            "operators built for this machine and this ONNX Runtime"
        ) from error


def _of_variant(error: CaseError, precision: str) -> CaseError:
    """An operator outside the standard that does not take the half type of a variant is refused, not misused.

    onnx knows no types of such operators, so a converter cannot leave them in fp32.
    """
    half = {"fp16": "float16", "bf16": "bfloat16"}.get(precision)
    refused = half and isinstance(error, InputError) and f"Type Error: Type 'tensor({half})' of" in str(error)
    return Unsupported(str(error)) if refused else error


class Cuda(Cpu):
    """The CUDA provider; TF32 is on only at precision tf32."""

    device = "cuda"
    provider = "CUDAExecutionProvider"
    library = "libonnxruntime_providers_cuda.so"

    def __init__(self, trace_to: Path | None = None) -> None:
        super().__init__(trace_to)
        self._stream: Stream | None = None
        self._mode = PLAIN

    def open(self, artefact: Artefact, spec: BuildSpec) -> HostSession:
        """A session on a stream of its own, which is given back if there is no session."""
        self._stream = None
        refuse_without_room({"the model's weights": _stored_bytes(artefact.path)})
        try:
            return super().open(artefact, spec)
        except BaseException:
            if self._stream is not None:
                self._stream.free()
            raise

    def _why_not_provider(self) -> str | None:
        return why_no_gpu() or _unloadable(self.library)

    def probe(self, case: str, options: Mapping[str, Any]) -> None:  # noqa: ARG002 - the device is the same for all
        """Bytes go to the GPU and come back."""
        cuda_health.probe()

    def _refuse_tf32(self) -> None:
        pass

    def _providers(self, spec: BuildSpec) -> list[Any]:
        self._stream, self._mode = Stream(), spec.mode
        options = {"use_tf32": int(spec.precision == "tf32"), "user_compute_stream": str(self._stream.handle)}
        return [(self.provider, {**options, "enable_cuda_graph": 1} if spec.mode.cuda_graph else options)]

    def _check_provider(self, session: Any) -> None:
        """A provider that falls back would measure something else: an error, never a warning."""
        if session.get_providers()[0] != self.provider:
            raise DeviceError(f"{self.provider} was asked for, ONNX Runtime fell back to {session.get_providers()}")
        strays = [
            f"{op} on {provider}"
            for provider, ops in attested(session).get("nodes", {}).items()
            for op in ops
            if provider != self.provider and op in HEAVY
        ]
        if strays:
            raise BuildError(f"{self.provider} fell back: it left {', '.join(strays)}")

    def _settings(self, session: Any) -> dict[str, Any]:
        """Whether TF32 was allowed; a variable of the environment switches it off for all of CUDA's libraries."""
        given = session.get_provider_options().get("CUDAExecutionProvider", {}).get("use_tf32")
        return {"tf32": False} if tf32_overridden() else {} if given is None else {"tf32": _is_on(given)}

    def _why_no_profile(self) -> str | None:
        """ONNX Runtime times kernels through CUPTI, which the provider loads if it was built to."""
        return None if "libcupti" in Path("/proc/self/maps").read_text() else NO_KERNELS

    def _session(self, session: Any, told: Mapping[str, Any], profiler: Profiler) -> HostSession:
        if self._stream is None:
            raise DeviceError("the session has no stream")
        return CudaSession(session, self._stream, told, profiler, self._mode)


class TensorRT(Cuda):
    """The TensorRT provider; needs the TensorRT major that this ONNX Runtime was linked against.

    TF32 is switched off by the variable NVIDIA_TF32_OVERRIDE that its worker starts with.
    """

    provider = "TensorrtExecutionProvider"
    library = "libonnxruntime_providers_tensorrt.so"
    tells = False  # its engines are single nodes, and ONNX Runtime writes no model that holds such

    def versions(self) -> dict[str, str]:
        """Also that of the TensorRT that the provider is linked with, which need not be Python's."""
        found = _infer_version(Path("/proc/self/maps").read_text())
        return super().versions() | ({"libnvinfer": found} if found else {})

    def _providers(self, spec: BuildSpec) -> list[Any]:
        if spec.mode.cuda_graph:
            raise Unsupported("latency.cuda_graph is for tensorrt and onnxruntime-cuda, not for onnxruntime-tensorrt")
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

    def _why_no_profile(self) -> str | None:
        return "ONNX Runtime's TensorRT provider does not tell the layers of its engines"

    def _settings(self, session: Any) -> dict[str, Any]:
        """The builder flags that the provider sets; TF32 has none and is on unless the environment says otherwise."""
        given = session.get_provider_options().get(self.provider, {})
        allowed = [name for name in ("fp16", "bf16", "int8") if _is_on(given.get(f"trt_{name}_enable", "0"))]
        return {"typing": "weak", "allowed": allowed, "tf32": not tf32_overridden()}

    def _ran(self, session: Any, spec: BuildSpec, place: Path, told: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """That there are layers, of which the provider tells nothing."""
        ops = told.get("nodes", {}).get(self.provider, {})
        heavy = {op: count for op, count in ops.items() if op in HEAVY}
        layers = [
            Layer(op, "conv" if op in CONVOLUTIONS else "matmul") for op, count in heavy.items() for _ in range(count)
        ]
        return record(layers) | {"untold": "ONNX Runtime's TensorRT provider does not tell what its engines run"}


def _fused(file: Path, optimised: Any, *, tf32: bool) -> Fusion | None:
    try:
        original = load_graph(file)
    except InputError:  # it went meanwhile
        return None
    layers = heavy(optimised, original)
    return fused(original, optimised, _may_be_tf32(layers) if tf32 else layers)


def _may_be_tf32(layers: Iterable[Layer]) -> list[Layer]:
    """fp32 nodes on a GPU where TF32 is allowed: its libraries choose and do not tell."""
    return [replace(layer, compute=UNKNOWN) if layer.compute == "fp32" else layer for layer in layers]


def _is_on(value: str) -> bool:
    return str(value).lower() in ("1", "true")


def _infer_version(maps: str) -> str | None:
    """The number that the loaded libnvinfer gives itself, from the mappings of this process; None without one."""
    for line in maps.splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith("libnvinfer.so"):
            return str(ctypes.CDLL(f"/{path}").getInferLibVersion())
    return None


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
