"""Tables of cases in Markdown that stay within a number of bytes, and say what they left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.foreign import plain
from harness.report.format import NONE, change, markdown, milliseconds
from harness.report.rows import Row

_HEAD = ("| status | case | p50 | change | why |", "|---|---|---:|---:|---|")
_TEXT = 400
_LEFT_OUT = 200
"""Bytes that are kept for the line that says what is left out."""


def escaped(text: str) -> str:
    """Foreign text as one line that Markdown shows as it is: no markup, no link, no image, no table cell."""
    return markdown(plain(text, _TEXT))


def bytes_of(lines: Sequence[str]) -> int:
    """What lines take in UTF-8, each with its end; bytes that were never text are written as their escapes."""
    return sum(len(line.encode("utf-8", "backslashreplace")) + 1 for line in lines)


def table(found: Sequence[Row], room: int, most: int, where: str) -> list[str]:
    """At most `most` rows in at most `room` bytes, and how many more there are; `where` says where those are."""
    lines = list(_HEAD)
    left = room - bytes_of(lines) - _LEFT_OUT
    taken = 0
    for line in map(_line, found[:most]):
        left -= bytes_of([line])
        if left < 0:
            break
        lines.append(line)
        taken += 1
    rest = len(found) - taken
    words = [f"{rest} more are left out here; {where}."] if rest else []
    if not taken:
        return words
    return [*lines, "", *words] if words else lines


def folded(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines under a title that opens them."""
    yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>")


def _line(row: Row) -> str:
    case, headline = escaped(row.record.case.id), escaped(row.record.headline)
    latency = milliseconds(row.p50_ms)
    ratio = change(row.ratio) if row.ratio is not None else NONE
    return f"| {row.status.glyph} {row.status.name} | <code>{case}</code> | {latency} | {ratio} | {headline} |"
