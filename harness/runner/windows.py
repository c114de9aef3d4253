"""How a case is timed under the settings of its suite: which session, with what around its iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from harness.backends.base import PLAIN, Feeds, Mode, Session, Step
from harness.errors import CaseError
from harness.records import WAITING, Latency, LatencyPlan
from harness.timing.canary import canary
from harness.timing.flush import flushed
from harness.timing.loop import window
from harness.timing.throughput import throughput

HOST_BOUND = 0.9
"""From this share of the GPU's time on, what enqueueing takes decides how long an iteration is."""
OF_A_GPU: Mapping[str, bool | int] = {
    name: getattr(LatencyPlan(), name) for name in ("transfers", "cuda_graph", "flush_l2", "streams", "depth")
}
"""Settings that mean nothing on a CPU, with the values that they have there."""


@dataclass(frozen=True)
class Timed:
    """A window of latencies, what else was measured, and what the suite asked for in vain."""

    latency: Latency | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def applied(plan: LatencyPlan, device: str) -> tuple[LatencyPlan, tuple[str, ...]]:
    """The settings that are in force on a device, and a note on those that mean nothing there."""
    asked = [name for name, default in OF_A_GPU.items() if getattr(plan, name) != default]
    if device != "cpu" or not asked:
        return plan, ()
    note = f"latency: {', '.join(asked)} {'is' if len(asked) == 1 else 'are'} of GPUs: timed without on the CPU"
    return replace(plan, **OF_A_GPU), (note,)  # type: ignore[arg-type] # each of its field's type


def mode(plan: LatencyPlan) -> Mode:
    """How sessions make the iterations that are timed."""
    return Mode(plan.transfers, plan.cuda_graph)


def told(plan: LatencyPlan) -> dict[str, Any]:
    """The settings of single iterations, for the record of a duel."""
    return {name: getattr(plan, name) for name in ("transfers", "cuda_graph", "flush_l2")}


@contextmanager
def readied(step: Step, plan: LatencyPlan) -> Iterator[Step]:
    """The step with what is to be done before each iteration."""
    if not plan.flush_l2:
        yield step
        return
    with flushed(step) as cold:
        yield cold


def time(
    plan: LatencyPlan,
    device: str,
    session: Session,
    another: Callable[[Mode], Session],
    feeds: Feeds,
    canary: Callable[[str], AbstractContextManager[Step]] = canary,
) -> Timed:
    """Latencies beside a canary, and the throughput where streams or iterations in flight are asked for.

    A mode other than the plain one takes another session on the same artefact, and each further stream one of its own.
    """
    plan, notes = applied(plan, device)
    with ExitStack() as held:

        def opened() -> Session:
            return held.enter_context(closing(another(mode(plan))))

        step = (session if mode(plan) == PLAIN else opened()).bind(feeds)
        other, remarks = (None, ()) if step.scripted_ms is not None else _entered(held, canary(device))
        with readied(step, plan) as ready:
            latency, measures = window(ready, plan, other)
        if plan.streams > 1 or plan.depth > 1:
            steps = [step, *(opened().bind(feeds) for _ in range(plan.streams - 1))]
            measures["throughput_per_s"] = throughput(steps, plan)
    return Timed(latency, measures, (*notes, *remarks, *host_bound(latency, measures, plan)))


def host_bound(latency: Latency, measures: Mapping[str, float | None], plan: LatencyPlan) -> Iterator[str]:
    """A note where a GPU waits for the host, so that its time is that of the enqueueing."""
    enqueue_ms = measures.get("enqueue_ms")
    if latency.gpu is None or enqueue_ms is None or enqueue_ms < HOST_BOUND * latency.gpu.p50_ms:
        return
    cure = "a larger batch tells" if plan.cuda_graph else "a larger batch or `latency: {cuda_graph: true}` tells"
    took = f"enqueueing takes {enqueue_ms:.3g} of {latency.gpu.p50_ms:.3g} ms"
    yield f"{WAITING}: {took}; {cure} what the GPU alone takes"


def _entered(held: ExitStack, canary: AbstractContextManager[Step]) -> tuple[Step | None, tuple[str, ...]]:
    """The canary; without it a case is timed all the same, and a note says why."""
    try:
        return held.enter_context(canary), ()
    except CaseError as error:
        return None, (f"the canary could not be measured, so times of other runs are compared as they are: {error}",)
