"""Where a fault happens: a copy of a small project, with temporary folder and locks of its own, and its processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

INSIDE = Path(__file__).parent / "inside"
SOURCES = Path(__file__).parents[2]
TOKEN = "FAULT_TOKEN"
"""The variable by which everything that a run under test starts is known."""
INTERRUPTED = 130
"""A shell tells a process that SIGINT ended just as one that ended with this status."""
PATIENCE_S = 8.0
"""What processes are given to end when their run has ended: a guard waits five seconds for its worker."""


@dataclass
class Place:
    """A folder with `project` (the working folder of runs), `tmp`, `locks` and `key`."""

    folder: Path
    token: str = field(default_factory=lambda: token_hex(8))
    out: Path = Path("out")
    """The run's folder, as the command line names it."""
    variables: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What is to be told of how the fault was made here."""
    inside: Mapping[str, Any] = field(default_factory=dict)
    """What all processes of this place are told; see inside/sitecustomize.py."""
    others: list[Process] = field(default_factory=list)
    """Further runs that the fault needs."""
    cleaning: ExitStack = field(default_factory=ExitStack)

    @property
    def project(self) -> Path:
        """The working folder of the runs."""
        return self.folder / "project"

    @property
    def cache(self) -> Path:
        """The cache folder of the runs."""
        return self.project / "cache"

    @property
    def reached(self) -> Path:
        """Is there as soon as the run has come to the place of the fault."""
        return self.project / "reached"

    @property
    def go(self) -> Path:
        """Is there as soon as a case that waits may go on."""
        return self.project / "go"

    def environment(self) -> dict[str, str]:
        """The variables of a run under test."""
        path = [str(INSIDE), str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {
            "PYTHONPATH": os.pathsep.join(path),
            "TMPDIR": str(self.folder / "tmp"),
            "TRT_HARNESS_LOCKS": str(self.folder / "locks"),
            "TRT_HARNESS_CACHE_KEY": str(self.folder / "key"),
            "OPENBLAS_NUM_THREADS": "1",  # a process that multiplies nothing starts sooner
            TOKEN: self.token,
        }
        return {
            **os.environ,
            **own,
            **self.variables,
            **({"FAULT_INSIDE": json.dumps(self.inside)} if self.inside else {}),
        }

    def start(self, options: Sequence[object], prepare: str = "", **streams: Any) -> Process:
        """A `harness run` in a session of its own; `prepare` is Python that its process follows first."""
        command = [sys.executable, "-m", "harness", "run", *map(str, options)]
        if prepare:
            code = f"import os, resource, sys\n{prepare}\nos.execv(sys.argv[1], sys.argv[1:])"
            command = [sys.executable, "-S", "-c", code, *command]
        log = (self.folder / "log").open("ab")
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **streams}
        process = subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment(),
            start_new_session=True,
            **streams,
        )
        log.close()
        return Process(process)

    def processes(self) -> list[int]:
        """All that carry the token of this place."""
        wanted, found = f"{TOKEN}={self.token}".encode(), []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        """The workers, without their guards and what they started."""
        found = []
        for pid in self.processes():
            with suppress(OSError, IndexError, ValueError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"harness.runner.worker" in words and b"harness.runner.worker" not in _words(parent):
                    found.append(pid)
        return found

    def left(self) -> list[str]:
        """Processes that do not end; they are ended here."""
        deadline = time.monotonic() + PATIENCE_S
        while (pids := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        told = [_words(pid).replace(b"\0", b" ").decode()[:200] for pid in pids]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return told


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class Process:
    """A run under test."""

    process: subprocess.Popen[bytes]

    def wait(self, limit_s: float) -> int | None:
        """Its exit status as a shell tells it, negative for a signal; None when it had to be ended."""
        try:
            status = self.process.wait(max(0.0, limit_s))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None
        return INTERRUPTED if status == -signal.SIGINT else status

    def send(self, number: int) -> None:
        """A signal to the run alone."""
        self.process.send_signal(number)


def copy(source: Path, folder: Path) -> Place:
    """A place of its own, from one in which everything was measured undisturbed."""
    folder.mkdir(parents=True)
    shutil.copytree(source / "project", folder / "project", ignore=shutil.ignore_patterns("out"))
    for file in (source / name for name in ("key", "server.pem", "cert.pem")):
        if file.exists():
            shutil.copy2(file, folder)
    for file in (folder / "project" / "baselines").rglob("*.json"):  # accepted options hold the path of the script
        file.write_text(file.read_text().replace(str(source), str(folder)))
    (folder / "tmp").mkdir()
    (folder / "locks").mkdir()
    return Place(folder)
