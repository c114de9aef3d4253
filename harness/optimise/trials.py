"""What was tried, which of it holds, and which of that nothing else beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import pareto
from harness.metrics import LOWER_TASKS
from harness.pareto import SAME, Point
from harness.records import GATE_ERROR_KINDS, Outcome, Plan, Quantiles, Verdict
from harness.suites.derived import Build


@dataclass(frozen=True)
class Trial:
    """One build of the model, as it was measured."""

    name: str
    """Its part of the case id."""
    build: Build
    status: str
    why: str
    accuracy: float | None = None
    """The task metric."""
    p50_ms: float | None = None
    bytes: float | None = None
    """Of the engine where the backend builds one, else of the model file."""
    compressed_bytes: float | None = None
    lower_is_better: bool = False
    """Of the task metric."""
    window: Quantiles | None = None
    """The latencies of which `p50_ms` is the median."""
    clock: str = ""
    """The one that measured them: "gpu" or "host"."""
    error: str | None = None
    """What kind of error it ended in."""

    @property
    def precision(self) -> str:
        """What the build is built at."""
        return self.build.precision

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of its chain."""
        return self.build.steps

    @property
    def may_pass(self) -> bool:
        """Whether the machine failed, and not the build: another try may measure it."""
        return self.status == "error" and self.error not in GATE_ERROR_KINDS

    @property
    def merit(self) -> float:
        """The task metric as what is to be large."""
        value = self.accuracy or 0.0
        return -value if self.lower_is_better else value

    @property
    def holds(self) -> bool:
        """Whether every check passed: the task within its drop, and the backend computed what the file says."""
        known = None not in (self.accuracy, self.bytes) and bool(self.p50_ms)
        return known and self.status in ("new", "passed")

    def worth(self, objective: str) -> float:
        """What is to be small."""
        value = self.p50_ms if objective == "p50" else self.bytes
        return float("inf") if value is None else value

    def beats(self, other: Trial, objective: str) -> bool:
        """Whether it is better; windows of one machine differ by a little, so that latencies must differ by more."""
        room = SAME if objective == "p50" else 1.0
        return self.worth(objective) * room < other.worth(objective)


def trial(plan: Plan, build: Build, outcome: Outcome, verdict: Verdict) -> Trial:
    """A measured plan as a trial."""
    task = plan.task
    found = {m.metric: m.value for m in outcome.measurements if task and m.output == task.output}
    latency, measures = outcome.latency, outcome.measures
    now = None if latency is None else (latency.gpu if latency.decided_on == "gpu" else latency.host)
    size = measures.get("engine_bytes") or measures.get("model_bytes")
    return Trial(
        name=plan.case.built_as,
        build=build,
        status=verdict.status,
        why=verdict.headline,
        accuracy=found.get(task.metric) if task else None,
        p50_ms=now.p50_ms if now else None,
        bytes=size,
        compressed_bytes=measures.get("model_compressed_bytes"),
        lower_is_better=task is not None and task.metric in LOWER_TASKS,
        window=now,
        clock=latency.decided_on if latency else "",
        error=outcome.error.kind if outcome.error else None,
    )


def best(trials: Sequence[Trial], plain: Trial, objective: str) -> Trial | None:
    """The best trial that holds and beats the plain model; None where none does.

    It is on the Pareto front wherever one there beats the plain model. Among those about as good as the best the most
    accurate one, then the plainest.
    """
    better = [one for one in trials if one.holds and one.beats(plain, objective)]
    on_front = {one.build for one in front(trials)}
    good = [one for one in better if one.build in on_front] or better
    least = min((one.worth(objective) for one in good), default=0.0)
    near = [one for one in good if one.worth(objective) <= least * SAME]
    return max(near, key=lambda one: (one.merit, -len(one.build.steps)), default=None)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that hold, and that no other one is as good as in accuracy, latency and size, and better in one."""
    good = [one for one in trials if one.holds]
    return [
        good[place] for place in pareto.front([Point(one.merit, one.p50_ms or 0.0, one.bytes or 0.0) for one in good])
    ]
