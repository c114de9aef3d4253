"""`harness init`: a first suite for an ONNX file, with limits from what was measured here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import suites
from harness.backends import BACKENDS, OF_MODULES, SCRIPTED, TWIN_BACKEND
from harness.commands.first_suite import Measured, described, failure, finished, noted, unhidden
from harness.commands.places import cache_folder, check_model
from harness.commands.results import tell
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.inputs import proposals
from harness.inputs.outline import Outline
from harness.judge import first_line, judge
from harness.records import GATE_ERROR_KINDS, PRECISIONS, Failure, LatencyPlan, Plan
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.settings import Settings
from harness.suitefile import SUFFIXES
from harness.suites.first import First, text

REFERENCE = TWIN_BACKEND
"""The backend that the reference and the precision twins run on."""
LEFT_OUT = {
    "onnxruntime-tensorrt": "is ready, but does not tell what it ran: fp16 and int8 need attestation: {unknown: pass}"
}
"""Backends that a first suite names, but does not run unless they are asked for."""


@dataclass(frozen=True)
class Target:
    """Where the suite will stand."""

    path: Path
    root: Path | None

    def plans(self, first: First) -> list[Plan]:
        """The plans of a suite as if it stood there, untimed."""
        plans = suites.plans_of(text(first), self.path, self.root)
        return [replace(plan, latency=LatencyPlan(enabled=False)) for plan in plans]


@dataclass(frozen=True)
class Backends:
    """The backends to measure, those to name in the suite, and why others are not run."""

    ready: tuple[str, ...]
    named: tuple[str, ...]
    absent: Mapping[str, str] = field(default_factory=dict)


def init(asked: argparse.Namespace) -> int:
    """Write the suite and exit 0; nothing is written when the model cannot be run."""
    target = Target(_new_file(asked.model, asked.output), asked.root)
    _check("backend", asked.backends, list(BACKENDS))
    _check("precision", asked.precisions, PRECISIONS)
    with Bench(Settings(cache_folder(asked.artefacts), asked.timeout)) as bench:
        outline = _outline(bench, asked.model)
        backends = _backends(bench, asked.backends)
        source = Path(os.path.relpath(asked.model.absolute(), target.path.absolute().parent)).as_posix()
        first = described(target.path.stem, source, outline, backends.absent)
        first = replace(first, precisions=asked.precisions or _precisions(outline, backends.ready))
        first = _with_shapes(first, bench, target, outline)
        _tell_model(asked.model, outline, first)
        plans = target.plans(replace(first, backends=backends.ready))
        measured = list(_measure(bench, plans))
        machine = bench.environment().fingerprint
    first = finished(replace(first, backends=backends.named), outline, measured, machine)
    if not first.precisions:
        raise _error(failure(measured[0].outcome) or Failure("harness", "infer", "no case ran"), f"{asked.model}: ")
    _tell_end(target.path, _written(first, target, measured))
    return 0


def _new_file(model: Path, output: Path | None) -> Path:
    """Where to write; UsageError when the model is no file, or something is there already."""
    check_model(model)
    if any(letter in model.name for letter in "*?["):
        raise UsageError(f"{model}: a source with * ? or [ in its name is a pattern: rename the file")
    path = output or model.with_suffix(SUFFIXES[0])
    if path.suffix not in SUFFIXES:
        raise UsageError(f"-o {path}: a suite is a file that ends in {' or '.join(SUFFIXES)}")
    if path.exists():
        raise _there(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; make it, or choose another file with -o")
    return path


def _there(path: Path) -> UsageError:
    return UsageError(f"{path}: is there already, and is never overwritten; choose another file with -o")


def _check(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"unknown {kind} '{name}'{did_you_mean(name, known)}")


def _outline(bench: Bench, model: Path) -> Outline:
    try:
        return bench.outline(model.absolute())
    except WorkerFailed as lost:
        raise _error(lost.failure, "") from None


def _error(failed: Failure, where: str) -> HarnessError:
    """Exit 2 where the model is at fault, 3 where the machine is."""
    kind = UsageError if failed.kind in GATE_ERROR_KINDS else HarnessError
    return kind(f"{where}{failed.message}")


def _backends(bench: Bench, asked: Sequence[str]) -> Backends:
    """What can run here; HarnessError when nothing can, or not the reference."""
    if why := _why_not(bench, REFERENCE):
        raise HarnessError(f"{REFERENCE} is not here, and makes the reference: {why}")
    names = asked or [name for name in BACKENDS if name not in SCRIPTED | OF_MODULES]
    absent = {name: why for name in names if (why := _why_not(bench, name))}
    if not asked:
        absent |= {name: why for name, why in LEFT_OUT.items() if name not in absent}
    ready = tuple(name for name in names if name not in absent)
    if not ready:
        reasons = "; ".join(f"{name}: {why}" for name, why in absent.items())
        raise HarnessError(f"none of the backends is here, so nothing can be measured ({reasons})")
    return Backends(ready, tuple(asked) or ready, absent)


def _why_not(bench: Bench, name: str) -> str | None:
    try:
        return bench.why_not(name) or bench.why_not_run(name)
    except WorkerFailed as lost:
        return f"broken: {lost.failure.message}"


def _precisions(outline: Outline, ready: Sequence[str]) -> list[str]:
    if outline.only_as_is:
        return ["as-is"]
    on_cpu = all(name == REFERENCE for name in ready)
    return [name for name in ("fp32", "tf32", "fp16", "bf16", "int8") if not (on_cpu and name == "tf32")]


def _with_shapes(first: First, bench: Bench, target: Target, outline: Outline) -> First:
    """The suite with shapes that the model runs with; raises what the first try says when it runs with none."""
    precision = "as-is" if outline.only_as_is else "fp32"
    failures: list[Failure] = []
    for shapes in proposals.shapes(outline):
        tried = replace(first, shapes=shapes, backends=[REFERENCE], precisions=[precision])
        plans = [replace(plan, fidelity=replace(plan.fidelity, enabled=False)) for plan in target.plans(tried)]
        failed = failure(bench.outcome(plans[0]))
        if failed is None:
            return _with_batch(replace(first, shapes=shapes), bench, plans)
        failures.append(failed)
        if failed.kind not in (*GATE_ERROR_KINDS, "harness"):
            break
    more = f" (nor with {len(failures) - 1} other shapes)" if len(failures) > 1 else ""
    raise _error(failures[0], f"{first.source}: does not run on {REFERENCE}{more}: ")


def _with_batch(first: First, bench: Bench, plans: Sequence[Plan]) -> First:
    """Without the larger batch where the model takes only one sample, and a comment that says so."""
    failed = failure(bench.outcome(plans[1])) if len(plans) > 1 else None
    if failed is None:
        return first
    words = f"left out, it does not run: {plans[1].case.shape}: {first_line(failed.message)}"
    return noted(replace(first, shapes=first.shapes[:1]), "shapes", words)


def _measure(bench: Bench, plans: Sequence[Plan]) -> Iterator[Measured]:
    for plan in plans:
        outcome = bench.outcome(plan)
        verdict = judge(plan, outcome, known=False)
        fine = verdict.status == "new"
        tell(f"{'measured' if fine else verdict.status:12s} {plan.case.id}{'' if fine else '  ' + verdict.headline}")
        yield Measured(plan, outcome, verdict)


def _written(first: First, target: Target, measured: Sequence[Measured]) -> list[Measured]:
    """The measured cases under the limits of the suite, which is on disk then."""
    plans = {plan.case.id: plan for plan in target.plans(first)}
    try:
        with target.path.open("x", encoding="utf-8") as file:
            file.write(text(first))
    except FileExistsError:
        raise _there(target.path) from None
    suites.load([target.path], target.root)
    kept = [(plans[one.plan.case.id], one.outcome) for one in measured if one.plan.case.id in plans]
    return [Measured(plan, outcome, judge(plan, outcome, known=False)) for plan, outcome in kept]


def _tell_model(model: Path, outline: Outline, first: First) -> None:
    shown = [f"{tensor.name} {tensor.dtype}{_dims(tensor.dims)}" for tensor in outline.inputs]
    tell(f"{model}: opset {outline.opset}; {', '.join(shown) or 'no inputs'} -> {', '.join(outline.outputs)}")
    tell(f"measuring {', '.join(first.precisions)}; the defaults hold until there are limits")


def _dims(dims: Sequence[int | str | None] | None) -> str:
    return "" if dims is None else f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"


def _tell_end(path: Path, judged: Sequence[Measured]) -> None:
    passing = sum(one.verdict.status == "new" for one in judged)
    tell(f"\nwrote {path}: {passing} of {len(judged)} cases measured here pass under its limits")
    for words in unhidden(judged):
        tell(f"FAILS, and no limit hides it: {words}")
    tell(f"next: harness check {path} && harness run {path}")
