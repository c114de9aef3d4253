from __future__ import annotations

import math

import pytest

from builders import check, record
from harness.report import format as form
from harness.report.rows import row, used, worst


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, form.NONE),
        (math.nan, form.NONE),
        (0.0, "0"),
        (128.0, "128"),
        (0.0123456, "0.01235"),
        (3.1e-7, "3.1e-7"),
        (0.99991, "0.99991"),
        (0.9712, "0.9712"),
        (1234567.0, "1.235e6"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_have_four_digits_that_matter(value: float | None, text: str) -> None:
    assert form.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "12.30 µs"), (0.99999, "1.000 ms"), (1.2, "1.200 ms"), (12345.0, "12.3 s"), (None, form.NONE)],
)
def test_latencies_choose_the_unit_that_reads_best(value: float | None, text: str) -> None:
    assert form.milliseconds(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.031, "+3.1 %"), (0.9, "−10.0 %"), (1.0001, "0.0 %"), (3.0, "+200 %"), (None, form.NONE)],  # noqa: RUF001
)
def test_changes_are_signed_percent(ratio: float | None, text: str) -> None:
    assert form.change(ratio) == text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("build_s", 31.24, ("build", "31.2 s")),
        ("engine_bytes", 25_480_396.0, ("engine", "24.3 MiB")),
        ("device_mib", 212.0, ("device", "212 MiB")),
        ("first_infer_ms", 4.5, ("first infer", "4.500 ms")),
        ("throughput_per_s", 1902.7, ("throughput", "1903/s")),
        ("build_s", None, ("build", form.NONE)),
        ("streams", 2.0, ("streams", "2")),
    ],
)
def test_measures_read_their_unit_from_their_name(name: str, value: float | None, expected: tuple[str, str]) -> None:
    assert form.quantity(name, value) == expected


def test_times_are_shown_in_utc_and_anything_else_as_it_is() -> None:
    assert form.moment("2026-03-02T10:15:04+01:00") == "2026-03-02 09:15 UTC"
    assert form.moment("yesterday") == "yesterday"


def test_a_log_excerpt_is_its_end_and_says_what_is_missing() -> None:
    text = form.excerpt("\n".join(f"line {number}" for number in range(100)))
    assert text.startswith("[")
    assert "line 39\n" not in text
    assert text.endswith("line 99")


def test_the_worst_check_is_the_one_broken_by_most_or_nearest_to_its_limit() -> None:
    far, near = check("max_abs", 0.01, 0.1), check("cosine_min", 0.9991, 0.999)
    broken = check("rmse_rel_max", 0.3, 0.2, ok=False)
    assert worst([far, near]) == near
    assert worst([far, near, broken]) == broken
    assert worst([check("p50", question="latency")]) is None


def test_a_count_that_must_be_zero_and_is_is_not_near_its_limit() -> None:
    assert used(check("logits/nonfinite", 0.0, 0.0)) == 0


def test_a_check_without_a_value_never_looks_good() -> None:
    assert used(check(value=None, ok=False)) == math.inf


def test_the_ratio_is_taken_on_the_clock_that_decides() -> None:
    found = row(record())
    assert (found.clock, found.p50_ms, found.baseline_p50_ms) == ("gpu", 1.2, 1.19)
    assert row(record(status="new")).ratio is None
