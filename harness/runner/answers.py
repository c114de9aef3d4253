"""What a worker's messages and its end say."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from harness.codec import parsed
from harness.records import ERROR_KINDS
from harness.runner.channel import Garbage


def message(line: bytes, number: int) -> dict[str, Any]:
    """One message of a worker to the request of this number; Garbage where it is none."""
    try:
        answer = parsed(line.decode(), constants=True)
    except ValueError:
        raise Garbage(f"the worker's answer is not JSON: {line[:80]!r}") from None
    if not isinstance(answer, dict) or answer.get("id") != number or not _is_complete(answer):
        raise Garbage(f"the worker's answer is none to this request: {line[:80]!r}")
    return answer


def died_of(status: int, stage: str, before: int | None, after: int | None) -> tuple[str, str]:
    """Kind and words for a worker that ended by itself.

    `before` and `after` are the kernel's counts of processes that it killed for memory: they tell who sent a SIGKILL.
    """
    if status == -signal.SIGKILL and before is None:
        return "out-of-memory", "the worker was killed (SIGKILL): the machine most likely ran out of memory"
    if status == -signal.SIGKILL and before != after:
        return "out-of-memory", f"host memory: the kernel killed the worker in {stage} because memory ran out (SIGKILL)"
    sender = ", sent from outside: the kernel did not run out of memory" if status == -signal.SIGKILL else ""
    return "crash", f"the worker died in {stage}: {_name(status)}{sender}"


def _name(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # real-time signals have no names
        return f"signal {-status}"


def _is_complete(answer: Mapping[str, Any]) -> bool:
    error = answer.get("error")
    if isinstance(error, dict):
        return error.get("kind") in ERROR_KINDS and all(isinstance(error.get(key), str) for key in ("stage", "message"))
    return "result" in answer or isinstance(answer.get("stage"), str)
