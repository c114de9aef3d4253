"""What `harness merge` takes from the parts, and what it leaves as it was."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.artefacts import link
from harness.records import Contestant, Duel, Launch
from harness.store import read_run, write_run
from test_resume import same
from toy import fake_suite, harness

ONE, THREE = "toy/small/fake/fp32/n-1", "toy/small/fake/fp32/n-3"
TENSOR = "candidate/0-0.npy"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shards(folder: Path, *options: object, script: str = "cases: []\n", precisions: str = "fp32") -> Path:
    """A suite, and its two halves as part-1 and part-2."""
    suite = fake_suite(folder, script, precisions)
    for number in (1, 2):
        harness(folder, "run", suite, "-o", f"part-{number}", "--shard", f"{number}/2", *options)
    return suite


def statuses(folder: Path) -> dict[str, str]:
    return {record.case.id: record.status for record in read_run(folder).records}


def owner(case: str) -> tuple[Path, Path]:
    """The kept outputs of a case in the shard that measured it, and the outputs of the other one."""
    parts = [Path("part-1/outputs"), Path("part-2/outputs")]
    (mine,) = [part for part in parts if (part / case).is_dir()]
    (other,) = [part for part in parts if part != mine]
    return mine / case, other


def test_outputs_that_a_part_has_no_record_of_are_not_merged_and_no_part_is_written_to(folder):
    shards(folder, "--keep-outputs")
    for case in (ONE, THREE):  # as of a run that was killed while it wrote
        mine, other = owner(case)
        before = (mine / TENSOR).read_bytes()
        torn = other / case / TENSOR
        torn.parent.mkdir(parents=True)
        torn.write_bytes(b"torn")

        assert harness(folder, "merge", "part-1", "part-2", "-o", f"merged-{case[-1]}") == 0

        assert (mine / TENSOR).read_bytes() == before
        assert (folder / f"merged-{case[-1]}/outputs" / case / TENSOR).read_bytes() == before
        shutil.rmtree(other / case)


def test_a_merge_that_was_cut_short_can_be_made_again(folder):
    shards(folder, "--keep-outputs")
    assert harness(folder, "merge", "part-1", "part-2", "-o", "merged") == 0
    for drawn in Path("merged").glob("*.*"):
        drawn.unlink()
    (folder / "merged/outputs" / ONE / "candidate-2").mkdir()  # of other parts than now
    before = (owner(ONE)[0] / TENSOR).read_bytes()

    assert harness(folder, "merge", "part-1", "part-2", "-o", "merged") == 0

    assert (folder / "merged/outputs" / ONE / TENSOR).read_bytes() == before
    assert not (folder / "merged/outputs" / ONE / "candidate-2").exists()


def test_parts_that_share_their_files_are_merged(folder):
    shards(folder, "--keep-outputs")
    shutil.copytree("part-1", "copy", copy_function=os.link)

    assert harness(folder, "merge", "part-1", "copy", "part-2", "-o", "merged") == 0

    assert all((folder / "merged/outputs" / case / TENSOR).is_file() for case in (ONE, THREE))


def test_a_link_replaces_what_has_its_name_and_writes_to_no_file(tmp_path):
    made, target, first = (tmp_path / name for name in ("made", "target", "first"))
    made.write_text("new")
    first.write_text("of another")
    os.link(first, target)

    assert link(made, target)
    assert link(made, target)  # again changes nothing

    assert (made.read_text(), target.read_text(), first.read_text()) == ("new", "new", "of another")


def accept(folder: Path, suite: Path, runs: int = 1) -> None:
    """Accept a run, as that many runs of other ids."""
    harness(folder, "run", suite, "-o", "first")
    run = json.loads((folder / "first/run.json").read_text())
    names = [f"accepted-{number}" for number in range(runs)]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(json.dumps({**run, "id": f"{run['id']}-{name}"}))
    assert harness(folder, "accept", *names, "--reason", "a start") == 0


def test_a_merged_run_names_every_machine_that_measured(folder):
    """Its times are of several machines, though of one class."""
    shards(folder)
    for number in (1, 2):
        part = read_run(Path(f"part-{number}"))
        there = {name: replace(one, host=f"ci-{number}") for name, one in part.environments.items()}
        write_run(replace(part, environments=there), Path(f"part-{number}"))

    assert harness(folder, "merge", "part-1", "part-2", "-o", "merged") == 0

    assert {one.host for one in read_run(Path("merged")).environments.values()} == {"ci-1, ci-2"}


def test_the_canaries_of_all_parts_tell_whether_the_job_may_be_trusted(folder):
    suite = fake_suite(folder, "cases: [{latency_ms: 1.0, canary_ms: 0.5}]\n", "fp32, fp16")
    accept(folder, suite, 5)
    slow = "{match: '*/fp32/n-1', latency_ms: 1.2, canary_ms: 0.5}"
    moved = "{match: '*/fp16/*', latency_ms: 1.2, canary_ms: 0.6}"
    script = f"cases: [{slow}, {moved}, {{latency_ms: 1.0, canary_ms: 0.5}}]\n"
    (folder / "script.yaml").write_text(script)
    whole = harness(folder, "run", suite, "-o", "whole")
    shards(folder, script=script, precisions="fp32, fp16")
    alone = statuses(folder / "part-1") | statuses(folder / "part-2")

    assert harness(folder, "merge", "part-1", "part-2", "-o", "merged") == whole == 0

    assert alone[ONE] == "regressed"
    assert statuses(folder / "merged")[ONE] == "inconclusive"
    assert same(read_run(folder / "merged"), read_run(folder / "whole"))


def test_launches_against_what_is_accepted_no_more_decide_nothing_in_a_merged_run(folder):
    suite = fake_suite(folder)
    accept(folder, suite)
    harness(folder, "run", suite, "-o", "part")
    run = read_run(folder / "part")
    launches = tuple(Launch(0.0, 0.0, 1.0, 1.0, 50, 500, side) for side in "ab")
    sides = (Contestant("c" * 64, {}), Contestant("b" * 64, {}))
    fought = replace(run.records[0], duel=Duel(launches, "host", {}, "then", a=sides[0], b=sides[1]), headline="equal")
    write_run(replace(run, records=(fought, *run.records[1:])), folder / "part")

    assert harness(folder, "merge", "part", "-o", "merged") == harness(folder, "judge", "part")

    merged, judged = (read_run(folder / name).records[0] for name in ("merged", "part-judged"))
    assert (merged.status, merged.headline) == (judged.status, judged.headline)
    assert merged.headline != "equal"


def test_an_excluded_case_that_was_accepted_is_missing_for_that_reason_when_parts_are_merged(folder):
    suite = fake_suite(folder)
    accept(folder, suite)
    text = suite.read_text().replace("n: 3}]}", "n: 3}], exclude: [{backend: fake, shape: {n: 3}, reason: slow}]}")
    suite.write_text(text)
    harness(folder, "run", suite, "-o", "whole")
    for number in (1, 2):
        harness(folder, "run", suite, "-o", f"part-{number}", "--shard", f"{number}/2")

    assert harness(folder, "merge", "part-1", "part-2", "-o", "merged") == 1

    assert same(read_run(folder / "merged"), read_run(folder / "whole"))
    assert "excluded by the suite: slow" in read_run(folder / "merged").records[1].headline
