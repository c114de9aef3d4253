"""Backends: one file per runtime; nothing else imports that runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.registry import Registry

if TYPE_CHECKING:
    from harness.backends.base import Backend, Exporter

BACKENDS = Registry(
    "backend",
    {
        "onnxruntime-cpu": "harness.backends.onnxruntime:Cpu",
        "onnxruntime-cuda": "harness.backends.onnxruntime:Cuda",
        "onnxruntime-tensorrt": "harness.backends.onnxruntime:TensorRT",
        "tensorrt": "harness.backends.tensorrt:TensorRT",
        "tensorrt-rtx": "harness.backends.tensorrt:TensorRTRTX",
        "pytorch-cpu": "harness.backends.pytorch:PyTorchCpu",
        "pytorch-cuda": "harness.backends.pytorch:PyTorchCuda",
        "pytorch-compiled-cpu": "harness.backends.pytorch:PyTorchCompiledCpu",
        "pytorch-compiled-cuda": "harness.backends.pytorch:PyTorchCompiledCuda",
        "fake": "harness.backends.fake:Fake",
    },
)

MEASUREMENT = "TRT_HARNESS_MEASUREMENT"
"""The environment variable that counts the fresh processes in which a case is timed, for scripts to tell them apart."""
ATTEMPT = "TRT_HARNESS_ATTEMPT"
"""The environment variable that counts how often a case was begun in this run, or its device probed."""
SCRIPTED = frozenset({"fake"})
"""Backends that compute nothing: their outputs have no precision twin."""
OF_MODULES = frozenset({"pytorch-cpu", "pytorch-cuda", "pytorch-compiled-cpu", "pytorch-compiled-cuda"})
"""Backends that run a PyTorch model and no ONNX file; of its code and weights only a digest is kept."""
EXPORTERS = Registry(
    "framework",
    {
        "PyTorch": "harness.backends.pytorch:PyTorchExporter",
        "TensorFlow": "harness.backends.tensorflow_export:TensorFlowExporter",
    },
)
"""What models are exported from, by the names that `harness.sources.FRAMEWORKS` gives."""
TWIN_BACKEND = "onnxruntime-cpu"
"""What runs the precision twin."""


RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime-cpu": ("onnxruntime",),
    "onnxruntime-cuda": ("onnxruntime", "driver"),
    "onnxruntime-tensorrt": ("onnxruntime", "libnvinfer", "driver"),
    "tensorrt": ("tensorrt", "driver"),
    "tensorrt-rtx": ("tensorrt_rtx", "driver"),
    "pytorch-cpu": ("torch",),
    "pytorch-cuda": ("torch", "torch-cudnn", "driver"),
    "pytorch-compiled-cpu": ("torch",),
    "pytorch-compiled-cuda": ("torch", "torch-cudnn", "driver"),
}
"""Backend to the versions that its speed depends on."""

ON_GPU = frozenset(name for name, parts in RUNTIMES.items() if "driver" in parts)
"""Backends that run on a GPU."""
BUILT_AT_LOAD = frozenset({"onnxruntime-tensorrt"})
"""Backends that build an engine from the model and its profile whenever a session is opened."""


def backend_named(name: str) -> Backend:
    """A backend by its name."""
    made: Backend = BACKENDS.load(name)()
    return made


def exporter_named(name: str) -> Exporter:
    """A framework by its name."""
    made: Exporter = EXPORTERS.load(name)()
    return made


def worker_variables(backend: str, precision: str) -> dict[str, str]:
    """Environment variables that a case's worker starts with; cases that need others have another worker."""
    if backend == "tensorrt-rtx":
        return {"POLYGRAPHY_USE_TENSORRT_RTX": "1"}
    if backend == "onnxruntime-tensorrt" and precision != "tf32":
        return {"NVIDIA_TF32_OVERRIDE": "0"}  # the provider has no option for it (microsoft/onnxruntime#26029)
    return {}
