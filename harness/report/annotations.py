"""Workflow commands of GitHub, which mark the lines of the suites that declare failing cases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.foreign import plain
from harness.records import Run
from harness.report.ranking import ranking
from harness.report.rows import Row

MOST = 10
"""GitHub shows ten errors of a step and drops the others silently."""
_CASES = 5
_TEXT = 300


def marks(run: Run, root: Path) -> list[str]:
    """At most ten commands, the worst first: one for a line, with the cases that block and why.

    `root` is the folder that GitHub's paths begin in. The last command says how many lines are left out.
    """
    places: dict[tuple[str, int], list[Row]] = {}
    for row in ranking(run).blocking:
        location = row.record.case.location
        places.setdefault((location.file, location.line), []).append(row)
    shown = list(places.items())[:MOST]
    left = sum(map(len, list(places.values())[MOST:]))
    last = f"{left} more failing cases of {len(places) - MOST} other lines are left out: see the job's summary"
    commands = [_command(_inside(file, root), line, rows, []) for (file, line), rows in shown[:-1]]
    commands += [_command(_inside(file, root), line, rows, [last] if left else []) for (file, line), rows in shown[-1:]]
    return commands


def _command(file: str, line: int, rows: Sequence[Row], more: Sequence[str]) -> str:
    suite = rows[0].record.case.suite
    title = f"{suite}: {len(rows)} failing case{'' if len(rows) == 1 else 's'} declared here"
    lines = [plain(f"{row.status.name} {row.record.case.id}: {row.record.headline}", _TEXT) for row in rows[:_CASES]]
    if len(rows) > _CASES:
        lines.append(f"and {len(rows) - _CASES} more")
    place = f"file={_property(file)},line={line},title={_property(title)}"
    return f"::error {place}::{_data(chr(10).join([*lines, *more]))}"


def _inside(file: str, root: Path) -> str:
    """The path from `root`, where it lies below it."""
    found = os.path.relpath(Path(file).absolute(), root.absolute())
    return file if found.startswith("..") else found


def _data(text: str) -> str:
    """As actions/toolkit escapes what stands behind the second pair of colons."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(plain(text, _TEXT)).replace(":", "%3A").replace(",", "%2C")
