"""A worker's part where a model of PyTorch or TensorFlow is exported, and the export compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.artefacts import ONNX_NAME
from harness.backends import exporter_named
from harness.cache import Cache
from harness.codec import encode
from harness.errors import InputError
from harness.judge.export import of_export
from harness.metrics.compare import compare
from harness.records import Measurement, ModelFile, Plan
from harness.runner import tensors, twin_files, twins
from harness.runner.prepared import samples
from harness.runner.repeats import infer_all
from harness.runner.shared import in_fp32
from harness.runner.stages import Stages
from harness.runner.workshop import Workshop
from harness.sources import FRAMEWORKS
from harness.sources.exported import KIND, key


class Exports(Workshop):
    """Exports models and runs them in their framework; the worker must have it."""

    def export(self, plan: Plan) -> tuple[str, tuple[str, ...]]:
        """Keep the export of the plan's model where all workers find it, made once for the same code and weights.

        Gives its digest, by which a run finds its own whatever others export from the same source, and warnings.
        """
        framework = exporter_named(FRAMEWORKS[plan.source.kind])
        cache = Cache(self._cache, plan.kept_since, self._warnings)
        with Stages(self._announce, None)("export"):
            model = framework.load(plan.source)
            wanted = {
                "module": model.digest,
                "export": encode(plan.source.export),
                "versions": framework.packages(),
                "recipe": framework.recipe,
            }
            with cache.workplace() as place:
                made = cache.find(KIND, wanted)
                if made is None:
                    framework.write(model, plan.source, place)
                    made = _kept(cache, wanted, place / ONNX_NAME, {})
                for source in (plan.source, replace(plan.source, made=made.digest)):
                    _kept(cache, key(source), made.path, {"weights": model.weights})
        return made.digest, cache.told()

    def framework(self, plan: Plan, folder: Path) -> None:
        """Write to a folder what the framework computes in fp32 on the CPU, of the case's inputs and some more."""
        stages = Stages(self._announce, None)
        prepared = self.prepare(replace(in_fp32(plan), variant=ModelFile("", "")), stages)
        with stages("load"):
            session = exporter_named(FRAMEWORKS[plan.source.kind]).open(prepared.spec)
        with closing(session), stages("infer"):
            outputs = infer_all(session, samples(plan, prepared))
        tensors.save(folder, outputs, inputs=prepared.feeds.digest)


def _kept(cache: Cache, wanted: dict[str, Any], made: Path, about: dict[str, Any]) -> Any:
    try:
        return cache.keep(KIND, wanted, made, about, replace=True)
    except OSError as error:
        raise InputError(
            f"{cache.folder}: the export cannot be kept: {error.strerror}; make room, or choose another folder with "
            "--artefacts"
        ) from error


def compared(plan: Plan, framework: Path, reference: Path, twin: Path) -> tuple[Measurement, ...]:
    """The framework's outputs against those of ONNX Runtime on the export, and against the export's precision twin.

    `plan` is the case in fp32.
    """
    ours, of_ours = tensors.load(framework)
    theirs, of_theirs = tensors.load(reference)
    if of_ours["inputs"] != of_theirs["inputs"]:
        name = FRAMEWORKS[plan.source.kind]
        raise InputError(f"{name} had other inputs than ONNX Runtime: another NumPy made other random numbers there")
    made, _ = twin_files.kept(twin)
    measured: Sequence[Measurement] = compare(plan, theirs, ours[: len(theirs)], twin_files.noise_rms(twin))
    return of_export(plan, (*measured, *twins.measure(made, ours[: len(made.outputs) or None])))
