"""What is never compared and said so by name, and what is compared although it changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.store import read_run
from test_turns import only, suite
from toy import fake_suite, harness

CASE = "toy/small/fake/fp32/n-1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def accepted(folder: Path, path: Path) -> Path:
    """The baseline of a suite that was run and accepted."""
    assert harness(folder, "run", path, "-o", "first") == 0
    assert harness(folder, "accept", "first", "--reason", "a start", "--launches", 0) == 0
    (baseline,) = (folder / "baselines").glob("*/*.json")
    return baseline


def test_a_case_accepted_on_another_machine_class_alone_is_new_and_names_that_class(folder):
    path = fake_suite(folder)
    baseline = accepted(folder, path)
    here = baseline.parent.name
    other = folder / "baselines/another-gpu-x1/toy.json"
    other.parent.mkdir()
    other.write_text(baseline.read_text().replace(f'"{here}"', '"another-gpu-x1"'))
    baseline.unlink()

    assert harness(folder, "run", path, "-o", "second") == 0

    record = read_run(folder / "second").records[0]
    assert record.status == "new"
    assert record.headline.endswith(
        f"accepted on another-gpu-x1 only, this is {here}: machine classes are never compared"
    )


def test_a_damaged_baseline_of_another_machine_class_stops_nothing(folder):
    (folder / "baselines/another-gpu-x1").mkdir(parents=True)
    (folder / "baselines/another-gpu-x1/toy.json").write_text("{")

    assert harness(folder, "run", fake_suite(folder), "-o", "out") == 0


def test_times_of_other_iterations_are_refused_by_name(folder):
    path = fake_suite(folder)
    baseline = accepted(folder, path)
    baseline.write_text(baseline.read_text().replace('"flush_l2": false', '"flush_l2": true'))

    assert harness(folder, "run", path, "-o", "second") == 0

    record = read_run(folder / "second").records[0]
    assert record.status == "inconclusive"
    assert "measured with other settings (flush_l2 True then, False now): accept a new one" in record.headline


def test_times_of_longer_windows_are_compared_and_named(folder):
    path = fake_suite(folder)
    accepted(folder, path)
    path.write_text(path.read_text().replace("min_count: 20", "min_count: 20, warmup_s: 0.1"))

    assert harness(folder, "run", path, "-o", "second") == 0

    record = read_run(folder / "second").records[0]
    assert record.status == "passed"
    assert "timed with warmup_s 0.2 then, 0.1 now" in record.headline


def test_another_precision_is_another_case(folder):
    path = fake_suite(folder)
    accepted(folder, path)
    path.write_text(path.read_text().replace("[fp32]", "[fp16]"))

    assert harness(folder, "run", path, "-o", "second") == 1

    found = {record.case.id: record.status for record in read_run(folder / "second").records}
    assert found["toy/small/fake/fp16/n-1"] == "new"
    assert found[CASE] == "missing"


def test_another_version_of_the_runtime_is_compared_and_named(folder):
    path = suite(folder)
    baseline = accepted(folder, path)
    data = json.loads(baseline.read_text())
    (entry,) = data["cases"].values()
    now, entry["versions"]["onnxruntime"] = entry["versions"]["onnxruntime"], "1.0.0"
    entry["latency"]["host"] |= {"p50_ms": 1000.0, "ci95_ms": [999.0, 1001.0]}
    baseline.write_text(json.dumps(data))

    assert harness(folder, "run", path, "-o", "second") == 0

    record = only(folder / "second")
    assert record.status == "improved"
    assert "two versions cannot take turns in one process" in record.headline
    assert "options" not in record.headline  # they are the same, whatever their order
    assert f"[since the baseline: onnxruntime 1.0.0 -> {now}]" in record.headline
