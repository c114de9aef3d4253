"""A worker's part of `harness debug`: looks at tensors inside a case, and tries variants with nodes in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import backend_named
from harness.backends.base import Tensor
from harness.codec import encode
from harness.judge.accuracy import judge_outputs, judge_task
from harness.metrics.compare import compare
from harness.records import Outcome, Plan
from harness.runner import inside, tensors, twin_files
from harness.runner.candidate import Folders
from harness.runner.expected import expected_outputs, task_scores
from harness.runner.findings import Node, Probe, Spot, Survey
from harness.runner.inside import Map, marked_fp32, node_of, plain, relative, taken, twin_of, widened
from harness.runner.measure import measure
from harness.runner.prepared import Batches, Prepared, samples
from harness.runner.stages import Stages
from harness.runner.workshop import Workshop
from harness.sources.digest import file_digest
from harness.variants import Variant
from harness.variants.float16 import LARGEST
from harness.variants.graph import load_model, save
from harness.variants.keep import HALF, keep, keepable
from harness.variants.prepare import prepare
from harness.variants.taps import LOCAL, mark, slice_model

CHUNK = 16
"""Tensors of the fp32 model that are looked at together, so that memory stays bounded."""


class Probes(Workshop):
    """Looks inside a case; every engine is built, of files that nobody asks for again."""

    finds = False

    def survey(self, plan: Plan, reference: str | None, folder: str) -> Survey:
        """What can be looked at, how far the outputs are off, and what the model gives in plain fp32."""
        stages, prepared = self._begin(plan, "survey")
        map_of = Map(plan, prepared)
        session, _ = self.open(backend_named(plan.case.backend), prepared, stages)
        feeds = samples(plan, prepared)
        with closing(session), stages("infer"):
            candidate = [session.infer(batch) for batch in feeds]
        with stages("compare"):
            expected = expected_outputs(plan, prepared, Path(reference) if reference else None)
            chosen = _worst_first(plan, expected, candidate)
            tensors.save(Path(folder) / "unmarked", [candidate[number] for number in chosen])
            plainly = plain(inside.fp32_spec(prepared), prepared.feeds.batches)
            measured = compare(plan, expected, plainly)
            measured += task_scores(plan.task, expected, plainly, prepared.feeds.labels, prepared.feeds.lengths)
            made = twin_of(prepared.spec, [feeds[number] for number in chosen], plan)
            source = plain(inside.fp32_spec(prepared), [feeds[n] for n in chosen])
            finals = inside.distances(plan, made, source, [candidate[n] for n in chosen])
            beyond = _beyond(map_of, [feeds[number] for number in chosen[:1]], Path(folder))
        return Survey(
            spots=tuple(Spot(t.tensor, node_of(t.maker), t.reads, t.final, t.tensor in beyond) for t in map_of.taps),
            keepable=_keepable(plan, prepared, map_of),
            finals=finals,
            batches=tuple(chosen),
            own_file=plan.case.precision in plan.files,
            plain=encode(Outcome(measurements=measured)),
            untwinned=made.refused,
            strange=plan.case.precision not in inside.FP32 and not map_of.has_fp32,
            above=map_of.above(),
        )

    def probe(self, plan: Plan, folder: str, number: int, marks: Sequence[str], batches: Sequence[int]) -> Probe:
        """One build with tensors marked: every distance from the twin and from fp32, on the whole and part by part."""
        place = Path(folder) / f"probe-{number}"
        place.mkdir(parents=True)
        stages, prepared = self._begin(plan, f"probe {number}")
        map_of = Map(plan, prepared)
        marked = _changed(prepared, mark(load_model(prepared.variant.path)[0], marks), place, "marked")
        everything = samples(plan, prepared)
        feeds = [everything[position] for position in batches]
        session, _ = self.open(backend_named(plan.case.backend), marked, stages)
        with closing(session), stages("infer"):
            candidate = [session.infer(batch) for batch in feeds]
        with stages("compare"):
            made = twin_of(marked.spec, feeds, plan)
            source = marked_fp32(map_of, marks, feeds, place)
            unmarked, _ = tensors.load(Path(folder) / "unmarked")
            tensors.save(place / "candidate", candidate)
            found = Probe(
                number=number,
                distances=inside.distances(plan, made, source, candidate),
                parts=inside.parts(plan, map_of, marked, marks, feeds, candidate, place, number),
                changed=inside.moved(plan, made, unmarked, candidate),
            )
        _drop_models(place)
        return found

    def trial(self, plan: Plan, reference: str | None, folder: str, number: int, kept: Sequence[str] | None) -> Outcome:
        """What is measured with some nodes in fp32: against the reference, and where that passes against the twin.

        None stands for the whole fp32 model, built as such.
        """
        place = Path(folder) / f"trial-{number}"
        place.mkdir(parents=True)
        stages, prepared = self._begin(plan, f"trial {number}")
        with stages("prepare"):
            source, precision = prepared.fetched.model, "fp32" if kept is None else plan.case.precision
            whole = kept is None
            model = load_model(source)[0] if whole else keep(precision, source, prepared.variant.path, kept or ())
            changed = _changed(prepared, model, place, "kept")
            changed = replace(changed, spec=replace(changed.spec, precision=precision, typed=True))
        outcome = self._tried(plan, changed, stages, Path(reference) if reference else None, place)
        _drop_models(place)
        return outcome

    def _tried(self, plan: Plan, changed: Prepared, stages: Stages, against: Path | None, place: Path) -> Outcome:
        backend = backend_named(plan.case.backend)
        outcome = measure(self, plan, backend, changed, stages, Folders(against, None, None))
        measured = outcome.measurements
        budget = (*judge_outputs(plan, measured), *judge_task(plan, measured))
        if not plan.fidelity.enabled or not all(check.ok for check in budget):
            return outcome
        with stages("twin"):
            made = twin_of(changed.spec, samples(plan, changed), plan)
            if made.refused is not None:
                return outcome
            twin_files.keep(place / "twin", made, inputs=changed.feeds.digest)
        return measure(self, plan, backend, changed, stages, Folders(against, place / "twin", None))

    def slice(
        self,
        plan: Plan,
        folder: str,
        number: int,
        tensor: str,
        inputs: Sequence[str],
        batches: Sequence[int],
        target: str,
        through: bool,
    ) -> dict[str, bool]:
        """Write the part that makes a tensor as a model, with what the candidate fed it and what came out.

        With `through` the part goes on to the model's outputs.
        """
        place, out = Path(folder) / f"probe-{number}", Path(target)
        out.mkdir(parents=True, exist_ok=True)
        _, prepared = self._begin(plan, "slice")
        map_of = Map(plan, prepared)
        candidate, local = (tensors.load(place / side)[0][0] for side in ("candidate", "local"))
        given = {**samples(plan, prepared)[batches[0]], **{name: widened(candidate[name]) for name in inputs}}
        finals = [tap.tensor for tap in map_of.taps if tap.final and tap.tensor in candidate and tap.tensor != tensor]
        wanted = [tensor, *finals] if through else [tensor]
        found = {name: widened(candidate[name]) for name in wanted}
        shapes = {name: list(value.shape) for name, value in {**given, **found}.items()}
        models = {"model": load_model(prepared.variant.path)[0]} | ({"fp32": map_of.load()} if map_of.has_fp32 else {})
        for name, model in models.items():
            save(slice_model(model, inputs, wanted, shapes), out, name)
        arrays = {"inputs": taken(out / "model.onnx", [given])[0], "candidate": found}
        if tensor + LOCAL in local:
            arrays["twin"] = {tensor: local[tensor + LOCAL]}
        for name, held in arrays.items():
            _keep(out / f"{name}.npz", held)
        return {"fp32": map_of.has_fp32}

    def _begin(self, plan: Plan, step: str) -> tuple[Stages, Prepared]:
        def announce(stage: str) -> None:
            self._announce(stage if stage == "wait" else f"{step} {stage}")

        stages = Stages(announce, self.gpu(backend_named(plan.case.backend)))
        return stages, self.prepare(plan, stages)


def _drop_models(folder: Path) -> None:
    """Models as large as the case's own are not kept for every build."""
    for file in (*folder.glob("*.onnx"), *folder.glob("*.data")):
        file.unlink()


def _keepable(plan: Plan, prepared: Prepared, map_of: Map) -> tuple[Node, ...]:
    """The nodes that can be kept in fp32 instead of in this precision."""
    if plan.case.precision in ("fp32", "tf32") or (plan.case.precision in HALF and plan.case.chain):
        return ()  # half precision would be converted again from the model without its chain
    path = prepared.variant.path
    if plan.case.precision in HALF and plan.case.precision in plan.files:  # tried on what the harness converts
        path = prepare(replace(plan, files={}), prepared.fetched, prepared.info, prepared.cache).path
    nodes = {tap.maker.tensor: node_of(tap.maker) for tap in map_of.taps}
    return tuple(nodes[name] for name in keepable(load_model(path)[0], list(nodes)))


def _changed(prepared: Prepared, model: Any, folder: Path, name: str) -> Prepared:
    """The case with another model file."""
    save(model, folder, name)
    path = folder / f"{name}.onnx"
    return replace(prepared, variant=Variant(path, f"{file_digest(path)}"), spec=replace(prepared.spec, model=path))


def _worst_first(plan: Plan, expected: Batches, candidate: Batches) -> list[int]:
    """The batch with the largest error, then the first ones, until there are rows enough."""

    def badness(number: int) -> tuple[float, float]:
        shared = expected[number].keys() & candidate[number].keys()
        return max((_off(expected[number][name], candidate[number][name]) for name in shared), default=(0.0, 0.0))

    worst = max(range(len(expected)), key=badness)
    chosen, rows = [worst], _rows(candidate[worst])
    for number in range(len(candidate)):
        if rows >= plan.fidelity.samples:
            break
        if number != worst:
            chosen.append(number)
            rows += _rows(candidate[number])
    return chosen


def _off(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """Non-finite elements and the relative error; of integers the share that differs."""
    if expected.dtype.kind not in "fV" and expected.shape == found.shape:
        return 0.0, float(np.mean(expected != found)) if expected.size else 0.0
    return relative([expected], [found]) or (0.0, 0.0)


def _rows(outputs: Mapping[str, Tensor]) -> int:
    return max((len(value) for value in outputs.values() if value.ndim), default=1)


def _beyond(map_of: Map, feeds: Batches, folder: Path) -> set[str]:
    """Tensors with finite values in fp32 that fp16 cannot hold."""
    names = [tap.tensor for tap in map_of.taps] if map_of.has_fp32 else []
    found = set()
    for start in range(0, len(names), CHUNK):
        for outputs in marked_fp32(map_of, names[start : start + CHUNK], feeds, folder):
            found |= {n for n in names if n in outputs and np.max(np.abs(outputs[n]), initial=0.0) > LARGEST}
    return found


def _keep(file: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(file, **arrays)
