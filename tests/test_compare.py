"""Comparing outputs: their structure, batches, and every type of element."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from harness.metrics.compare import compare
from plans import plan

DTYPES = [
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2),
    *(ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu, ml_dtypes.float4_e2m1fn),
    *(ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2, object),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_outputs_of_every_dtype_are_compared_and_a_difference_is_seen(dtype):
    two = 2 if dtype is ml_dtypes.float8_e8m0fnu else 0  # which has neither zero nor sign
    reference = np.array([[1, two, 1, 1]]).astype(np.float32).astype(dtype)
    if dtype is object:
        reference = np.array([["a", "b", "a", "a"]], dtype=object)
    candidate = reference.copy()
    candidate[0, 2] = candidate[0, 1]

    same = {m.metric: m.value for m in compare(plan(), [{"y": reference}], [{"y": reference.copy()}])}
    other = {m.metric: m.value for m in compare(plan(), [{"y": reference}], [{"y": candidate}])}

    decisive = "mismatches" if "mismatches" in same else "max_abs"
    assert same[decisive] == 0
    assert other[decisive] >= 0.5


FLOATS = [
    *("float16", "float32", "float64", "complex64", "complex128", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn),
    *(ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu),
]


def found(reference, candidate, **changes):
    return {m.metric: m.value for m in compare(plan(**changes), [{"y": reference}], [{"y": candidate}])}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: np.dtype(dtype).name)
def test_a_nan_is_seen_in_every_float_type(dtype):
    whole, broken = np.array([1, 2, 4], np.float32).astype(dtype), np.array([1, np.nan, 4]).astype(dtype)

    assert (found(whole, broken)["nonfinite"], found(broken, whole)["nonfinite"]) == (1, 1)
    assert (found(broken, broken)["nonfinite"], found(broken, broken)["max_abs"]) == (0, 0)
    assert found(broken[1:2], broken[1:2])["nothing_finite"] == (np.dtype(dtype).kind != "c")  # whose other half is 0


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "complex64", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
def test_an_infinity_is_the_same_only_with_the_same_sign(dtype):
    up, down = np.array([1, np.inf]).astype(dtype), np.array([1, -np.inf]).astype(dtype)

    assert (found(up, up)["nonfinite"], found(up, down)["nonfinite"], found(up, up[::-1])["nonfinite"]) == (0, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (2, 0, 3)])
def test_scalars_and_empty_tensors_of_every_type_agree_with_themselves(dtype, shape):
    values = np.ones(shape, np.float32).astype(dtype)
    measured = found(values, values.copy())

    assert measured.get("mismatches", 0) == 0
    assert measured.get("max_abs", 0) == 0
    assert measured.get("tolerance_ratio", 0) == 0


def test_a_scalar_that_differs_is_found_at_no_index():
    measured = compare(plan(), [{"y": np.array(1.0)}], [{"y": np.array(1.5)}])

    assert (
        next(m for m in measured if m.metric == "tolerance_ratio").detail == "worst element []: expected 1, found 1.5"
    )


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4, "int8", "uint8", "bool", "int64", "uint64"])
def test_whole_numbers_are_subtracted_without_wrapping_around(dtype):
    low, high = (0, 1) if dtype == "bool" else (ml_dtypes.iinfo(dtype).min, ml_dtypes.iinfo(dtype).max)
    reference, candidate = np.array([low, high], dtype), np.array([high, low], dtype)

    measured = found(reference, candidate, output_limits={"y": {"max_abs": 0}})

    assert measured["max_abs"] == float(int(high) - int(low))
    assert measured["mismatches"] == 2


def test_integers_beyond_2_to_the_53_are_equal_only_if_they_are():
    assert found(np.array([2**53, 7]), np.array([2**53 + 1, 7]))["mismatches"] == 1


def test_both_halves_of_a_complex_number_count():
    reference, candidate = np.array([[1 + 2j, 3j]], np.complex64), np.array([[1 + 2.5j, 3j]], np.complex64)
    measured = compare(plan(), [{"y": reference}], [{"y": candidate}])

    assert next(m for m in measured if m.metric == "max_abs").value == 0.5
    assert next(m for m in measured if m.metric == "tolerance_ratio").detail.startswith("worst element [0, 0]")


def test_a_nan_or_infinity_is_counted_unless_it_is_the_same_in_both():
    reference = np.array([1.0, np.nan, np.inf, -np.inf, 1.0], np.float32)
    candidate = np.array([np.nan, np.nan, np.inf, np.inf, 1.0], np.float32)

    found = {m.metric: m for m in compare(plan(), [{"y": reference}], [{"y": candidate}])}

    assert found["nonfinite"].value == 2
    assert found["nonfinite"].detail == "first at flat index 0: expected 1, found nan"


def test_batches_are_compared_as_one_tensor():
    reference = [{"y": np.ones((2, 3))}, {"y": np.full((1, 3), 2.0)}]
    candidate = [{"y": np.ones((2, 3))}, {"y": np.full((1, 3), 2.5)}]

    found = {m.metric: m for m in compare(plan(), reference, candidate)}

    assert found["max_abs"].value == 0.5
    assert found["tolerance_ratio"].detail == "worst element [2, 0]: expected 2, found 2.5"


def test_an_unequal_number_of_batches_is_measured():
    found = {m.metric: m.value for m in compare(plan(), [{"y": np.ones(2)}] * 3, [{"y": np.ones(2)}])}

    assert found["batches"] == 2


def test_empty_outputs_of_the_right_shape_agree():
    found = {m.metric: m.value for m in compare(plan(), [{"y": np.ones((0, 4))}], [{"y": np.ones((0, 4))}])}

    assert found["tolerance_ratio"] == 0
    assert found["cosine"] == 1


@pytest.mark.parametrize("power", [-1000, -660, -330, 330, 660, 1000])
def test_outputs_of_any_size_are_measured_like_those_around_one(power):
    rng = np.random.default_rng(0)
    reference, noise = rng.standard_normal((64, 10)), 1e-6 * rng.standard_normal((64, 10))
    unit = 2.0**power
    absolute = ("max_abs", "mean_abs", "rmse")

    plain, scaled = (found(reference * one, (reference + noise) * one, precision="fp32") for one in (1.0, unit))

    for name, value in plain.items():
        # at 2^-1000 the noise lies next to float64's smallest normal number, and is rounded there
        assert scaled[name] == pytest.approx(value * (unit if name in absolute else 1), rel=1e-3), name
