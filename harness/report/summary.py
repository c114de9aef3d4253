"""summary.md: the summary of a CI job, short enough to be shown whatever the number of cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import Run
from harness.report.ranking import ranking
from harness.report.rows import Row
from harness.report.statuses import counted
from harness.report.tables import bytes_of, escaped, folded, table
from harness.report.verdict import Action, verdict

MOST_BYTES = 900_000
"""GitHub shows nothing at all of a step's summary above 1 MiB."""
OPEN = 50
"""Cases of a group that are shown unfolded."""
_WHERE = "the report has all of them"


def summary(run: Run, room: int = MOST_BYTES) -> str:
    """The verdict, what to do, the counts, what blocks or changed, and the rest folded; at most `room` bytes.

    The verdict, what to do and the counts are always there: they take less than 10 kB.
    """
    found = ranking(run)
    lines = list(_head(run))
    groups = (
        ("Blocking", found.blocking),
        ("Changed, not blocking", found.changed),
        ("Passed, accuracy drifted", found.drifted),
    )
    for title, group in groups:
        lines += _group(title, group, room - bytes_of(lines))
    lines += _rest(found.quiet, room - bytes_of(lines))
    return "\n".join(lines) + "\n"


def facts(run: Run) -> str:
    """Which run of which commit it is, and on what machine."""
    machines = ", ".join(dict.fromkeys(environment.fingerprint for environment in run.environments.values()))
    commit = f"commit {run.commit[:12]}" if run.commit else "no commit"
    return escaped(f"Run {run.id}, {commit}, on {machines or 'no machine'}, started {run.started}")


def to_do(actions: Sequence[Action]) -> Iterator[str]:
    """What to do, as a list."""
    for action in actions:
        command = f" `{action.command}`" if action.command else ""
        yield f"- {action.status}: {action.text}{command}"


def counts(run: Run) -> Iterator[str]:
    """Every status that occurs, its number of cases and its meaning."""
    yield from ("| status | cases | meaning |", "|---|---:|---|")
    yield from (f"| {s.glyph} {s.name} | {count} | {s.meaning} |" for s, count in counted(run.records))
    yield f"| all | {len(run.records)} | |"


def _head(run: Run) -> Iterator[str]:
    found = verdict(run)
    yield from (f"## {found.glyph} {escaped(found.title)}", "", escaped(found.reason), "")
    if found.actions:
        yield from ("**What to do**", "", *to_do(found.actions), "")
    yield from (facts(run), "", *counts(run))


def _group(title: str, found: Sequence[Row], room: int) -> Iterator[str]:
    """A group of cases: the first ones to be seen at once, the others folded."""
    if not found:
        return
    heading = ["", f"### {title} ({len(found)})", ""]
    more = ["", *folded(f"{len(found) - OPEN} more", [])]
    room -= bytes_of(heading) + bytes_of(more)
    if len(found) <= OPEN:
        yield from (*heading, *table(found, room, OPEN, _WHERE))
        return
    first = table(found[:OPEN], room, OPEN, _WHERE)
    others = table(found[OPEN:], room - bytes_of(first), len(found), _WHERE)
    yield from (*heading, *first, *folded(f"{len(found) - OPEN} more", others))


def _rest(found: Sequence[Row], room: int) -> Iterator[str]:
    """What passed or was skipped: counted, and folded."""
    if not found:
        return
    each = counted(row.record for row in found)
    title = ", ".join(f"{status.glyph} {count} {status.name}" for status, count in each)
    frame = ["", *folded(title, [])]
    yield from ("", *folded(title, table(found, room - bytes_of(frame), len(found), _WHERE)))
