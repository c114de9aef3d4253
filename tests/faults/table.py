"""The table of a count."""

from __future__ import annotations

import os
from collections.abc import Sequence

from faults.engine import Result


def markdown(results: Sequence[Result], seconds: float) -> str:
    """One line for each fault, and what it comes to."""
    wrong = sum(result.wrong for result in results)
    known = sum(bool(result.fault.known) for result in results)
    resumed = sum(result.resumed is not None for result in results)
    head = [
        f"{len(results)} faults: {wrong} ended otherwise than they should, {known} do so and are known to;",
        f"{resumed} runs were continued with `--resume`. {seconds:.0f} s, {os.cpu_count()} CPUs.",
        "",
        "| fault | how it is made | exit | the faulty case | `--resume` | s | |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_line, results), ""])


def _line(result: Result) -> str:
    fault = result.fault
    case = f"error, {fault.error[0]}" if fault.error else "as undisturbed"
    how = "; ".join([fault.how, *result.notes])
    told = "; ".join(result.problems) or "ok"
    if fault.known:
        told = f"known: {fault.known}" if result.problems else "known, and mended"
    resumed = "" if result.resumed is None else result.resumed
    cells = (fault.name, how, result.exit, case, resumed, f"{result.seconds:.1f}", told)
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
