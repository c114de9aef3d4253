"""The comment on a pull request: one for a run, whose first line tells whether it says something new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from harness.records import Record, Run
from harness.report.ranking import Ranking, ranking
from harness.report.rows import Row, label
from harness.report.summary import counts, facts, to_do
from harness.report.tables import bytes_of, escaped, folded, table
from harness.report.verdict import verdict

MOST_BYTES = 60_000
"""GitHub refuses comments above 65,536 characters; the rest is for what the one who posts it adds."""
MOST = 20
_KNOWN = ("new", "acknowledged")
"""Statuses that stay until somebody accepts or mends: no reason for a comment on every change."""
_ACT = {
    0: "nothing must be done",
    3: "run the job again",
    130: "run the job again",
}
"""What the reader must do, by the exit status; of all others it is "you must act"."""


def comment(run: Run, name: str = "harness") -> str:
    """The body in Markdown, at most 60 kB.

    The first line is `<!-- trt-harness NAME DIGEST POST -->`. DIGEST is of the result and of what is told of which
    cases, without times, run and commit: a comment that stands needs no update by one with the same digest. POST is
    "always", or "update" where there is nothing to tell unless an earlier comment stands.
    """
    found, told = verdict(run), ranking(run)
    rows = (*told.blocking, *told.changed, *told.drifted)
    news = run.gate.exit_status != 0 or any(row.status.name not in _KNOWN for row in rows)
    post = "always" if news else "update"
    digest = _digest([run.gate.exit_status, sorted(_told(row.record) for row in rows), *run.lacking])
    act = _ACT.get(run.gate.exit_status, "you must act")
    lines = [
        f"<!-- trt-harness {name} {digest} {post} -->",
        f"### {found.glyph} {escaped(found.title)}: {act}",
        "",
        escaped(found.reason),
        "",
    ]
    if found.actions:
        title = "What to do" if run.gate.exit_status else "What can be done"
        lines += [f"**{title}**", "", *to_do(found.actions), *_known(told), ""]
    end = [*folded("All cases by status", list(counts(run))), "", facts(run)]
    if rows:
        room = MOST_BYTES - bytes_of([*lines, *end, ""])
        lines += [*table(rows, room, MOST, "the job's summary and the report have them"), ""]
    return "\n".join([*lines, *end]) + "\n"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _told(record: Record) -> list[object]:
    failed = sorted({label(check) for check in record.checks if not check.ok})
    return [record.case.id, record.status, failed, record.error.kind if record.error else ""]


def _known(told: Ranking) -> Iterator[str]:
    """How to acknowledge a failure that is known and stays for now."""
    if _acknowledgeable(told.blocking):
        yield (
            "- known, and to stay for now: acknowledge it in a reviewed file. "
            "`harness acknowledge CASE --reason TEXT --issue URL --until DATE`"
        )


def _acknowledgeable(rows: tuple[Row, ...]) -> bool:
    return any(row.status.name in ("failed", "regressed", "error") for row in rows)
