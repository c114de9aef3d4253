"""The worker processes of one thread: one for each interpreter and set of environment variables that cases need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.backends import worker_variables
from harness.codec import decode
from harness.errors import HarnessError
from harness.records import DEFAULT_ENVIRONMENT, Environment, Failure, Interpreter, Plan
from harness.runner.client import Limits, WorkerFailed, WorkerProcess
from harness.runner.start import OWN

KILLED = frozenset({"crash", "timeout", "out-of-memory"})
"""Failures of a start that another one may not have."""


@dataclass(frozen=True)
class Told:
    """What the workers of one thread told about their interpreters."""

    interpreters: Mapping[str, Interpreter]
    hellos: Mapping[str, Environment | Failure]
    about: Mapping[tuple[str, str], Mapping[str, Any]]
    """Name of an interpreter and backend to what was told of it there."""


class Workers:
    """Started when they are first needed, and kept; an interpreter that starts no worker is asked only once."""

    def __init__(self, cache: Path, scratch: Path, limits: Limits) -> None:
        self._cache, self._scratch, self._limits = cache, scratch, limits
        self._processes: dict[tuple[str, str], WorkerProcess] = {}
        self._interpreters: dict[str, Interpreter] = {}
        self._hellos: dict[str, Environment | Failure] = {}
        self._about: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._stopped = False

    def of(self, interpreter: Interpreter, backend: str = "", precision: str = "fp32") -> WorkerProcess:
        """The worker of such cases; WorkerFailed where the interpreter starts none."""
        self._interpreters.setdefault(interpreter.name, interpreter)
        if not interpreter.own:
            self._meet(interpreter)
        return self._process(interpreter, backend, precision)

    def of_case(self, plan: Plan) -> WorkerProcess:
        """The worker that measures a plan."""
        return self.of(plan.interpreter, plan.case.backend, plan.case.precision)

    def of_reference(self, plan: Plan) -> WorkerProcess:
        """The worker that computes the reference of a plan."""
        return self.of(OWN, plan.reference.backend, plan.reference.precision)

    def why_not(self, interpreter: Interpreter, backend: str) -> str | None:
        """Why the backend cannot be used there; raises WorkerFailed if asking kills the worker."""
        if not interpreter.own and interpreter.python is None:
            self._interpreters.setdefault(interpreter.name, interpreter)
            name = interpreter.name
            return f"environment '{name}' has no interpreter on this machine: name it with --environment {name}=PYTHON"
        reason: str | None = self._told(interpreter, backend)["why_not"]
        return f"{reason} (in environment '{interpreter.name}')" if reason and not interpreter.own else reason

    def why_not_run(self, interpreter: Interpreter, backend: str) -> str | None:
        """Why the backend can build but not run there; raises WorkerFailed if asking kills the worker."""
        reason: str | None = self._told(interpreter, backend)["why_not_run"]
        return reason

    def environments(self) -> dict[str, Environment]:
        """The environments that were asked for so far, with the versions of the backends that were asked for there."""
        return {name: self.environment(name) for name in (DEFAULT_ENVIRONMENT, *self._interpreters)}

    def environment(self, name: str = DEFAULT_ENVIRONMENT) -> Environment:
        """One of them; that of the harness starts a worker. One that starts none is this machine without versions."""
        found = self._machine() if name == DEFAULT_ENVIRONMENT else self._hellos.get(name)
        if not isinstance(found, Environment):
            return replace(self._machine(), versions={})
        told = (about["versions"] for (place, _), about in list(self._about.items()) if place == name)
        return replace(found, versions={**found.versions, **{key: value for one in told for key, value in one.items()}})

    @property
    def told(self) -> Told:
        """What they told so far."""
        return Told(dict(self._interpreters), dict(self._hellos), dict(self._about))

    def learn(self, other: Told) -> None:
        """Take over what other workers told; this may be called by another thread."""
        self._about |= other.about
        self._interpreters |= other.interpreters
        for name, found in other.hellos.items():
            if isinstance(found, Environment):
                self._hellos[name] = self._whole(found)
            else:
                self._hellos.setdefault(name, found)

    def _whole(self, seen: Environment) -> Environment:
        """What a worker tells that may see one GPU only, or runs elsewhere, with all that this machine has."""
        machine = self._hellos.get(DEFAULT_ENVIRONMENT)
        if not isinstance(machine, Environment):
            return seen
        return replace(seen, host=machine.host, gpus=machine.gpus, fingerprint=machine.fingerprint)

    def kill(self) -> None:
        """End the processes at once and for good, from another thread; what is asked of them fails from now on."""
        self._stopped = True
        for process in list(self._processes.values()):
            process.kill()

    def close(self) -> None:
        """End the processes, politely; at once where this is interrupted."""
        try:
            for process in self._processes.values():
                process.close()
        finally:
            self.kill()

    def _process(self, interpreter: Interpreter, backend: str, precision: str) -> WorkerProcess:
        variables = worker_variables(backend, precision)
        lane = interpreter.name, "-".join(variables) or "main"
        if lane not in self._processes:
            scratch = self._scratch.joinpath(*lane)
            self._processes[lane] = WorkerProcess(self._cache, scratch, self._limits, variables, interpreter)
            if self._stopped:
                self._processes[lane].kill()
        return self._processes[lane]

    def _machine(self) -> Environment:
        """This machine, as a worker of the harness's own interpreter sees it."""
        try:
            return self._meet(OWN)
        except WorkerFailed as lost:
            raise HarnessError(f"no worker can be started: {lost}\n{lost.failure.log}") from lost

    def _meet(self, interpreter: Interpreter) -> Environment:
        """What the first worker of an interpreter said about itself, or the failure that it ended with."""
        name = interpreter.name
        if name not in self._hellos:
            found = self._hello(interpreter)
            if isinstance(found, Failure) and interpreter.own and found.kind in KILLED:
                found = self._hello(interpreter)  # everything hangs on this one: once may be bad luck
            self._hellos[name] = found
        found = self._hellos[name]
        if isinstance(found, Failure):
            raise WorkerFailed(found)
        return found

    def _hello(self, interpreter: Interpreter) -> Environment | Failure:
        process = self._process(interpreter, "", "fp32")
        try:
            process.request("backend", name="fake")
            return decode(Environment, process.hello)
        except WorkerFailed as lost:
            return lost.failure

    def _told(self, interpreter: Interpreter, backend: str) -> Mapping[str, Any]:
        key = interpreter.name, backend
        if key not in self._about:
            self._about[key] = self.of(interpreter, backend).request("backend", name=backend)
        return self._about[key]
