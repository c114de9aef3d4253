"""A small builder of ONNX graphs: weights by seed, names by order, everything in one file."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
GAIN = 2**0.5
"""He's gain: keeps the spread of activations through a Relu."""


class Net:
    """A graph that grows node by node; every method returns the name of what it made."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._values: dict[str, list[Any]] = {"input": [], "output": []}

    def input(self, name: str, *shape: int, dtype: str = "float32") -> str:
        """An input of shape [n, *shape]."""
        return self._value("input", name, shape, dtype)

    def output(self, source: str, name: str, *shape: int, dtype: str = "float32") -> None:
        """Makes `source` the output `name` of shape [n, *shape]."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if one == source else one for one in names]
        self._value("output", name, shape, dtype)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output."""
        made = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(kind, list(inputs), [made], name=f"{kind}_{len(self._nodes)}", **attributes)
        )
        return made

    def weight(self, values: Any, label: str = "weight") -> str:
        """A float32 constant."""
        return self._constant(np.asarray(values, np.float32), label)

    def shape(self, *values: int) -> str:
        """An int64 constant."""
        return self._constant(np.asarray(values, np.int64), "shape")

    def normal(self, *shape: int, fan: int, gain: float = 1.0) -> Any:
        """Random values whose sum over `fan` unit inputs has the spread `gain`."""
        return self.rng.normal(0, gain / fan**0.5, shape)

    def bias(self, size: int, spread: float = 0.1) -> str:
        """A random bias."""
        return self.weight(self.rng.normal(0, spread, size), "bias")

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> str:
        """A convolution with bias that keeps the size at stride 1."""
        weight = self.normal(outputs, inputs // group, kernel, kernel, fan=inputs // group * kernel**2, gain=GAIN)
        pad = [kernel // 2] * 4
        options = {"kernel_shape": [kernel] * 2, "pads": pad, "strides": [stride] * 2, "group": group}
        return self.op("Conv", x, self.weight(weight), self.bias(outputs), **options)

    def norm(self, x: str, channels: int) -> str:
        """A batch normalisation with statistics as after training."""
        scale, mean = self.rng.uniform(0.7, 1.3, channels), self.rng.normal(0, 0.2, channels)
        variance = self.rng.uniform(0.5, 1.5, channels)
        constants = [self.weight(scale), self.bias(channels), self.weight(mean), self.weight(variance)]
        return self.op("BatchNormalization", x, *constants, epsilon=1e-5)

    def gemm(self, x: str, inputs: int, outputs: int, gain: float = 1.0) -> str:
        """A fully connected layer on [n, inputs]."""
        weight = self.weight(self.normal(outputs, inputs, fan=inputs, gain=gain))
        return self.op("Gemm", x, weight, self.bias(outputs), transB=1)

    def dense(self, x: str, inputs: int, outputs: int, gain: float = 1.0) -> str:
        """A fully connected layer on [..., inputs]: MatMul and Add."""
        weight = self.weight(self.normal(inputs, outputs, fan=inputs, gain=gain))
        return self.op("Add", self.op("MatMul", x, weight), self.bias(outputs))

    def pool(self, x: str, channels: int) -> str:
        """The mean over an image, as [n, channels]."""
        return self.op("Reshape", self.op("GlobalAveragePool", x), self.shape(-1, channels))

    def model(self) -> ModelProto:
        """The finished model."""
        graph = helper.make_graph(self._nodes, self.name, self._values["input"], self._values["output"], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _constant(self, values: Any, label: str) -> str:
        name = f"{label}_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def _value(self, role: str, name: str, shape: tuple[int, ...], dtype: str) -> str:
        self._values[role].append(helper.make_tensor_value_info(name, TYPES[dtype], ["n", *shape]))
        return name
