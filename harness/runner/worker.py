"""The worker process: reads one JSON request a line, answers with stages and one result or error.

Everything that a runtime prints goes to standard error, which the parent keeps as the log of the case.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from harness.backends import ATTEMPT, EXPORTERS, backend_named, exporter_named
from harness.codec import compact, decode, encode
from harness.errors import CaseError
from harness.records import Contestant, Injection, Plan
from harness.runner.guard import bind_to_parent, dismiss
from harness.runner.processes import STACK_SIGNAL

CHECKED = frozenset({"measure", "reference", "duel", "time", "hold"})
"""After these a context of the GPU must be as good as before."""


def main() -> None:
    """Serve requests until standard input ends."""
    guard = bind_to_parent()
    faulthandler.enable()  # from Python 3.14 on with native frames
    faulthandler.register(STACK_SIGNAL)
    requests, channel = _private(0), _private(1, "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what this process starts reads no requests
    os.dup2(2, 1)
    worker = Worker(Path(sys.argv[1]), Path(sys.argv[2]), channel)
    for line in requests:
        worker.serve(json.loads(line))
    dismiss(guard)


def _private(descriptor: int, mode: str = "r") -> IO[str]:
    """A stream on a duplicate that no other program inherits."""
    return os.fdopen(os.dup(descriptor), mode, encoding="utf-8")


def _why_lost() -> str | None:
    """What CUDA says of a context of this process that cannot be used any more."""
    try:
        from harness.backends.cuda_health import why_lost

        return why_lost()
    except ImportError:  # nothing is installed here that would make one
        return None


class Worker:
    """Dispatches requests to the steps; a failure is an answer, never the end of the process."""

    def __init__(self, cache: Path, scratch: Path, channel: IO[str]) -> None:
        self._channel = channel
        self._stage, self._id = "start", 0
        self._cache, self._scratch = cache, scratch
        self._steps: Any = None
        self._turns: Any = None
        self._hand: Any = None
        self._again: Any = None
        self._operations: Mapping[str, Callable[..., Any]] = {
            "hello": self._hello,
            "outline": self._outline,
            "facts": self._facts,
            "support": self._support,
            "backend": self._backend,
            "probe": self._probe,
            "reference": self._reference,
            "twin": self._twin,
            "variant": self._variant,
            "export": self._export,
            "framework": self._framework,
            "exported": self._exported,
            "measure": self._measure,
            "time": self._time,
            "duel": self._duel,
            "hold": self._hold,
            "block": self._block,
            "release": self._release,
            "debug": self._debug,
        }

    def serve(self, request: dict[str, Any]) -> None:
        """Answer one request."""
        self._stage, self._id = "start", request.pop("id")
        operation = request.pop("op")
        try:
            answer = {"result": self._operations[operation](**request)}
            if operation in CHECKED and (lost := _why_lost()):
                answer = self._failure("device", f"the case was measured, but then {lost}")
        except Exception as error:
            answer = self._failed(error)
        self._send(answer)

    def _failed(self, error: Exception) -> dict[str, Any]:
        """What an exception means; whatever it says, a context that is lost is a failure of the device."""
        if isinstance(error, MemoryError):
            kind, words = "out-of-memory", "host memory ran out: Python could not get more"
        elif isinstance(error, CaseError):
            kind, words = error.kind, str(error)
        else:
            traceback.print_exc()
            kind, words = "harness", f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            words += f" (the worker may open {os.sysconf('SC_OPEN_MAX')} files: close some, or raise `ulimit -n`)"
        lost = _why_lost()
        return self._failure("device", f"{words}; {lost}") if lost else self._failure(kind, words)

    def _announce(self, stage: str) -> None:
        self._stage = stage
        self._send({"stage": stage})

    def _send(self, message: Mapping[str, Any]) -> None:
        self._channel.write(compact({"id": self._id, **message}) + "\n")
        self._channel.flush()

    def _failure(self, kind: str, message: str) -> dict[str, Any]:
        return {"error": {"kind": kind, "stage": self._stage, "message": message}}

    def _hello(self) -> Any:
        from harness.runner.steps import Steps

        self._steps = Steps(self._cache, self._scratch, self._announce)
        return encode(self._steps.environment)

    def _outline(self, model: str) -> Any:
        """What a model file says about itself."""
        from harness.inputs.tables import outline

        return encode(outline(Path(model)))

    def _facts(self, model: str) -> Any:
        """The versions of a model file."""
        from harness.runner.support import facts

        return encode(facts(Path(model)))

    def _support(self, step: str, plan: Any) -> Any:
        """One question of `harness doctor --model`."""
        from harness.runner.support import Support

        support = Support(self._cache, self._scratch, self._announce)
        return encode(getattr(support, step)(decode(Plan, plan)))

    def _backend(self, name: str) -> Any:
        """Why a backend, or a framework that exports, is not available here, and its versions if it is."""
        backend = exporter_named(name) if name in EXPORTERS else backend_named(name)
        reason = backend.why_not()
        return {
            "why_not": reason,
            "why_not_run": None if reason else backend.why_not_run(),
            "versions": {} if reason else backend.versions(),
        }

    def _probe(self, name: str, case: str, options: Any, attempt: int) -> None:
        """Whether the device does what it is told; DeviceError where it does not."""
        self._announce("probe")
        os.environ[ATTEMPT] = str(attempt)
        backend = backend_named(name)
        backend.probe(case, options)

    def _reference(self, plan: Any, folder: str) -> Any:
        return self._steps.reference(decode(Plan, plan), Path(folder))

    def _twin(self, plan: Any, folder: str) -> Any:
        return self._steps.twin(decode(Plan, plan), Path(folder))

    def _variant(self, plan: Any) -> Any:
        return encode(self._steps.variant(decode(Plan, plan)))

    def _export(self, plan: Any) -> Any:
        """Export a framework's model; gives the digest of the export, and warnings."""
        return encode(self._exports().export(decode(Plan, plan)))

    def _framework(self, plan: Any, folder: str) -> None:
        """What its framework computes of a model that was exported."""
        self._exports().framework(decode(Plan, plan), Path(folder))

    def _exports(self) -> Any:
        from harness.runner.exports import Exports

        return Exports(self._cache, self._scratch, self._announce)

    def _exported(self, plan: Any, framework: str, reference: str, twin: str) -> Any:
        """How far an export is from what its framework computes."""
        from harness.runner.exports import compared

        self._announce("compare")
        return encode(compared(decode(Plan, plan), Path(framework), Path(reference), Path(twin)))

    def _measure(self, plan: Any, reference: str | None, twin: str | None, keep: str | None, attempt: int) -> Any:
        os.environ[ATTEMPT] = str(attempt)
        folders = (Path(folder) if folder else None for folder in (reference, twin, keep))
        return self._steps.measure(decode(Plan, plan), *folders)

    def _time(self, plan: Any, one: Any) -> Any:
        """One more window of a case that was measured."""
        from harness.runner.again import Again

        self._again = self._again or Again(self._cache, self._scratch, self._announce)
        return encode(self._again.window(decode(Plan, plan), decode(Contestant, one) if one else None))

    def _duel(self, plan: Any, a: Any, b: Any, first: str, injected: Any) -> Any:
        """Two sides of a case, timed in turns here."""
        from harness.runner.turns import Turns

        self._turns = self._turns or Turns(self._cache, self._scratch, self._announce)
        sides = decode(Contestant, a), decode(Contestant, b)
        slowed = decode(Injection, injected) if injected else None
        return encode(self._turns.duel(decode(Plan, plan), *sides, first, slowed))

    def _hold(self, plan: Any, one: Any) -> Any:
        """One side of a case, resident until it is released, that is timed in turns with one of another process."""
        from harness.runner.hand import Hand

        self._hand = self._hand or Hand(self._cache, self._scratch, self._announce)
        return encode(self._hand.hold(decode(Plan, plan), decode(Contestant, one)))

    def _block(self, count: int, cpu: int | None) -> Any:
        return encode(self._hand.block(count, cpu))

    def _release(self) -> None:
        if self._hand is not None:
            self._hand.release()

    def _debug(self, step: str, plan: Any, **arguments: Any) -> Any:
        """One step of `harness debug`."""
        from harness.runner.probes import Probes

        probes = Probes(self._cache, self._scratch, self._announce)
        return encode(getattr(probes, step)(decode(Plan, plan), **arguments))


if __name__ == "__main__":
    main()
