"""Small models for tests: a convolutional net on 8x8 images and one block of attention; the batch is `n`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "com.example"
OPSET = 17
IR_VERSION = 8


def conv_net(opset: int = OPSET) -> ModelProto:
    """image [n, 1, 8, 8] -> logits [n, 10]: two convolutions, a pooling, a fully connected layer."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.3, (8, 1, 3, 3)),
        "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.1, (16, 8, 3, 3)),
        "b2": rng.normal(0, 0.1, 16),
        "w3": rng.normal(0, 0.1, (10, 64 * 4)),
        "b3": rng.normal(0, 0.1, 10),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1),
    ]
    return _model("conv_net", nodes, weights, {"image": ["n", 1, 8, 8]}, {"logits": ["n", 10]}, opset)


def attention(width: int = 32, heads: int = 4) -> ModelProto:
    """tokens [n, seq, width] -> out [n, seq, width]: self-attention and a GELU layer, each after a LayerNorm."""
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, width**-0.5, (width, width)) for name in ("wq", "wk", "wv", "wo")}
    weights |= {"w1": rng.normal(0, width**-0.5, (width, 4 * width)), "w2": rng.normal(0, 0.1, (4 * width, width))}
    weights |= {"b1": rng.normal(0, 0.1, 4 * width), "b2": rng.normal(0, 0.1, width), "half": np.array(0.5)}
    weights |= {"g": np.ones(width), "b": np.zeros(width), "scale": np.array((width / heads) ** -0.5)}
    weights |= {"one": np.array(1.0), "root": np.array(2**0.5)}
    split = np.array([0, 0, heads, width // heads])
    node = helper.make_node
    nodes = [node("LayerNormalization", ["tokens", "g", "b"], ["ln"], axis=-1)]
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("MatMul", ["ln", f"w{name}"], [f"{name}0"]),
            node("Reshape", [f"{name}0", "split"], [f"{name}1"]),
            node("Transpose", [f"{name}1"], [name], perm=order),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["s0"]),
        node("Mul", ["s0", "scale"], ["s1"]),
        node("Softmax", ["s1"], ["s2"], axis=-1),
        node("MatMul", ["s2", "v"], ["a0"]),
        node("Transpose", ["a0"], ["a1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["a1", "join"], ["a2"]),
        node("MatMul", ["a2", "wo"], ["a3"]),
        node("Add", ["a3", "tokens"], ["x"]),
        node("LayerNormalization", ["x", "g", "b"], ["ln2"], axis=-1),
        node("MatMul", ["ln2", "w1"], ["m0"]),
        node("Add", ["m0", "b1"], ["m1"]),
        node("Div", ["m1", "root"], ["m2"]),
        node("Erf", ["m2"], ["m3"]),
        node("Add", ["m3", "one"], ["m4"]),
        node("Mul", ["m1", "m4"], ["m5"]),
        node("Mul", ["m5", "half"], ["m6"]),
        node("MatMul", ["m6", "w2"], ["m7"]),
        node("Add", ["m7", "b2"], ["m8"]),
        node("Add", ["m8", "x"], ["out"]),
    ]
    model = _model("attention", nodes, weights, {"tokens": ["n", "seq", width]}, {"out": ["n", "seq", width]})
    shapes = {"split": split, "join": np.array([0, 0, width])}
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.int64), k) for k, v in shapes.items())
    return model


def _model(name, nodes, weights, inputs, outputs, opset=OPSET) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def saved(path: Path, nodes: list[NodeProto], opset: int = OPSET, ir: int = IR_VERSION) -> Path:
    """A file of x [n, 4] -> y [n, 4], checked by nobody; it may hold operators of the domain `DOMAIN`."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    sets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=ir), path)
    return path


def custom(folder: Path) -> Path:
    """Two operators that nobody knows, with one between them that all do; the first has no name."""
    node = helper.make_node
    nodes = [node("Mine", ["x"], ["a"], domain=DOMAIN), node("Relu", ["a"], ["b"], name="fine")]
    return saved(folder / "custom.onnx", [*nodes, node("Other", ["b"], ["y"], name="second", domain=DOMAIN)])


def relu(folder: Path, **versions: int) -> Path:
    """One node that every runtime takes, in a file of other versions."""
    return saved(folder / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"], name="only")], **versions)
