"""`harness run`: measure, judge, write the run and its report, and gate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import report, store, suites
from harness.backends import BACKENDS
from harness.commands.places import baselines_folder, cache_folder, pythons, statuses
from harness.commands.tidy import tidy
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.judge import first_line
from harness.judge.drift import has_drifted
from harness.judge.gate import EXIT_INTERRUPTED, EXIT_MACHINE
from harness.records import Outcome, Plan, Record, Run, SelfTest
from harness.runner.client import WorkerFailed
from harness.runner.decided import Pending, opponents, with_opponents
from harness.runner.interrupts import interruptible
from harness.runner.recorder import Header, Judged, finish, header
from harness.runner.runner import Bench, Settings
from harness.runner.runner import run as run_plans

WHY = {
    EXIT_MACHINE: " - a crash, a time-out or the machine kept cases from a verdict",
    EXIT_INTERRUPTED: " - interrupted, other cases were not run",
}


def run(asked: argparse.Namespace) -> int:
    """Everything from suite files to exit status."""
    fail_on = statuses(asked.fail_on)
    check_names(asked.require)
    every = loaded(asked)
    plans = chosen(every, asked.expression)
    head = header(["harness", *sys.argv[1:]], Path(plans[0].case.location.file).absolute().parent)
    folder = (asked.output or Path("reports") / head.id).absolute()
    cache = cache_folder(asked.artefacts)
    outputs = folder / "outputs" if asked.keep_outputs else None
    settings = Settings(cache, asked.timeout, asked.jobs, outputs, asked.retries, asked.worker_memory)
    with store.new_journal(folder) as journal, interruptible(), Bench(settings) as bench:
        require(bench, asked.require)
        judged = Judged(
            lambda file: baselines_folder(asked.baselines, asked.root, file), bench.environment, _same_places(asked)
        )
        for plan in plans:  # a damaged baseline is told before anything is measured
            judged.entries(plan.case)
        others = opponents(plans, every)
        pending = Pending(plans, others, judged, settings)
        scope = [] if asked.expression else every
        status = _measure(
            with_opponents(plans, others), pending, scope, settings, bench, judged, head, journal, folder, fail_on
        )
    files = {plan.case.location.file for plan in every}
    tidy(cache, {baselines_folder(asked.baselines, asked.root, file) for file in files})
    return status


def _same_places(asked: argparse.Namespace) -> list[str]:
    """The options that a rerun of one case needs to find the same files."""
    given = (("--root", asked.root), ("--baselines", asked.baselines), ("--artefacts", asked.artefacts))
    named = [text for name, value in given if value for text in (name, str(value))]
    return named + [text for value in asked.environments for text in ("--environment", value)]


def loaded(asked: argparse.Namespace) -> list[Plan]:
    """The plans of the suites on the command line; UsageError names an environment that none of them has."""
    given = pythons(asked.environments)
    plans = suites.load(asked.suites, asked.root, given)
    known = {one.name for plan in plans for one in (plan.interpreter, plan.against) if one and not one.own}
    for name in given.keys() - known:
        raise UsageError(f"--environment {name}: no case runs in it{did_you_mean(name, known)}")
    return plans


def chosen(plans: Sequence[Plan], expression: str) -> list[Plan]:
    """The plans that `-k` selects; UsageError when there is none."""
    found = suites.select(plans, expression)
    if not found:
        what = f"no case matches -k '{expression}'" if expression else "the suites make no case"
        raise UsageError(f"{what}: `harness list` prints the {len(plans)} case ids")
    return found


def check_names(backends: Sequence[str]) -> None:
    """UsageError names a backend of `--require` that does not exist."""
    for name in backends:
        if name not in BACKENDS:
            raise UsageError(f"--require: unknown backend '{name}'{did_you_mean(name, BACKENDS)}")


def require(bench: Bench, backends: Sequence[str]) -> None:
    """HarnessError (exit 3) when a required backend is absent; then nothing runs."""
    for name in backends:
        try:
            reason = bench.why_not(name) or bench.why_not_run(name)
        except WorkerFailed as lost:
            reason = lost.failure.message
        if reason:
            raise HarnessError(f"--require {name}: {reason}; nothing was run")


def _measure(
    plans: Sequence[Plan],
    pending: Pending,
    scope: Sequence[Plan],
    settings: Settings,
    bench: Bench,
    judged: Judged,
    head: Header,
    journal: store.Journal,
    folder: Path,
    fail_on: Sequence[str],
) -> int:
    records: list[Record] = []

    def keep(record: Record) -> None:
        records.append(record)  # first: what cannot be written to the journal is still in the run
        journal.append(record)
        tell(line(record))

    def done(plan: Plan, outcome: Outcome) -> None:
        found = pending.take(plan, outcome)
        if isinstance(found, Record):
            return keep(found)
        return tell(f"{'measured':12s} {plan.case.id}  {found}")

    ended, error = _every(partial(run_plans, plans, settings, bench, done), pending, keep)
    if ended is not None:
        left = pending.undecided({record.case.id for record in records})
    else:
        left = judged.missing(scope) if scope else []
    for record in left:
        keep(record)
    order = {plan.case.id: position for position, plan in enumerate(plans)}
    records.sort(key=lambda record: order.get(record.case.id, len(order)))
    result = finish(head, bench.environments(), records, fail_on, ended)
    result = replace(result, selftest=known(settings.cache, result))
    write(result, folder)
    tell(f"\n{summary_line(result)}\nreport: {folder / 'report.html'}")
    if error is not None:
        raise error
    return result.gate.exit_status


def _every(
    measure: Callable[[], None], pending: Pending, keep: Callable[[Record], None]
) -> tuple[int | None, Exception | None]:
    """Measure and decide; the exit status and the error of a run that ended early, to be raised when it is written."""
    try:
        measure()
        for record in pending.decided():
            keep(record)
    except KeyboardInterrupt:  # also SIGTERM
        return EXIT_INTERRUPTED, None
    except Exception as error:
        return EXIT_MACHINE, error
    return None, None


def known(cache: Path, run: Run) -> SelfTest | None:
    """What the gate was last seen to do on the run's machine class."""
    classes = {environment.fingerprint for environment in run.environments.values()}
    return store.read_selftest(store.selftest_file(cache, classes.pop())) if len(classes) == 1 else None


def tell(text: str) -> None:
    """Print a line; nobody reading any more is no reason to lose a run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(result: Run, folder: Path) -> None:
    """`run.json` first: it is what everything else can be drawn from again."""
    store.write_run(result, folder)
    report.write(result, folder)


def line(record: Record) -> str:
    """One case in the terminal."""
    return f"{record.status:12s} {record.case.id}  {first_line(record.headline)}"


def summary_line(result: Run) -> str:
    """The counts and the gate in one line."""
    counts = ", ".join(f"{count} {status}" for status, count in result.gate.counts.items())
    verdict = "passed" if result.gate.passed else f"FAILED (exit {result.gate.exit_status})"
    drifted = sum(map(has_drifted, result.records))
    words = f"; accuracy drifted in {drifted}, inside its limits" if drifted else ""
    words += "".join(f"; of slower cases it decides nothing: {reason}" for reason in broken(result))
    return f"gate {verdict}{WHY.get(result.gate.exit_status, '')}: {counts or 'nothing was measured'}{words}"


def broken(result: Run) -> list[str]:
    """Why the job says nothing about cases that may be slower, where that is so."""
    asked = (record.screening for record in result.records)
    return sorted({one.broken for one in asked if one is not None and one.broken})
