"""What one session answers to a case, and how far that is from what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from harness.backends.base import Session
from harness.metrics.compare import compare
from harness.records import Measurement, Plan
from harness.runner import tensors, twin_files, twins
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


def answers(
    plan: Plan,
    session: Session,
    prepared: Prepared,
    stages: Stage,
    folders: Folders,
    measures: Callable[[], Mapping[str, float | None]] = dict,
) -> Answers:
    """Infer every batch and compare the outputs with the reference, the precision twin and the labels.

    `measures` is asked once the first inference is done.
    """
    batches = prepared.feeds.batches
    with stages("infer"):
        start = perf_counter()
        outputs = [session.infer(batches[0])]
        first = {"first_infer_ms": (perf_counter() - start) * 1e3, **measures()}
        outputs += infer_all(session, batches[1:], outputs)
    fidelity = _fidelity(plan, session, prepared, outputs, stages, folders.twin)
    with stages("compare"):
        expected = expected_outputs(plan, prepared, folders.reference)
        measured = compare(plan, expected, outputs, twin_files.noise_rms(folders.twin))
        measured += task_scores(plan.task, expected, outputs)
        ties = twin_files.kept(folders.twin)[0].ties if folders.twin else {}
        measured += tuple(against_reference(ties, expected, outputs))
    return Answers(outputs, first, measured + fidelity)


def _fidelity(
    plan: Plan, session: Session, prepared: Prepared, candidate: Batches, stages: Stage, folder: Path | None
) -> tuple[Measurement, ...]:
    """The distances from the precision twin, on the case's own batches and, where inputs are random, on more."""
    if folder is None:
        return ()
    twin, about = twin_files.kept(folder)
    if twin.refused is None:
        same_inputs(about, prepared, "precision twin")
    more = samples(plan, prepared)[len(candidate) : len(twin.outputs)]
    with stages("infer"):
        further = infer_all(session, more, candidate[:1])
    with stages("compare"):
        return twins.measure(twin, [*candidate, *further][: len(twin.outputs) or None])


def repeats(
    plan: Plan, session: Session, prepared: Prepared, stages: Stage, folders: Folders, candidate: Batches
) -> tuple[Measurement, ...]:
    """How far second runs of the first batch are from the first ones, of the reference and of the candidate."""
    with stages("infer"):
        again = infer_all(session, prepared.feeds.batches[:1], candidate[-1:])[0]
    with stages("compare"):
        expected = expected_outputs(plan, prepared, folders.reference)
        return reference_repeats(plan, folders.reference, expected) + repeatable(plan, candidate[0], again)


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


def keep(plan: Plan, prepared: Prepared, folders: Folders, builds: list[Answers]) -> None:
    """Write the outputs of every build and of the reference to the case's folder, if they are to be kept."""
    if folders.keep is None:
        return
    for number, build in enumerate(builds, 1):
        tensors.save(folders.keep / ("candidate" if number == 1 else f"candidate-{number}"), build.outputs)
    tensors.save(folders.keep / "reference", expected_outputs(plan, prepared, folders.reference))
    keep_again(folders.keep, plan, folders.reference)
