"""What a fault is: how it is made, and what has to become of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from faults.place import Place, Process
from harness.records import Run

FAULTY = "fake/fp32/n-2"
"""The fake case that a script of a fault is about."""
Before = Callable[[Place], "AbstractContextManager[object] | None"]
During = Callable[[Place, Process], None]
Check = Callable[[Place, Run], list[str]]


@dataclass(frozen=True)
class Fault:
    """One way to break a run, and how that run has to end."""

    name: str
    how: str
    """How it is made, for people."""
    exit: int
    """The exit status of the run, as a shell tells it; negative for the signal that killed it."""
    error: tuple[str, str] | None = None
    """Kind of the faulty case's error, and words of its message; None where it is measured as if undisturbed."""
    but: Sequence[str] = ()
    """Fields in which the record of a faulty case without an error may differ."""
    suite: str = "toy"
    case: str = FAULTY
    """The faulty cases are those in whose ids this expression is found."""
    script: str = ""
    """What the fake backend does in the faulty case: the settings of its `crash`."""
    at: Sequence[Mapping[str, Any]] = ()
    """Places inside of the run or its workers; see inside/sitecustomize.py."""
    clock_s: float = 0.0
    """The clock jumps by so much when the place is reached."""
    before: Before | None = None
    """Makes the fault in the place before the run; what it gives is closed when all is done."""
    prepare: str = ""
    """Python that the new process follows before it becomes the run; it has os, resource and sys."""
    streams: Callable[[], dict[str, Any]] | None = None
    """Other standard streams of the run."""
    during: During | None = None
    """Makes the fault from outside, when the run has come to its place."""
    mend: Callable[[Place], None] | None = None
    """Takes the fault away, before the run is continued."""
    options: Sequence[object] = ()
    resume: int | None = None
    """The exit status of `--resume`; None for a run that came to its end by itself, 2 where it is to be refused."""
    check: Check | None = None
    """What else has to hold at the end; gives what does not."""
    known: str = ""
    """What the harness is known to do wrong here; it fails as soon as that is mended."""
    limit_s: float = 25.0
    """What the run may take, and its continuation once more."""
