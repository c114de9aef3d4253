"""Workers that fail: what a case is told to have died of, what it costs the others, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.records import Contestant, Failure, Interpreter
from harness.runner import client
from harness.runner.client import Limits, WorkerFailed, WorkerProcess
from harness.runner.duels import Match, duels
from harness.runner.health import SickDevice
from harness.runner.processes import EXIT_S, with_descendants
from harness.runner.settings import Settings
from harness.store import read_run
from harness.suites import load
from toy import fake_suite, harness

FAULTS = {
    # the fault, then kind, stage, words of the message, words of the log
    "segfault": ("infer", "crash", "infer", "the worker died in infer: SIGSEGV", "fake_crashes.py"),
    "abort": ("build", "crash", "build", "the worker died in build: SIGABRT", "Fatal Python error: Aborted"),
    "exit": ("load", "crash", "load", "the worker died in load: exit status 3", ""),
    "kill": ("infer", "crash", "infer", "SIGKILL, sent from outside: the kernel did not run out of memory", ""),
    "hang": ("time", "timeout", "time", "time took longer than 6 s", "in _hang"),
    "garbage": ("infer", "harness", "infer", "protocol: the worker's answer is not JSON: b'Segmentation", ""),
    "giant-answer": ("load", "harness", "load", "protocol: an answer of more than 64 MiB", ""),
    "closed-channel": ("infer", "harness", "infer", "protocol: the worker closed its channel in infer", ""),
    "out-of-memory": ("infer", "out-of-memory", "infer", "host memory", ""),
    "device-memory": ("load", "out-of-memory", "load", "device memory: scripted", ""),
    "device": ("infer", "device", "infer", "scripted: the device reported an error", ""),
    "sticky-device": ("build", "device", "build", "a sticky device error", ""),
    "files": ("load", "harness", "load", "Too many open files", ""),
    "error": ("build", "build", "build", "the script says so", ""),
}  # fmt: skip
HARMLESS = ("giant-log", "child", "exit-hang")
"""Faults that cost no case."""
KINDS = (*FAULTS, *HARMLESS)


def pids() -> set[int]:
    """The workers and guards of this session of tests, and what they started; others may be at work beside it."""
    found, own = set(), f"TRT_HARNESS_LOCKS={os.environ['TRT_HARNESS_LOCKS']}".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            told = (entry / "environ").read_bytes()
            if b"TRT_HARNESS_WORKER=" in told and own in told.split(b"\0"):
                found.add(int(entry.name))
    return found


def gone(pid: int, patience_s: float = 15.0) -> bool:
    """Whether a process has ended, within a moment."""
    for _ in range(int(patience_s * 20)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def script(faults: dict[str, str], **settings: object) -> str:
    """A script in which the case of each pattern has a fault."""
    more = "".join(f", {name}: {value}" for name, value in settings.items())
    lines = [f"  - {{match: '*/{match}', crash: {{{fault}{more}}}}}" for match, fault in faults.items()]
    return "\n".join(["cases:", *lines, ""])


def suite(folder: Path, text: str, cases: int) -> Path:
    """One model with as many cases, n-1 and so on."""
    path = fake_suite(folder, text)
    shapes = ", ".join(f"{{n: {n}}}" for n in range(1, cases + 1))
    path.write_text(path.read_text().replace("{n: 1}, {n: 3}", shapes))
    return path


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run in which every second case fails in its own way; its exit status, records by number, and what was left."""
    folder = tmp_path_factory.mktemp("faults")
    told = {
        f"n-{2 * at}": f"kind: {kind}, stage: {FAULTS[kind][0] if kind in FAULTS else 'load'}"
        for at, kind in enumerate(KINDS, 1)
    }
    before = pids()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(client, "EXIT_S", 0.3)
        path = suite(folder, script(told, mib=80, pid_file="pid", detached="true"), 2 * len(KINDS) + 1)
        status = harness(folder, "run", path, "-o", "out", "--timeout", 6)
    records = {int(one.case.shape.removeprefix("n-")): one for one in read_run(folder / "out").records}
    return SimpleNamespace(status=status, records=records, folder=folder, left=pids() - before)


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_told_by_kind_stage_and_words(broken, kind):
    _, wanted, stage, words, log = FAULTS[kind]

    error = broken.records[2 * (KINDS.index(kind) + 1)].error

    assert error is not None
    assert (error.kind, error.stage) == (wanted, stage)
    assert words in error.message
    assert log in error.log


def test_a_fault_costs_its_own_case_alone(broken):
    clean = {n: one.status for n, one in broken.records.items() if n % 2}
    harmless = [broken.records[2 * (KINDS.index(kind) + 1)].status for kind in HARMLESS]

    assert broken.status == 1  # a build error is the model's
    assert set(clean.values()) == {"new"}
    assert len(clean) == len(KINDS) + 1
    assert set(harmless) == {"new"}


def test_what_a_worker_leaves_behind_is_ended_also_in_a_session_of_its_own(broken):
    assert gone(int((broken.folder / "pid").read_text()))
    assert all(gone(pid) for pid in broken.left)


def test_a_worker_over_its_memory_is_ended_with_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path, script({"n-1": "kind: memory, stage: load, mib: 1024"}), 2)

    assert harness(tmp_path, "run", path, "-o", "out", "--worker-memory", 500) == 3

    first, second = read_run(tmp_path / "out").records
    assert first.error.kind == "out-of-memory"
    assert "MiB and was ended: --worker-memory allows 500 MiB" in first.error.message
    assert second.status == "new"


def test_retries_are_counted_and_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    once = script({"n-1": "kind: segfault, attempts: 1", "n-2": "kind: device", "n-3": "kind: error, stage: build"})
    path = suite(tmp_path, once, 4)

    assert harness(tmp_path, "run", path, "-o", "out", "--retries", 1) == 1

    records = read_run(tmp_path / "out").records
    assert [(one.status, one.attempts) for one in records] == [("new", 2), ("error", 2), ("error", 1), ("new", 1)]
    assert "[attempt 2; before: crash in infer: the worker died in infer: SIGSEGV]" in records[0].headline
    assert "before: device in infer" in records[1].headline
    assert [len(one.earlier) for one in records] == [1, 1, 0, 0]
    assert "fake_crashes.py" in records[0].earlier[0].log
    assert harness(tmp_path, "judge", "out") == 1
    assert "[attempt 2; before: " in read_run(tmp_path / "out-judged").records[0].headline


def test_a_sick_device_stops_the_run_and_fails_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path, script({"n-2": "kind: sick-device"}), 4)

    assert harness(tmp_path, "run", path, "-o", "out", "--retries", 3) == 3

    assert [(one.case.shape, one.status, one.attempts) for one in read_run(tmp_path / "out").records] == [
        ("n-1", "new", 1), ("n-2", "error", 1),
    ]  # fmt: skip
    words = capsys.readouterr().err
    assert "the device is sick: after device in infer of toy/small/fake/fp32/n-2, 2 probes in fresh processes" in words
    assert "does not give back what it was given" in words


def test_a_device_that_passes_its_second_probe_is_not_sick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = suite(tmp_path, script({"n-1": "kind: sick-device, probes: 1"}), 2)

    assert harness(tmp_path, "run", path, "-o", "out") == 3

    assert [one.status for one in read_run(tmp_path / "out").records] == ["error", "new"]


HANGING = script({"n-1": "kind: child, stage: load, pid_file: pid, detached: true", "n-2": "kind: hang"})


def started(folder: Path, text: str = HANGING) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", suite(folder, text, 2), "-o", "out", "--artefacts", "cache"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_nothing_outlives_a_killed_run(tmp_path):
    with started(tmp_path) as process:
        assert process.stdout.readline().startswith("new ")
        family = with_descendants(process.pid)
        process.kill()

    assert len(family) >= 4  # the run, a worker, its guard and its child
    assert int((tmp_path / "pid").read_text()) in family
    assert [(pid, Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in family if not gone(pid)] == []


def test_a_second_interrupt_ends_the_run_at_once(tmp_path):
    with started(tmp_path, script({"n-1": "kind: exit-hang, stage: load", "n-2": "kind: exit-hang"})) as process:
        assert process.stdout.readline().startswith("new ")
        family = with_descendants(process.pid)
        process.send_signal(signal.SIGINT)
        while "report:" not in process.stdout.readline():  # it has written what was measured and ends its worker
            pass
        start = time.monotonic()
        process.send_signal(signal.SIGINT)

        # a shell shows both as 130: the second one may come when the interpreter is about to end
        assert process.wait(timeout=30) in {130, -signal.SIGINT}
    assert time.monotonic() - start < client.EXIT_S - 1
    assert all(gone(pid) for pid in family)


def test_a_lost_launch_costs_that_launch_alone(tmp_path, monkeypatch):
    """Answers that are no launches, and a worker that cannot be started, are failures of launches."""
    monkeypatch.chdir(tmp_path)
    plans = load([suite(tmp_path, "cases: []\n", 2)], None)
    side = Contestant("0" * 64, {})
    matches = [Match(plan, side, side, None, "itself") for plan in plans]
    real = WorkerProcess.request

    def request(self, operation, **arguments):
        answer = real(self, "backend", name="fake")
        return {"launches": 3} if operation == "duel" else answer

    monkeypatch.setattr(WorkerProcess, "request", request)
    found = duels(matches, Settings(tmp_path / "cache", 60))
    monkeypatch.setattr(client.subprocess, "Popen", refused)
    unstarted = duels(matches, Settings(tmp_path / "cache", 60))

    for duel in found:
        assert len(duel.failures) == 2
        assert "protocol: the worker's answer to 'duel' cannot be read" in duel.failures[0]
    assert all("Too many open files" in duel.failures[0] for duel in unstarted)


def test_a_device_that_fails_launches_and_its_probes_stops_them_all(tmp_path, monkeypatch):
    def request(self, operation, **arguments):
        raise WorkerFailed(Failure("device", "probe" if operation == "probe" else "load", f"sick in {operation}"))

    monkeypatch.setattr(WorkerProcess, "request", request)
    plans = load([suite(tmp_path, "cases: []\n", 2)], None)
    side = Contestant("0" * 64, {})

    with pytest.raises(SickDevice, match=r"after device in load of .*/n-1, 2 probes .* device in probe: sick in probe"):
        duels([Match(plan, side, side, None, "itself") for plan in plans], Settings(tmp_path / "cache", 60))


def refused(*arguments, **options):
    raise OSError(24, "Too many open files")


def test_a_worker_that_takes_no_request_has_a_time_limit(tmp_path):
    worker = WorkerProcess(tmp_path / "cache", tmp_path / "scratch", Limits(20), {})
    worker.request("backend", name="fake")
    os.kill(worker._process.pid, signal.SIGSTOP)

    with pytest.raises(WorkerFailed) as lost:
        worker.request("backend", limit_s=0.5, name="x" * (1 << 20))
    assert lost.value.failure.kind == "timeout"
    assert not worker.alive


def test_an_interpreter_may_be_any_program(tmp_path):
    """What it prints without end and asks nobody for is bounded like a worker's log."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nyes 'this is no worker' >&2\n")
    path.chmod(0o755)
    worker = WorkerProcess(tmp_path / "cache", tmp_path / "scratch", Limits(1), {}, Interpreter("x", str(path)))

    with pytest.raises(WorkerFailed) as lost:
        worker.request("backend", name="fake")
    assert lost.value.failure.kind == "timeout"
    assert lost.value.failure.log.startswith("[")
    assert len(lost.value.failure.log) < 10_000


def test_a_worker_that_was_killed_is_not_started_again(tmp_path):
    worker = WorkerProcess(tmp_path / "cache", tmp_path / "scratch", Limits(20), {})
    worker.kill()

    with pytest.raises(WorkerFailed, match="the run is ending"):
        worker.request("backend", name="fake")


def test_a_worker_that_nobody_can_ask_any_more_ends_whatever_it_does(tmp_path):
    """The kernel does not see this end: its parent lives."""
    worker = WorkerProcess(tmp_path / "cache", tmp_path / "scratch", Limits(20), {})
    worker.request("backend", name="fake")
    process = worker._process
    os.kill(process.pid, signal.SIGSTOP)  # as one that computes without end

    process.stdin.close()

    deadline = time.monotonic() + EXIT_S + 10
    while worker.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.alive
    worker.close()
