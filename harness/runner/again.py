"""A worker's part where a case is timed once more in a fresh process: the window alone, nothing is compared."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from harness.backends import BACKENDS
from harness.backends.base import Artefact, Backend
from harness.errors import InputError
from harness.records import Contestant, Latency, ModelFile, Plan
from harness.runner.stages import Stages
from harness.runner.steps import Steps


class Again(Steps):
    """Times what was measured before, from the artefact that was kept of it."""

    def window(self, plan: Plan, one: Contestant | None) -> Latency:
        """The latency of a kept artefact; of None, which only a script has, that of another build."""
        backend: Backend = BACKENDS.load(plan.case.backend)()
        stages = Stages(self._announce, self._gpu(backend))
        known = plan if one is None else replace(plan, variant=ModelFile("", one.digest))  # nothing is to be converted
        prepared = self._prepare(known, stages)
        if one is None:
            artefact = self._build(backend, prepared, stages)
        else:
            artefact = Artefact(prepared.cache.artefact(one.digest, reviewed=one.reviewed), one.digest)
            spec = replace(prepared.spec, model=artefact.path, options=one.options, attest=False)
            prepared = replace(prepared, spec=spec)
        with stages("load"):
            session = backend.open(artefact, prepared.spec)
        with closing(session):
            timed = self._time(plan, backend, artefact, session, prepared, stages)
        if timed.latency is None:
            raise InputError("its suite does not time this case")
        return timed.latency
