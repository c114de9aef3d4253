"""`harness selftest`: the gate is tried on launches of which is known whether anything was slowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import suites
from harness.cli import parser
from harness.commands.selftest import _status, tried
from harness.judge.selftest import ARMS, UNCHANGED, arm, decisions
from harness.records import Admission, Arm, Contestant, Duel, LatencyPlan, Launch, SelfTest
from harness.runner import selftest
from harness.runner.selftest import Timed, count
from harness.runner.settings import Settings
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


@pytest.mark.alone
def test_real_sessions_are_tried_in_every_arm_and_reports_of_the_machine_tell_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path)

    words = ["selftest", path, "-o", tmp_path / "told.json", "--artefacts", tmp_path / "cache", "--launches", 2]
    asked = parser().parse_args([str(word) for word in words])

    status = tried(asked)

    told = read_selftest(tmp_path / "told.json")
    assert told is not None
    assert [one.name for one in told.arms] == list(ARMS)
    assert told.cases == ("turns/net/onnxruntime-cpu/fp32/n-16",)
    assert status == 1  # two launches are too few to find any slowdown
    assert f"{told.fingerprint}: 1 cases" in capsys.readouterr().out
    harness(tmp_path, "run", path, "-o", "out")
    assert read_run(tmp_path / "out").selftest == told
    assert "The gate on this machine" in (tmp_path / "out" / "report.html").read_text()


def test_scripted_times_are_left_out_and_nothing_else_is_an_error(tmp_path, capsys):
    assert harness(tmp_path, "selftest", fake_suite(tmp_path)) == 3

    captured = capsys.readouterr()
    assert "its times are scripted" in captured.out
    assert "nothing was tested" in captured.err


@pytest.mark.parametrize("launches", ["0", "2", "9"])
def test_launches_on_which_no_case_could_fail_are_refused(tmp_path, capsys, launches):
    assert harness(tmp_path, "selftest", fake_suite(tmp_path), "--launches", launches) == 2

    assert f"--launches: the gate fails no case on fewer than 10 launches, so {launches} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("launches", "expected"),
    [
        ([], [("inconclusive", 0)]),
        ([0.05], [("inconclusive", 1)]),
        ([0.05] * 9, [("inconclusive", 9)]),
        ([0.0] * 5, [("passed", 2), ("passed", 2)]),
        ([0.0] * 2 + [0.05] * 8, [("passed", 2), ("inconclusive", 8)]),
    ],
)
def test_launches_that_are_left_undecided_are_inconclusive(tmp_path, launches, expected):
    (plan,) = suites.load([suite(tmp_path)], None)
    plan = replace(plan, latency=PLAN)

    assert list(selftest.Tested(plan, {UNCHANGED: series(*launches)}, QUIET).decisions(UNCHANGED, 1)) == expected


def test_a_case_is_admitted_by_other_launches_than_those_that_are_judged(tmp_path, monkeypatch):
    (plan,) = suites.load([suite(tmp_path)], None)

    def scripted(matches, *_):
        noise = [-0.004, 0.004] * 5
        return [series(*noise), *(series(*[one.injected is not None] * 10) for one in matches[1:])]

    monkeypatch.setattr("harness.runner.selftest.duels", scripted)
    found = count([Timed(plan, Contestant("0" * 64, {}))], Settings(tmp_path), 10)

    admission = found.admissions[plan.case.id]
    assert (admission.launches, round(admission.sd, 3)) == (10, 0.004)
    assert [one.name for one in found.arms] == list(ARMS)
    assert (found.arms[0].regressed, found.arms[-2].regressed) == (0, 1)


@pytest.mark.parametrize(
    ("unchanged", "slowed", "status", "words"),
    [
        ((5, 0, 5, 0), (1, 1, 0, 0), 0, ""),
        ((5, 0, 5, 0), (5, 0, 5, 0), 1, "finds no slowdown of 10%: it calls none of 5 decisions slower"),
        ((5, 0, 5, 0), (1, 0, 0, 1), 1, "finds no slowdown"),  # as where every injection failed
        ((5, 1, 4, 0), (5, 5, 0, 0), 1, "calls unchanged code slower in 1 of 5"),
        ((1, 0, 0, 1), (1, 1, 0, 0), 1, "decided nothing"),
    ],
)
def test_a_gate_that_alarms_on_unchanged_code_or_finds_nothing_does_not_pass(capsys, unchanged, slowed, status, words):
    counts = {UNCHANGED: unchanged, "+10%": slowed}
    arms = tuple(Arm(name, ARMS[name], *counts.get(name, (1, 0, 0, 1)), launches=10) for name in ARMS)

    assert _status(SelfTest("cpu", "", {}, ("a",), (), 10, arms, 1.0, {})) == status

    assert words in capsys.readouterr().out
