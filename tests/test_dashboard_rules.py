"""What the dashboard says of cases over time: unstable ones, what got worse, and their trends."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("sqlalchemy")

from builders import environment, record
from harness.dashboard import chart, state
from harness.dashboard.since import worse
from harness.history import adding, places
from harness.history.database import opened
from harness.history.reading import Result
from harness.records import Digests
from stores import CASE, nightly, timed

OTHER = "vision/digits/tensorrt/int8/n-64"


def result(day=0, status="passed", **changes):
    made = Result(
        run=f"run-{day}", started_s=day * 86400, commit="abc", ended=True, environment=1, status=status,
        headline=f"{status}, as it says", clock="gpu", p50_ms=1.01, p10_ms=1.0, canary_ms=0.5, method="m", footing="f",
        rmse_rel=1e-3, material="x",
    )  # fmt: skip
    return replace(made, **changes)


def results(*statuses, **changes):
    return [result(day, status, **changes) for day, status in enumerate(statuses)]


def at(p10_ms, count=5, first=0, **changes):
    return [result(first + day, p10_ms=p10_ms, p50_ms=p10_ms, **changes) for day in range(count)]


def told(then, now, case=CASE, *, suite_ran=True):
    return [(one.kind, one.words) for one in worse(case, then, now, suite_ran=suite_ran)]


def test_a_case_that_passed_then_and_fails_now_got_worse_and_not_the_other_way_round():
    assert told(results("passed"), results("failed")) == [("fails", "was passed, is failed: failed, as it says")]
    assert told(results("passed"), results("acknowledged"))[0][0] == "fails"
    assert told(results("failed"), results("passed")) == []
    assert told(results("failed"), results("error")) == []
    assert told(results("passed", "failed"), results("failed")) == []


def test_slower_is_beyond_5_percent_of_the_medians():
    assert told(at(1.0), at(1.06)) == [("slower", "+6.0%, p50 1 → 1.06 ms")]
    assert told(at(1.0), at(1.04)) == []
    assert told(at(1.06), at(1.0)) == []
    assert told(at(1.0), [*at(1.0, 3), *at(1.5, 2)]) == []


def test_slower_is_beyond_three_standard_deviations_of_the_runs_before():
    noisy = [one for p10_ms in (1.0, 1.1, 0.9, 1.05, 0.95) for one in at(p10_ms, 1)]

    assert told(noisy, at(1.15)) == []
    assert told(noisy, at(1.5))[0][0] == "slower"


def test_times_are_divided_by_the_canary_where_all_have_one():
    assert told(at(1.0), at(1.2, canary_ms=0.6)) == []
    assert told(at(1.0, canary_ms=None), at(1.2, canary_ms=0.6)) == [
        ("slower", "+20.0%, p50 1 → 1.2 ms (without a canary)")
    ]


def test_times_of_another_method_are_not_compared():
    assert told(at(1.0), at(2.0, method="n")) == []


def test_an_error_that_more_than_doubles_on_the_same_material_is_less_accurate():
    assert told(results("passed"), results("passed", rmse_rel=3e-3)) == [
        ("less accurate", "rmse_rel 0.001 → 0.003, 3.0x")
    ]
    assert told(results("passed"), results("passed", rmse_rel=1.9e-3)) == []
    assert told(results("passed"), results("passed", rmse_rel=3e-3, material="y")) == []
    assert told(results("passed", rmse_rel=None), results("passed", rmse_rel=3e-3)) == []
    assert told(results("passed", rmse_rel=1e-5), results("passed", rmse_rel=9e-4)) == []  # what fp16 brings anyway
    assert told(results("passed", rmse_rel=1e-5), results("passed", rmse_rel=9e-4), "s/m/b/fp32/n-1") != []


def test_a_case_that_is_measured_no_more_got_worse():
    assert told(results("passed"), []) == [("not measured", "was passed; no run since has it")]
    assert told(results("passed"), [], suite_ran=False) == []
    assert told(results("skipped"), []) == []
    assert told(results("passed"), results("skipped"))[0][0] == "not measured"
    assert told([], results("failed")) == []


@pytest.fixture
def store(tmp_path):
    return places.url(str(tmp_path / "s.sqlite"))


def filled(store, *runs):
    with opened(store, make=True) as engine:
        for run in runs:
            adding.add(engine, run, run.id)


def groups(store, **asked):
    with opened(store) as engine, engine.connect() as connection:
        return list(state.collect(connection, **asked))


def night(day, p10_ms=1.0, canary_ms=0.5, **changes):
    return nightly(day, record(CASE, latency=timed(p10_ms, canary_ms), **changes))


def test_the_latest_state_is_that_of_each_case_even_where_the_latest_run_had_a_part_of_them(store):
    filled(store, nightly(0, record(CASE, "failed"), record(OTHER)), nightly(1, record(OTHER, "improved")))

    (group,) = groups(store)

    assert {one.series.case: one.latest.status for one in group.tracks} == {CASE: "failed", OTHER: "improved"}
    assert [run for _, run in group.runs] == [nightly(0).id, nightly(1).id]


def test_a_case_that_none_of_the_latest_runs_has_is_gone_and_still_counts_as_worse(store):
    filled(store, nightly(0, record(OTHER)), *(nightly(day) for day in range(1, state.CURRENT + 1)))

    (group,) = groups(store, since_s=adding._epoch_s(nightly(0), nightly(0).started))

    assert [one.series.case for one in group.tracks] == [CASE]
    assert [(one.series.case, one.worse[0].kind) for one in group.gone] == [(OTHER, "not measured")]


def test_machine_classes_and_suites_are_groups_of_their_own(store):
    other = nightly(1, record("text/bert/tensorrt/fp16/n-1"), environments={"main": environment(fingerprint="h200")})
    filled(store, nightly(0), other)

    assert [(one.machine, one.suite) for one in groups(store)] == [("h200", "text"), ("nvidia-l4-x1", "vision")]


def test_a_step_is_found_with_its_run_and_names_the_commit_and_the_versions_that_changed(store):
    pytest.importorskip("ruptures")
    newer = environment(versions={**environment().versions, "tensorrt": "11.0"})
    before, after = [night(day) for day in range(8)], [night(day, 1.1) for day in range(8, 16)]
    filled(store, *before, *(replace(run, environments={"main": newer}) for run in after))

    (group,) = groups(store)
    (track,) = group.tracks
    with opened(store) as engine, engine.connect() as connection:
        drawn = chart.chart(group, track, state.reading.versions(connection))

    (step,) = drawn.steps
    assert (track.changes[0].run, step.slower) == (nightly(8).id, True)
    assert step.words == "+10.0% with 2026-03-09, commit 0008000800, tensorrt 10.13.3 → 11.0"
    assert len(drawn.levels) == 2


def test_a_canary_that_moves_with_the_case_is_no_step(store):
    pytest.importorskip("ruptures")
    filled(store, *(night(day) for day in range(8)), *(night(day, 1.1, 0.55) for day in range(8, 16)))

    assert groups(store)[0].tracks[0].changes == ()


def test_times_from_before_another_method_are_not_drawn(store):
    flushed = replace(timed(3.0), settings={"flush_l2": True})
    filled(store, *(nightly(day, record(CASE, latency=flushed)) for day in range(3)), night(3), night(4))

    (track,) = groups(store)[0].tracks

    assert [point.run for point in track.trend] == [nightly(3).id, nightly(4).id]


def drawn(store, accepted=state.nothing_accepted):
    (group,) = groups(store, accepted=accepted)
    return chart.chart(group, next(one for one in group.tracks if one.series.case == CASE), {})


def test_a_trend_has_gaps_where_a_run_has_no_time_and_marks_where_it_blocks(store):
    failed = nightly(2, record(CASE, "error"))
    elsewhere = nightly(3, record(OTHER))
    filled(store, night(0), night(1), failed, elsewhere, night(4), night(5), night(6, status="regressed"))

    found = drawn(store)

    assert [len(line.split()) for line in found.lines] == [2, 3]
    assert [mark.words for mark in found.blocks] == ["error, 2026-03-03", "regressed, 2026-03-07"]
    assert "2 blocked" in found.summary


def test_a_trend_is_bounded_however_many_runs_there_are(store):
    filled(store, *(night(day) for day in range(state.DRAWN + 15)))

    found = drawn(store)

    (group,) = groups(store)
    assert len(group.runs) == len(group.tracks[0].results) == len(group.tracks[0].trend) == state.DRAWN
    filled(store, *(nightly(100 + day, record(OTHER)) for day in range(10)))
    assert len(groups(store)[0].runs) == len(group.tracks[0].results) == len(group.tracks[0].trend) == state.DRAWN
    assert sum(len(line.split()) for line in found.lines) == state.DRAWN
    assert all(0 <= float(one) <= chart.WIDTH for line in found.lines for one in line.replace(",", " ").split())


def test_noise_does_not_fill_the_drawing_and_one_far_run_does_not_flatten_it(store):
    filled(store, *(night(day, 1.001 if day % 2 else 1.0) for day in range(20)))
    assert (drawn(store).low, drawn(store).high) == (-chart.LEAST, chart.LEAST)

    filled(store, night(21, 9.0), night(22))
    found = drawn(store)
    assert found.high < 0.1
    assert [mark.words for mark in found.far] == ["+800%"]


def test_accepted_runs_are_marked_with_the_reason(store):
    filled(store, night(0), night(1))
    words = {CASE: {nightly(1).id: "accepted: faster", "unknown": "accepted"}}

    found = drawn(store, lambda machine, suite: words if (machine, suite) == ("nvidia-l4-x1", "vision") else {})

    assert [mark.words for mark in found.accepted] == ["accepted: faster"]


def test_a_case_without_times_is_drawn_without_a_line(store):
    filled(store, nightly(0, record(CASE, "skipped")), nightly(1, record(CASE, digests=Digests(), latency=None)))

    assert (drawn(store).lines, drawn(store).summary) == ((), "no times")
