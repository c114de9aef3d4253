"""The parent's end of a worker: requests, their time limits, and what becomes of a worker that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeVar

from harness.codec import decode
from harness.errors import CaseError
from harness.records import Failure, Interpreter
from harness.runner.answers import died_of, message
from harness.runner.channel import Channel, Garbage, Log
from harness.runner.lock import LOCKS, lock_folder
from harness.runner.processes import EXIT_S, MARK, STACK_SIGNAL, end, end_marked, ends, exited, oom_kills
from harness.runner.start import OWN, not_started, variables_for
from harness.runner.watchdog import LOOK_S, Overgrown, Watchdog

R = TypeVar("R")
RESTART_KINDS = frozenset({"device", "out-of-memory", "harness"})
"""After such a failure the process is not trusted any more."""
STACK_S = 0.5
PATIENCE_S = 20.0
"""After waiting this long for a device that others use, say so."""


class WorkerFailed(Exception):
    """A request that got no result; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


@dataclass(frozen=True)
class Limits:
    """What a worker may take."""

    timeout_s: float
    """Of each stage, its start included."""
    memory_mib: int | None = None
    """Resident memory of the host, of the worker and what it starts."""
    gpu: str | None = None
    """UUID of the only GPU that it sees; None for all."""
    halt: Halt | None = None
    """What ends it from another thread."""

    @property
    def variables(self) -> dict[str, str]:
        """Those of its environment."""
        return {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}


class At(NamedTuple):
    """What a worker does."""

    case: str
    stage: str


class Ended(Protocol):
    """What is ended when a run ends."""

    def kill(self) -> None: ...


class Halt:
    """Ends the workers of several threads at once and for good, those that are made later too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: weakref.WeakSet[Ended] = weakref.WeakSet()
        self._called = False

    def __reduce__(self) -> tuple[type[Halt], tuple[()]]:
        return Halt, ()  # another process has one of its own

    @property
    def called(self) -> bool:
        """Whether the run is ending."""
        return self._called

    @property
    def under_way(self) -> list[At]:
        """What the workers of this machine do now."""
        with self._lock:
            workers = list(self._workers)
        found = (worker.at for worker in workers if isinstance(worker, WorkerProcess))
        return sorted(at for at in found if at is not None)

    def add(self, worker: Ended) -> None:
        """One more that is to be ended."""
        with self._lock:
            self._workers.add(worker)
            called = self._called
        if called:
            worker.kill()

    def call(self) -> None:
        """End them; what they were asked for fails."""
        with self._lock:
            self._called = True
            workers = list(self._workers)
        for worker in workers:
            worker.kill()


class WorkerProcess:
    """One worker; started by the first request, replaced by the next one after it failed."""

    def __init__(
        self,
        cache: Path,
        scratch: Path,
        limits: Limits,
        variables: Mapping[str, str],
        interpreter: Interpreter = OWN,
    ) -> None:
        self._cache, self._scratch, self._limits = cache, scratch, limits
        self._interpreter = interpreter
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._log = Log()
        self._watchdog: Watchdog | None = None
        self._mark, self._number, self._stage = "", 0, "start"
        self._killed: int | None = None
        """What the kernel had killed for memory when the process began."""
        self._stopped = False
        self._case: str | None = None
        """Which one is asked for now."""
        self.hello: dict[str, Any] = {}
        if limits.halt is not None:
            limits.halt.add(self)

    def request(self, operation: str, *, limit_s: float | None = None, **arguments: Any) -> Any:
        """The result of one operation; raises WorkerFailed, and then the process may be gone.

        `limit_s` is what a stage may take, its start included, where that is less than for others.
        """
        limit_s = min(limit_s or self._limits.timeout_s, self._limits.timeout_s)
        self._case = arguments["plan"]["case"]["id"] if "plan" in arguments else None
        try:
            self._start(limit_s)
            return self._ask(operation, arguments, limit_s)
        finally:
            self._case = None

    def ask(self, kind: type[R], operation: str, **arguments: Any) -> R:
        """The result of one operation as a record; raises WorkerFailed, also where it is no such record."""
        answer = self.request(operation, **arguments)
        try:
            with well_formed(operation):
                return decode(kind, answer)
        except WorkerFailed:
            self._end()
            raise

    @property
    def at(self) -> At | None:
        """The case that it works on and the stage of it; None where it has nothing to do."""
        case = self._case  # another thread may end it meanwhile
        return None if case is None else At(case, self._stage)

    @property
    def alive(self) -> bool:
        """Whether there is a process that a request would go to."""
        return self._process is not None and not exited(self._process)

    def kill(self) -> None:
        """End the process at once and for good; a request under way in another thread fails, and so do later ones."""
        self._stopped = True
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            end_marked(self._mark)

    def close(self) -> None:
        """End the process, politely first."""
        if self._process is not None and self._channel is not None:
            self._channel.hang_up()
            ends(self._process, EXIT_S, self._channel.drain)
        self._end()

    def _start(self, limit_s: float) -> None:
        if self.alive:
            return
        self._end()  # of one that died while nobody asked it for anything, there may be children
        if self._stopped:
            raise WorkerFailed(Failure("harness", "start", "the run is ending: no more workers are started"))
        try:
            self._begin(limit_s)
        except WorkerFailed as lost:
            raise WorkerFailed(not_started(self._interpreter, lost.failure)) from lost

    def _begin(self, limit_s: float) -> None:
        python = self._interpreter.python or sys.executable
        self._mark = f"{os.getpid()}-{token_hex(8)}"
        with start_failures(python):
            self._scratch.mkdir(parents=True, exist_ok=True)
            own = {**self._variables, **self._limits.variables, **_places(self._scratch)}
            own |= {"PYTHONUNBUFFERED": "1", MARK: self._mark}
            self._process = subprocess.Popen(
                [python, "-P", "-m", "harness.runner.worker", str(self._cache), str(self._scratch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**variables_for(self._interpreter, self._scratch), **own},
                start_new_session=True,
            )
        if self._stopped:  # meanwhile, by another thread
            self.kill()
        self._channel = Channel(self._process)
        self._killed = oom_kills()
        self._log = self._channel.log
        memory_mib = self._limits.memory_mib
        self._watchdog = Watchdog(self._process.pid, memory_mib) if memory_mib is not None else None
        self.hello = self._ask("hello", {}, limit_s)

    def _ask(self, operation: str, arguments: Mapping[str, Any], limit_s: float) -> Any:
        self._log.begin()
        self._stage, self._number = "start", self._number + 1
        try:
            answer = self._answered({"op": operation, "id": self._number, **arguments}, limit_s)
        except TimeoutError:
            raise WorkerFailed(self._hangs(limit_s)) from None
        except (EOFError, BrokenPipeError):
            raise WorkerFailed(self._death()) from None
        except Garbage as error:
            words = f"protocol: {error}; something in the worker writes to its channel"
            raise WorkerFailed(self._ended("harness", words)) from None
        except Overgrown as error:
            raise WorkerFailed(self._ended("out-of-memory", str(error))) from None
        except BaseException:  # Ctrl-C, a time limit of pytest's: the late answer would be taken for the next one's
            self._end()
            raise
        return self._result(answer)

    def _answered(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to a request; each stage that the worker announces may take so long."""
        if self._channel is None:
            raise EOFError
        self._channel.send(json.dumps(request).encode() + b"\n", monotonic() + limit_s)
        while True:
            answer = self._next(None if self._stage == "wait" else monotonic() + limit_s)
            if "stage" not in answer:
                return answer
            self._stage = answer["stage"]

    def _next(self, deadline: float | None) -> dict[str, Any]:
        """The next message of the worker. Without a deadline it waits for others, which is said once."""
        said = None if deadline is not None else monotonic() + PATIENCE_S
        while self._channel is not None:
            until = deadline if deadline is not None else (said or monotonic() + PATIENCE_S)
            wait_s = max(0.0, until - monotonic())
            line = self._channel.line(wait_s if self._watchdog is None else min(wait_s, LOOK_S))
            if line is not None:
                return message(line, self._number)
            if self._watchdog is not None:
                self._watchdog.look()
            if deadline is not None and monotonic() >= deadline:
                raise TimeoutError
            if said is not None and monotonic() >= said:
                said = None
                where = f"locks in {lock_folder()}"
                print(f"harness: waiting for other work on this device to end ({where})", file=sys.stderr)
        raise EOFError

    def _result(self, answer: dict[str, Any]) -> Any:
        if "error" not in answer:
            return answer["result"]
        error = answer["error"]
        if self._channel is not None:
            self._channel.drain()  # what was logged before the answer is in the pipe by now
        if error["kind"] in RESTART_KINDS:
            self._end()
        raise WorkerFailed(Failure(error["kind"], error["stage"], error["message"], self._log.text()))

    def _hangs(self, limit_s: float) -> Failure:
        """The end of a worker that took too long; its log says where it was."""
        if self._process is not None and self._channel is not None and self.alive:
            os.kill(self._process.pid, STACK_SIGNAL)
            self._channel.gather(STACK_S)
        words = f"{self._stage} took longer than {limit_s:g} s: raise --timeout if that is expected"
        return self._ended("timeout", words)

    def _death(self) -> Failure:
        """What ended the process: a signal, an exit status."""
        process, channel = self._process, self._channel
        if process is not None and channel is not None and not ends(process, EXIT_S, channel.drain):
            words = f"protocol: the worker closed its channel in {self._stage} and gave no answer"
            return self._ended("harness", words)
        kind, words = died_of(self._end(), self._stage, self._killed, oom_kills())
        return Failure(kind, self._stage, words, self._log.text())

    def _ended(self, kind: str, message: str) -> Failure:
        """End the process, for a reason."""
        self._end()
        return Failure(kind, self._stage, message, self._log.text())

    def _end(self) -> int:
        """Kill the process, where there is one, and what it started; its exit status."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if process is None:
            return 0
        try:
            return end(process, self._mark)
        finally:
            if channel is not None:
                channel.drain()
                channel.close()


def _places(folder: Path) -> dict[str, str]:
    """What a killed worker leaves goes with the folder of its run; locks stay where all processes look for them."""
    with suppress(CaseError):  # the worker tells it
        return {"TMPDIR": str(folder), LOCKS: str(lock_folder())}
    return {"TMPDIR": str(folder)}


@contextmanager
def start_failures(python: str) -> Iterator[None]:
    """WorkerFailed where the operating system does not start the program."""
    try:
        yield
    except OSError as error:
        message = f"no worker can be started with {python}: {error.strerror}"
        raise WorkerFailed(Failure("harness", "start", message)) from error


@contextmanager
def well_formed(operation: str) -> Iterator[None]:
    """WorkerFailed where an answer is not what was asked for."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        words = f"protocol: the worker's answer to '{operation}' cannot be read: {error}"
        raise WorkerFailed(Failure("harness", "answer", words)) from error
