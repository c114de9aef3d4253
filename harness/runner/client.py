"""The parent's end of a worker: requests, time-outs, and what a dead worker died of."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from harness.records import Failure, Interpreter
from harness.runner.lock import lock_folder
from harness.runner.start import OWN, not_started, variables_for

LOG_TAIL_BYTES = 4000
RESTART_KINDS = frozenset({"device", "out-of-memory", "harness"})
"""After such a failure the process is not trusted any more."""


PATIENCE_S = 20.0
"""After waiting this long for a device that others use, say so."""


class WorkerFailed(Exception):
    """A request that got no result; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class WorkerProcess:
    """One worker; started by the first request, replaced by the next one after it failed."""

    def __init__(
        self,
        cache: Path,
        scratch: Path,
        timeout_s: float,
        variables: Mapping[str, str],
        interpreter: Interpreter = OWN,
    ) -> None:
        self._cache, self._scratch, self._timeout_s = cache, scratch, timeout_s
        self._interpreter = interpreter
        self._log = scratch / "worker.log"
        scratch.mkdir(parents=True)
        self._log.touch()
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._log_start = 0
        self.hello: dict[str, Any] = {}

    def request(self, operation: str, **arguments: Any) -> Any:
        """The result of one operation; raises WorkerFailed, and then the process may be gone."""
        self._start()
        self._log_start = self._log.stat().st_size
        return self._ask(operation, arguments)

    @property
    def alive(self) -> bool:
        """Whether there is a process that a request would go to."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; a request under way in another thread fails."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, politely first."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill(process)
        if process.stdout is not None:
            process.stdout.close()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._begin()
        except WorkerFailed as lost:
            raise WorkerFailed(not_started(self._interpreter, lost.failure)) from lost

    def _begin(self) -> None:
        self._buffer = b""
        python = self._interpreter.python or sys.executable
        self._log_start = self._log.stat().st_size  # before the program starts: it may write and end at once
        with self._log.open("ab") as log, start_failures(python):
            self._process = subprocess.Popen(
                [python, "-P", "-m", "harness.runner.worker", str(self._cache), str(self._scratch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**variables_for(self._interpreter, self._scratch), **self._variables, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self.hello = self._ask("hello", {})

    def _ask(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        stage = "start"
        try:
            self._send({"op": operation, **arguments})
            deadline: float | None = monotonic() + self._timeout_s
            while True:
                answer = self._answer(deadline)
                if "stage" not in answer:
                    break
                stage = answer["stage"]
                deadline = None if stage == "wait" else monotonic() + self._timeout_s
        except TimeoutError:
            self._end()
            message = f"{stage} took longer than {self._timeout_s:g} s: raise --timeout if that is expected"
            raise WorkerFailed(Failure("timeout", stage, message, self._tail())) from None
        except (EOFError, BrokenPipeError):
            raise WorkerFailed(self._death(stage)) from None
        except ValueError as error:
            self._end()
            raise WorkerFailed(
                Failure("harness", stage, f"the worker's answer is not JSON: {error}", self._tail())
            ) from None
        except BaseException:  # Ctrl-C, a time limit of pytest's: the late answer would be taken for the next one's
            self._end()
            raise
        return self._result(answer)

    def _result(self, answer: dict[str, Any]) -> Any:
        if "error" not in answer:
            return answer["result"]
        error = answer["error"]
        if error["kind"] in RESTART_KINDS:
            self._end()
        raise WorkerFailed(Failure(error["kind"], error["stage"], error["message"], self._tail()))

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise EOFError
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self, deadline: float | None) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._buffer += self._read(deadline)
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError(repr(line[:80]))
        return answer

    def _read(self, deadline: float | None) -> bytes:
        if self._process is None or self._process.stdout is None:
            raise EOFError
        pipe = self._process.stdout.fileno()
        wait_s = None if deadline is None else max(0.0, deadline - monotonic())
        if not select.select([pipe], [], [], PATIENCE_S if wait_s is None else wait_s)[0]:
            if wait_s is not None:
                raise TimeoutError
            print(f"harness: waiting for other work on this device to end (locks in {lock_folder()})", file=sys.stderr)
            select.select([pipe], [], [])
        data = os.read(pipe, 1 << 16)
        if not data:
            raise EOFError
        return data

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        status = self._kill(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)
        return status

    def _kill(self, process: subprocess.Popen[bytes]) -> int:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _death(self, stage: str) -> Failure:
        """What ended the process: a signal, an exit status; SIGKILL that we did not send is the kernel's for memory."""
        process = self._process
        status = _wait(process) if process is not None else 0
        self._end()
        if status == -signal.SIGKILL:
            words = "the worker was killed (SIGKILL): the machine most likely ran out of memory"
            return Failure("out-of-memory", stage, words, self._tail())
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Failure("crash", stage, f"the worker died in {stage}: {name}", self._tail())

    def _tail(self) -> str:
        """The last lines that the worker wrote during this request."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


@contextmanager
def start_failures(python: str) -> Iterator[None]:
    """WorkerFailed where the operating system does not start the program."""
    try:
        yield
    except OSError as error:
        message = f"no worker can be started with {python}: {error.strerror}"
        raise WorkerFailed(Failure("harness", "start", message)) from error


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _close(pipe: Any) -> None:
    with suppress(OSError):
        pipe.close()
