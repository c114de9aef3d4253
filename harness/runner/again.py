"""A worker's part where a case is timed once more in a fresh process: the window alone, nothing is compared."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from harness.backends import backend_named
from harness.backends.base import Artefact
from harness.errors import InputError
from harness.records import Contestant, Latency, ModelFile, Plan
from harness.runner.measure import Opened, timed
from harness.runner.workshop import Workshop


class Again(Workshop):
    """Times what was measured before, from the artefact that was kept of it."""

    def window(self, plan: Plan, one: Contestant | None) -> Latency:
        """The latency of a kept artefact; of None, which only a script has, that of another build."""
        backend = backend_named(plan.case.backend)
        stages = self.stages(backend)
        known = plan if one is None else replace(plan, variant=ModelFile("", one.digest))  # nothing is to be converted
        prepared = self.prepare(known, stages)
        if one is None:
            artefact = self.build(backend, prepared, stages)
        else:
            artefact = Artefact(prepared.cache.artefact(one.digest, reviewed=one.reviewed), one.digest)
            spec = replace(prepared.spec, model=artefact.path, options=one.options, attest=False)
            prepared = replace(prepared, spec=spec)
        with stages("load"):
            session = backend.open(artefact, prepared.spec)
        with closing(session):
            latency = timed(Opened(plan, backend, prepared, artefact, session), stages).latency
        if latency is None:
            raise InputError("its suite does not time this case")
        return latency
