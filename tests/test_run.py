"""`harness run` on the fake backend: statuses, exit statuses, crashes, baselines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from harness.store import read_run
from toy import fake_suite, harness, small_model

CRASHES = """
cases:
  - {match: "*/fp16/n-1", crash: {stage: infer, kind: segfault}}
  - {match: "*/bf16/n-1", crash: {stage: load, kind: hang}}
  - {match: "*/tf32/n-1", crash: {stage: infer, kind: out-of-memory}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses(run_folder: Path) -> dict[str, str]:
    return {record.case.id: record.status for record in read_run(run_folder).records}


def test_agreeing_outputs_without_a_baseline_are_new_and_pass(folder):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "out") == 0

    assert statuses(folder / "out") == {"toy/small/fake/fp32/n-1": "new", "toy/small/fake/fp32/n-3": "new"}
    assert {path.name for path in (folder / "out").iterdir()} == {
        "run.json", "report.html", "junit.xml", "summary.md", "cases.csv", "journal.jsonl",
    }  # fmt: skip


def test_a_wrong_output_fails_and_the_headline_names_output_metric_value_and_limit(folder, capsys):
    suite = fake_suite(folder, "cases: [{match: '*/n-3', outputs: {y: {add: 0.5}}}]")

    assert harness(folder, "run", suite, "-o", "out") == 1

    record = read_run(folder / "out").records[1]
    assert record.status == "failed"
    assert record.headline.startswith("budget: y/cosine_min: cosine 0.")
    assert "< 0.9999" in record.headline
    assert record.headline in capsys.readouterr().out
    assert record.headline in unescape((folder / "out/summary.md").read_text()).replace("\\", "")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ("{drop: true}", "outputs/missing_outputs"),
        ("{nan_at: 0}", "y/nonfinite"),
        ("{file: other.npz, key: wide}", "y/shape_mismatches"),
        ("{file: other.npz, key: double}", "y/dtype_mismatches"),
    ],
)
def test_structure_that_differs_fails_whatever_the_limits(folder, change, check):
    import numpy as np

    suite = fake_suite(folder, f"cases: [{{match: '*/n-1', outputs: {{y: {change}}}}}]")
    np.savez(folder / "other.npz", wide=np.zeros((1, 5), np.float32), double=np.zeros((1, 4)))

    assert harness(folder, "run", suite, "-o", "out", "-k", "n-1") == 1

    record = read_run(folder / "out").records[0]
    assert check in [c.name for c in record.checks if not c.ok]


def test_slower_by_30_percent_is_regressed_and_names_both_medians(folder):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    assert harness(folder, "accept", "first", "--reason", "a start") == 0
    assert harness(folder, "run", suite, "-o", "second") == 0
    assert set(statuses(folder / "second").values()) == {"passed"}

    (folder / "script.yaml").write_text("cases: [{latency_ms: [1.3, 1.313]}]")
    assert harness(folder, "run", suite, "-o", "third") == 1

    record = read_run(folder / "third").records[0]
    assert record.status == "regressed"
    assert "p50 1.306 ms against 1.005 ms (+30.0%, limit +5.0%" in record.headline
    assert harness(folder, "compare", "second", "third") == 1


def test_faster_by_30_percent_is_improved_and_passes(folder):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    (folder / "script.yaml").write_text("cases: [{latency_ms: [0.7, 0.707]}]")

    assert harness(folder, "run", suite, "-o", "second") == 0

    assert set(statuses(folder / "second").values()) == {"improved"}


def test_a_case_with_a_baseline_that_the_runtime_now_refuses_is_an_error(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    (folder / "script.yaml").write_text("cases: [{match: '*/n-1', unsupported: no kernel for Relu}]")

    assert harness(folder, "run", suite, "-o", "second") == 1

    record = read_run(folder / "second").records[0]
    assert (record.status, record.error.kind) == ("error", "unsupported")
    assert "no kernel for Relu" in record.headline


def test_a_case_the_runtime_refuses_is_skipped_while_no_baseline_knows_it(folder):
    suite = fake_suite(folder, "cases: [{match: '*/n-1', unsupported: no kernel for Relu}]")

    assert harness(folder, "run", suite, "-o", "out") == 0

    assert read_run(folder / "out").records[0].headline == "no kernel for Relu"


def test_a_case_that_vanished_from_the_suite_is_missing_until_that_is_accepted(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    suite.write_text(suite.read_text().replace(", {n: 3}", ""))

    assert harness(folder, "run", suite, "-o", "second") == 1
    assert statuses(folder / "second")["toy/small/fake/fp32/n-3"] == "missing"
    assert harness(folder, "run", suite, "-k", "n-1", "-o", "narrowed") == 0

    assert harness(folder, "accept", "second", "--reason", "batch 3 is no longer served") == 0
    assert harness(folder, "run", suite, "-o", "third") == 0


def test_an_excluded_case_is_skipped_with_the_reason_but_missing_if_it_was_accepted(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "-k", "n-3", "--reason", "a start")
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], exclude: [{backend: fake, reason: too slow}]}"))

    assert harness(folder, "run", suite, "-o", "second") == 1

    assert statuses(folder / "second") == {"toy/small/fake/fp32/n-1": "skipped", "toy/small/fake/fp32/n-3": "missing"}


def test_all_cases_skipped_fails_the_gate(folder):
    suite = fake_suite(folder, "cases: [{unsupported: nothing works}]")

    assert harness(folder, "run", suite, "-o", "out") == 1


def test_fail_on_new_exits_4(folder):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "out", "--fail-on", "new,inconclusive") == 4


def test_a_required_backend_that_is_absent_exits_3_and_nothing_runs(folder, capsys):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "out", "--require", "onnxruntime-tensorrt") == 3

    assert "nothing was run" in capsys.readouterr().err
    assert not (folder / "out/run.json").exists()


def test_an_unknown_baseline_setting_is_never_compared(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    (baseline,) = (folder / "baselines").glob("*/toy.json")
    baseline.write_text(baseline.read_text().replace('"flush_l2": false', '"later": true'))

    assert harness(folder, "run", suite, "-o", "second") == 0

    record = read_run(folder / "second").records[0]
    assert record.status == "inconclusive"
    assert "later True then, None now" in record.headline


def test_two_jobs_give_the_same_verdicts_as_one(folder):
    suite = fake_suite(folder, CRASHES.replace("hang", "abort"), precisions="fp32, fp16, bf16, tf32")
    harness(folder, "run", suite, "-o", "one")

    assert harness(folder, "run", suite, "-o", "two", "--jobs", 2) == 3

    assert statuses(folder / "two") == statuses(folder / "one")


def test_a_budget_fails_a_case_by_name(folder):
    suite = fake_suite(folder, "cases: [{latency_ms: 3.0}]")
    suite.write_text(suite.read_text().replace("{min_count: 20}", "{min_count: 20, budget: {p99_ms: 2.0}}"))

    assert harness(folder, "run", suite, "-o", "out") == 1

    assert read_run(folder / "out").records[0].headline == "latency/p99_ms: p99 3 ms > 2 ms"


def test_a_second_run_into_the_same_folder_is_refused_and_loses_nothing(folder, capsys):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    before = (folder / "out/run.json").read_bytes()

    assert harness(folder, "run", suite, "-o", "out") == 2

    assert "holds a run already" in capsys.readouterr().err
    assert (folder / "out/run.json").read_bytes() == before


def test_judging_again_under_tighter_limits_needs_no_run(folder):
    suite = fake_suite(folder, "cases: [{outputs: {y: {scale: 1.00001}}}]")
    harness(folder, "run", suite, "-o", "out")
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], accuracy: {rmse_rel_max: 1.0e-6}}"))

    assert harness(folder, "judge", "out") == 1

    judged = read_run(folder / "out-judged").records[0]
    assert judged.headline.startswith("budget: y/rmse_rel_max: rmse_rel 1.0")


def test_judging_element_wise_limits_again_needs_kept_outputs(folder, capsys):
    suite = fake_suite(folder, "cases: [{outputs: {y: {scale: 1.00001}}}]")
    harness(folder, "run", suite, "-o", "out")
    harness(folder, "run", suite, "-o", "kept", "--keep-outputs")
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], accuracy: {atol: 0, rtol: 1.0e-6}}"))

    assert harness(folder, "judge", "out") == 2
    assert "run again with --keep-outputs" in capsys.readouterr().err
    assert harness(folder, "judge", "kept") == 1

    assert "y/tolerance" in read_run(folder / "kept-judged").records[0].headline


def test_what_a_run_passes_judging_its_kept_outputs_passes(folder, capsys):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "out")
    harness(folder, "run", suite, "-o", "kept", "--keep-outputs")
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], accuracy: {outputs: {y: {exact: true}}}}"))

    assert harness(folder, "judge", "out") == 2
    assert "the limits of y changed to what was not measured" in capsys.readouterr().err
    assert harness(folder, "judge", "kept") == 0
    assert "y/exact" in {check.name for check in read_run(folder / "kept-judged").records[0].checks}


def test_run_json_has_no_number_that_json_lacks(folder):
    suite = fake_suite(folder, "cases: [{outputs: {y: {scale: 0}}}]")
    harness(folder, "run", suite, "-o", "out")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads((folder / "out/run.json").read_text(), parse_constant=refuse)


def test_a_model_that_changed_since_the_baseline_is_named_in_the_headline(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    small_model(folder / "small.onnx", "Neg")

    assert harness(folder, "run", suite, "-o", "second") == 0

    record = read_run(folder / "second").records[0]
    assert record.status == "passed"
    assert "[since the baseline: model " in record.headline


def test_a_worker_ignores_a_folder_named_harness_where_it_runs(folder):
    suite = fake_suite(folder)
    (folder / "harness").mkdir()
    (folder / "harness/__init__.py").write_text("raise SystemExit('the wrong harness')")

    assert harness(folder, "run", suite, "-o", "out") == 0


def test_judging_again_finds_what_vanished_and_forgets_what_came_back(folder):
    suite = fake_suite(folder, precisions="fp32, tf32")
    harness(folder, "run", suite, "-o", "both")
    harness(folder, "accept", "both", "--reason", "a start")
    text = suite.read_text()
    suite.write_text(text.replace(", tf32", ""))
    assert harness(folder, "judge", "both", "-o", "first") == 1
    assert statuses(folder / "first")["toy/small/fake/tf32/n-1"] == "missing"

    harness(folder, "run", suite, "-o", "one")
    suite.write_text(text)
    assert harness(folder, "judge", "one", "-o", "second") == 0
    assert set(statuses(folder / "second").items()) == {
        ("toy/small/fake/fp32/n-1", "passed"), ("toy/small/fake/fp32/n-3", "passed"),
    }  # fmt: skip


def test_a_report_never_goes_into_the_folder_of_another_run(folder, capsys):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "one")
    harness(folder, "run", suite, "-o", "two")
    before = (folder / "two/report.html").read_bytes()

    assert harness(folder, "report", "one", "-o", "two") == 2

    assert "holds another run" in capsys.readouterr().err
    assert (folder / "two/report.html").read_bytes() == before


def test_a_file_where_baselines_should_be_is_one_clear_error(folder, capsys):
    harness(folder, "run", fake_suite(folder), "-o", "out")
    (folder / "taken").write_text("")

    assert harness(folder, "accept", "out", "--reason", "x", "--baselines", "taken") == 2

    assert capsys.readouterr().err.count("\n") == 1


HANG = "cases: [{match: '*/n-3', crash: {stage: infer, kind: hang}}]"


def started(folder, *arguments, **options):
    command = [sys.executable, "-m", "harness", "run", fake_suite(folder, HANG), "-o", "out", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_measured_and_leaves_no_process_behind(folder, sent):
    process = started(folder)
    assert process.stdout.readline().startswith("new ")
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    with process:
        process.send_signal(sent)

        assert process.wait(timeout=30) == 130
    assert statuses(folder / "out") == {"toy/small/fake/fp32/n-1": "new"}
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert (folder / "out/report.html").exists()


def test_a_reader_that_goes_away_does_not_lose_the_run(folder):
    with started(folder, "--timeout", "2") as process:
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(timeout=60) == 3

    assert set(statuses(folder / "out").values()) == {"new", "error"}


def test_two_files_may_share_a_suite_and_each_misses_only_its_own_cases(folder):
    first = fake_suite(folder)
    second = folder / "more.yaml"
    second.write_text(first.read_text().replace("name: small", "name: other"))
    harness(folder, "run", first, second, "-o", "both")
    harness(folder, "accept", "both", "--reason", "a start")

    assert harness(folder, "run", first, "-o", "one") == 0
    assert set(statuses(folder / "one").values()) == {"passed"}


def test_baselines_are_those_of_each_suites_own_root(folder):
    suites = [fake_suite(folder / name, "cases: [{latency_ms: [1.0, 1.01]}]", suite=name) for name in ("a", "b")]
    harness(folder, "run", *suites, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    (folder / "b/script.yaml").write_text("cases: [{latency_ms: [3.0, 3.01]}]")

    assert harness(folder, "run", *suites, "-o", "second") == 1

    assert [record.status for record in read_run(folder / "second").records] == ["passed"] * 2 + ["regressed"] * 2


def test_accepting_where_the_suite_cannot_be_found_is_refused(folder, monkeypatch, capsys):
    suite = fake_suite(folder / "project")
    harness(folder, "run", suite.relative_to(folder), "-o", "out")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert harness(folder, "accept", "../out", "--reason", "x") == 2

    assert "name --baselines" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_a_run_never_says_by_itself_that_baselines_outside_of_the_working_folders_root_are_written(
    folder, monkeypatch, capsys
):
    here = folder / "here"
    here.mkdir()
    (here / "pyproject.toml").touch()
    monkeypatch.chdir(here)
    harness(folder, "run", fake_suite(folder / "elsewhere"), "-o", "out")
    capsys.readouterr()

    assert harness(folder, "accept", "out", "--reason", "x") == 2

    told = capsys.readouterr().err
    assert f"lies outside of {here}" in told
    assert told.count("\n") == 1
    assert not list(folder.rglob("toy.json"))
    assert harness(folder, "accept", "out", "--reason", "x", "--root", folder / "elsewhere") == 0
    assert list(folder.rglob("toy.json"))


def test_a_run_is_accepted_as_a_whole_or_not_at_all(folder, capsys):
    suites = [fake_suite(folder / name, suite=name) for name in ("a", "b")]
    harness(folder, "run", *suites, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    (first,) = (folder / "a/baselines").glob("*/a.json")
    (second,) = (folder / "b/baselines").glob("*/b.json")
    harness(folder, "run", *suites, "-o", "second")
    before = first.read_bytes()
    second.write_text("damaged")

    assert harness(folder, "accept", "second", "--reason", "a step") == 2

    assert first.read_bytes() == before
    assert "not a baseline" in capsys.readouterr().err


def test_roots_whose_baselines_are_links_to_one_folder_are_accepted_together(folder):
    suites = [fake_suite(folder / name, suite=name) for name in ("a", "b")]
    (folder / "shared").mkdir()
    for name in ("a", "b"):
        (folder / name / "baselines").symlink_to(folder / "shared")
    harness(folder, "run", *suites, "-o", "first")

    assert harness(folder, "accept", "first", "--reason", "a start") == 0

    assert {path.name for path in folder.glob("shared/*/*.json")} == {"a.json", "b.json"}


def test_a_reader_that_goes_away_does_not_keep_a_part_of_a_run_from_being_accepted(folder, monkeypatch):
    suites = [fake_suite(folder / name, suite=name) for name in ("a", "b")]
    harness(folder, "run", *suites, "-o", "first")

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    harness(folder, "accept", "first", "--reason", "a start")

    assert {path.name for path in folder.glob("*/baselines/*/*.json")} == {"a.json", "b.json"}


@pytest.mark.parametrize(
    ("change", "by"),
    [("seed: 7", "seed: 8"), ("precision: fp32}", "precision: fp16}"), ("[{n: 1}, ", "[{n: 2}, "), ("{n: 1}, ", "")],
)
def test_stored_measurements_are_never_judged_for_other_inputs_or_shapes(folder, capsys, change, by):
    suite = fake_suite(folder)
    suite.write_text(suite.read_text().replace("n: 3}]}", "n: 3}], inputs: {x: {normal: [0, 1], seed: 7}}}"))
    harness(folder, "run", suite, "-o", "out")
    suite.write_text(suite.read_text().replace(change, by))

    assert harness(folder, "judge", "out") == 2
    assert "run it again" in capsys.readouterr().err


def test_a_second_run_in_a_folder_that_a_run_writes_to_is_refused(folder, capsys):
    process = started(folder)
    with process:
        process.stdout.readline()

        assert harness(folder, "run", folder / "toy.yaml", "-o", "out") == 2

        assert "holds a run already" in capsys.readouterr().err
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def test_an_interrupt_does_not_wait_for_the_cases_of_other_jobs(folder):
    text = fake_suite(folder, HANG).read_text().replace("{min_count: 20}", "{enabled: false}")
    (folder / "toy.yaml").write_text(text + text.splitlines()[-1].replace("name: small", "name: other") + "\n")
    command = [sys.executable, "-m", "harness", "run", "toy.yaml", "-o", "out", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=20) == 130

    assert set(statuses(folder / "out").values()) == {"new"}


@pytest.mark.parametrize(
    "script",
    ["cases: [{latency_ms: 0}]", "cases: [{latency_ms: .nan}]", "cases: [{latency_ms: []}]", "cases: [{match: [1]}]",
     "cases: [{outputs: {y: {nan_at: 999}}}]", "cases: [{outputs: {y: {scale: x}}}]", "cases: [{crash: segfault}]"],
)  # fmt: skip
def test_a_script_that_cannot_be_followed_is_an_input_error(folder, script):
    assert harness(folder, "run", fake_suite(folder, script), "-k", "n-1", "-o", "out") == 1

    assert read_run(folder / "out").records[0].error.kind == "input"


def test_a_case_that_was_accepted_without_a_time_is_new_when_it_has_one(folder):
    suite = fake_suite(folder)
    text = suite.read_text()
    suite.write_text(text.replace("{min_count: 20}", "{enabled: false}"))
    harness(folder, "run", suite, "-o", "untimed")
    harness(folder, "accept", "untimed", "--reason", "a start")
    suite.write_text(text)

    harness(folder, "run", suite, "-o", "timed")

    assert set(statuses(folder / "timed").values()) == {"new"}


def test_a_much_slower_run_is_worse_in_a_comparison_whatever_its_statuses(folder):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "a")
    (folder / "script.yaml").write_text("cases: [{latency_ms: [3.0, 3.01]}]")
    harness(folder, "run", suite, "-o", "b")

    assert harness(folder, "compare", "a", "b") == 1
    assert harness(folder, "compare", "b", "a") == 0


def test_cases_of_a_suite_file_that_was_deleted_are_missing(folder):
    first = fake_suite(folder)
    second = folder / "more.yaml"
    second.write_text(first.read_text().replace("name: small", "name: other"))
    harness(folder, "run", first, second, "-o", "both")
    harness(folder, "accept", "both", "--reason", "a start")
    second.unlink()

    assert harness(folder, "run", first, "-o", "one") == 1

    assert sorted(statuses(folder / "one").values()) == ["missing", "missing", "passed", "passed"]


def test_judging_again_keeps_what_was_missing_although_the_suite_gained_a_case(folder, capsys):
    suite = fake_suite(folder, precisions="fp32, tf32")
    text = suite.read_text()
    harness(folder, "run", suite, "-o", "all")
    harness(folder, "accept", "all", "--reason", "a start")
    suite.write_text(text.replace(", tf32", ""))
    assert harness(folder, "run", suite, "-o", "less") == 1
    suite.write_text(text.replace("tf32", "as-is"))

    assert harness(folder, "judge", "less") == 1

    assert "missing" in statuses(folder / "less-judged").values()
    assert "not in the run: toy/small/fake/as-is/n-1" in capsys.readouterr().out


def test_limits_of_every_kind_can_be_judged_again_right_away(folder):
    suite = fake_suite(folder)
    text = suite.read_text()
    limits = "accuracy: {topk: 2, topk_agreement_min: 0.9, outputs: {y: {cosine_min: 0.9}}}"
    harness(folder, "run", suite, "-o", "out")
    suite.write_text(text.replace("n: 3}]}", "n: 3}], accuracy: {cosine_min: 0.9}}"))
    assert harness(folder, "judge", "out", "-o", "first") == 0

    suite.write_text(text.replace("n: 3}]}", f"n: 3}}], {limits}}}"))
    assert harness(folder, "judge", "out", "-o", "second") == 1  # top-k was measured with k = 5
    assert "topk_agreement could not be measured" in read_run(folder / "second").records[0].headline


def test_an_accepted_case_that_the_suite_excludes_stays_missing_when_it_is_judged_again(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    suite.write_text(
        suite.read_text().replace("n: 3}]}", "n: 3}], exclude: [{backend: fake, shape: {n: 3}, reason: slow}]}")
    )
    assert harness(folder, "run", suite, "-o", "second") == 1

    assert harness(folder, "judge", "second") == 1

    assert statuses(folder / "second-judged")["toy/small/fake/fp32/n-3"] == "missing"


def test_each_root_misses_its_own_cases_of_a_suite_that_two_roots_name(folder):
    suites = [fake_suite(folder / name) for name in ("a", "b")]
    suites[1].write_text(suites[1].read_text().replace("name: small", "name: other"))
    harness(folder, "run", *suites, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    suites[1].write_text(suites[1].read_text().replace(", {n: 3}", ""))

    assert harness(folder, "run", *suites, "-o", "second") == 1

    assert statuses(folder / "second")["toy/other/fake/fp32/n-3"] == "missing"


def test_a_task_metric_on_an_output_that_the_model_lacks_is_an_error_that_names_those_there_are(folder):
    import numpy as np

    suite = fake_suite(folder)
    np.savez(folder / "labels.npz", t=np.zeros(1, np.int64))
    task = "{metric: top1, output: z, labels: {file: labels.npz, key: t}, min: 0.5}"
    suite.write_text(suite.read_text().replace("{n: 3}]}", "{n: 3}], accuracy: {task: " + task + "}}"))

    assert harness(folder, "run", suite, "-o", "out", "-k", "n-1") == 1

    record = read_run(folder / "out").records[0]
    assert record.error.kind == "input"
    assert "accuracy.task.output: the model has no output 'z'" in record.error.message
    assert record.error.message.endswith("its outputs are y")
