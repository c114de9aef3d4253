"""A case on mirrored images: what its session makes of them, and what reference and precision twin do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.backends.base import Session, Tensor
from harness.errors import InputError, did_you_mean
from harness.judge.flip import CHANGED, FLIP, ROWS
from harness.metrics import PLACED_TASKS
from harness.metrics.base import Values
from harness.metrics.ranking import argmax_agreement_raw, has_classes
from harness.records import FlipPlan, Measurement, Plan
from harness.runner import tensors, twin_files, twins
from harness.runner.candidate import Answers, Folders, Stage
from harness.runner.expected import task_scores
from harness.runner.prepared import Batches, Prepared
from harness.runner.repeats import infer_all
from harness.sources.inspect import ModelInfo

FOLDER = "flip"
"""Where a reference and a precision twin keep what they give for mirrored images."""


def check_flip(plan: FlipPlan | None, info: ModelInfo) -> None:
    """Raises InputError where an input that is to be mirrored is none of the model's, or has no such axis."""
    inputs = {tensor.name: tensor for tensor in info.inputs}
    for name, axis in plan.axes.items() if plan else ():
        if name not in inputs:
            raise InputError(
                f"invariance.flip: the model has no input '{name}'{did_you_mean(name, inputs)}; "
                f"its inputs are {', '.join(inputs)}"
            )
        dims = inputs[name].dims
        if dims is not None:
            _check_axis(name, len(dims), axis)


def _check_axis(name: str, rank: int, axis: int) -> None:
    if axis >= rank:
        raise InputError(f"invariance.flip: '{name}' has {rank} axes, counted from 0: there is no axis {axis}")


def mirrored(plan: FlipPlan, batches: Batches) -> list[dict[str, Tensor]]:
    """The batches with every image left to right, in memory of their own."""
    return [{name: _mirrored(name, value, plan.axes.get(name)) for name, value in batch.items()} for batch in batches]


def _mirrored(name: str, value: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        return value
    _check_axis(name, value.ndim, axis)  # of some inputs the model does not tell the axes
    return np.ascontiguousarray(np.flip(value, axis))


def flipped(
    plan: Plan, session: Session, prepared: Prepared, stages: Stage, folders: Folders, first: Answers
) -> tuple[Measurement, ...]:
    """What is measured on mirrored images; none where the suite does not ask for it."""
    if plan.flip is None:
        return ()
    with stages("infer"):
        outputs = infer_all(session, mirrored(plan.flip, prepared.feeds.batches), first.outputs[-1:])
    with stages("compare"):
        rows = sum(len(batch[name]) for batch in prepared.feeds.batches for name in list(plan.flip.axes)[:1])
        found = [Measurement(None, ROWS, float(rows))]
        found += _against_twin(folders.twin, outputs)
        found += _task(plan, prepared, folders.reference, outputs)
        found += _changed(first.outputs, outputs)
    return tuple(replace(one, metric=FLIP + one.metric) for one in found)


def _against_twin(folder: Path | None, outputs: Batches) -> tuple[Measurement, ...]:
    """Distances from the precision twin on the same images; without one, its own check says why."""
    if folder is None or twin_files.kept(folder)[0].refused is not None:
        return ()
    made, _ = twin_files.kept(folder / FOLDER)
    return twins.measure(made, outputs[: len(made.outputs) or None])


def _task(plan: Plan, prepared: Prepared, folder: Path | None, outputs: Batches) -> tuple[Measurement, ...]:
    """The task metric on the same labels, and that of a reference that could be run again."""
    if plan.task is None or plan.task.metric in PLACED_TASKS:
        return ()
    again = plan.reference.kind == "backend" and folder is not None
    expected: Batches = tensors.load(folder / FOLDER)[0] if again and folder else outputs
    scores = task_scores(plan.task, expected, outputs, prepared.feeds.labels, prepared.feeds.lengths)
    return scores[: 2 if again else 1]


def _changed(plain: Batches, outputs: Batches) -> Iterator[Measurement]:
    """Of outputs that score classes, the share of rows that are another one for the mirrored image."""
    for name, value in plain[0].items():
        pairs = [(one[name], other[name]) for one, other in zip(plain, outputs, strict=True) if name in other]
        alike = len(pairs) == len(plain) and all(one.shape == other.shape for one, other in pairs)
        if alike and has_classes(value):
            same = np.concatenate([argmax_agreement_raw(_rows(one), _rows(other)) for one, other in pairs])
            yield Measurement(name, CHANGED, float(np.mean(~same)))  # 1 - 49/50 is more than 0.02


def _rows(value: Tensor) -> Values:
    return value.reshape(-1, value.shape[-1]).astype(np.float64)
