"""The errors of the harness, as a tree.

HarnessError                 any error that is told to the user without a traceback
├── UsageError               the command is wrong: exit 2
│   └── SuiteError           suite files have problems, all of them listed: exit 2
└── CaseError                one case could not be measured; `kind` says how
    ├── InputError           kind input: the model, its inputs, its reference or its script is unusable
    ├── BuildError           kind build: the backend failed to build the model
    ├── Unsupported          kind unsupported: the runtime refuses the model or precision, in its own words
    ├── OutOfMemory          kind out-of-memory: memory ran out
    │   ├── HostMemory       that of the machine
    │   └── DeviceMemory     that of the GPU
    └── DeviceError          kind device: the device is sick; the worker that saw it is replaced
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class HarnessError(Exception):
    """An error whose message says what is wrong, where, and what to do."""


class UsageError(HarnessError):
    """The command or its arguments are wrong (exit 2)."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a suite file; line and column count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class SuiteError(UsageError):
    """Suite files have problems; `problems` lists every one of them (exit 2)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class CaseError(HarnessError):
    """One case could not be measured; the run goes on."""

    kind = "harness"


class InputError(CaseError):
    """The model, its inputs, its reference or its script cannot be used."""

    kind = "input"


class BuildError(CaseError):
    """The backend failed to build the model."""

    kind = "build"


class Unsupported(CaseError):
    """The runtime refuses the model or the precision; the message holds its own words."""

    kind = "unsupported"


class OutOfMemory(CaseError):
    """Memory ran out."""

    kind = "out-of-memory"


class HostMemory(OutOfMemory):
    """The memory of the machine ran out; the message begins with that."""

    def __init__(self, words: str) -> None:
        super().__init__(f"host memory: {words}")


class DeviceMemory(OutOfMemory):
    """The memory of the GPU ran out; the message begins with that."""

    def __init__(self, words: str) -> None:
        super().__init__(f"device memory: {words}")


class DeviceError(CaseError):
    """The device reported an error after which its context cannot be trusted."""

    kind = "device"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f", did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
