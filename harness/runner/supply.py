"""What cases share, made once for all of them: exports, variants, reference outputs and precision twins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TypeVar

from harness.backends import TWIN_BACKEND
from harness.codec import encode
from harness.judge import first_line
from harness.records import Failure, Measurement, ModelFile, Plan, Reference
from harness.runner import REFUSED
from harness.runner.client import WorkerFailed
from harness.runner.shared import Shared, export_key, in_fp32, reference_key, twin_key
from harness.runner.start import OWN
from harness.runner.workers import Workers
from harness.sources import FRAMEWORKS

LOST = frozenset({"crash", "device", "harness"})
"""What becomes of a worker by no fault of what it was asked for, as far as one can tell the first time."""
T = TypeVar("T")


class Refused(Exception):
    """The model has no variant at the precision of a case, in the converter's words."""


class Supply:
    """Asks workers for what is not made yet; what failed fails every case that needs it, with WorkerFailed."""

    def __init__(self, workers: Workers, shared: Shared) -> None:
        self._workers, self._shared = workers, shared
        self._twin_s: float | None = None
        self._warnings: list[str] = []

    def begin(self) -> None:
        """Another case: what is made from now on is for that."""
        self._twin_s = None

    def spent(self) -> dict[str, float]:
        """What the twin of the case at hand took, where it is the first of those that share it."""
        return {} if self._twin_s is None else {"twin_s": self._twin_s}

    def told(self) -> tuple[str, ...]:
        """What the cache said while things were made, since this was last asked."""
        found = tuple(self._warnings)
        self._warnings.clear()
        return found

    def why_not_exported(self, plan: Plan) -> str | None:
        """Why a framework's model cannot become a file here; None where it can, and for models that are files."""
        framework = FRAMEWORKS.get(plan.source.kind)
        return None if framework is None else self._workers.why_not(plan.exporter, framework)

    def exported(self, plan: Plan) -> Plan:
        """The plan with a framework's model exported, once for all of its cases."""
        if plan.source.export is None:
            return plan
        made = _raised(self._shared.exports.get(export_key(plan), lambda: self._make_export(plan)))
        return replace(plan, source=replace(plan.source, made=made))

    def _make_export(self, plan: Plan) -> str | Failure:
        try:
            made, warnings = self._workers.of(plan.exporter).ask(
                tuple[str, tuple[str, ...]], "export", plan=encode(plan)
            )
        except WorkerFailed as lost:
            return lost.failure
        self._warnings += warnings
        return made

    def export_checks(self, plan: Plan) -> tuple[Measurement, ...]:
        """How far the export of a framework's model is from the model, on the case's inputs."""
        if plan.source.export is None:
            return ()
        plain = in_fp32(plan)
        return _raised(self._shared.export_checks.get(reference_key(plain), lambda: self._check_export(plain)))

    def _check_export(self, plain: Plan) -> tuple[Measurement, ...] | Failure:
        folder = self._shared.folder / "exports" / reference_key(plain)
        try:
            places = {"reference": str(self.reference(plain)), "twin": str(self.twin(plain))}
            self._workers.of(plain.exporter).request("framework", plan=encode(plain), folder=str(folder))
            return self._workers.of(OWN, TWIN_BACKEND).ask(
                tuple[Measurement, ...], "exported", plan=encode(plain), framework=str(folder), **places
            )
        except WorkerFailed as lost:
            return lost.failure

    def variant(self, plan: Plan) -> ModelFile:
        """The file that every environment builds: made once, by the harness's own interpreter.

        Raises Refused where the converter refuses the model.
        """
        found = self._shared.variants.get(twin_key(plan), lambda: self._make_variant(plan))
        if not isinstance(found, Failure):
            return found
        raise Refused(found.message) if found.kind == "unsupported" else WorkerFailed(found)

    def _make_variant(self, plan: Plan) -> ModelFile | Failure:
        try:
            return self._workers.of(OWN).ask(ModelFile, "variant", plan=encode(plan))
        except WorkerFailed as lost:
            return lost.failure

    def reference(self, plan: Plan) -> Path:
        """Where the reference outputs are, computed once."""
        return _raised(self._shared.references.get(reference_key(plan), lambda: self._make_reference(plan)))

    def _make_reference(self, plan: Plan) -> Path | Failure:
        folder = self._shared.folder / "references" / reference_key(plan)
        try:
            self._warnings += self._workers.of_reference(plan).ask(
                tuple[str, ...], "reference", plan=encode(plan), folder=str(folder)
            )
        except WorkerFailed as lost:
            return _told(plan.reference, lost.failure)
        return folder

    def twin(self, plan: Plan) -> Path:
        """Where the precision twin's outputs are, computed once; or why there are none."""
        return self._shared.twins.get(twin_key(plan), lambda: self._make_twin(plan))

    def _make_twin(self, plan: Plan) -> Path:
        folder = self._shared.folder / "twins" / twin_key(plan)
        start = monotonic()
        try:
            self._twin_s, warnings = self._ask_twin(plan, folder)
            self._warnings += warnings
        except WorkerFailed as lost:
            if lost.failure.kind in LOST:  # not a word on the model: that would leave a case unchecked that passes
                failure = replace(lost.failure, message=f"the precision twin: {lost.failure.message}")
                raise WorkerFailed(failure) from lost
            self._twin_s = monotonic() - start
            folder.mkdir(parents=True, exist_ok=True)
            (folder / REFUSED).write_text(f"{lost.failure.kind}: {first_line(lost.failure.message)}", "utf-8")
        return folder

    def _ask_twin(self, plan: Plan, folder: Path) -> tuple[float, tuple[str, ...]]:
        """The seconds it took, and warnings; a worker that is lost over it is replaced once."""

        def ask() -> tuple[float, tuple[str, ...]]:
            worker = self._workers.of(OWN, TWIN_BACKEND)
            return worker.ask(tuple[float, tuple[str, ...]], "twin", plan=encode(plan), folder=str(folder))

        try:
            return ask()
        except WorkerFailed as lost:
            if lost.failure.kind not in LOST:
                raise
        return ask()


def _raised(found: T | Failure) -> T:
    """What was made, or the failure as an error."""
    if isinstance(found, Failure):
        raise WorkerFailed(found)
    return found


def _told(reference: Reference, failure: Failure) -> Failure:
    """The failure of a reference, as its cases tell it."""
    if failure.kind == "input":  # the suite or the model is wrong, whichever backend finds out first
        return replace(failure, stage=failure.stage.removeprefix("reference "))
    words = f"the reference ({reference.backend}, {reference.precision}): {failure.message}"
    return replace(failure, message=words)
