"""`harness selftest`: the gate is tried on launches of which is known whether anything was slowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.judge.selftest import ARMS, UNCHANGED, arm, decisions
from harness.records import Admission, Duel, LatencyPlan, Launch
from harness.store import read_run, read_selftest
from test_turns import suite
from toy import fake_suite, harness

PLAN = LatencyPlan()
QUIET = Admission(sd=0.001, launches=10, mde=0.012)


def series(*log_ratios: float) -> Duel:
    launch = Launch(log_ratio=0.0, tail=0.0, a_p50_ms=5.0, b_p50_ms=5.0, pairs=50, samples=300, first="a")
    return Duel(tuple(replace(launch, log_ratio=ratio) for ratio in log_ratios), "host", {}, "itself")


def test_no_launch_serves_two_decisions_and_what_is_left_over_makes_none():
    assert list(decisions(series(*[0.0] * 5), PLAN, QUIET, 1)) == [("passed", 2), ("passed", 2)]
    assert list(decisions(series(*[0.05] * 19), PLAN, QUIET, 1)) == [("regressed", 10)]


def test_decisions_are_counted_by_what_they_say():
    found = arm(UNCHANGED, [[("passed", 2), ("improved", 2)], [("regressed", 10), ("inconclusive", 10)]])

    assert (found.decisions, found.regressed, found.passed, found.inconclusive, found.launches) == (4, 1, 2, 1, 24)


def test_real_sessions_are_tried_in_every_arm_and_reports_of_the_machine_tell_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path)

    status = harness(tmp_path, "selftest", path, "--launches", 2, "-o", tmp_path / "told.json")

    told = read_selftest(tmp_path / "told.json")
    assert told is not None
    assert [one.name for one in told.arms] == list(ARMS)
    assert told.cases == ("turns/net/onnxruntime-cpu/fp32/n-16",)
    unchanged = told.arms[0]
    assert status == (0 if unchanged.decisions and not unchanged.regressed else 1)
    assert f"{told.fingerprint}: 1 cases" in capsys.readouterr().out
    harness(tmp_path, "run", path, "-o", "out")
    assert read_run(tmp_path / "out").selftest == told
    assert "The gate on this machine" in (tmp_path / "out" / "report.html").read_text()


def test_scripted_times_are_left_out_and_nothing_else_is_an_error(tmp_path, capsys):
    assert harness(tmp_path, "selftest", fake_suite(tmp_path), "--launches", 2) == 3

    captured = capsys.readouterr()
    assert "its times are scripted" in captured.out
    assert "nothing was tested" in captured.err


@pytest.mark.parametrize("launches", ["1", "x"])
def test_fewer_than_two_launches_are_refused(tmp_path, launches):
    with pytest.raises(SystemExit, match="2"):
        harness(tmp_path, "selftest", fake_suite(tmp_path), "--launches", launches)
