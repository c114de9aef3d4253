"""The options that each backend takes from `options:`; a backend that is not here takes none."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from harness.backends import BACKENDS
from harness.suites.fields import LibraryFile, ScriptFile, Strict

GraphOptimization = Annotated[
    Literal["disable", "basic", "extended", "all"], Field(description="ONNX Runtime's graph optimisation level.")
]
OptimizationLevel = Annotated[int, Field(ge=0, le=5, description="TensorRT's builder optimisation level, 0 to 5.")]
Workspace = Annotated[int, Field(ge=1, le=2**30, description="Memory in MiB that the builder may use.")]

Constraints = Annotated[
    Literal["prefer", "obey"],
    Field(
        description="TensorRT before 10, at fp16 and bf16: layers run in the precision that the file's tensors have; "
        "prefer: where there is a kernel for it; obey: or the build fails. Default: whichever precision is faster."
    ),
]


CustomOps = Annotated[
    list[LibraryFile], Field(description="Shared libraries of operators that ONNX Runtime does not have itself.")
]


class NoOptions(Strict):
    """A backend without options."""


class OnnxRuntimeCpu(Strict):
    """Options of onnxruntime-cpu."""

    threads: Annotated[int, Field(ge=1, le=4096)] | None = Field(None, description="Threads inside one operator.")
    graph_optimization: GraphOptimization | None = None
    weight_only_products: Literal["float", "int8"] | None = Field(
        None,
        description="Products with weights that the file dequantises. float, the default of the variants weights-int8 "
        "and weights-int4: as the file says; int8: activations are rounded too, as ONNX Runtime does by itself.",
    )
    custom_ops: CustomOps | None = None


class OnnxRuntimeCuda(Strict):
    """Options of onnxruntime-cuda."""

    graph_optimization: GraphOptimization | None = None
    custom_ops: CustomOps | None = None


class OnnxRuntimeTensorRT(Strict):
    """Options of onnxruntime-tensorrt."""

    optimization_level: OptimizationLevel | None = None
    workspace_mib: Workspace | None = None
    graph_optimization: GraphOptimization | None = None


class TensorRT(Strict):
    """Options of tensorrt."""

    optimization_level: OptimizationLevel | None = None
    workspace_mib: Workspace | None = None
    precision_constraints: Constraints | None = None
    sparse_weights: bool | None = Field(
        None,
        description="Kernels for weights in the 2:4 pattern (variant prune-2:4), where they are faster.",
    )
    timing_cache: bool | None = Field(
        None, description="Kernel times that earlier builds on this GPU measured are used again: builds are faster."
    )


class TensorRTRTX(Strict):
    """Options of tensorrt-rtx."""

    workspace_mib: Workspace | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_strongly_typed(cls, value: Any) -> Any:
        if isinstance(value, dict) and "precision_constraints" in value:
            raise ValueError(
                "'precision_constraints' means nothing here: TensorRT for RTX is always strongly typed and keeps the "
                "types of the file; leave it out"
            )
        return value


class PytorchCpu(Strict):
    """Options of pytorch-cpu and pytorch-compiled-cpu."""

    threads: Annotated[int, Field(ge=1, le=4096)] | None = Field(None, description="Threads inside one operator.")


class Fake(Strict):
    """Options of fake."""

    script: ScriptFile | None = Field(None, description="YAML file that scripts the fake backend.")


OPTIONS: dict[str, type[Strict]] = {
    "onnxruntime-cpu": OnnxRuntimeCpu,
    "onnxruntime-cuda": OnnxRuntimeCuda,
    "onnxruntime-tensorrt": OnnxRuntimeTensorRT,
    "tensorrt": TensorRT,
    "tensorrt-rtx": TensorRTRTX,
    "pytorch-cpu": PytorchCpu,
    "pytorch-compiled-cpu": PytorchCpu,
    "fake": Fake,
}

_BY_BACKEND = {backend: (OPTIONS.get(backend, NoOptions) | None, None) for backend in BACKENDS}
Options: type[Strict] = create_model(  # type: ignore[call-overload]
    "Options", __base__=Strict, __doc__="Backend name to its options.", **_BY_BACKEND
)
