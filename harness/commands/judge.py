"""`harness judge`: judge stored measurements again under the limits of the suites as they are now."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness import journal, store, suites
from harness.commands.github import tell_github
from harness.commands.places import baselines_folder, pythons, statuses
from harness.commands.results import reviewed, stale_lines, write
from harness.commands.terminal import Terminal
from harness.commands.together import screenings
from harness.errors import CaseError, UsageError
from harness.interchange.schema import TOOL
from harness.judge.accuracy import STRUCTURE, changed_tolerances, conditioning, unmeasured
from harness.judge.gate import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MACHINE, ended_early, gate
from harness.judge.stability import AGAIN
from harness.metrics import METRICS
from harness.metrics.compare import compare
from harness.records import Environment, Measurement, Plan, Record, Run, Screening
from harness.runner import tensors
from harness.runner.bench import excluded
from harness.runner.builds import worst
from harness.runner.digests import plan_digest
from harness.runner.header import finish, header
from harness.runner.recorder import NOT_RUN, Judged, outcome_of
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
    left_out = [r.case.id for r in run.records if r.as_judged.status != "missing" and r.case.id not in plans]
    kept = [record for record in run.records if _measured(record, plans.get(record.case.id))]
    duels = {record.case.id: record.duel for record in kept if record.duel is not None}
    p = judged.p_values([plans[case] for case in duels], duels)
    screened = screenings(kept, plans, judged)
    again = [
        Again(record, plans[record.case.id], p.get(record.case.id, {}), screened.get(record.case.id)) for record in kept
    ]
    records = [_again(one, judged, source / "outputs") for one in again]
    gone = [record for record in run.records if record.as_judged.status == "missing" and record.case.id not in plans]
    whole = bool(gone) or len(kept) == len(plans)  # the run was made of whole suites
    if whole:
        records += judged.missing(list(plans.values()))
    if not records:
        raise UsageError("the suites make none of the run's cases any more: nothing to judge")
    absent = [plan for case, plan in plans.items() if case not in {record.case.id for record in kept}]
    lacking = [plan for plan in absent if plan.case.id in _in_no_part(run)]
    records += judged.not_run(lacking)
    folder = asked.output or source.parent / f"{source.name}-judged"
    store.new_journal(folder).close()
    head = header(["harness", *sys.argv[1:]], Path.cwd())
    head = replace(head, id=run.id, started=run.started, commit=run.commit, shard=run.shard)
    result = finish(head, run.environments, records, fail_on, _early(run, source, records, lacking))
    result = replace(result, finished=run.finished, selftest=run.selftest)
    result = reviewed(result, judged, whole=whole)
    write(result, folder)
    terminal = Terminal(quiet=asked.quiet, verbose=asked.verbose)
    for record in records:
        terminal.record(record)
    for words in stale_lines(result):
        terminal.note(words)
    if absent:
        terminal.note(f"not in the run: {', '.join(plan.case.id for plan in absent)}")
    if left_out:
        terminal.note(f"left out, because the suites no longer make them: {', '.join(left_out)}")
    terminal.end(result, folder / "report.html")
    tell_github(result, os.environ)
    return result.gate.exit_status


def _plans(asked: argparse.Namespace, run: Run) -> list[Plan]:
    made = [record.case for record in run.records if record.case.backend != TOOL]
    if not (made or asked.suite):
        raise UsageError(f"the run holds nothing but results of {TOOL}, which no suite makes: import or run them again")
    files = asked.suite or sorted({Path(case.location.file) for case in made})
    return suites.load(files, asked.root, pythons(asked.environments))


def _early(run: Run, folder: Path, records: Sequence[Record], lacking: Sequence[Plan]) -> int | None:
    """The exit status of a run that did not come to its end or lacks cases: what it has never passes."""
    if ended_early(run):
        return run.gate.exit_status
    if run.gate.exit_status == EXIT_MACHINE and _was_cut(folder):  # cases crashed as well, which may count no more
        return EXIT_MACHINE
    return EXIT_INTERRUPTED if lacking and gate(records).exit_status != EXIT_FAILED else None


def _was_cut(folder: Path) -> bool:
    """Whether the journal tells what was to be measured, and not that it was."""
    known = journal.read(folder)
    return known.begin is not None and bool(known.begin.data().get("cases")) and known.end is None


def _in_no_part(run: Run) -> set[str]:
    """The cases of which a merged run says that no part measured them."""
    found = (record.as_judged for record in run.records)
    return {one.case.id for one in found if one.status == "missing" and one.headline == NOT_RUN}


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
