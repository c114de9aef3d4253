"""A worker's part where kept artefacts of a case are timed in turns: both in this process."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace

from harness.backends import backend_named
from harness.backends.base import Artefact, Backend, Step
from harness.backends.cuda import one_stream
from harness.records import Contestant, Duel, Injection, LatencyPlan, ModelFile, Plan
from harness.runner import windows
from harness.runner.prepared import Prepared
from harness.runner.workshop import Workshop
from harness.timing.duel import duel, settings_for
from harness.timing.evidence import watch
from harness.timing.inject import slowed, tail
from harness.timing.sides import LocalSide


class Turns(Workshop):
    """Opens both sides of a case, and times them in turns."""

    def duel(self, plan: Plan, a: Contestant, b: Contestant, first: str, injected: Injection | None = None) -> Duel:
        """One launch: two artefacts of a case, both resident, are timed in turns; the side `first` is opened first.

        `injected` slows b on purpose. Raises InputError when an artefact is not kept here any more.
        """
        backend = backend_named(plan.case.backend)
        stages = self.stages(backend)
        prepared = self.prepare(replace(plan, variant=ModelFile("", b.digest)), stages)  # nothing is to be converted
        timing, _ = windows.applied(plan.latency, backend.device)
        steps: dict[str, Step] = {}
        with ExitStack() as opened:
            if backend.device == "cuda":
                opened.enter_context(one_stream())
            for name, one in sorted({"a": a, "b": b}.items(), reverse=first == "b"):
                with stages("load"):
                    steps[name] = bound(backend, prepared, one, timing, opened)
            with stages("time", alone=True):
                if injected is not None:
                    steps["b"] = opened.enter_context(_slowed(steps["b"], injected))
                sides = {name: opened.enter_context(LocalSide(step)) for name, step in steps.items()}
                settings = settings_for(plan.latency)
                launch = duel(sides["a"], sides["b"], settings, first=first, watch=watch(self.gpu(backend)))
        how = {**settings.record(), **windows.told(timing)}
        return Duel((launch,), sides["b"].decided_on, how, a.digest, a=a, b=b)


def bound(backend: Backend, prepared: Prepared, one: Contestant, timing: LatencyPlan, opened: ExitStack) -> Step:
    """A kept artefact, opened and bound to the first batch; InputError when it is not kept here any more."""
    artefact = Artefact(prepared.cache.artefact(one.digest, reviewed=one.reviewed), one.digest)
    spec = replace(prepared.spec, model=artefact.path, options=one.options, attest=False, mode=windows.mode(timing))
    session = opened.enter_context(closing(backend.open(artefact, spec)))
    return opened.enter_context(windows.readied(session.bind(prepared.feeds.batches[0]), timing))


def _slowed(step: Step, injected: Injection) -> AbstractContextManager[Step]:
    if injected.kind == "tail":
        return tail(step, injected.share, injected.factor)
    return slowed(step, injected.share)
