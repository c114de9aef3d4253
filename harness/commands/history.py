"""`harness history`: the accepted runs of each case over time, where they changed, and what the changes add up to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import fill

from harness import baselines, suites
from harness.baselines import Entry
from harness.codec import encode
from harness.commands.places import baselines_folder, pythons
from harness.commands.results import tell
from harness.commands.run import chosen
from harness.errors import UsageError, did_you_mean
from harness.judge.screen import suspicious_from
from harness.judge.trend import MISSING, Trend, change_points, points, summed
from harness.records import Plan

SCHEMA = "harness.history/1"
WIDTH = 118


def history(asked: argparse.Namespace) -> int:
    """Print the trends, and write them as JSON where that is asked for; nothing is gated."""
    plans = chosen(suites.load(asked.suites, asked.root, pythons(asked.environments)), asked.expression)
    found = [
        _trend(plan, machine, entry, asked)
        for plan in plans
        for machine, entry in _entries(plan, asked)
        if entry.history or entry.past
    ]
    if not found:
        raise UsageError("no baseline of these cases remembers a run: `harness accept` remembers each that it takes")
    if all(trend.sum is None for trend in found):
        known = sorted({point.run for trend in found for point in trend.points})
        raise UsageError(f"--against {asked.against}: no case remembers this run{did_you_mean(asked.against, known)}")
    for trend in found:
        tell("\n".join(lines(trend)))
    if any(trend.changes is None for trend in found):
        tell(MISSING)
    if asked.json:
        asked.json.write_text(json.dumps({"schema": SCHEMA, "cases": encode(found)}, indent=1) + "\n", "utf-8")
    return 0


def _entries(plan: Plan, asked: argparse.Namespace) -> Iterator[tuple[str, Entry]]:
    """Machine class and entry, for each class on which the case is accepted."""
    folder = baselines_folder(asked.baselines, asked.root, plan.case.location.file)
    for machine in baselines.classes(folder, plan.case.suite):
        entry = _read(folder, machine, plan.case.suite).get(plan.case.id)
        if entry is not None:
            yield machine, entry


@cache
def _read(folder: Path, machine: str, suite: str) -> dict[str, Entry]:
    return baselines.read(folder, machine, suite)


def _trend(plan: Plan, machine: str, entry: Entry, asked: argparse.Namespace) -> Trend:
    series, unit = points(entry.history, entry.past)
    margin = suspicious_from(plan.latency)
    since = summed(series, margin, since=asked.since or "", against=asked.against)
    return Trend(plan.case.id, machine, unit, margin, series, change_points(series, margin), since)


def lines(trend: Trend) -> Iterator[str]:
    """One case as text: times in percent of the first run, `|` where they changed."""
    runs, artefacts = sum(point.runs for point in trend.points), len({point.artefact for point in trend.points})
    over = "p10 over the canary's" if trend.unit == "canary" else "p10, without canary"
    yield f"{trend.case}  {trend.machine}  {over}, {runs} runs of {artefacts} artefacts"
    changed = {one.run for one in trend.changes or ()}
    first = trend.points[0].value
    told = (
        f"{'| ' if point.run in changed else ''}{point.value / first:.1%}{f' ({point.runs})' * (point.runs > 1)}"
        for point in trend.points
    )
    yield fill("  ".join(told), WIDTH, initial_indent="  ", subsequent_indent="  ")
    for one in trend.changes or ():
        yield f"  changed with run {one.run}: {one.change:+.1%} ({one.before} runs before, {one.after} after)"
    if trend.sum is not None and trend.sum.changes:
        count = len(trend.sum.changes)
        yield f"  since run {trend.sum.since}: {trend.sum.change:+.1%} in {count} accepted changes"
        if trend.sum.crept:
            yield f"  crept: those within the margin of {trend.margin:.1%} make {trend.sum.small:+.1%} together"
