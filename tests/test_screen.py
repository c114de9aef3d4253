"""Cases that cannot be timed in turns: compared with accepted runs, and measured again before they may fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.records import Record
from harness.store import read_run
from test_turns import only, suite
from toy import fake_suite, harness

CASE = "toy/small/fake/fp32/n-1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(latency_ms: object = 1.0, canary_ms: object = 0.5) -> str:
    """Of the first case; the other one never changes."""
    changed = f"{{match: '*/n-1', latency_ms: {latency_ms}, canary_ms: {canary_ms}}}"
    return f"cases: [{changed}, {{latency_ms: 2.0, canary_ms: 0.5}}]"


def accept_runs(folder: Path, count: int) -> Path:
    """A suite of two cases with that many accepted runs, which differ only in their ids."""
    path = fake_suite(folder, script())
    harness(folder, "run", path, "-o", "first")
    run = json.loads((folder / "first/run.json").read_text())
    names = [f"accepted-{number}" for number in range(count)]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(json.dumps({**run, "id": f"{run['id']}-{name}"}))
    assert harness(folder, "accept", *names, "--reason", "a start") == 0
    return path


def ran(folder: Path, path: Path, latency_ms: object, canary_ms: object = 0.5) -> tuple[int, Record]:
    """Exit status and record of the first case; judging the run again says the same of every case."""
    (folder / "script.yaml").write_text(script(latency_ms, canary_ms))
    status = harness(folder, "run", path, "-o", "now")
    assert harness(folder, "judge", "now") == status
    records = read_run(folder / "now").records
    assert read_run(folder / "now-judged").records == records
    return status, next(record for record in records if record.case.id == CASE)


def test_three_slow_measurements_in_fresh_processes_fail_a_case(folder):
    status, record = ran(folder, accept_runs(folder, 6), "{measured: [1.08, 1.1, 1.06]}")

    assert (status, record.status) == (1, "regressed")
    assert [one.value_ms for one in record.screening.now] == [1.08, 1.1, 1.06]
    assert "p10 +6.0% against 6 earlier runs" in record.headline
    assert "slower in all of 3 fresh processes" in record.headline
    (check,) = [check for check in record.checks if not check.ok]
    assert (check.name, check.value, check.baseline) == ("latency/regression", 1.06, 1.0)


@pytest.mark.parametrize(("times", "measured"), [("[1.01]", 1), ("[1.08, 1.0]", 2), ("[1.08, 1.1, 1.01]", 3)])
def test_any_clean_measurement_acquits_and_ends_the_measuring(folder, times, measured):
    status, record = ran(folder, accept_runs(folder, 5), f"{{measured: {times}}}")

    assert (status, record.status) == (0, "passed")
    assert len(record.screening.now) == measured


def test_a_slower_machine_is_told_by_its_canary_and_decides_nothing(folder, capsys):
    path = accept_runs(folder, 5)

    status, record = ran(folder, path, 1.3, 0.6)

    assert (status, record.status) == (0, "inconclusive")
    assert "the job is invalid: the canary, which no change can touch, moved by " in record.headline
    assert "gate passed: 1 inconclusive, 1 passed; of slower cases it decides nothing: the canary" in (
        capsys.readouterr().out
    )


def test_a_measurement_that_fails_leaves_a_slower_case_undecided(folder):
    status, record = ran(folder, accept_runs(folder, 5), "{measured: [1.1, 0.0]}")

    assert (status, record.status) == (0, "inconclusive")
    assert "measured only 1 of 3 times (input in time: script: cannot be followed" in record.headline


@pytest.mark.parametrize(
    ("times", "expected", "measured"),
    [
        ("[1.3, 1.3, 1.2]", "regressed", 3),
        ("[1.3, 1.0]", "passed", 2),
        ("[1.3, 1.2, 1.01]", "passed", 3),
        ("[1.3, 0.5]", "passed", 2),
        ("[0.5]", "improved", 1),
    ],
)
def test_with_few_earlier_runs_the_accepted_window_decides_and_is_measured_against_three_times_too(
    folder, times, expected, measured
):
    status, record = ran(folder, accept_runs(folder, 4), f"{{measured: {times}}}")

    assert (status, record.status) == (int(expected == "regressed"), expected)
    assert len(record.screening.now) == measured


def test_an_interrupted_run_fails_no_case_on_one_measurement(folder, monkeypatch):
    from harness.runner import screen

    def interrupt(*_):
        raise KeyboardInterrupt

    path = accept_runs(folder, 5)
    (folder / "script.yaml").write_text(script(1.3))
    monkeypatch.setattr(screen, "measured", interrupt)

    assert harness(folder, "run", path, "-o", "now") == 130

    record = next(record for record in read_run(folder / "now").records if record.case.id == CASE)
    assert record.status == "inconclusive"
    assert "measured only 1 of 3 times" in record.headline


def test_a_run_made_before_anything_was_accepted_fails_no_case_on_one_measurement_when_judged(folder):
    path = fake_suite(folder, script(1.3))
    assert harness(folder, "run", path, "-o", "now") == 0
    (folder / "script.yaml").write_text(script())
    assert harness(folder, "run", path, "-o", "first") == 0
    assert harness(folder, "accept", "first", "--reason", "a start") == 0

    assert harness(folder, "judge", "now") == 0

    record = next(record for record in read_run(folder / "now-judged").records if record.case.id == CASE)
    assert record.status == "inconclusive"
    assert "slower, but measured only 1 of 3 times" in record.headline


@pytest.mark.alone
def test_a_real_case_whose_accepted_artefact_is_gone_is_measured_again_from_its_own(folder):
    path = suite(folder)
    assert harness(folder, "run", path, "-o", "first") == 0
    assert harness(folder, "accept", "first", "--reason", "a start", "--launches", 0) == 0
    (baseline,) = (folder / "baselines").glob("*/turns.json")
    data = json.loads(baseline.read_text())
    (entry,) = data["cases"].values()
    ((run, p10_ms, canary_ms),) = entry["history"]
    entry["history"] = [  # the same half as long, on machines of which some were faster
        [f"{run}-{number}", p10_ms * speed / 2, canary_ms * speed]
        for number, speed in enumerate((0.6, 0.8, 1.0, 1.25, 1.7))
    ]
    entry["digests"]["variant"] = "0" * 64
    baseline.write_text(json.dumps(data))

    assert harness(folder, "run", path, "-o", "second") == 1
    assert harness(folder, "judge", "second") == 1

    record = only(folder / "second")
    assert record.status == "regressed"
    assert "is not kept here (--artefacts)" in record.headline
    assert len(record.screening.now) == 3
    assert all(one.canary_ms > 0 for one in record.screening.now)
    assert only(folder / "second-judged") == record


def test_pytest_measures_a_slower_case_again(folder, pytester):
    accept_runs(pytester.path, 5)
    (pytester.path / "script.yaml").write_text(script("{measured: [1.1, 1.1, 1.0]}"))

    found = pytester.runpytest_subprocess("toy.yaml", "--harness-artefacts", str(folder), "-k", "n-1")

    found.assert_outcomes(passed=1)
