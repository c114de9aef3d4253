"""`shape_fuzz`: drawn shapes inside the profile, the same everywhere, each a case without latency."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from harness.store import read_run
from harness.suites import load
from harness.suites.fuzz import draw
from models import attention, conv_net
from toy import harness

WIDE = "shapes: [{n: 1}, {n: 8, seq: 4}], profile: {n: [1, 8, 64], seq: [1, 4, 128]}"


def plans(folder, model, suite="s"):
    (folder / "m.onnx").touch()
    (folder / "suite.yaml").write_text(f"suite: {suite}\nmodels:\n  - {{name: m, source: m.onnx, {model}}}\n")
    return load([folder / "suite.yaml"])


def drawn(found):
    return [dict(plan.dimensions) for plan in found if plan.fuzzed]


def test_each_drawn_shape_is_a_case_of_its_own_that_is_not_timed(tmp_path):
    found = plans(tmp_path, f"{WIDE}, shape_fuzz: 3, tags: [a], latency: {{budget: {{p50_ms: 1}}}}")

    fuzzed = [plan for plan in found if plan.fuzzed]
    assert len(found) == 5
    for plan in fuzzed:
        n, seq = plan.dimensions["n"], plan.dimensions["seq"]
        assert plan.case.id == f"s/m/onnxruntime-cpu/fp32/n-{n}.seq-{seq}"
        assert 1 <= n <= 64
        assert 1 <= seq <= 128
        assert plan.case.tags == ("a", "fuzz")
        assert (plan.latency.enabled, dict(plan.latency.budget), plan.task) == (False, {}, None)
        assert (plan.shapes, plan.profile) == (found[0].shapes, found[0].profile)
    assert found[0].latency.budget


def test_the_same_shapes_are_drawn_for_every_backend_and_precision_but_not_for_another_model(tmp_path):
    found = plans(tmp_path, f"{WIDE}, shape_fuzz: 4, backends: [onnxruntime-cpu, tensorrt], precisions: [fp32, fp16]")
    by_lane = {}
    for plan in found:
        if plan.fuzzed:
            by_lane.setdefault((plan.case.backend, plan.case.precision), []).append(plan.case.shape)

    assert len(by_lane) == 4
    assert len({tuple(shapes) for shapes in by_lane.values()}) == 1
    assert drawn(plans(tmp_path, f"{WIDE}, shape_fuzz: 4", suite="other")) != drawn(found)[:4]


def test_what_is_drawn_never_changes():
    assert draw("vision/digits", 3, [{"n": 1}], {"n": (1, 64)}) == [{"n": 31}, {"n": 32}, {"n": 46}]


def test_asking_for_more_keeps_what_was_drawn(tmp_path):
    few, many = (drawn(plans(tmp_path, f"{WIDE}, shape_fuzz: {count}")) for count in (2, 9))

    assert many[:2] == few
    assert len({tuple(shape.items()) for shape in many}) == 9


def test_without_a_profile_shapes_span_from_the_smallest_to_the_largest_listed_value(tmp_path):
    found = plans(tmp_path, "shapes: [{n: 2, seq: 16}, {n: 5, seq: 16}], shape_fuzz: 9")

    assert sorted(shape["n"] for shape in drawn(found)) == [3, 4]
    assert {shape["seq"] for shape in drawn(found)} == {16}
    assert found[0].notes == ("shape_fuzz: 2 of 9 shapes were drawn: shapes and profile span no more",)


@pytest.mark.parametrize("model", ["shapes: [{n: 4}]", "precisions: [fp32]", "profile: {n: [1, 1, 1]}"])
def test_where_nothing_varies_nothing_is_drawn_and_a_note_says_so(tmp_path, model):
    (plan,) = plans(tmp_path, f"{model}, shape_fuzz: 2")

    assert "0 of 2 shapes" in plan.notes[0]


def test_a_reference_from_a_file_leaves_nothing_to_draw(tmp_path):
    np.savez(tmp_path / "ref.npz", y=np.zeros(3))

    found = plans(tmp_path, f"{WIDE}, shape_fuzz: 2, reference: {{file: ref.npz}}")

    assert len(found) == 2
    assert "the file of the reference fixes the shapes" in found[0].notes[0]


def test_list_shows_the_drawn_shapes_and_k_selects_them(tmp_path, capsys):
    plans(tmp_path, f"{WIDE}, shape_fuzz: 2")

    assert harness(tmp_path, "list", tmp_path / "suite.yaml", "-k", "fuzz") == 0

    assert capsys.readouterr().out.count("s/m/onnxruntime-cpu/fp32/n-") == 2


def test_drawn_shapes_are_measured_and_judged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    plans(
        tmp_path, "shapes: [{n: 1, seq: 2}, {n: 3, seq: 9}], shape_fuzz: 3, precisions: [fp16], accuracy: {atol: 0.1}"
    )
    onnx.save(attention(), tmp_path / "m.onnx")

    assert harness(tmp_path, "run", "suite.yaml", "-o", "out", "-k", "fuzz") == 0

    records = read_run(tmp_path / "out").records
    assert [record.latency for record in records] == [None] * 3
    assert all("out/tolerance" in [check.name for check in record.checks] for record in records)


def test_rows_of_a_file_are_repeated_or_cut_to_a_drawn_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(10, 1, 8, 8)).astype(np.float32))
    plans(tmp_path, "shapes: [{n: 4}], profile: {n: [1, 4, 40]}, shape_fuzz: 3, inputs: {image: {file: x.npy}}")
    onnx.save(conv_net(), tmp_path / "m.onnx")

    assert harness(tmp_path, "run", "suite.yaml", "-o", "out", "-k", "fuzz", "--keep-outputs") == 0

    for record in read_run(tmp_path / "out").records:
        kept = tmp_path / "out/outputs" / record.case.id / "candidate"
        assert len(np.load(kept / "0-0.npy")) == int(record.case.shape.removeprefix("n-"))
        assert not list(kept.glob("1-*"))
