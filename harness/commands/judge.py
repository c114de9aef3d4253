"""`harness judge`: judge stored measurements again under the limits of the suites as they are now."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness import store, suites
from harness.commands.github import tell_github
from harness.commands.places import baselines_folder, pythons, statuses
from harness.commands.results import reviewed, stale_lines, write
from harness.commands.terminal import Terminal
from harness.commands.together import screenings
from harness.errors import CaseError, UsageError
from harness.interchange.schema import TOOL
from harness.judge.accuracy import STRUCTURE, changed_tolerances, conditioning, unmeasured
from harness.judge.gate import ended_early, unfinished
from harness.judge.stability import AGAIN
from harness.metrics import METRICS
from harness.metrics.compare import compare
from harness.records import Environment, Measurement, Plan, Record, Run, Screening
from harness.runner import tensors
from harness.runner.bench import excluded
from harness.runner.builds import worst
from harness.runner.digests import plan_digest
from harness.runner.header import finish, header
from harness.runner.recorder import Judged, outcome_of
from harness.runner.repeats import compared_again

COMPARED = frozenset((*STRUCTURE, *METRICS, "tolerance_ratio", "mismatch_share", "mismatches"))
"""What comparing candidate and reference measures; the rest of a record does not change with limits."""


def judge(asked: argparse.Namespace) -> int:
    """Write the run as judged now to -o (default `<RUN>-judged`) and return the gate's exit status."""
    fail_on = statuses(asked.fail_on)
    run = store.read_run(asked.run)
    source = (asked.run if asked.run.is_dir() else asked.run.parent).resolve()
    if not run.records:
        raise UsageError("the run holds no case: nothing to judge")
    plans = {plan.case.id: plan for plan in _plans(asked, run)}
    judged = Judged(
        lambda file: baselines_folder(asked.baselines, asked.root, file), partial(_environment, run), (), run.started
    )
    kept = [record for record in run.records if _measured(record, plans.get(record.case.id))]
    records = _decided(kept, plans, judged, source / "outputs")
    left_out = [r.case.id for r in run.records if r.as_judged.status != "missing" and r.case.id not in plans]
    gone = any(r.as_judged.status == "missing" and r.case.id not in plans for r in run.records)
    whole = gone or len(kept) == len(plans)  # the run was made of whole suites
    records += [one for one in judged.missing(list(plans.values())) if whole or one.case.id in left_out]
    if not records:
        raise UsageError("the suites make none of the run's cases any more: nothing to judge")
    known = {record.case.id for record in kept}
    absent = [plan for case, plan in plans.items() if case not in known]
    lacking = [plan for plan in absent if plan.case.id in run.lacking]
    records += judged.not_run(lacking)
    folder = asked.output or source.parent / f"{source.name}-judged"
    store.new_journal(folder).close()
    result = reviewed(_whole(run, records, fail_on, lacking), judged, whole=whole)
    write(result, folder)
    notes = _listed("not in the run", [plan.case.id for plan in absent])
    notes += _listed("left out, because the suites no longer make them", left_out)
    _tell(asked, result, notes, folder)
    return result.gate.exit_status


def _decided(kept: Sequence[Record], plans: Mapping[str, Plan], judged: Judged, outputs: Path) -> list[Record]:
    """The records of what was measured, under the plans as they are now."""
    duels = {record.case.id: record.duel for record in kept if record.duel is not None}
    p = judged.p_values([plans[case] for case in duels], duels)
    screened = screenings(kept, plans, judged)
    again = [
        Again(record, plans[record.case.id], p.get(record.case.id, {}), screened.get(record.case.id)) for record in kept
    ]
    return [_again(one, judged, outputs) for one in again]


def _whole(run: Run, records: Sequence[Record], fail_on: Sequence[str], lacking: Sequence[Plan]) -> Run:
    """The same run with other records; if it did not come to its end, or lacks cases, it still does not pass."""
    head = header(["harness", *sys.argv[1:]], Path.cwd())
    head = replace(head, id=run.id, started=run.started, commit=run.commit, shard=run.shard)
    result = finish(head, run.environments, records, fail_on)
    result = unfinished(result, ended_early(run), [plan.case.id for plan in lacking])
    return replace(result, finished=run.finished, selftest=run.selftest)


def _listed(what: str, cases: Sequence[str]) -> list[str]:
    return [f"{what}: {', '.join(cases)}"] if cases else []


def _tell(asked: argparse.Namespace, result: Run, notes: Sequence[str], folder: Path) -> None:
    terminal = Terminal(quiet=asked.quiet, verbose=asked.verbose)
    for record in result.records:
        terminal.record(record)
    for words in (*stale_lines(result), *notes):
        terminal.note(words)
    terminal.end(result, folder / "report.html")
    tell_github(result, os.environ)


def _plans(asked: argparse.Namespace, run: Run) -> list[Plan]:
    made = [record.case for record in run.records if record.case.backend != TOOL]
    if not (made or asked.suite):
        raise UsageError(f"the run holds nothing but results of {TOOL}, which no suite makes: import or run them again")
    files = asked.suite or sorted({Path(case.location.file) for case in made})
    return suites.load(files, asked.root, pythons(asked.environments))


def _environment(run: Run, name: str) -> Environment:
    """The environment of a case; of one that the run did not know, the machine that it was made on."""
    return run.environments.get(name) or next(iter(run.environments.values()))


def _measured(record: Record, plan: Plan | None) -> bool:
    """Whether the run says something about a case of the suites; a case that came back since then was not in it."""
    return plan is not None and (record.as_judged.status != "missing" or plan.excluded is not None)


@dataclass(frozen=True)
class Again:
    """A stored record, the plan it is judged by, and the p-values of its duel among all of the run."""

    record: Record
    plan: Plan
    p: Mapping[str, float]
    screening: Screening | None


def _again(one: Again, judged: Judged, outputs: Path) -> Record:
    """The record under the plan of the same id as the suite is now; UsageError if it was measured under another."""
    record, plan = one.record, one.plan
    if plan.excluded is not None:
        return judged.record(plan, excluded(plan.excluded))
    if record.plan_digest is not None and record.plan_digest != plan_digest(plan):
        raise UsageError(
            f"{record.case.id}: its shapes, inputs, reference, labels, files or options changed since it was measured: "
            "only limits can be judged again, so run it again"
        )
    outcome = replace(outcome_of(record), measurements=_measurements(record, plan, outputs / record.case.id))
    on = replace(judged.footing(plan, outcome), why_stored=record.why_stored)
    found = judged.record(plan, outcome, on, record.duel, one.p, one.screening)
    return replace(found, reproduce=record.reproduce)


def _measurements(record: Record, plan: Plan, outputs: Path) -> tuple[Measurement, ...]:
    """The stored ones, or new ones from kept outputs where the limits need them; UsageError without."""
    changed = changed_tolerances(plan, record.measurements)
    were_kept = (outputs / "candidate").is_dir()
    if not changed and not (were_kept and unmeasured(plan, record.measurements)):
        return record.measurements
    if not were_kept:
        names = ", ".join(changed)
        raise UsageError(
            f"{record.case.id}: the limits of {names} changed to what was not measured, and no outputs were "
            "kept: run again with --keep-outputs, or leave atol, rtol, rule and exact as they were"
        )
    case = record.case.id
    expected = _kept(case, outputs / "reference")
    others = [folder for folder in outputs.glob("candidate-*") if folder.name.rpartition("-")[2].isdecimal()]
    others.sort(key=lambda folder: int(folder.name.rpartition("-")[2]))
    again = _kept(case, outputs / "again") if (outputs / "again").is_dir() else []
    noise = conditioning(record.measurements)
    found = worst([compare(plan, expected, _kept(case, build), noise) for build in (outputs / "candidate", *others)])
    replaced = {(m.output, m.metric) for m in found}
    kept = [
        m
        for m in record.measurements
        if not (m.metric in COMPARED or m.metric.startswith(AGAIN) or (m.output, m.metric) in replaced)
    ]
    return (*found, *compared_again(plan, expected, again), *kept)


def _kept(case: str, folder: Path) -> list[dict[str, tensors.Tensor]]:
    """Kept outputs, batch by batch; UsageError where they are damaged, or not what a run writes."""
    from harness.inputs.files import read_array  # brings onnx, which only this needs here

    try:
        return tensors.load_kept(folder, read_array)
    except CaseError as error:
        raise UsageError(f"{case}: its kept outputs cannot be judged: {error}") from error
