"""Spreads the work of a run over its seats: one for each job, on a GPU of its own where there are several.

Everything that takes turns on a device is kept apart by locks, so spreading never changes what is measured.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import ParamSpec, TypeVar

from harness import suites
from harness.backends import ON_GPU
from harness.records import Duel, Environment, Outcome, Plan, Screening
from harness.runner import screen
from harness.runner.bench import Bench
from harness.runner.duels import Match, Wanted, duels, to_decide
from harness.runner.settings import Measuring, Settings

T = TypeVar("T")
P = ParamSpec("P")
NO_SECONDS: Mapping[str, float] = {}


def spread_over(settings: Settings, jobs: int | None, machine: Environment, plans: Sequence[Plan]) -> Settings:
    """Settings with as many seats as jobs, by default one for each GPU that the plans use."""
    used = any(plan.case.backend in ON_GPU for plan in plans)
    gpus = tuple(gpu.uuid for gpu in machine.gpus) if used and len(machine.gpus) > 1 else ()
    return replace(settings, jobs=jobs or max(1, len(gpus)), gpus=gpus)


def run(
    plans: Sequence[Plan],
    settings: Settings,
    bench: Bench,
    done: Callable[[Plan, Outcome], None],
    seconds: Mapping[str, float] = NO_SECONDS,
) -> None:
    """Measure every plan; `done` is called for each as it ends, by one thread at a time.

    `bench` is that of the first seat, or knows what seats elsewhere tell. With several, the cases of a model stay
    together as far as that leaves no seat idle, and what takes longest by `seconds` (of a case, by its id) comes first.
    """
    units = suites.units(plans, settings.jobs, seconds) if settings.jobs > 1 else [plans]
    lock = threading.Lock()

    def serve(own: Measuring, unit: Sequence[Plan]) -> None:
        for plan in unit:
            outcome = own.outcome(plan)
            if settings.halt.called:  # what was under way has been killed: it says nothing
                return
            with lock:
                bench.learn(own.told)  # before it is judged: by the versions that it was measured with
                done(plan, outcome)
            own.raise_sick()

    def sit(seat: Settings, own: Measuring | None) -> None:
        if own is not None:
            return _drain(work, lambda unit: serve(own, unit), settings)
        with Bench(seat, bench.shared) as made:
            return _drain(work, lambda unit: serve(made, unit), settings)

    work: queue.SimpleQueue[Sequence[Plan]] = queue.SimpleQueue()
    for unit in units:
        work.put(unit)
    first, *others = settings.seats
    tasks = [partial(sit, first, first.elsewhere or bench), *(partial(sit, seat, seat.elsewhere) for seat in others)]
    together(tasks, settings)


def _drain(work: queue.SimpleQueue[T], serve: Callable[[T], None], settings: Settings) -> None:
    while not settings.halt.called:
        try:
            unit = work.get_nowait()
        except queue.Empty:
            return
        serve(unit)


def together(tasks: Sequence[Callable[[], None]], settings: Settings) -> None:
    """Do all at once, the first in this thread; the first error ends the workers of all and is raised.

    What others raise after it comes of workers that were ended.
    """
    failures: list[BaseException] = []

    def caught(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # Ctrl-C too
            failures.append(error)
            settings.halt.call()

    def here() -> None:
        tasks[0]()
        for thread in threads:
            thread.join()

    threads = [threading.Thread(target=caught, args=(task,)) for task in tasks[1:]]
    for thread in threads:
        thread.start()
    caught(here)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def spread_duels(
    matches: Sequence[Match],
    settings: Settings,
    more: Wanted = to_decide,
    earlier: Sequence[Sequence[Duel]] = (),
    tell: Callable[[Match, Duel], None] = lambda *_: None,
) -> list[Duel]:
    """As `duels`, on all GPUs at once; every match stays on one."""
    known = earlier or [()] * len(matches)
    told = _one_at_a_time(tell)

    def fight(seat: Settings, places: Sequence[int]) -> list[Duel]:
        some = [matches[at] for at in places]
        return duels(some, seat, more, [known[at] for at in places], told)

    return _each([match.plan for match in matches], settings, fight)


def spread_screens(
    cases: Sequence[screen.Case], settings: Settings, done: Callable[[Plan, Screening], None] = lambda *_: None
) -> list[Screening]:
    """As `screen.measured`, on all GPUs at once."""
    told = _one_at_a_time(done)

    def again(seat: Settings, places: Sequence[int]) -> list[Screening]:
        return screen.measured([cases[at] for at in places], seat, told)

    return _each([case[0] for case in cases], settings, again)


def _one_at_a_time(tell: Callable[P, None]) -> Callable[P, None]:
    lock = threading.Lock()

    def told(*arguments: P.args, **named: P.kwargs) -> None:
        with lock:
            tell(*arguments, **named)

    return told


def _each(plans: Sequence[Plan], settings: Settings, work: Callable[[Settings, Sequence[int]], list[T]]) -> list[T]:
    """What the work gives for each plan, in order.

    On one machine those of a CPU come first, since they want it for themselves.
    """
    seats = settings.seats if settings.others else settings.seats[: max(1, len(settings.gpus))]
    if len(seats) == 1:
        return work(seats[0], range(len(plans)))
    on_gpu = [at for at, plan in enumerate(plans) if settings.others or plan.case.backend in ON_GPU]
    parts = [on_gpu[number :: len(seats)] for number in range(len(seats))]
    found: dict[int, T] = {}

    def do(seat: Settings, places: Sequence[int]) -> None:
        found.update(zip(places, work(seat, places), strict=True))

    do(seats[0], sorted({*range(len(plans))} - {*chain(*parts)}))
    together([partial(do, seat, part) for seat, part in zip(seats, parts, strict=True)], settings)
    return [found[at] for at in range(len(plans))]
