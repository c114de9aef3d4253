"""What one session answers to a case, and how far that is from what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from harness.backends.base import Session
from harness.metrics.compare import compare
from harness.metrics.deviations import deviations
from harness.records import Deviations, Measurement, Plan
from harness.runner import tensors, twin_files, twins
from harness.runner.builds import variation
from harness.runner.expected import expected_outputs, same_inputs, task_scores
from harness.runner.invariance import Yardstick, apart, moves
from harness.runner.prepared import Batches, Prepared, samples
from harness.runner.repeats import infer_all, keep_again, reference_repeats, repeatable
from harness.runner.ties import against_reference

Stage = Callable[[str], AbstractContextManager[None]]
"""Names the stage that begins, and measures how long it takes."""


@dataclass(frozen=True)
class Folders:
    """Where the reference and the precision twin of a case are, and where its outputs are to be kept."""

    reference: Path | None
    twin: Path | None
    keep: Path | None


@dataclass(frozen=True)
class Answers:
    """The outputs of one session batch by batch, and what was measured about them."""

    outputs: Batches
    measures: Mapping[str, float | None]
    """Of the first inference: how long it took, and what was measured after it."""
    measured: tuple[Measurement, ...]
    expected: Batches
    """What the outputs were compared with."""
    deviations: tuple[Deviations, ...]


def answers(
    plan: Plan,
    session: Session,
    prepared: Prepared,
    stages: Stage,
    folders: Folders,
    measures: Callable[[], Mapping[str, float | None]] = dict,
    expected: Batches = (),
) -> Answers:
    """Infer every batch and compare the outputs with the reference, the precision twin and the labels.

    `measures` is asked once the first inference is done; `expected` is what another build was compared with.
    """
    batches = prepared.feeds.batches
    with stages("infer"):
        start = perf_counter()
        outputs = [session.infer(batches[0])]
        first = {"first_infer_ms": (perf_counter() - start) * 1e3, **measures()}
        outputs += infer_all(session, batches[1:], outputs)
    twin = _twin(prepared, folders.twin)
    further = _further(plan, session, prepared, stages, outputs, twin)
    with stages("compare"):
        expected = expected or expected_outputs(plan, prepared, folders.reference)
        measured = compare(plan, expected, outputs, twin_files.noise_rms(folders.twin))
        measured += task_scores(plan.task, expected, outputs, prepared.feeds.labels, prepared.feeds.lengths)
        measured += tuple(against_reference(twin.ties if twin else {}, expected, outputs))
        if twin is not None:
            measured += twins.measure(twin, [*outputs, *further][: len(twin.outputs) or None])
        seen = deviations(expected, outputs)
    return Answers(outputs, first, measured, expected, seen)


def _twin(prepared: Prepared, folder: Path | None) -> twins.Twin | None:
    """The precision twin in a folder, made from the same inputs."""
    if folder is None:
        return None
    twin, about = twin_files.kept(folder)
    if twin.refused is None:
        same_inputs(about, prepared, "precision twin")
    return twin


def _further(
    plan: Plan, session: Session, prepared: Prepared, stages: Stage, candidate: Batches, twin: twins.Twin | None
) -> Batches:
    """The outputs for the batches beyond the case's own that the twin was made from, where inputs are random."""
    if twin is None or len(twin.outputs) <= len(candidate):
        return ()
    more = samples(plan, prepared)[len(candidate) : len(twin.outputs)]
    with stages("infer"):
        return infer_all(session, more, candidate[:1])


def repeats(
    plan: Plan, session: Session, prepared: Prepared, stages: Stage, folders: Folders, first: Answers
) -> tuple[Measurement, ...]:
    """How far second runs of the first batch are from the first ones, of the reference and of the candidate."""
    with stages("infer"):
        again = infer_all(session, prepared.feeds.batches[:1], first.outputs[-1:])[0]
    with stages("compare"):
        return reference_repeats(plan, folders.reference, first.expected) + repeatable(plan, first.outputs[0], again)


def moved_rows(
    session: Session, prepared: Prepared, stages: Stage, folders: Folders, candidate: Batches, *, bounded: bool
) -> tuple[Measurement, ...]:
    """How far rows of the first batch are from the same rows in other places, where the twin's do not move.

    `bounded` sessions take only batches that fit into their profile.
    """
    twin = twin_files.kept(folders.twin)[0] if folders.twin else twins.Twin()
    found: list[Measurement] = []
    for move in moves(prepared.info, prepared.feeds.batches[0]):
        outputs = twin.independent.get(move.name, ())
        if outputs and (not bounded or move.fits(prepared.spec.profile)):
            with stages("infer"):
                moved = session.infer(move.feeds)
            with stages("compare"):
                by = Yardstick(twin.noise, twin.steady)
                found += [one for one in apart(move, candidate[0], moved, by) if one.output in outputs]
    return tuple(found)


def together(
    plan: Plan, stages: Stage, folders: Folders, builds: Sequence[Answers]
) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """How far several builds are from each other, in measurements and words; keeps all outputs where that is asked."""
    if len(builds) == 1 and folders.keep is None:
        return (), ()
    with stages("compare"):
        noise = twin_files.kept(folders.twin)[0].noise if folders.twin else {}
        if folders.keep is not None:
            _keep(plan, folders, folders.keep, builds)
        return variation([build.outputs for build in builds], noise)


def _keep(plan: Plan, folders: Folders, place: Path, builds: Sequence[Answers]) -> None:
    """Write the outputs of every build and of the reference to the case's folder."""
    for number, build in enumerate(builds, 1):
        tensors.save(place / ("candidate" if number == 1 else f"candidate-{number}"), build.outputs)
    tensors.save(place / "reference", builds[0].expected)
    keep_again(place, plan, folders.reference)
