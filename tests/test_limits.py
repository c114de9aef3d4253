"""Limits: which of them hold for an output, and what a check that failed says would have passed."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from ruamel.yaml import YAML

from harness.judge import judge
from harness.judge.accuracy import changed_tolerances, conditioning, unmeasured
from harness.judge.passing import at_least, at_most
from harness.metrics import ELEMENTWISE, LIMITS
from harness.metrics.compare import compare
from harness.metrics.defaults import explicit_limits
from harness.records import Measurement, Outcome, Task
from harness.suites import load
from plans import plan

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((20, 10)).astype(np.float32)
NOISY = NORMAL + RNG.standard_normal((20, 10)).astype(np.float32) / 7
CHANCES = np.exp(NORMAL) / np.exp(NORMAL).sum(axis=1, keepdims=True)
NOISY_CHANCES = np.exp(NOISY) / np.exp(NOISY).sum(axis=1, keepdims=True)
LABELS, OTHER_LABELS = np.arange(30) % 4, np.arange(30) % 4 // 2
BOXES = np.concatenate([RNG.random((1, 5, 2)), 1 + RNG.random((1, 5, 2))], axis=2)
OUTPUTS = {
    "kl_max_nats": (CHANCES, NOISY_CHANCES),
    "mask_iou_min": (LABELS, OTHER_LABELS),
    "box_iou_min": (BOXES, BOXES + 0.3),
}
STRICT = {"min": 1.0, "max": 0.0}


def failed(limits, reference=NORMAL, candidate=NOISY, precision="fp32"):
    """The budget checks that fail."""
    asked = plan(precision, output_limits={"y": limits})
    measured = compare(asked, [{"y": reference}], [{"y": candidate}])
    verdict = judge(asked, Outcome(measurements=measured), known=False)
    return [check for check in verdict.checks if not check.ok]


def would_have_passed(reason):
    """The limits at the end of a reason, read as a suite file reads them."""
    words = re.search(r"; would pass at (.+?)( instead of exact)?$", reason)
    return YAML(typ="safe").load(f"{{{words[1]}}}")


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_that_fails_names_the_one_that_passes(name):
    strict = 400.0 if name.endswith("_db") else STRICT[LIMITS[name].side]
    outputs = OUTPUTS.get(name, (NORMAL, NOISY))
    settings = {"margin": 0} if "agreement_min" in name else {}

    (check,) = failed({name: strict, **settings}, *outputs)

    assert f"{check.value:.7g} {'<' if LIMITS[name].side == 'min' else '>'} {strict:.7g}; would pass at" in check.reason
    loose = would_have_passed(check.reason)
    assert list(loose) == [name]
    assert failed({**loose, **settings}, *outputs) == []


@pytest.mark.parametrize(
    "limits",
    [
        {"atol": 1e-3},
        {"rtol": 1e-3},
        {"atol": 1e-3, "rtol": 1e-2, "rule": "either"},
        {"atol": 0, "rtol": 0},
        {"atol": 1e-2, "mismatch_share_max": 0.1},
        {"exact": True},
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_element_wise_limits_that_fail_name_those_that_pass(limits, dtype):
    outputs = NORMAL.astype(dtype), NOISY.astype(dtype)

    (check,) = failed(limits, *outputs)

    kept = {} if check.name.endswith("exact") else {key: limits[key] for key in limits if key in ("atol", "rule")}
    assert failed({**kept, **would_have_passed(check.reason)}, *outputs) == []


def test_zeros_that_only_a_relative_limit_holds_for_would_pass_at_an_absolute_one():
    (check,) = failed({"rtol": 0.5}, np.zeros(3), np.full(3, 0.25))

    assert check.reason.startswith("the worst error is infinitely many times what")
    assert failed({"rtol": 0.5, **would_have_passed(check.reason)}, np.zeros(3), np.full(3, 0.25)) == []


def test_default_limits_that_fail_name_explicit_ones_that_pass():
    checks = failed({})

    assert {check.name for check in checks} == {"y/tolerance", "y/cosine_min"}
    assert all(failed(would_have_passed(check.reason)) == [] for check in checks)


def test_integers_that_differ_would_pass_at_a_share():
    (check,) = failed({}, LABELS, OTHER_LABELS)

    assert failed(would_have_passed(check.reason), LABELS, OTHER_LABELS) == []


def test_every_limit_on_elements_is_tried_above():
    assert set(ELEMENTWISE) == {"atol", "rtol", "rule", "mismatch_share_max", "exact"}


def test_a_task_that_fails_names_the_limits_that_pass():
    scores = (Measurement("y", "top1", 0.123456), Measurement("y", "top1_reference", 0.3))

    def checks(low, drop):
        asked = plan(task=Task("top1", "y", "labels.npz", min=low, max_drop=drop))
        return [check for check in judge(asked, Outcome(measurements=scores), known=False).checks if not check.ok]

    low, drop = (would_have_passed(check.reason) for check in checks(0.9, 0.01))
    assert checks(low["min"], drop["max_drop"]) == []


def test_a_task_that_is_better_when_lower_names_the_limits_that_pass():
    scores = (Measurement("y", "wer", 0.3), Measurement("y", "wer_reference", 0.123456))

    def checks(high, rise):
        asked = plan(task=Task("wer", "y", "labels.npz", max=high, max_rise=rise))
        return [check for check in judge(asked, Outcome(measurements=scores), known=False).checks if not check.ok]

    high, rise = (would_have_passed(check.reason) for check in checks(0.05, 0.01))
    assert checks(high["max"], rise["max_rise"]) == []


@pytest.mark.parametrize("value", [0.0, 0.993100001, 1e-12, 123456.789, 3e300, -0.123456789, 0.1 + 0.2, 1 - 1e-16])
def test_rounding_is_in_the_safe_direction(value):
    assert float(at_most(value)) >= value >= float(at_least(value))
    assert float(at_most(value)) == pytest.approx(value, rel=1e-4)
    assert len(at_most(value).lstrip("-0.").split("e")[0]) <= 6


def test_a_value_next_to_its_limit_is_told_apart_from_it():
    almost = np.array([1.0, 1.0 + 1e-9])

    (check,) = failed({"max_abs": 1e-9 * 0.999999999}, np.ones(2), almost)

    left, right = re.match(r"max_abs (\S+) > (\S+);", check.reason).groups()
    assert left != right


def limits_of(folder: Path, defaults: str, model: str, output: str, precision: str) -> dict[str, object]:
    (folder / "m.onnx").touch()
    path = folder / "suite.yaml"
    path.write_text(
        f"suite: s\ndefaults: {{precisions: [fp32, fp16], accuracy: {{{defaults}}}}}\n"
        f"models:\n  - {{name: m, source: m.onnx, accuracy: {{{model}}}}}\n"
    )
    asked = next(one for one in load([path]) if one.case.precision == precision)
    return dict(explicit_limits(asked, output, exact=False))


@pytest.mark.parametrize(
    ("defaults", "model", "expected"),
    [
        ("atol: 1", "", {"atol": 1}),
        ("atol: 1", "atol: 2", {"atol": 2}),
        ("atol: 1", "rtol: 2", {"atol": 1, "rtol": 2}),
        ("atol: 1", "fp16: {atol: 2}", {"atol": 2}),
        ("fp16: {atol: 1}", "atol: 2", {"atol": 1}),
        ("fp16: {atol: 1, rtol: 1}", "fp16: {atol: 2}", {"atol": 2, "rtol": 1}),
        ("outputs: {y: {atol: 1}}", "atol: 2", {"atol": 1}),
        ("outputs: {y: {atol: 1}}", "fp16: {atol: 2}", {"atol": 1}),
        ("outputs: {y: {atol: 1, rtol: 1}}", "outputs: {y: {atol: 2}}", {"atol": 2, "rtol": 1}),
        ("outputs: {y: {fp16: {atol: 1}}}", "outputs: {y: {atol: 2}}", {"atol": 1}),
        ("outputs: {y: {fp16: {atol: 1}}}", "outputs: {y: {fp16: {rtol: 2}}, z: {atol: 9}}", {"atol": 1, "rtol": 2}),
        ("outputs: {z: {atol: 1}}", "", {}),
        ("fp32: {atol: 1}", "", {}),
    ],
)
def test_the_nearest_limit_wins_key_by_key(tmp_path, defaults, model, expected):
    assert limits_of(tmp_path, defaults, model, "y", "fp16") == expected


def conditioned(conditioning_rms, error_rms, precision="fp32", limits=None):
    """The failed checks, and all measurements, of an output with an error where healthy evaluations differ so much."""
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(10_000)
    candidate = reference + rng.standard_normal(10_000) * error_rms
    asked = plan(precision, limits=limits or {})
    measured = compare(asked, [{"y": reference}], [{"y": candidate}], {"y": conditioning_rms})
    checks = judge(asked, Outcome(measurements=measured), known=False).checks
    return [check for check in checks if not check.ok], {m.metric: m for m in measured}


@pytest.mark.parametrize("precision", ["fp32", "as-is"])
def test_the_fp32_defaults_grow_with_the_conditioning(precision):
    assert conditioned(1e-9, 1e-3, precision)[0] != []
    failed, measured = conditioned(1e-3, 1e-3, precision)

    assert failed == []
    assert measured["conditioning_rms"].value == 1e-3
    assert measured["tolerance_ratio"].settings["atol"] == 0.032


def test_the_fp32_defaults_never_shrink():
    assert conditioned(1e-9, 1e-5)[0] == []


def test_cosine_is_relaxed_only_as_far_as_the_conditioning_says():
    assert conditioned(2e-3, 0.015)[0] == []
    failed, _ = conditioned(2e-3, 0.08)

    assert {check.name for check in failed} == {"y/tolerance", "y/cosine_min"}
    cosine = next(check for check in failed if check.name == "y/cosine_min")
    assert cosine.limit == pytest.approx(np.sqrt(1 - 0.064**2), rel=1e-3)
    assert "(0.9999, relaxed because healthy evaluations differ by 0.002 RMS); would pass at" in cosine.reason


def test_no_conditioning_excuses_an_output_that_is_all_wrong():
    failed, _ = conditioned(10.0, 5.0)

    assert [check.name for check in failed] == ["y/cosine_min"]


@pytest.mark.parametrize(("precision", "limits"), [("fp32", {"atol": 1e-4}), ("tf32", None)])
def test_conditioning_changes_neither_explicit_limits_nor_other_precisions(precision, limits):
    assert conditioned(1.0, 0.1, precision, limits)[0] != []


@pytest.mark.parametrize(
    ("limits", "lacks"),
    [
        ({"max_abs": 1}, False),
        ({"cosine_min": 0.5, "rmse_max": 1}, False),
        ({"p99_abs_max": 1}, True),
        ({"topk_agreement_min": 0.5}, False),
        ({"topk_agreement_min": 0.5, "topk": 3}, True),
        ({"argmax_agreement_min": 0.5, "margin": 0.1}, True),
    ],
)
def test_judging_again_needs_the_outputs_for_what_was_not_measured(limits, lacks):
    again = plan(output_limits={"y": limits})

    assert unmeasured(again, compare(plan(), [{"y": NORMAL}], [{"y": NOISY}])) == lacks
    assert not unmeasured(again, compare(again, [{"y": NORMAL}], [{"y": NOISY}]))


@pytest.mark.parametrize(
    ("dtype", "limits", "changed"),
    [
        ("float32", {"exact": True}, True),
        ("float32", {"max_abs": 1}, False),
        ("int64", {"max_abs": 1}, True),
        ("bool", {"max_abs": 0}, True),
        ("int64", {"mismatch_share_max": 0.5}, False),
        ("int64", {"exact": True}, False),
        ("object", {"max_abs": 1}, False),
    ],
)
def test_equality_of_floats_and_numbers_of_integers_are_measured_again_where_limits_ask(dtype, limits, changed):
    values = [{"y": np.zeros(4).astype(dtype)}]
    again = plan(output_limits={"y": limits})

    assert changed_tolerances(again, compare(plan(), values, values)) == (["y"] if changed else [])
    assert changed_tolerances(again, compare(again, values, values)) == []


def test_judging_again_knows_the_conditioning():
    measured = compare(plan(), [{"y": NORMAL}], [{"y": NOISY}], {"y": 0.25})

    assert conditioning(measured) == {"y": 0.25}
    assert changed_tolerances(plan(), measured) == []


@pytest.mark.parametrize(("dtype", "units"), [("float16", 2), (ml_dtypes.bfloat16, 2), ("float32", 800)])
def test_the_defaults_of_fp32_are_never_finer_than_two_units_of_the_output_s_type(dtype, units):
    reference = (1 + RNG.random((20, 10)) / 2).astype(dtype)
    step = float(ml_dtypes.finfo(reference.dtype).eps)
    asked = plan("fp32")

    def passes(times):
        moved = (reference.astype(np.float64) + times * step).astype(dtype)
        measured = compare(asked, [{"y": reference}], [{"y": moved}])
        return judge(asked, Outcome(measurements=measured), known=False).status != "failed"

    assert passes(units)
    assert not passes(6 * units)
