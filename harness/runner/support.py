"""A worker's part of `harness doctor --model`: what the runtime makes of a file, and what the file needs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from harness.backends import BACKENDS, backend_named
from harness.backends.base import Artefact, Backend, Parser
from harness.records import Plan
from harness.records.support import Estimate, Facts, Fit, Parsed
from harness.runner import footprint
from harness.runner.prepared import Prepared
from harness.runner.stages import Stages
from harness.runner.workshop import Workshop
from harness.sources.inspect import external_files, load_graph, opset
from harness.sources.walk import nodes
from harness.variants.memory import estimate


def facts(model: Path) -> Facts:
    """The versions of a model; InputError when it is no usable one, or its weights are not beside it."""
    external_files(model)
    proto = load_graph(model)
    others = {entry.domain: entry.version for entry in proto.opset_import if entry.domain not in ("", "ai.onnx")}
    return Facts(opset(proto), proto.ir_version, sum(1 for _ in nodes(proto)), others)


class Support(Workshop):
    """Asks a runtime about a file; nothing that it builds is kept."""

    finds = False

    def parse(self, plan: Plan) -> Parsed:
        """What the runtime says of the model as it is."""
        self._announce("parse")
        backend: Parser = BACKENDS.load(plan.case.backend)()
        return backend.parse(Path(plan.source.path))

    def estimate(self, plan: Plan) -> Estimate:
        """What the plan's file needs by its graph, fed as the plan says."""
        prepared = self.prepare(plan, Stages(self._announce, None))
        batch = prepared.feeds.batches[0]
        return estimate(prepared.variant.path, {name: value.shape for name, value in batch.items()})

    def fits(self, plan: Plan) -> Fit:
        """The plan's file built, loaded and run once; raises what the runtime refuses it with."""
        backend = backend_named(plan.case.backend)
        stages = self.stages(backend)
        prepared = self.prepare(plan, stages)
        artefact = self.build(backend, prepared, stages)
        if reason := backend.why_not_run():
            return Fit(reason, artefact.measures)
        self._once(backend, artefact, prepared, stages)  # loads the runtime's own code, which is no need of the model
        return self._once(backend, artefact, prepared, stages)

    def _once(self, backend: Backend, artefact: Artefact, prepared: Prepared, stages: Stages) -> Fit:
        """The first batch computed in a session of its own."""
        since = footprint.before(self.gpu(backend))
        with stages("load"):
            session = backend.open(artefact, prepared.spec)
        with closing(session):
            with stages("infer"):
                session.infer(prepared.feeds.batches[0])
            measures = {**artefact.measures, **footprint.taken(since)}
            computes = tuple(sorted({layer["compute"] for layer in session.attested.get("layers", ())}))
        return Fit("", measures, computes)
