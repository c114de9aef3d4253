"""What `harness judge` carries over from the run that it judges, and what it says of one that it cannot read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.store import read_run
from toy import fake_suite, harness

CASE, OTHER = "toy/small/fake/fp32/n-1", "toy/small/fake/fp32/n-3"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def broken_run(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """The suite of a run that the machine ended while it decided, in folder `out`."""
    suite = fake_suite(folder, script)

    def lost(*_):
        raise HarnessError("the device is lost")

    with monkeypatch.context() as patched:
        patched.setattr("harness.runner.book.Book.decide", lost)
        assert harness(folder, "run", suite, "-o", "out") == 3
    return suite


@pytest.mark.parametrize("script", ["cases: []\n", "cases: [{match: '*/n-3', crash: {stage: infer, kind: abort}}]"])
def test_a_run_that_the_machine_ended_never_passes_when_it_is_judged(folder, monkeypatch, script):
    suite = broken_run(folder, monkeypatch, script)
    excluded = "n: 3}], exclude: [{backend: fake, shape: {n: 3}, reason: slow}]}"
    suite.write_text(suite.read_text().replace("n: 3}]}", excluded))

    assert harness(folder, "judge", "out") == 3
    assert harness(folder, "judge", "out-judged") == 3


def test_cases_that_no_part_held_stay_missing_when_the_merged_run_is_judged(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    harness(folder, "run", suite, "-o", "part", "--shard", "1/2")
    assert harness(folder, "merge", "part", "-o", "merged") == 1

    assert harness(folder, "judge", "merged") == 1
    assert harness(folder, "judge", "merged-judged", "--baselines", "none") == 130  # accepted no more, and not measured


FAILING = "cases: [{match: '*/n-1', outputs: {y: {add: 0.5}}}]\n"


def acknowledged_until_today(run: str) -> None:
    asked = ("--reason", "known", "--issue", "ABC-7", "--until", f"{datetime.now(UTC).date()}")
    assert harness(Path(), "acknowledge", CASE, "--run", run, *asked) == 0


def test_a_merged_run_that_lacks_cases_never_passes_when_its_failures_are_judged_away(folder, capsys):
    suite = fake_suite(folder, FAILING)
    harness(folder, "run", suite, "-o", "part", "-k", "n-1")
    assert harness(folder, "merge", "part", "-o", "merged") == 1
    assert read_run(folder / "merged").lacking == (OTHER,)
    acknowledged_until_today("merged")

    assert harness(folder, "judge", "merged") == 130
    assert harness(folder, "judge", "merged-judged", "-o", "again") == 130

    run = read_run(folder / "again")
    assert (run.lacking, run.gate.passed, run.records[0].status) == ((OTHER,), False, "acknowledged")
    assert f"No part of it holds {OTHER}." in (folder / "again/report.html").read_text()
    capsys.readouterr()
    harness(folder, "comment", "again")
    assert f"No part of it holds {OTHER}." in capsys.readouterr().out


def test_a_merged_run_is_whole_with_the_part_that_it_lacked_or_without_the_case(folder):
    suite = fake_suite(folder, FAILING.replace("*/n-1", "*/small/*/n-1"))
    small = suite.read_text()
    suite.write_text(small + "  - {name: other, source: small.onnx, shapes: [{n: 1}]}\n")
    for name in ("small", "other"):
        harness(folder, "run", suite, "-o", name, "-k", name)
    harness(folder, "merge", "small", "-o", "merged")
    acknowledged_until_today("merged")
    assert harness(folder, "judge", "merged") == 130

    assert harness(folder, "merge", "merged-judged", "other", "-o", "whole") == 0
    assert read_run(folder / "whole").lacking == ()
    suite.write_text(small)
    assert harness(folder, "judge", "merged", "-o", "less") == 0


def test_a_part_that_did_not_end_counts_also_where_a_failure_of_another_is_judged_away(folder, monkeypatch):
    broken_run(folder, monkeypatch, FAILING)
    assert harness(folder, "merge", "out", "-o", "merged") == 1
    assert read_run(folder / "merged").cut == 3
    acknowledged_until_today("merged")

    assert harness(folder, "judge", "merged") == 3
    assert harness(folder, "merge", "merged", "-o", "again") == 3
    assert "did not come to its end" in (folder / "again/summary.md").read_text()


def test_an_accepted_case_that_the_suites_make_no_more_is_missing_when_another_came_instead(folder):
    suite = fake_suite(folder)
    suite.write_text(suite.read_text() + "  - {name: other, source: small.onnx, shapes: [{n: 1}]}\n")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    harness(folder, "run", suite, "-o", "now")
    suite.write_text(suite.read_text().replace("name: other", "name: another"))

    assert harness(folder, "judge", "now") == 1

    found = {record.case.id: record.status for record in read_run(folder / "now-judged").records}
    assert found["toy/other/fake/fp32/n-1"] == "missing"


def test_a_judged_shard_is_still_one(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "part", "--shard", "1/2")

    assert harness(folder, "judge", "part") == 0

    assert read_run(folder / "part-judged").shard == "1/2"


@pytest.mark.parametrize(("where", "named"), [(".", "run.json"), (".", "."), ("outputs", ".."), (".", "../out")])
def test_a_run_is_judged_from_wherever_it_is_named(folder, monkeypatch, where, named):
    harness(folder, "run", fake_suite(folder), "-o", "out", "--keep-outputs")
    monkeypatch.chdir(folder / "out" / where)

    assert harness(folder, "judge", named, "--suite", folder / "toy.yaml") == 0

    assert (folder / "out-judged/report.html").exists()


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder with a suite and the run `out` with its outputs; the suite has limits that need these."""
    folder = tmp_path_factory.mktemp("kept")
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", folder / "out", "--keep-outputs")
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], accuracy: {atol: 0, rtol: 1.0e-6}}"))
    return folder


def header(shape: tuple[int, ...]) -> bytes:
    """The beginning of a .npy file that claims that shape."""
    words = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words.encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read as .npy"),
        (b"\x93NUMPY\x01\x00", "cannot be read as .npy"),
        (header((1, 4)), "more than the file holds"),
        (header((1 << 60,)), "more than the file holds"),
        (b"PK\x03\x04", "cannot be read as .npy"),
        (None, "there is no such file"),
    ],
)
def test_a_damaged_kept_tensor_is_refused_with_case_and_file(kept, capsys, data, words):
    file = kept / "out/outputs" / CASE / "candidate/0-0.npy"
    before = file.read_bytes()
    try:
        file.unlink() if data is None else file.write_bytes(data)
        assert harness(kept, "judge", kept / "out", "--suite", kept / "toy.yaml") == 2
    finally:
        file.write_bytes(before)

    told = capsys.readouterr().err
    assert words in told
    assert f"harness: {CASE}: its kept outputs cannot be judged: {file}" in told


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        '{"batches": 3}',
        '{"batches": [{"y": {}}]}',
        '{"batches": [{"y": {"file": "../../../elsewhere.npy", "dtype": "float32"}}]}',
        '{"batches": [{"y": {"file": "/etc/hostname", "dtype": "float32"}}]}',
        '{"batches": [{"y": {"file": "7-7.npy", "dtype": "float32"}}]}',
        '{"batches": [{"y": {"file": 7, "dtype": "float32"}}]}',
        '{"batches": [{"y": {"file": "0-0.npy", "dtype": "O"}}]}',
        '{"batches": [{"y": {"file": "0-0.npy", "dtype": "nonsense"}}]}',
        '{"batches": [{"y": {"strings": [], "shape": [5]}}]}',
    ],
)
def test_an_index_of_kept_outputs_names_nothing_but_tensors_beside_it(kept, capsys, index):
    file = kept / "out/outputs" / CASE / "reference/index.json"
    elsewhere = file.parent / "../../../elsewhere.npy"
    np.save(elsewhere, np.zeros((1, 4), np.float32))
    link = file.parent / "7-7.npy"
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere)
    before = file.read_text()
    try:
        file.write_text(index)
        assert harness(kept, "judge", kept / "out", "--suite", kept / "toy.yaml") == 2
    finally:
        file.write_text(before)

    assert f"{file}: is no index of tensors" in capsys.readouterr().err


def test_kept_outputs_that_are_sound_are_judged(kept):
    found = json.loads((kept / "out/outputs" / CASE / "reference/index.json").read_text())
    assert list(found["batches"][0]) == ["y"]

    assert harness(kept, "judge", kept / "out", "--suite", kept / "toy.yaml") == 0
