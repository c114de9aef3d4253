"""Mirrored images: a backend that breaks on them is found, and so is a model that should not tell them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.onnxruntime_session import HostSession
from harness.errors import HarnessError, InputError
from harness.judge import judge
from harness.judge.flip import judge_flip
from harness.records import FlipPlan, InputSpec, LatencyPlan, Reference, Source, Task
from harness.runner.digests import plan_digest
from harness.runner.flip import mirrored
from harness.runner.shared import reference_key, twin_key
from harness.runner.steps import Steps
from harness.suites import load
from models import conv_net
from plans import plan

HEALTHY = HostSession.infer
FLIP = FlipPlan({"image": 3})
SIDE = 6


def sides_net():
    """A network whose two scores are how bright the left and the right half of an image are."""
    half = np.zeros((SIDE, 2), "f4")
    half[: SIDE // 2, 0] = half[SIDE // 2 :, 1] = 1
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["columns"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["columns", "half"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "sides", [image], [logits], [numpy_helper.from_array(half, "half")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Measures a model on onnxruntime-cpu with its candidate's outputs changed; gives the checks on mirrored images."""

    def measured(model, precision="fp32", change=None, flip=FLIP, **changes):
        onnx.save(model, tmp_path / "m.onnx")
        made = plan(precision, source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 5}, flip=flip)
        made = replace(made, case=replace(made.case, backend="onnxruntime-cpu"), latency=LatencyPlan(enabled=False))
        made = replace(made, **changes)
        steps = Steps(tmp_path / "cache", tmp_path, lambda _: None)
        if made.reference.kind == "backend":
            steps.reference(made, tmp_path / "reference")
        steps.twin(made, tmp_path / "twin")
        if change:
            monkeypatch.setattr(HostSession, "infer", lambda self, feeds: change(feeds, HEALTHY(self, feeds)))
        outcome = steps.measure(made, tmp_path / "reference", tmp_path / "twin", None)
        measured.verdict = judge(made, outcome, known=False)
        return {check.name: check for check in judge_flip(made, outcome.measurements)}

    measured.folder = tmp_path
    return measured


def failing(checks):
    return sorted(name for name, check in checks.items() if not check.ok)


def broken_when(is_mirrored):
    """Outputs that are 5 % off for the feeds that a test of them says."""
    return lambda feeds, out: {name: value * np.float32(1 + 0.05 * is_mirrored(feeds)) for name, value in out.items()}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_healthy_backend_passes_on_mirrored_images(case, precision):
    checks = case(conv_net(), precision)

    assert {"flip/logits/twin_spread", "flip/logits/twin_largest"} <= checks.keys()
    assert failing(checks) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_backend_that_is_wrong_on_mirrored_images_alone_fails_by_them_alone(case, precision):
    straight = []

    def is_mirrored(feeds):
        straight.append(feeds["image"])
        return np.array_equal(feeds["image"], straight[0][..., ::-1])

    checks = case(conv_net(), precision, broken_when(is_mirrored))

    assert "flip/logits/twin_spread" in failing(checks)
    assert case.verdict.status == "failed"
    assert [check.name for check in case.verdict.checks if not check.ok] == [n for n in checks if n in failing(checks)]
    assert case.verdict.headline.startswith("fidelity: flip/logits/")
    assert "on mirrored images" in case.verdict.headline


def test_a_variant_that_is_blind_on_one_side_is_found_by_its_task_metric_although_the_images_lie_on_the_other(case):
    """The reference still names the mirrored images; on the images as they are the two agree."""
    onnx.save(sides_net(), case.folder / "blind.onnx")
    blind = onnx.load(case.folder / "blind.onnx")
    weights = numpy_helper.to_array(blind.graph.initializer[0]).copy()
    weights[SIDE // 2 :, 1] = 0
    blind.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "half"))
    onnx.save(blind, case.folder / "blind.onnx")
    task = left_sided(case.folder, named_mirrored=1)

    checks = case(sides_net(), "fp16", files={"fp16": str(case.folder / "blind.onnx")}, **task)

    assert failing(checks) == ["flip/task/top1_drop"]
    assert checks["flip/task/top1_drop"].value == 1
    assert failing(case(sides_net(), "fp16", **task)) == []


def left_sided(folder, named_mirrored=0, flip=FLIP, **changes):
    """Changes to a plan: images that are bright on the left, and their labels."""
    images = np.zeros((5, 1, SIDE, SIDE), "f4")
    images[..., : SIDE // 2] = np.linspace(0.5, 1, 5, dtype="f4")[:, None, None, None]
    np.savez(folder / "data.npz", images=images, labels=np.full(5, named_mirrored))
    made = InputSpec("file", str(folder / "data.npz"), "images")
    task = Task("top1", "logits", str(folder / "data.npz"), "labels", max_drop=0.1)
    return {"inputs": {"image": made}, "task": task, "flip": flip, **changes}


def test_a_model_that_should_not_tell_mirrored_images_apart_fails_by_its_task_metric(case):
    changes = left_sided(case.folder, flip=replace(FLIP, max_drop=0.1))

    checks = case(sides_net(), **changes)

    assert failing(checks) == ["flip/top1_drop"]
    assert checks["flip/top1_drop"].value == 1
    assert "top1 0 against 1 on the others" in checks["flip/top1_drop"].reason
    assert failing(case(sides_net(), **{**changes, "flip": replace(FLIP, max_drop=1.0)})) == []


def test_the_share_of_rows_that_are_named_otherwise_is_limited_without_labels_as_well(case):
    changes = {**left_sided(case.folder), "task": None}

    strict = case(sides_net(), **{**changes, "flip": replace(FLIP, max_changed=0.99)})
    free = case(sides_net(), **{**changes, "flip": replace(FLIP, max_changed=1.0)})

    assert failing(strict) == ["flip/logits/changed"]
    assert strict["flip/logits/changed"].value == 1
    assert "100 % of the rows have another largest entry" in strict["flip/logits/changed"].reason
    assert failing(free) == []


@pytest.mark.parametrize(("rows", "limit"), [(50, 0.02), (20, 0.05), (3, 1 / 3)])
def test_a_share_of_exactly_the_limit_passes(case, rows, limit):
    """One row is bright on one side alone."""
    images = np.zeros((rows, 1, SIDE, SIDE), "f4")
    images[0, ..., : SIDE // 2] = 1
    np.savez(case.folder / "data.npz", images=images)
    made = {"image": InputSpec("file", str(case.folder / "data.npz"), "images")}
    changes = {"inputs": made, "dimensions": {"n": rows}}

    assert failing(case(sides_net(), flip=replace(FLIP, max_changed=limit), **changes)) == []
    less = limit * 0.999
    assert failing(case(sides_net(), flip=replace(FLIP, max_changed=less), **changes)) == ["flip/logits/changed"]


def test_a_limit_on_what_cannot_be_measured_fails(case):
    net = sides_net()
    net.graph.node[1].CopyFrom(helper.make_node("ReduceSum", ["columns", "axis"], ["logits"], keepdims=0))
    net.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    net.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"]))

    checks = case(net, flip=replace(FLIP, max_changed=1.0))

    assert failing(checks) == ["flip/outputs/changed"]


def test_a_reference_that_cannot_be_run_again_leaves_the_twin_to_judge(case):
    changes = left_sided(case.folder)
    outputs = np.array([[SIDE // 2 * level, 0] for level in np.linspace(0.5, 1, 5)], "f4")
    np.savez(case.folder / "stored.npz", logits=outputs)

    checks = case(sides_net(), reference=Reference("file", file=str(case.folder / "stored.npz")), **changes)

    assert "flip/logits/twin_spread" in checks
    assert "flip/task/top1_drop" not in checks


def test_nothing_is_run_again_unless_the_suite_asks_for_it(case):
    assert case(conv_net(), flip=None) == {}


@pytest.mark.parametrize(
    ("axes", "words"),
    [({"imag": 3}, "has no input 'imag', did you mean 'image'"), ({"image": 4}, "'image' has 4 axes")],
)
def test_an_input_or_axis_that_the_model_lacks_is_named(case, axes, words):
    with pytest.raises(InputError, match=rf"invariance\.flip: .*{words}"):
        case(conv_net(), flip=FlipPlan(axes))


@pytest.mark.parametrize("shape", [[], None])
def test_an_axis_beyond_those_of_what_is_fed_is_named_also_where_the_model_does_not_tell_them(case, shape):
    net = sides_net()
    net.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, shape))
    net.graph.node.insert(0, helper.make_node("Mul", ["image", "gain"], ["loud"]))
    net.graph.node[1].input[0] = "loud"
    np.savez(case.folder / "gain.npz", gain=np.float32(2))
    given = {"gain": InputSpec("file", str(case.folder / "gain.npz"), "gain")}

    with pytest.raises(InputError, match=r"invariance\.flip: 'gain' has 0 axes, counted from 0: there is no axis 2"):
        case(net, flip=FlipPlan({"image": 3, "gain": 2}), inputs=given)


def test_images_are_mirrored_in_memory_of_their_own():
    batch = {"image": np.arange(12).reshape(2, 2, 3), "size": np.arange(2)}

    (found,) = mirrored(FlipPlan({"image": 2}), [batch])

    assert found["image"].tolist() == [[[2, 1, 0], [5, 4, 3]], [[8, 7, 6], [11, 10, 9]]]
    assert found["image"].flags.c_contiguous
    assert found["size"] is batch["size"]


def test_what_mirroring_may_change_is_a_limit_and_how_images_are_mirrored_is_not():
    plain, bounded, other = (plan(flip=flip) for flip in (FLIP, replace(FLIP, max_drop=0.1), FlipPlan({"image": 2})))

    for key in (plan_digest, reference_key, twin_key):
        assert key(plain) == key(bounded) != key(other)
        assert key(plain) != key(plan())


SUITE = """\
suite: s
models:
  - name: m
    source: m.onnx
    {inputs}
    accuracy: {{{task}}}
    invariance: {{flip: {{{flip}}}}}
    {more}
"""
IMAGES = "inputs: {image: {images: data, size: 8, layout: %s}}"
DROP = "task: {metric: top1, output: y, labels: {file: l.npy}, max_drop: 0.5}"
TOP1 = "task: {metric: top1, output: y, labels: {file: l.npy}, min: 0.5}"


def loaded(folder, flip="", inputs="", task="", more=""):
    (folder / "m.onnx").touch()
    (folder / "l.npy").touch()
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "a.png").write_bytes(b"png")
    (folder / "suite.yaml").write_text(SUITE.format(flip=flip, inputs=inputs, task=task, more=more))
    return load([folder / "suite.yaml"])[0].flip


def test_images_are_known_by_their_preparation_and_others_by_the_axis_that_the_suite_names(tmp_path):
    assert loaded(tmp_path, inputs=IMAGES % "nchw") == FlipPlan({"image": 3})
    assert loaded(tmp_path, inputs=IMAGES % "nhwc") == FlipPlan({"image": 2})
    assert loaded(tmp_path, "axes: {x: 2}, max_changed: 0.1") == FlipPlan({"x": 2}, None, 0.1)


@pytest.mark.parametrize("task", ["", TOP1])
def test_mirrored_images_that_nothing_would_judge_are_told(tmp_path, task):
    with pytest.raises(HarnessError, match=r"suite.yaml:7:.*\.invariance.flip: judges nothing"):
        loaded(tmp_path, "axes: {x: 2}", task=task, more="fidelity: {enabled: false}")


@pytest.mark.parametrize(("flip", "task"), [("axes: {x: 2}, max_changed: 1", ""), ("axes: {x: 2}", DROP)])
def test_without_a_precision_twin_limits_judge_mirrored_images(tmp_path, flip, task):
    assert loaded(tmp_path, flip, task=task, more="fidelity: {enabled: false}") is not None


@pytest.mark.parametrize(
    ("flip", "task", "words"),
    [
        ("", "", "invariance.flip: no input is made from `images` or `video`"),
        ("axes: {x: 0}", "", "invariance.flip.axes.x"),
        ("axes: {x: 2}, max_drop: 0.1", "", "invariance.flip.max_drop: is about the task metric"),
        ("axes: {x: 2}, max_drop: 0.1", TOP1.replace("top1", "mean_iou"), "the labels of mean_iou are places"),
        ("axes: {x: 2}, max_changed: 2", "", "invariance.flip.max_changed"),
    ],
)
def test_what_cannot_be_mirrored_or_measured_is_told_with_its_place(tmp_path, flip, task, words):
    with pytest.raises(HarnessError) as told:
        loaded(tmp_path, flip, task=task)

    assert words in str(told.value)
    assert "suite.yaml:7:" in str(told.value)
