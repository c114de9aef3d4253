"""Launches: fresh processes, each of which times many cases against what was accepted for them, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from pathlib import Path

from harness.backends import worker_variables
from harness.codec import encode
from harness.errors import CaseError
from harness.judge import first_line
from harness.judge.duels import wanted
from harness.records import Admission, Contestant, Duel, Failure, Injection, Interpreter, Plan
from harness.runner import across
from harness.runner.client import WorkerFailed, WorkerProcess
from harness.runner.health import check_device
from harness.runner.scratch import scratch
from harness.runner.settings import Settings

MOST_FAILURES = 2
"""Launches that may end in an error before a case is given up."""


@dataclass(frozen=True)
class Match:
    """A case whose candidate (b) is to be timed against what was accepted (a)."""

    plan: Plan
    a: Contestant
    b: Contestant
    admission: Admission | None
    against: str
    """Side a in words."""
    injected: Injection | None = None
    """How side b is slowed on purpose."""
    other: Plan | None = None
    """The case of side a, where it runs in another environment: then two processes take turns."""


Wanted = Callable[[Match, Duel], int]
"""How many more launches a match needs."""


def to_decide(match: Match, duel: Duel) -> int:
    """Launches until the next look of the gate; none once it can decide."""
    return wanted(duel, match.plan.latency, match.admission)


def duels(
    matches: Sequence[Match],
    settings: Settings,
    more: Wanted = to_decide,
    earlier: Sequence[Sequence[Duel]] = (),
    tell: Callable[[Match, Duel], None] = lambda *_: None,
) -> list[Duel]:
    """The launches of each match: every launch is one process for all cases that still want one.

    Which side's session is made first alternates from launch to launch. A worker that is lost costs that launch of its
    case. `earlier` are launches of each match that were made before; `tell` is called for each that is made now. Of a
    run that is ending nothing more is told: what was killed is no launch that failed. Raises SickDevice where the
    device is to blame.
    """
    found = [Duel((), "host", {}, match.against) for match in matches]
    for at, known in enumerate(earlier):
        found[at] = reduce(_joined, known, found[at])
    with scratch() as folder:
        number = max((len(duel.launches) + len(duel.failures) for duel in found), default=0)
        while not settings.halt.called and (short := _short(matches, found, more)):
            short.sort(key=lambda at: _sides(matches[at]))
            launched = launch([matches[at] for at in short], settings, folder / str(number), "ab"[number % 2])
            for at, duel in zip(short, launched, strict=True):
                if settings.halt.called:
                    return found
                tell(matches[at], duel)
                found[at] = _joined(found[at], duel)
            number += 1
    return found


def _short(matches: Sequence[Match], found: Sequence[Duel], more: Wanted) -> list[int]:
    """The places of matches that still want a launch."""
    return [at for at, match in enumerate(matches) if _lacks(match, found[at], more)]


def _lacks(match: Match, duel: Duel, more: Wanted) -> bool:
    return len(duel.failures) < MOST_FAILURES and more(match, duel) > 0


def _joined(held: Duel, one: Duel) -> Duel:
    if not one.launches:
        return replace(held, failures=(*held.failures, *one.failures))
    return replace(one, launches=(*held.launches, *one.launches), failures=held.failures, against=held.against)


def launch(matches: Sequence[Match], settings: Settings, folder: Path, first: str) -> Iterator[Duel]:
    """Each match timed once, in order; those that follow each other share processes where those are started alike."""
    if settings.elsewhere is not None:
        yield from settings.elsewhere.launch(matches, first)
        return
    for number, (at, lane) in enumerate(groupby(matches, key=_sides)):
        with ExitStack() as opened:
            workers = {
                side: opened.enter_context(closing(one.started(settings, folder / f"{number}-{side}")))
                for side, one in at
            }
            for match in lane:
                yield _turns(workers, match, first)


def _turns(workers: Mapping[str, WorkerProcess], match: Match, first: str) -> Duel:
    """One launch in the worker of side b, or in that and the one of side a."""
    try:
        if match.other is not None:
            return across.turns({"a": match.other, "b": match.plan}, {"a": match.a, "b": match.b}, workers, first)
        sides = {"a": encode(match.a), "b": encode(match.b)}
        injected = encode(match.injected) if match.injected else None
        return workers["b"].ask(Duel, "duel", plan=encode(match.plan), **sides, first=first, injected=injected)
    except WorkerFailed as lost:
        check_device(match.plan, lost.failure, workers["b"])
        return lost_launch(match, lost.failure)
    except CaseError as error:
        return lost_launch(match, Failure(error.kind, "time", str(error)))


def lost_launch(match: Match, failure: Failure) -> Duel:
    """What there is of a launch that failed."""
    words = f"{failure.kind} in {failure.stage}: {first_line(failure.message)}"
    return Duel((), "host", {}, match.against, (words,))


@dataclass(frozen=True, order=True)
class Lane:
    """What the process of a case is started with."""

    name: str
    python: str
    variables: tuple[tuple[str, str], ...]

    def started(self, settings: Settings, folder: Path) -> WorkerProcess:
        """A worker of its own."""
        interpreter = Interpreter(self.name, self.python or None)
        return WorkerProcess(settings.cache, folder, settings.limits, dict(self.variables), interpreter)


def lane_of(plan: Plan) -> Lane:
    """What the process of a plan is started with."""
    variables = worker_variables(plan.case.backend, plan.case.precision)
    return Lane(plan.interpreter.name, plan.interpreter.python or "", tuple(sorted(variables.items())))


def _sides(match: Match) -> list[tuple[str, Lane]]:
    """The sides that have a process, and what it is started with."""
    plans = {"b": match.plan, "a": match.other}
    return [(side, lane_of(plan)) for side, plan in sorted(plans.items()) if plan is not None]
