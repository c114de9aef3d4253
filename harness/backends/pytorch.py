"""PyTorch on CPU and CUDA, as it is (eager) and compiled by torch.compile; it runs the model, never its export."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.backends import cuda_health
from harness.backends.base import Artefact, BuildSpec, Session
from harness.backends.cuda import why_no_gpu
from harness.backends.exported_file import versions
from harness.backends.factories import SAME
from harness.backends.torch_cuda import CudaSession
from harness.backends.torch_export import PACKAGES, write
from harness.backends.torch_module import EXTRA, Model, load, why_no_torch
from harness.backends.torch_session import HostSession, translate, translated
from harness.errors import InputError, Unsupported
from harness.records import Source
from harness.sources import FRAMEWORKS
from harness.sources.digest import file_digest

DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
"""Precisions for which the whole module is converted (`Module.to`)."""
AS_IT_IS = ("fp32", "tf32", "as-is")
NAME = "module.json"
NO_FILES = (
    "PyTorch runs no ONNX files: the model's source must be torch:package.module:factory or a .pt2 file, "
    "and the case neither a variant of it nor of a file of its own"
)


class PyTorchCpu:
    """Eager on the CPU; `threads` is an option."""

    device = "cpu"
    recipe: str | None = None  # there is nothing to be built
    compiled = False

    def why_not(self) -> str | None:
        """Why it cannot be used here: PyTorch is not installed, or what it compiles with."""
        return why_no_torch() or (self._why_no_compiler() if self.compiled else None)

    def why_not_run(self) -> str | None:
        """It builds nothing."""
        return None

    def versions(self) -> dict[str, str]:
        """PyTorch's version."""
        import torch

        return {"torch": str(torch.__version__)}

    def probe(self, case: str, options: Mapping[str, Any]) -> None:
        """A CPU that were sick would not run this."""

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:
        """A note of which code and weights the model is made of; the model itself is made wherever it is opened."""
        self._refuse(spec)
        model, path = _as_exported(spec), folder / NAME
        path.write_text(json.dumps({"module": model.digest}), "utf-8")
        return Artefact(path, file_digest(path))

    def open(self, artefact: Artefact, spec: BuildSpec) -> Session:
        """A session on the model; InputError where its code or weights are not those of the artefact."""
        self._refuse(spec)
        if spec.source is None:
            raise Unsupported(NO_FILES)
        model = load(spec.source)
        if json.loads(artefact.path.read_text("utf-8"))["module"] != model.digest:
            raise InputError(f"{spec.source.path}: its code or weights are not those that were to be opened: {SAME}")
        try:
            kind = HostSession if self.device == "cpu" else CudaSession
            return kind(model, spec, DTYPES.get(spec.precision), compiled=self.compiled)
        except Exception as error:
            raise translate(error) from error

    def _refuse(self, spec: BuildSpec) -> None:
        """Unsupported for a precision that PyTorch does not have here."""
        if spec.precision == "tf32" and self.device == "cpu":
            raise Unsupported("CPUs have no TF32: nothing to measure")
        if spec.precision not in (*DTYPES, *AS_IT_IS):
            raise Unsupported(
                f"{spec.precision} is a property of the ONNX file (quantised nodes), which PyTorch does not run: give "
                "a quantised module as a model of its own, at precision as-is"
            )

    def _why_no_compiler(self) -> str | None:
        found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
        return None if found else "torch.compile needs a C++ compiler here: install g++, or name one in CXX"


class PyTorchCuda(PyTorchCpu):
    """Eager on the GPU, on the harness's own stream."""

    device = "cuda"

    def why_not(self) -> str | None:
        """Why it cannot be used here: no PyTorch, no GPU, or a PyTorch that sees none."""
        return super().why_not() or why_no_gpu() or _why_no_cuda()

    def versions(self) -> dict[str, str]:
        """PyTorch's version, and that of cuDNN, whose kernels it calls."""
        import torch

        return {**super().versions(), "torch-cudnn": str(torch.backends.cudnn.version())}

    def probe(self, case: str, options: Mapping[str, Any]) -> None:  # noqa: ARG002 - the device is the same for all
        """Bytes go to the GPU and come back."""
        cuda_health.probe()

    def _why_no_compiler(self) -> str | None:
        try:
            import triton  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
        except ImportError as error:
            return f"torch.compile needs triton on a GPU ({error}): pip install triton"
        return None


class PyTorchCompiledCpu(PyTorchCpu):
    """torch.compile on the CPU."""

    compiled = True


class PyTorchCompiledCuda(PyTorchCuda):
    """torch.compile on the GPU."""

    compiled = True


class PyTorchExporter:
    """PyTorch, as what ONNX files are exported from and compared with; on the CPU."""

    recipe = 1

    def why_not(self) -> str | None:
        """Why it cannot be used here: PyTorch is not installed."""
        return why_no_torch()

    def why_not_run(self) -> str | None:
        """What exports it also runs."""
        return None

    def versions(self) -> dict[str, str]:
        """PyTorch's version."""
        return PyTorchCpu().versions()

    def packages(self) -> dict[str, str]:
        """Versions of what takes part in an export."""
        return versions(PACKAGES, EXTRA)

    def load(self, source: Source) -> Model:
        """The model of a source that the command line allows."""
        return load(source)

    def write(self, model: Model, source: Source, folder: Path) -> None:
        """The model as an ONNX file in a folder."""
        write(model, source, folder)

    def open(self, spec: BuildSpec) -> Session:
        """A session on the model that was exported, in fp32."""
        with translated():
            return HostSession(_as_exported(spec), spec, None, compiled=False)


def _as_exported(spec: BuildSpec) -> Model:
    """The model of a case; InputError where it has other weights than its export."""
    if spec.source is None or FRAMEWORKS[spec.source.kind] != "PyTorch":
        raise Unsupported(NO_FILES)
    model = load(spec.source)
    if model.weights != spec.weights:
        raise InputError(f"{spec.source.path}: made other weights than those that were exported: {SAME}")
    return model


def _why_no_cuda() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return f"this PyTorch ({torch.__version__}) sees no GPU: install a build for CUDA"
