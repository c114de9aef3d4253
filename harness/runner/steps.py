"""What a worker does for one case: what the case is compared with, and its measurement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.backends import SCRIPTED, TWIN_BACKEND, backend_named
from harness.errors import InputError, Unsupported
from harness.records import Digests, ModelFile, Outcome, Plan
from harness.runner import kept, tensors, twin_files, twins
from harness.runner.candidate import Folders
from harness.runner.flip import FOLDER, mirrored
from harness.runner.invariance import moves
from harness.runner.measure import digests_of, measure, only_built
from harness.runner.prepared import Prepared, samples
from harness.runner.repeats import infer_all, keep_unstable
from harness.runner.stages import Stages
from harness.runner.workshop import Workshop
from harness.variants.prepare import is_engine

REFERENCE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "onnxruntime-cpu": {"threads": 1, "graph_optimization": "disable"},
    "pytorch-cpu": {"threads": 1},
}
"""A reference runs as plainly as its backend can, and follows no script."""


class Steps(Workshop):
    """Measures cases one after the other, and makes what they are compared with."""

    def reference(self, plan: Plan, folder: Path) -> tuple[str, ...]:
        """Write the outputs of the plan's backend reference to a folder, with the digest of the feeds.

        Gives warnings.
        """
        asked = replace(plan.case, backend=plan.reference.backend, precision=plan.reference.precision, chain=())
        files = {precision: file for precision, file in plan.files.items() if precision != "fp32"}  # that is `source`
        options = {**REFERENCE_OPTIONS.get(asked.backend, {}), **_operators(plan, asked.backend)}
        plain = replace(plan, case=asked, options=options, files=files)
        backend = backend_named(asked.backend)
        stages = Stages(self._announce_reference, self.gpu(backend))
        if reason := backend.why_not() or backend.why_not_run():
            raise InputError(f"the reference backend {asked.backend} is not available here: {reason}")
        prepared = self.prepare(plain, stages)
        key = kept.outputs_key(backend, plan, prepared, self._environment)
        scripted = asked.backend in SCRIPTED

        def compute() -> bool:
            session, artefact = self.open(backend, prepared, stages)
            with closing(session), stages("infer"):
                batches = prepared.feeds.batches
                outputs = infer_all(session, batches)
                tensors.save(folder, outputs, inputs=prepared.feeds.digest)
                if plan.flip is not None:
                    tensors.save(folder / FOLDER, infer_all(session, mirrored(plan.flip, batches), outputs[-1:]))
                fresh = partial(backend.open, artefact, prepared.spec)
                return keep_unstable(folder, prepared.spec.model, outputs[0], session, fresh, batches[0])

        kept.outputs("references", None if scripted else key, prepared.cache, folder, compute)
        return prepared.cache.told()

    def variant(self, plan: Plan) -> ModelFile:
        """The file that the plan's precision is built from, for a worker of another interpreter."""
        made = self.prepare(plan, Stages(self._announce, None)).variant
        return ModelFile(str(made.path), made.digest, made.notes)

    def twin(self, plan: Plan, folder: Path) -> tuple[float, tuple[str, ...]]:
        """Write the outputs of the plan's precision twin to a folder, and what rounding does to them.

        Gives seconds, and warnings.
        """
        stages = Stages(lambda stage: self._announce(stage if stage == "wait" else "twin"), None)
        prepared = self.prepare(replace(plan, options=_operators(plan, TWIN_BACKEND)), stages)
        if is_engine(prepared.variant.path):
            raise Unsupported("an engine holds no graph that could be computed node by node")
        backend = backend_named(TWIN_BACKEND)
        key = kept.outputs_key(
            backend, plan, prepared, self._environment, fidelity=plan.fidelity, flip=plan.flip and plan.flip.axes
        )

        def compute() -> bool:
            moved = moves(prepared.info, prepared.feeds.batches[0]) if plan.fidelity.batch else ()
            made = twins.evaluate(backend, prepared.spec, samples(plan, prepared), plan.fidelity, moved, self._scratch)
            twin_files.keep(folder, made, inputs=prepared.feeds.digest)
            if plan.flip is not None:
                images = mirrored(plan.flip, prepared.feeds.batches)
                made = twins.evaluate(backend, prepared.spec, images, plan.fidelity, (), self._scratch)
                twin_files.keep(folder / FOLDER, made)
            return True

        with stages("twin"):
            kept.outputs("twins", key, prepared.cache, folder, compute)
        return stages.seconds["twin_s"], prepared.cache.told()

    def measure(self, plan: Plan, reference: Path | None, twin: Path | None, keep: Path | None) -> Outcome:
        """Everything measured for one case; a runtime that refuses the case makes a skipped outcome."""
        backend = backend_named(plan.case.backend)
        stages = self.stages(backend)
        prepared: Prepared | None = None
        try:
            prepared = self.prepare(plan, stages)
            if reason := backend.why_not_run():
                return only_built(self, backend, prepared, stages, reason)
            return measure(self, plan, backend, prepared, stages, Folders(reference, twin, keep))
        except Unsupported as refusal:
            digests = digests_of(prepared) if prepared else Digests()
            return Outcome(skipped=str(refusal).strip(), stages=stages.seconds, digests=digests)

    def _announce_reference(self, stage: str) -> None:
        self._announce(stage if stage == "wait" else f"reference {stage}")


def _operators(plan: Plan, backend: str) -> dict[str, Any]:
    """The libraries of operators that a backend needs which computes for another one."""
    return {"custom_ops": list(plan.custom_ops)} if plan.custom_ops and backend == TWIN_BACKEND else {}
