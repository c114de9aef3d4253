"""The file of launches: one JSON object a line.

`{"kind": "machine", ...}`: what the launches ran on; one at the head of each collection.
`{"kind": "turns", "launch": 3, "cell": "conv", "arm": "s3", "turns": {...}}`: one `harness.records.Launch`, side b
slowed as the arm says; `null` is A/A.
`{"kind": "window", "launch": 3, "cell": "conv", "arm": "A", "window": {...}}`: one `Window`, timed by itself in the
same process before the second session was opened: what tools see that compare runs.
`{"kind": "left out", "launch": 3, "cell": "conv", "arm": "s1", "why": "..."}`: an arm that could not be made.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.codec import decode, encode
from harness.records import Launch

ARMS: Mapping[str, float] = {"null": 0.0, "s1": 0.01, "s2": 0.02, "s3": 0.03, "s5": 0.05, "s10": 0.10}
"""Uniform slowdowns of the candidate."""
TAIL, TAIL_SHARE, TAIL_FACTOR = "tail", 0.05, 2.0
"""5 % of calls take twice as long."""
UNCHANGED = {"window": "A", "turns": "null"}
"""What an arm without a change is called."""
BATCHES, CALLS = 100, 300


@dataclass(frozen=True)
class Window:
    """Consecutive calls of one session, and the canary's quantiles just before them."""

    count: int
    mean_ms: float
    sd_ms: float
    min_ms: float
    p10_ms: float
    p50_ms: float
    batches_ms: tuple[float, ...]
    """Means of consecutive parts of equal size, as criterion times them."""
    calls_ms: tuple[float, ...]
    """Calls at equal distances."""
    canary_p10_ms: float | None = None
    canary_p50_ms: float | None = None


@dataclass(frozen=True)
class Cell:
    """What is known of one cell; each arm in the order of launches."""

    turns: Mapping[str, Sequence[Launch]] = field(default_factory=dict)
    windows: Mapping[str, Sequence[Window]] = field(default_factory=dict)

    @cached_property
    def disturbed(self) -> dict[str, list[Launch]]:
        """The launches, those that were spoiled made out to be clean."""
        return {arm: [replace(one, spoiled=None) for one in some] for arm, some in self.turns.items()}


def window(calls_ms: Sequence[float], canary: Window | None = None) -> Window:
    """The summary of a window's calls."""
    calls = np.asarray(calls_ms)
    places = np.linspace(0, len(calls) - 1, min(CALLS, len(calls))).round().astype(int)
    p10, p50 = np.quantile(calls, [0.1, 0.5])
    return Window(
        count=len(calls),
        mean_ms=_short(calls.mean()),
        sd_ms=_short(calls.std(ddof=1)),
        min_ms=_short(calls.min()),
        p10_ms=_short(p10),
        p50_ms=_short(p50),
        batches_ms=tuple(_short(part.mean()) for part in np.array_split(calls, min(BATCHES, len(calls)))),
        calls_ms=tuple(map(_short, calls[places])),
        canary_p10_ms=canary.p10_ms if canary else None,
        canary_p50_ms=canary.p50_ms if canary else None,
    )


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")


def line(kind: str, launch: int, cell: str, arm: str, value: Launch | Window | str) -> str:
    """One line of the file."""
    name = "why" if isinstance(value, str) else kind
    return json.dumps({"kind": kind, "launch": launch, "cell": cell, "arm": arm, name: encode(value)})


def open_text(path: Path, mode: str) -> IO[str]:
    """The file, gzipped if its name says so."""
    return gzip.open(path, mode + "t") if path.suffix == ".gz" else path.open(mode)  # type: ignore[return-value]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every line."""
    with open_text(path, "r") as file:
        for text in file:
            yield json.loads(text)


def load(path: Path) -> dict[str, Cell]:
    """Every cell of a file."""
    found: dict[str, dict[str, dict[str, list[tuple[int, Any]]]]] = defaultdict(
        lambda: {"turns": defaultdict(list), "window": defaultdict(list)}
    )
    kinds = {"turns": Launch, "window": Window}
    for row in rows(path):
        if row["kind"] in kinds:
            kind = row["kind"]
            found[row["cell"]][kind][row["arm"]].append((row["launch"], decode(kinds[kind], row[kind])))
    return {name: Cell(_ordered(arms["turns"]), _ordered(arms["window"])) for name, arms in found.items()}


def _ordered(arms: Mapping[str, list[tuple[int, Any]]]) -> dict[str, list[Any]]:
    return {arm: [value for _, value in sorted(some, key=lambda one: one[0])] for arm, some in arms.items()}
