"""`pytest` on suite files: the same cases and verdicts as `harness run`, and nothing at all for other projects."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.store import read_run
from toy import fake_suite, harness

WRONG = "cases: [{match: '*/n-3', outputs: {y: {add: 0.5}}}]"
SEGFAULT = "cases: [{match: '*/n-1', crash: {stage: infer, kind: segfault}}]"
BAD_SUITE = """\
suite: bad
models:
  - {name: x, sourc: small.onnx}
  - {name: y, source: absent.onnx}
"""
HELM_UNITTEST = "suite: a chart\ntests:\n  - it: renders\n    asserts:\n      - isKind: {of: Deployment}\n"
ACKNOWLEDGE = """
from dataclasses import replace
from harness.pytest_items import Shared
measure = Shared.measure
Shared.measure = lambda self, plan: replace(measure(self, plan), status="acknowledged")
"""


@pytest.fixture
def folder(pytester, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("TRT_HARNESS_LOCKS", str(pytester.path / "locks"))
    return pytester.path


def run(pytester, *arguments):
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def accept(folder, suite):
    """Baselines of a suite as it is now."""
    harness(folder, "run", suite, "-o", "accepted")
    assert harness(folder, "accept", "accepted", "--reason", "first") == 0


def test_a_case_without_a_baseline_passes_with_a_warning_that_is_its_headline(folder, pytester):
    fake_suite(folder)

    result = run(pytester, "-rA", "--harness-timeout=30")

    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines(["*toy.yaml:10: HarnessWarning: new: p50 1 ms (host); no accepted latency*"])
    result.stdout.fnmatch_lines(["PASSED toy.yaml::toy/small/fake/fp32/n-1"])


def test_the_warning_fails_a_case_for_those_who_ask_and_shows_no_traceback(folder, pytester):
    fake_suite(folder)

    result = run(pytester, "-k", "n-1", "-W", "error::harness.plugin.HarnessWarning")

    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["new: p50 1 ms (host); no accepted latency to compare with"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_wrong_output_fails_with_headline_reasons_and_the_commands_that_rerun_it(folder, pytester):
    fake_suite(folder, WRONG)

    result = run(pytester, "--tb=short")

    result.assert_outcomes(failed=1, passed=1, warnings=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*_ toy/small/fake/fp32/n-3 (toy.yaml:10) _*",
            "toy/small/fake/fp32/n-3: failed",
            "  budget: y/cosine_min: cosine 0.* < 0.9999* (also failed: 1 of budget)",
            "  y/tolerance: the worst error is *",
            "  harness run toy.yaml -k toy/small/fake/fp32/n-3",
            "  pytest toy.yaml::toy/small/fake/fp32/n-3",
            "FAILED toy.yaml::toy/small/fake/fp32/n-3 - failed: budget: y/cosine_min: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_command_that_is_told_runs_one_case(folder, pytester):
    fake_suite(folder, WRONG)

    run(pytester, "toy.yaml::toy/small/fake/fp32/n-1").assert_outcomes(passed=1, warnings=1)


def test_a_crash_fails_with_its_kind_and_the_next_case_goes_on(folder, pytester):
    fake_suite(folder, SEGFAULT)

    result = run(pytester)

    result.assert_outcomes(failed=1, passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["toy/small/fake/fp32/n-1: error", "  crash in infer: the worker died in infer: SIGSEGV"]
    )


def test_a_sick_device_ends_the_session_with_what_failed_on_it_and_no_more(folder, pytester):
    fake_suite(folder, "cases: [{match: '*/n-1', crash: {kind: sick-device}}]")

    result = run(pytester, "--harness-output", "out")

    assert result.ret == 3
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the device is sick: after device in infer of toy/small/fake/fp32/n-1*"])
    assert [record.error.kind for record in read_run(folder / "out").records] == ["device"]


def test_retries_are_those_of_harness_run(folder, pytester):
    fake_suite(folder, "cases: [{match: '*/n-1', crash: {kind: segfault, attempts: 1}}]")

    run(pytester, "--harness-retries", "1").assert_outcomes(passed=2, warnings=2)


def test_a_refused_case_is_skipped_with_the_runtimes_words_at_its_place(folder, pytester):
    fake_suite(folder, "cases: [{match: '*/n-1', unsupported: 'no kernel for Relu'}]")

    result = run(pytester, "-rs")

    result.assert_outcomes(skipped=1, passed=1, warnings=1)
    result.stdout.fnmatch_lines(["SKIPPED * toy.yaml:10: no kernel for Relu"])


def test_problems_of_a_suite_are_one_collection_error_that_lists_them_all(folder, pytester):
    fake_suite(folder)
    (folder / "bad.yaml").write_text(BAD_SUITE)

    result = run(pytester)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "bad.yaml:3:*: models*: the required key 'source' is missing",
            "bad.yaml:3:*: models*: unknown key 'sourc', did you mean 'source'?",
            "bad.yaml:4:*: models*: no such file: 'absent.onnx'",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_ids_that_two_suites_make_are_a_collection_error(folder, pytester):
    suite = fake_suite(folder)
    (folder / "twin.yaml").write_text(suite.read_text())

    result = run(pytester, "--collect-only")

    result.stdout.fnmatch_lines(["twin.yaml:10:*: case 'toy/small/fake/fp32/n-1' (and 1 more) is already made by toy*"])


def test_other_yaml_files_are_left_alone(folder, pytester):
    (folder / "values.yaml").write_text("settings:\n  suite: nested\n")
    (folder / "broken.yml").write_text("a: [b\n")
    (folder / "chart_test.yaml").write_text(HELM_UNITTEST)
    (folder / "test_plain.py").write_text("def test_plain(): pass\n")

    result = run(pytester)

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*[hH]arness*==*")
    assert {path.name for path in folder.iterdir()} >= {"values.yaml"}
    assert not (folder / "cache").exists()


def test_the_plug_in_costs_other_projects_no_heavy_import():
    heavy = "{'numpy', 'pydantic', 'ruamel.yaml', 'onnx', 'jinja2', 'harness.records', 'harness.suites'}"
    code = f"import sys, harness.plugin; print({heavy} & set(sys.modules))"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "set()\n"


@pytest.mark.parametrize(
    ("expression", "count"), [("n-1", 1), ("quick", 2), ("not quick", 0), ("toy/small/fake/fp32/n-3", 1)]
)
def test_k_matches_ids_and_tags(folder, pytester, expression, count):
    suite = fake_suite(folder)
    suite.write_text(suite.read_text() + "tags: [quick]\n")

    result = run(pytester, "-k", expression, "--collect-only", "-q")

    assert sum(line.startswith("toy.yaml::") for line in result.outlines) == count


def test_a_suite_that_makes_every_accepted_case_has_one_item_a_case(folder, pytester):
    accept(folder, fake_suite(folder))

    result = run(pytester, "--collect-only", "-q")

    assert [line for line in result.outlines if line.startswith("toy.yaml::")] == [
        "toy.yaml::toy/small/fake/fp32/n-1",
        "toy.yaml::toy/small/fake/fp32/n-3",
    ]


def test_an_accepted_case_passes_and_a_slower_one_is_regressed(folder, pytester):
    suite = fake_suite(folder)
    accept(folder, suite)
    (folder / "script.yaml").write_text("cases: [{match: '*/n-3', latency_ms: 1.5}]")

    result = run(pytester)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED toy.yaml::toy/small/fake/fp32/n-3 - regressed: *"])


def test_an_accepted_case_that_the_suite_no_longer_makes_fails(folder, pytester):
    suite = fake_suite(folder)
    accept(folder, suite)
    suite.write_text(suite.read_text().replace(", {n: 3}", ""))

    result = run(pytester, "--harness-output=out")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "toy/small/fake/fp32/n-3: missing",
            "  has an accepted baseline, but the suite no longer makes this case*",
            "FAILED toy.yaml::toy/baseline - missing: has an accepted baseline*",
        ]
    )
    assert [record.status for record in read_run(folder / "out").records] == ["passed", "missing"]


def test_a_damaged_baseline_fails_its_cases_without_a_traceback_and_never_passes_the_gate(folder, pytester):
    suite = fake_suite(folder)
    accept(folder, suite)
    (damaged,) = (folder / "baselines").glob("*/toy.json")
    damaged.write_text("{")

    result = run(pytester, "--harness-output=out", "-k", "n-1")

    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(["*toy.json: not a baseline: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_acknowledged_case_is_xfail(folder, pytester):
    fake_suite(folder, WRONG)
    (folder / "conftest.py").write_text(ACKNOWLEDGE)

    result = run(pytester, "-rx", "-k", "n-3")

    result.assert_outcomes(xfailed=1, deselected=1)
    result.stdout.fnmatch_lines(["XFAIL toy.yaml::toy/small/fake/fp32/n-3 - budget: y/cosine_min: *"])


def test_without_an_output_folder_nothing_is_written(folder, pytester):
    fake_suite(folder)
    before = files(folder)

    run(pytester, "-p", "no:benchmark").assert_outcomes(passed=2, warnings=2)

    assert files(folder) == before


def files(folder):
    """What lies there, without the cache, the locks and what pytest's own fixture writes."""
    others = ("cache", "locks", "runpytest-", "std")
    return {path.name for path in folder.iterdir() if not path.name.startswith(others)}


def test_several_processes_make_one_run_in_the_order_of_the_suite(folder, pytester):
    fake_suite(folder, WRONG, precisions="fp32, fp16, bf16")

    result = run(pytester, "-n", "2", "--harness-output=out", "--harness-keep-outputs", "--junitxml=junit.xml")

    result.assert_outcomes(passed=3, failed=3, warnings=3)
    result.stdout.fnmatch_lines(["  pytest toy.yaml::toy/small/fake/fp16/n-3", "gate FAILED (exit 1): 3 failed, 3 new"])
    made = read_run(folder / "out")
    order = [f"toy/small/fake/{precision}/{n}" for precision in ("fp32", "fp16", "bf16") for n in ("n-1", "n-3")]
    assert [record.case.id for record in made.records] == order
    assert made.gate.exit_status == 1
    assert made.command.startswith("pytest ")
    assert {"report.html", "junit.xml", "summary.md", "cases.csv"} <= {path.name for path in (folder / "out").iterdir()}
    assert (folder / "out/outputs" / order[0] / "candidate").is_dir()
    assert properties(folder / "junit.xml", order[0]) == {
        "status": "new", "headline": made.records[0].headline, "p50_ms": "1.0",
    }  # fmt: skip


def properties(junit, name):
    case = ET.parse(junit).getroot().find(f".//testcase[@name='{name}']")
    return {found.get("name"): found.get("value") for found in case.iter("property")}


def test_a_run_that_stopped_early_does_not_pass_its_gate(folder, pytester):
    fake_suite(folder / "a")
    (folder / "test_m.py").write_text("def test_m(): assert 0\n")
    fake_suite(folder / "z", suite="zoo")

    run(pytester, "-x", "--harness-output=out").assert_outcomes(passed=2, failed=1, warnings=2)

    made = read_run(folder / "out")
    assert [record.status for record in made.records] == ["new", "new"]
    assert made.gate.exit_status == 130


def test_an_output_folder_that_holds_a_run_is_refused_before_anything_runs(folder, pytester):
    fake_suite(folder)
    (folder / "out").mkdir()
    (folder / "out/run.json").write_text("{}")

    result = run(pytester, "--harness-output=out")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *out: holds a run already; choose another folder with --harness-output,*"])


def test_a_session_without_cases_leaves_no_run(folder, pytester):
    (folder / "test_plain.py").write_text("def test_plain(): pass\n")

    run(pytester, "--harness-output=out").assert_outcomes(passed=1)

    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("backend", "status", "words"),
    [
        ("tensort", pytest.ExitCode.USAGE_ERROR, "ERROR: --harness-require: unknown backend 'tensort', did you mean*"),
        (
            "onnxruntime-tensorrt",
            pytest.ExitCode.INTERNAL_ERROR,
            "Exit: --harness-require onnxruntime-tensorrt: *; nothing was run",
        ),
    ],
)
def test_a_required_backend_that_is_absent_ends_the_session_at_once(folder, pytester, backend, status, words):
    fake_suite(folder)

    result = run(pytester, f"--harness-require={backend}", "--harness-output=out")

    assert result.ret == status
    result.stderr.fnmatch_lines([words])
    assert not (folder / "out").exists()


def test_an_interrupt_keeps_what_was_measured_and_ends_the_worker(folder):
    fake_suite(folder, "cases: [{match: '*/n-3', crash: {stage: infer, kind: hang}}]")
    journal = folder / "out/journal.jsonl"
    command = [sys.executable, "-m", "pytest", "--harness-output=out"]

    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: journal.exists() and '"kind":"record"' in journal.read_text())
        time.sleep(0.5)  # the next case hangs by now
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)

    assert process.returncode == pytest.ExitCode.INTERRUPTED
    made = read_run(folder / "out")
    assert [record.case.id for record in made.records] == ["toy/small/fake/fp32/n-1"]
    assert made.gate.exit_status == 130
    assert not workers(folder)


def workers(folder):
    """Processes that were started with this folder's cache."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found += [path.parent.name] if str(folder / "cache").encode() in path.read_bytes() else []
    return found


def wait_until(holds, timeout_s=30):
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_session_that_only_skips_fails_also_where_another_machine_has_a_baseline(folder, pytester):
    suite = fake_suite(folder)
    accept(folder, suite)
    (accepted,) = (folder / "baselines").iterdir()
    other = accepted.with_name("gpu-x1")
    accepted.rename(other)
    baseline = other / "toy.json"
    baseline.write_text(baseline.read_text().replace(accepted.name, other.name))
    (folder / "script.yaml").write_text("cases: [{unsupported: nothing works here}]")

    result = run(pytester)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["harness: every case was skipped, so nothing was gated"])


def test_tests_of_others_with_properties_of_their_own_are_left_alone(folder, pytester):
    pytester.makepyfile("def test_note(request):\n    request.node.user_properties.append('note')\n")

    run(pytester).assert_outcomes(passed=1)
