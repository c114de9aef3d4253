"""summary.md: the summary of a CI job, short whatever the number of cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.foreign import plain
from harness.judge.drift import has_drifted
from harness.records import Run
from harness.report.format import NONE, change, markdown, milliseconds
from harness.report.rows import Row, rows
from harness.report.statuses import CHANGED, counted
from harness.report.verdict import verdict

MOST = 50
"""Cases listed under one heading; CI shows nothing at all of a summary above 1 MB."""
_TEXT = 400


def summary(run: Run) -> str:
    """The verdict, the counts, and the cases that block or changed, as Markdown."""
    found = verdict(run)
    lines = [f"## {found.glyph} {_escape(found.title)}", "", _escape(found.reason), "", _escape(_facts(run)), ""]
    lines += _counts(run)
    all_rows = rows(run.records)
    lines += _list("Blocking", [row for row in all_rows if row.status.blocks])
    lines += _list("Changed, not blocking", [row for row in all_rows if row.status.name in CHANGED])
    quiet = [row for row in all_rows if not row.status.blocks and row.status.name not in CHANGED]
    lines += _list("Passed, accuracy drifted", [row for row in quiet if has_drifted(row.record)])
    return "\n".join(lines) + "\n"


def _facts(run: Run) -> str:
    machines = ", ".join(dict.fromkeys(environment.fingerprint for environment in run.environments.values()))
    commit = f"commit {run.commit[:12]}" if run.commit else "no commit"
    return f"Run {run.id}, {commit}, on {machines or 'no machine'}, started {run.started}"


def _counts(run: Run) -> Iterator[str]:
    yield from ("| status | cases | meaning |", "|---|---:|---|")
    yield from (f"| {s.glyph} {s.name} | {count} | {s.meaning} |" for s, count in counted(run.records))
    yield f"| all | {len(run.records)} | |"


def _list(title: str, found: Sequence[Row]) -> Iterator[str]:
    if not found:
        return
    yield from (
        "",
        f"### {title} ({len(found)})",
        "",
        "| status | case | p50 | change | why |",
        "|---|---|---:|---:|---|",
    )
    for row in found[:MOST]:
        case, headline = _escape(row.record.case.id), _escape(row.record.headline)
        latency = milliseconds(row.p50_ms)
        ratio = change(row.ratio) if row.ratio is not None else NONE
        yield f"| {row.status.glyph} {row.status.name} | <code>{case}</code> | {latency} | {ratio} | {headline} |"
    if len(found) > MOST:
        yield from ("", f"{len(found) - MOST} more are left out here; the report has all of them.")


def _escape(text: str) -> str:
    """Foreign text as one line that Markdown shows as it is: no markup, no link, no image, no table cell."""
    return markdown(plain(text, _TEXT))
