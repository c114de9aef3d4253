"""The journal: lines with sums, what a kill leaves behind, and runs that are made from a journal alone."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from zlib import crc32

import pytest

from builders import environment, every_status, record, run
from harness.codec import compact, encode
from harness.errors import HarnessError, UsageError
from harness.journal import SCHEMA, SUMMED_FROM, Journal, in_use, line, read
from harness.records import Measurement, Outcome
from harness.store import read_run, recovered, write_run
from toy import fake_suite, harness

NAMES = ("a", "b", "c")
IDS = [f"s/m/fake/fp32/{name}" for name in NAMES]


def written(folder, *records):
    """A journal with these records; its lines."""
    with Journal(folder) as journal:
        for one in records:
            journal.append(one)
    return (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def three(tmp_path):
    """The lines of a journal of three records."""
    return written(tmp_path, *(record(case, "passed") for case in IDS))


@pytest.mark.parametrize("value", [every_status(), Measurement("y", "cosine", float("nan")), {"a": (1, float("inf"))}])
def test_the_quick_way_to_json_says_what_the_slow_one_says(value):
    assert json.loads(compact(value)) == json.loads(json.dumps(encode(value)))


def test_the_sum_of_a_line_covers_everything_behind_its_first_20_characters(three):
    for one in three:
        assert json.loads(one)["crc32"] == f"{crc32(one[SUMMED_FROM:-1]):08x}"
        assert json.loads(one)["kind"] == "record"


def test_a_changed_byte_anywhere_costs_that_entry_alone_and_is_told(tmp_path, three):
    first, middle, last = three
    for place in [*range(40), *range(40, len(middle) - 1, 37), len(middle) - 2]:
        changed = middle[:place] + bytes([middle[place] ^ 1]) + middle[place + 1 :]
        (tmp_path / "journal.jsonl").write_bytes(first + changed + last)

        known = read(tmp_path)

        assert list(known.records) == [IDS[0], IDS[2]]
        assert "journal.jsonl:2" in known.damage[0]


def test_a_last_line_that_was_torn_anywhere_is_recognised_and_cut_off(tmp_path, three):
    whole = three[0] + three[1]
    for size in [*range(1, 40), *range(40, len(three[2]), 37), len(three[2]) - 1]:
        (tmp_path / "journal.jsonl").write_bytes(whole + three[2][:size])

        known = read(tmp_path)

        assert list(known.records) == IDS[:2]
        assert len(known.damage) == 1
        assert "torn" in known.damage[0]
        assert known.sound_bytes == len(whole)


def test_after_a_write_that_the_disk_took_half_of_the_next_line_is_whole(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path) as journal:
        journal.append(record(IDS[0], "passed"))
        size = (tmp_path / "journal.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))
        try:
            with pytest.raises(HarnessError, match="took only a part of a line; is it full"):
                journal.append(record(IDS[1], "passed"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.append(record(IDS[2], "passed"))

    assert list(read(tmp_path).records) == [IDS[0], IDS[2]]


def test_what_was_found_out_of_a_case_is_by_kind_and_the_last_counts(tmp_path):
    with Journal(tmp_path) as journal:
        journal.write("measured", {"case": IDS[0], "outcome": Outcome(skipped="one")})
        journal.write("launch", {"case": IDS[0], "duel": 1})
        journal.write("measured", {"case": IDS[0], "outcome": Outcome(skipped="two")})
        journal.write("launch", {"case": IDS[0], "duel": 2})
        journal.write("end", {"run": None})
        journal.write("record", record('s/m/fake/fp32/"quoted"'))

    known = read(tmp_path)

    assert known.measured[IDS[0]].decoded(Outcome, "outcome").skipped == "two"
    assert [one.data()["duel"] for one in known.launches[IDS[0]]] == [1, 2]
    assert known.end is None  # something was written behind it
    assert list(known.records) == ['s/m/fake/fp32/"quoted"']


def begun(folder, *records, cases=()):
    """A journal as a run leaves it that was killed."""
    with Journal(folder) as journal:
        head = {"id": "one", "started": "2026-01-01", "command": "harness run", "commit": None, "shard": None}
        journal.write("begin", {"schema": SCHEMA, **head, "cases": dict.fromkeys(cases, "")})
        journal.write("environment", {"name": "main", "environment": environment()})
        for one in records:
            journal.append(one)


def test_a_journal_alone_is_a_run_that_did_not_end(tmp_path):
    records = [record(case, "passed") for case in IDS]
    begun(tmp_path, *reversed(records[:2]), cases=IDS)
    told = []

    found = read_run(tmp_path, told.append)

    assert found.records == tuple(records[:2])  # in the order of the suites
    assert (found.id, found.gate.passed, found.gate.exit_status) == ("one", False, 130)
    assert found.environments == {"main": environment()}
    assert told == [f"{tmp_path}: the run did not end: 2 of 3 cases are known"]


def test_a_run_whose_end_was_written_is_made_from_its_journal_as_it_was(tmp_path):
    whole = run(*(record(case, "passed") for case in IDS))
    begun(tmp_path, *whole.records)
    with Journal(tmp_path) as journal:
        journal.write("end", {"run": replace(whole, records=()), "fail_on": []})

    assert recovered(tmp_path, pytest.fail) == whole


def test_an_entry_without_its_beginning_or_machine_is_still_a_run(tmp_path, three):
    told = []

    found = recovered(tmp_path, told.append)

    assert [one.case.id for one in found.records] == IDS
    assert found.id == tmp_path.name
    assert found.environments["main"].fingerprint == "unknown"


def test_a_sound_line_that_holds_no_record_is_told_and_not_used(tmp_path, three):
    with (tmp_path / "journal.jsonl").open("ab") as stream:
        stream.write(line("record", {"case": {"id": "s/m/fake/fp32/d"}, "status": 3}))
    told = []

    assert len(recovered(tmp_path, told.append).records) == 3
    assert "journal.jsonl:4: holds no record" in told[0]


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 100, b'{"crc32":"', b"{}\n" * 3])
def test_what_was_never_begun_is_refused_by_name(tmp_path, content):
    (tmp_path / "journal.jsonl").write_bytes(content)

    with pytest.raises(UsageError, match=r"journal\.jsonl: holds no run: nothing was begun"):
        read_run(tmp_path)


def test_report_writes_the_run_of_a_killed_process_and_later_commands_read_that(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suite = fake_suite(tmp_path)
    assert harness(tmp_path, "run", suite, "-o", "out") == 0
    before = read_run(tmp_path / "out")
    path = tmp_path / "out/journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:99])  # in the middle of the last record
    (tmp_path / "out/run.json").unlink()

    assert harness(tmp_path, "report", "out") == 0

    assert "torn" in capsys.readouterr().err
    after = read_run(tmp_path / "out", pytest.fail)
    assert after.records == before.records[:1]
    assert (after.id, after.commit, after.environments) == (before.id, before.commit, before.environments)
    assert after.gate.exit_status == 130
    assert "Interrupted" in (tmp_path / "out/report.html").read_text()
    assert harness(tmp_path, "compare", "out", "out") == 0


def test_a_run_that_is_still_going_on_is_reported_but_not_written(tmp_path, capsys):
    begun(tmp_path, record(IDS[0]), cases=IDS)
    with Journal(tmp_path) as journal:
        assert journal.lock()
        assert in_use(tmp_path)

        assert harness(tmp_path, "report", tmp_path) == 0

    assert "still going on" in capsys.readouterr().out
    assert not (tmp_path / "run.json").exists()
    assert not in_use(tmp_path)


def test_a_run_that_is_written_is_read_from_its_file_whatever_its_journal_says(tmp_path):
    begun(tmp_path, record(IDS[0]))
    write_run(run(record(IDS[1])), tmp_path)

    assert [one.case.id for one in read_run(tmp_path, pytest.fail).records] == [IDS[1]]
