"""How long each layer took: real sessions on the CPU, and a context that stands in for TensorRT's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import models
from harness.backends.base import Artefact, BuildSpec
from harness.backends.onnxruntime import NO_KERNELS, Cpu, Cuda
from harness.backends.onnxruntime import TensorRT as Provider
from harness.backends.onnxruntime_origins import Place
from harness.backends.onnxruntime_session import TRACED_S
from harness.backends.onnxruntime_trace import has_kernels, profiled
from harness.backends.tensorrt_profiler import about, profile
from harness.errors import Unsupported

INSPECTOR = Path(__file__).parent / "inspector"
FEEDS = {
    "conv_net": {"image": np.ones((64, 1, 8, 8), np.float32)},
    "attention": {"tokens": np.ones((2, 16, 32), np.float32)},
}


def spec_of(model: Path, **options) -> BuildSpec:
    return BuildSpec("s/m/b/fp32/static", model, "fp32", {}, {}, {"threads": 1, **options})


def layers_of(model: Path, feeds, iterations: int = 3, **options):
    session = Cpu().open(Artefact(model), spec_of(model, **options))
    try:
        return session.profile(feeds, iterations)
    finally:
        session.close()


@pytest.fixture(params=FEEDS)
def case(request, tmp_path):
    """A model without names of nodes, and its feeds."""
    path = tmp_path / "m.onnx"
    onnx.save(getattr(models, request.param)(), path)
    return path, FEEDS[request.param]


def branching(path: Path) -> Path:
    """x [4] -> y [4]: one of two branches, each of several nodes."""
    value = helper.make_tensor_value_info
    branches = {}
    for name in ("then", "else"):
        nodes = [helper.make_node("Sin", ["x"], [f"{name}_s"]), helper.make_node("Exp", [f"{name}_s"], [f"{name}_y"])]
        branches[f"{name}_branch"] = helper.make_graph(nodes, name, [], [value(f"{name}_y", TensorProto.FLOAT, [None])])
    choice = helper.make_node("If", ["which"], ["c"], name="choice", **branches)
    graph = helper.make_graph(
        [choice, helper.make_node("Cos", ["c"], ["y"], name="after")],
        "branching",
        [value("x", TensorProto.FLOAT, [10**6]), value("which", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, [None])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_without_optimisation_every_node_of_the_file_is_a_layer(case):
    model, feeds = case

    layers = layers_of(model, feeds, graph_optimization="disable")

    assert [layer.name for layer in layers] == [layer.nodes[0] for layer in layers]
    assert sorted(layer.name for layer in layers) == sorted(n.output[0] for n in onnx.load(model).graph.node)


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_every_node_of_the_file_is_in_exactly_one_layer_however_the_graph_was_optimised(case, level):
    model, feeds = case

    layers = layers_of(model, feeds, graph_optimization=level)

    assert sorted(node for layer in layers for node in layer.nodes) == sorted(
        node.output[0] for node in onnx.load(model).graph.node
    )


def test_a_fused_layer_names_the_nodes_that_went_into_it(tmp_path):
    onnx.save(models.conv_net(), tmp_path / "m.onnx")

    layers = layers_of(tmp_path / "m.onnx", FEEDS["conv_net"], graph_optimization="extended")

    assert ("c2", "r2") in {layer.nodes for layer in layers if layer.kind == "FusedConv"}


def test_shares_sum_up_to_one_and_every_layer_has_a_kind(case):
    layers = layers_of(*case)

    assert sum(layer.share for layer in layers) == pytest.approx(1)
    assert all(layer.kind and layer.ms >= 0 for layer in layers)


def test_what_an_inner_graph_takes_counts_once(tmp_path):
    feeds = {"x": np.ones(10**6, np.float32), "which": np.array(True)}

    layers = layers_of(branching(tmp_path / "m.onnx"), feeds)

    assert [layer.name for layer in layers] == ["choice", "after"]
    assert layers[0].ms > 0.1


def test_the_session_that_is_timed_never_traces_and_no_file_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    onnx.save(models.conv_net(), tmp_path / "m.onnx")
    session = Cpu().open(Artefact(tmp_path / "m.onnx"), spec_of(tmp_path / "m.onnx"))

    session.profile(FEEDS["conv_net"], 3)

    assert not session._session.get_session_options().enable_profiling
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.onnx"]


def test_what_profiling_adds_to_an_inference_grows_with_the_nodes(case):
    model, _ = case
    nodes = len(onnx.load(model).graph.node)

    session = Cpu().open(Artefact(model), spec_of(model, graph_optimization="disable"))

    assert session.overhead_s == pytest.approx(TRACED_S * nodes)


def test_on_a_gpu_a_node_takes_as_long_as_the_kernels_that_it_started(tmp_path):
    """Events typed after ONNX Runtime's documentation of its profiling tools; no GPU wrote them."""
    events = [{"cat": "Session", "name": "model_run", "ts": start, "dur": 90} for start in (0, 100)]
    started = {"parent_name": "gemm_kernel_time"}
    for start, gemm_us in ((0, 500), (100, 40)):
        events += [
            {"cat": "Session", "name": "SequentialExecutor::Execute", "ts": start, "dur": 80},
            {"cat": "Kernel", "name": "of the run", "ts": start, "dur": 999, "args": {"parent_name": "model_run"}},
            node("copy", start + 1, 7, "CPUExecutionProvider"),
            node("gemm", start + 10, 3, "CUDAExecutionProvider"),
            {"cat": "Kernel", "name": "split", "ts": start, "dur": gemm_us, "args": started},
            {"cat": "Kernel", "name": "reduce", "ts": start, "dur": 2, "args": started},
            node("view", start + 20, 5, "CUDAExecutionProvider"),
        ]
    (tmp_path / "trace.json").write_text(json.dumps(events))

    layers = profiled(tmp_path / "trace.json", [Place("gemm", "Op", "gemm", ("mm", "add"))], 1)

    assert {layer.name: layer.ms for layer in layers} == {"copy": 0.007, "gemm": 0.042, "view": 0.0}
    assert layers[1].nodes == ("mm", "add")
    assert has_kernels(tmp_path / "trace.json")


def node(name: str, start: int, us: int, provider: str):
    args = {"op_name": "Op", "provider": provider}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": us, "args": args}


def test_a_trace_with_fewer_runs_than_asked_for_is_refused(tmp_path):
    (tmp_path / "trace.json").write_text(json.dumps([{"cat": "Session", "name": "model_run", "ts": 0, "dur": 9}]))

    with pytest.raises(ValueError, match="1 of 3 runs"):
        profiled(tmp_path / "trace.json", [], 3)


@pytest.mark.parametrize(("backend", "words"), [(Cuda, NO_KERNELS), (Provider, "does not tell the layers")])
def test_providers_that_do_not_time_their_kernels_say_so(backend, words):
    assert words in backend()._why_no_profile()


class Context:
    """Does what TensorRT's execution context does with a profiler: reports when it is asked to."""

    def __init__(self, runs) -> None:
        self.profiler = None
        self.enqueue_emits_profile = True
        self._runs, self._pending = iter(runs), ()

    def enqueue(self) -> None:
        assert self.enqueue_emits_profile is False
        self._pending = next(self._runs)

    def report_to_profiler(self) -> bool:
        for name, ms in self._pending:
            self.profiler.report_layer_time(name, ms)
        return True


TENSORRT = SimpleNamespace(IProfiler=type("IProfiler", (), {}))


def test_tensorrts_layers_take_their_median_without_the_first_inference():
    context = Context([[("a", 90.0), ("b", 9.0)], [("a", 3.0), ("b", 1.0)], [("a", 1.0), ("b", 1.0)], [("a", 2.0)]])

    layers = profile(TENSORRT, context, context.enqueue, 3, {})

    assert {layer.name: layer.ms for layer in layers} == {"a": 2.0, "b": 1.0}


def test_a_layer_that_is_reported_several_times_in_one_inference_is_summed_up():
    context = Context([[("body", 1.0), ("body", 2.0)]] * 4)

    assert profile(TENSORRT, context, context.enqueue, 3, {})[0].ms == 3.0


def test_a_tensorrt_that_reports_nothing_is_no_profile():
    context = Context([[]])

    with pytest.raises(Unsupported, match="no times"):
        profile(TENSORRT, context, context.enqueue, 3, {})


def test_tensorrts_layers_tell_their_nodes_by_metadata():
    told = about((INSPECTOR / "h200_v8_int8.json").read_text())

    found = told["0.weight + 0.weight_QuantizeLinear + node_Conv_10 + node_relu"]
    assert (found.kind, found.nodes) == ("CaskConvolution", ("node_Conv_10", "node_relu"))
    assert told["image_QuantizeLinear"].nodes == ()


def test_where_there_is_no_metadata_the_name_of_a_layer_tells_its_nodes():
    told = about((INSPECTOR / "v8_names.json").read_text())

    assert told["Conv_0 + Relu_1"].nodes == ("Conv_0", "Relu_1")
    assert told["Reformatting CopyNode for Input Tensor 0 to Conv_0"].nodes == ()


def test_the_newest_tensorrt_has_what_the_profiler_needs():
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    context = Context([[("a", 1.0)]] * 4)

    layers = profile(trt, context, context.enqueue, 3, {})

    assert layers[0].ms == 1.0
    assert {"profiler", "enqueue_emits_profile", "report_to_profiler"} <= {*dir(trt.IExecutionContext)}
