"""The same case in two environments, timed in turns by two processes: who is compared, and what decides."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import onnx
import pytest

from harness.allowed import VARIABLE
from harness.errors import CaseError
from harness.judge.latency import Accepted, judge_latency
from harness.judge.launches import FEWEST
from harness.records import Duel, Latency, LatencyPlan, Launch, Quantiles, Record
from harness.runner.across import Seat
from harness.store import read_run
from harness.timing.rest import rest
from models import conv_net
from toy import harness

pytestmark = pytest.mark.alone
SUITE = """
suite: versions
environments:
  old: {{{old}}}
  new: {{python: {python}, against: old}}
models:
  - name: net
    source: net.onnx
    backends: [{backends}]
    shapes: [{{n: 16}}]
    fidelity: {{enabled: false}}
    latency: {{min_time_s: 0.05, regression: 20%, floor_us: {floor_us}}}
    options: {{onnxruntime-cpu: {{threads: 1}}}}
"""
SLOW = f"""#!{sys.executable}
import sys, time
sys.argv[1:] = sys.argv[4:]
from harness.backends import onnxruntime_session
from harness.runner.worker import main
fast = onnxruntime_session._repeat
def slow(*arguments):
    start = time.perf_counter()
    fast(*arguments)
    end = time.perf_counter()
    while time.perf_counter() < end + 0.4 * (end - start):
        pass
onnxruntime_session._repeat = slow
main()
"""
BOTH = "onnxruntime-cpu@old, onnxruntime-cpu@new"
NEW = "versions/net/onnxruntime-cpu@new/fp32/n-16"


def suite(
    folder: Path,
    backends: str = BOTH,
    old: str = f"python: {sys.executable}",
    new: str = sys.executable,
    floor_us: float = 100,
) -> Path:
    """With that floor no call counts as slow: on a busy machine some are."""
    (folder / "pyproject.toml").touch()
    onnx.save(conv_net(), folder / "net.onnx")
    path = folder / "versions.yaml"
    path.write_text(SUITE.format(backends=backends, old=old, python=new, floor_us=floor_us))
    return path


def slow_python(folder: Path) -> str:
    path = folder / "slow-python"
    path.write_text(SLOW)
    path.chmod(0o755)
    return str(path)


def new(folder: Path) -> Record:
    return next(record for record in read_run(folder).records if record.environment == "new")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder in which the interpreters that its suites name may run."""
    monkeypatch.chdir(tmp_path)
    programs = (sys.executable, tmp_path / "slow-python", tmp_path / "dies")
    monkeypatch.setenv(VARIABLE, shlex.join(map(str, programs)))
    return tmp_path


def test_the_same_runtime_under_two_names_passes_by_launches_in_turns_without_any_baseline(folder):
    assert harness(folder, "run", suite(folder), "-o", "out") == 0
    assert harness(folder, "judge", "out") == 0

    record = new(folder / "out")
    assert record.status == "passed"
    assert record.headline.startswith("against environment old: p50 ")
    assert "launches in turns with environment old" in record.headline
    assert record.duel is not None
    assert {launch.first for launch in record.duel.launches} == {"a", "b"}
    assert record.duel.settings["processes"] == 2
    assert new(folder / "out-judged") == record


def test_a_slower_environment_is_regressed(folder):
    path = suite(folder, "onnxruntime-cpu@new", new=slow_python(folder), floor_us=0)

    status = harness(folder, "run", path, "-o", "out")

    (record,) = read_run(folder / "out").records  # the other side is measured, and is no case of the suite
    assert record.duel is not None
    clean = [launch for launch in record.duel.launches if launch.spoiled is None]
    if len(clean) < FEWEST:
        pytest.skip(f"others keep this machine too busy to time anything: {record.headline}")
    assert (status, record.status) == (1, "regressed")
    assert all(launch.log_ratio > 0.2 for launch in clean)
    assert "latency/regression" in [check.name for check in record.checks if not check.ok]


def test_one_case_alone_is_timed_with_its_other_side_too(folder):
    harness(folder, "run", suite(folder), "-o", "out", "-k", NEW)

    (record,) = read_run(folder / "out").records
    assert record.case.id == NEW
    assert record.duel is not None
    assert set(read_run(folder / "out").environments) == {"default", "old", "new"}


def test_an_interrupt_while_cases_take_turns_keeps_those_that_were_decided_at_once(folder, monkeypatch):
    from harness.runner import spread

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(spread, "duels", interrupt)

    assert harness(folder, "run", suite(folder, old=""), "-o", "out") == 130

    assert {record.environment for record in read_run(folder / "out").records} == {"new", "old"}
    assert "@old/fp32/n-16 was skipped" in new(folder / "out").headline


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ("", "old/fp32/n-16 was skipped: environment 'old' has no interpreter on this machine"),
        ("python: dies", "old/fp32/n-16 ended in an error: crash in start: environment 'old'"),
    ],
)
def test_an_other_side_that_cannot_be_measured_leaves_it_undecided_for_that_reason(folder, old, words):
    dies = folder / "dies"
    dies.write_text("#!/bin/sh\nexit 1\n")
    dies.chmod(0o755)

    harness(folder, "run", suite(folder, old=old), "-o", "out")

    record = new(folder / "out")
    assert record.status == "inconclusive"
    assert record.headline.startswith("against environment old: not timed in turns: versions/net/onnxruntime-cpu@")
    assert words in record.headline
    assert harness(folder, "judge", "out") in (0, 3)
    assert new(folder / "out-judged").headline == record.headline


def test_pytest_times_a_case_with_its_other_side(folder, pytester):
    (pytester.path / "pyproject.toml").touch()
    suite(pytester.path)

    pytester.runpytest_subprocess("versions.yaml", "--harness-output", "out", "--harness-artefacts", str(folder))

    record = new(pytester.path / "out")
    assert record.duel is not None
    assert record.status == "passed"


def latency(p50_ms: float) -> Latency:
    return Latency(Quantiles(p50_ms, p50_ms, p50_ms, p50_ms, (p50_ms, p50_ms), 100), None, "host", {})


def test_what_was_accepted_decides_nothing_where_another_environment_does():
    launch = Launch(0.0, 0.0, 1.0, 1.0, 50, 500, "a")
    duel = Duel((launch,) * 5, "host", {}, "environment old")

    _, status, words = judge_latency(
        LatencyPlan(), latency(1.0), Accepted(latency(0.5), duel, versus="onnxruntime 2 against 1", same=True)
    )

    assert status == "passed"
    assert words.startswith("onnxruntime 2 against 1: p50 +0.00%")


def test_the_second_side_of_a_pair_follows_to_the_cpu_of_the_first_and_on_a_gpu_nobody_does():
    def seats(*cpus: int, shared: bool) -> list[int | None]:
        seat, asked = Seat(shared=shared), []
        for cpu in cpus:
            asked.append(seat.ask())
            seat.tell(cpu)
        return asked

    assert seats(3, 3, 1, 1, 0, shared=True) == [None, 3, None, 1, None]
    assert seats(3, 2, 1, shared=False) == [None, None, None]


def test_a_process_rests_when_it_uses_no_cpu_and_one_that_never_does_is_an_error():
    now = [0.0]

    def busy_until(end: float) -> None:
        now[0] = 0.0
        rest(lambda: now[0], lambda: min(now[0], end), lambda s: now.__setitem__(0, now[0] + s))

    busy_until(0.03)
    assert now[0] == pytest.approx(0.031, abs=0.0015)
    with pytest.raises(CaseError, match="still uses a CPU 1 s after its last iteration"):
        busy_until(100.0)
