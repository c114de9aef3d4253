"""`harness merge`: the parts of a run as one run, decided as a whole."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness import store, suites
from harness.artefacts import link
from harness.commands.github import tell_github
from harness.commands.places import baselines_folder, pythons, statuses
from harness.commands.results import reviewed, stale_lines, write
from harness.commands.run import chosen
from harness.commands.terminal import Terminal
from harness.commands.together import screenings
from harness.errors import UsageError
from harness.interchange.schema import TOOL
from harness.judge.gate import ended_early, unfinished
from harness.records import Environment, Plan, Record, Run, Screening
from harness.runner.digests import plan_digest
from harness.runner.ground import MOST_TOLD, other_machine, refuse
from harness.runner.header import finish, header
from harness.runner.recorder import Judged, outcome_of


@dataclass(frozen=True)
class Part:
    """One of the runs, and where it is."""

    path: Path
    run: Run

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def measured(self) -> frozenset[str]:
        """The ids of the cases that it tells something about."""
        return frozenset(record.case.id for record in self.run.records if record.as_judged.status != "missing")

    @property
    def ended_early(self) -> int | None:
        """The exit status of a run that did not come to its end: interrupted, or the machine failed."""
        return ended_early(self.run)


def merge(asked: argparse.Namespace) -> int:
    """Write the joined run to -o and return the gate's exit status."""
    fail_on = statuses(asked.fail_on)
    parts = [Part(path, store.read_run(path)) for path in asked.runs]
    environments = _environments(parts)
    refuse("the runs are not parts of one", _conflicts(parts), "leave runs out until the others agree")
    every = _plans(asked, parts)
    plans = {plan.case.id: plan for plan in chosen(every, asked.expression)}
    said = _found(parts, every)
    found = {record.case.id: record for record in said}
    refuse("the suites are not those of the runs", _changed(found, plans), "check out the commit of the runs")
    lacking = [plan for case, plan in plans.items() if case not in found]
    machine = next(iter(environments.values()), store.UNKNOWN)  # of an environment that no run knows
    judged = Judged(
        lambda file: baselines_folder(asked.baselines, asked.root, file),
        lambda name: environments.get(name, machine),
        started=_started(parts),
    )
    records = _decided_together([found[case] for case in plans if case in found], plans, judged)
    records += [judged.acknowledged(record) for record in found.values() if record.case.backend == TOOL]
    records += judged.not_run(lacking)
    records += [] if asked.expression else judged.missing(every)
    with store.new_journal(asked.output):
        result = _whole(parts, records, environments, fail_on, [plan.case.id for plan in lacking])
        result = reviewed(result, judged, whole=not (asked.expression or lacking))
        for case in plans:
            _keep_outputs(case, parts, asked.output)
        write(result, asked.output)
    terminal = Terminal(quiet=asked.quiet, verbose=asked.verbose)
    for record in records:
        terminal.record(record)
    for words in (*_told(parts, found, plans, lacking, len(said) - len(found)), *stale_lines(result)):
        terminal.note(words)
    terminal.end(result, asked.output / "report.html")
    tell_github(result, os.environ)
    return result.gate.exit_status


def _started(parts: Sequence[Part]) -> str:
    return min(part.run.started for part in parts)


def _plans(asked: argparse.Namespace, parts: Sequence[Part]) -> list[Plan]:
    """The plans of all suites that the runs are of."""
    cases = (record.case for part in parts for record in part.run.records)
    made = {Path(case.location.file) for case in cases if case.backend != TOOL}
    if not (made or asked.suite):
        raise UsageError("the runs hold no case of a suite: name the suite files with --suite")
    return suites.load(asked.suite or sorted(made), asked.root, pythons(asked.environments))


def _found(parts: Sequence[Part], plans: Sequence[Plan]) -> list[Record]:
    """What the parts say about cases, what was measured last: it counts more than that an excluded case is missing."""
    excluded = {plan.case.id for plan in plans if plan.excluded is not None}
    every = [record for part in parts for record in part.run.records]
    found = [record for record in every if record.as_judged.status == "missing" and record.case.id in excluded]
    return found + [record for record in every if record.as_judged.status != "missing"]


def _environments(parts: Sequence[Part]) -> dict[str, Environment]:
    """The environments of all parts; UsageError where one name means machines or versions that differ."""
    joined: dict[str, Environment] = {}
    differ = []
    for part in parts:
        differ += [f"{part.path}: {words}" for words in other_machine(joined, part.run.environments)]
        for name, found in part.run.environments.items():
            before = joined.get(name, found)
            hosts = dict.fromkeys([*before.host.split(", "), *found.host.split(", ")])  # as of the nodes of a cluster
            joined[name] = replace(before, host=", ".join(hosts), versions={**found.versions, **before.versions})
    refuse("the runs were not made on one class of machines with the same versions", differ, "merge those that were")
    return joined


def _conflicts(parts: Sequence[Part]) -> list[str]:
    """What two parts say differently."""
    commits = {part.run.commit: part.path for part in parts if part.run.commit}
    told = [", ".join(f"{path} is of commit {commit[:12]}" for commit, path in commits.items())]
    told = told if len(commits) > 1 else []
    first: dict[str, tuple[Path, Record]] = {}
    for part in parts:
        for record in part.run.records:
            path, other = first.setdefault(record.case.id, (part.path, record))
            if other != record and "missing" not in (other.as_judged.status, record.as_judged.status):
                told.append(f"{record.case.id}: {other.status} in {path}, {record.status} in {part.path}")
    return told


def _changed(found: Mapping[str, Record], plans: Mapping[str, Plan]) -> list[str]:
    """Cases whose shapes, inputs, reference or options are not as they were measured."""
    measured = ((found[case], plan) for case, plan in plans.items() if case in found)
    return [
        f"{record.case.id}: its shapes, inputs, reference, labels, files or options changed since it was measured"
        for record, plan in measured
        if record.plan_digest is not None and plan.excluded is None and record.plan_digest != plan_digest(plan)
    ]


def _decided_together(records: Sequence[Record], plans: Mapping[str, Plan], judged: Judged) -> list[Record]:
    """The records; where all cases of the whole count for the decision on one's speed, it is made again."""
    duels = {record.case.id: record.duel for record in records if record.duel is not None and record.duel.launches}
    p = judged.p_values([plans[case] for case in duels], duels)
    screened = [record for record in records if record.screening is not None]
    known = screenings(screened, plans, judged)
    anew = duels.keys() | {record.case.id for record in screened}

    def decided(record: Record) -> Record:
        case = record.case.id
        if case not in anew:
            return judged.acknowledged(record)
        return _again(record, plans[case], judged, p.get(case, {}), known.get(case))

    return [decided(record) for record in records]


def _again(record: Record, plan: Plan, judged: Judged, p: Mapping[str, float], screening: Screening | None) -> Record:
    outcome = outcome_of(record)
    on = replace(judged.footing(plan, outcome), why_stored=record.why_stored)
    return replace(judged.record(plan, outcome, on, record.duel, p, screening), reproduce=record.reproduce)


def _whole(
    parts: Sequence[Part],
    records: Sequence[Record],
    environments: Mapping[str, Environment],
    fail_on: Sequence[str],
    lacking: Sequence[str],
) -> Run:
    """The run; one that lacks cases, or a part of which did not end, never passes."""
    runs = [part.run for part in parts]
    early = [status for part in parts if (status := part.ended_early) is not None]
    cut = min(early, default=None)
    head = replace(
        header(["harness", *sys.argv[1:]], Path.cwd()),
        started=_started(parts),
        commit=next((run.commit for run in runs if run.commit), None),
    )
    tests = [run.selftest for run in runs if run.selftest is not None]
    latest = max(tests, key=lambda test: test.finished, default=None)
    result = unfinished(finish(head, environments, records, fail_on), cut, lacking)
    return replace(result, finished=max(run.finished for run in runs), selftest=latest)


def _told(
    parts: Sequence[Part],
    found: Mapping[str, Record],
    plans: Mapping[str, Plan],
    lacking: Sequence[Plan],
    twice: int,
) -> list[str]:
    """What there is to know about how the parts fit together."""
    told = [f"{part.path}: did not end; `harness run … --resume` completes it" for part in parts if part.ended_early]
    shards = {part.run.shard for part in parts if part.run.shard}
    for count in sorted({int(shard.partition("/")[2]) for shard in shards}):
        absent = [f"{number}/{count}" for number in range(1, count + 1) if f"{number}/{count}" not in shards]
        told += [f"shards that are not here: {', '.join(absent)}"] if absent else []
    if twice:
        told.append(f"in more than one of the runs, alike: {twice} cases")
    told += _listed("in none of the runs", [plan.case.id for plan in lacking])
    left = [case for case, record in found.items() if case not in plans and record.case.backend != TOOL]
    return told + _listed("left out, because the suites do not make them or -k does not select them", left)


def _listed(what: str, cases: Sequence[str]) -> list[str]:
    more = f" and {len(cases) - MOST_TOLD} more" if len(cases) > MOST_TOLD else ""
    return [f"{what}: {', '.join(cases[:MOST_TOLD])}{more}"] if cases else []


def _keep_outputs(case: str, parts: Sequence[Part], folder: Path) -> None:
    """The kept outputs of a case, so that `judge` can apply other limits; as links where the disk has such.

    They are of one part, and one that measured the case: what else lies there may be torn.
    """
    target = folder / "outputs" / case
    shutil.rmtree(target, ignore_errors=True)  # left by a merge that was cut short
    for kept in (part.folder / "outputs" / case for part in parts if case in part.measured):
        if kept.is_dir():
            for file in (file for file in sorted(kept.rglob("*")) if file.is_file()):
                (target / file.relative_to(kept)).parent.mkdir(parents=True, exist_ok=True)
                link(file, target / file.relative_to(kept))
            return
