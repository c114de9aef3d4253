"""Damaged results (run.json, baselines, journals): refused by name, or read as what can be drawn and judged."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import corpus
import ledger
import mutations
import pytest

from builders import every_status
from harness import baselines, report, store
from harness.cli import main
from harness.codec import decode, encode
from harness.errors import UsageError
from harness.interchange.imported import file_of, records
from harness.records import Run

RUNS, REPORTS, COMMANDS, BASELINES, IMPORTED, JOURNALS = 4500, 200, 60, 3500, 1500, 3000


def written(path: Path, rng: random.Random, source: Any) -> Path:
    path.write_bytes(mutations.tree(rng, source).encode("utf-8", "surrogatepass"))
    return path


def read(path: Path) -> Run | None:
    """The run of a mutant; None where it is refused by name."""
    try:
        return store.read_run(path)
    except UsageError as error:
        return _refused(path, error)


def _refused(path: Path, error: UsageError) -> None:
    assert str(error).startswith(f"{path}: not a run: ")


def test_a_damaged_run_is_refused_by_name_or_read(tmp_path: Path) -> None:
    source = corpus.run()
    for _, rng in ledger.mutants("run.json", RUNS):
        found = read(written(tmp_path / "run.json", rng, source))
        ledger.ended("run.json", ledger.CLEAR if found is None else ledger.VALID)


def test_a_run_that_is_read_can_be_drawn_and_written_again_and_shows_no_foreign_markup(tmp_path: Path) -> None:
    source = corpus.run()
    for name, rng in ledger.mutants("report", REPORTS):
        found = read(written(tmp_path / "run.json", rng, source))
        if found is None:
            ledger.ended("report", ledger.CLEAR)
            continue
        report.write(found, tmp_path / "out", against=found)
        ET.parse(tmp_path / "out/junit.xml")
        page, summary = ((tmp_path / "out" / file).read_text("utf-8") for file in ("report.html", "summary.md"))
        assert "<script>alert" not in page + summary, name
        assert not re.search("[\u202e\x1b\x00]", page + summary), name
        store.write_run(found, tmp_path / "out")
        assert store.read_run(tmp_path / "out") == found, name
        ledger.ended("report", ledger.VALID)


def test_a_command_on_a_damaged_run_ends_with_a_known_status_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sound = corpus.run(), tmp_path / "sound"
    store.write_run(every_status(), _made(sound))
    for name, rng in ledger.mutants("compare", COMMANDS):
        path = written(tmp_path / "run.json", rng, source)
        refused = read(path) is None
        for command in (["compare", str(sound), str(path)], ["report", str(path), "-o", str(tmp_path / "drawn")]):
            status = main(command)
            assert "Traceback" not in capsys.readouterr().err, name
            assert (status == 2) == refused, (name, command)
            assert status in (0, 1, 2), name
        ledger.ended("compare", ledger.CLEAR if refused else ledger.VALID)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_damaged_file_of_pytest_benchmark_is_refused_by_name_or_becomes_a_run(tmp_path: Path) -> None:
    store.write_run(corpus.timed(), _made(tmp_path / "sound"))
    assert main(["export", str(tmp_path / "sound"), "-o", str(tmp_path / "b.json")]) == 0
    source, path = json.loads((tmp_path / "b.json").read_text()), tmp_path / "mutant.json"
    for name, rng in ledger.mutants("benchmarks", IMPORTED):
        written(path, rng, source)
        try:
            found = file_of(path, "pytest")
            made = found.run(records(found.batch, [], lambda _: {}), "command")
        except UsageError as error:
            ledger.refused("benchmarks", error, str(path), name)
            continue
        assert made.records, name
        assert decode(Run, json.loads(json.dumps(encode(made)))) == made, name
        ledger.ended("benchmarks", ledger.VALID)


def test_a_damaged_baseline_is_refused_by_name_or_read_and_written_again(tmp_path: Path) -> None:
    source = corpus.baseline(tmp_path)
    path = tmp_path / "nvidia-l4-x1/vision.json"
    for name, rng in ledger.mutants("baseline", BASELINES):
        written(path, rng, source)
        try:
            found = baselines.read(tmp_path, "nvidia-l4-x1", "vision")
        except UsageError as error:
            ledger.refused("baseline", error, f"{path}: not a baseline: ", name)
            continue
        assert all(case.startswith("vision/") for case in found), name
        baselines.write(tmp_path / "again", "nvidia-l4-x1", "vision", found)
        assert baselines.read(tmp_path / "again", "nvidia-l4-x1", "vision").keys() == found.keys(), name
        ledger.ended("baseline", ledger.VALID)


def test_a_journal_is_read_up_to_what_is_damaged(tmp_path: Path) -> None:
    del tmp_path
    assert json
