"""Cases that cannot be timed in turns: compared with earlier runs, and measured again before any of them may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from harness.backends import MEASUREMENT, SCRIPTED
from harness.baselines import Entry
from harness.codec import encode
from harness.judge import first_line
from harness.judge.latency import decided, incomparable, measured_again
from harness.judge.screen import LOST, TIMES, broken_jobs, doubtful
from harness.records import Contestant, Failure, Latency, Outcome, Plan, Screened, Screening
from harness.runner.client import WorkerFailed, WorkerProcess
from harness.runner.duels import Lane, lane_of
from harness.runner.footing import Footing, as_measured, contestant
from harness.runner.health import check_device
from harness.runner.scratch import scratch
from harness.runner.settings import Settings

QUANTILE = "p10"
Case = tuple[Plan, Outcome, Entry, Screening]
"""What is compared with earlier runs: measured, accepted, and both their times."""


def screening(
    plan: Plan,
    outcome: Outcome,
    entry: Entry | None,
    on: Footing,
    again: Sequence[Latency] = (),
    failures: Sequence[str] = (),
) -> Screening | None:
    """A case against the accepted runs; None where something better decides, or nothing can be compared."""
    now = outcome.latency
    if now is None or entry is None or entry.latency is None or plan.against is not None or on.same or on.other_canary:
        return None
    if incomparable(now, entry.latency):
        return None
    history = tuple(Screened(value_ms, canary_ms) for _, value_ms, canary_ms in entry.history)
    measured = tuple(_screened(one) for one in (now, *again))
    return Screening(QUANTILE, history, measured, now.decided_on, tuple(again), tuple(failures))


def _screened(latency: Latency) -> Screened:
    found = decided(latency)
    return Screened(found.p50_ms if found.p10_ms is None else found.p10_ms, latency.canary_ms)


def open_question(plan: Plan, outcome: Outcome, entry: Entry, asked: Screening) -> bool:
    """Whether a case may turn out otherwise once it is measured again, or once all of the job is known."""
    return _wanted((plan, outcome, entry, asked)) or doubtful(plan.latency, asked)


def measured(
    cases: Sequence[Case],
    settings: Settings,
    done: Callable[[Plan, Screening], None] = lambda *_: None,
) -> list[Screening]:
    """The screening of each case after every measurement that it needs; each of them is in a fresh process.

    `done` is called after each, and not for what the end of the run killed.
    """
    found = list(cases)
    with scratch() as folder:
        for number in range(2, TIMES + 1):
            short = sorted((_counted(one), at) for at, one in enumerate(found) if _wanted(one))
            again = once_more([found[at] for _, at in short], settings, folder / str(number))
            for (_, at), asked in zip(short, again, strict=True):
                if settings.halt.called:
                    return [one[3] for one in found]
                found[at] = (*found[at][:3], asked)
                done(found[at][0], asked)
    return [one[3] for one in found]


def once_more(cases: Sequence[Case], settings: Settings, folder: Path) -> Iterator[Screening]:
    """Each case with one more measurement, in order; those that follow each other share a process started alike."""
    if settings.elsewhere is not None:
        yield from settings.elsewhere.once_more(cases)
        return
    for place, (lane, group) in enumerate(groupby(cases, key=_counted)):
        with closing(lane.started(settings, folder / str(place))) as worker:
            for case in group:
                yield _once_more(case, worker)


def _counted(case: Case) -> Lane:
    """What the process of the next measurement is started with."""
    lane = lane_of(case[0])
    return replace(lane, variables=(*lane.variables, (MEASUREMENT, str(len(case[3].now) + 1))))


def _wanted(case: Case) -> bool:
    plan, outcome, entry, asked = case
    if outcome.latency is None or entry.latency is None:
        return False
    return measured_again(plan.latency, outcome.latency, entry.latency, asked)


def _once_more(case: Case, worker: WorkerProcess) -> Screening:
    plan, outcome, _, asked = case
    one, asked_of = _artefact(plan, outcome), encode(as_measured(plan, outcome.digests))
    for _ in range(LOST):
        try:
            latency = worker.ask(Latency, "time", plan=asked_of, one=encode(one) if one else None)
        except WorkerFailed as lost:
            check_device(plan, lost.failure, worker)
            asked = lost_again(asked, lost.failure)
        else:
            return replace(asked, now=(*asked.now, _screened(latency)), again=(*asked.again, latency))
    return asked


def lost_again(asked: Screening, failure: Failure) -> Screening:
    """A measurement that failed, told."""
    words = f"{failure.kind} in {failure.stage}: {first_line(failure.message)}"
    return replace(asked, failures=(*asked.failures, words))


def _artefact(plan: Plan, outcome: Outcome) -> Contestant | None:
    """What was kept of the case; scripted cases keep nothing."""
    return None if plan.case.backend in SCRIPTED else contestant(outcome.digests, outcome.attested.get("options"))


def of_this_job(cases: Iterable[tuple[Plan, Screening]]) -> dict[str, Screening]:
    """Case id to its screening, with why the job says nothing about it where that is so."""
    known = list(cases)
    broken = broken_jobs([(_group(plan, one), plan.latency, one) for plan, one in known])
    return {
        plan.case.id: replace(one, broken=broken.get(_group(plan, one)) if doubtful(plan.latency, one) else None)
        for plan, one in known
    }


def _group(plan: Plan, asked: Screening) -> str:
    """Cases with one canary: of one interpreter, on one clock."""
    return f"{plan.case.environment}/{asked.decided_on}"
