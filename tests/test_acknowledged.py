"""Acknowledgements: a known failure does not block until its date, and nothing else that goes wrong is let through."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from builders import check, record
from builders import run as make_run
from harness import report, suites
from harness.errors import SuiteError, UsageError
from harness.journal import line
from harness.judge.acknowledged import acknowledged, day_of, stale
from harness.records import Failure, KnownFailure
from harness.store import read_run, recovered, write_run
from toy import fake_suite, harness

CASE = "toy/small/fake/fp32/n-1"
BROKEN = "cases: [{match: '*/n-1', outputs: {y: {add: 0.5}}}, {latency_ms: [1.0, 1.01]}]"
ENTRY = """\
acknowledged:
  - case: toy/small/fake/fp32/n-1
    status: failed
    checks: [y/cosine_min, y/tolerance]
    reason: the offset of the new kernel
    issue: ABC-7
    since: 2026-01-01
    until: {until}
"""
KNOWN = KnownFailure(CASE, "failed", "why", "ABC-7", "2026-01-01", "2026-03-31", checks=("y/cosine_min",))
TODAY = date(2026, 3, 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, folder: Path = Path("baselines")) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "acknowledged.yaml"
    path.write_text(text)
    return path


def run_started(folder: str, day: str) -> None:
    """Make a stored run one that began on another day."""
    write_run(replace(read_run(Path(folder)), started=f"{day}T23:59:59+00:00"), Path(folder))


def only(folder: str, case: str = CASE):
    return next(one for one in read_run(Path(folder)).records if one.case.id == case)


# --- what a reviewer sees ----------------------------------------------------------------------------------------


def test_an_acknowledged_case_does_not_block_and_tells_verdict_reason_issue_and_date(folder, capsys):
    suite = fake_suite(folder, BROKEN)
    write(ENTRY.format(until="2026-12-31").replace("2026-01-01", "2026-11-01"))
    harness(folder, "run", suite, "-o", "now")
    run_started("now", "2026-12-31")
    capsys.readouterr()

    assert harness(folder, "judge", "now") == 0

    found = only("now-judged")
    assert found.status == "acknowledged"
    assert found.headline.startswith("failed, acknowledged until 2026-12-31: the offset of the new kernel (ABC-7); ")
    assert "y/cosine_min" in found.headline
    page = (folder / "now-judged/report.html").read_text()
    section = page[page.index('<section id="acknowledged">') :]
    assert all(word in section for word in ("≈", "2026-12-31", "the offset of the new kernel", "ABC-7"))


def test_an_expired_acknowledgement_blocks_again_and_says_so(folder, capsys):
    suite = fake_suite(folder, BROKEN)
    write(ENTRY.format(until="2026-12-31").replace("2026-01-01", "2026-11-01"))
    harness(folder, "run", suite, "-o", "late")
    run_started("late", "2027-01-01")
    capsys.readouterr()

    assert harness(folder, "judge", "late") == 1

    out = capsys.readouterr().out
    assert "failed       toy/small/fake/fp32/n-1  blocks again, its acknowledgement expired on 2026-12-31: " in out
    assert "(ABC-7)" in out
    assert "1 blocking although acknowledged" in out


def test_expiry_is_by_the_start_of_the_run_however_late_it_is_judged(folder):
    suite = fake_suite(folder, BROKEN)
    write(ENTRY.format(until="2026-02-01"))
    assert harness(folder, "run", suite, "-o", "now") == 1  # begins after that date
    run_started("now", "2026-02-01")

    assert harness(folder, "judge", "now") == 0


# --- what is covered ---------------------------------------------------------------------------------------------


def failed(*names: str, **changes):
    checks = tuple(check(name, ok=False) for name in names)
    return record(CASE, "failed", checks=checks, **changes)


def regressed(change: float, **changes):
    found = check("latency/regression", 1.0 + change, 1.02, baseline=1.0, question="latency", ok=False)
    return record(CASE, "regressed", checks=(found, check("latency/tail", 0.0, 0.05, question="latency")), **changes)


def error(kind: str):
    return record(CASE, "error", error=Failure(kind, "load", "no"))


SLOW = replace(KNOWN, status="regressed", checks=(), up_to=0.12)
REFUSED = replace(KNOWN, status="error", checks=(), kind="unsupported")
GONE = replace(KNOWN, status="missing", checks=())


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (KNOWN, failed("y/cosine_min")),
        (SLOW, regressed(0.119)),
        (replace(SLOW, up_to=None), regressed(3.0)),
        (REFUSED, error("unsupported")),
        (GONE, record(CASE, "missing")),
    ],
)
def test_what_an_entry_covers_is_acknowledged_and_keeps_what_was_judged(known, found):
    made = acknowledged(found, [known], TODAY)

    assert made.status == "acknowledged"
    assert found.headline in made.headline
    assert made.as_judged == found
    assert acknowledged(made.as_judged, [known], TODAY) == made


@pytest.mark.parametrize(
    ("known", "found", "words"),
    [
        (KNOWN, failed("y/cosine_min", "y/finite"), "acknowledged for y/cosine_min only, not for y/finite"),
        (
            KNOWN,
            failed("y/cosine_min", "latency/regression"),
            "acknowledged for y/cosine_min only, not for latency/reg",
        ),
        (KNOWN, failed("y/cosine_min", "latency/tail"), "acknowledged for y/cosine_min only, not for latency/tail"),
        (KNOWN, failed(), "acknowledged for y/cosine_min only, not for a failure of no check"),
        (KNOWN, regressed(0.05), "acknowledged as failed only"),
        (SLOW, regressed(0.121), "acknowledged up to 12 % slower, and it is 12.1 %"),
        (SLOW, record(CASE, "regressed", checks=()), "acknowledged up to 12 % slower, and how much it is slower is"),
        (REFUSED, error("crash"), "acknowledged as error of kind unsupported only"),
        (replace(KNOWN, until="2026-03-01"), failed("y/cosine_min"), "blocks again, its acknowledgement expired on"),
        (
            replace(KNOWN, since="2029-01-01", until="2029-12-31"),
            failed("y/cosine_min"),
            "acknowledged from 2029-01-01 on only",
        ),
    ],
)
def test_what_an_entry_does_not_cover_blocks_and_says_why(known, found, words):
    made = acknowledged(found, [known], TODAY)

    assert made.status == found.status
    assert made.headline.startswith(words)
    assert made.headline.endswith(found.headline)
    assert made.as_judged == found


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_entries_one_that_covers_is_enough(order):
    narrow = replace(KNOWN, machine="this", until="2026-03-01")
    other = replace(KNOWN, status="missing", checks=())

    covered = acknowledged(failed("y/cosine_min"), [narrow, other, KNOWN][::order], TODAY)
    assert covered.status == "acknowledged"
    assert "acknowledged until 2026-03-31" in covered.headline
    made = acknowledged(failed("y/cosine_min"), [other, narrow][::order], TODAY)
    assert made.headline.startswith("blocks again, its acknowledgement expired on 2026-03-01")


@pytest.mark.parametrize(
    ("started", "status"),
    [
        ("2026-03-31T23:59:59+00:00", "acknowledged"),
        ("2026-04-01T00:00:00+00:00", "failed"),
        ("2026-04-01T01:30:00+02:00", "acknowledged"),
        ("2026-03-31T23:30:00-01:00", "failed"),
        ("2026-03-31T23:59:59", "acknowledged"),
        ("2026-04-01T00:00:00", "failed"),
        ("0001-01-01T00:00:00+23:59", "failed"),
        ("", "failed"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_last_day_is_one_in_utc_on_whatever_machine(monkeypatch, zone, started, status):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert acknowledged(failed("y/cosine_min"), [KNOWN], day_of(started)).status == status
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_entry_says_nothing_about_other_cases_and_about_what_does_not_block():
    other = replace(failed("y/cosine_min"), case=record("toy/small/fake/fp32/n-3").case)

    assert acknowledged(other, [KNOWN], TODAY) is other
    fine = record(CASE, "passed")
    assert acknowledged(fine, [KNOWN], TODAY) is fine


def test_a_run_that_does_not_tell_when_it_began_has_nothing_acknowledged():
    assert acknowledged(failed("y/cosine_min"), [KNOWN], day_of("yesterday")).status == "failed"


# --- stale entries -----------------------------------------------------------------------------------------------


def test_entries_of_no_use_are_told_and_never_an_error(folder, capsys):
    suite = fake_suite(folder)
    write(ENTRY.format(until="2026-12-31") + ENTRY.format(until="2026-12-31").split("\n", 1)[1].replace("n-1", "n-9"))

    assert harness(folder, "run", suite, "-o", "all") == 0

    out = capsys.readouterr().out
    assert f"note: acknowledged.yaml:2: {CASE} is new now: remove its acknowledgement" in out
    assert "note: acknowledged.yaml:9: toy/small/fake/fp32/n-9 is no case of this run" in out
    assert len(read_run(folder / "all").stale) == 2
    assert "is no case of this run" in (folder / "all/report.html").read_text()
    assert harness(folder, "run", suite, "-o", "part", "-k", "n-3") == 0
    assert "is no case of this run" not in capsys.readouterr().out  # a part does not know


def test_entries_of_another_machine_class_say_nothing_here(folder):
    suite = fake_suite(folder, BROKEN)
    write(ENTRY.format(until="2026-12-31") + "    machine: another-x1\n")

    harness(folder, "run", suite, "-o", "now")

    run = read_run(folder / "now")
    assert only("now").status == "failed"
    assert not run.stale


def test_a_case_that_is_skipped_or_undecided_is_not_called_fine():
    for status in ("skipped", "inconclusive"):
        assert not stale([KNOWN], [record(CASE, status)], whole=True)
    assert stale([KNOWN], [record(CASE, "passed")], whole=False)


# --- every way to a verdict --------------------------------------------------------------------------------------


def entry_for_now() -> str:
    today = date.today()
    return ENTRY.format(until=today.replace(year=today.year + 1, day=1)).replace("2026-01-01", f"{today}")


def test_shards_are_merged_under_the_file_as_it_is_now(folder):
    suite = fake_suite(folder, BROKEN)
    harness(folder, "run", suite, "-o", "one", "--shard", "1/2")
    harness(folder, "run", suite, "-o", "two", "--shard", "2/2")

    assert harness(folder, "merge", "one", "two", "-o", "before") == 1
    path = write(entry_for_now())
    assert harness(folder, "merge", "one", "two", "-o", "after") == 0
    path.unlink()
    assert harness(folder, "merge", "after", "-o", "again") == 1
    assert only("again").headline == only("before").headline


def test_a_run_is_resumed_under_the_file_as_it_is_now(folder):
    suite = fake_suite(folder, BROKEN)
    assert harness(folder, "run", suite, "-o", "now") == 1
    write(entry_for_now())

    assert harness(folder, "run", suite, "-o", "now", "--resume") == 0
    assert only("now").status == "acknowledged"
    (folder / "now/run.json").unlink()
    assert recovered(folder / "now").gate.passed


def test_a_continued_run_began_when_it_began(folder):
    suite = fake_suite(folder, BROKEN)
    assert harness(folder, "run", suite, "-o", "now") == 1
    first, *others = (folder / "now/journal.jsonl").read_bytes().splitlines(keepends=True)
    begin = {**json.loads(first)["data"], "started": "2026-02-01T10:00:00+00:00"}
    (folder / "now/journal.jsonl").write_bytes(b"".join([line("begin", begin), *others]))
    write(ENTRY.format(until="2026-02-01"))

    assert harness(folder, "run", suite, "-o", "now", "--resume") == 0


def test_a_lost_case_is_acknowledged_and_judged_so_again(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    suite.write_text(suite.read_text().replace("{n: 1}, ", ""))
    assert harness(folder, "run", suite, "-o", "lost") == 1
    asked = ("--reason", "moved", "--issue", "ABC-1", "--until", f"{date.today()}")
    assert harness(folder, "acknowledge", CASE, "--run", "lost", *asked) == 0

    assert harness(folder, "judge", "lost") == 0
    assert only("lost-judged").as_judged.status == "missing"
    assert harness(folder, "judge", "lost-judged", "-o", "twice") == 0


def test_a_slower_case_is_still_measured_again_before_it_is_acknowledged(folder, monkeypatch):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    (folder / "script.yaml").write_text("cases: [{match: '*/n-1', latency_ms: [1.5, 1.51]}, {latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "slow")
    before = only("slow")
    assert before.status == "regressed"
    today = date.today()
    asked = ("--status", "regressed", "--reason", "x", "--issue", "y", "--until", f"{today}")
    assert harness(folder, "ack", CASE, *asked, "--up-to", "80%") == 0

    assert harness(folder, "run", suite, "-o", "known") == 0

    found = only("known")
    assert found.status == "acknowledged"
    assert found.screening
    assert before.screening
    assert len(found.screening.now) == len(before.screening.now) > 1


def test_a_known_failure_does_not_hide_that_the_case_became_slower(folder, capsys):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    write(entry_for_now())
    known = "cases: [{match: '*/n-1', outputs: {y: {add: 0.5}}, latency_ms: [%s]}, {latency_ms: [1.0, 1.01]}]"
    (folder / "script.yaml").write_text(known % "1.0, 1.01")
    assert harness(folder, "run", suite, "-o", "known") == 0
    (folder / "script.yaml").write_text(known % "1.5, 1.51")

    assert harness(folder, "run", suite, "-o", "slower") == 1

    found = only("slower")
    assert found.status == "failed"
    assert found.headline.startswith("acknowledged for y/cosine_min, y/tolerance only, not for latency/regression: ")


def test_under_pytest_it_is_xfail_until_it_expires(folder, pytester, monkeypatch):
    monkeypatch.chdir(pytester.path)
    suite = fake_suite(pytester.path, BROKEN)
    path = write(entry_for_now())

    result = pytester.runpytest_subprocess(suite, "--harness-output", "out", "--harness-artefacts", "cache", "-rx")
    result.assert_outcomes(xfailed=1, passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*failed, acknowledged until *"])
    assert only("out").status == "acknowledged"

    path.write_text(ENTRY.format(until="2026-02-01"))
    result = pytester.runpytest_subprocess(suite, "--harness-artefacts", "cache")
    result.assert_outcomes(failed=1, passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*its acknowledgement expired on 2026-02-01*"])


def test_an_acknowledged_case_is_not_accepted_as_a_baseline(folder, capsys):
    suite = fake_suite(folder, BROKEN)
    write(entry_for_now())
    harness(folder, "run", suite, "-o", "now")
    capsys.readouterr()

    assert harness(folder, "accept", "now", "--reason", "nightly", "--launches", 0) == 0

    assert "not accepted: 1 acknowledged" in capsys.readouterr().out


def test_a_run_with_an_unknown_status_behind_an_acknowledgement_is_no_run(tmp_path):
    found = acknowledged(failed("y/cosine_min"), [KNOWN], TODAY)
    assert found.acknowledgement
    bad = replace(found, acknowledgement=replace(found.acknowledgement, status="fine"))
    write_run(make_run(bad), tmp_path)

    with pytest.raises(UsageError, match="unknown status 'fine'"):
        read_run(tmp_path)


# --- the file ----------------------------------------------------------------------------------------------------


def test_every_mistake_in_the_file_is_told_at_once_with_its_place(folder, capsys):
    suite = fake_suite(folder)
    write(
        """\
acknowledged:
  - case: toy/small
    status: slow
    reason: ""
    issue: A
    since: 2026-01-01
    until: someday
  - case: toy/small/fake/fp32/n-1
    status: failed
    resaon: x
    issue: A
    since: 2026-01-01
    until: 2027-06-01
  - case: toy/small/fake/fp32/n-3
    status: error
    reason: x
    issue: A
    since: 2026-01-01
    until: 2027-06-01
    up_to: 12%
  - {case: toy/small/fake/fp32/n-3, status: error, kind: crash, reason: x, issue: A, since: 2026-01-02,
     until: 2026-01-01}
"""
    )

    assert harness(folder, "run", suite, "-o", "out") == 2

    told = capsys.readouterr().err
    at = "baselines/acknowledged.yaml"
    for words in (
        f"{at}:2:11: acknowledged[0].case: 'toy/small' is no case id",
        f"{at}:3:13: acknowledged[0].status: unknown blocking status 'slow'",
        f"{at}:4:13: acknowledged[0].reason: is empty",
        f"{at}:7:12: acknowledged[0].until: 'someday' is no date: write it as 2026-03-31",
        f"{at}:10:5: acknowledged[1].resaon: unknown key 'resaon', did you mean 'reason'?",
        f"{at}:8:5: acknowledged[1].reason: the required key 'reason' is missing",
        "until 2027-06-01 is 516 days after since 2026-01-01: 366 are the most",
        "status error needs the key 'kind'",
        "the key 'up_to' goes with status regressed only",
        f"the case is acknowledged for this status already at {at}:14:5",
        "until 2026-01-01 is before since 2026-01-02",
    ):
        assert words in told
    assert not (folder / "out/run.json").exists()


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "acknowledged:\n", "acknowledged: 3\n", "suite: x\n"])
def test_a_file_that_is_none_is_refused_with_its_place(tmp_path, text):
    write(text, tmp_path)

    with pytest.raises(SuiteError, match=r"acknowledged.yaml:1:1"):
        suites.known_failures(tmp_path)


COMMENTED = """\
# Reviewed by the release team.

acknowledged:
{0}# the vendor is on it
{0}- case: toy/small/fake/fp32/n-3   # seen on H200s
{0}  status: regressed
{0}  reason: "waits for 10.14"  # see the thread
{0}  issue: ABC-1
{0}  since: 2026-01-01
{0}  until: 2026-03-01  # two months
{0}  up_to: 12%
# the end
"""


@pytest.mark.parametrize("indent", ["", "  "])
@pytest.mark.parametrize("case", [CASE, CASE.replace("n-1", "n-3")])
def test_comments_survive_edits(tmp_path, indent, case):
    before = COMMENTED.format(indent)
    path = write(before, tmp_path)

    renewed = suites.acknowledge(
        tmp_path, replace(SLOW, case=case, since="2026-02-01", until="2026-05-01", issue="ABC-1", by="ann")
    )

    after = path.read_text()
    comments: Callable[[str], list[str]] = lambda text: re.findall(r"#.*", text)  # noqa: E731
    assert comments(after) == comments(before)
    assert renewed == case.endswith("n-3")
    assert len(suites.known_failures(tmp_path)) == (1 if renewed else 2)
    if not renewed:
        assert after.startswith(before.removesuffix("# the end\n"))


RENEWED = """\
acknowledged:
  # the first
  - case: toy/small/fake/fp32/n-3
    status: {0}
    reason: >
      text over
      lines
    # where
    issue: ABC-1
    since: 2026-01-01
    until: 2026-03-01  # two months
    {1}

  # the next
  - case: toy/small/fake/fp32/n-4
    status: missing
    reason: a
    issue: ABC-1
    since: 2026-01-01
    until: 2026-03-01
"""
CHECKS = "checks:  # these\n      # kernels\n      - y/a  # one\n      # and\n      - y/b  # two"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("status", "last", "entry"),
    [
        ("regressed", "up_to: 12%", replace(SLOW, up_to=None)),
        ("regressed", "up_to: 12%  # as measured", replace(SLOW, up_to=None)),
        ("regressed", "by: ann  # of the release team", SLOW),
        ("failed", CHECKS, replace(KNOWN, checks=("y/a", "y/b"))),
        ("failed", CHECKS, replace(KNOWN, checks=("y/c",))),
        ("failed", CHECKS + "\n    by: ann", replace(KNOWN, checks=("y/c",))),
        ("failed", CHECKS + "\n    by: ann", replace(KNOWN, checks=("y/a", "y/b"))),
        ("failed", CHECKS + "\n    by: ann", replace(KNOWN, checks=("y/a", "y/b"), by="bea")),
        ("failed", CHECKS, replace(KNOWN, checks=("y/a", "y/b"), by="bea")),
        ("failed", "checks: [y/a]  # one\n    by: ann", replace(KNOWN, checks=("y/c",))),
        ("missing", "by: ann", replace(GONE, by="bea")),
    ],
)
def test_comments_survive_a_renewal_and_stay_before_the_entry_that_they_are_of(tmp_path, status, last, entry, newline):
    before = RENEWED.format(status, last)
    path = write(before.replace("\n", newline), tmp_path)
    wanted = replace(entry, case="toy/small/fake/fp32/n-3", since="2026-02-01", until="2026-05-01")

    assert suites.acknowledge(tmp_path, wanted)

    after = path.read_text()
    assert sorted(re.findall(r"#.*", after)) == sorted(re.findall(r"#.*", before))
    assert "  # the next\n  - case: toy/small/fake/fp32/n-4\n" in after
    found, other = suites.known_failures(tmp_path)
    assert replace(found, place="") == wanted
    assert other.case.endswith("n-4")


def test_the_command_writes_what_blocked_in_a_run_and_no_more(folder, capsys):
    suite = fake_suite(folder, BROKEN)
    harness(folder, "run", suite, "-o", "now")
    asked = ("--reason", "known", "--issue", "ABC-7", "--by", "ann")

    assert harness(folder, "acknowledge", CASE, "--run", "now", "--until", f"{date.today()}", *asked) == 0

    (found,) = suites.known_failures(folder / "baselines")
    assert (found.status, found.checks, found.by) == ("failed", ("y/cosine_min", "y/tolerance"), "ann")
    assert harness(folder, "judge", "now") == 0


def test_a_named_check_is_of_a_case_that_failed(folder):
    fake_suite(folder, BROKEN)
    asked = ("--reason", "known", "--issue", "ABC-7", "--until", f"{date.today()}", "--check", "y/cosine_min")

    assert harness(folder, "ack", CASE, *asked) == 0

    (found,) = suites.known_failures(folder / "baselines")
    assert (found.status, found.checks) == ("failed", ("y/cosine_min",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--until", "2020-01-01", "--status", "missing"), "--until 2020-01-01: is past already"),
        (("--until", "2999-01-01", "--status", "missing"), "366 are the most"),
        (("--until", "{today}", "--status", "failed"), "needs the key 'checks'"),
        (("--until", "{today}"), "say what may be: --check NAME, --status STATUS, or --run RUN"),
        (("--until", "{today}", "--status", "regressed", "--up-to", "12"), "--up-to '12': is no percentage"),
        (("--until", "{today}", "--status", "missing", "--reason", " "), "--reason is empty"),
        (("--until", "{today}", "--run", "now"), "is new in now, which blocks nothing"),
    ],
)
def test_the_command_refuses_what_would_be_wrong_and_writes_nothing(folder, capsys, options, words):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "now")
    given = [option.format(today=date.today()) for option in options]

    assert harness(folder, "acknowledge", CASE, "--reason", "known", "--issue", "ABC-7", *given) == 2

    assert words in capsys.readouterr().err
    assert not (folder / "baselines/acknowledged.yaml").exists()


def test_foreign_words_of_the_file_are_escaped_in_the_report():
    bad = replace(KNOWN, reason="<script>alert(1)</script>", issue="javascript:alert(1)")

    page = report.html(make_run(acknowledged(failed("y/cosine_min"), [bad], TODAY)))

    assert "<script>alert(1)" not in page
    assert 'href="javascript' not in page
