"""Which nodes of the file ONNX Runtime's nodes are said to compute, where it renames, moves, folds and opens them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.base import Artefact, BuildSpec
from harness.backends.onnxruntime import Cpu
from harness.backends.onnxruntime_fusion import fused
from harness.records import Fusion

CONSTANTS = {
    "scale": np.float32(0.1),
    "zero": np.uint8(0),
    "zero_w": np.int8(0),
    "one": np.float32(1),
    "w": np.ones((8, 4, 3, 3), np.int8),
    "w2": np.ones((8, 8, 3, 3), np.int8),
    "kernels": np.ones((16, 4, 3, 3), np.float32),
    "kernels too": np.ones((16, 16, 3, 3), np.float32),
    "matrix": np.ones((8, 8), np.float32),
    "bias": np.ones(8, np.float32),
    "scales": np.ones(4, np.float32),
    "biases": np.zeros(4, np.float32),
}
node = helper.make_node


def model(nodes, functions=(), opset=21):
    """x [1, 4, 8, 8] -> y with these nodes."""
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, [1, 4, 8, 8]), value("y", TensorProto.FLOAT, None)
    read = {name for one in nodes for name in one.input}
    kept = [numpy_helper.from_array(np.asarray(one), name) for name, one in CONSTANTS.items() if name in read]
    graph = helper.make_graph(nodes, "g", [x], [y], kept)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


@pytest.fixture
def of_session(tmp_path: Path):
    def told(*nodes, **about) -> Fusion:
        onnx.save(model(nodes, **about), tmp_path / "m.onnx")
        session = Cpu().open(
            Artefact(tmp_path / "m.onnx"), BuildSpec("s/m/b/fp32/n-1", tmp_path / "m.onnx", "fp32", {}, {}, {})
        )
        try:
            return session.fusion()
        finally:
            session.close()

    return told


def nodes_of(found: Fusion, kind: str) -> list[tuple[str, ...]]:
    return [layer.nodes for layer in found.layers if layer.kind == kind]


def quantised(read: str, made: str) -> list[onnx.NodeProto]:
    """A tensor as it is after it was stored in bytes."""
    return [
        node("QuantizeLinear", [read, "scale", "zero"], [f"{made}_q"], name=f"q {made}"),
        node("DequantizeLinear", [f"{made}_q", "scale", "zero"], [made], name=f"dq {made}"),
    ]


def convolved(read: str, weights: str, made: str) -> list[onnx.NodeProto]:
    return [
        node("DequantizeLinear", [weights, "scale", "zero_w"], [f"{weights}_d"], name=f"dq {weights}"),
        node("Conv", [read, f"{weights}_d"], [f"{made}_c"], name=f"conv {made}"),
        node("Relu", [f"{made}_c"], [made], name=f"relu {made}"),
    ]


def test_a_convolution_in_bytes_is_no_node_of_the_runtimes_own_and_the_transposition_behind_it_none_of_the_file(
    of_session,
):
    pool = node("MaxPool", ["b"], ["p"], name="pool", kernel_shape=[2, 2])

    found = of_session(
        *quantised("x", "a"),
        *convolved("a", "w", "r"),
        *(*quantised("r", "b"), pool, *quantised("p", "c")),
        *convolved("c", "w2", "r2"),
        *quantised("r2", "y"),
    )

    if "NhwcMaxPool" not in {layer.kind for layer in found.layers}:
        pytest.skip("ONNX Runtime computes this in another layout here")
    assert nodes_of(found, "QLinearConv") == [
        ("dq a", "dq w", "conv r", "relu r", "q b"),
        ("dq c", "dq w2", "conv r2", "relu r2", "q y"),
    ]
    assert nodes_of(found, "NhwcMaxPool") == [("dq b", "pool", "q c")]
    assert nodes_of(found, "Transpose") == [(), ()]
    assert not found.unnamed


def test_a_sum_and_an_activation_belong_to_the_convolution_that_does_them_and_not_to_what_reads_them(of_session):
    found = of_session(
        node("Conv", ["x", "kernels"], ["a"], name="first"),
        node("Relu", ["a"], ["b"], name="relu"),
        node("Conv", ["b", "kernels too"], ["c"], name="second", pads=[1, 1, 1, 1]),
        node("Add", ["c", "b"], ["d"], name="add"),
        node("Relu", ["d"], ["e"], name="relu too"),
        node("MaxPool", ["e"], ["y"], name="pool", kernel_shape=[2, 2]),
    )

    if "ReorderOutput" not in {layer.kind for layer in found.layers}:
        pytest.skip("ONNX Runtime computes this in no blocks here")
    assert nodes_of(found, "Conv") == [("first", "relu"), ("second", "add", "relu too")]
    assert nodes_of(found, "MaxPool") == [("pool",)]


def test_a_sum_of_bytes_is_quantised_by_the_sum_and_not_by_what_reads_it(of_session):
    found = of_session(
        *quantised("x", "a"),
        *convolved("a", "w", "r"),
        *quantised("r", "b"),
        node("Add", ["b", "b"], ["s"], name="add"),
        *quantised("s", "c"),
        node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        *quantised("p", "y"),
    )

    if "Transpose" not in {layer.kind for layer in found.layers}:
        pytest.skip("ONNX Runtime computes this in another layout here")
    assert nodes_of(found, "QLinearAdd") == [("dq b", "add", "q c")]
    assert nodes_of(found, "QLinearGlobalAveragePool") == [("dq c", "pool", "q y")]


def test_what_was_brought_into_another_shape_for_a_product_is_computed_by_the_product(of_session):
    found = of_session(
        node("MatMul", ["x", "matrix"], ["m"], name="mm"),
        node("Add", ["m", "bias"], ["a"], name="add"),
        node("Relu", ["a"], ["y"], name="relu"),
    )

    assert nodes_of(found, "Gemm") == [("mm", "add")]
    assert set(nodes_of(found, "Reshape")) == {()}
    assert nodes_of(found, "Relu") == [("relu",)]


def test_a_node_that_is_called_as_one_in_the_place_of_another_is_itself(of_session):
    found = of_session(node("Exp", ["x"], ["e"], name="n_token_1"), node("Sin", ["e"], ["y"], name="n"))

    assert [layer.nodes for layer in found.layers] == [("n_token_1",), ("n",)]


def test_what_is_folded_into_a_constant_is_claimed_by_none_that_reads_it(of_session):
    """ONNX Runtime gives one name to all scalars of a value."""
    found = of_session(
        node("Add", ["one", "one"], ["two"], name="folded"),
        node("Mul", ["two", "one"], ["also"], name="folded too"),
        node("Mul", ["x", "two"], ["m"], name="mul"),
        node("Exp", ["m"], ["e"], name="exp"),
        node("Mul", ["e", "also"], ["y"], name="mul too"),
    )

    assert [layer.nodes for layer in found.layers] == [("mul",), ("exp",), ("mul too",)]
    assert [(one.why, one.nodes) for one in found.unnamed] == [("constant", ("folded", "folded too"))]


def test_the_body_of_a_function_belongs_to_the_node_that_calls_it(of_session):
    inner = helper.make_function(
        "own", "Inner", ["a"], ["b"], [node("Sin", ["a"], ["s"]), node("Cos", ["s"], ["b"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    outer = helper.make_function(
        "own", "Outer", ["a"], ["c"], [node("Exp", ["a"], ["b"]), node("Inner", ["b"], ["c"], domain="own")],
        [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)],
    )  # fmt: skip

    found = of_session(
        node("GroupNormalization", ["x", "scales", "biases"], ["n"], name="norm", num_groups=2),
        node("Outer", ["n"], ["o"], name="first", domain="own"),
        node("Outer", ["o"], ["y"], name="second", domain="own"),
        functions=[inner, outer],
    )

    assert {layer.nodes for layer in found.layers} == {("norm",), ("first",), ("second",)}
    assert [nodes_of(found, kind) for kind in ("Exp", "Sin", "Cos")] == [[("first",), ("second",)]] * 3
    assert len([layer for layer in found.layers if layer.nodes == ("norm",)]) > 2


def test_a_node_that_cannot_be_traced_is_not_called_the_runtimes_own_unless_it_moves_numbers():
    file = model([node("Exp", ["x"], ["y"], name="exp")])
    optimised = model(
        [node("Transpose", ["x"], ["t"]), node("Sin", ["t"], ["s"]), node("Exp", ["s"], ["y"], name="exp")]
    )

    found = fused(file, optimised, ())

    assert [(layer.nodes, layer.opaque) for layer in found.layers] == [((), False), ((), True), (("exp",), False)]


def test_a_graph_of_ten_thousand_nodes_is_traced_in_seconds():
    def chain(tensor: str, suffix: str) -> onnx.ModelProto:
        names = ["x", *(f"{tensor}{number}" for number in range(10_000)), "y"]
        return model([node("Relu", [a], [b], name=f"n{at}{suffix}") for at, (a, b) in enumerate(pairwise(names))])

    file, optimised = chain("t", ""), chain("r", "_token_1")
    start = process_time()

    found = fused(file, optimised, ())

    assert process_time() - start < 20  # it takes one; to look for each node from each other one took 75
    assert [layer.nodes for layer in found.layers] == [(f"n{at}",) for at in range(10_001)]
