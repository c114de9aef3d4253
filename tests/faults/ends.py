"""Processes that end, hang, or take what is short: the run itself, its workers, and what cases do to those."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from faults.fault import During, Fault
from faults.place import Place, Process
from harness.records import Run


def send(*numbers: int, pause_s: float = 0.0) -> During:
    """Signals to the run."""

    def during(_: Place, process: Process) -> None:
        for position, number in enumerate(numbers):
            time.sleep(pause_s if position else 0.0)
            process.send(number)

    return during


def kill_workers(place: Place, _: Process) -> None:
    """SIGKILL to the workers of the run."""
    for pid in place.workers():
        os.kill(pid, signal.SIGKILL)


def stop_workers(place: Place, _: Process) -> None:
    """SIGSTOP to the workers, which never go on."""
    for pid in place.workers():
        os.kill(pid, signal.SIGSTOP)


def in_turn(*steps: During) -> During:
    """One after the other."""
    return lambda place, process: [step(place, process) for step in steps] and None


def go(place: Place, _: Process) -> None:
    """Let the case that waits go on."""
    place.go.touch()


def at(process: str, event: str, path: str, do: str, nth: int = 1, when: str = "") -> tuple[dict[str, object]]:
    """A place inside of a process, where `when` is among its variables."""
    return ({"process": process, "event": event, "path": path, "do": do, "nth": nth, "when": when},)


def says(words: str) -> Callable[[Place, Run], list[str]]:
    """The run has to print these words."""

    def check(place: Place, _: Run) -> list[str]:
        return [] if words in (place.folder / "log").read_text(errors="replace") else [f"never said: {words}"]

    return check


def small_folder(place: Place, _: Run) -> list[str]:
    """Nothing large may be left in the folder of the run."""
    size = sum(file.stat().st_size for file in (place.project / place.out).rglob("*"))
    return [] if size < 1 << 20 else [f"the run takes {size} bytes on disk"]


def dies(name: str, script: str, words: str, kind: str = "crash", exit_: int = 3, **more: object) -> Fault:
    """A case that ends its worker, or is refused by it."""
    return Fault(name, f"script: {script}", exit_, (kind, words), script=script, **more)  # type: ignore[arg-type]


WAITS = "kind: wait, until: go, once: reached"
STAGES = ("build", "load", "infer", "time", "serve")
KILLED = -signal.SIGKILL
JOURNAL = "*/journal.jsonl"

SCRIPTED = (
    *(dies(f"segfault in {stage}", f"kind: segfault, stage: {stage}", f"died in {stage}: SIGSEGV") for stage in STAGES),
    dies("abort in build", "kind: abort, stage: build", "died in build: SIGABRT"),
    dies("exit in load", "kind: exit, stage: load", "died in load: exit status 3"),
    dies("hang in build", "kind: hang, stage: build", "build took longer", "timeout"),
    dies("hang in infer", "kind: hang, stage: infer", "infer took longer", "timeout"),
    dies("hang in time", "kind: hang, stage: time", "time took longer", "timeout"),
    dies("hang in serve", "kind: hang, stage: serve", "serve took longer", "timeout"),
    Fault("hang in exit", "script: kind: exit-hang", 0, script="kind: exit-hang, stage: infer"),
    dies("closed channel", "kind: closed-channel, stage: infer", "protocol: the worker closed its channel", "harness"),
    dies("garbage on the channel", "kind: garbage, stage: infer", "protocol: the worker's answer is not", "harness"),
    dies("an answer without end", "kind: giant-answer, stage: load", "protocol: an answer of more than", "harness"),
    dies("host memory runs out", "kind: out-of-memory, stage: infer", "host memory", "out-of-memory"),
    dies("host memory over the worker's limit", "kind: memory, stage: load", "allows 500 MiB", "out-of-memory",
         options=("--worker-memory", 500)),
    dies("device memory runs out", "kind: device-memory, stage: load", "device memory", "out-of-memory"),
    dies("device error", "kind: device, stage: infer", "the device reported an error", "device"),
    dies("sticky device error", "kind: sticky-device, stage: infer", "sticky", "device"),
    dies("sick device", "kind: sick-device, stage: infer", "the device reported an error", "device", resume=3),
    dies("10,000 file descriptors", "kind: files, stage: load", "Too many open files", "harness"),
    Fault("a gigabyte of log", "script: kind: giant-log", 0, script="kind: giant-log, stage: infer, mib: 1024",
          check=small_folder),
    Fault("a child in a session of its own", "script: kind: child, detached", 0,
          script="kind: child, stage: infer, pid_file: pid, detached: true, once: reached"),
    Fault("segfault, then a retry", "script: kind: segfault, attempts: 1; --retries 1", 0,
          script="kind: segfault, stage: infer, attempts: 1", options=("--retries", 1),
          but=("attempts", "earlier", "headline"), check=says("before: crash in infer")),
)  # fmt: skip

WORKER = (
    *(
        dies(f"SIGKILL of the worker in {stage}", f"{WAITS}, stage: {stage}", f"died in {stage}: SIGKILL",
             during=kill_workers)
        for stage in STAGES
    ),
    Fault("SIGSTOP of the worker in infer", "from outside", 3, ("timeout", "infer took longer"), during=stop_workers,
          script=f"{WAITS}, stage: infer"),
    Fault("SIGKILL of the worker at its start", "at its first import of the harness's steps", 0,
          at=at("worker", "import", "harness.runner.steps", "SIGKILL")),
    Fault("the worker hangs at its start", "at its first import of the harness's steps", 0,
          at=at("worker", "import", "harness.runner.steps", "hang")),
    Fault("SIGKILL of the worker in prepare", "when it opens the model", 3, ("crash", "SIGKILL"), case="/n-1",
          at=at("worker", "open", "*/small.onnx", "SIGKILL")),
    Fault("SIGKILL of the worker in the reference", "when it writes its outputs", 3, ("crash", "SIGKILL"), case="/n-1",
          at=at("worker", "open", "*/references/*", "SIGKILL")),
    Fault("SIGKILL of the worker in compare", "when it reads the reference", 3, ("crash", "SIGKILL"), case="/n-1",
          at=at("worker", "open", "*/references/*/index.json", "SIGKILL", 2)),
    Fault("SIGSEGV of the worker in the twin", "when it makes the precision twin of a case", 0, suite="net",
          case="onnxruntime-cpu/fp16/n-2", at=at("worker", "open", "*/model.onnx", "SIGSEGV")),
    Fault("SIGKILL of the worker while a case is timed again", "when the second process opens the model", 1,
          suite="timed", but=("screening",),
          at=at("worker", "open", "*/small.onnx", "SIGKILL", when="TRT_HARNESS_MEASUREMENT=2")),
)  # fmt: skip

PARENT = (
    *(
        Fault(f"SIGKILL of the run in {stage}", "from outside", KILLED, script=f"{WAITS}, stage: {stage}",
              during=send(signal.SIGKILL), resume=0)
        for stage in STAGES
    ),
    Fault("SIGKILL of the run, two jobs", "from outside", KILLED, script=f"{WAITS}, stage: infer", suite="net",
          during=send(signal.SIGKILL), resume=0, options=("--jobs", 2)),
    *(
        Fault(f"SIGKILL of the run {words}", "inside", KILLED, resume=0, at=at("run", event, path, "SIGKILL", nth))
        for words, event, path, nth in (
            ("when it reads the suite", "open", "*toy.yaml", 1),
            ("in the middle of the journal's first line", "os.write", JOURNAL, 1),
            ("when it starts a worker", "subprocess.Popen", "*harness.runner.worker*", 1),
            ("in the middle of a measured case", "os.write", JOURNAL, 5),
            ("in the middle of a record", "os.write", JOURNAL, 6),
            ("before a record is on disk", "os.fsync", JOURNAL, 3),
            ("in the middle of the last line", "os.write", JOURNAL, 11),
            ("before run.json has its name", "os.rename", "*/run.json", 1),
            ("when it writes junit.xml", "os.rename", "*/junit.xml", 1),
            ("when it removes its temporary folder", "shutil.rmtree", "*/trt-harness-run-*", 3),
        )
    ),
    Fault("SIGSEGV of the run", "inside of it, before a record", -signal.SIGSEGV,
          at=at("run", "os.write", JOURNAL, "SIGSEGV", 5), resume=0),
    Fault("SIGKILL of the run while a case is timed again", "in the middle of a line on it", KILLED, suite="timed",
          at=at("run", "os.write", JOURNAL, "SIGKILL", 7), resume=1),
    Fault("SIGTERM in infer", "from outside", 130, script=f"{WAITS}, stage: infer", during=send(signal.SIGTERM),
          resume=0),
    Fault("SIGHUP in infer", "from outside: its terminal is closed", 130, script=f"{WAITS}, stage: infer",
          during=send(signal.SIGHUP), resume=0),
    Fault("Ctrl-C in infer", "SIGINT from outside", 130, script=f"{WAITS}, stage: infer", during=send(signal.SIGINT),
          resume=0),
    Fault("Ctrl-C twice", "SIGINT from outside, while a worker does not end", 130,
          script="kind: exit-hang, stage: infer, once: reached", resume=0,
          during=send(signal.SIGINT, signal.SIGINT, pause_s=0.5)),
)  # fmt: skip

FAULTS = (*SCRIPTED, *WORKER, *PARENT)
