"""Backends: one file per runtime; nothing else imports that runtime."""

from __future__ import annotations

from harness.registry import Registry

BACKENDS = Registry(
    "backend",
    {
        "onnxruntime-cpu": "harness.backends.onnxruntime:Cpu",
        "onnxruntime-cuda": "harness.backends.onnxruntime:Cuda",
        "onnxruntime-tensorrt": "harness.backends.onnxruntime:TensorRT",
        "tensorrt": "harness.backends.tensorrt:TensorRT",
        "tensorrt-rtx": "harness.backends.tensorrt:TensorRTRTX",
        "fake": "harness.backends.fake:Fake",
    },
)

WORKER_VARIABLES: dict[str, dict[str, str]] = {
    "tensorrt-rtx": {"POLYGRAPHY_USE_TENSORRT_RTX": "1"},
}
"""Environment variables that a backend's worker starts with; such a backend has a worker of its own."""
