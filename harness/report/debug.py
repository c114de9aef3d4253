"""debug.md: what `harness debug` found, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.foreign import plain
from harness.report.format import markdown as escaped
from harness.runner.findings import Distance, Findings, Mend, Node

ROWS = 12
_NAME = re.compile(r"[\w./:,+ -]*")
_MARKS = re.compile(r"[`<>|*&\[\]!\\@]|://|www\.")
"""What Markdown may take for more than words; without it they stay as they are, which reads better in a terminal."""
WORDS = {
    "twin": "its precision twin (the same file, its rounding explicit, on the CPU)",
    "fp32": "the fp32 model",
}


def markdown(found: Findings) -> str:
    """The findings as text."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Findings) -> Iterator[str]:
    yield f"# {found.case}"
    yield ""
    yield f"fails: {_words(found.headline)}"
    yield ""
    yield f"**{_words(found.verdict)}**"
    if found.first is not None and found.first_node is not None:
        yield ""
        yield f"First tensor that parts from {WORDS[found.yardstick]}:"
        yield f"{_code(found.first or '')}, made by {_name(found.first_node)}"
        yield f"({_told(found.tensors.get(found.first))})."
    if found.ranking:
        yield from _table(found)
    if found.mend is not None:
        yield from _mend(found.mend, found.precision)
    if found.slice is not None:
        cut = found.slice
        yield ""
        more = " with all nodes behind it, without which it is right," if cut.through else " alone"
        yield f"The part that makes {_code(cut.tensor)} ({_names(cut.nodes)}){more} is in `slice/`. It runs as"
        yield f"**{cut.status}**: {_words(cut.headline)}"
        if not cut.shows:
            yield "so it does not show what the case shows: that needs the rest of the model."
        yield ""
        yield f"    {plain(cut.command)}"
    if found.notes:
        yield ""
        yield from (f"- {_words(note)}" for note in found.notes)
    yield ""
    yield f"{found.builds} builds of the case were made."


def _table(found: Findings) -> Iterator[str]:
    yield ""
    yield "Error that each part adds to what it was given, NaN and infinities first: from its twin in multiples of the"
    yield "noise and of the limit on it, from fp32 relative to the values; last what the file costs anyway."
    yield ""
    yield "| makes | nodes | not finite | x noise | of the limit | off fp32 | the file alone |"
    yield "|---|---|---|---|---|---|---|"
    for part in found.ranking[:ROWS]:
        added = part.added
        cells = (
            _code(part.tensor),
            _names(part.nodes),
            f"{_unfinite(added):g}",
            _times(added.noise),
            _times(added.excess),
        )
        yield f"| {' | '.join(cells)} | {_times(added.relative)} | {_times(added.file)} |"
    if len(found.ranking) > ROWS:
        yield ""
        yield f"and {len(found.ranking) - ROWS} more in debug.json."


def _mend(mend: Mend, precision: str) -> Iterator[str]:
    yield ""
    if mend.nodes is None:
        yield f"No set of nodes to keep in fp32: {_words(mend.words)}."
        return
    kind = "the smallest set found (without any one of them it fails)" if mend.minimal else "sufficient"
    yield f"Kept in fp32 instead of {precision}, these nodes bring the case back inside its limits,"
    yield f"{kind}; {_words(mend.words)}:"
    yield ""
    yield from (f"- {_name(node)}, which makes {_code(node.tensor)}" for node in mend.nodes)


def _told(distance: Distance | None) -> str:
    if distance is None:
        return "not measured"
    parts = [f"{_unfinite(distance):g} elements are not finite"] if _unfinite(distance) else []
    if distance.noise is not None:
        parts.append(f"{distance.noise:.3g} times the noise")
    if distance.relative is not None:
        parts.append(f"{distance.relative:.3g} off the fp32 model")
    if distance.file is not None:
        parts.append(f"{distance.file:.3g} by the file alone")
    return ", ".join(parts)


def _unfinite(distance: Distance) -> float:
    return max(distance.nonfinite, distance.overflowed)


def _name(node: Node) -> str:
    return f"{_words(node.op)} {_code(node.name)}"


def _names(nodes: Sequence[Node]) -> str:
    shown = ", ".join(_words(f"{node.op} {node.name}") for node in nodes[:3])
    return f"{shown} and {len(nodes) - 3} more" if len(nodes) > 3 else shown


def _words(text: str) -> str:
    """Words that may hold names out of the model, on one line."""
    return escaped(plain(text)) if _MARKS.search(text) else plain(text)


def _code(name: str) -> str:
    """A name out of the model; backticks only around what cannot end them."""
    return f"`{plain(name)}`" if _NAME.fullmatch(name) else f"<code>{escaped(plain(name))}</code>"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
