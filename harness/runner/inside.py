"""What a build with marked tensors shows: distances from the precision twin and from fp32, whole and part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import TWIN_BACKEND, backend_named
from harness.backends.base import Artefact, BuildSpec, Tensor
from harness.judge.fidelity import LIMITS, limit_of
from harness.metrics.slices import differences
from harness.records import Plan
from harness.runner import tensors, twins
from harness.runner.findings import Distance, Node, Part
from harness.runner.prepared import Batches, Prepared
from harness.variants.graph import load_model, save
from harness.variants.taps import FLOATS, LOCAL, Maker, Tap, between, cut, hangs_on, mark, taps, types

FP32 = ("fp32", "as-is")
"""Precisions whose file is its own fp32 model, or that have none."""
SHARED = 0.5
"""A file of the user's own that lacks more of the model's tensors than this is looked at by its own names."""


class Map:
    """The graph whose names are used: the fp32 model's where the variant has them, else the variant's own."""

    def __init__(self, plan: Plan, prepared: Prepared) -> None:
        variant = load_model(prepared.variant.path)[0]
        inside = {name for name, kind in types(variant).items() if kind in FLOATS}
        self.has_fp32 = plan.case.precision not in FP32
        self.path = prepared.variant.path
        self.spec = fp32_spec(prepared)
        self.taps: tuple[Tap, ...] = taps(variant)
        if self.has_fp32:
            named = taps(load_model(prepared.fetched.model)[0])
            shared = {tap.tensor for tap in named if tap.tensor in inside}
            if len(shared) >= SHARED * len(named):
                self.path, self.taps = prepared.fetched.model, _only(named, shared)
            else:
                self.has_fp32 = False

    def load(self) -> Any:
        """The graph itself."""
        return load_model(self.path)[0]

    def above(self) -> dict[str, tuple[str, ...]]:
        """The nearest taps that outputs hang on which are no taps themselves."""
        model, known = self.load(), {tap.tensor: None for tap in self.taps}
        found = {value.name: hangs_on(model, value.name, known) for value in model.graph.output}
        return {name: hung for name, hung in found.items() if hung and name not in known}


def _only(named: Sequence[Tap], shared: set[str]) -> tuple[Tap, ...]:
    """The taps among `shared`; one that hung on another hangs on what that hung on."""
    above: dict[str, tuple[str, ...]] = {}
    kept = []
    for tap in named:
        hangs = tuple(dict.fromkeys(up for name in tap.reads for up in ((name,) if name in shared else above[name])))
        above[tap.tensor] = hangs
        if tap.tensor in shared:
            kept.append(replace(tap, reads=hangs))
    return tuple(kept)


def node_of(maker: Maker) -> Node:
    """A node as findings name it."""
    return Node(maker.tensor, maker.name, maker.op)


def fp32_spec(prepared: Prepared) -> BuildSpec:
    """The fp32 model, to be run as plainly as possible."""
    operators = {key: value for key, value in prepared.spec.options.items() if key == "custom_ops"}
    options = {**twins.PLAIN, **operators}
    return replace(prepared.spec, model=prepared.fetched.model, precision="fp32", options=options)


def plain(spec: BuildSpec, feeds: Batches) -> list[dict[str, Tensor]]:
    """What a file gives on the plainest backend, node by node."""
    with closing(backend_named(TWIN_BACKEND).open(Artefact(spec.model), spec)) as session:
        return [session.infer(batch) for batch in feeds]


def twin_of(spec: BuildSpec, feeds: Batches, plan: Plan) -> twins.Twin:
    """The precision twin of a file, or why there is none."""
    try:
        return twins.evaluate(backend_named(TWIN_BACKEND), spec, feeds, plan.fidelity)
    except Exception as error:  # what onnx raises too: without a twin the other yardstick is left
        return twins.Twin(refused=str(error) or type(error).__name__)


def marked_fp32(map_of: Map, marks: Sequence[str], feeds: Batches, folder: Path) -> Batches:
    """What the fp32 model has at some tensors; nothing where there is none, or its tensors are named otherwise."""
    if not map_of.has_fp32:
        return ()
    save(mark(map_of.load(), marks), folder, "fp32")
    return plain(replace(map_of.spec, model=folder / "fp32.onnx"), feeds)


def relative(expected: Sequence[Tensor], found: Sequence[Tensor]) -> tuple[float, float] | None:
    """Non-finite elements, and the RMS of the error relative to the expected; None where they do not compare."""
    if expected[0].dtype.kind not in "fV" or any(e.shape != f.shape for e, f in zip(expected, found, strict=True)):
        return None
    error = differences(expected, found)
    size = differences([np.zeros_like(one) for one in expected], expected).rms()
    return float(error.nonfinite), error.rms() / size if size else float(error.rms() > 0)


def distances(plan: Plan, made: twins.Twin, source: Batches, candidate: Batches) -> dict[str, Distance]:
    """The distance of every float tensor that the candidate gave."""
    measured: dict[str, dict[str, float]] = {}
    over: dict[str, list[float]] = {}
    if made.refused is None:
        for one in twins.measure(made, candidate[: len(made.outputs)]):
            if one.output is not None and one.value is not None:
                measured.setdefault(one.output, {})[one.metric] = one.value
                if one.metric in LIMITS:
                    over.setdefault(one.output, []).append(one.value / limit_of(plan, one))
    names = [name for name, value in candidate[0].items() if value.dtype.kind in "fV"]
    sides = (source, candidate, made.outputs)
    return {name: _distance(name, measured.get(name, {}), over.get(name, []), sides) for name in names}


def _distance(
    name: str,
    measured: Mapping[str, float],
    over: Sequence[float],
    sides: tuple[Batches, Batches, Batches],
) -> Distance:
    source, candidate, twin = sides
    fp32, file = (_against(name, source, other) for other in (candidate, twin))
    relative, cost = (pair[1] if pair else None for pair in (fp32, file))
    return Distance(
        nonfinite=measured.get("twin_nonfinite", 0.0),
        overflowed=fp32[0] if fp32 else 0.0,
        noise=measured.get("twin_spread"),
        excess=max(over, default=None),
        relative=relative,
        file=cost,
    )


def _against(name: str, source: Batches, other: Batches) -> tuple[float, float] | None:
    """One tensor's distance from fp32, on the batches that both have."""
    pairs = [(s[name], o[name]) for s, o in zip(source, other, strict=False) if name in s and name in o]
    return relative([pair[0] for pair in pairs], [pair[1] for pair in pairs]) if pairs else None


def moved(plan: Plan, made: twins.Twin, unmarked: Batches, candidate: Batches) -> float | None:
    """How far marking moved the final outputs, in units of the limits on their distance from the twin."""
    count = len(made.outputs)
    names = [name for name in made.noise if name in unmarked[0]]
    before = twins.Twin(unmarked[:count], {name: made.noise[name] for name in names})
    found = distances(plan, before, (), candidate[:count]) if names and count else {}
    return max((found[name].excess or 0.0 for name in names), default=None)


def parts(
    plan: Plan,
    map_of: Map,
    marked: Prepared,
    marks: Sequence[str],
    feeds: Batches,
    candidate: Batches,
    folder: Path,
    number: int,
) -> tuple[Part, ...]:
    """What each part of the graph adds: its tensor as the candidate has it against its twin on the same inputs."""
    finals = [tap.tensor for tap in map_of.taps if tap.final and tap.tensor in candidate[0]]
    names = [tap.tensor for tap in map_of.taps if tap.tensor in {*marks, *finals}]
    given = [
        {**batch, **{n: widened(outputs[n]) for n in names}} for batch, outputs in zip(feeds, candidate, strict=True)
    ]
    local = [{n + LOCAL: outputs[n] for n in names} for outputs in candidate]
    save(cut(load_model(marked.variant.path)[0], names, names), folder, "cut")
    made = twin_of(replace(marked.spec, model=folder / "cut.onnx"), taken(folder / "cut.onnx", given), plan)
    source: Batches = ()
    if map_of.has_fp32:
        save(cut(map_of.load(), names, names), folder, "cut-fp32")
        path = folder / "cut-fp32.onnx"
        source = plain(replace(map_of.spec, model=path), taken(path, given))
    tensors.save(folder / "local", [dict(batch) for batch in made.outputs])
    added = distances(plan, made, source, local)
    graph = map_of.load()
    return tuple(_part(graph, map_of, name, names, added[name + LOCAL], number) for name in names)


def _part(graph: Any, map_of: Map, name: str, known: Sequence[str], added: Distance, number: int) -> Part:
    others = {one for one in known if one != name}
    nodes = between(graph, name, others)
    made = {node.tensor for node in nodes}
    inputs = {up for tap in map_of.taps if tap.maker.tensor in made for up in tap.reads if up in others}
    return Part(name, tuple(map(node_of, nodes)), tuple(n for n in known if n in inputs), added, number)


def widened(value: Tensor) -> Tensor:
    """A half type as float32, which is what a twin takes."""
    return value.astype(np.float32) if value.dtype.kind in "fV" and value.dtype.itemsize < 4 else value


def taken(path: Path, given: Batches) -> list[dict[str, Tensor]]:
    """Of the given tensors those that a model takes."""
    names = [value.name for value in load_model(path)[0].graph.input]
    return [{name: batch[name] for name in names} for batch in given]
