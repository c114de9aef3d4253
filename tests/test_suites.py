"""Suites: what a valid file becomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.codec import decode, encode
from harness.errors import UsageError
from harness.records import Calibration, InputSpec, LatencyPlan, Plan, Reference, Source, Task
from harness.suites import is_suite, load

SHA = "9b1c" * 16


def write(folder: Path, text: str, *files: str, name: str = "suite.yaml") -> Path:
    """A suite file with (empty) files beside it."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def plans_of(folder: Path, model: str, *files: str, head: str = "") -> list[Plan]:
    """The plans of a suite with one model; `model` is a flow mapping without name and source."""
    text = f"suite: s\n{head}models:\n  - {{name: m, source: m.onnx{', ' if model else ''}{model}}}\n"
    return load([write(folder, text, "m.onnx", *files)])


def ids(plans: list[Plan]) -> list[str]:
    return [plan.case.id for plan in plans]


def test_a_model_without_more_is_one_static_fp32_case_on_the_cpu(tmp_path: Path) -> None:
    (plan,) = plans_of(tmp_path, "")
    assert plan.case.id == "s/m/onnxruntime-cpu/fp32/static"
    assert plan.source == Source("file", str(tmp_path / "m.onnx"))
    assert plan.reference == Reference("backend", "onnxruntime-cpu", "fp32")
    assert plan.latency == LatencyPlan(regression=None)
    assert (plan.dimensions, plan.shapes, plan.profile, plan.limits) == ({}, (), None, {})


def test_cases_are_models_by_backends_by_precisions_by_shapes(tmp_path: Path) -> None:
    plans = plans_of(
        tmp_path, "backends: [onnxruntime-cpu, fake], precisions: [fp32, fp16], shapes: [{n: 1}, {n: 64, seq: 128}]"
    )
    assert ids(plans) == [
        f"s/m/{backend}/{precision}/{shape}"
        for backend in ("onnxruntime-cpu", "fake")
        for precision in ("fp32", "fp16")
        for shape in ("n-1", "n-64.seq-128")
    ]


def test_dimensions_stand_in_the_order_of_their_first_appearance(tmp_path: Path) -> None:
    plans = plans_of(tmp_path, "shapes: [{seq: 8}, {n: 2, seq: 4}]")
    assert [plan.case.shape for plan in plans] == ["seq-8", "seq-4.n-2"]


def test_every_plan_knows_all_shapes_of_its_model(tmp_path: Path) -> None:
    plans = plans_of(tmp_path, "shapes: [{n: 1}, {n: 64}]")
    assert [plan.dimensions for plan in plans] == [{"n": 1}, {"n": 64}]
    assert {plan.shapes[1]["n"] for plan in plans} == {64}


def test_a_plan_survives_json(tmp_path: Path) -> None:
    model = "shapes: [{n: 2}], inputs: {x: {integers: [0, 9]}}, accuracy: {exact: true, rule: either, topk: 3}"
    (plan,) = plans_of(tmp_path, model)
    assert decode(Plan, encode(plan)) == plan


def test_tags_of_suite_and_model_add_up(tmp_path: Path) -> None:
    (plan,) = plans_of(tmp_path, "tags: [fast, smoke]", head="tags: [smoke]\n")
    assert plan.case.tags == ("smoke", "fast")


def test_the_location_is_that_of_the_model_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "suite: s\nmodels:\n  - name: a\n    source: m.onnx\n  - name: b\n    source: m.onnx\n", "m.onnx")
    for given in (Path("suite.yaml"), tmp_path / "suite.yaml", Path()):
        locations = [plan.case.location for plan in load([given])]
        assert [(place.file, place.line, place.column) for place in locations] == [
            ("suite.yaml", 3, 5),
            ("suite.yaml", 5, 5),
        ]


def test_a_file_outside_the_working_folder_is_named_in_full(tmp_path: Path) -> None:
    (plan,) = plans_of(tmp_path, "")
    assert plan.case.location.file == str(tmp_path / "suite.yaml")


def test_defaults_merge_mappings_by_key_and_replace_lists(tmp_path: Path) -> None:
    (plan,) = plans_of(
        tmp_path,
        "precisions: [fp16], latency: {budget: {p50_ms: 1}}, accuracy: {outputs: {y: {rtol: 0.1}}}",
        head="defaults: {precisions: [fp32, bf16], latency: {floor_us: 9, budget: {p99_ms: 2}},"
        " accuracy: {outputs: {y: {atol: 0.2}}}}\n",
    )
    assert plan.case.precision == "fp16"
    assert plan.latency == LatencyPlan(floor_us=9, budget={"p50_ms": 1, "p99_ms": 2})
    assert plan.output_limits == {"y": {"atol": 0.2, "rtol": 0.1}}


def test_a_reference_of_another_kind_replaces_the_default_one(tmp_path: Path) -> None:
    head = "defaults: {reference: {backend: onnxruntime-cuda, precision: tf32}}\n"
    (plan,) = plans_of(tmp_path, "reference: {file: r.npz}", "r.npz", head=head)
    assert plan.reference == Reference("file", file=str(tmp_path / "r.npz"))


def test_a_reference_of_the_same_kind_merges(tmp_path: Path) -> None:
    head = "defaults: {reference: {backend: onnxruntime-cuda, precision: tf32}}\n"
    (plan,) = plans_of(tmp_path, "reference: {precision: fp32}", head=head)
    assert plan.reference == Reference("backend", "onnxruntime-cuda", "fp32")


def test_an_input_of_another_kind_replaces_the_default_one(tmp_path: Path) -> None:
    head = "defaults: {inputs: {x: {normal: [0, 1], seed: 7}}}\n"
    (plan,) = plans_of(tmp_path, "inputs: {x: {ones: true}}", head=head)
    assert plan.inputs == {"x": InputSpec("ones")}


def test_inputs_become_specs(tmp_path: Path) -> None:
    (plan,) = plans_of(
        tmp_path,
        "inputs: {a: {file: d.npz, key: k, slice: [0, null, 2]}, b: {normal: [0, 1], seed: 7},"
        " c: {integers: [0, 9]}, 495: {zeros: true}}",
        "d.npz",
    )
    assert plan.inputs == {
        "a": InputSpec("file", str(tmp_path / "d.npz"), "k", (0, None, 2)),
        "b": InputSpec("normal", range=(0, 1), seed=7),
        "c": InputSpec("integers", range=(0, 9)),
        "495": InputSpec("zeros"),
    }


def test_the_nearest_limit_wins_key_by_key(tmp_path: Path) -> None:
    fp16, fp32 = plans_of(
        tmp_path,
        "precisions: [fp16, fp32], accuracy: {atol: 1, rtol: 1, cosine_min: 0.1, max_abs: 1,"
        " fp16: {rtol: 2, cosine_min: 0.2, max_abs: 2},"
        " outputs: {y: {cosine_min: 0.3, max_abs: 3, fp16: {max_abs: 4}}, z: {fp16: {atol: 9}}}}",
    )
    general = {"atol": 1, "rtol": 2, "cosine_min": 0.2, "max_abs": 2}
    assert fp16.limits == general
    assert fp16.output_limits == {"y": {"cosine_min": 0.3, "max_abs": 4}, "z": {"atol": 9}}
    assert fp32.output_limits == {"y": {"cosine_min": 0.3, "max_abs": 3}}


def test_task_and_calibration_become_records(tmp_path: Path) -> None:
    (plan,) = plans_of(
        tmp_path,
        "int8: {calibration: {file: d.npz, key: x}}, accuracy: {task: {metric: top1, output: y,"
        " labels: {file: d.npz, key: t, slice: [0, 8]}, min: 0.9, max_drop: 0.01}}",
        "d.npz",
    )
    data = str(tmp_path / "d.npz")
    assert plan.calibration == Calibration(data, "x", 128)
    assert plan.task == Task("top1", "y", data, "t", (0, 8), 0.9, 0.01)
    assert plan.limits == {}


@pytest.mark.parametrize(("written", "share"), [("2%", 0.02), ("7%", 0.07), ("0.5 %", 0.005), ("0.02", 0.02)])
def test_regression_is_a_percentage_or_a_share(tmp_path: Path, written: str, share: float) -> None:
    (plan,) = plans_of(tmp_path, f"latency: {{regression: {written}}}")
    assert plan.latency.regression == share


def test_what_an_iteration_is_and_what_a_case_may_take_come_from_the_suite(tmp_path):
    (plan,) = plans_of(
        tmp_path,
        "latency: {transfers: true, cuda_graph: true, streams: 2, depth: 4}, resources: {engine_mib: 9, build_s: 60}",
    )

    assert plan.latency == LatencyPlan(transfers=True, cuda_graph=True, streams=2, depth=4)
    assert plan.resources == {"engine_mib": 9, "build_s": 60}


def test_a_plan_has_the_options_of_its_backend_only(tmp_path: Path) -> None:
    cpu, fake = plans_of(
        tmp_path,
        "backends: [onnxruntime-cpu, fake], options: {onnxruntime-cpu: {threads: 1}, fake: {script: f.yaml}}",
        "f.yaml",
    )
    assert (cpu.options, fake.options) == ({"threads": 1}, {"script": str(tmp_path / "f.yaml")})


def test_an_exclusion_gives_its_reason_to_the_cases_that_fit(tmp_path: Path) -> None:
    plans = plans_of(
        tmp_path,
        "precisions: [fp32, fp16], shapes: [{n: 1, s: 1}, {n: 2, s: 1}],"
        " exclude: [{precision: fp16, shape: {n: 2}, reason: too big}]",
    )
    assert [plan.excluded for plan in plans] == [None, None, None, "too big"]


def test_a_profile_fills_its_gaps_from_the_shapes(tmp_path: Path) -> None:
    plans = plans_of(tmp_path, "shapes: [{n: 4, s: 2}, {n: 1, s: 8}], profile: {n: [1, 4, 16]}")
    assert plans[0].profile == {"n": (1, 4, 16), "s": (2, 8, 8)}


def test_a_folder_with_stored_outputs_is_compared_with_them(tmp_path: Path) -> None:
    text = "suite: s\ndefaults: {reference: {precision: tf32}}\nmodels: [{name: m, source: add}]\n"
    (plan,) = load([write(tmp_path, text, "add/model.onnx", "add/test_data_set_0/input_0.pb")])
    assert plan.source == Source("folder", str(tmp_path / "add"))
    assert plan.reference == Reference("stored")


def test_the_reference_of_the_model_itself_goes_before_stored_outputs(tmp_path: Path) -> None:
    text = "suite: s\nmodels: [{name: m, source: add, reference: {precision: tf32}}]\n"
    (plan,) = load([write(tmp_path, text, "add/model.onnx", "add/test_data_set_0/input_0.pb")])
    assert plan.reference == Reference("backend", "onnxruntime-cpu", "tf32")


def test_an_address_needs_its_digest(tmp_path: Path) -> None:
    text = f"suite: s\nmodels: [{{name: m, source: 'https://example.org/m.onnx?x=1', sha256: {SHA}}}]\n"
    (plan,) = load([write(tmp_path, text)])
    assert plan.source == Source("url", "https://example.org/m.onnx?x=1", SHA)


def test_a_glob_takes_models_and_folders_with_a_model(tmp_path: Path) -> None:
    text = "suite: s\nmodels: [{name: m, source: 'zoo/*'}]\n"
    files = ("zoo/b.onnx", "zoo/a/model.onnx", "zoo/notes.txt", "zoo/empty/readme.md", "zoo/.hidden.onnx")
    plans = load([write(tmp_path, text, *files)])
    assert [(plan.case.model, plan.source.kind) for plan in plans] == [("m/a", "folder"), ("m/b", "file")]


def test_stems_that_collide_in_a_glob_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    text = "suite: s\nmodels: [{name: m, source: 'zoo/**/*.onnx'}]\n"
    plans = load([write(tmp_path, text, "zoo/a/model.onnx", "zoo/b/model.onnx", "zoo/c.onnx")])
    assert [(plan.case.model, plan.source.kind) for plan in plans] == [
        ("m/a/model", "file"),
        ("m/b/model", "file"),
        ("m/c", "file"),
    ]


def test_folders_are_searched_for_suites_in_order(tmp_path: Path) -> None:
    model = "models: [{name: m, source: m.onnx}]\n"
    write(tmp_path, f"suite: b\n{model}", "m.onnx", name="b.yaml")
    write(tmp_path, f"suite: a\n{model}", "a/m.onnx", name="a/a.yml")
    write(tmp_path, "jobs: {suite: x}\n", name="ci.yaml")
    write(tmp_path, "suite: hidden\n", name=".cache/c.yaml")
    assert [plan.case.suite for plan in load([tmp_path, tmp_path / "b.yaml"])] == ["b", "a"]


def test_the_root_is_the_project_around_the_suite(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    path = write(tmp_path, "suite: s\nmodels: [{name: m, source: ../m.onnx}]\n", "m.onnx", name="suites/s.yaml")
    assert load([path])[0].source.path == str(tmp_path / "m.onnx")


def test_scalars_follow_yaml_1_2(tmp_path: Path) -> None:
    (plan,) = plans_of(tmp_path, "tags: [no, on, 2024-01-01], accuracy: {atol: 1e-3}, shapes: [{n: 010}]")
    assert plan.case.tags == ("no", "on", "2024-01-01")
    assert (plan.limits["atol"], plan.dimensions["n"]) == (0.001, 10)


def test_an_anchor_may_be_used_again(tmp_path: Path) -> None:
    (plan,) = plans_of(tmp_path, "inputs: {a: &n {normal: [0, 1]}, b: *n}")
    assert plan.inputs["a"] == plan.inputs["b"]


def test_cases_share_what_they_have_in_common(tmp_path: Path) -> None:
    first, second = plans_of(tmp_path, "shapes: [{n: 1}, {n: 2}], inputs: {x: {ones: true}}")
    assert first.inputs is second.inputs
    assert first.limits is second.limits


@pytest.mark.parametrize("text", ["suite: s\n", "# c\n'suite' : s\n", "\ufeffsuite:\n  s\n"])
def test_a_top_level_suite_key_makes_a_suite(tmp_path: Path, text: str) -> None:
    assert is_suite(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "a:\n  suite: s\n", "suites: s\n", "# suite: s\n"])
def test_anything_else_is_no_suite(tmp_path: Path, text: str) -> None:
    assert not is_suite(write(tmp_path, text))


def test_no_path_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no suite given"):
        load([])


def test_loading_imports_no_runtime_and_no_array_library() -> None:
    heavy = {"numpy", "onnx", "onnxruntime", "tensorrt", "torch", "tensorflow"}
    code = f"import sys, harness.suites; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
