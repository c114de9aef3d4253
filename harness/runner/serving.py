"""Puts a case under the load of its suite, on as many sessions as that asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain

from harness.backends.base import PLAIN, Feeds, Mode, Session, Step
from harness.records import LatencyPlan, Offline, ServingPlan
from harness.runner import windows
from harness.timing.lanes import Lane, lanes
from harness.timing.scenarios import Shown, multi_stream, offline, offline_at, sample_s, single_stream
from harness.timing.server import server
from harness.timing.throughput import throughput

Stream = Callable[[LatencyPlan, Sequence[Session]], Shown]


def serve(
    plan: ServingPlan,
    timing: LatencyPlan,
    device: str,
    session: Session,
    another: Callable[[Mode], Session],
    feeds: Feeds,
    stream: Stream | None = None,
) -> Shown:
    """Every scenario of the plan; the measures are called after their scenario. `stream` plays the case's video."""
    timing, _ = windows.applied(timing, device)
    mode = windows.mode(timing)
    shown: list[Shown] = []
    if replace(plan, video=None) != ServingPlan(plan.sessions, plan.max_time_s):
        with _sessions(plan.sessions, mode, session, another) as sessions:
            steps = [one.bind(feeds) for one in sessions]
            with lanes(steps) as ready:
                shown += _scenarios(plan, timing, steps, ready)
    if stream is not None:  # its frames are copied in and results out whatever the mode
        with _sessions(plan.sessions, PLAIN, session, another) as sessions:
            shown.append(stream(timing, sessions))
    return Shown(
        {name: value for one in shown for name, value in one.measures.items()},
        tuple(chain.from_iterable(one.trials for one in shown)),
        tuple(chain.from_iterable(one.notes for one in shown)),
    )


@contextmanager
def _sessions(
    count: int, mode: Mode, session: Session, another: Callable[[Mode], Session]
) -> Iterator[Sequence[Session]]:
    """So many in a mode; the one that is there is a plain one."""
    with ExitStack() as held:
        more = [held.enter_context(closing(another(mode))) for _ in range(count - (mode == PLAIN))]
        yield [session, *more] if mode == PLAIN else more


def _scenarios(plan: ServingPlan, timing: LatencyPlan, steps: Sequence[Step], ready: Sequence[Lane]) -> Iterator[Shown]:
    each_s = sample_s(ready, timing.warmup_s, plan.max_time_s)
    if plan.single_stream is not None:
        yield single_stream(ready, timing, plan.max_time_s)
    if plan.multi_stream is not None:
        yield multi_stream(ready, plan.multi_stream, timing, plan.max_time_s)
    if plan.server is not None:
        yield server(ready, each_s, plan.server, timing, plan.max_time_s)
    if plan.offline is not None and steps[0].stream is not None:
        yield _in_flight(plan.offline, steps, timing)
    elif plan.offline is not None:
        yield offline(ready, each_s, timing, plan.max_time_s)


def _in_flight(plan: Offline, steps: Sequence[Step], timing: LatencyPlan) -> Shown:
    """On a GPU one thread keeps all streams busy: several samples wait on each, so that the host is not waited for."""
    rate = throughput(steps, replace(timing, depth=plan.depth))
    return offline_at(rate, round(rate * timing.min_time_s))
