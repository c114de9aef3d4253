"""The table of an optimisation: how each variant changes the task metric, and what it wins in time and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.records import Quantiles
from harness.report.format import times
from harness.report.tables import escaped


class Tried(Protocol):
    """What the table needs to know of a build that was tried."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def accuracy(self) -> float | None: ...
    @property
    def p50_ms(self) -> float | None: ...
    @property
    def bytes(self) -> float | None: ...
    @property
    def compressed_bytes(self) -> float | None: ...
    @property
    def precision(self) -> str: ...
    @property
    def steps(self) -> tuple[str, ...]: ...
    @property
    def window(self) -> Quantiles | None: ...
    @property
    def clock(self) -> str: ...


HEAD = (
    "| | variant | status | accuracy | change | p50 | speed-up | bytes | smaller | compressed | why |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
)
LEGEND = "`>` the winner, `*` on the Pareto front: nothing is as good in accuracy, latency and size, and better in one"


def table(trials: Sequence[Tried], front: Sequence[Tried], winner: Tried | None, plain: Tried) -> list[str]:
    """Markdown: the plain model first, then by status and size."""
    order = sorted(trials[1:], key=lambda one: (one.accuracy is None, one.status == "failed", one.bytes or 0))
    return [*HEAD, *(_row(one, front, winner, plain) for one in (plain, *order)), "", LEGEND]


def _row(one: Tried, front: Sequence[Tried], winner: Tried | None, plain: Tried) -> str:
    mark = ">" * (one is winner) + "*" * any(one is other for other in front)
    moved = None if one.accuracy is None or plain.accuracy is None else one.accuracy - plain.accuracy
    cells = (
        *(mark, one.name, one.status),
        _shown(one.accuracy, "{:.4f}"),
        _moved(moved),
        _shown(one.p50_ms, "{:.4g} ms"),
        _times(plain.p50_ms, one.p50_ms),
        _shown(one.bytes, "{:,.0f}"),
        _times(plain.bytes, one.bytes),
        _shown(one.compressed_bytes, "{:,.0f}"),
        "" if one.status in ("new", "passed") else escaped(one.why.splitlines()[0] if one.why else "")[:120],
    )
    return "| " + " | ".join(cells) + " |"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _moved(by: float | None) -> str:
    """Four decimals, more only where those would say that nothing moved."""
    return _shown(by, "{:+.2g}" if by and abs(by) < 5e-5 else "{:+.4f}")


def _times(before: float | None, now: float | None) -> str:
    return times(before / now) if before and now else ""
