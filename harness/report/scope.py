"""What the command of a run asked for: which cases it left out, and which more statuses block."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise

from harness.errors import UsageError
from harness.records import Record, Run
from harness.suites.select import select

NARROWING = ("--lf", "--last-failed", "--deselect", "-m")
"""Options of pytest that leave cases out, beside -k."""


def deselected(run: Run, records: Sequence[Record]) -> frozenset[str]:
    """Ids of those records whose cases the command of a run left out with -k.

    What pytest selects depends on more than ids and tags: there every case that a narrowed command lacks counts as
    left out.
    """
    words = _words(run)
    expression = _expression(words)
    if words[:1] == ["pytest"]:
        narrowed = expression or any("::" in word or word.startswith(NARROWING) for word in words[1:])
        return frozenset(record.case.id for record in records) if narrowed else frozenset()
    try:
        kept = {record.case.id for record in select(records, expression)}
    except UsageError:
        return frozenset()
    return frozenset(record.case.id for record in records if record.case.id not in kept)


def named(run: Run) -> frozenset[str]:
    """The statuses that --fail-on of the run's command names."""
    given = ""
    for word, following in pairwise([*_words(run), ""]):
        if word == "--fail-on":
            given = following
        elif word.startswith("--fail-on="):
            given = word.removeprefix("--fail-on=")
    return frozenset(name.strip() for name in given.split(",") if name.strip())


def _expression(words: Sequence[str]) -> str:
    """The value of the last -k."""
    found = ""
    for position, word in enumerate(words):
        if word == "-k" and position + 1 < len(words):
            found = words[position + 1]
        elif word.startswith("-k") and word != "-k":
            found = word.removeprefix("-k").removeprefix("=")
    return found


def _words(run: Run) -> list[str]:
    """The command of a run; none where it is no command line."""
    try:
        return shlex.split(run.command)
    except ValueError:
        return []
