"""What baselines remember of earlier runs: one more run of the same adds to it, a change starts anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.baselines import Entry, read
from harness.store import read_run
from toy import fake_suite, harness, small_model

CASE = "toy/small/fake/fp32/n-1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(folder: Path, name: str, latency_ms: float = 1.0, canary_ms: float = 0.5, **options: str) -> str:
    """A run of both toy cases; gives its id."""
    suite = fake_suite(folder, f"cases: [{{latency_ms: {latency_ms}, canary_ms: {canary_ms}}}]")
    if "operator" in options:
        small_model(folder / "small.onnx", options["operator"])
    harness(folder, "run", suite, "-o", name)
    return read_run(folder / name).id


def accept(folder: Path, *names: str) -> Entry:
    """The entry of the first case after accepting these runs."""
    assert harness(folder, "accept", *names, "--reason", "a run more") == 0
    (file,) = (folder / "baselines").glob("*/toy.json")
    return read(folder / "baselines", file.parent.name, "toy")[CASE]


def test_accepted_runs_of_the_same_artefact_add_up_with_their_canary_and_the_newest_is_shown(folder):
    ids = [ran(folder, "a", 1.0, 0.5), ran(folder, "b", 1.01, 0.51), ran(folder, "c", 1.02, 0.52)]

    for name, second in zip("abc", "012", strict=True):
        run = json.loads((folder / name / "run.json").read_text())
        (folder / name / "run.json").write_text(json.dumps({**run, "started": f"2026-03-01T00:00:0{second}+00:00"}))

    entry = accept(folder, "b", "a", "c")  # the oldest counts first, whatever the order

    assert entry.history == ((ids[0], 1.0, 0.5), (ids[1], 1.01, 0.51), (ids[2], 1.02, 0.52))
    assert entry.run == ids[2]
    assert entry.latency.host.p10_ms == 1.02
    assert entry.past == ()


def test_a_run_that_is_accepted_twice_counts_once(folder):
    ran(folder, "a")
    ran(folder, "b")

    assert len(accept(folder, "a", "b").history) == 2
    assert len(accept(folder, "a", "b").history) == 2


def test_another_artefact_starts_anew_and_the_run_in_the_middle_of_the_old_one_is_remembered(folder):
    ids = [ran(folder, name, ms) for name, ms in (("a", 1.0), ("b", 1.3), ("c", 1.01))]
    accept(folder, "a", "b", "c")

    now = ran(folder, "d", 1.1, operator="Neg")
    entry = accept(folder, "d")

    assert entry.history == ((now, 1.1, 0.5),)
    assert entry.past == ((ids[2], 1.01, 0.5, 3),)


def test_the_latest_20_runs_are_kept_and_a_case_stays_one_line(folder, monkeypatch):
    ran(folder, "a")
    run = json.loads((folder / "a/run.json").read_text())
    for number in range(25):
        (folder / f"r{number}").mkdir()
        (folder / f"r{number}/run.json").write_text(json.dumps({**run, "id": f"{run['id']}-{number:02}"}))

    entry = accept(folder, *(f"r{number}" for number in range(25)))

    assert [one[0][-2:] for one in entry.history] == [f"{number:02}" for number in range(5, 25)]
    (file,) = (folder / "baselines").glob("*/toy.json")
    (line,) = (line for line in file.read_text().splitlines() if f'"{CASE}":' in line)
    assert len(json.loads(f"{{{line.rstrip(',')}}}")[CASE]["history"]) == 20


def edited(folder: Path, name: str, change: Callable[[dict], None], **changes: str) -> None:
    """Change every record of a run, and what the run says about itself."""
    file = folder / name / "run.json"
    run = json.loads(file.read_text()) | changes
    for record in run["records"]:
        change(record)
    file.write_text(json.dumps(run))


def untimed(record: dict) -> None:
    record["latency"] = None


def test_times_measured_in_another_way_start_anew_and_the_old_ones_are_remembered(folder):
    first = ran(folder, "a")
    accept(folder, "a")
    now = ran(folder, "b")
    edited(folder, "b", lambda record: record["latency"]["settings"].update(flush_l2=True))

    entry = accept(folder, "b")

    assert (entry.history, entry.past) == (((now, 1.0, 0.5),), ((first, 1.0, 0.5, 1),))


def test_accepting_a_run_without_times_forgets_none(folder):
    first = ran(folder, "a")
    before = accept(folder, "a")
    ran(folder, "b")
    edited(folder, "b", untimed)

    entry = accept(folder, "b")

    assert (entry.history, entry.past, entry.latency, entry.timed) == (before.history, (), before.latency, None)
    third = ran(folder, "c", 1.01)
    assert [one[0] for one in accept(folder, "c").history] == [first, third]


def test_times_of_before_an_artefact_that_was_accepted_without_any_are_told_to_be_others(folder):
    first = ran(folder, "a")
    before = accept(folder, "a")
    ran(folder, "b", operator="Neg")
    edited(folder, "b", untimed)

    entry = accept(folder, "b")

    assert (entry.history, entry.past) == ((), ((first, 1.0, 0.5, 1),))
    assert (entry.latency, entry.timed) == (before.latency, first)
    third = ran(folder, "c", 1.01)
    entry = accept(folder, "c")
    assert (entry.history, entry.past) == (((third, 1.01, 0.5),), ((first, 1.0, 0.5, 1),))
    assert (entry.latency.host.p10_ms, entry.timed) == (1.01, None)


def test_an_older_run_that_is_accepted_later_stands_where_it_belongs(folder):
    ids = []
    for day in (1, 2, 3):
        ran(folder, f"d{day}")
        ids.append(f"2026030{day}-000000-aaaa")
        edited(folder, f"d{day}", lambda _: None, id=ids[-1], started=f"2026-03-0{day}T00:00:00+00:00")

    accept(folder, "d1", "d3")
    entry = accept(folder, "d2")

    assert [one[0] for one in entry.history] == ids
