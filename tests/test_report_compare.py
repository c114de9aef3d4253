from __future__ import annotations

from dataclasses import replace

import pytest

from builders import check, environment, every_status, latency, record, run
from harness.records import BLOCKING, STATUSES, Record
from harness.report import Change, compare, compare_text


def one(before: Record, after: Record) -> Change:
    """The only change between two runs of one case."""
    (found,) = compare(run(before), run(after)).changes
    return found


def test_a_run_against_itself_has_no_changes() -> None:
    found = compare(every_status(), every_status())
    assert (found.changes, found.environments, found.worse) == ((), (), False)
    assert found.unchanged == len(STATUSES)


@pytest.mark.parametrize("status", sorted(BLOCKING))
def test_a_status_that_now_blocks_is_worse(status: str) -> None:
    assert one(record(), record(status=status)).worse


@pytest.mark.parametrize("status", sorted(set(STATUSES) - BLOCKING - {"skipped"}))
def test_a_status_that_no_longer_blocks_is_not_worse(status: str) -> None:
    assert not one(record(status="failed"), record(status=status)).worse


def test_a_case_that_vanished_is_worse() -> None:
    found = compare(run(record()), run())
    assert found.worse
    assert "vanished" in found.changes[0].words[0]


@pytest.mark.parametrize(
    ("command", "worse"),
    [
        ("harness run suites -k fp32", False),
        ("harness run suites -k 'not fp16'", False),
        ("harness run suites -k fp16", True),
        ("harness run suites", True),
        ("pytest suites -k fp32", False),
        ("pytest suites/vision.yaml::vision/m/fake/fp32/static", False),
        ("pytest suites", True),
    ],
)
def test_a_case_that_the_later_command_did_not_ask_for_is_counted_and_not_worse(command: str, worse: bool) -> None:
    other = record("vision/m/fake/fp32/static")

    found = compare(run(record(), other), replace(run(other), command=command))

    assert (found.worse, found.deselected) == (worse, int(not worse))
    assert ("1 not asked for in the later run" in compare_text(found)) == (not worse)


def test_a_skip_is_worse_only_where_the_case_was_measured() -> None:
    assert one(record(), record(status="skipped")).worse
    assert not compare(run(record(status="skipped")), run(record(status="skipped"))).worse


def test_a_new_case_is_told_and_not_worse() -> None:
    found = compare(run(), run(record(status="new")))
    assert not found.worse
    assert "only in the later run" in found.changes[0].words[0]


def test_latency_counts_only_where_the_intervals_lie_apart() -> None:
    before = record(latency=latency(1.0, spread=0.02))
    assert not compare(run(before), run(record(latency=latency(1.03, spread=0.02)))).changes
    assert "+10.0 %, slower" in one(before, record(latency=latency(1.1, spread=0.02))).words[0]
    assert "−10.0 %, faster" in one(before, record(latency=latency(0.9, spread=0.02))).words[0]  # noqa: RUF001


def test_times_of_different_clocks_are_not_compared() -> None:
    no_gpu = latency(decided_on="host")
    before = record(latency=type(no_gpu)(no_gpu.host, None, "host", {}))
    assert "another clock" in one(before, record()).words[0]


@pytest.mark.parametrize(
    ("name", "limit", "better", "worse"), [("cosine_min", 0.99, 0.9999, 0.995), ("max_abs", 0.1, 0.001, 0.05)]
)
def test_accuracy_is_told_in_the_direction_of_its_metric(name: str, limit: float, better: float, worse: float) -> None:
    good, bad = record(checks=(check(name, better, limit),)), record(checks=(check(name, worse, limit),))
    assert "got worse" in one(good, bad).words[0]
    assert not compare(run(bad), run(good)).changes


def test_a_measurement_that_is_gone_got_worse() -> None:
    gone = record(checks=(check(value=None, ok=False),))
    assert "got worse" in one(record(), gone).words[0]


def test_versions_that_differ_are_named() -> None:
    older = environment(versions={**environment().versions, "tensorrt": "10.9.0"})
    found = compare(run(environments={"main": older}), run())
    assert found.environments == ("tensorrt 10.9.0 → 10.13.3",)


def test_worse_cases_come_first() -> None:
    before = run(record("s/a/fake/fp32/static"), record("s/b/fake/fp32/static"))
    after = run(record("s/a/fake/fp32/static", "improved"), record("s/b/fake/fp32/static", "failed"))
    assert [change.id for change in compare(before, after).changes] == ["s/b/fake/fp32/static", "s/a/fake/fp32/static"]


def test_the_text_counts_and_cannot_move_the_cursor() -> None:
    text = compare_text(compare(run(record()), run(record(status="failed", headline="\x1b[2J\u202egone"))))
    assert text.endswith("1 worse, 0 otherwise changed, 0 unchanged")
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"server_per_s": 100.0}, ("server_per_s 200 → 100 (−50.0 %)",)),  # noqa: RUF001 - as it is printed
        ({"server_per_s": None}, ("server_per_s: was 200, is not measured any more",)),
        ({}, ("server_per_s: was 200, is not measured any more",)),
        ({"server_per_s": 190.0}, None),
    ],
)
def test_measures_under_load_are_told_where_they_changed_or_are_no_more(now, words) -> None:
    found = compare(run(record(measures={"server_per_s": 200.0})), run(record(measures=now))).changes

    assert [(change.words, change.worse) for change in found] == ([(words, False)] if words else [])


VIDEO = {"video_fps": 30.0, "video_unpaced_fps": 200.0, "video_p90_ms": 4.0, "video_drop_share": 0.0}


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, None),
        ({"video_unpaced_fps": 100.0}, ("video_unpaced_fps 200 → 100 (−50.0 %)",)),  # noqa: RUF001 - as it is printed
        ({"video_fps": 20.0}, ("video_fps 30 → 20 (−33.3 %)",)),  # noqa: RUF001 - as it is printed
        ({"video_p90_ms": 8.0}, ("video_p90_ms 4 → 8 (+100 %)",)),
        ({"video_p90_ms": None}, ("video_p90_ms: was 4, is not measured any more",)),
        ({"video_drop_share": 0.05}, ("video_drop_share 0 → 5 %",)),
        ({"video_drop_share": 0.001}, None),
    ],
)
def test_video_streams_are_told_where_they_changed_or_are_no_more(now, words) -> None:
    found = compare(run(record(measures=VIDEO)), run(record(measures={**VIDEO, **now}))).changes

    assert [change.words for change in found] == ([words] if words else [])
