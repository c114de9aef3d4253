"""`harness run --resume`: a killed run goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from duelling import ring
from harness.journal import Journal, line, read
from harness.records import Record, Run
from harness.store import read_run
from test_screen import accept_runs, script
from toy import fake_suite, harness, small_model

SCRIPT = "cases: [{match: '*/n-3', outputs: {y: {add: 0.5}}}, {latency_ms: [1.0, 1.01]}]"
PRECISIONS = "fp32, fp16"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timeless(record: Record) -> Record:
    """A record without what differs from run to run."""
    return replace(record, stages={}, measures={})


def same(one: Run, other: Run) -> bool:
    """Whether two runs tell the same."""
    assert [timeless(record) for record in one.records] == [timeless(record) for record in other.records]
    return (one.gate, one.environments, one.commit) == (other.gate, other.environments, other.commit)


def killed_after(folder: Path, count: int, torn: int = 0) -> None:
    """Make of a finished run what a kill leaves behind: so many lines of the journal and a torn one, no run.json."""
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:count]) + lines[count][:torn])
    (folder / "run.json").unlink()


def kinds(folder: Path) -> list[str]:
    """The kinds of a journal's lines."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    return [one.split(b'"')[7].decode() for one in lines]


def test_a_run_that_was_killed_anywhere_goes_on_and_ends_as_if_nothing_had_happened(folder):
    suite = fake_suite(folder, SCRIPT, PRECISIONS)
    assert harness(folder, "run", suite, "-o", "whole") == 1
    whole, found = read_run(folder / "whole"), kinds(folder / "whole")
    assert Counter(found) == {"begin": 1, "environment": 1, "measured": 4, "record": 4, "end": 1}
    text = (folder / "whole/journal.jsonl").read_bytes()

    for count in (1, 4, 5, len(found) - 1):
        (folder / "whole/journal.jsonl").write_bytes(text)
        killed_after(folder / "whole", count, torn=30)

        assert harness(folder, "run", suite, "-o", "whole", "--resume") == 1

        again = read_run(folder / "whole")
        assert same(again, whole)
        assert (again.id, again.started, again.command) == (whole.id, whole.started, whole.command)
        assert Counter(kinds(folder / "whole"))["record"] == 4  # none is measured twice
        assert read(folder / "whole").damage == ()


def test_a_parent_that_is_killed_in_the_middle_loses_only_the_case_at_hand(folder):
    suite = fake_suite(folder, "cases: [{match: '*/fp16/n-1', crash: {stage: infer, kind: hang}}]", PRECISIONS)
    command = [sys.executable, "-m", "harness", "run", suite, "-o", "killed", "--timeout", "3"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [*command, "--artefacts", folder / "cache"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert [process.stdout.readline()[:4] for _ in range(2)] == ["new ", "new "]
        process.send_signal(signal.SIGKILL)
    assert harness(folder, "report", "killed") == 0
    assert len(read_run(folder / "killed").records) == 2

    assert harness(folder, "run", suite, "-o", "killed", "--resume", "--timeout", 3) == 3

    statuses = [record.status for record in read_run(folder / "killed").records]
    assert statuses == ["new", "new", "error", "new"]
    assert Counter(kinds(folder / "killed"))["measured"] == 4


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 60 KiB; its size can be changed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", place]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if shutil.which("mount") is None or not mount("-o", "size=60k"):
        pytest.skip("file systems cannot be mounted here")
    yield place, lambda size: mount("-o", f"remount,size={size}")
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_costs_no_case_that_was_on_it_and_resume_goes_on_when_there_is_room(folder, small_disk, capsys):
    suite = fake_suite(folder, SCRIPT, "fp32, tf32, fp16, bf16")
    assert harness(folder, "run", suite, "-o", "whole") == 1
    place, resize = small_disk

    assert harness(folder, "run", suite, "-o", place / "out") == 3

    assert "make room, then --resume goes on from there" in capsys.readouterr().err
    assert harness(folder, "report", place / "out", "-o", "elsewhere") == 0
    assert not list((place / "out").glob("*.tmp"))
    assert resize("10m")
    assert harness(folder, "run", suite, "-o", place / "out", "--resume") == 1
    assert same(read_run(place / "out"), read_run(folder / "whole"))
    assert Counter(kinds(place / "out"))["measured"] == 8


def test_a_damaged_entry_in_the_middle_is_measured_again(folder, capsys):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    whole = read_run(folder / "out")
    path = folder / "out/journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'fp32/n-1"', b'fp32/n-9"'))

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 2  # the beginning is damaged too
    assert "the line about the beginning of the run is damaged" in capsys.readouterr().err
    begin, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([begin.replace(b'fp32/n-9"', b'fp32/n-1"'), *others]))
    assert harness(folder, "run", suite, "-o", "out", "--resume") == 0

    assert "damaged, its sum is wrong" in capsys.readouterr().out
    assert same(read_run(folder / "out"), whole)


def test_without_a_sound_line_about_the_machine_nothing_is_continued(folder, capsys):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    killed_after(folder / "out", 4)
    path = folder / "out/journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"kind":"environment"', b'"kind":"environs"', 1))
    before = path.read_bytes()

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 2

    assert "the line about the machine of environment 'default' is damaged" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_or_empty_starts_anew(folder):
    suite = fake_suite(folder)
    (folder / "empty").mkdir()

    assert harness(folder, "run", suite, "-o", "empty", "--resume") == 0
    assert harness(folder, "run", suite, "-o", "absent", "--resume") == 0

    assert same(read_run(folder / "empty"), read_run(folder / "absent"))


def test_a_finished_run_is_left_as_it_is(folder, capsys):
    suite = fake_suite(folder, SCRIPT)
    harness(folder, "run", suite, "-o", "out")
    before = (folder / "out/run.json").read_bytes()

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 1
    assert (folder / "out/run.json").read_bytes() == before
    assert "nothing is left to do" in capsys.readouterr().out
    assert harness(folder, "run", suite, "-o", "out", "--resume", "--fail-on", "new") == 1  # gated again


def another_limit(folder, monkeypatch):
    suite = folder / "toy.yaml"
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], accuracy: {rmse_rel_max: 1.0e-6}}"))
    return "toy/small/fake/fp32/n-1: its plan", "toy/small/fake/fp32/n-3: its plan"


def another_case(folder, monkeypatch):
    suite = folder / "toy.yaml"
    suite.write_text(suite.read_text().replace("{n: 3}", "{n: 4}"))
    return "fp32/n-3: the suites do not make it any more", "fp32/n-4: it is new", "fp32/n-1: its plan"


def another_model(folder, monkeypatch):
    small_model(folder / "small.onnx", "Neg")
    return ("small.onnx: holds something else",)


def another_harness(folder, monkeypatch):
    monkeypatch.setattr("harness.runner.ground.code_digest", lambda: "0" * 64)
    return ("the harness: its own code is another",)


def another_version(folder, monkeypatch):
    path = folder / "out/journal.jsonl"
    known = read(folder / "out")
    with Journal(folder / "other") as journal:
        for one in (known.begin, *known.environments, *known.measured.values()):
            data = one.data()
            if one.kind == "environment":
                data["environment"]["versions"] |= {"numpy": "0.9", "abacus": "7"}
            journal.write(one.kind, data)
    path.write_bytes((folder / "other/journal.jsonl").read_bytes())
    return "environment 'default': numpy 0.9 -> ", "environment 'default': abacus 7 -> not there"


@pytest.mark.parametrize("change", [another_limit, another_case, another_model, another_harness, another_version])
def test_what_changed_in_a_way_that_matters_is_listed_and_nothing_is_done(folder, monkeypatch, capsys, change):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    killed_after(folder / "out", 4)
    words = change(folder, monkeypatch)
    before = (folder / "out/journal.jsonl").read_bytes()

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 2

    told = capsys.readouterr().err
    assert [word for word in words if word not in told] == []
    assert (folder / "out/journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "data"),
    [("environment", [1]), ("environment", {"name": "default", "environment": 1}), ("begin", []), ("begin", {"id": 1})],
)
def test_a_journal_of_nonsense_under_right_sums_is_refused_by_file_and_line(folder, capsys, kind, data):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    path = folder / "out/journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    place = kinds(folder / "out").index(kind)
    lines[place] = line(kind, data)
    path.write_bytes(b"".join(lines))

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 2

    assert f"journal.jsonl:{place + 1}: " in capsys.readouterr().err


def test_a_suite_that_only_looks_otherwise_is_the_same(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    killed_after(folder / "out", 4)
    suite.write_text(f"# a remark\n{suite.read_text()}")

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 0


def test_resume_without_a_folder_and_in_one_that_is_taken_are_refused(folder, capsys):
    suite = fake_suite(folder)
    assert harness(folder, "run", suite, "--resume") == 2
    with Journal(folder / "out") as journal:
        assert journal.lock()

        assert harness(folder, "run", suite, "-o", "out", "--resume") == 2

    told = capsys.readouterr().err
    assert "--resume: name the folder" in told
    assert "another run is writing there" in told


def accepted_suite(folder: Path) -> Path:
    """Four cases that passed, each with a baseline."""
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]", PRECISIONS)
    assert harness(folder, "run", suite, "-o", "first") == 0
    assert harness(folder, "accept", "first", "--reason", "a start", "--launches", 0) == 0
    return suite


SHIFTS = {"*/fp16/*": 0.05, "*/fp32/n-3": 0.018}


def test_launches_of_before_the_interruption_are_not_made_again(folder, monkeypatch):
    suite = accepted_suite(folder)
    whole_ring = ring(monkeypatch, SHIFTS)
    assert harness(folder, "run", suite, "-o", "whole") == 1
    whole = read_run(folder / "whole")
    assert [record.status for record in whole.records] == ["passed", "regressed", "regressed", "regressed"]
    first = ring(monkeypatch, SHIFTS)

    def interrupt(one):
        if len(one.fought) == 7:
            raise KeyboardInterrupt

    first.before_each = interrupt
    assert harness(folder, "run", suite, "-o", "out") == 130
    assert read_run(folder / "out").gate.exit_status == 130
    second = ring(monkeypatch, SHIFTS)
    second.known.update(Counter(first.fought))

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 1

    assert Counter(first.fought) + Counter(second.fought) == Counter(whole_ring.fought)
    assert same(read_run(folder / "out"), whole)


def test_cases_that_are_decided_together_are_so_also_when_some_had_their_record_already(folder, monkeypatch):
    suite = accepted_suite(folder)
    ring(monkeypatch, SHIFTS)
    assert harness(folder, "run", suite, "-o", "out") == 1
    whole, found = read_run(folder / "out"), kinds(folder / "out")
    killed_after(folder / "out", found.index("record") + 2)
    again = ring(monkeypatch, SHIFTS)

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 1

    assert again.fought == []
    assert same(read_run(folder / "out"), whole)


def test_what_was_accepted_meanwhile_decides_over_what_was_measured_before(folder):
    suite = accepted_suite(folder)
    (folder / "script.yaml").write_text("cases: [{latency_ms: [1.3, 1.313]}]")
    assert harness(folder, "run", suite, "-o", "out") == 1
    killed_after(folder / "out", 7)
    assert harness(folder, "run", suite, "-o", "slower") == 1
    assert harness(folder, "accept", "slower", "--reason", "so be it", "--launches", 0) == 0

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 0

    assert {record.status for record in read_run(folder / "out").records} == {"passed"}


def test_a_case_that_was_measured_again_is_not_measured_a_third_time_too_many(folder):
    suite = accept_runs(folder, 6)
    (folder / "script.yaml").write_text(script("{measured: [1.08, 1.1, 1.06]}"))
    assert harness(folder, "run", suite, "-o", "out") == 1
    whole, found = read_run(folder / "out"), kinds(folder / "out")
    assert Counter(found)["screening"] == 2
    killed_after(folder / "out", found.index("screening") + 1)

    assert harness(folder, "run", suite, "-o", "out", "--resume") == 1

    assert Counter(kinds(folder / "out"))["screening"] == 2
    assert same(read_run(folder / "out"), whole)
