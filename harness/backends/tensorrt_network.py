"""What TensorRT's builder was really told: its flags and the network's types, read back after they were set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.backends.cuda import tf32_overridden
from harness.backends.dtypes import precisions
from harness.backends.kernels import storage_of
from harness.backends.layers import UNKNOWN, Layer, counts

WEAK_FLAGS: Mapping[str, str] = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}
"""The builder flag of each precision, for the majors before strong typing (TensorRT 8)."""
_KINDS: Mapping[str, str] = {
    "CONVOLUTION": "conv",
    "DECONVOLUTION": "conv",
    "MATRIX_MULTIPLY": "matmul",
    "FULLY_CONNECTED": "matmul",
    "EINSUM": "matmul",
}
_DTYPES: Mapping[str, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FLOATS = ("FLOAT", "HALF", "BF16")
_FIXED = frozenset(("CONSTANT", "SHAPE", "CAST", "QUANTIZE", "DEQUANTIZE"))
"""Layers that compute nothing, or whose types are what they are for."""
_WIDE_SUMS = _FIXED | {"NORMALIZATION"}
"""Normalisations sum in fp32 also where their values are shorter: the parser has set what the operator asks for."""
_NODE = re.compile(r"\[ONNX Layer: (.+?)\]")
_CONSTRAINTS: Mapping[str, str] = {"obey": "OBEY_PRECISION_CONSTRAINTS", "prefer": "PREFER_PRECISION_CONSTRAINTS"}


def told(trt: Any, network: Any, config: Any) -> dict[str, Any]:
    """`typing`, the precisions that flags `allowed`, `tf32`; of a strongly typed `network` the types it must keep.

    Of a weakly typed one `precision_constraints`, where there are any.
    """
    strong = _is_strong(trt, network)
    allowed = [name for name, flag in WEAK_FLAGS.items() if _is_set(trt, config, flag)]
    constraints = [] if strong else [name for name, flag in _CONSTRAINTS.items() if _is_set(trt, config, flag)]
    return {
        "typing": "strong" if strong else "weak",
        "allowed": allowed,
        "tf32": _is_set(trt, config, "TF32") and not tf32_overridden(),
        **({"network": counts(_typed(network))} if strong else {}),
        **({"precision_constraints": constraints[0]} if constraints else {}),
    }


def constrain(trt: Any, network: Any, file: Path, held: Collection[str]) -> None:
    """Asks each layer of a weakly typed `network` for the precision that its node has in `file`, if that is `held`.

    Whether the builder prefers that or obeys it is a flag of its configuration.
    """
    tensors, labels = precisions(file)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(position) for position in range(layer.num_outputs)]
        wanted = _wanted(layer, outputs, tensors, labels)
        # so that what the parser adds without a name has the precision of what it reads
        tensors |= {output.name: wanted for output in outputs if output.name not in tensors}
        if wanted in held and layer.type.name not in (_WIDE_SUMS if wanted != "fp32" else _FIXED):
            _ask(layer, outputs, getattr(trt, _DTYPES[wanted]))


def _wanted(layer: Any, outputs: Sequence[Any], tensors: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """By the node that the parser made the layer of, else by a tensor of the file, else by what the layer reads."""
    node = _NODE.search(getattr(layer, "metadata", "") or "")
    read = [layer.get_input(0)] if layer.num_inputs else []
    found = [
        labels.get(node[1] if node else layer.name),
        *(tensors.get(tensor.name) for tensor in (*outputs, *read) if tensor is not None),
    ]
    return next((precision for precision in found if precision is not None), UNKNOWN)


def _ask(layer: Any, outputs: Sequence[Any], dtype: Any) -> None:
    floats = [position for position, output in enumerate(outputs) if output.dtype.name in _FLOATS]
    if floats and len(floats) == len(outputs):
        layer.precision = dtype
        for position in floats:
            layer.set_output_type(position, dtype)


def _is_strong(trt: Any, network: Any) -> bool:
    if not hasattr(trt.BuilderFlag, "FP16"):  # where there is no flag for a precision there is no other typing
        return True
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return flag is not None and hasattr(network, "get_flag") and bool(network.get_flag(flag))


def _is_set(trt: Any, config: Any, flag: str) -> bool:
    return hasattr(trt.BuilderFlag, flag) and bool(config.get_flag(getattr(trt.BuilderFlag, flag)))


def _typed(network: Any) -> Iterator[Layer]:
    """Convolutions and products with the type of what they read; behind DEQUANTIZE that of what was quantised."""
    quantised: dict[str, str] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        name = layer.type.name
        if name == "DEQUANTIZE":
            quantised[layer.get_output(0).name] = layer.get_input(0).dtype.name
        if name in _KINDS:
            read = layer.get_input(0)
            yield Layer(layer.name, _KINDS[name], storage_of(quantised.get(read.name, read.dtype.name)))
