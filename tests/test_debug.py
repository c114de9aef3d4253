"""`harness debug`: the first tensor that parts, the layers that add error, the nodes that mend, and the bundle."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from debugging import InProcess, overflowing_net, weak_net, weak_plan, weak_suite
from harness.backends.onnxruntime import Cpu
from harness.cli import main
from harness.errors import HarnessError
from harness.records import Failure, InputSpec
from harness.runner.client import WorkerFailed
from harness.runner.debug import investigate
from harness.runner.findings import Distance, Node, Probe, Spot
from harness.runner.inquiry import Inquiry
from harness.runner.minimise import minimise
from harness.runner.narrow import Narrowing, Question, locate, spread
from harness.variants.float16 import make
from harness.variants.graph import load_model, save
from harness.variants.keep import keep, keepable
from harness.variants.taps import between, cut, mark, slice_model, taps
from harness.variants.twin import twin
from models import attention

RNG = np.random.default_rng(0)
OVERFLOWS = 6e4
"""With this gain and inputs of a spread of 8 `widen` exceeds what fp16 holds, though all weights fit."""


def run(model, **feeds):
    """The outputs of a ModelProto, node by node on the CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def loaded(model, folder):
    onnx.save(model, folder / "model.onnx")
    return load_model(folder / "model.onnx")[0]


# --- tensors inside a graph -----------------------------------------------------------------------------------------


def test_taps_are_what_nodes_compute_from_inputs_and_know_what_they_hang_on(tmp_path):
    found = {tap.tensor: tap for tap in taps(loaded(weak_net(), tmp_path))}

    assert list(found) == ["c1", "r1", "m1", "c2", "r2", "c4", "r4", "p", "logits"]  # Flatten computes nothing
    assert found["logits"].reads == ("p",)
    assert [tap.tensor for tap in found.values() if tap.final] == ["logits"]


def test_marked_tensors_come_out_and_change_nothing_else(tmp_path):
    x = RNG.normal(size=(4, 1, 8, 8)).astype(np.float32)

    found = run(mark(loaded(weak_net(), tmp_path), ["c2", "p"]), image=x)

    assert list(found) == ["logits", "c2", "p"]
    assert np.array_equal(found["logits"], run(weak_net(), image=x)["logits"])


@pytest.mark.parametrize(("model", "known"), [(weak_net(), ["c1", "c2"]), (attention(), ["ln", "q", "x", "m5"])])
def test_a_graph_cut_at_its_own_values_computes_the_same_part_by_part(tmp_path, model, known):
    final = model.graph.output[0].name
    shape = {"image": (4, 1, 8, 8), "tokens": (2, 5, 32)}[model.graph.input[0].name]
    feeds = {model.graph.input[0].name: RNG.normal(size=shape).astype(np.float32)}
    whole = run(mark(loaded(model, tmp_path), known), **feeds)

    parted = cut(loaded(model, tmp_path), known, [*known, final])
    inputs = [value.name for value in parted.graph.input]
    found = run(parted, **{name: {**feeds, **whole}[name] for name in inputs})

    for name in (*known, final):
        assert np.allclose(found[f"{name}/local"], whole[name], atol=1e-5)


def test_the_nodes_of_a_part_lie_between_the_known_tensors_and_its_own(tmp_path):
    model = loaded(weak_net(), tmp_path)

    assert [node.name for node in between(model, "r2", {"r1"})] == ["widen", "second", "relu2"]
    assert [node.name for node in between(model, "logits", {"p"})] == ["head"]


# --- nodes in fp32 --------------------------------------------------------------------------------------------------


def test_neighbours_in_fp32_pass_on_values_that_fp16_cannot_hold(tmp_path):
    x = RNG.normal(0, 8, (4, 1, 8, 8)).astype(np.float32)
    onnx.save(weak_net(gain=OVERFLOWS), tmp_path / "m.onnx")
    half, _ = make(tmp_path / "m.onnx")
    save(half, tmp_path, "half")

    def outputs(kept):
        return run(
            twin(loaded(keep("fp16", tmp_path / "m.onnx", tmp_path / "half.onnx", kept), tmp_path), "fp16"), image=x
        )

    assert not np.isfinite(outputs([])["logits"]).all()
    assert not np.isfinite(outputs(["m1"])["logits"]).all()
    assert np.allclose(outputs(["m1", "c2"])["logits"], run(weak_net(gain=OVERFLOWS), image=x)["logits"], atol=0.1)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_all_nodes_in_fp32_are_the_model_itself(tmp_path, precision):
    onnx.save(attention(), tmp_path / "m.onnx")
    everything = [tap.maker.tensor for tap in taps(loaded(attention(), tmp_path))]
    x = RNG.normal(size=(2, 5, 32)).astype(np.float32)

    made = keep(precision, tmp_path / "m.onnx", tmp_path / "m.onnx", everything)

    assert np.allclose(run(made, tokens=x)["out"], run(attention(), tokens=x)["out"], atol=1e-5)


def test_movers_around_a_node_in_fp32_do_not_round_what_they_pass_on(tmp_path):
    node = helper.make_node
    nodes = [node("Transpose", ["x"], ["t"]), node("MatMul", ["t", "w"], ["m"]), node("Transpose", ["m"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 3]) for name in "xy"]
    weights = [numpy_helper.from_array(RNG.normal(size=(3, 3)).astype(np.float32), "w")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "m.onnx")
    x = RNG.normal(size=(3, 3)).astype(np.float32)

    made = keep("fp16", tmp_path / "m.onnx", tmp_path / "m.onnx", ["m"])

    assert np.array_equal(run(made, x=x)["y"], run(model, x=x)["y"])


def test_a_node_is_known_by_the_first_output_that_it_gives(tmp_path):
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], "rnn", hidden_size=2)
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 1, 3]),
        helper.make_tensor_value_info("last", TensorProto.FLOAT, [1, 1, 2]),
    ]
    weights = [
        numpy_helper.from_array(RNG.normal(size=(1, 8, n)).astype(np.float32), k) for k, n in (("w", 3), ("r", 2))
    ]
    graph = helper.make_graph([node], "g", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    assert [tap.maker.tensor for tap in taps(loaded(model, tmp_path))] == ["last"]


def test_tensorrt_takes_kept_nodes_in_fp32_under_strong_typing(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    onnx.save(overflowing_net(), tmp_path / "weak.onnx")
    save(keep("fp16", tmp_path / "weak.onnx", tmp_path / "weak.onnx", ["c1", "r1", "c2"]), tmp_path, "kept")
    suite, _ = weak_suite(tmp_path, "fp16", "files: {fp16: kept.onnx}", overflowing_net())
    suite.write_text(suite.read_text().replace("[onnxruntime-cpu]", "[tensorrt-rtx]"))

    main(["run", str(suite), "--artefacts", str(tmp_path / "cache"), "-o", str(tmp_path / "run")])

    record = json.loads((tmp_path / "run" / "run.json").read_text())["records"][0]
    assert record["attested"]["typing"] == "strong"
    counts = {(row["kind"], row["storage"]): row["count"] for row in record["attested"]["network"]}
    assert counts == {("conv", "fp32"): 2, ("conv", "fp16"): 1, ("matmul", "fp16"): 1}


def test_what_a_converter_leaves_in_fp32_anyway_cannot_be_kept(tmp_path):
    onnx.save(weak_net(), tmp_path / "m.onnx")
    half, _ = make(tmp_path / "m.onnx", lambda model: [node.name for node in model.graph.node if node.name == "third"])

    assert keepable(loaded(half, tmp_path), ["c1", "c4", "logits"]) == ("c1", "logits")


# --- the search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", [{"d"}, {"b", "g"}, {"a", "b", "c", "d"}])
def test_the_set_found_is_minimal(needed):
    names = list("abcdefghij")

    found = minimise(names, 1, lambda kept: needed <= set(kept))

    assert (set(found.members), found.minimal) == (needed, True)


def test_a_search_that_ran_out_of_builds_gives_a_set_that_passes_and_says_so():
    left = iter(range(4))

    def test(kept):
        return {"b", "g"} <= set(kept) if next(left, None) is not None else None

    found = minimise(list("abcdefghij"), 1, test)

    assert {"b", "g"} <= set(found.members)
    assert not found.minimal


def chain(reads):
    """Spots of a graph given as tensor to what it reads."""
    return {n: Spot(n, Node(n, n, "Op"), tuple(r), n == "out", beyond=False) for n, r in reads.items()}


def looking(wrong, hides=()):
    """A look at a graph in which the tensors `wrong` are far off; marking one of `hides` makes the failure go away."""

    def look(marks):
        gone = set(hides) & set(marks)
        far = {name: 0.0 if gone or name not in wrong else 5.0 for name in (*marks, "out")}
        return Probe(1, {name: Distance(0, 0, v, v, None) for name, v in far.items()}, (), 0.0)

    return look


def test_the_first_tensor_is_found_behind_branches_that_are_right():
    reads = {"a": [], "l0": ["a"], "l1": ["l0"], "l2": ["l1"], "r0": ["a"], "r1": ["r0"], "sum": ["l2", "r1"]}
    state = Narrowing(Question("twin", 1.0, "out"), chain({**reads, "out": ["sum"]}), looking({"r1", "sum", "out"}))
    state.size = 2

    locate(state)

    assert state.first == "r1"


def test_a_tensor_whose_marking_hides_the_failure_is_named():
    reads = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "out": ["d"]}
    state = Narrowing(Question("twin", 1.0, "out"), chain(reads), looking({"c", "d", "out"}, hides={"c"}))

    locate(state)

    assert state.hiding == {"c"}
    assert state.first == "d"
    assert any("with 'c' marked as outputs the case no longer fails" in note for note in state.notes)


def test_tensors_with_which_no_build_can_be_made_are_told_and_others_are_marked():
    reads = {"a": [], "b": ["a"], "c": ["b"], "out": ["c"]}
    healthy = looking({"b", "c", "out"})

    def look(marks):
        return Probe(7, {}, (), None, "no kernel for node b") if "b" in marks else healthy(marks)

    state = Narrowing(Question("twin", 1.0, "out"), chain(reads), look)

    locate(state)

    assert (state.first, state.hiding) == ("c", {"b"})
    assert "build 7: cannot be made with 'b' marked as outputs: no kernel for node b" in state.notes


def test_marks_are_spread_over_the_graph():
    assert spread(list("abcdefghi"), 2) == ["d", "g"]
    assert spread(["a", "b"], 8) == ["a", "b"]


# --- whole cases ----------------------------------------------------------------------------------------------------


def inquiry(folder, plan, bench=None, builds=24):
    (folder / "looks").mkdir()
    return Inquiry(bench or InProcess(folder), plan, folder / "looks", builds, monotonic() + 600, lambda _: None)


@pytest.fixture
def lame(monkeypatch):
    """onnxruntime-cpu computes the weight w4 a little wrong where it is fp16."""
    healthy = Cpu.open

    def opened(self, artefact, spec):
        if spec.precision == "fp16":
            model = onnx.load(str(artefact.path))
            for tensor in model.graph.initializer:
                if tensor.name == "w4" and tensor.data_type == TensorProto.FLOAT16:
                    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(1.05), "w4"))
            path = artefact.path.with_suffix(".lame.onnx")
            onnx.save(model, path)
            artefact = replace(artefact, path=path)
        return healthy(self, artefact, spec)

    monkeypatch.setattr(Cpu, "open", opened)


def test_a_backend_that_computes_one_node_wrong_is_told_by_that_node(tmp_path, lame):
    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16")))

    assert (found.cause, found.yardstick, found.first) == ("backend", "twin", "c4")
    assert found.ranking[0].tensor == "c4"
    assert [node.name for node in found.ranking[0].nodes] == ["third"]
    assert found.ranking[0].added.excess > 10 * found.ranking[1].added.excess
    assert [node.name for node in found.mend.nodes] == ["third"]
    assert found.mend.minimal


def choosing_net():
    """The weak network that gives nothing but which logit is largest, and beside it a float of another branch."""
    model = weak_net()
    model.graph.node.append(helper.make_node("ReduceMean", ["image"], ["aside"], "aside", axes=[1, 2, 3], keepdims=0))
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["label"], "choose", axis=1, keepdims=0))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("aside", TensorProto.FLOAT, ["n"]))
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    return model


def wrong_in_fp16(monkeypatch, weight, factor):
    """onnxruntime-cpu multiplies a weight of fp16 files."""
    healthy = Cpu.open

    def opened(self, artefact, spec):
        model = onnx.load(str(artefact.path))
        for tensor in model.graph.initializer if spec.precision == "fp16" else ():
            if tensor.name == weight and tensor.data_type == TensorProto.FLOAT16:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(factor), weight))
        onnx.save(model, artefact.path.with_suffix(".wrong.onnx"))
        return healthy(self, replace(artefact, path=artefact.path.with_suffix(".wrong.onnx")), spec)

    monkeypatch.setattr(Cpu, "open", opened)


def test_an_integer_output_is_looked_into_by_the_floats_that_it_is_computed_from(tmp_path, monkeypatch):
    wrong_in_fp16(monkeypatch, "w4", -1)

    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16", choosing_net())))

    assert found.headline.startswith("label/")
    assert (found.cause, found.first) == ("backend", "c4")
    assert [node.name for node in found.mend.nodes] == ["third"]
    words = "'label' holds no floats: looked into are the nearest float tensors that it is computed from, 'logits'"
    assert words in found.notes


def test_an_index_that_is_chosen_wrong_from_right_floats_is_told_as_that(tmp_path, monkeypatch):
    healthy = Cpu.open

    def opened(self, artefact, spec):
        model = onnx.load(str(artefact.path))
        for node in model.graph.node if spec.precision == "fp16" and spec.case else ():
            if node.op_type == "ArgMax":
                node.op_type = "ArgMin"
        onnx.save(model, artefact.path.with_suffix(".wrong.onnx"))
        return healthy(self, replace(artefact, path=artefact.path.with_suffix(".wrong.onnx")), spec)

    monkeypatch.setattr(Cpu, "open", opened)

    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16", choosing_net())))

    assert (found.cause, found.first, found.mend) == ("unknown", None, None)
    assert "'label' fails though 'logits', of which it is computed, is within what rounding does" in found.verdict


@pytest.fixture
def halves(monkeypatch):
    """onnxruntime-cpu rounds to halves after every node, as a GPU does."""
    healthy = Cpu.open

    def opened(self, artefact, spec):
        if spec.precision == "fp16":
            path = artefact.path.with_suffix(".halves.onnx")
            onnx.save(twin(load_model(artefact.path)[0], "fp16"), path)
            artefact = replace(artefact, path=path)
        return healthy(self, artefact, spec)

    monkeypatch.setattr(Cpu, "open", opened)


def test_an_overflow_is_told_by_the_layer_that_makes_it_and_mended_up_to_where_it_is_scaled_back(tmp_path, halves):
    plan = weak_plan(
        tmp_path, "fp16", weak_net(gain=OVERFLOWS), inputs={"image": InputSpec("normal", range=(0, 8), seed=3)}
    )

    found = investigate(inquiry(tmp_path, plan))

    assert (found.cause, found.first) == ("precision", "m1")
    assert found.ranking[0].added.overflowed > 0
    assert [node.name for node in found.ranking[0].nodes] == ["widen"]
    assert [node.name for node in found.mend.nodes] == ["widen", "second"]
    assert found.mend.minimal


def test_a_convolution_that_overflows_is_mended_with_all_that_its_values_go_through(tmp_path, halves):
    spread = {"image": InputSpec("normal", range=(0, 40), seed=3)}

    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16", overflowing_net(), inputs=spread)))

    assert (found.cause, found.first_node.name) == ("precision", "first")
    assert [node.name for node in found.ranking[0].nodes] == ["first"]
    assert [node.name for node in found.mend.nodes] == ["first", "relu1", "second"]


def test_an_overflow_whose_nan_a_relu_turns_into_0_is_told_by_the_layer_that_makes_it(tmp_path, monkeypatch, halves):
    half = Cpu.open

    def opened(self, artefact, spec):  # as the Relu of a GPU's kernels
        model = onnx.load(str(artefact.path))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nought"))
        relus = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Relu"}
        for name, read in relus.items() if spec.precision == "fp16" else ():
            position = next(i for i, node in enumerate(model.graph.node) if name in node.output)
            model.graph.node[position].CopyFrom(helper.make_node("Where", [f"{name}/on", read, "nought"], [name]))
            model.graph.node.insert(position, helper.make_node("Greater", [read, "nought"], [f"{name}/on"]))
        onnx.save(model, artefact.path.with_suffix(".quiet.onnx"))
        return half(self, replace(artefact, path=artefact.path.with_suffix(".quiet.onnx")), spec)

    monkeypatch.setattr(Cpu, "open", opened)
    plan = weak_plan(tmp_path, "fp16", overflowing_net(), inputs={"image": InputSpec("normal", range=(0, 40), seed=3)})
    bench = InProcess(tmp_path)

    measured = {m.metric: m.value for m in bench.outcome(plan).measurements}
    found = investigate(inquiry(tmp_path, plan, bench))

    assert measured["nonfinite"] == 0
    assert measured["cosine"] < 0.6
    assert (found.cause, found.first_node.name) == ("precision", "first")
    assert found.ranking[0].added.overflowed > 0
    assert [node.name for node in found.mend.nodes] == ["first", "relu1", "second"]


def test_a_case_that_passes_has_nothing_to_look_into(tmp_path):
    assert investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16"))) is None


def test_few_builds_are_enough_for_a_first_answer_and_the_search_says_that_it_stopped(tmp_path, lame):
    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16"), builds=3))

    assert found.first == "c4"
    assert found.builds == 3
    assert not found.mend.minimal
    assert "stopped after 3 builds" in found.mend.words


def test_a_defect_in_fp32_is_told_by_its_node_though_no_precision_can_be_raised(tmp_path, monkeypatch):
    healthy = Cpu.open

    def opened(self, artefact, spec):
        if not spec.options:  # neither the reference nor the twin, which run as plainly as they can
            model = onnx.load(str(artefact.path))
            weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w4")
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), "w4"))
            onnx.save(model, artefact.path.with_suffix(".lame.onnx"))
            artefact = replace(artefact, path=artefact.path.with_suffix(".lame.onnx"))
        return healthy(self, artefact, spec)

    monkeypatch.setattr(Cpu, "open", opened)

    found = investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp32")))

    assert (found.cause, found.first, found.ranking[0].tensor) == ("backend", "c4", "c4")
    assert (found.mend.nodes, found.mend.words) == (None, "it is computed in fp32 already")


class Dying(InProcess):
    def debug(self, plan, step, **arguments):
        if step == "probe":
            raise WorkerFailed(
                Failure("crash", "probe 2 build", "the worker died in probe 2 build: SIGSEGV", "last words")
            )
        return super().debug(plan, step, **arguments)


def test_a_build_that_crashes_is_one_error_that_names_the_step(tmp_path, lame):
    with pytest.raises(HarnessError, match=r"fp16/n-16: crash in probe 2 build: .*SIGSEGV\nlast words"):
        investigate(inquiry(tmp_path, weak_plan(tmp_path, "fp16"), Dying(tmp_path)))


def debug(folder: Path, suite: Path, case: str, *more: object) -> dict:
    """The findings of the command, as it wrote them."""
    arguments = ["debug", case, "--suites", suite, "--artefacts", folder / "cache", "-o", folder / "out", *more]
    assert main([str(one) for one in arguments]) == 0
    return json.loads((folder / "out" / "debug.json").read_text())


def test_a_layer_that_int8_cannot_hold_is_found_mended_and_cut_out(tmp_path, capsys):
    found = debug(tmp_path, *weak_suite(tmp_path / "suite", "int8"))

    assert (found["cause"], found["first"]) == ("precision", "c2")
    assert [node["name"] for node in found["ranking"][0]["nodes"]] == ["second"]
    assert [node["name"] for node in found["mend"]["nodes"]] == ["second"]
    assert found["mend"]["minimal"]
    assert "Conv `second`, which makes `c2`" in capsys.readouterr().out
    assert found["slice"]["status"] == "failed"


def test_the_command_of_a_bundle_runs_the_slice_again(tmp_path, capsys):
    found = debug(tmp_path, *weak_suite(tmp_path / "suite", "int8"))
    command = shlex.split(found["slice"]["command"])

    status = main([*command[1:], "--artefacts", str(tmp_path / "cache"), "-o", str(tmp_path / "again")])

    assert (command[0], status) == ("harness", 1)
    record = json.loads((tmp_path / "again" / "run.json").read_text())["records"][0]
    assert (record["status"], record["headline"]) == ("failed", found["slice"]["headline"])
    held = {name: np.load(tmp_path / "out" / "slice" / f"{name}.npz") for name in ("inputs", "candidate", "twin")}
    assert held["inputs"].files == ["m1"]
    assert held["candidate"]["c2"].shape == held["twin"]["c2"].shape == (16, 16, 8, 8)


def test_a_slice_that_is_right_alone_goes_on_to_the_outputs(tmp_path):
    # at full optimisation ONNX Runtime rounds a bias to the scale of its sums, but only where a Q/DQ pair follows
    suite, case = weak_suite(tmp_path / "suite", "int8")
    suite.write_text(suite.read_text().replace("disable", "all"))

    found = debug(tmp_path, suite, case)

    assert (found["cause"], found["first"]) == ("backend", "c2")
    assert (found["slice"]["through"], found["slice"]["shows"]) == (True, True)
    assert [value.name for value in onnx.load(tmp_path / "out" / "slice" / "model.onnx").graph.output] == [
        "c2",
        "logits",
    ]


@pytest.mark.parametrize("tensors", [["m6"], ["m1", "out"]])
def test_a_slice_of_a_half_file_has_float_inputs_and_gives_what_the_file_gives(tmp_path, tensors):
    onnx.save(attention(), tmp_path / "fp32.onnx")
    half = make(tmp_path / "fp32.onnx")[0]
    x = RNG.normal(size=(2, 5, 32)).astype(np.float32)
    save(mark(loaded(half, tmp_path), ["x", "ln2", "m1", "m6"]), tmp_path, "marked")
    whole = run(twin(load_model(tmp_path / "marked.onnx")[0], "fp16"), tokens=x)
    shapes = {name: list(value.shape) for name, value in {**whole, "tokens": x}.items()}

    made = slice_model(loaded(half, tmp_path), ["x", "ln2"], tensors, shapes)
    onnx.checker.check_model(made, full_check=True)
    inputs = [value.name for value in made.graph.input]

    assert {value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)} == {
        TensorProto.FLOAT
    }
    found = run(twin(loaded(made, tmp_path), "fp16"), **{name: whole[name] for name in inputs})
    for name in tensors:
        assert np.array_equal(found[name], whole[name])


def test_a_wrong_row_in_a_file_of_the_suites_own_is_the_files_fault(tmp_path):
    onnx.save(weak_net(gain=1.0), tmp_path / "fp32.onnx")
    half, _ = make(tmp_path / "fp32.onnx")
    for tensor in half.graph.initializer:
        if tensor.name == "w4":
            values = numpy_helper.to_array(tensor).copy()
            values[5] = values[6]
            tensor.CopyFrom(numpy_helper.from_array(values, "w4"))
    (tmp_path / "suite").mkdir()
    onnx.save(half, tmp_path / "suite" / "own.onnx")

    found = debug(tmp_path, *weak_suite(tmp_path / "suite", "fp16", "files: {fp16: own.onnx}", weak_net(gain=1.0)))

    assert (found["cause"], found["first"], found["mend"]["nodes"]) == ("file", "c4", None)
    assert "the fault is in the suite's own" in found["mend"]["words"]
    assert [node["name"] for node in found["ranking"][0]["nodes"]] == ["third"]


def test_a_case_that_fails_in_fp32_too_is_no_matter_of_precision(tmp_path):
    (tmp_path / "suite").mkdir()
    np.savez(tmp_path / "suite" / "ref.npz", logits=RNG.normal(size=(16, 10)).astype(np.float32))

    found = debug(tmp_path, *weak_suite(tmp_path / "suite", "fp16", "reference: {file: ref.npz}"))

    assert (found["cause"], found["mend"]) == ("reference", None)
    assert found["builds"] == 1
    assert "the model in fp32, node by node on the CPU, fails as well" in found["verdict"]


def test_a_case_can_be_named_by_the_run_that_holds_it(tmp_path, capsys):
    suite, case = weak_suite(tmp_path / "suite", "int8")
    main(["run", str(suite), "--artefacts", str(tmp_path / "cache"), "-o", str(tmp_path / "run")])

    arguments = ["debug", case, "--run", tmp_path / "run", "--artefacts", tmp_path / "cache", "-o", tmp_path / "out"]

    assert main([str(one) for one in arguments]) == 0
    assert (tmp_path / "out" / "README.md").exists()


def test_an_unknown_case_and_a_folder_that_holds_something_else_are_usage_errors(tmp_path, capsys):
    suite, case = weak_suite(tmp_path / "suite", "int8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()

    assert main(["debug", case.replace("int8", "int9"), "--suites", str(suite)]) == 2
    assert f"did you mean '{case}'?" in capsys.readouterr().err
    cache = ["--artefacts", str(tmp_path / "cache")]
    assert main(["debug", case, "--suites", str(suite), *cache, "-o", str(tmp_path / "full")]) == 2
    assert (tmp_path / "full" / "notes.txt").exists()
