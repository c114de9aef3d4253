"""The course of a run: from a new journal, or from what an interrupted one holds, to the decision on all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness import journal as journals
from harness import report, store
from harness.codec import decode
from harness.commands.github import tell_github
from harness.commands.progress import Progress
from harness.commands.results import known, reviewed, stale_lines, tell, write
from harness.commands.terminal import Terminal
from harness.errors import HarnessError, UsageError
from harness.journal import Journal, Journaled
from harness.judge.gate import EXIT_INTERRUPTED, EXIT_MACHINE
from harness.records import Plan, Run
from harness.runner.bench import Bench
from harness.runner.book import Book, Earlier
from harness.runner.client import WorkerFailed
from harness.runner.decided import Pending, with_opponents
from harness.runner.ground import Ground, changes, environments_of, lost, other_machine, refuse
from harness.runner.header import Header, finish
from harness.runner.recorder import Judged
from harness.runner.settings import Settings
from harness.runner.spread import run as run_plans


@dataclass(frozen=True)
class Job:
    """One run, as it was asked for."""

    plans: Sequence[Plan]
    others: Mapping[str, Plan]
    """Case id to what a case is timed against, where that is another case."""
    scope: Sequence[Plan]
    """All plans of the suites; empty where only a part was selected, so that nothing is missing."""
    head: Header
    folder: Path
    fail_on: Sequence[str]

    @property
    def measured(self) -> list[Plan]:
        """What is to be measured, in this order."""
        return with_opponents(self.plans, self.others)


@dataclass(frozen=True)
class Means:
    """What a run is made with."""

    settings: Settings
    bench: Bench
    judged: Judged
    journal: Journal
    seconds: Mapping[str, float]
    """What cases are expected to take, by their ids."""
    terminal: Terminal


@dataclass(frozen=True)
class Begin:
    """How a run begins: who it is and what it stands on."""

    head: Header
    ground: Ground
    baselines: Mapping[str, str | None]
    """Suites and files of what was accepted and acknowledged, by path, to their SHA-256."""


def measure(job: Job, means: Means, before: Journaled, now: Begin) -> int:
    """Measure what is missing, decide and write everything; the exit status.

    `before` is what the journal holds already. Raises UsageError where that stands on other ground than `now`.
    """
    if before.empty:
        earlier = Earlier(before, job.measured)
        store.begin_again(job.folder, before, means.journal)
        about = {"schema": journals.SCHEMA, **vars(now.head), **vars(now.ground), "baselines": now.baselines}
        means.journal.write("begin", about)
    else:
        begin = _begin(job, before)
        job = replace(job, head=begin.head)
        _refuse_other_ground(job, means.bench, before, begin.ground, now.ground)
        earlier = Earlier(before, job.measured, decided_anew=begin.baselines != now.baselines)
        if (status := _finished(job, earlier, before)) is not None:
            return status
        store.begin_again(job.folder, before, means.journal)
        for words in before.damage:
            means.terminal.note(f"note: {words}")
        means.terminal.note(f"resumed: {len(earlier)} cases are measured already, {len(earlier.missing)} are left")
    pending = Pending(job.plans, job.others, means.judged, means.settings)
    book = Book(means.journal, pending, earlier, means.bench.environment, means.terminal.case)
    return _measured(job, means, earlier, book)


def started(head: Header, before: Journaled) -> str:
    """When a run began that may be the continuation of another."""
    data = before.begin.data() if before.begin else {}
    return str(data.get("started", head.started))


def _begin(job: Job, before: Journaled) -> Begin:
    """What the journal says about its beginning; UsageError where that cannot be relied on."""
    words = "the run cannot be continued: choose another folder with -o"
    if before.begin is None:
        raise UsageError(f"{job.folder}: --resume: the line about the beginning of the run is damaged, so {words}")
    data = before.begin.data()
    try:
        return Begin(decode(Header, data), decode(Ground, data), dict(data["baselines"]))
    except (TypeError, ValueError, KeyError) as error:
        told = f"{before.begin.place}: --resume: does not tell what the run stands on ({error}), so {words}"
        raise UsageError(told) from error


def _refuse_other_ground(job: Job, bench: Bench, before: Journaled, then: Ground, now: Ground) -> None:
    """UsageError that lists everything that is not as it was: suites, files, code, and versions on this machine."""
    what = f"{job.folder}: --resume: not everything is as it was when the run began"
    advice = "restore it, or start a run of its own in another folder with -o"
    refuse(what, changes(then, now), advice)
    for backend, interpreter in {(plan.case.backend, plan.interpreter): None for plan in job.measured}:
        with suppress(WorkerFailed):  # its cases say so
            bench.why_not(backend, interpreter)
    machines = environments_of(before)
    known = before.measured.keys() | before.undecided.keys() | before.records.keys()
    for name in {plan.case.environment for plan in job.measured if plan.case.id in known} - machines.keys():
        raise UsageError(
            f"{job.folder}: --resume: the line about the machine of environment '{name}' is damaged, so nothing tells "
            "whether this is the same one: choose another folder with -o"
        )
    here = {name: bench.environment(name) for name in machines}
    refuse(what, [*other_machine(machines, here), *lost(machines, here)], advice)


def _finished(job: Job, earlier: Earlier, before: Journaled) -> int | None:
    """The exit status of a run that needs no continuation."""
    if before.end is None or not earlier.settled:
        return None
    if not store.is_whole(job.folder) or not report.whole(job.folder):
        return None
    if before.end.data().get("fail_on") != list(job.fail_on):
        return None
    status = before.end.decoded(Run, "run").gate.exit_status
    tell(f"nothing is left to do: all {len(earlier)} cases are decided (exit {status})")
    return status


def _measured(job: Job, means: Means, earlier: Earlier, book: Book) -> int:
    known_before = {plan.case.id for plan in earlier.found()}
    seats = len(means.settings.others) or means.settings.jobs
    progress = Progress([plan.case.id for plan in job.measured], known_before, means.seconds, seats)
    with means.terminal.live(progress, lambda: means.settings.halt.under_way):
        ended, error = _found(job, means, earlier, book)
    order = {plan.case.id: position for position, plan in enumerate(job.measured)}
    records = sorted(book.records, key=lambda record: order.get(record.case.id, len(order)))
    result = finish(job.head, means.bench.environments(), records, job.fail_on, ended)
    result = replace(result, selftest=known(means.settings.cache, result))
    result = reviewed(result, means.judged, whole=bool(job.scope) and ended is None)
    if ended is None:
        end = {"run": replace(result, records=()), "fail_on": job.fail_on}
        ended, error = _done(lambda: means.journal.write("end", end))
    try:
        write(result, job.folder)
    except (HarnessError, OSError) as failed:
        if error is not None:
            raise error from failed
        raise
    for words in stale_lines(result):
        means.terminal.note(words)
    means.terminal.end(result, job.folder / "report.html")
    tell_github(result, os.environ)
    if error is not None:
        raise error
    return result.gate.exit_status


def _found(job: Job, means: Means, earlier: Earlier, book: Book) -> tuple[int | None, Exception | None]:
    """Measure and decide; the exit status and the error of a run that ended early."""
    ended, error = _done(lambda: run_plans(earlier.missing, means.settings, means.bench, book.done, means.seconds))
    taken = _done(book.take_up)  # also where the run ends early: what is known belongs to it
    if ended is None:
        ended, error = taken
    if ended is None:
        ended, error = _done(book.decide, lambda: _keep_missing(job, means.judged, book))
    if ended is not None:
        book.undecided()
    return ended, error


def _keep_missing(job: Job, judged: Judged, book: Book) -> None:
    for record in judged.missing(job.scope) if job.scope else []:
        book.keep(record)


def _done(*steps: Callable[[], object]) -> tuple[int | None, Exception | None]:
    """Take all steps; the exit status and the error of a run that ended early, to be raised when it is written."""
    try:
        for step in steps:
            step()
    except KeyboardInterrupt:  # also SIGTERM
        return EXIT_INTERRUPTED, None
    except Exception as error:
        return EXIT_MACHINE, error
    return None, None
