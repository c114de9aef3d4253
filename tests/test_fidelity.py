"""The precision twin, the noise around it, and what a candidate's distance from it decides."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import reduce
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.base import BuildSpec
from harness.backends.onnxruntime import Cpu
from harness.backends.onnxruntime_session import HostSession
from harness.judge import judge
from harness.judge.accuracy import judge_outputs
from harness.judge.fidelity import judge_fidelity
from harness.metrics import fidelity, slices
from harness.metrics.compare import compare
from harness.metrics.fidelity import Noise, added, distances, noise
from harness.metrics.slices import WHOLE, Differences, Sums, differences
from harness.records import FidelityPlan, LatencyPlan, Measurement, Outcome, Source
from harness.runner import REFUSED, twin_files
from harness.runner.steps import Steps
from harness.runner.twins import Twin, evaluate, measure
from harness.variants.graph import load_model
from harness.variants.twin import twin
from models import attention, conv_net
from plans import plan

RNG = np.random.default_rng(0)


def run(model, **feeds):
    """The outputs of a ModelProto, node by node on the CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def graph(nodes, inputs, outputs, weights=None, opset=17):
    """A checked model with shapes inferred and nodes named, as the conversions leave it."""
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    values = [[helper.make_tensor_value_info(n, *kind) for n, kind in side.items()] for side in (inputs, outputs)]
    made = helper.make_model(
        helper.make_graph(nodes, "g", *values, stored), opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    onnx.checker.check_model(made)
    return made


def loaded(model, tmp_path, at_least=0):
    onnx.save(model, tmp_path / "model.onnx")
    return load_model(tmp_path / "model.onnx", at_least)[0]


HALF = graph(
    [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "k"], ["big"]),
        helper.make_node("Div", ["big", "k"], ["back"]),
        helper.make_node("Cast", ["back"], ["y"], to=TensorProto.FLOAT),
    ],
    {"x": (TensorProto.FLOAT, ["n"])},
    {"y": (TensorProto.FLOAT, ["n"])},
    {"k": np.float16(3.0)},
)


def test_the_twin_rounds_after_every_operator_and_overflows_where_halves_do(tmp_path):
    x = np.array([0.1, 1000.7, 30000.0], np.float32)
    with np.errstate(over="ignore"):
        expected = (x.astype(np.float16) * np.float16(3)).astype(np.float16) / np.float16(3)

    found = run(twin(loaded(HALF, tmp_path), "fp16"), x=x)["y"]

    assert np.array_equal(found, expected.astype(np.float32))
    assert np.isinf(found[2])


def test_the_tf32_twin_rounds_the_operands_of_products_to_11_bits(tmp_path):
    made = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ["n", 1])},
        {"y": (TensorProto.FLOAT, ["n", 1])},
        {"w": np.ones((1, 1), np.float32)},
    )
    x = RNG.uniform(1, 2, (100, 1)).astype(np.float32)

    found = run(twin(loaded(made, tmp_path), "tf32"), x=x)["y"]

    assert np.array_equal(found, np.round(x * 1024) / 1024)


@pytest.mark.parametrize("precision", ["fp32", "as-is"])
def test_a_file_without_halves_is_its_own_twin(tmp_path, precision):
    x = RNG.normal(size=(4, 1, 8, 8)).astype(np.float32)

    found = run(twin(loaded(conv_net(), tmp_path), precision), image=x)["logits"]

    assert np.array_equal(found, run(conv_net(), image=x)["logits"])


@pytest.mark.parametrize("opset", [11, 17, 22])
def test_noise_is_of_the_size_of_rounding_and_the_same_every_time(tmp_path, opset):
    x = RNG.normal(size=(16, 1, 8, 8)).astype(np.float32)
    exact = run(conv_net(opset), image=x)["logits"]

    first, again = (
        run(twin(loaded(conv_net(opset), tmp_path), "fp32", noise=1.0), image=x)["logits"] for _ in range(2)
    )

    assert np.array_equal(first, again)
    assert 1e-8 < np.sqrt(np.mean((first - exact) ** 2)) / np.sqrt(np.mean(exact**2)) < 1e-6


def test_a_node_may_have_the_name_of_the_tensor_that_it_gives(tmp_path):
    made = graph(
        [helper.make_node("Gemm", ["x", "w"], ["hidden"], "hidden"), helper.make_node("Exp", ["hidden"], ["y"], "y")],
        {"x": (TensorProto.FLOAT, ["n", 2])},
        {"y": (TensorProto.FLOAT, ["n", 2])},
        {"w": np.eye(2, dtype=np.float32)},
    )
    x = np.ones((1, 2), np.float32)

    found = run(twin(loaded(made, tmp_path), "fp32", noise=1.0), x=x)["y"]

    assert np.allclose(found, np.e)


def test_hardware_that_cuts_operands_to_tf32_instead_of_rounding_them_is_healthy(tmp_path):
    weights = np.abs(RNG.normal(0, 1, (64, 8))).astype(np.float32)  # of one sign, so that cuts add up
    made = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, ["n", 64])},
        {"y": (TensorProto.FLOAT, ["n", 8])},
        {"w": weights},
    )
    onnx.save(made, tmp_path / "model.onnx")
    x = np.abs(RNG.normal(0, 1, (64, 64))).astype(np.float32)
    spec = BuildSpec("t", tmp_path / "model.onnx", "tf32", {}, {"x": "float32", "y": "float32"}, {})
    found = evaluate(Cpu(), spec, [{"x": x}], FidelityPlan())

    def cut(values):
        return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)

    candidate = {"y": (cut(x) @ cut(weights)).astype(np.float32)}
    checks = judge_fidelity(plan("tf32"), measure(found, [candidate]))
    assert [check.name for check in checks if not check.ok] == []
    wrong = {"y": candidate["y"] * np.float32(1.005)}
    assert [check.name for check in judge_fidelity(plan("tf32"), measure(found, [wrong])) if not check.ok]


def test_noise_moves_no_tensor_that_a_shape_is_computed_from(tmp_path):
    resize = graph(
        [
            helper.make_node("Mul", ["one", "two"], ["scales"]),
            helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest"),
        ],
        {"x": (TensorProto.FLOAT, [1, 1, 3, 3])},
        {"y": (TensorProto.FLOAT, [1, 1, 9, 9])},
        {"one": np.ones(4, np.float32), "two": np.array([1, 1, 3, 3], np.float32)},
    )

    found = run(twin(loaded(resize, tmp_path), "fp32", noise=1000.0), x=np.ones((1, 1, 3, 3), np.float32))

    assert found["y"].shape == (1, 1, 9, 9)


def test_noise_keeps_infinities_so_that_masks_still_mask(tmp_path):
    masked = graph(
        [helper.make_node("Add", ["x", "mask"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=-1)],
        {"x": (TensorProto.FLOAT, ["n", 3])},
        {"y": (TensorProto.FLOAT, ["n", 3])},
        {"mask": np.array([0, -np.inf, 0], np.float32)},
    )

    found = run(twin(loaded(masked, tmp_path), "fp32", noise=1.0), x=np.ones((5, 3), np.float32))["y"]

    assert np.array_equal(found[:, 1], np.zeros(5))


def yardstick(shape=(64, 10), size=1e-3, members=8):
    expected = RNG.normal(size=shape)
    return expected, noise_of(expected, [expected + RNG.normal(0, size, shape) for _ in range(members)])


def noise_of(expected, moved):
    """The noise that some evaluations of a twin show."""
    members = reduce(added, (differences([expected], [one]) for one in moved), None)
    return noise(members, differences([np.zeros_like(expected)], [expected]), 2.0**-24)


def test_errors_like_the_noise_are_about_one_time_the_noise():
    expected, measured = yardstick()

    found = distances(differences([expected], [expected + RNG.normal(0, 1e-3, expected.shape)]), measured)

    assert 0.8 < found["spread"].times < 1.2
    assert found["slice"].times < 2.5
    assert found["drift"].times < 5


def test_a_constant_error_far_below_the_spread_is_found_by_its_sign():
    expected, measured = yardstick((1024, 10))
    wrong = expected + RNG.normal(0, 1e-3, expected.shape)
    wrong[:, 7] += 1.3e-3

    found = distances(differences([expected], [wrong]), measured)

    assert found["spread"].times < 1.3
    assert found["slice"].times < 2
    assert found["drift"].times > 9
    assert (found["drift"].axis, found["drift"].index) == (1, 7)


def test_one_wrong_sample_is_found_among_many():
    expected, measured = yardstick()
    wrong = expected.copy()
    wrong[41] = wrong[40]

    found = distances(differences([expected], [wrong]), measured)

    assert (found["slice"].axis, found["slice"].index) == (0, 41)


def test_sums_over_batches_are_those_over_all_rows_at_once():
    expected, other = RNG.normal(size=(2, 10, 3, 4))

    parts = differences([expected[:7], expected[7:]], [other[:7], other[7:]])
    whole = differences([expected], [other])

    for axis in (-1, 0, 1, 2):
        assert parts.axes[axis].squared == pytest.approx(whole.axes[axis].squared)
        assert parts.axes[axis].signed == pytest.approx(whole.axes[axis].signed)


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("shape", [(1, 300), (2, 3, 50), (300,), (1, 1, 17, 5), (40, 2), (0, 5), ()])
def test_sums_are_the_same_however_the_output_is_cut(monkeypatch, shape, block):
    expected, other = RNG.integers(-1000, 1000, (2, *shape)).astype(np.float32)  # whole numbers add up exactly
    expected, other = np.asarray(expected), np.asarray(other)
    other[other > 950], expected[expected > 950] = np.nan, -np.inf

    whole = differences([expected], [other])
    monkeypatch.setattr(slices, "BLOCK", block)
    cut = differences([expected], [other])

    for field in fields(Differences):
        if field.name != "axes":
            assert getattr(cut, field.name) == getattr(whole, field.name)
    for axis in whole.axes:
        for field in fields(Sums):
            assert np.array_equal(getattr(cut.axes[axis], field.name), getattr(whole.axes[axis], field.name))


def test_distances_are_the_same_however_the_slices_are_cut(monkeypatch):
    expected, measured = yardstick((300, 5))
    found = differences([expected], [expected + RNG.normal(0, 1e-3, expected.shape)])

    whole = distances(found, measured)
    monkeypatch.setattr(fidelity, "BLOCK", 7)

    assert distances(found, measured) == whole


@pytest.mark.parametrize("block", [7, slices.BLOCK])
@pytest.mark.parametrize("power", [-980, -660, -500, -400, -330, 330, 400, 500, 660, 1000])
def test_outputs_of_any_size_are_judged_like_those_around_one(monkeypatch, power, block):
    monkeypatch.setattr(slices, "BLOCK", block)
    expected, found = RNG.normal(size=(64, 10)), RNG.normal(0, 1e-6, (64, 10))
    expected[5] = 0.0
    moved = [RNG.normal(0, 1e-6, (64, 10)) for _ in range(8)]

    def times(unit):
        yardstick = noise_of(expected * unit, [(expected + one) * unit for one in moved])
        off = expected + found
        off[41] = expected[40]
        changed = [(expected + found) * unit, off * unit, expected * unit + 1e-3 * unit]
        return yardstick.rms() / unit, [distances(differences([expected * unit], [c]), yardstick) for c in changed]

    (size, scaled), (plain_size, plain) = times(2.0**power), times(1.0)

    assert size == pytest.approx(plain_size, rel=1e-6)
    for one, other in zip(scaled, plain, strict=True):
        for name in other:
            assert one[name].times == pytest.approx(other[name].times, rel=1e-6)


def test_noise_far_below_or_above_the_output_does_not_leave_the_range():
    expected = np.full((4, 10), 1e200)
    yardstick = noise_of(expected, [expected * (1 + 1e-15 * k) for k in range(8)])

    assert distances(differences([expected], [expected * (1 + 2e-15)]), yardstick)["spread"].times < 5
    assert distances(differences([expected], [expected + 1e197]), yardstick)["spread"].times > 1e4
    assert distances(differences([expected], [np.zeros((4, 10))]), yardstick)["spread"].times > 1e4
    zero = np.zeros((4, 10))
    silent = noise_of(zero, [zero] * 8)
    assert distances(differences([zero], [expected]), silent)["spread"].times > 1e10
    assert distances(differences([zero], [zero]), silent)["spread"].times == 0


def test_infinities_count_by_the_side_that_has_them():
    found = differences([np.array([1.0, np.inf, np.inf])], [np.array([np.nan, 1.0, np.inf])])

    assert (found.nonfinite, found.masked) == (1, 1)


def test_integer_outputs_may_differ_only_where_healthy_evaluations_do():
    made = Twin(({"y": np.array([1, 2, 3])},), {}, {"y": (np.array([True, True, False]),)})

    assert [m.value for m in measure(made, [{"y": np.array([1, 2, 9])}]) if m.metric == "twin_flips"] == [0]
    assert [m.value for m in measure(made, [{"y": np.array([1, 9, 9])}]) if m.metric == "twin_flips"] == [1]


def test_without_a_twin_the_budget_decides_alone_and_the_check_says_so_unless_it_is_required():
    measured = measure(Twin(refused="unsupported: Frobnicate is not known"), [])

    check = judge_fidelity(plan(), measured)[0]
    required = judge_fidelity(plan(fidelity=FidelityPlan(required=True)), measured)[0]

    assert (check.ok, required.ok) == (True, False)
    assert "Frobnicate" in check.reason


def test_slack_multiplies_the_limits():
    measured = [Measurement("y", "twin_spread", 3.0, {"members": 8.0, "noise_rms": 1e-4})]

    assert not judge_fidelity(plan("fp16"), measured)[0].ok
    assert judge_fidelity(plan("fp16", fidelity=FidelityPlan(slack=2.0)), measured)[0].ok


# --- through the steps of a worker, on real models ------------------------------------------------------------------


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Measures a net on onnxruntime-cpu with its outputs changed; gives the names of the checks that fail."""

    def measured(precision: str, model=None, change=None, **changes) -> list[str]:
        onnx.save(model or conv_net(), tmp_path / "m.onnx")
        made = plan(precision, source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 16}, **changes)
        named = replace(made.case, backend="onnxruntime-cpu")
        made = replace(made, case=named, latency=LatencyPlan(enabled=False))
        steps = Steps(tmp_path / "cache", tmp_path, lambda _: None)
        steps.reference(made, tmp_path / "reference")
        steps.twin(made, tmp_path / "twin")
        healthy = HostSession.infer
        if change:
            monkeypatch.setattr(HostSession, "infer", lambda self, feeds: change(healthy(self, feeds)))
        outcome = steps.measure(made, tmp_path / "reference", tmp_path / "twin", None)
        return [check.name for check in judge_fidelity(made, outcome.measurements) if not check.ok]

    return measured


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_healthy_backend_passes(case, precision):
    assert case(precision) == []


@pytest.mark.parametrize(("precision", "factor"), [("fp32", 1.0001), ("fp16", 1.02), ("int8", 1.1)])
def test_one_output_channel_a_little_off_fails_though_the_budget_allows_it(case, precision, factor):
    channels = np.array([factor, *[1.0] * 9], np.float32)

    assert "logits/twin_slice" in case(precision, change=lambda outputs: {"logits": outputs["logits"] * channels})


def test_a_lost_output_row_fails_by_its_shape(case):
    assert case("fp16", change=lambda outputs: {"logits": outputs["logits"][1:]}) == ["logits/twin_shapes"]


def test_an_attention_block_passes_in_halves(case, tmp_path):
    assert case("fp16", attention()) == []


def test_random_inputs_are_drawn_until_there_are_enough_samples(case, tmp_path):
    assert case("fp16", fidelity=FidelityPlan(samples=40)) == []

    made, about = twin_files.kept(tmp_path / "twin")
    assert [len(batch["logits"]) for batch in made.outputs] == [16, 16, 16]
    assert about["inputs"]


def test_a_kept_twin_is_the_one_that_was_made(tmp_path):
    outputs = [{"a": RNG.normal(size=(3, 4)).astype(np.float32), "b": RNG.normal(size=5).astype(np.float32)}]
    sizes = {"a": {WHOLE: 1, 0: 3, 1: 4}, "b": {WHOLE: 1, 0: 5}}
    noises = {
        name: Noise(
            4, *({axis: RNG.random(size) for axis, size in axes.items()} for _ in range(3)), 0.5, fine=False, unit=2.0
        )
        for name, axes in sizes.items()
    }

    twin_files.keep(tmp_path, Twin(outputs, noises, notes=("said",)))
    found, _ = twin_files.kept(tmp_path)

    assert found.notes == ("said",)
    np.testing.assert_equal(found.outputs, outputs)
    np.testing.assert_equal(
        {name: vars(one) for name, one in found.noise.items()}, {n: vars(o) for n, o in noises.items()}
    )


def test_a_twin_that_could_not_be_made_is_told_with_its_reason(case, tmp_path):
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / REFUSED).write_text("timeout: the twin took longer than 600 s")

    assert twin_files.kept(Path(tmp_path / "refused"))[0].refused == "timeout: the twin took longer than 600 s"


def test_the_fp32_budget_of_an_ill_conditioned_model_grows_with_its_noise(tmp_path):
    cancelling = graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Add", ["a", "big"], ["b"]),
            helper.make_node("Sub", ["b", "big"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["n", 8])},
        {"y": (TensorProto.FLOAT, ["n", 4])},
        {"w": RNG.normal(size=(8, 4)).astype(np.float32), "big": np.float32(1e4)},
    )
    onnx.save(cancelling, tmp_path / "m.onnx")
    made = plan("fp32", source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 16})
    Steps(tmp_path / "cache", tmp_path, lambda _: None).twin(made, tmp_path / "twin")
    expected = run(cancelling, x=RNG.normal(size=(16, 8)).astype(np.float32))
    rounded = {"y": expected["y"] + np.float32(1e-3)}  # one unit in the last place of 1e4

    def fails(conditioning):
        checks = judge_outputs(made, compare(made, [expected], [rounded], conditioning))
        return [check.name for check in checks if not check.ok]

    assert "y/tolerance" in fails({})
    assert fails(twin_files.noise_rms(tmp_path / "twin")) == []


def test_an_error_to_one_side_that_is_small_beside_the_spread_is_no_drift_however_many_samples():
    expected, measured = yardstick((16384, 4))
    cut = expected + RNG.normal(0, 1e-3, expected.shape) + 0.3e-3

    assert distances(differences([expected], [cut]), measured)["drift"].times < 9


def test_the_headline_of_a_case_without_a_twin_says_that_fidelity_was_not_checked(tmp_path):
    onnx.save(conv_net(), tmp_path / "m.onnx")
    made = plan("fp32", source=Source("file", str(tmp_path / "m.onnx")), latency=LatencyPlan(enabled=False))
    equal = {"logits": np.ones((4, 10), np.float32)}
    outcome = Outcome(measurements=compare(made, [equal], [equal]) + measure(Twin(refused="timeout: 600 s"), []))

    assert judge(made, outcome, known=False).headline.endswith("; fidelity was not checked: timeout: 600 s")


class Ticking:
    """Runs of ONNX Runtime in which every batch costs a number of seconds of its own, by its first element."""

    def __init__(self, costs):
        self.costs, self.now_s, self.runs = costs, 0.0, []

    def clock(self):
        return self.now_s

    def open(self, artefact, spec):
        session = Cpu().open(artefact, spec)
        healthy = session.infer

        def infer(feeds):
            batch = int(feeds["x"].flat[0])
            self.now_s += self.costs[batch]
            self.runs.append((Path(artefact.path).stem, batch))
            return healthy(feeds)

        session.infer = infer
        return session


@pytest.mark.parametrize(
    ("costs", "budget_s", "batches", "members"),
    [
        ([1, 1, 1, 1], 100, 4, 8),
        ([1, 1, 1, 1], 30, 3, 8),
        ([1, 1, 10, 10], 40, 3, 3),  # the third was not known to be slow; the fourth is, so it does not begin
        ([20, 20], 40, 1, 3),
    ],
)
def test_the_twin_begins_no_batch_and_no_evaluation_that_would_exceed_its_budget(
    tmp_path, costs, budget_s, batches, members
):
    relu = [helper.make_node("Mul", ["x", "x"], ["y"])]
    onnx.save(graph(relu, {"x": (TensorProto.FLOAT, ["n"])}, {"y": (TensorProto.FLOAT, ["n"])}), tmp_path / "m.onnx")
    spec = BuildSpec("s/m", tmp_path / "m.onnx", "fp32", None, {"x": "float32", "y": "float32"}, {})
    feeds = [{"x": np.full(4, number, np.float32)} for number in range(len(costs))]
    slow = Ticking(costs)

    made = evaluate(slow, spec, feeds, FidelityPlan(budget_s=budget_s), clock=slow.clock)

    assert len(made.outputs) == batches
    assert made.noise["y"].members == members
    assert any("batches: more would take over" in note for note in made.notes) == (batches < len(costs))
    assert any("evaluations: more would take over" in note for note in made.notes) == (members < 8)


def test_branches_that_use_one_name_for_tensors_of_several_types_have_a_twin(tmp_path):
    node, value = helper.make_node, helper.make_tensor_value_info
    rounds = [
        node("Cast", ["x"], ["t"], to=TensorProto.FLOAT16),
        node("Mul", ["t", "t"], ["u"]),
        node("Cast", ["u"], ["out"], to=TensorProto.FLOAT),
    ]
    squares = [node("Identity", ["x"], ["t"]), node("Mul", ["t", "t"], ["out"])]
    branches = {
        f"{name}_branch": helper.make_graph(body, name, [], [value("out", TensorProto.FLOAT, ["n"])])
        for name, body in (("then", rounds), ("else", squares))
    }
    made = graph(
        [node("If", ["yes"], ["y"], **branches)],
        {"x": (TensorProto.FLOAT, ["n"]), "yes": (TensorProto.BOOL, [])},
        {"y": (TensorProto.FLOAT, ["n"])},
    )
    x = RNG.normal(size=8).astype(np.float32)

    half, whole = (run(twin(loaded(made, tmp_path), "fp16"), x=x, yes=np.array(b))["y"] for b in (True, False))
    noisy = run(twin(loaded(made, tmp_path), "fp16", noise=1.0), x=x, yes=np.array(True))["y"]

    assert np.array_equal(half, np.square(x.astype(np.float16)).astype(np.float32))
    assert np.array_equal(whole, x * x)
    assert 0 < np.max(np.abs(noisy - half)) < 0.01


@pytest.mark.parametrize("sizes", [["n", 4, 96, 96], ["n", 4, "h", "w"]])
def test_a_mean_over_a_large_map_may_err_as_its_many_additions_do(tmp_path, sizes):
    """The mean of thousands of positive numbers, added up one after the other as ONNX Runtime's kernel does it."""
    made = graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["y"])],
        {"x": (TensorProto.FLOAT, sizes)},
        {"y": (TensorProto.FLOAT, ["n", 4, 1, 1])},
    )
    onnx.save(made, tmp_path / "model.onnx")
    x = np.abs(RNG.normal(1, 1, (16, 4, 96, 96))).astype(np.float32)
    spec = BuildSpec("t", tmp_path / "model.onnx", "fp32", {}, {"x": "float32", "y": "float32"}, {})
    found = evaluate(Cpu(), spec, [{"x": x}], FidelityPlan())

    exact = x.astype(np.float64).mean((2, 3), keepdims=True)
    lanes = np.add.accumulate(x.reshape(16, 4, -1, 8), axis=2, dtype=np.float32)[:, :, -1].sum(-1, dtype=np.float32)
    for healthy in (exact.astype(np.float32), (lanes / np.float32(96 * 96)).reshape(16, 4, 1, 1)):
        checks = judge_fidelity(plan(), measure(found, [{"y": healthy}]))
        assert [check.name for check in checks if not check.ok] == []
    wrong = {"y": (exact * 1.001).astype(np.float32)}
    assert [check.name for check in judge_fidelity(plan(), measure(found, [wrong])) if not check.ok]
