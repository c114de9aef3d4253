"""`pytest --harness-gate-benchmarks`: tests of pytest-benchmark's fixture under the harness's stored rule."""

from __future__ import annotations

import json

import pytest

from harness.store import read_run
from toy import fake_suite, harness

CLOCK = """
import json
from pathlib import Path

STEP_S = json.loads(Path(__file__).with_name("steps.json").read_text())
now = {name: 0.0 for name in STEP_S}

def named(name):
    def clock():  # a call takes what the file says
        now[name] += STEP_S[name]
        return now[name]
    return clock

fast, slow = named("fast"), named("slow")
"""
TESTS = """
import pytest
import clock

@pytest.mark.benchmark(timer=clock.fast)
def test_fast(benchmark):
    benchmark.pedantic(int, rounds=20)

@pytest.mark.benchmark(timer=clock.slow)
@pytest.mark.parametrize("n", [1])
def test_slow(benchmark, n):
    benchmark.pedantic(int, rounds=20)
"""
FAST, SLOW = (f"pytest/test_speed.py/{name}/pytest-benchmark/as-is" for name in ("test_fast", "test_slow"))


@pytest.fixture
def folder(pytester, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("TRT_HARNESS_LOCKS", str(pytester.path / "locks"))
    (pytester.path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--strict-markers"\n')
    (pytester.path / "clock.py").write_text(CLOCK)
    (pytester.path / "test_speed.py").write_text(TESTS)
    steps(pytester.path)
    return pytester.path


def steps(folder, fast_ms=1.0, slow_ms=20.0):
    """What one call takes from now on."""
    (folder / "steps.json").write_text(json.dumps({"fast": fast_ms / 1e3, "slow": slow_ms / 1e3}))


def run(pytester, *arguments):
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def gate(pytester, *arguments):
    return run(pytester, "--harness-gate-benchmarks", *arguments)


def accepted(folder, pytester):
    """The results as they are become the baseline."""
    gate(pytester, "--harness-output=accepted")
    assert harness(folder, "accept", "accepted", "--reason", "first") == 0


def test_a_benchmark_that_is_slower_than_accepted_fails_the_session_in_our_words(folder, pytester):
    accepted(folder, pytester)
    steps(folder, slow_ms=22.0)

    result = gate(pytester)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*= harness: benchmarks =*",
            f"regressed    {SLOW}/1  p50 22 ms against 20 ms (+10.0%, limit +5.0%; intervals *",
            "benchmarks FAILED: 1 regressed, 1 passed",
            "to accept these: run again with --harness-output DIR, then: harness accept DIR --reason TEXT",
        ]
    )


def test_without_the_option_nothing_is_gated_nor_told(folder, pytester):
    accepted(folder, pytester)
    steps(folder, slow_ms=40.0)

    result = run(pytester)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*harness: benchmarks*")


def test_a_benchmark_that_nobody_accepted_is_new_and_passes(folder, pytester):
    result = gate(pytester, "--harness-output=out")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            f"new          {FAST}/static  p50 1 ms (host); no accepted latency to compare with",
            f"new          {SLOW}/1  p50 20 ms (host); no accepted latency to compare with",
            "benchmarks passed: 2 new",
            f"to accept these: harness accept {folder / 'out'} --reason TEXT",
        ]
    )
    assert not (folder / "baselines").exists()


def test_an_accepted_slowdown_passes_from_then_on(folder, pytester):
    accepted(folder, pytester)
    steps(folder, slow_ms=30.0)
    gate(pytester, "--harness-output=slower")
    assert harness(folder, "accept", "slower", "--reason", "the new sort is stable") == 0

    result = gate(pytester)

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["benchmarks passed: 2 passed"])


def test_the_run_folder_holds_benchmarks_beside_the_cases_of_suites(folder, pytester):
    fake_suite(folder)

    gate(pytester, "--harness-output=out")

    made = read_run(folder / "out")
    assert [record.case.id for record in made.records][:2] == ["toy/small/fake/fp32/n-1", "toy/small/fake/fp32/n-3"]
    assert {record.case.id for record in made.records[2:]} == {f"{FAST}/static", f"{SLOW}/1"}
    assert made.gate.exit_status == 0
    slow = next(record for record in made.records if record.case.id == f"{SLOW}/1")
    assert (slow.case.location.file, slow.case.location.line) == ("test_speed.py", 9)
    assert slow.reproduce == "pytest 'test_speed.py::test_slow[1]'"
    assert slow.latency.host.p99_ms == pytest.approx(20.0)


def test_a_run_folder_of_benchmarks_alone_names_their_machine_and_versions(folder, pytester):
    gate(pytester, "--harness-output=out")

    (environment,) = read_run(folder / "out").environments.values()
    assert "pytest-benchmark" in environment.versions
    assert (folder / "out/report.html").exists()


def test_what_was_imported_and_accepted_is_what_the_session_is_compared_with(folder, pytester, monkeypatch):
    monkeypatch.chdir(folder)
    run(pytester, "--benchmark-json=before.json")
    assert harness(folder, "import", "before.json", "-o", "imported") == 0
    (imported,) = read_run(folder / "imported").environments.values()
    gate(pytester, "--harness-output=out")
    (here,) = read_run(folder / "out").environments.values()
    if here.gpus:
        pytest.skip("files of pytest-benchmark do not tell of GPUs, by which this machine is classed")
    assert imported.fingerprint == here.fingerprint
    assert harness(folder, "accept", "imported", "--reason", "as it was") == 0
    steps(folder, fast_ms=2.0)

    result = gate(pytester)

    result.stdout.fnmatch_lines([f"regressed    {FAST}/static  p50 2 ms against 1 ms *"])


@pytest.mark.parametrize(("mark", "status"), [("regression=0.5", 0), ("regression=0.05", 1), ("floor_us=2000", 0)])
def test_a_mark_sets_the_limits_of_one_test(folder, pytester, mark, status):
    accepted(folder, pytester)
    steps(folder, fast_ms=1.2)
    (folder / "test_speed.py").write_text(TESTS.replace("@pytest", f"@pytest.mark.harness_gate({mark})\n@pytest", 1))

    assert gate(pytester).ret == status


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("regresion=0.5", "takes regression and floor_us by name, not regresion"),
        ("0.5", "takes regression and floor_us by name, not 0.5"),
        ("regression='5%'", "(regression='5%'): give a number from 0 on"),
        ("floor_us=-1", "(floor_us=-1): give a number from 0 on"),
    ],
)
def test_a_mark_that_cannot_be_understood_is_a_usage_error_that_names_the_test(folder, pytester, mark, words):
    (folder / "test_speed.py").write_text(TESTS.replace("@pytest", f"@pytest.mark.harness_gate({mark})\n@pytest", 1))

    result = gate(pytester)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"test_speed.py::test_fast: @pytest.mark.harness_gate{'' if 'takes' in words else words[:1]}" in str(
        result.stderr
    )
    assert words in str(result.stderr)


def test_too_few_rounds_are_inconclusive(folder, pytester):
    accepted(folder, pytester)
    steps(folder, fast_ms=9.0)
    (folder / "test_speed.py").write_text(TESTS.replace("rounds=20", "rounds=5"))

    result = gate(pytester, "-k", "fast")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            f"inconclusive {FAST}/static  5 rounds are too few to compare, 6 are needed: *",
            "benchmarks passed: 1 inconclusive; 1 accepted benchmarks did not run",
        ]
    )


def test_a_failing_test_fails_as_ever_and_its_benchmark_is_gated_only_if_it_was_measured(folder, pytester):
    (folder / "test_speed.py").write_text(TESTS.replace("benchmark.pedantic(int", "benchmark.pedantic(int, ('x',)", 1))

    result = gate(pytester)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["benchmarks passed: 1 new"])


@pytest.mark.parametrize("option", ["--benchmark-disable", "--benchmark-skip", "-n2"])
def test_a_session_that_measures_no_benchmark_cannot_gate_them(folder, pytester, option):
    result = gate(pytester, option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--harness-gate-benchmarks: pytest-benchmark is told not to measure*"])


def test_without_pytest_benchmark_other_tests_run_and_it_is_said_that_nothing_was_gated(folder, pytester):
    (folder / "test_speed.py").write_text("def test_plain(): pass\n")

    result = gate(pytester, "-p", "no:benchmark")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["pytest-benchmark is not there, so none was gated"])


def test_a_session_without_benchmarks_says_so(folder, pytester):
    (folder / "test_speed.py").write_text("def test_plain(): pass\n")

    gate(pytester, "--harness-output=out").stdout.fnmatch_lines(["no benchmark was measured, so none was gated"])

    assert list((folder / "out").iterdir()) == []


def test_a_damaged_baseline_never_passes_the_gate(folder, pytester):
    accepted(folder, pytester)
    (baseline,) = (folder / "baselines").glob("*/pytest.json")
    baseline.write_text("{")

    result = gate(pytester)

    assert result.ret != pytest.ExitCode.OK
    result.stderr.fnmatch_lines(["*pytest.json: not a baseline: *"])
