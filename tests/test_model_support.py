"""What is known of a model without running it: nodes that are refused, memory by its graph, documented versions."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from harness.backends.documented import ONNXRUNTIME, TENSORRT, parsed, with_support
from harness.backends.onnxruntime_parse import parse
from harness.variants.memory import estimate
from models import custom, saved

CPU = "CPUExecutionProvider"


def test_an_operator_without_a_kernel_is_found_among_equal_nodes_that_are_fine(tmp_path):
    node = helper.make_node
    nodes = [node("Relu", [f"t{i}"], [f"t{i + 1}"], name=f"relu{i}") for i in range(4)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "last"
    path = saved(tmp_path / "m.onnx", [*nodes, node("Nope", ["last"], ["y"], name="lost")])

    found = parse(path, CPU)

    assert [(one.name, one.operator) for one in found.refused] == [("lost", "Nope")]


def test_a_type_that_an_operator_does_not_take_is_found_in_a_model_that_is_refused_for_another(tmp_path):
    node = helper.make_node
    nodes = [node("Not", ["x"], ["b"], name="of-floats"), node("Nope", ["x"], ["y"], name="lost")]

    found = parse(saved(tmp_path / "m.onnx", nodes), CPU)

    assert [one.name for one in found.refused] == ["of-floats", "lost"]


def test_a_node_behind_an_unknown_one_is_not_blamed_for_a_type_that_nobody_knows(tmp_path):
    node = helper.make_node
    nodes = [node("Nope", ["x"], ["a"], name="lost"), node("Not", ["a"], ["y"], name="of-anything")]

    found = parse(saved(tmp_path / "m.onnx", nodes), CPU)

    assert [one.name for one in found.refused] == ["lost"]


def test_of_nodes_with_inner_graphs_the_unknown_ones_are_found_and_no_others(tmp_path):
    node = helper.make_node
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branch = helper.make_graph([node("Relu", ["x"], ["b"], name="inside")], "branch", [], [value])
    inner = helper.make_graph([node("Nope", ["x"], ["b"], name="lost-inside")], "branch", [], [value])
    condition = node("Constant", [], ["c"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    nodes = [
        condition,
        node("If", ["c"], ["r"], name="fine", then_branch=branch, else_branch=inner),
        node("Unless", ["r"], ["y"], name="lost", then_branch=branch),
    ]

    found = parse(saved(tmp_path / "m.onnx", nodes), CPU)

    assert {one.name for one in found.refused} == {"lost", "lost-inside"}


def test_memory_is_weights_and_what_is_alive_at_one_time(tmp_path):
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["wide"]),  # [n, 4] by [4, 1024]
        node("Relu", ["wide"], ["r"]),
        node("ReduceSum", ["r"], ["s"], keepdims=0, noop_with_empty_axes=0),
        node("Add", ["x", "s"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes)
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [4, 1024], b"\0" * 4 * 4096, raw=True))
    onnx.save(model, path)

    found = estimate(path, {"x": (8, 4)})

    assert found.unknown == 0
    assert found.weights_mib == 4 * 4096 / 2**20
    assert found.activations_mib == 4 * (8 * 4 + 2 * 8 * 1024) / 2**20  # x, which Add reads, and both wide tensors


def test_memory_of_tensors_without_a_size_is_not_made_up(tmp_path):
    found = estimate(custom(tmp_path), {"x": (2, 4)})

    assert found.unknown == 3
    assert found.activations_mib == 4 * 8 / 2**20


@pytest.mark.parametrize("releases", [ONNXRUNTIME, TENSORRT], ids=["onnxruntime", "tensorrt"])
def test_the_table_of_releases_grows_with_the_version_and_cites_where_it_is_from(releases):
    assert [one.version for one in releases] == sorted(one.version for one in releases)
    assert [one.opset for one in releases] == sorted(one.opset for one in releases)
    assert [one.ir or 0 for one in releases] == sorted(one.ir or 0 for one in releases)
    assert all(one.source for one in releases)


@pytest.mark.parametrize(
    ("package", "installed", "opset", "ir", "words"),
    [
        ("onnxruntime", "1.20.1", 22, 10, "ONNX Runtime 1.21 or later"),
        ("onnxruntime", "1.15.1", 19, 9, "ONNX Runtime 1.16 or later"),  # for its IR version
        ("onnxruntime", "1.20.1", 17, 8, "not known: opset 17 with IR version 8 is no reason"),
        ("onnxruntime", "1.31.1", 99, 8, "not known: opset 99 with IR version 8 is beyond"),
        ("tensorrt", "8.6.1", 20, 9, "TensorRT 10.0 or later"),
        ("tensorrt", "8.6.1", 17, 8, "not known: opset 17 is no reason"),
        ("tensorrt", "11.5.0", 26, 13, "not known: opset 26 is beyond"),
        ("tensorrt_rtx", "1.7.1", 30, 13, "not known"),
    ],
)
def test_a_version_with_support_is_the_first_documented_one_or_not_known(package, installed, opset, ir, words):
    assert with_support(package, installed, opset, ir).startswith(words)


def test_a_version_is_compared_by_its_numbers():
    assert parsed("1.20.1") > parsed("1.9")
    assert parsed("10.0.1b6") == (10, 0, 1)
