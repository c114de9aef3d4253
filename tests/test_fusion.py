"""Which nodes of the file became which layer: recorded inspector texts, TensorRT's own parser, real sessions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import models
from harness import cli, store
from harness.backends.base import Artefact, BuildSpec
from harness.backends.fusion import file_nodes, fusion
from harness.backends.onnxruntime import Cpu
from harness.backends.onnxruntime import TensorRT as Provider
from harness.backends.tensorrt_fusion import fused, told
from harness.backends.tensorrt_session import TensorRTSession
from harness.codec import decode, encode
from harness.records import Fused, Fusion, LayerTime, Record, Unnamed
from harness.records.fusion import CHARACTERS, LAYERS, NODES, UNNAMED, bounded, timed
from harness.sources.inspect import load_graph

INSPECTOR = Path(__file__).parent / "inspector"
DIGITS = Path(__file__).parents[1] / "suites/digits/digits_cnn.onnx"
NODES_OF_DIGITS = [node.name for node in onnx.load(DIGITS).graph.node]


def of_engine(name: str, model: Path = DIGITS) -> Fusion:
    return fused((INSPECTOR / f"{name}.json").read_text(), model)


def of_layers(model: Path, *layers: dict | str) -> Fusion:
    return fused(json.dumps({"Layers": layers}), model)


def of_session(model: Path, **options) -> Fusion:
    session = Cpu().open(Artefact(model), BuildSpec("s/m/b/fp32/static", model, "fp32", {}, {}, options))
    try:
        found = session.fusion()
    finally:
        session.close()
    assert found is not None
    return found


def unnamed(found: Fusion) -> dict[str, tuple[str, ...]]:
    return {one.why: one.nodes for one in found.unnamed}


def odd(path: Path) -> Path:
    """x [1, 4, 8, 8] -> y: nodes without names, that depend on nothing, that nothing needs, and that repeat others."""
    weights = numpy_helper.from_array(np.ones((8, 4, 3, 3), np.float32), "w")
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["x", "w"], ["c2"], name="again"),
        node("Relu", ["c2"], ["r2"], name="again too"),
        node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1.0, np.float32))),
        node("Add", ["one", "one"], ["two"], name="const/add"),
        node("RandomNormal", [], ["noise"], name="noise", shape=[1]),
        node("RandomNormal", [], ["noise2"], name="noise2", shape=[1]),
        node("Mul", ["r", "two"], ["m"], name="mul"),
        node("Add", ["m", "r2"], ["s"], name="add [x] + y"),
        node("Exp", ["r"], ["e"], name="dead"),
        node("Log", ["e"], ["l"], name="dead too"),
        node("Identity", ["s"], ["i"], name="same"),
        node("Sum", ["i", "noise", "noise2"], ["y"], name="sum"),
    ]
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, [1, 4, 8, 8]), value("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "odd", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_the_file_shows_of_a_node_is_told_apart(tmp_path):
    nodes = file_nodes(load_graph(odd(tmp_path / "m.onnx")).graph)

    assert {node.label: node.fate for node in nodes if node.fate} == {
        "one": "constant",
        "const/add": "constant",
        "dead": "unused",
        "dead too": "unused",
        "again": "repeated",
        "again too": "repeated",
    }


def fates(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> dict[str, str]:
    """What the file shows of each node, by its name."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", *outputs)]
    return {node.label: node.fate for node in file_nodes(helper.make_graph(nodes, "g", values[:1], values[1:]))}


def test_optional_tensors_that_are_left_out_are_no_tensor_of_one_name():
    node = helper.make_node
    unused = node("LSTM", ["x", "x", "x"], ["", "h"], name="unused", hidden_size=2)

    assert fates(unused, node("Clip", ["x", "", "x"], ["y"], name="clip"))["unused"] == "unused"


@pytest.mark.parametrize("made", [("mask", ""), ("", "mask"), ("mask", "mask2")])
def test_a_node_repeats_one_that_gives_all_that_it_gives_and_an_optional_input_repeats_no_other(made):
    node = helper.make_node
    read = made[0] or made[1]
    told = fates(
        node("Dropout", ["x"], ["a", made[0]], name="first"),
        node("Dropout", ["x"], ["b", made[1]], name="second"),
        node("Clip", ["x", "", "a"], ["c"], name="without"),
        node("Clip", ["x", read, "b"], ["d"], name="with"),
        outputs=("c", "d"),
    )

    assert (told["second"] == "repeated") == bool(made[0])
    assert told["with"] == ""


def test_a_node_that_only_an_inner_graph_reads_is_needed_and_no_constant(tmp_path):
    value = helper.make_tensor_value_info
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Neg", ["a"], [f"{name}_y"])], name, [], [value(f"{name}_y", TensorProto.FLOAT, [1])]
        )
        for name in ("then", "else")
    }
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("If", ["which"], ["y"], **branches)]
    which = numpy_helper.from_array(np.array(True), "which")
    x, y = value("x", TensorProto.FLOAT, [1]), value("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "inner", [x], [y], [which])

    assert [node.fate for node in file_nodes(graph)] == ["", ""]


@pytest.mark.parametrize("name", ["h200_v8_obey", "h200_v8_int8", "h200_v8_fp16_chose_fp32"])
def test_of_an_engine_of_tensorrt_8_every_node_has_a_layer_and_copies_have_no_node(name):
    found = of_engine(name)

    assert found.nodes == len(NODES_OF_DIGITS)
    assert not found.unnamed
    assert {node for layer in found.layers for node in layer.nodes} == set(NODES_OF_DIGITS)
    assert all(not layer.nodes for layer in found.layers if layer.name.startswith("Reformatting"))
    assert not any(layer.opaque for layer in found.layers)


def test_a_layer_tells_its_nodes_its_precision_and_its_kernel():
    layer = next(one for one in of_engine("h200_v8_int8").layers if "node_Conv_12" in one.nodes)

    assert layer.nodes == ("node_Conv_12", "node_relu_1")
    assert (layer.kind, layer.storage, layer.compute) == ("CaskConvolution", "int8", "int8")
    assert layer.kernel.startswith("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8")


def test_what_went_into_a_region_of_tensorrt_8_is_not_claimed():
    found = of_engine("h200_v8_myelin_fp16")

    assert [(layer.nodes, layer.opaque) for layer in found.layers] == [((), True)]
    assert unnamed(found) == {"region": tuple(NODES_OF_DIGITS)}


@pytest.mark.parametrize("dots", ["", "..."])
def test_the_ends_of_a_region_are_in_it(tmp_path, dots):
    model = onnx.load(DIGITS)
    model.graph.node[2].name = first = f"a{dots}b"
    onnx.save(model, tmp_path / "m.onnx")
    region = f"{{ForeignNode[{first}...{NODES_OF_DIGITS[5]}]}}"

    found = of_layers(tmp_path / "m.onnx", {"Name": region, "LayerType": "Myelin", "Metadata": ""})

    assert found.layers[0].nodes == (first, NODES_OF_DIGITS[5])
    assert found.layers[0].opaque
    assert found.unnamed[0].count == len(NODES_OF_DIGITS) - 2


def test_a_region_that_tells_its_nodes_is_not_opaque():
    metadata = "\x1e".join(f"[ONNX Layer: {name}]" for name in NODES_OF_DIGITS)
    name = "{ForeignNode[a...b]}"

    found = of_layers(DIGITS, {"Name": name, "LayerType": "Myelin", "Metadata": metadata})

    assert found.layers[0].nodes == tuple(NODES_OF_DIGITS)
    assert not found.layers[0].opaque
    assert not found.unnamed


def test_a_compiled_kernel_of_which_nothing_is_told_may_hold_any_node():
    assert unnamed(of_engine("v11_compiled"))["region"] == tuple(NODES_OF_DIGITS)


@pytest.mark.parametrize("between", ["\x1e", "\x1f", ""])
def test_nodes_are_told_whatever_stands_between_them(between):
    """1E and 1F stand in one plan of TensorRT-RTX 1.7."""
    assert told("x", f"[ONNX Layer: a[0]]{between}[ONNX Layer: b]") == ("a[0]", "b")


def test_what_is_said_of_a_node_beside_its_name_is_no_part_of_it():
    assert told("x", "[ONNX Layer: a | Local Function: f]\x1e[ONNX Layer: b | line 3 of [x].py]") == ("a", "b")


def test_a_name_with_a_bar_in_it_is_found_in_the_file(tmp_path):
    model = onnx.load(DIGITS)
    model.graph.node[0].name = "a | b"
    onnx.save(model, tmp_path / "m.onnx")

    found = of_layers(tmp_path / "m.onnx", {"Name": "x", "Metadata": "[ONNX Layer: a | b]"})

    assert found.layers[0].nodes == ("a | b",)


@pytest.mark.parametrize(
    "name", ["{0} + {1}", "w + w_Q + {0} + PWN({1})", "PWN(PWN({0}), {1})", "{0} || {1}", "PWN({0}, {1})"]
)
def test_without_metadata_the_name_of_a_layer_tells_the_nodes_of_the_file_that_it_joins(name):
    first, second = NODES_OF_DIGITS[:2]

    found = of_layers(DIGITS, {"Name": name.format(first, second), "LayerType": "PointWiseV2"})

    assert found.layers[0].nodes == (first, second)


def test_bare_names_tell_nodes_too():
    copy = f"Reformatting CopyNode for Input Tensor 0 to {NODES_OF_DIGITS[0]} + {NODES_OF_DIGITS[1]}"

    found = of_layers(DIGITS, copy, f"{NODES_OF_DIGITS[0]} + {NODES_OF_DIGITS[1]}")

    assert [(layer.nodes, layer.opaque) for layer in found.layers] == [((), False), (tuple(NODES_OF_DIGITS[:2]), False)]


def test_of_an_engine_without_its_model_nothing_is_said_of_nodes_that_are_missing(tmp_path):
    (tmp_path / "given.engine").write_bytes(b"an engine")

    found = of_engine("h200_v8_obey", tmp_path / "given.engine")

    assert (found.nodes, found.unnamed) == (None, ())
    assert ("node_Conv_10", "node_relu") in {layer.nodes for layer in found.layers}


@pytest.mark.parametrize("name", ["v8_int8", "v8_mixed", "v8_names"])
def test_what_computes_is_no_layer_of_the_runtimes_own_where_nothing_tells_its_nodes(tmp_path, name):
    """An engine that was given, without metadata."""
    found = of_engine(name, tmp_path / "given.engine")

    own = [layer.name for layer in found.layers if not layer.nodes and not layer.opaque]
    assert own == [layer.name for layer in found.layers if layer.name.startswith("Reformatting CopyNode")]


def test_a_product_without_nodes_is_opaque_and_a_copy_without_nodes_is_not():
    layers = [{"Name": "a", "LayerType": "gemm", "Metadata": ""}, {"Name": "b", "LayerType": "NoOp", "Metadata": ""}]

    assert [layer.opaque for layer in of_layers(DIGITS, *layers).layers] == [True, False]


def test_tensorrts_parser_calls_nodes_what_we_take_them_to_be_called(tmp_path):
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = onnx.load(odd(tmp_path / "m.onnx"))
    for node in [node for node in model.graph.node if node.op_type == "RandomNormal"]:
        node.op_type, node.attribute[0].name = "Constant", "value_ints"  # TensorRT has no such generator
    model.graph.node[6].attribute[0].ints[:] = model.graph.node[7].attribute[0].ints[:] = [1]
    onnx.save(model, tmp_path / "m.onnx")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parser.parse_from_file(str(tmp_path / "m.onnx"))
    layers = [network.get_layer(index) for index in range(network.num_layers)]

    found = of_layers(tmp_path / "m.onnx", *({"Name": one.name, "Metadata": one.metadata} for one in layers))

    nodes = {node for layer in found.layers for node in layer.nodes}
    assert {"c", "r", "again", "again too", "const/add", "mul", "add [x] + y", "dead", "same"} <= nodes


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "all"])
@pytest.mark.parametrize("made", ["conv_net", "attention"])
def test_onnx_runtimes_graph_is_told_however_it_was_optimised(tmp_path, made, level):
    onnx.save(getattr(models, made)(), tmp_path / "m.onnx")

    found = of_session(tmp_path / "m.onnx", graph_optimization=level)

    labels = {node.label for node in file_nodes(load_graph(tmp_path / "m.onnx").graph)}
    assert found.nodes == len(labels)
    assert {node for layer in found.layers for node in layer.nodes} == labels
    assert not found.unnamed


def test_onnx_runtime_tells_what_it_folded_merged_and_kept(tmp_path):
    found = of_session(odd(tmp_path / "m.onnx"))

    assert unnamed(found)["constant"] == ("one", "const/add")
    assert unnamed(found)["repeated"] == ("again", "again too")
    assert ("c", "r") in {layer.nodes for layer in found.layers}
    assert ("add [x] + y",) in {layer.nodes for layer in found.layers}


def test_a_node_that_is_quantised_earlier_than_in_the_file_keeps_its_layer(tmp_path):
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2]),
        node("QuantizeLinear", ["p", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("Exp", ["d"], ["y"]),
    ]
    weights = {"w": np.ones((8, 4, 3, 3), np.float32), "scale": np.float32(0.1), "zero": np.int8(0)}
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, [1, 4, 8, 8]), value("y", TensorProto.FLOAT, None)
    kept = [numpy_helper.from_array(np.asarray(one), name) for name, one in weights.items()]
    graph = helper.make_graph(nodes, "later", [x], [y], kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")

    found = of_session(tmp_path / "m.onnx")

    assert ("c", "r") in {layer.nodes for layer in found.layers if "Conv" in layer.kind}
    assert ("pool",) in {layer.nodes for layer in found.layers if layer.kind == "MaxPool"}


def test_onnx_runtimes_nodes_tell_the_precision_in_which_they_run(tmp_path):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")

    found = of_session(tmp_path / "m.onnx")

    assert {(layer.storage, layer.compute) for layer in found.layers if "Conv" in layer.kind} == {("fp32", "fp32")}


def test_a_later_session_does_not_change_what_an_earlier_one_tells(tmp_path):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")
    spec = BuildSpec("s/m/b/fp32/static", tmp_path / "m.onnx", "fp32", {}, {}, {})
    session = Cpu().open(Artefact(tmp_path / "m.onnx"), spec)
    before = session.fusion()
    of_session(DIGITS)

    assert session.fusion() == before


def test_a_session_that_nobody_asks_and_one_whose_provider_hides_its_layers_tell_nothing(tmp_path):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")
    spec = BuildSpec("s/m/b/fp32/static", tmp_path / "m.onnx", "fp32", {}, {}, {}, attest=False)

    assert Cpu().open(Artefact(tmp_path / "m.onnx"), spec).fusion() is None
    assert Provider.tells is False


def layer(number: int, **about) -> Fused:
    return Fused(f"layer {number}", "Conv", "fp32", "fp32", **about)


def test_layers_get_their_times_and_what_only_the_profiler_saw_is_a_layer_too():
    told_of = Fusion((layer(1, nodes=("a",)), layer(2)), 1)

    found = timed(told_of, [LayerTime("layer 1", "Conv", 2.0), LayerTime("copy", "Copy", 1.0)])

    assert [(one.name, one.ms) for one in found.layers] == [("layer 1", 2.0), ("layer 2", None), ("copy", 1.0)]
    assert found.layers[0].nodes == ("a",)


def test_the_slowest_layers_are_kept_and_the_others_are_counted_and_summed_up():
    many = [layer(number, ms=float(number)) for number in range(LAYERS + 3)]

    found = bounded(Fusion(tuple(many), 0))

    assert [one.ms for one in found.layers] == sorted((one.ms for one in many), reverse=True)[:LAYERS]
    assert (found.others, found.others_ms) == (3, 3.0)


def test_layers_without_times_stay_in_the_order_in_which_they_run():
    found = bounded(Fusion((layer(2), layer(1)), 0))

    assert [one.name for one in found.layers] == ["layer 2", "layer 1"]
    assert (found.others, found.others_ms) == (0, None)


def test_a_record_is_bounded_whatever_a_model_calls_its_nodes():
    names = tuple(f"{number}{'x' * 1000}" for number in range(1000))
    one = Fused("y" * 1000, "Conv", "fp32", "fp32", "k" * 1000, names)

    found = bounded(Fusion((one,) * 1000, 1000, (Unnamed("untold", 1000, names),)))

    assert len(found.layers) == LAYERS
    assert found.layers[0].more_nodes == 1000 - NODES
    assert max(map(len, (*found.layers[0].nodes, found.layers[0].name, found.layers[0].kernel))) == CHARACTERS
    assert (found.unnamed[0].count, len(found.unnamed[0].nodes)) == (1000, UNNAMED)


def test_nodes_that_no_layer_names_are_counted_once_each():
    found = fusion([layer(1, nodes=("node_Conv_10",))], file_nodes(load_graph(DIGITS).graph))

    assert [(one.why, one.count) for one in found.unnamed] == [("untold", len(NODES_OF_DIGITS) - 1)]


SUITE = """
suite: s
defaults: {backends: [onnxruntime-cpu], precisions: [fp32], latency: {min_time_s: 0.01, profile: PROFILE}}
models: [{name: m, source: m.onnx}]
"""


@pytest.mark.parametrize(("suite", "asked", "is_timed"), [("never", "always", True), ("always", "never", False)])
def test_the_record_of_a_run_holds_every_layer_with_its_time_where_that_is_asked_for(tmp_path, suite, asked, is_timed):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text(SUITE.replace("PROFILE", suite))
    where = ["--root", str(tmp_path), "--artefacts", str(tmp_path / "cache"), "-o", str(tmp_path / "run")]

    assert cli.main(["run", str(tmp_path / "s.yaml"), "--profile", asked, *where]) == 0

    record = store.read_run(tmp_path / "run").records[0]
    assert record.fusion is not None
    assert record.fusion.nodes == len(onnx.load(tmp_path / "m.onnx").graph.node)
    assert [one.ms is not None for one in record.fusion.layers] == [is_timed] * len(record.fusion.layers)
    if is_timed:
        assert sum(one.ms for one in record.fusion.layers) == pytest.approx(record.profile.total_ms, rel=1e-3)


def test_a_record_without_it_is_read_as_before(tmp_path):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text(SUITE.replace("PROFILE", "never"))
    where = ["--root", str(tmp_path), "--artefacts", str(tmp_path / "cache"), "-o", str(tmp_path / "run")]
    cli.main(["run", str(tmp_path / "s.yaml"), *where])
    record = store.read_run(tmp_path / "run").records[0]
    old = {name: value for name, value in encode(record).items() if name != "fusion"}

    assert decode(Record, old) == replace(record, fusion=None)


def test_what_ran_is_told_of_the_context_that_ran_and_not_of_the_one_that_replaces_it_after_profiling():
    """A context without shapes tells no formats."""
    session = TensorRTSession.__new__(TensorRTSession)
    session._told, session._model, session._outputs, session._trt = {}, DIGITS, [], SimpleNamespace()
    texts = iter([(INSPECTOR / "h200_v8_obey.json").read_text()])
    session.inspect = lambda: next(texts)
    session._feed, session._context = lambda _: None, None
    session._engine = SimpleNamespace(create_execution_context=lambda: None)

    with pytest.raises(AttributeError):  # there is nothing to profile
        session.profile({}, 1)

    assert session.fusion() == of_engine("h200_v8_obey")
    assert {row["compute"] for row in session.attested["rows"]} == {"fp16"}
