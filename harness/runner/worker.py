"""The worker process: reads one JSON request a line, answers with stages and one result or error.

Everything that a runtime prints goes to standard error, which the parent keeps as the log of the case.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from harness.codec import decode, encode
from harness.errors import CaseError
from harness.records import Contestant, Injection, Outcome, Plan

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve requests until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(Path(sys.argv[1]), Path(sys.argv[2]), channel)
    for line in sys.stdin:
        worker.serve(json.loads(line))


class Worker:
    """Dispatches requests to the steps; a failure is an answer, never the end of the process."""

    def __init__(self, cache: Path, scratch: Path, channel: IO[str]) -> None:
        self._channel = channel
        self._stage = "start"
        self._cache, self._scratch = cache, scratch
        self._steps: Any = None
        self._hand: Any = None
        self._again: Any = None
        self._operations: Mapping[str, Callable[..., Any]] = {
            "hello": self._hello,
            "outline": self._outline,
            "backend": self._backend,
            "reference": self._reference,
            "twin": self._twin,
            "variant": self._variant,
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
        self._stage = "start"
        try:
            answer = {"result": self._operations[request.pop("op")](**request)}
        except MemoryError:
            answer = self._failure("out-of-memory", "the host ran out of memory")
        except CaseError as error:
            answer = self._failure(error.kind, str(error))
        except Exception as error:
            traceback.print_exc()
            answer = self._failure("harness", f"{type(error).__name__}: {error}")
        self._send(answer)

    def _announce(self, stage: str) -> None:
        self._stage = stage
        self._send({"stage": stage})

    def _send(self, message: Mapping[str, Any]) -> None:
        self._channel.write(json.dumps(message) + "\n")
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

    def _backend(self, name: str) -> Any:
        """Why a backend is not available here, and its versions if it is."""
        from harness.backends import BACKENDS

        backend = BACKENDS.load(name)()
        reason = backend.why_not()
        return {
            "why_not": reason,
            "why_not_run": None if reason else backend.why_not_run(),
            "versions": {} if reason else backend.versions(),
        }

    def _reference(self, plan: Any, folder: str) -> None:
        self._steps.reference(decode(Plan, plan), Path(folder))

    def _twin(self, plan: Any, folder: str) -> float:
        seconds: float = self._steps.twin(decode(Plan, plan), Path(folder))
        return seconds

    def _variant(self, plan: Any) -> Any:
        return encode(self._steps.variant(decode(Plan, plan)))

    def _measure(self, plan: Any, reference: str | None, twin: str | None, keep: str | None) -> Any:
        folders = (Path(folder) if folder else None for folder in (reference, twin, keep))
        outcome: Outcome = self._steps.measure(decode(Plan, plan), *folders)
        return encode(outcome)

    def _time(self, plan: Any, one: Any) -> Any:
        """One more window of a case that was measured."""
        from harness.runner.again import Again

        self._again = self._again or Again(self._cache, self._scratch, self._announce)
        return encode(self._again.window(decode(Plan, plan), decode(Contestant, one) if one else None))

    def _duel(self, plan: Any, a: Any, b: Any, first: str, injected: Any) -> Any:
        sides = decode(Contestant, a), decode(Contestant, b)
        slowed = decode(Injection, injected) if injected else None
        return encode(self._steps.duel(decode(Plan, plan), *sides, first, slowed))

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
