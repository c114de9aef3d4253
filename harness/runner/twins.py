"""Evaluates the precision twin of a case and its noisy relatives, and measures candidates by them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from harness.backends.base import Artefact, Backend, BuildSpec, Session, Tensor
from harness.errors import Unsupported
from harness.metrics.defaults import is_exact
from harness.metrics.fidelity import Members, Noise, added, distances, noise
from harness.metrics.slices import WHOLE, Differences, differences
from harness.records import FidelityPlan, Measurement
from harness.runner.invariance import Move, Yardstick, independent
from harness.runner.paced import TICK_S, afforded, gathered, timed
from harness.runner.ties import Ties, beyond, choosers, reach
from harness.sources.inspect import load_graph
from harness.variants.facts import coarse, element_counts
from harness.variants.graph import load_model, save
from harness.variants.taps import FLOATS, types
from harness.variants.twin import twin

PLAIN = {"graph_optimization": "disable", "spinning": False}
"""The twin runs node by node: nothing is fused, no Cast is dropped. Threads that spin cost small models most of it."""
OPSET = {"bf16": 13}
"""The first opset whose Cast knows the type; for others the first whose Clip takes bounds as inputs."""
ROUNDOFF = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""Unit roundoff of what a runtime may leave unrounded in the last output; 2^-24 for the others."""
FINE = ("fp32", "as-is")
"""Precisions at which a file may be computed in float32 alone."""

INPUTS_ONLY = "rounding is measured on the inputs alone: ONNX Runtime draws no random numbers for this opset"

Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Twin:
    """The twin's outputs batch by batch, and what the noisy evaluations say about them."""

    outputs: Batches = ()
    noise: Mapping[str, Noise] = field(default_factory=dict)
    """Of every float output."""
    steady: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    """Of every other output: where all noisy evaluations gave the same."""
    notes: tuple[str, ...] = ()
    independent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By move of the first batch's rows, the outputs whose rows depend on no other row."""
    refused: str | None = None
    """Why there is no twin."""
    ties: Mapping[str, Ties] = field(default_factory=dict)
    """Of outputs that choose indices, the scores that they choose by."""
    cut: Batches = ()
    """At tf32 the outputs where operands are cut instead of rounded: kernels do the one or the other."""


def evaluate(
    backend: Backend,
    spec: BuildSpec,
    feeds: Batches,
    plan: FidelityPlan,
    moves: Sequence[Move] = (),
    scratch: Path | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Twin:
    """The twin of the variant in `spec` on as many of the feeds as the plan's time allows, the first at least.

    `moves` of the first batch tell of which outputs the rows are independent. Files go to `scratch` for as long as
    this takes.
    Raises CaseError or what onnx raises when there is no twin or it cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="trt-harness-twin-", dir=scratch) as place, ExitStack() as sessions:
        feeds = [_widened(batch) for batch in feeds]
        graph = load_graph(spec.model)
        tapped, finals = choosers(graph), {value.name for value in graph.graph.output}
        scores = {score for score, _ in tapped.values()}
        counts = _counts(graph, feeds[0])
        plain = sessions.enter_context(closing(_open(backend, spec, Path(place), 0.0, scores, counts)))
        try:
            opened = _open(backend, spec, Path(place), 1.0, scores, counts)
            noisy: Session | _Shaken = sessions.enter_context(closing(opened))
        except Unsupported:  # ONNX Runtime draws no random numbers for this opset
            if not any(value.dtype == np.float32 for value in feeds[0].values()):
                raise
            noisy = _Shaken(plain, max(_roundoff(spec, name) for name in spec.dtypes))
        moved, first = (timed(session, feeds[0], clock) for session in (noisy, plain))
        each = 1 + plan.members * moved[1] / max(first[1], TICK_S)
        outputs, left_s = afforded(plain, feeds, first, plan.budget_s, each, clock)
        count, cost_s = len(outputs), first[1] * each
        spread = _Spread(outputs)  # scores that indices were chosen by among them
        members = gathered(spread.add, noisy, feeds[:count], plan.members, left_s, clock)
        roundoffs = {name: _roundoff(spec, name) for name in outputs[0]}
        touched = coarse(load_model(spec.model)[0]) if spec.precision in FINE else {*outputs[0]}
        noises = spread.noise(roundoffs, touched)
        ties = _ties(tapped, noises, outputs, spec.precision, plan.slack)
        outputs = [{name: value for name, value in batch.items() if name in finals} for batch in outputs]
        by = Yardstick({name: one for name, one in noises.items() if name in finals}, spread.steady)
        cut = _cut(backend, spec, Path(place), feeds[:count]) if spec.precision == "tf32" else ()
        rows = {move.name: independent(move, outputs[0], plain.infer, by, spec.precision) for move in moves}
    shaken = [INPUTS_ONLY] if isinstance(noisy, _Shaken) else []
    mixed = [why for _, why in rows.values() if why]
    notes = (*_cut_short(plan, count, len(feeds), members, cost_s), *shaken, *spread.notes(), *mixed)
    return Twin(outputs, by.noise, by.steady, notes, {name: held for name, (held, _) in rows.items()}, None, ties, cut)


def _cut_short(plan: FidelityPlan, count: int, batches: int, members: int, cost_s: float) -> Iterator[str]:
    """What the plan's time did not allow: `count` of the batches, `members` evaluations, `cost_s` for one batch."""
    if count < batches:
        yield f"fidelity is judged on {count} of {batches} batches: more would take over {plan.budget_s:g} s"
    if cost_s > plan.budget_s:
        yield f"one batch takes about {cost_s:.3g} s, more than budget_s: {plan.budget_s:g}"
    if members < plan.members:
        told = f"rounding is measured by {members} of {plan.members} evaluations"
        yield f"{told}: more would take over {plan.budget_s:g} s"


def _cut(backend: Backend, spec: BuildSpec, folder: Path, feeds: Batches) -> Batches:
    """The outputs of tensor cores that ignore the bits which TF32 lacks (PTX ISA, mma with .tf32 operands)."""
    with closing(_open(backend, spec, folder, 0.0, set(), {}, cut=True)) as session:
        return [session.infer(batch) for batch in feeds]


def _roundoff(spec: BuildSpec, output: str) -> float:
    """What one rounding does to an output, in the precision that was asked or in its own type if that is coarser."""
    types = {"float16": ROUNDOFF["fp16"], "bfloat16": ROUNDOFF["bf16"]}
    return max(ROUNDOFF.get(spec.precision, 2.0**-24), types.get(spec.dtypes.get(output, ""), 0.0))


def _widened(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch as a twin takes it: its half types are float32."""
    half = ("float16", "bfloat16")
    return {n: value.astype(np.float32) if value.dtype.name in half else value for n, value in batch.items()}


class _Shaken:
    """A session whose float inputs are moved by up to one roundoff: the noise of a twin that can have no other."""

    def __init__(self, session: Session, roundoff: float) -> None:
        self._session, self._roundoff = session, roundoff
        self._random = np.random.default_rng(0)

    def infer(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for moved inputs."""
        return self._session.infer({name: self._moved(value) for name, value in feeds.items()})

    def _moved(self, value: Tensor) -> Tensor:
        if value.dtype != np.float32:
            return value
        moved = value.astype(np.float64) * (1 + self._random.uniform(-self._roundoff, self._roundoff, value.shape))
        return moved.astype(np.float32)


def _ties(
    tapped: Mapping[str, tuple[str, int]],
    noises: Mapping[str, Noise],
    outputs: Batches,
    precision: str,
    slack: float,
) -> dict[str, Ties]:
    """The ties of every output whose scores the twin gives."""
    return {
        name: Ties(axis, reach(noises[score], precision, slack), [batch[score] for batch in outputs])
        for name, (score, axis) in tapped.items()
        if score in noises
    }


def _counts(graph: Any, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """The elements of every tensor for a batch, as far as onnx can tell; `graph` is a model without its weights."""
    sized = onnx.ModelProto()
    sized.CopyFrom(graph)
    for value in sized.graph.input:
        if value.name in batch:
            value.CopyFrom(
                helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, batch[value.name].shape)
            )
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    del sized.graph.value_info[:]
    try:
        return element_counts(onnx.shape_inference.infer_shapes(sized))
    except Exception:  # what onnx cannot infer is told by the file alone
        return {}


def _open(
    backend: Backend,
    spec: BuildSpec,
    folder: Path,
    level: float,
    scores: set[str],
    counts: Mapping[str, float],
    *,
    cut: bool = False,
) -> Session:
    """The twin, or with a `level` its noisy relative, which give the float tensors among the `scores` too."""
    model, _ = load_model(spec.model, at_least=OPSET.get(spec.precision, 11))
    name = "noisy" if level else "cut" if cut else "plain"
    kinds, finals = types(model), {value.name for value in model.graph.output}
    more = sorted(score for score in scores - finals if kinds.get(score) in FLOATS - {TensorProto.DOUBLE})
    made = twin(model, spec.precision, noise=level, cut=cut, counts=counts)
    made.graph.output.extend(helper.make_tensor_value_info(score, TensorProto.FLOAT, None) for score in more)
    save(made, folder, name)
    operators = {key: value for key, value in spec.options.items() if key == "custom_ops"}
    own = replace(spec, model=folder / f"{name}.onnx", precision="fp32", options={**PLAIN, **operators}, attest=False)
    return backend.open(Artefact(own.model), own)


class _Spread:
    """Gathers noisy evaluations one by one, so that only one of them is in memory."""

    def __init__(self, outputs: Batches) -> None:
        self._outputs = outputs
        names = [name for name in outputs[0] if all(batch[name].size for batch in outputs)]
        self._members: dict[str, Members | None] = {n: None for n in names if not is_exact(_kind(outputs, n))}
        self.steady = {n: [np.ones(b[n].shape, bool) for b in outputs] for n in names if n not in self._members}
        self._unlike: set[str] = set()

    def add(self, moved: Batches) -> None:
        """Take one noisy evaluation of all batches."""
        for name in (*self._members, *self.steady):
            if any(batch[name].shape != other[name].shape for batch, other in zip(self._outputs, moved, strict=True)):
                self._unlike.add(name)
        for name, members in self._members.items():
            if name not in self._unlike:
                found = differences([batch[name] for batch in self._outputs], [batch[name] for batch in moved])
                self._members[name] = added(members, found)
        for name, masks in self.steady.items():
            if name not in self._unlike:
                pairs = zip(masks, self._outputs, moved, strict=True)
                self.steady[name] = [mask & (batch[name] == other[name]) for mask, batch, other in pairs]

    def noise(self, roundoffs: Mapping[str, float], coarse: set[str]) -> dict[str, Noise]:
        """The noise of every float output whose shape does not depend on rounding."""
        return {
            name: noise(members, self._of_itself(name), roundoffs[name], fine=name not in coarse)
            for name, members in self._members.items()
            if members and name not in self._unlike
        }

    def _of_itself(self, name: str) -> Differences:
        values = [batch[name] for batch in self._outputs]
        return differences([np.broadcast_to(value.dtype.type(0), value.shape) for value in values], values)

    def notes(self) -> list[str]:
        """What could not be measured."""
        return [f"fidelity is not judged on '{name}': its shape depends on rounding" for name in sorted(self._unlike)]


def _kind(outputs: Batches, name: str) -> str:
    return str(outputs[0][name].dtype.name)


def measure(made: Twin, candidate: Batches) -> tuple[Measurement, ...]:
    """The distances of a candidate from its twin, output by output; one measurement says why if there is no twin."""
    if made.refused is not None:
        return (Measurement(None, "twin", None, detail=made.refused),)
    about = {"batches": float(len(made.outputs))}
    measured = [Measurement(None, "twin", 1.0, about, "; ".join(made.notes))]
    for name in (*made.noise, *made.steady):
        if all(name in batch for batch in candidate):
            measured += _output(made, name, [batch[name] for batch in made.outputs], [b[name] for b in candidate])
    return tuple(measured)


def _differ(ties: Ties | None, number: int, expected: Tensor, found: Tensor) -> NDArray[np.bool_]:
    """Where two tensors differ otherwise than by choosing between scores that rounding may reverse."""
    return np.asarray(expected != found) if ties is None else beyond(ties, number, expected, found)[0]


def _output(made: Twin, name: str, expected: list[Tensor], found: list[Tensor]) -> list[Measurement]:
    unlike = sum(e.shape != f.shape for e, f in zip(expected, found, strict=False)) + abs(len(expected) - len(found))
    shape = Measurement(
        name, "twin_shapes", float(unlike), detail=f"{unlike} batches have another shape" * bool(unlike)
    )
    if unlike:
        return [shape]
    if name in made.steady:
        flips = sum(
            int(np.count_nonzero(np.asarray(mask, bool) & _differ(made.ties.get(name), number, e, f)))
            for number, (mask, e, f) in enumerate(zip(made.steady[name], expected, found, strict=True))
        )
        return [shape, Measurement(name, "twin_flips", float(flips))]
    yardstick, difference = made.noise[name], differences(expected, found)
    times = distances(difference, yardstick)
    if made.cut:
        otherwise = differences([batch[name] for batch in made.cut], found)
        other = distances(otherwise, yardstick)
        if other["spread"].times < times["spread"].times:
            difference, times = otherwise, other
    settings = {
        "members": float(yardstick.members),
        "noise_rms": yardstick.rms(),
        "fine": float(yardstick.fine),
    }
    masked = f"{difference.masked} elements are not finite in the twin" if difference.masked else ""
    measured = [shape, Measurement(name, "twin_nonfinite", float(difference.nonfinite), detail=masked)]
    compared = difference.axes[WHOLE].count[0] > 0 or not difference.masked
    for kind, far in times.items():
        where = f"axis {far.axis} index {far.index}" if far.axis >= 0 else ""
        measured.append(Measurement(name, f"twin_{kind}", far.times if compared else None, settings, where))
    return measured
