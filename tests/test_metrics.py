"""Metrics: each in numbers that can be checked by hand, and all of them on whatever hypothesis finds."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.errors import InputError
from harness.metrics import LIMITS, LOWER_TASKS, METRICS, SETTINGS, TASK_SETTINGS, TASKS, pieces
from harness.metrics.base import OF
from harness.metrics.compare import compare
from harness.metrics.elementwise import Allowance, mismatches
from harness.metrics.passes import Asked, whole
from harness.metrics.task import top1
from harness.metrics.ulp import steps
from plans import plan

REFERENCE = np.array([[3.0, -4.0, 0.0], [1.0, 2.0, 2.0]])
CANDIDATE = np.array([[3.0, -4.0, 0.5], [1.0, 2.5, 2.0]])
EXPECTED = {
    "max_abs": 0.5,
    "mean_abs": 1 / 6,
    "max_rel": 1.0,
    "rmse_rel": math.sqrt(0.5 / 34),
    "cosine": (9 + 16 + 1 + 5 + 4) / math.sqrt(34 * (25.25 + 11.25)),
    "sqnr_db": 10 * math.log10(34 / 0.5),
    "psnr_db": 10 * math.log10(16 / (0.5 / 6)),
    "ulp": 4602678819172646912.0,
    "argmax_agreement": 1.0,
    "topk_agreement": 1.0,
    "argmax_agreement_raw": 1.0,
    "mean_rel": 1.2 / 6,
    "rmse": math.sqrt(0.5 / 6),
    "p50_abs": 0.0,
    "p50_rel": 0.0,
    "p99_abs": 0.5 * (1 + 65535 / 2**23),  # the upper end of its bin
    "p99_rel": 1 + 65535 / 2**23,
    "kl_nats": math.nan,  # no probabilities
}
SPECIAL = {
    "kl_nats": ([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], 0.5 * math.log(4 / 3) / 2),
    "embedding_cosine": ([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, 9.0]], (math.sqrt(0.5) + 1) / 2),
    "mask_iou": (np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), (1 / 2 + 1 / 2 + 1) / 3),
    "box_iou": ([[[0, 0, 2, 2], [5, 5, 6, 6]]], [[[5, 5, 6, 6], [1, 0, 3, 2]]], (1 / 3 + 1) / 2),
}
"""What only makes sense for certain outputs: reference, candidate, and the number."""
FINITE = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))


def moments(*pairs, allowance=None):
    return whole(pairs, Asked((), {}, allowance))[0]


def measured(name, reference, candidate, **limits):
    return whole([(reference, candidate)], Asked([METRICS.load(name)], limits, None))[1][0].value


def worst(reference, candidate, rule, atol, rtol):
    pair = np.array(reference, float), np.array(candidate, float)
    return moments(pair, allowance=Allowance(rule, atol, rtol)).worst.ratio


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_gives_the_number_worked_out_by_hand(name):
    if name in EXPECTED:
        assert measured(name, REFERENCE, CANDIDATE) == pytest.approx(EXPECTED[name], nan_ok=True)
    if name not in EXPECTED or name in SPECIAL:
        reference, candidate, expected = SPECIAL[name]
        assert measured(name, np.array(reference), np.array(candidate)) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_registered_under_its_own_name_with_a_direction(name):
    metric = METRICS.load(name)

    assert metric.name == name
    assert metric.better in ("lower", "higher")
    assert metric.of in OF
    assert metric.measure.__doc__


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_names_the_settings_that_are_limits(name):
    assert METRICS.load(name).settings == tuple(setting for setting, metrics in SETTINGS.items() if name in metrics)


@pytest.mark.parametrize("limit", LIMITS)
def test_every_limit_bounds_its_metric_on_the_bad_side(limit):
    metric = METRICS.load(LIMITS[limit].metric)

    assert LIMITS[limit].side == {"lower": "max", "higher": "min"}[metric.better]


@pytest.mark.parametrize("name", ["max_abs", "mean_abs", "max_rel", "rmse_rel", "cosine", "sqnr_db", "psnr_db"])
@given(values=FINITE)
def test_identical_values_are_perfect(name, values):
    perfect = {"cosine": 1.0, "sqnr_db": 313.07, "psnr_db": 313.07}.get(name, 0.0)

    assert measured(name, values, values.copy()) == pytest.approx(perfect, abs=0.01)


@pytest.mark.parametrize("name", ["max_abs", "mean_abs", "max_rel", "rmse_rel"])
@given(values=FINITE)
def test_errors_are_never_negative_or_nan(name, values):
    value = measured(name, values, values[::-1])

    assert value >= 0


def test_relative_error_is_safe_at_zero():
    assert measured("max_rel", np.zeros(3), np.zeros(3)) == 0
    assert measured("max_rel", np.zeros(3), np.array([0, 0, 1e-30])) == 1


def test_ulp_counts_representable_steps_across_zero():
    tiny = np.float32(1e-45)  # the smallest subnormal
    reference = np.array([1.0, tiny, 0.0], np.float32)
    candidate = np.array([np.nextafter(np.float32(1), np.float32(2)), -tiny, -0.0], np.float32)

    assert [measured("ulp", reference[i : i + 1], candidate[i : i + 1]) for i in range(3)] == [1, 2, 0]


def test_topk_agreement_counts_shared_members():
    reference, candidate = np.array([[5.0, 4.0, 3.0, 0.0]]), np.array([[5.0, 0.0, 3.0, 4.0]])

    assert measured("topk_agreement", reference, candidate, topk=2) == 0.5


@pytest.mark.parametrize(("rule", "ratio"), [("sum", 0.1 / 0.2), ("either", 0.1 / 0.1)])
def test_the_two_tolerance_rules_differ_as_named(rule, ratio):
    assert worst([1.0], [1.1], rule, 0.1, 0.1) == pytest.approx(ratio)


def test_the_sum_rule_is_numpys():
    rng = np.random.default_rng(0)
    for scale in (1e-9, 1e-5, 1e-2):
        r = rng.normal(size=50)
        c = r + rng.normal(size=50) * scale
        assert (worst(r, c, "sum", 1e-5, 1e-4) <= 1) == np.allclose(c, r, atol=1e-5, rtol=1e-4)


def agreement(name, reference, candidate, noise_share=1.0, **limits):
    pair = np.array(reference, np.float32), np.array(candidate, np.float32)
    return whole([pair], Asked([METRICS.load(name)], limits, None, noise_share))[1][0]


NEAR_TIE = [[1.0, 0.999, -1.0], [3.0, 1.0, 0.0]], [[0.999, 1.001, -1.0], [3.0, 1.0, 0.0]]


@pytest.mark.parametrize(("name", "limits"), [("argmax_agreement", {}), ("topk_agreement", {"topk": 1})])
def test_classes_that_nearly_tie_in_the_reference_may_change_places(name, limits):
    assert agreement(name, *NEAR_TIE, **limits).value == 1.0
    assert agreement(name, *NEAR_TIE, **limits, margin=0.0005).value == 0.5
    assert agreement("argmax_agreement_raw", *NEAR_TIE).value == 0.5


def test_the_margin_is_told_beside_the_agreement():
    found = agreement("argmax_agreement", *NEAR_TIE)

    rms = math.sqrt((0.001**2 + 0.002**2) / 6)
    assert found.detail == f"classes at most {2 * rms:.3g} apart may change places"
    assert agreement("argmax_agreement", *NEAR_TIE, margin=0.25).settings == {"margin": 0.25}


def test_noise_beyond_what_the_precision_allows_excuses_no_change_of_classes():
    rng = np.random.default_rng(0)
    scores, garbage = rng.standard_normal((2, 500, 10))

    assert agreement("argmax_agreement", scores, garbage, noise_share=1e-4).value == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("offset", [0.0, 20.0, 1000.0])
def test_an_offset_of_all_classes_excuses_no_change_of_them(offset):
    scores = np.random.default_rng(0).standard_normal((500, 10)) + offset

    found = agreement("argmax_agreement", scores, np.roll(scores, 1, axis=0), noise_share=0.03)

    assert found.value == pytest.approx(0.1, abs=0.06)


def test_classes_that_are_masked_out_excuse_no_change_of_the_others():
    scores = np.random.default_rng(0).standard_normal((500, 10))
    scores[:, :2] = -np.inf

    found = agreement("argmax_agreement", scores, np.roll(scores, 1, axis=0), noise_share=0.03)

    assert found.value == pytest.approx(1 / 8, abs=0.06)


def test_one_bad_row_is_not_excused_by_its_own_error():
    scores = np.tile([5.0, 1.0, 0.0], (100, 1))
    broken = scores + 1e-3
    broken[7] = [1.0, 5.0, 0.0]

    assert agreement("argmax_agreement", scores, broken).value == 0.99


def test_kl_divergence_exists_for_probabilities_only():
    rows = np.array([[0.5, 0.5]], np.float32)

    assert measured("kl_nats", rows, np.array([[1.0, 0.0]], np.float32)) == math.inf
    for none in ([[-0.5, 1.5]], [[0.5, 0.4]]):
        assert math.isnan(measured("kl_nats", rows, np.array(none, np.float32)))


def test_masks_overlap_class_by_class():
    mask = np.array([True, True, False, False])

    assert measured("mask_iou", mask, mask) == 1
    assert measured("mask_iou", mask, ~mask) == 0
    assert measured("mask_iou", np.array([2**60, 1]), np.array([2**60 + 1, 1])) == pytest.approx(1 / 3)


def test_detections_match_in_any_order_and_only_once():
    rng = np.random.default_rng(0)
    corners = rng.random((3, 20, 2))
    boxes = np.concatenate([corners, corners + 0.1 + rng.random((3, 20, 2)), rng.random((3, 20, 1))], axis=2)
    twice = boxes.copy()
    twice[0, 1:] = twice[0, 0]

    assert measured("box_iou", boxes, boxes[:, ::-1]) == 1
    assert measured("box_iou", twice, boxes) < 1
    assert measured("box_iou", np.zeros((1, 3, 4)), np.zeros((1, 3, 4))) == 1


def test_padding_is_no_box_that_agrees():
    reference, candidate = np.zeros((2, 1, 100, 4))
    reference[0, 0], candidate[0, 0] = [0, 0, 2, 2], [1, 0, 3, 2]

    assert measured("box_iou", reference, candidate) == pytest.approx(1 / 3)


def test_a_box_too_many_counts_as_one_that_is_missed():
    boxes = np.zeros((1, 10, 4))
    boxes[0, :3] = [[0, 0, 2, 2], [5, 5, 6, 6], [8, 8, 9, 9]]
    more = boxes.copy()
    more[0, 3] = [20, 20, 21, 21]

    assert measured("box_iou", boxes, more) == 3 / 4
    assert measured("box_iou", more, boxes) == 3 / 4
    assert measured("box_iou", np.zeros((1, 10, 4)), more) == 0


def test_a_box_that_overlaps_none_takes_no_partner_from_another():
    reference = np.array([[[30, 30, 31, 31], [0, 0, 1, 1]]])

    assert measured("box_iou", reference, np.array([[[0, 0, 1, 1], [0, 0, 0, 0]]])) == 1 / 2


def test_corners_in_another_order_are_still_compared():
    boxes = np.array([[[5.0, 5.0, 2.0, 2.0]]])

    assert measured("box_iou", boxes, boxes) == 1
    assert measured("box_iou", boxes, boxes + 1) == 0


def test_a_quantile_is_at_most_0_8_percent_above_the_true_one():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(100_000, dtype=np.float32)
    candidate = reference + rng.standard_normal(100_000, dtype=np.float32) ** 3
    errors = np.abs(candidate - reference)

    for name, share in (("p50_abs", 0.5), ("p99_abs", 0.99)):
        true = np.quantile(errors, share, method="inverted_cdf")
        assert true <= measured(name, reference, candidate) <= true * 1.008


@pytest.mark.parametrize("limit", ["kl_max_nats", "mask_iou_min", "box_iou_min", "p99_abs_max"])
def test_metrics_of_few_outputs_are_measured_only_when_a_limit_names_them(limit):
    name, values = LIMITS[limit].metric, np.full((1, 2, 4), 0.25)
    if limit == "mask_iou_min":
        values = values.astype(np.int64)
    asked = plan(output_limits={"y": {limit: 0.5}})

    assert name not in {m.metric for m in compare(plan(), [{"y": values}], [{"y": values}])}
    assert name in {m.metric for m in compare(asked, [{"y": values}], [{"y": values}])}


def test_zero_tolerance_passes_only_what_is_equal():
    assert worst([1, 1], [1, 1], "sum", 0, 0) == 0
    assert worst([1, 1], [1, 1 + 1e-15], "sum", 0, 0) == math.inf


def test_mismatches_take_nan_as_equal_to_nan():
    assert mismatches(np.array([np.nan, 1.0]), np.array([np.nan, 2.0])) == 1


def test_top1_needs_as_many_labels_as_rows():
    assert top1(np.eye(3), np.array([0, 1, 0])) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="3 rows of outputs and 2 labels"):
        top1(np.eye(3), np.array([0, 1]))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_metric_is_registered_under_its_own_name(name):
    assert TASKS.load(name).name == name


@pytest.mark.parametrize("name", TASKS)
def test_what_suites_are_told_of_a_task_metric_is_what_it_is(name):
    metric = TASKS.load(name)

    assert (metric.better == "lower") == (name in LOWER_TASKS)
    assert set(metric.settings) - {"lengths"} == set(TASK_SETTINGS.get(name, ()))


def plainly(reference, candidate, allowance):
    """What the metrics are by their formulas, over whole float64 arrays."""
    r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    d, scale = np.abs(c - r), np.maximum(np.abs(r), np.abs(c))
    allowed = allowance.atol + allowance.rtol * np.abs(r)
    return {
        "max_abs": d.max(),
        "mean_abs": d.mean(),
        "max_rel": (d / np.where(scale == 0, 1, scale)).max(),
        "rmse_rel": math.sqrt((d**2).sum() / (r**2).sum()),
        "sqnr_db": 10 * math.log10((r**2).sum() / (d**2).sum()),
        "psnr_db": 10 * math.log10((r**2).max() / (d**2).mean()),
        "tolerance_ratio": (d / allowed).max(),
    }, float(np.clip(1 - (r @ c) / math.sqrt((r @ r) * (c @ c)), 0, 2))


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 20_000),
    unit=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
    noise=st.sampled_from([1e-6, 1e-3, 1.0]),
    shape=st.sampled_from(["normal", "constant", "skewed"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_measuring_in_pieces_agrees_with_the_formulas_in_float64(seed, size, unit, noise, shape, dtype):
    rng = np.random.default_rng(seed)
    values = {
        "normal": rng.standard_normal(size),
        "constant": np.full(size, 0.1),
        "skewed": rng.standard_normal(size) ** 9,
    }
    reference = (values[shape] * unit).astype(dtype)
    candidate = (reference * (1 + noise * (0.5 + rng.random(size)))).astype(dtype)
    assume((reference != candidate).any())  # noise may round away
    allowance = Allowance("sum", 1e-3 * unit, 1e-3)
    expected, off = plainly(reference, candidate, allowance)

    found = {name: measured(name, reference, candidate) for name in expected if name in METRICS}
    found["tolerance_ratio"] = moments((reference, candidate), allowance=allowance).worst.ratio

    decibels = [(found.pop(name), expected.pop(name)) for name in ("sqnr_db", "psnr_db")]
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(one == pytest.approx(other, abs=1e-4) for one, other in decibels)
    near = 1e-6 * expected["rmse_rel"] ** 2 + 1e-14  # parallel vectors: what is left is rounding
    assert 1 - measured("cosine", reference, candidate) == pytest.approx(off, rel=1e-5, abs=near)


STEPS = [
    *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn),
    *(ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz),
]


@pytest.mark.parametrize("dtype", STEPS, ids=lambda dtype: np.dtype(dtype).name)
@given(bits=arrays.arrays(np.uint64, st.integers(1, 40)))
def test_steps_are_the_same_whether_counted_fast_or_carefully(dtype, bits):
    values = bits.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        values[~np.isfinite(values)] = 1
    other = values[::-1].copy()

    assert measured("ulp", values, other) == steps(values, other)


def test_outputs_of_many_pieces_are_measured_as_of_one(monkeypatch):
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((rows, 3, 5), dtype=np.float32) for rows in (1, 2, 40, 1, 1, 3)]
    pairs = [(batch, batch + rng.standard_normal(batch.shape).astype(np.float32) / 10) for batch in batches]
    allowance = Allowance("sum", 0.01, 0.01)
    metrics = [METRICS.load(name) for name in METRICS if name != "kl_nats"]  # of these it is NaN
    joined = tuple(np.concatenate(side) for side in zip(*pairs, strict=True))
    one, expected = whole([joined], Asked(metrics, {}, allowance))
    monkeypatch.setattr(pieces, "PIECE", 40)

    several, found = whole(pairs, Asked(metrics, {}, allowance))

    assert [value.value for value in found] == pytest.approx([value.value for value in expected])
    assert (several.worst, several.beyond, several.finite) == (one.worst, one.beyond, one.finite)


def test_a_transposed_output_is_compared_element_by_element():
    reference = np.arange(12, dtype=np.float32).reshape(3, 4)
    candidate = np.asfortranarray(reference)
    candidate[2, 1] += 1

    assert moments((reference, candidate)).max_abs == 1
    assert moments((reference, candidate), allowance=Allowance("sum", 0.1, 0)).worst.index == 9


def test_cosine_of_outputs_that_hardly_differ_is_no_larger_than_1():
    values = np.random.default_rng(0).standard_normal(1000, dtype=np.float32)

    assert measured("cosine", values, np.nextafter(values, np.float32(9))) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_64_bit_integers_are_subtracted_before_they_are_rounded(dtype):
    top = np.iinfo(dtype).max
    reference, candidate = np.array([2**60, top, 5], dtype), np.array([2**60 + 1, top - 2, 5], dtype)

    found = moments((reference, candidate), allowance=Allowance("sum", 1, 0))

    assert (found.max_abs, found.error, found.worst.ratio, found.beyond) == (2, 3, 2, 1)
