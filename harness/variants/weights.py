"""The constant weights of convolutions and matrix products, in the form in which variants change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from harness.errors import Unsupported
from harness.variants.graph import STANDARD, nodes, reads
from harness.variants.taps import first_output

Values = NDArray[Any]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Weight:
    """The weight of one layer."""

    layer: str
    """The first output of the node, which names it as elsewhere."""
    node: Any
    tensor: Any
    """Where its values lie: an initializer, or the value of a Constant."""
    axis: int
    """Over which the product adds up: input channels, or the rows of a matrix."""

    @property
    def channels(self) -> int:
        """The axis of the output channels."""
        if self.node.op_type in ("Conv", "ConvTranspose"):
            return 1 - self.axis
        return len(self.tensor.dims) - 1 if self.node.op_type == "MatMul" else 1 - self.axis

    @property
    def values(self) -> Values:
        """The values as they are now."""
        found: Values = numpy_helper.to_array(self.tensor)
        return found

    def store(self, values: Values) -> None:
        """Other values in the type of the tensor."""
        name = self.tensor.name
        made = numpy_helper.from_array(np.ascontiguousarray(values, dtype=self.values.dtype), name)
        self.tensor.CopyFrom(made)


def weights(model: Any) -> list[Weight]:
    """The float weights of the layers of a model's main graph, each tensor once.

    Left out are tensors that anything but layers reads as well (tied embeddings, for example).
    """
    stored = constants(model)
    shared = {name for node in nodes(model) if node.op_type not in LAYERS for name in reads(node)}
    shared |= {value.name for value in model.graph.output}
    found: dict[str, Weight] = {}
    for node in model.graph.node:
        if node.op_type in LAYERS and node.domain in STANDARD and node.input[1] not in shared:
            tensor = stored.get(node.input[1])
            if tensor is not None and tensor.data_type in FLOATS and len(tensor.dims) > 1:
                found.setdefault(node.input[1], Weight(first_output(node), node, tensor, reduced(node, tensor)))
    return list(found.values())


def constants(model: Any) -> dict[str, Any]:
    """Names to the tensors that a main graph stores, as initializers or in Constant nodes."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def reduced(node: Any, tensor: Any) -> int:
    """The axis of a layer's weight over which it adds up."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "MatMul":
        return len(tensor.dims) - 2
    return 1 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 0


def attribute(node: Any, name: str, default: Any) -> Any:
    """A number that a node's attribute holds."""
    for one in node.attribute:
        if one.name == name:
            return one.f if one.type == one.FLOAT else one.i
    return default


def zero_share(found: Sequence[Weight]) -> float:
    """Share of zeros among the weights of layers."""
    sizes = [weight.values.size for weight in found]
    zeros = [weight.values.size - np.count_nonzero(weight.values) for weight in found]
    return sum(zeros) / max(1, sum(sizes))


def some(step: str, model: Any) -> list[Weight]:
    """The weights of a model; Unsupported, in the name of a step, where there is none."""
    found = weights(model)
    if not found:
        raise Unsupported(
            f"cannot make the {step} variant: the model has no {', '.join(LAYERS)} with float weights that are stored "
            "in it and that nothing else reads"
        )
    return found


def named(layers: Sequence[str], most: int = 5) -> str:
    """Layers in words."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(layers[:most]) + more
