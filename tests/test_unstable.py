"""Cases whose verdict changes by itself: by which rule, and how the report of a run marks them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from builders import environment, record, run
from harness import store
from harness.cli import main
from harness.history.unstable import DEFINITION, LAST, footing, unstable
from harness.records import Digests, Environment, Failure, Record, Run
from harness.report import html
from harness.report.trend import Past, past
from pages import index, index_rows
from toy import fake_suite, harness

CASE = "vision/digits/tensorrt/fp16/n-64"
CRASH = {"digests": Digests(), "attested": {}, "error": Failure("crash", "infer", "lost")}


class One(NamedTuple):
    status: str
    footing: str = "f"


def verdicts(*statuses: str) -> list[One]:
    return [One(status) for status in statuses]


def of(*records: Record, machine: Environment | None = None) -> list[One]:
    return [One(one.status, footing(one, machine or environment())) for one in records]


def made(status: str, **changes: object) -> Record:
    """A case that ran, or one whose process was lost."""
    return record(
        CASE, status, **({**CRASH, **changes} if status == "error" else {"attested": {"options": {}}, **changes})
    )


def test_a_verdict_that_changes_twice_with_nothing_else_is_unstable() -> None:
    found = unstable(verdicts("passed", "failed", "passed"))
    assert found is not None
    assert (found.flips, [one.status for one in found.verdicts]) == (2, ["passed", "failed", "passed"])
    assert unstable(verdicts("error", "improved", "regressed", "new")).flips == 3
    assert unstable(verdicts("passed", "acknowledged", "passed")).flips == 2


def test_a_verdict_that_changes_once_is_a_change_and_not_unstable() -> None:
    assert unstable(verdicts("passed", "passed", "failed", "failed")) is None
    assert unstable([]) is None


def test_runs_that_decide_nothing_do_not_count_as_a_change_of_verdict() -> None:
    assert unstable(verdicts("passed", "inconclusive", "passed", "skipped", "passed", "missing", "passed")) is None
    assert unstable(verdicts("failed", "inconclusive", "passed", "skipped", "failed")).flips == 2


def test_a_verdict_that_changes_with_what_the_case_is_made_of_is_not_unstable() -> None:
    changed = [One("passed"), One("failed", "g"), One("passed")]
    assert unstable(changed) is None
    assert unstable([*changed, One("failed"), One("passed")]).flips == 2


def test_only_the_latest_verdicts_are_looked_at() -> None:
    quiet = verdicts(*["passed"] * (LAST - 1))
    assert unstable([*verdicts("passed", "failed", "passed"), *quiet]) is None
    assert unstable([*verdicts("passed", "failed", "passed"), *quiet[2:]]).flips == 2


def test_a_process_that_is_lost_now_and_then_makes_a_case_unstable() -> None:
    """It tells nothing of what the case was made of: what was asked for and the versions are known all the same."""
    assert unstable(of(made("passed"), made("error"), made("passed"))).flips == 2
    assert unstable(of(made("passed"), made("error"), made("passed"), made("error"))).flips == 3
    refused = made("error", digests=made("passed").digests)
    assert unstable(of(made("passed"), refused, made("passed"))).flips == 2


def test_an_error_of_another_plan_other_versions_or_beside_another_model_makes_no_case_unstable() -> None:
    newer = of(made("error"), machine=environment(versions={"tensorrt": "11"}))
    assert unstable([*of(made("passed")), *newer, *of(made("passed"))]) is None
    assert unstable(of(made("passed"), made("error", plan_digest="other"), made("passed"))) is None
    other = made("passed", digests=Digests("ff" * 32))
    assert unstable(of(other, made("error"), made("passed"), made("passed"))) is None
    assert unstable(of(made("error"), made("passed"), made("error"))) is None


def nights(*statuses: str, **changes: object) -> list[Run]:
    return [
        run(made(status), id=f"night-{day}", **{"started": f"2026-01-{day + 1:02}T00:00:00+00:00", **changes})
        for day, status in enumerate(statuses)
    ]


def marked(now: Run, earlier: list[Run]) -> set[str]:
    return set(past(now, earlier).unstable)


def test_a_report_knows_by_its_earlier_runs_which_cases_are_unstable() -> None:
    now = run(made("passed"), record("vision/other/tensorrt/fp16/n-1"))
    assert marked(now, nights("passed", "failed")) == {CASE}
    assert marked(now, nights("failed", "failed")) == set()
    assert marked(now, []) == set()
    changed = run(made("passed", attested={"options": {"threads": 2}}))
    assert marked(changed, nights("passed", "failed", "passed")) == set()


def test_verdicts_on_another_machine_class_do_not_count() -> None:
    elsewhere = {"there": environment(fingerprint="other"), "main": environment()}
    moved = [
        replace(one, environments=elsewhere, records=tuple(replace(r, environment="there") for r in one.records))
        for one in nights("passed", "failed")
    ]
    found = past(run(made("passed")), moved)
    assert (found.unstable, found.cases) == ({}, {})


def test_runs_that_are_too_old_to_be_drawn_count_as_well() -> None:
    quiet = [replace(one, id=f"q-{one.id}", started=f"2026-02-{at // 24 + 1:02}T{at % 24:02}") for at, one in
             enumerate(nights(*["inconclusive"] * 60))]  # fmt: skip
    found = past(run(made("passed"), started="2026-03-09"), [*nights("passed", "failed"), *quiet])
    assert (len(found.runs), set(found.unstable)) == (50, {CASE})


def test_the_page_says_why_a_case_is_called_unstable_and_by_which_rule() -> None:
    now = run(made("failed"), made_other := record("vision/other/tensorrt/fp16/n-1"))
    text = html(now, past=past(now, nights("failed", "passed")))
    words = "its verdict changed 2 times in its last 3 verdicts, and nothing that it is made of did"
    assert {row["id"]: row["unstable"] for row in index_rows(text)} == {CASE: words, made_other.case.id: None}
    assert index(text)["unstable"] == DEFINITION
    assert text.count(f'title="{words}">↯ unstable') == 1  # among what blocks
    assert index(html(now, past=Past()))["unstable"] == ""


def test_history_marks_unstable_cases(tmp_path: Path) -> None:
    for one in (*nights("passed", "error"), run(made("passed"))):
        (tmp_path / "past" / one.id).mkdir(parents=True)
        store.write_run(one, tmp_path / "past" / one.id)
    now = tmp_path / "past" / run().id
    assert main(["report", str(now), "--history", str(tmp_path / "past")]) == 0
    (row,) = index_rows((now / "report.html").read_text("utf-8"))
    assert "changed 2 times in its last 3" in json.dumps(row["unstable"])


def test_a_real_crash_between_two_runs_is_seen_by_the_report_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    crash = "cases: [{match: '*/n-3', crash: {stage: infer, kind: segfault}}]"
    for number, script in enumerate(("cases: []", crash, "cases: []")):
        suite = fake_suite(tmp_path, script)
        harness(tmp_path, "run", suite, "-o", f"runs/{number}")
        made = store.read_run(tmp_path / f"runs/{number}")
        store.write_run(replace(made, started=f"2026-01-0{number + 1}T00:00:00+00:00"), tmp_path / f"runs/{number}")

    assert main(["report", "runs/2", "--history", "runs"]) == 0

    rows = index_rows((tmp_path / "runs/2/report.html").read_text("utf-8"))
    assert {row["id"].rpartition("/")[2]: row["unstable"] is not None for row in rows} == {"n-1": False, "n-3": True}
