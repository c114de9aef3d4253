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
from harness.journal import JOURNAL_FILE, line
from harness.records import Run

RUNS, REPORTS, COMMANDS, BASELINES, IMPORTED, JOURNALS = 4500, 200, 60, 3500, 1500, 2500


def written(path: Path, rng: random.Random, source: Any) -> Path:
    path.write_bytes(mutations.tree(rng, source).encode("utf-8", "surrogatepass"))
    return path


def read(path: Path) -> Run | None:
    """The run of a mutant; None where it is refused by name."""
    try:
        return store.read_run(path)
    except UsageError as error:
        ledger.refused(error, f"{path}: not a run: ")
        return None


def drawn(found: Run, folder: Path) -> str:
    """Draw and write a run: everything it shows is harmless, and it is read again as what it is."""
    report.write(found, folder, against=found)
    ET.parse(folder / "junit.xml")
    page, summary = ((folder / file).read_text("utf-8") for file in ("report.html", "summary.md"))
    assert "<script>alert" not in page + summary
    assert not re.search("[\u202e\x1b\x00]", page + summary)
    store.write_run(found, folder)
    assert store.read_run(folder) == found
    return ledger.VALID


def test_a_damaged_run_is_refused_by_name_or_read(tmp_path: Path) -> None:
    source = corpus.run()

    def one(rng: random.Random) -> str:
        return ledger.VALID if read(written(tmp_path / "run.json", rng, source)) else ledger.CLEAR

    ledger.each("run.json", RUNS, one)


def test_a_run_that_is_read_can_be_drawn_and_written_again_and_shows_no_foreign_markup(tmp_path: Path) -> None:
    source = corpus.run()

    def one(rng: random.Random) -> str:
        found = read(written(tmp_path / "run.json", rng, source))
        return ledger.CLEAR if found is None else drawn(found, tmp_path / "out")

    ledger.each("report", REPORTS, one)


def test_a_command_on_a_damaged_run_ends_with_a_known_status_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sound = corpus.run(), tmp_path / "sound"
    store.write_run(every_status(), _made(sound))

    def one(rng: random.Random) -> str:
        path = written(tmp_path / "run.json", rng, source)
        refused = read(path) is None
        for command in (["compare", str(sound), str(path)], ["report", str(path), "-o", str(tmp_path / "drawn")]):
            status = main(command)
            told = capsys.readouterr().err
            assert "Traceback" not in told, told
            assert (status == 2) == refused, command
            assert status in (0, 1, 2), command
            (tmp_path / "drawn/run.json").unlink(missing_ok=True)
        return ledger.CLEAR if refused else ledger.VALID

    ledger.each("compare", COMMANDS, one)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_damaged_file_of_pytest_benchmark_is_refused_by_name_or_becomes_a_run(tmp_path: Path) -> None:
    store.write_run(corpus.timed(), _made(tmp_path / "sound"))
    assert main(["export", str(tmp_path / "sound"), "-o", str(tmp_path / "b.json")]) == 0
    source, path = json.loads((tmp_path / "b.json").read_text()), tmp_path / "mutant.json"

    def one(rng: random.Random) -> str:
        written(path, rng, source)
        try:
            found = file_of(path, "pytest")
            made = found.run(records(found.batch, [], lambda _: {}), "command")
        except UsageError as error:
            return ledger.refused(error, str(path))
        assert made.records
        assert decode(Run, json.loads(json.dumps(encode(made)))) == made
        return ledger.VALID

    ledger.each("benchmarks", IMPORTED, one)


def test_a_damaged_baseline_is_refused_by_name_or_read_and_written_again(tmp_path: Path) -> None:
    source = corpus.baseline(tmp_path)
    path = tmp_path / "nvidia-l4-x1/vision.json"

    def one(rng: random.Random) -> str:
        written(path, rng, source)
        try:
            found = baselines.read(tmp_path, "nvidia-l4-x1", "vision")
        except UsageError as error:
            return ledger.refused(error, f"{path}: not a baseline: ")
        assert all(case.startswith("vision/") for case in found)
        baselines.write(tmp_path / "again", "nvidia-l4-x1", "vision", found)
        assert baselines.read(tmp_path / "again", "nvidia-l4-x1", "vision").keys() == found.keys()
        return ledger.VALID

    ledger.each("baseline", BASELINES, one)


def test_a_damaged_journal_is_refused_by_name_or_makes_a_run_that_passes_only_where_nothing_is_lost(
    tmp_path: Path,
) -> None:
    sound = corpus.journal()
    whole = {case["case"]["id"] for kind, case in sound if kind == "record"}
    path = tmp_path / JOURNAL_FILE

    def one(rng: random.Random) -> str:
        path.write_bytes(_journal(rng, sound))
        words: list[str] = []
        try:
            found = store.recovered(tmp_path, words.append)
        except UsageError as error:
            return ledger.refused(error, str(path))
        ids = {record.case.id for record in found.records}
        assert not found.gate.passed or ids == whole or not words, (ids, words)
        assert len(ids) == len(found.records)
        assert decode(Run, json.loads(json.dumps(encode(found)))) == found
        return ledger.VALID

    ledger.each("journal", JOURNALS, one)


def _journal(rng: random.Random, sound: list[tuple[str, Any]]) -> bytes:
    """A journal with damaged bytes, lines lost, doubled or in another order, or other data under a right sum."""
    lines = [line(kind, data) for kind, data in sound]
    what = rng.random()
    if what < 0.4:
        return mutations.damaged(rng, b"".join(lines))
    place = rng.randrange(len(lines))
    if what < 0.8:
        kind, data = sound[place]
        lines[place] = line(kind, json.loads(_json(rng, data)))
    elif what < 0.9:
        lines[place : place + 1] = rng.choice(([], [lines[place]] * 2, [lines[place][:-1]], [b"\n"], [b"\xff\n"]))
    else:
        rng.shuffle(lines)
    return b"".join(lines)


def _json(rng: random.Random, data: Any) -> str:
    """A changed value that is JSON still, as a journal with a right sum always holds."""
    while True:
        made = mutations.tree(rng, data)
        try:
            json.loads(made)
        except (ValueError, RecursionError):
            continue
        return made
