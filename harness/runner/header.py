"""How a run begins and ends: who it is, and the decision on all of it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from harness.judge.gate import gate
from harness.records import SCHEMA, Environment, Record, Run


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and does not repeat."""
    return f"{now:%Y%m%d-%H%M%S}-{token_hex(2)}"


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Header:
    """What a run says about itself before anything is measured."""

    id: str
    started: str
    command: str
    commit: str | None
    shard: str | None = None
    """"I/N", where it is one of several parts."""


def header(command: Sequence[str], folder: Path) -> Header:
    """The header of a run that begins now; the commit is that of the repository around `folder`."""
    return Header(new_run_id(datetime.now(UTC)), timestamp(), shlex.join(command), commit_of(folder))


def commit_of(folder: Path) -> str | None:
    """The commit checked out around a folder; None outside of a repository or without git."""
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str | None:
    """What git says about the repository around a folder; None where it says nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git of the user's own PATH
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def finish(
    head: Header,
    environments: Mapping[str, Environment],
    records: Sequence[Record],
    fail_on: Sequence[str] = (),
    exit_status: int | None = None,
) -> Run:
    """The run as it is stored; `exit_status` overrides the gate's, for a run that was interrupted."""
    decided = gate(records, fail_on)
    if exit_status is not None:
        decided = replace(decided, passed=False, exit_status=exit_status)
    return Run(
        schema=SCHEMA,
        id=head.id,
        started=head.started,
        finished=timestamp(),
        command=head.command,
        commit=head.commit,
        gate=decided,
        environments=environments,
        records=tuple(records),
        shard=head.shard,
        cut=exit_status,
    )
