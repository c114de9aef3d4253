"""Runs a batch a second time: which outputs differ, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np

from harness.backends.base import Evaluator, Feeds, Session, Tensor
from harness.errors import CaseError
from harness.judge.stability import AGAIN, ELEMENTS, REPEAT
from harness.metrics.compare import compare
from harness.records import Measurement, Plan
from harness.runner import tensors
from harness.runner.prepared import Batches
from harness.sources.inspect import load_graph
from harness.variants.graph import nodes

RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
)
FOLDER = "again"
"""Where a reference keeps the outputs that differed in its second run."""

Outputs = Mapping[str, Tensor]
_NONE = np.empty(0)


def infer_all(session: Evaluator, batches: Batches, before: Batches = ()) -> list[dict[str, Tensor]]:
    """The outputs of each batch; CaseError when a session answers in memory that holds an earlier batch's outputs.

    Such outputs change after they were given, and whatever is compared with them may be compared with itself.
    """
    outputs = list(before[-1:])
    for batch in batches:
        found = session.infer(batch)
        shared = [
            name
            for name, values in (outputs or [{}])[-1].items()
            if np.may_share_memory(values, found.get(name, _NONE))
        ]
        if shared:
            raise CaseError(f"'{shared[0]}': the backend gave two batches in the same memory: it must copy its outputs")
        outputs.append(found)
    return [dict(one) for one in outputs[len(before[-1:]) :]]


def unlike(first: Outputs, again: Outputs) -> dict[str, Tensor]:
    """The outputs of `again` that are not those of `first`, bit for bit."""
    return {name: again[name] for name in first if name in again and not _same(first[name], again[name])}


def keep_unstable(
    folder: Path, model: Path, first: Outputs, session: Session, fresh: Callable[[], Session], batch: Feeds
) -> bool:
    """Run the first batch again and write to the reference's folder what differs, and which operators may be why.

    Tells whether nothing differs.
    """
    found = unlike(first, infer_all(session, [batch], [first])[0])
    unseeded, seeded = random_nodes(model) if found else ([], [])
    if found and seeded and not unseeded:
        found = _from_the_start(first, found, fresh, batch)
    why = f"without a seed: {', '.join(unseeded)}" if unseeded else ""
    tensors.save(folder / FOLDER, [found], why=why)
    return not found


def _from_the_start(
    first: Outputs, found: dict[str, Tensor], fresh: Callable[[], Session], batch: Feeds
) -> dict[str, Tensor]:
    """What still differs when two new sessions each run the batch twice.

    Within one session a seeded generator goes on, so its second run differs; in every session it starts over.
    """
    runs = []
    for _ in range(2):
        with closing(fresh()) as session:
            runs.append([session.infer(batch), session.infer(batch)])
    (one, two), (other, another) = runs
    begun = {**unlike(first, one), **unlike(first, other)}
    return {
        name: begun.get(name, found[name]) for name in found if name in begun or not _same(two[name], another[name])
    }


def random_nodes(model: Path) -> tuple[list[str], list[str]]:
    """The operators of a file that draw random numbers: those without a seed, and those with one."""
    drawing = [node for node in nodes(load_graph(model)) if node.op_type in RANDOM or _is_training(node)]
    seeded = [any(attribute.name == "seed" for attribute in node.attribute) for node in drawing]
    told = [f"{node.op_type} '{node.name or node.output[0]}'" for node in drawing]
    sides = [[words for words, has in zip(told, seeded, strict=True) if has is wanted] for wanted in (False, True)]
    return sides[0], sides[1]


def reference_repeats(plan: Plan, folder: Path | None, expected: Batches) -> tuple[Measurement, ...]:
    """What the second run of a computed reference says about each of its outputs; nothing for a given one."""
    if folder is None or plan.reference.kind != "backend":
        return ()
    again, about = tensors.load(folder / FOLDER)
    found = compared_again(plan, expected, again)
    elements = sum(values.size for outputs in expected for values in outputs.values())
    repeats = [Measurement(name, REPEAT, 0.0) for name in expected[0] if name not in again[0]]
    for name in again[0]:
        mine = [replace(m, metric=m.metric.removeprefix(AGAIN)) for m in found if m.output == name]
        repeats.append(Measurement(name, REPEAT, _largest(mine), detail=about["why"]))
    return (Measurement(None, ELEMENTS, float(elements)), *repeats, *found)


def compared_again(plan: Plan, expected: Batches, again: Batches) -> tuple[Measurement, ...]:
    """What compares the first batch of a reference with what differed in its second run; metrics begin with AGAIN."""
    return tuple(
        replace(measured, metric=AGAIN + measured.metric)
        for outputs in again
        for name in outputs
        for measured in _apart(plan, name, expected[0][name], outputs[name])
    )


def keep_again(folder: Path, plan: Plan, reference: Path | None) -> None:
    """Put what differed in the second run of the reference beside the kept outputs of a case."""
    if reference is not None and plan.reference.kind == "backend":
        again = tensors.load(reference / FOLDER)[0]
        if again[0]:
            tensors.save(folder / FOLDER, again)


def repeatable(plan: Plan, first: Outputs, again: Outputs) -> tuple[Measurement, ...]:
    """The largest difference of each output between two runs of the candidate; nothing is judged by it."""
    found = unlike(first, again)
    return tuple(
        Measurement(
            name, "repeatable", _largest(_apart(plan, name, first[name], again[name])) if name in found else 0.0
        )
        for name in first
    )


def unrepeatable(measured: Sequence[Measurement]) -> tuple[str, ...]:
    """A note on the output that differs most between two runs of the candidate; none where all are the same."""
    found = [m for m in measured if m.metric == "repeatable" and m.value != 0]
    if not found:
        return ()
    most = max(found, key=lambda m: inf if m.value is None else m.value)
    far = "in shape or in what is finite" if most.value is None else f"by up to {most.value:.3g}"
    return (f"two runs of the candidate on the same inputs differ most in '{most.output}': {far}",)


def _apart(plan: Plan, name: str, first: Tensor, again: Tensor) -> list[Measurement]:
    return [m for m in compare(plan, [{name: first}], [{name: again}]) if m.output == name]


def _largest(found: Sequence[Measurement]) -> float | None:
    """The largest absolute difference, or how many elements differ where they are no numbers; None beyond that."""
    by_name = {m.metric: m.value for m in found}
    if by_name.get("shape_mismatches") or by_name.get("dtype_mismatches") or by_name.get("nonfinite"):
        return None
    return by_name.get("max_abs", by_name.get("mismatches"))


def _is_training(node: object) -> bool:
    return getattr(node, "op_type", "") == "Dropout" and len(getattr(node, "input", ())) == 3


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind in "OUST":
        return bool(np.all(one == other))
    return np.array_equal(_bits(one), _bits(other))


def _bits(values: Tensor) -> Tensor:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
