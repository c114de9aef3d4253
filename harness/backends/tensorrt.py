"""TensorRT 8.6, 10 and 11, and TensorRT-RTX, built through polygraphy's loaders."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.backends import cuda_health
from harness.backends.base import Artefact, BuildSpec, Session
from harness.backends.cuda import why_no_gpu
from harness.backends.tensorrt_network import WEAK_FLAGS, constrain, told
from harness.backends.tensorrt_parse import parse
from harness.backends.tensorrt_session import MEMORY, TensorRTSession
from harness.errors import BuildError, CaseError, DeviceError, DeviceMemory, HostMemory, InputError, Unsupported
from harness.records.support import Parsed
from harness.sources.digest import file_digest

TIMING_CACHE = "timing.cache"
"""The file of measured kernel times in the folder of a build."""


class TensorRT:
    """NVIDIA TensorRT; options `optimization_level` (0 to 5), `workspace_mib`, `precision_constraints`, `timing_cache`.

    With `timing_cache` a build reads the file `timing.cache` of its folder, where there is one, and writes it again.
    """

    device = "cuda"
    recipe: str | None = "tensorrt/1"
    module = "tensorrt"
    package = "tensorrt>=10,<11"

    def why_not(self) -> str | None:
        """Why it cannot build here: no GPU, or not installed."""
        return why_no_gpu() or self._why_not_installed()

    def why_not_run(self) -> str | None:
        """It builds only where it runs."""
        return None

    def versions(self) -> dict[str, str]:
        """Version of the library in use."""
        return {self.module: str(self._trt().__version__)}

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:
        """An engine file; strongly typed from TensorRT 10 on, before that with the precision's builder flag."""
        strong = self._strongly_typed()
        self._refuse_missing_flag(spec.precision, strong)
        words = self._listen()
        try:
            engine, settings = self._engine(spec, strong, folder / TIMING_CACHE)
        except Exception as error:
            raise translate(error, words) from error
        path = folder / "model.engine"
        path.write_bytes(engine)
        attested = {"requested": spec.precision, **settings}
        return Artefact(path, file_digest(path), {"engine_bytes": float(len(engine))}, attested)

    def parse(self, model: Path) -> Parsed:
        """What the parser says of a file."""
        import polygraphy.backend.trt.util as trt_util
        from polygraphy.backend.trt import create_network

        words = self._listen()
        try:
            hold_builder(self._trt())
            _, network = create_network(strongly_typed=self._strongly_typed())
            return parse(self._trt(), network, trt_util.get_trt_logger(), model)
        except Exception as error:
            raise translate(error, words) from error

    def open(self, artefact: Artefact, spec: BuildSpec) -> Session:
        """A session on the engine; DeviceError if it cannot be deserialised."""
        words = self._listen()
        try:
            return TensorRTSession(self._trt(), words, artefact, spec)
        except Exception as error:
            raise translate(error, words) from error

    def probe(self, case: str, options: Mapping[str, Any]) -> None:  # noqa: ARG002 - the device is the same for all
        """Bytes go to the GPU and come back."""
        cuda_health.probe()

    def _weak_precisions(self, precision: str, network: Any) -> list[str]:
        """What the builder must be allowed: the precision asked for, or what an `as-is` file holds already."""
        if precision != "as-is":
            return [precision] if precision in WEAK_FLAGS else []
        trt = self._trt()
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        quantised = any(layer.type in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE) for layer in layers)
        half = any(layer.num_outputs and layer.get_output(0).dtype == trt.DataType.HALF for layer in layers)
        return [name for name, held in (("int8", quantised), ("fp16", half)) if held]

    def _why_not_installed(self) -> str | None:
        try:
            self._trt()
        except (ImportError, OSError) as error:
            return f"{self.module} cannot be imported ({error}): pip install '{self.package}'"
        return None

    def _trt(self) -> Any:
        return import_module(self.module)

    def _strongly_typed(self) -> bool:
        return int(str(self._trt().__version__).split(".")[0]) >= 10

    def _refuse_missing_flag(self, precision: str, strong: bool) -> None:
        flag = WEAK_FLAGS.get(precision)
        trt = self._trt()
        if not strong and flag and not hasattr(trt.BuilderFlag, flag):
            raise Unsupported(f"TensorRT {trt.__version__} has no {precision}: its builder lacks the flag {flag}")

    def _listen(self) -> deque[str]:
        """The last error messages of TensorRT, which polygraphy would only print."""
        import polygraphy.backend.trt.util as trt_util
        from polygraphy.logger import G_LOGGER

        G_LOGGER.module_severity = G_LOGGER.ERROR
        words: deque[str] = deque(maxlen=8)
        trt_util.TRT_LOGGER = _listener(self._trt(), words)
        return words

    def _engine(self, spec: BuildSpec, strong: bool, timed: Path) -> tuple[bytes, dict[str, Any]]:
        """The engine's bytes and what the builder was told."""
        from polygraphy.backend.trt import create_config, engine_bytes_from_network, network_from_onnx_path

        hold_builder(self._trt())
        made = network_from_onnx_path(str(spec.model), strongly_typed=strong)
        builder, network = made[0], made[1]
        held, _ = kept_of(spec)
        if held and not strong:
            constrain(self._trt(), network, spec.model, held)
        known = spec.options.get("timing_cache") and timed.exists()
        config = create_config(
            builder, network, **self._config(spec, strong, network), load_timing_cache=str(timed) if known else None
        )
        keep = str(timed) if spec.options.get("timing_cache") else None
        engine = bytes(engine_bytes_from_network((builder, network), config, save_timing_cache=keep))
        return engine, told(self._trt(), network, config)

    def _config(self, spec: BuildSpec, strong: bool, network: Any) -> dict[str, Any]:
        from polygraphy.backend.trt import Profile

        profile = Profile()
        for name, shapes in spec.profile.items():
            profile.add(name, *shapes)
        chosen: dict[str, Any] = {
            "profiles": [profile],
            "tf32": spec.precision == "tf32",
            # so that the engine tells its layers; which kernels are chosen does not depend on it
            "profiling_verbosity": self._trt().ProfilingVerbosity.DETAILED,
        }
        if not strong:
            chosen |= dict.fromkeys(self._weak_precisions(spec.precision, network), True)
            chosen["precision_constraints"] = kept_of(spec)[1]
        if "optimization_level" in spec.options:
            chosen["builder_optimization_level"] = int(spec.options["optimization_level"])
        if spec.options.get("sparse_weights"):
            chosen["sparse_weights"] = True
        if "workspace_mib" in spec.options:
            pool = self._trt().MemoryPoolType.WORKSPACE
            chosen["memory_pool_limits"] = {pool: int(spec.options["workspace_mib"]) << 20}
        return chosen


class TensorRTRTX(TensorRT):
    """TensorRT for RTX: strongly typed only; builds without a GPU, runs on one.

    The worker is started with POLYGRAPHY_USE_TENSORRT_RTX=1, which makes polygraphy load this library.
    """

    recipe = "tensorrt-rtx/1"
    module = "tensorrt_rtx"
    package = "tensorrt-rtx"

    def why_not(self) -> str | None:
        """Why it cannot build here: only that it is not installed."""
        return self._why_not_installed()

    def why_not_run(self) -> str | None:
        """Its engines cannot be deserialised without a GPU."""
        return why_no_gpu()

    def _strongly_typed(self) -> bool:
        return True


def kept_of(spec: BuildSpec) -> tuple[tuple[str, ...], str | None]:
    """The precisions of the file that a weakly typed network must keep, and whether that is to `prefer` or to `obey`.

    At int8 and fp8 the file's Q/DQ pairs decide; fp32 and tf32 allow nothing shorter.
    """
    option = spec.options.get("precision_constraints")
    if spec.precision not in ("fp16", "bf16") or not (option or spec.typed):
        return (), None
    return ("fp32", spec.precision) if option else ("fp32",), "obey" if spec.typed else str(option)


_HELD: dict[str, Any] = {}


def hold_builder(trt: Any) -> None:
    """Keep one builder for the life of the process.

    With the last builder TensorRT unloads its kernels, and with the next one it loads them again, which takes seconds.
    """
    import polygraphy.backend.trt.util as trt_util

    if trt.__name__ not in _HELD:
        logger = trt_util.get_trt_logger()
        _HELD[trt.__name__] = (trt.Builder(logger), logger)


def _listener(trt: Any, words: deque[str]) -> Any:
    class Listener(trt.ILogger):  # type: ignore[misc] # the base comes from the module at hand
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                words.append(" ".join(message.split()))
            if severity not in (trt.ILogger.Severity.VERBOSE, trt.ILogger.Severity.INFO):
                print(f"[{severity.name}] {message}", file=sys.stderr)

    return Listener()


PATTERNS: tuple[tuple[str, type[CaseError]], ...] = (
    (r"bad_alloc", HostMemory),
    (MEMORY, DeviceMemory),
    (r"API Usage Error", BuildError),  # beside which a machine without a GPU tells of a missing driver
    (r"Cuda Runtime|CUDA error|cudaError|CUDA initialization|PTX compiled", DeviceError),
    (r"MODEL_DESERIALIZE_FAILED|INVALID_GRAPH|INVALID_NODE", InputError),
    # the parser's codes for a graph or a node that it does not take, by name or by number
    (r"UNSUPPORTED_(GRAPH|NODE)|In function (import|check)\w+: \[[78]\]", Unsupported),
    (r"No importer registered for op|Plugin not found|could not find plugin", Unsupported),
)
"""What TensorRT says, by its own codes; names of nodes and files decide nothing."""


def translate(error: Exception, words: deque[str]) -> CaseError:
    """The harness's error for what TensorRT said, told apart by its own words."""
    if isinstance(error, CaseError):
        return error
    said = " | ".join(reversed(words)) or str(error)  # the last one is the most specific
    for pattern, kind in PATTERNS:
        if re.search(pattern, said):
            return kind(said)
    return BuildError(said)
