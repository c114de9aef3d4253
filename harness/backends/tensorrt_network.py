"""What TensorRT's builder was really told: its flags and the network's types, read back after they were set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.backends.cuda import tf32_overridden
from harness.backends.kernels import storage_of
from harness.backends.layers import Layer, counts

WEAK_FLAGS: Mapping[str, str] = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8", "fp8": "FP8"}
"""The builder flag of each precision, for the majors before strong typing (TensorRT 8)."""
_KINDS: Mapping[str, str] = {
    "CONVOLUTION": "conv",
    "DECONVOLUTION": "conv",
    "MATRIX_MULTIPLY": "matmul",
    "FULLY_CONNECTED": "matmul",
    "EINSUM": "matmul",
}


def told(trt: Any, network: Any, config: Any) -> dict[str, Any]:
    """`typing`, the precisions that flags `allowed`, `tf32`; of a strongly typed `network` the types it must keep."""
    strong = _is_strong(trt, network)
    allowed = [name for name, flag in WEAK_FLAGS.items() if _is_set(trt, config, flag)]
    return {
        "typing": "strong" if strong else "weak",
        "allowed": allowed,
        "tf32": _is_set(trt, config, "TF32") and not tf32_overridden(),
        **({"network": counts(_typed(network))} if strong else {}),
    }


def hold_fp32(trt: Any, network: Any) -> None:
    """Asks a weakly typed network to compute what the file has in fp32 in fp32, which the builder must then obey."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        given = [layer.get_output(position).dtype for position in range(layer.num_outputs)]
        if layer.type in (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST) or not given:
            continue
        if all(kind == trt.float32 for kind in given):
            layer.precision = trt.float32
            for position in range(layer.num_outputs):
                layer.set_output_type(position, trt.float32)


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
