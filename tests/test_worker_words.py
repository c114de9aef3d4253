"""What a worker's messages, its end, its memory and its device are told to be, and the two interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from harness.backends import cuda_health
from harness.backends.tensorrt_session import context_bytes
from harness.errors import CaseError, DeviceMemory
from harness.runner.answers import died_of, message
from harness.runner.channel import LOG_BYTES, Garbage, Log
from harness.runner.interrupts import interruptible
from harness.runner.lock import device_locks, lock_folder
from harness.runner.processes import resident_mib
from harness.runner.scratch import scratch
from harness.runner.watchdog import Overgrown, Watchdog


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff\xfe", b"[1]", b"null", b"{}", b"[" * 5000, b'{"id": 3}', b'{"id": 4, "result": 1}',
        b'{"result": 1}', b'{"id": 3, "stage": 7}', b'{"id": 3, "error": {"kind": "fun", "stage": "", "message": ""}}',
        b'{"id": 3, "error": {"kind": "crash"}}',
    ],
)  # fmt: skip
def test_what_is_no_answer_to_the_request_is_garbage(line):
    with pytest.raises(Garbage):
        message(line, 3)


@pytest.mark.parametrize(
    "told", [{"stage": "build"}, {"result": None}, {"error": {"kind": "crash", "stage": "x", "message": "y"}}]
)
def test_stages_results_and_errors_are_answers(told):
    assert message(json.dumps({"id": 3, **told}).encode(), 3) == {"id": 3, **told}


@pytest.mark.parametrize(
    ("status", "before", "after", "kind", "words"),
    [
        (-signal.SIGKILL, 4, 5, "out-of-memory", "the kernel killed the worker in build because memory ran out"),
        (-signal.SIGKILL, 4, 4, "crash", "SIGKILL, sent from outside"),
        (-signal.SIGKILL, None, None, "out-of-memory", "most likely"),
        (-signal.SIGBUS, 4, 5, "crash", "the worker died in build: SIGBUS"),
        (-40, 4, 4, "crash", "signal 40"),
        (7, 4, 4, "crash", "exit status 7"),
    ],
)
def test_the_end_of_a_worker_is_told_by_its_status_and_the_kernels_count(status, before, after, kind, words):
    found, told = died_of(status, "build", before, after)

    assert found == kind
    assert words in told


def test_the_end_of_a_log_is_kept_and_how_much_there_was():
    log = Log()
    log.add(b"x" * 100_000)
    log.add(b"\nlast words\n")

    assert log.text().startswith(f"[{100_000 + 12 - LOG_BYTES} bytes of log before this were not kept]\nxxx")
    assert log.text().endswith("\nlast words")
    log.begin()
    assert log.text() == ""


def test_the_memory_of_a_process_is_held_against_its_limit():
    waits = [sys.executable, "-c", "print('ready', flush=True); input()"]  # the tests' own process may have children
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        held = int(resident_mib([process.pid], 0))

        Watchdog(process.pid, held + 50).look()
        with pytest.raises(Overgrown, match=f"held .* MiB and was ended: --worker-memory allows {held - 5} MiB"):
            Watchdog(process.pid, held - 5).look()
        process.communicate(b"\n")


def test_a_folder_for_locks_that_another_user_made_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("TRT_HARNESS_LOCKS")
    monkeypatch.setattr("harness.runner.lock.tempfile.gettempdir", lambda: str(tmp_path))
    assert lock_folder().parent == tmp_path
    (tmp_path / f"trt-harness-{os.getuid() + 1}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(CaseError, match="belongs to another user: set TRT_HARNESS_LOCKS"):
        lock_folder()


def test_a_lock_that_cannot_be_had_is_an_error_of_the_case(monkeypatch, tmp_path):
    monkeypatch.setenv("TRT_HARNESS_LOCKS", str(tmp_path))
    (tmp_path / "cpu.lock").mkdir()

    with pytest.raises(CaseError, match=r"cpu\.lock: cannot be locked: Is a directory"), device_locks(None, alone=True):
        pass


def test_the_first_interrupt_stops_and_the_second_leaves():
    left: list[int] = []

    with pytest.raises(KeyboardInterrupt), interruptible(left.append):
        signal.raise_signal(signal.SIGINT)
    with interruptible(left.append):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a job that is cancelled twice still writes
        assert left == []
        signal.raise_signal(signal.SIGINT)
    assert left == [130]


def room(free_mib: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(cudaMemGetInfo=lambda: (0, free_mib << 20, 1000 << 20))
    monkeypatch.setattr(cuda_health, "runtime", lambda: told)


def test_what_cannot_fit_is_refused_with_figures(monkeypatch):
    room(300, monkeypatch)

    cuda_health.refuse_without_room({"weights": 200 << 20, "activations": 100 << 20})
    with pytest.raises(DeviceMemory, match=r"301 MiB needed \(weights 200 MiB, activations 101 MiB\), 300 MiB of 1000"):
        cuda_health.refuse_without_room({"weights": 200 << 20, "activations": 101 << 20})


@pytest.mark.parametrize(
    "engine",
    [{"device_memory_size": 7}, {"device_memory_size": 1, "device_memory_size_v2": 7}, {"device_memory_size_v2": 7}],
)
def test_every_tensorrt_tells_what_a_context_takes(engine):
    assert context_bytes(SimpleNamespace(**engine)) == 7


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        (["cudaErrorIllegalAddress"] * 2, "a sticky CUDA error, cudaErrorIllegalAddress: the context of this process"),
        (["cudaErrorECCUncorrectable"] * 2, "the device is lost: cudaErrorECCUncorrectable"),
        (["cudaErrorNotReady", "cudaSuccess"], None),
        (["cudaSuccess"], None),
    ],
)
def test_an_error_that_stays_means_that_the_context_is_lost(monkeypatch, statuses, words):
    said = iter(statuses)

    class Status(SimpleNamespace):
        def __int__(self) -> int:
            return int(self.name != "cudaSuccess")

    calls = SimpleNamespace(cudaDeviceSynchronize=lambda: (Status(name=next(said)),), cudaGetLastError=lambda: None)
    monkeypatch.setattr(cuda_health, "runtime", lambda: calls)
    monkeypatch.setattr(cuda_health, "_has_context", lambda: True)

    assert (cuda_health.why_lost() or "None").startswith(str(words))


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_is_in_use_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.runner.scratch.tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "trt-harness-run-killed").mkdir()
    (tmp_path / "trt-harness-run-killed/in-use").touch()
    (tmp_path / "trt-harness-run-other").mkdir()  # of somebody who locks nothing

    with scratch() as first, scratch() as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, "trt-harness-run-other"}
    assert [path.name for path in tmp_path.iterdir()] == ["trt-harness-run-other"]
