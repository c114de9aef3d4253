"""What a case's outputs are compared with: computed, stored or given in a file; and what a task says of both."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Tensor
from harness.errors import InputError, did_you_mean
from harness.inputs.files import keys, read_array
from harness.inputs.stored import stored_outputs
from harness.metrics import TASKS
from harness.metrics.base import TaskMetric
from harness.records import Measurement, Plan, Reference, Task
from harness.runner import tensors
from harness.runner.prepared import Batches, Prepared
from harness.sources.inspect import ModelInfo

MISTAKES = "task_mistakes"
"""The measurement that counts the rows a task's metric calls wrong."""


def expected_outputs(plan: Plan, prepared: Prepared, folder: Path | None) -> Batches:
    """The reference outputs, batch by batch; InputError when they do not belong to these feeds."""
    if plan.reference.kind == "stored":
        return stored_outputs(prepared.info, prepared.fetched.test_sets)
    if plan.reference.kind == "file":
        return _from_file(Path(plan.reference.file or ""), prepared)
    if folder is None:
        raise InputError("the reference was not computed")
    batches, about = tensors.load(folder)
    same_inputs(about, prepared, "reference")
    return batches


def _from_file(path: Path, prepared: Prepared) -> Batches:
    """The rows of every output in a reference file, cut as the inputs are."""
    names = [tensor.name for tensor in prepared.info.outputs]
    if path.suffix != ".npz" and len(names) > 1:
        raise InputError(f"{path}: holds one array, the model has {len(names)} outputs: give an .npz file")
    whole = {name: read_array(path, name if path.suffix == ".npz" else None, None) for name in names}
    batches = prepared.feeds.batches
    return [whole] if len(batches) == 1 else _cut(path, whole, batches)


def unused(reference: Reference, prepared: Prepared) -> list[str]:
    """A note on arrays of a reference file that no output was compared with: an output may have been lost."""
    path = Path(reference.file or "")
    if reference.kind != "file" or path.suffix != ".npz":
        return []
    more = sorted(set(keys(path)) - {tensor.name for tensor in prepared.info.outputs})
    return [f"{path.name} holds arrays that are no outputs: {', '.join(more)}"] if more else []


def _cut(path: Path, whole: Mapping[str, Tensor], batches: Batches) -> Batches:
    """The rows of whole arrays that belong to each batch; an output may have several rows for one of an input."""
    sizes = {name: [len(batch[name]) if batch[name].ndim else 1 for batch in batches] for name in batches[0]}
    cut = {name: _rows(path, name, values, list(sizes.values())) for name, values in whole.items()}
    return [{name: parts[position] for name, parts in cut.items()} for position in range(len(batches))]


def _rows(path: Path, name: str, values: Tensor, inputs: list[list[int]]) -> list[Tensor]:
    for sizes in inputs:
        if values.ndim and sum(sizes) and len(values) and len(values) % sum(sizes) == 0:
            each = len(values) // sum(sizes)
            return [values[a * each : b * each] for a, b in pairwise([0, *accumulate(sizes)])]
    raise InputError(f"{path}: '{name}' has shape {list(values.shape)}, the inputs have {sum(inputs[0])} rows")


def check_task(task: Task | None, info: ModelInfo) -> None:
    """Raises InputError where a task metric names an output that the model does not have."""
    names = [tensor.name for tensor in info.outputs]
    if task is not None and task.output not in names:
        raise InputError(
            f"accuracy.task.output: the model has no output '{task.output}'{did_you_mean(task.output, names)}; "
            f"its outputs are {', '.join(names)}"
        )


def task_scores(
    task: Task | None, expected: Batches, candidate: Batches, labels: Tensor | None, lengths: Tensor | None = None
) -> tuple[Measurement, ...]:
    """The task metric of the candidate and of the reference; none when the output is missing (that fails anyway).

    `labels` are those that come with an input, None where the task names a file; `lengths` come with it where it pads.
    """
    if task is None or any(task.output not in outputs for outputs in candidate):
        return ()
    if any(task.output not in outputs for outputs in expected):
        raise InputError(f"the task metric {task.metric} wants output '{task.output}', which the reference lacks")
    if labels is None:
        labels = read_array(Path(task.labels_file or ""), task.labels_key, task.labels_slice)
    metric: TaskMetric = TASKS.load(task.metric)
    given = {**vars(task), "lengths": lengths}
    settings = {name: given[name] for name in metric.settings}
    whole = [np.concatenate([outputs[task.output] for outputs in side]) for side in (candidate, expected)]
    value, reference = (metric.measure(output, labels, **settings) for output in whole)
    scores = (
        Measurement(task.output, task.metric, value),
        Measurement(task.output, f"{task.metric}_reference", reference),
    )
    if metric.mistakes is None:
        return scores
    count, pairs = metric.mistakes(whole[0], labels, **settings)
    return (*scores, Measurement(task.output, MISTAKES, float(count), detail=pairs))


def same_inputs(about: Mapping[str, Any], prepared: Prepared, what: str) -> None:
    """Raises InputError unless what was kept belongs to the feeds of this case."""
    if about["inputs"] != prepared.feeds.digest:
        raise InputError(f"the inputs changed after the {what} was computed: run again while nothing writes to them")
