"""Records, journals, runs and baselines on disk."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from builders import every_status, record, run
from harness import baselines, store
from harness.codec import decode, encode
from harness.errors import UsageError
from harness.records import Admission, Latency, Quantiles, Record, Run

ABOUT = {
    "versions": {"onnxruntime": "1.31.1"},
    "run": "r",
    "commit": None,
    "date": "2026-01-01",
    "by": "me",
    "reason": "why",
}


ADMISSION = Admission(sd=0.004, launches=10, mde=0.016)
TIMES = Quantiles(1.0, 1.1, 1.2, 1.0, (0.9, 1.1), 100, p10_ms=0.9)
LATENCY = Latency(TIMES, None, "host", {}, canary_ms=0.5)


def test_a_run_survives_its_json_form():
    whole = run(*every_status()) if not isinstance(every_status(), Run) else every_status()

    assert decode(Run, json.loads(json.dumps(encode(whole)))) == whole


def test_a_written_run_has_one_case_a_line(tmp_path):
    records = [record("s/m/b/p/x", "passed", measures={"build_s": float("nan")}), record("s/m/b/p/y", "skipped")]
    text = store.write_run(run(*records), tmp_path).read_text("utf-8")

    assert json.loads(text) == encode(run(*records))
    assert [json.loads(line.strip(","))["case"]["id"] for line in text.splitlines() if line.startswith('{"case"')] == [
        "s/m/b/p/x", "s/m/b/p/y",
    ]  # fmt: skip


def test_unknown_keys_in_json_are_ignored_so_newer_runs_can_be_read():
    data = encode(record("s/m/b/p/x", "passed"))

    assert decode(Record, {**data, "later": 1}) == decode(Record, data)


@pytest.mark.parametrize(("field", "value"), [("status", 3), ("checks", {}), ("attempts", "1"), ("case", None)])
def test_a_value_of_the_wrong_type_is_named(field, value):
    data = {**encode(record("s/m/b/p/x", "passed")), field: value}

    with pytest.raises(TypeError, match=f"Record.{field}"):
        decode(Record, data)


def test_numbers_that_json_lacks_become_null():
    assert encode({"a": float("nan"), "b": float("inf"), "c": 1.5}) == {"a": None, "b": None, "c": 1.5}


def test_the_journal_gives_back_what_was_appended(tmp_path):
    records = [record("s/m/b/p/x", "passed"), record("s/m/b/p/y", "skipped")]
    with store.Journal(tmp_path) as journal:
        for one in records:
            journal.append(one)

    assert list(store.read_journal(tmp_path)) == records


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": "other/1"}', '{"schema": "harness.run/1"}', "\x00"]
)
def test_what_is_not_a_run_is_refused_by_file_name(tmp_path, text):
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(UsageError, match=r"run\.json: not a run"):
        store.read_run(tmp_path)


def test_a_baseline_is_sorted_one_case_a_line_with_five_digits(tmp_path):
    records = [record("s/m/b/p/z", "passed"), record("s/m/b/p/a", "new")]
    entries = baselines.accept({}, records, ABOUT)

    path = baselines.write(tmp_path, "gpu-x1", "s", entries)

    lines = [line for line in path.read_text().splitlines() if line.startswith('  "')]
    assert [line.split(":")[0].strip(' "') for line in lines] == ["s/m/b/p/a", "s/m/b/p/z"]
    again = baselines.read(tmp_path, "gpu-x1", "s")
    assert again.keys() == entries.keys()
    assert again["s/m/b/p/a"].reason == "why"


def test_accepting_twice_changes_nothing_in_the_file(tmp_path):
    entries = baselines.accept({}, [record("s/m/b/p/z", "passed")], ABOUT)
    first = baselines.write(tmp_path, "gpu-x1", "s", entries).read_text()

    assert baselines.write(tmp_path, "gpu-x1", "s", baselines.read(tmp_path, "gpu-x1", "s")).read_text() == first


def test_accepting_keeps_cases_that_were_not_in_the_run():
    before = baselines.accept({}, [record("s/m/b/p/old", "passed")], ABOUT)

    after = baselines.accept(before, [record("s/m/b/p/new", "new")], ABOUT)

    assert set(after) == {"s/m/b/p/old", "s/m/b/p/new"}


def test_accepting_a_missing_case_removes_it():
    before = baselines.accept({}, [record("s/m/b/p/old", "passed")], ABOUT)

    assert baselines.accept(before, [record("s/m/b/p/old", "missing")], ABOUT) == {}


def test_accepting_a_case_that_no_part_of_the_run_holds_leaves_it_alone():
    before = baselines.accept({}, [record("s/m/b/p/old", "passed")], ABOUT)

    assert baselines.accept(before, [record("s/m/b/p/old", "missing", not_run=True)], ABOUT) == before


@pytest.mark.parametrize(
    "wrong",
    [
        replace(record("s/m/b/p/x", "passed"), case=replace(record("s/m/b/p/x", "passed").case, id="zzz")),
        record("s/m/b/p/x", "passed", latency=replace(LATENCY, host=replace(TIMES, p50_ms=-1.0))),
        record("s/m/b/p/x", "passed", latency=replace(LATENCY, canary_ms=-1.0)),
    ],
)
def test_what_could_not_be_read_again_is_never_written_and_neither_is_what_comes_with_it(tmp_path, wrong):
    good = baselines.accept({}, [record("s/m/b/p/old", "passed")], ABOUT)
    path = baselines.write(tmp_path, "gpu-x1", "s", good)
    before = path.read_bytes()

    with pytest.raises(UsageError, match=f"cannot be a baseline: .*{wrong.case.id}.*; nothing was written"):
        baselines.write_all(
            {(tmp_path, "new", "s"): good, (tmp_path, "gpu-x1", "s"): baselines.accept({}, [wrong], ABOUT)}
        )

    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]
    assert path.read_bytes() == before


def test_a_run_whose_times_nobody_measured_is_refused_by_file_name(tmp_path):
    wrong = replace(LATENCY, gpu=replace(TIMES, p99_ms=-1.0))
    store.write_run(run(record("s/m/b/p/x", "passed", latency=wrong)), tmp_path)

    with pytest.raises(UsageError, match=r"run\.json: not a run: s/m/b/p/x: its latency holds what is no time"):
        store.read_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("out/run.json", lambda folder: store.write_run(run(record("s/m/b/p/x", "passed")), folder / "out")),
        ("out/journal.jsonl", lambda folder: store.Journal(folder / "out").close()),
        ("gpu-x1/s.json", lambda folder: baselines.write(folder, "gpu-x1", "s", {})),
    ],
)
def test_the_name_of_a_file_is_on_disk_and_what_it_holds_before_it(tmp_path, monkeypatch, file, write):
    path, synced = tmp_path / file, []
    path.parent.mkdir()

    def fsync(handle: int) -> None:
        synced.append((Path(f"/proc/self/fd/{handle}").resolve(), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path)

    assert (path.parent, True) in synced
    if path.suffix == ".json":
        (first, named), *_ = [one for one in synced if one[0].suffix == ".tmp"]
        assert (first.parent, named) == (path.parent, False)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "x"}', '{"schema": "harness.baseline/1", "cases": {"a": {}}}'])
def test_a_damaged_baseline_stops_everything(tmp_path, text):
    (tmp_path / "gpu-x1").mkdir()
    (tmp_path / "gpu-x1/s.json").write_text(text)

    with pytest.raises(UsageError, match=r"s\.json: not a baseline"):
        baselines.read(tmp_path, "gpu-x1", "s")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("admission", "sd"), "10000.0"),
        (("admission", "sd"), "-0.1"),
        (("admission", "launches"), "1"),
        (("admission", "mde"), "1e999"),
        (("latency", "canary_ms"), "-1.0"),
        (("latency", "host", "p50_ms"), "NaN"),
        (("latency", "host", "p50_ms"), "-Infinity"),
        (("latency", "host", "mean_ms"), "-0.5"),
        (("history", 0, 1), "0.0"),
        (("history", 0, 2), "9" * 400),
        (("reason",), "[" * 200 + "]" * 200),
        (("reason",), "[" * 100_000 + "]" * 100_000),
    ],
)
def test_numbers_that_nobody_measured_damage_a_baseline(tmp_path, place, value):
    entries = baselines.accept({}, [record("s/m/b/p/z", "passed", latency=LATENCY)], ABOUT, {"s/m/b/p/z": ADMISSION})
    path = baselines.write(tmp_path, "gpu-x1", "s", entries)
    data = json.loads(path.read_text())
    entry = data["cases"]["s/m/b/p/z"]
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = "here"
    path.write_text(json.dumps(data).replace('"here"', value))

    with pytest.raises(UsageError, match=r"s\.json: not a baseline: .*restore it from version control"):
        baselines.read(tmp_path, "gpu-x1", "s")


@pytest.mark.parametrize("value", ["NaN", "9" * 400, "[" * 200 + "]" * 200, "[" * 100_000 + "]" * 100_000])
def test_a_run_with_what_no_record_can_hold_is_refused_by_file_name(tmp_path, value):
    store.write_run(run(record("s/m/b/p/x", "passed")), tmp_path)
    data = json.loads((tmp_path / "run.json").read_text())
    data["records"][0]["attested"] = {"one": "here"}
    (tmp_path / "run.json").write_text(json.dumps(data).replace('"here"', value))

    with pytest.raises(UsageError, match=r"run\.json: not a run"):
        store.read_run(tmp_path)


def test_no_baseline_is_empty(tmp_path):
    assert baselines.read(tmp_path, "gpu-x1", "s") == {}


def test_a_baseline_of_another_machine_or_suite_is_refused(tmp_path):
    path = baselines.write(tmp_path, "gpu-x1", "s", baselines.accept({}, [record("s/m/b/p/z", "passed")], ABOUT))
    (tmp_path / "gpu-x2").mkdir()
    path.rename(tmp_path / "gpu-x2/s.json")

    with pytest.raises(UsageError, match="it says that it is of gpu-x1"):
        baselines.read(tmp_path, "gpu-x2", "s")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data["environments"].clear(),
        lambda data: data["records"][0].update(status="fine"),
        lambda data: next(iter(data["environments"].values())).update(fingerprint="../../out"),
        lambda data: data["records"][0]["case"].update(suite="../up"),
    ],
)
def test_a_run_whose_parts_do_not_fit_is_refused(tmp_path, spoil):
    data = encode(every_status())
    spoil(data)
    (tmp_path / "run.json").write_text(json.dumps(data))

    with pytest.raises(UsageError, match=r"run\.json: not a run"):
        store.read_run(tmp_path)
