"""What `harness judge` carries over from the run that it judges, and what it says of one that it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.store import read_run
from toy import fake_suite, harness

CASE = "toy/small/fake/fp32/n-1"


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
