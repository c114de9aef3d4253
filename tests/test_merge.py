"""What `harness merge` takes from the parts, and what it leaves as it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.artefacts import link
from harness.store import read_run
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
