"""Cases timed in turns with the artefact that was accepted for them, from `accept` to the verdict."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import onnx
import pytest

from harness import artefacts, baselines, suites
from harness.baselines import read
from harness.commands import admitted
from harness.errors import InputError
from harness.judge.launches import FEWEST
from harness.pytest_items import Shared
from harness.records import Admission, Contestant, Duel, Interpreter, Launch, Outcome, Record
from harness.runner.bench import Bench
from harness.runner.settings import Settings
from harness.runner.spread import run
from harness.store import read_run, write_run
from models import conv_net
from toy import fake_suite, harness

pytestmark = pytest.mark.alone
SUITE = """
suite: turns
models:
  - name: net
    source: net.onnx
    backends: [onnxruntime-cpu]
    shapes: [{{n: 16}}]
    latency: {{min_time_s: 0.05, floor_us: 0}}
    options: {{onnxruntime-cpu: {{threads: 1, graph_optimization: {level}}}}}
"""


QUIET = Admission(0.001, 7, 0.012)


def suite(folder: Path, level: str = "all") -> Path:
    (folder / "pyproject.toml").touch()
    if not (folder / "net.onnx").exists():
        onnx.save(conv_net(), folder / "net.onnx")
    path = folder / "turns.yaml"
    path.write_text(SUITE.format(level=level))
    return path


def only(folder: Path) -> Record:
    (record,) = read_run(folder).records
    return record


def accepted_entry(folder: Path) -> baselines.Entry:
    (baseline,) = (folder / "baselines").glob("*/turns.json")
    (entry,) = read(folder / "baselines", baseline.parent.name, "turns").values()
    return entry


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with a suite whose case was run and accepted after two launches against itself; and a copy of it."""
    folder = tmp_path_factory.mktemp("turns")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert harness(folder, "run", suite(folder), "-o", "first") == 0
        for _ in range(3):  # launches that others disturbed admit nothing, and are made again
            assert harness(folder, "accept", "first", "--reason", "a start", "--launches", 2) == 0
            if accepted_entry(folder).admission is not None:
                break
    return folder, shutil.copytree(folder, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True)


@pytest.fixture
def accepted(first, monkeypatch):
    """The folder as it was when its case was accepted, in its place: runs and baselines hold the path."""
    folder, copy = first
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    monkeypatch.chdir(folder)
    return folder


def test_acceptance_measures_what_can_be_seen_and_keeps_it_while_nothing_changes(accepted, capsys):
    record = only(accepted / "first")
    (baseline,) = (accepted / "baselines").glob("*/turns.json")

    (entry,) = read(accepted / "baselines", baseline.parent.name, "turns").values()
    assert entry.admission is not None
    assert entry.admission.launches == 2
    assert entry.admission.mde > entry.admission.sd > 0
    edited(accepted, admission=asdict(QUIET))  # fine enough, however busy this machine is
    capsys.readouterr()
    assert harness(accepted, "accept", "first", "--reason", "again") == 0

    assert f"admitted     {record.case.id}" not in capsys.readouterr().out
    (again,) = read(accepted / "baselines", baseline.parent.name, "turns").values()
    assert again.admission == QUIET


def test_the_accepted_artefact_in_the_same_environment_passes_for_that_reason(accepted):
    assert harness(accepted, "run", accepted / "turns.yaml", "-o", "second") == 0

    record = only(accepted / "second")
    assert record.status == "passed"
    assert record.headline.startswith("the artefact is the accepted one, in the same environment")
    assert record.duel is None


def test_other_options_are_timed_in_turns_and_a_slower_one_is_regressed_in_the_same_words_when_judged_again(accepted):
    slower = suite(accepted, "disable")

    status = harness(accepted, "run", slower, "-o", "second")

    record = only(accepted / "second")
    assert record.duel is not None
    if sum(launch.spoiled is None for launch in record.duel.launches) < FEWEST:
        pytest.skip(f"others keep this machine too busy to time anything: {record.headline}")
    assert status == harness(accepted, "judge", "second") == 1
    assert record.status == "regressed"
    assert len(record.duel.launches) >= 10
    assert {launch.first for launch in record.duel.launches} == {"a", "b"}
    assert f"in turns with accepted artefact {record.digests.variant[:12]}" in record.headline
    assert only(accepted / "second-judged") == record
    variant = only(accepted / "first").digests.variant
    assert record.duel.a == Contestant(variant, {"threads": 1, "graph_optimization": "all"})
    assert record.duel.b == Contestant(record.digests.variant, {"threads": 1, "graph_optimization": "disable"})


def judged_with_launches(folder, change=lambda duel: duel, entry=lambda _: None):
    """The record of the accepted run, as if it had been timed in turns, judged once its baseline was changed."""
    run = read_run(folder / "first")
    (baseline,) = (folder / "baselines").glob("*/turns.json")
    data = json.loads(baseline.read_text())
    (accepted,) = data["cases"].values()
    accepted["options"] = {"threads": 1, "graph_optimization": "basic"}  # not those of the run
    accepted["admission"] = {"sd": 0.001, "launches": 10, "mde": 0.012}
    side = Contestant(accepted["digests"]["variant"], dict(accepted["options"]))
    duel = Duel((Launch(0.0, 0.0, 1.0, 1.0, 50, 500, "a"),) * 2, "host", {}, "accepted artefact", a=side)
    entry(accepted)
    baseline.write_text(json.dumps(data))
    (record,) = run.records
    (folder / "fought").mkdir()
    write_run(replace(run, records=(replace(record, duel=change(duel)),)), folder / "fought")
    assert harness(folder, "judge", "fought") == 0
    return only(folder / "fought-judged")


def test_launches_with_what_is_still_accepted_decide_again(accepted):
    record = judged_with_launches(accepted)

    assert record.status == "passed"
    assert "2 launches in turns with accepted artefact" in record.headline


@pytest.mark.parametrize(
    "entry",
    [lambda entry: entry["digests"].update(variant="0" * 64), lambda entry: entry["options"].update(threads=2)],
)
def test_launches_with_what_is_not_accepted_any_more_decide_nothing(accepted, entry):
    record = judged_with_launches(accepted, entry=entry)

    assert record.status == "inconclusive"
    assert record.headline.startswith(
        "was timed in turns with another artefact than the one accepted now: run it again"
    )


def test_an_admission_by_longer_launches_says_nothing_of_shorter_ones(accepted):
    record = judged_with_launches(accepted, entry=lambda entry: entry["latency"]["settings"].update(min_time_s=9.0))

    assert record.admission is None
    assert "10 clean launches are needed" in record.headline


def test_launches_that_do_not_tell_what_they_were_against_decide_nothing(accepted):
    assert judged_with_launches(accepted, change=lambda duel: replace(duel, a=None)).status == "inconclusive"


def test_without_the_accepted_artefact_the_stored_window_is_what_there_is(accepted):
    shutil.rmtree(accepted / "cache" / "artefacts")
    other = conv_net()
    other.producer_name = "somebody else"  # the same computation in another file
    onnx.save(other, accepted / "net.onnx")

    harness(accepted, "run", accepted / "turns.yaml", "-o", "second")

    record = only(accepted / "second")
    assert record.duel is None
    assert "is not kept here (--artefacts)" in record.headline
    assert record.why_stored


def test_a_kept_artefact_that_changed_is_never_loaded(accepted):
    digest = only(accepted / "first").digests.variant
    (kept,) = (accepted / "cache" / "artefacts" / digest).glob("*.onnx")
    kept.write_bytes(kept.read_bytes() + b"\0")

    with pytest.raises(InputError, match="is not what was kept here"):
        artefacts.find(accepted / "cache", digest)
    assert not artefacts.has(accepted / "cache", digest)


def test_an_artefact_that_cannot_be_opened_any_more_is_named_and_decides_nothing_in_turns(accepted):
    digest = only(accepted / "first").digests.variant
    (kept,) = (accepted / "cache" / "artefacts" / digest).glob("*.onnx")
    kept.write_bytes(kept.read_bytes()[:-10])
    slower = suite(accepted, "disable")

    harness(accepted, "run", slower, "-o", "second")

    record = only(accepted / "second")
    assert record.duel is not None
    assert record.duel.launches == ()
    assert "not timed in turns: input in load" in record.headline


def test_a_model_with_weights_beside_it_is_kept_whole(tmp_path):
    model = tmp_path / "big.onnx"
    onnx.save(conv_net(), model, save_as_external_data=True, location="big.data", size_threshold=0)
    from harness.sources.digest import model_digest

    digest = model_digest(model)
    artefacts.keep(tmp_path / "cache", model, digest)
    model.unlink()

    assert model_digest(artefacts.find(tmp_path / "cache", digest)) == digest
    (tmp_path / "cache" / "artefacts" / digest / "big.data").unlink()
    with pytest.raises(InputError, match="missing byte"):
        artefacts.find(tmp_path / "cache", digest)


def test_a_run_from_another_machine_is_accepted_without_admission(accepted, capsys):
    from harness.store import write_run

    run = read_run(accepted / "first")
    moved = {key: replace(one, fingerprint="cpu-another") for key, one in run.environments.items()}
    (accepted / "moved").mkdir()
    write_run(replace(run, environments=moved), accepted / "moved")

    assert harness(accepted, "accept", "moved", "--reason", "from elsewhere") == 0

    assert "not admitted" in capsys.readouterr().out
    (entry,) = read(accepted / "baselines", "cpu-another", "turns").values()
    assert asdict(entry)["admission"] is None


def test_a_case_whose_artefact_cannot_be_kept_is_measured_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "artefacts").touch()  # a file where the folder should be

    assert harness(tmp_path, "run", suite(tmp_path), "-o", "first") == 0

    record = only(tmp_path / "first")
    assert record.status == "new"
    assert any(note.startswith("the artefact is not kept") for note in record.notes)


def test_an_error_while_cases_are_timed_in_turns_loses_no_measured_case(accepted, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("scripted")

    monkeypatch.setattr("harness.runner.spread.duels", broken)
    assert harness(accepted, "run", suite(accepted, "disable"), "-o", "second") == 3

    run = read_run(accepted / "second")
    assert run.gate.exit_status == 3
    assert [record.latency is not None for record in run.records] == [True]


def test_with_several_jobs_a_case_is_judged_by_the_versions_it_was_measured_with(tmp_path, monkeypatch):
    plans = suites.load([suite(tmp_path)], None)  # the first group goes to another bench than the one at hand
    plans += suites.load([fake_suite(tmp_path / "scripted")], None)
    judged, versions = Event(), {}
    with Bench(Settings(tmp_path / "cache")) as bench:
        bench.environment()
        measured = bench.outcome
        monkeypatch.setattr(
            bench, "outcome", lambda plan: measured(plan) if plan in plans[:1] else (judged.wait(60), Outcome())[1]
        )

        def done(plan, _):
            versions.setdefault(plan.case.backend, bench.environment().versions)
            judged.set()

        run(plans, Settings(tmp_path / "cache", jobs=2), bench, done)

    assert "onnxruntime" in versions["onnxruntime-cpu"]


def test_under_pytest_only_cases_that_may_be_timed_in_turns_count_as_possible_false_alarms(tmp_path):
    (real,) = suites.load([suite(tmp_path)], None)
    other = replace(real, case=replace(real.case, id="turns/other/onnxruntime-cpu/fp32/n-16"))
    untimed = replace(other, latency=replace(other.latency, enabled=False))
    shared = Shared(SimpleNamespace())

    shared.plans = [real, untimed, replace(other, excluded="why"), *suites.load([fake_suite(tmp_path / "toy")], None)]
    assert shared._timed_beside(real) == 0
    shared.plans.append(other)
    assert shared._timed_beside(real) == 1


def edited(folder: Path, **changes) -> None:
    """The accepted entry with other values."""
    (baseline,) = (folder / "baselines").glob("*/turns.json")
    data = json.loads(baseline.read_text())
    (entry,) = data["cases"].values()
    for name, value in changes.items():
        entry[name] = {**entry[name], **value}
    baseline.write_text(json.dumps(data))


def admission(folder: Path) -> Admission:
    found = accepted_entry(folder).admission
    assert found is not None
    return found


def test_an_admission_that_is_too_coarse_for_its_limit_is_measured_again(accepted, capsys):
    edited(accepted, admission={"sd": 0.5, "launches": 10, "mde": 5.0})

    assert harness(accepted, "accept", "first", "--reason", "a quieter machine", "--launches", 2) == 0

    assert "\n  2 of 2 launches" in capsys.readouterr().out
    assert admission(accepted).launches == 2
    assert admission(accepted).sd < 0.5


def test_an_admission_that_is_too_coarse_stays_where_it_cannot_be_measured_again(accepted):
    edited(accepted, admission={"sd": 0.5, "launches": 10, "mde": 5.0})
    shutil.rmtree(accepted / "cache" / "artefacts")

    assert harness(accepted, "accept", "first", "--reason", "again", "--launches", 2) == 0

    assert admission(accepted) == Admission(0.5, 10, 5.0)


def test_an_admission_is_kept_only_for_the_same_way_of_timing(accepted):
    settings = only(accepted / "first").latency.settings
    edited(accepted, admission=asdict(QUIET), latency={"settings": {**settings, "min_time_s": 9.0}})

    assert harness(accepted, "accept", "first", "--reason", "again", "--launches", 2) == 0

    assert admission(accepted).launches == 2


def test_a_suite_whose_timing_was_edited_after_the_run_is_not_admitted_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path)
    assert harness(tmp_path, "run", path, "-o", "first") == 0
    path.write_text(path.read_text().replace("min_time_s: 0.05", "min_time_s: 0.5"))

    assert harness(tmp_path, "accept", "first", "--reason", "a start", "--launches", 2) == 0

    assert "the suite's latency settings are not those of the run" in capsys.readouterr().out


def candidates(folder: Path, **changes):
    """What can be admitted of the accepted run when the plan of its case is another."""
    run, (plan,) = read_run(folder / "first"), suites.load([folder / "turns.yaml"], None)
    record = replace(run.records[0], environment=changes.get("interpreter", plan.interpreter).name)
    plan = replace(plan, **changes)
    plan = replace(plan, case=record.case)
    settings = Settings(folder / "cache")
    return admitted._candidates({record.case.id: plan}, run.environments["default"], [record], settings)


def test_cases_that_are_timed_against_each_other_are_not_admitted(accepted):
    assert [len(part) for part in candidates(accepted)] == [1, 0]
    assert candidates(accepted, against=Interpreter("other")) == ([], {})


def test_an_environment_whose_worker_does_not_start_has_no_versions(accepted):
    found, refused = candidates(accepted, interpreter=Interpreter("broken", "/bin/false"))

    assert found == []
    assert "it was measured with other versions: onnxruntime" in next(iter(refused.values()))
    assert "-> None" in next(iter(refused.values()))


def test_what_others_accept_while_cases_are_admitted_is_not_undone(accepted, monkeypatch):
    (baseline,) = (accepted / "baselines").glob("*/turns.json")
    where = (accepted / "baselines", baseline.parent.name, "turns")

    def meanwhile(asked, environment, records, before, later):
        (entry,) = before.values()
        baselines.write(*where, {**before, "turns/theirs/onnxruntime-cpu/fp32/n-16": entry})
        return {}

    monkeypatch.setattr("harness.commands.accept.admitted", meanwhile)
    assert harness(accepted, "accept", "first", "--reason", "again") == 0

    assert {case.split("/")[1] for case in read(*where)} == {"net", "theirs"}
