"""ONNX Runtime's trace, read: how long each node of the optimised graph took, and which nodes of the file it computes.

The trace is a list of Chrome trace events with times in whole microseconds: "Node" events named `<node>_kernel_time`
inside "Session" events named `model_run`, and after a node the "Kernel" events that it started on a GPU (ONNX Runtime's
documentation of its profiling tools). A node of an inner graph lies inside the node that runs that graph.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backends.fusion import label, repeated
from harness.backends.layer_times import About, layer_times
from harness.records import LayerTime
from harness.sources.inspect import load_graph

SUFFIX = "_kernel_time"
HOST = "CPUExecutionProvider"
_LAYOUT = "_nchwc"
"""What the CPU's blocked layout appends to the name of a tensor to name the node that computes it."""
_FUSED = "fused "
_CAST = "InsertedPrecisionFreeCast_"
"""What is put before the name of a tensor that is kept in fp32 where the file has it in fp16."""
_MOVED = "_pre_q"
"""What is appended to the name of a tensor that is quantised where the file does so later."""

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """One node of the optimised graph."""

    name: str
    """Empty where the node has none."""
    op: str
    label: str
    nodes: tuple[str, ...]
    """Names of the nodes of the file that it computes."""


def profiled(trace: Path, places: Sequence[Place], iterations: int) -> tuple[LayerTime, ...]:
    """The time of each node in the last so many runs of a trace; of nodes on a GPU that of their kernels.

    ValueError when the trace is no such file or holds fewer runs.
    """
    events = json.loads(trace.read_text(encoding="utf-8"))
    runs = list(_runs(events))[-iterations:]
    if len(runs) < iterations or not all(runs):
        raise ValueError(f"the trace tells the nodes of {len(runs)} of {iterations} runs")
    kernels = _kernels(events)
    found: list[dict[str, float]] = []
    about: dict[str, About] = {}
    for run in runs:
        times: dict[str, float] = {}
        for event, place in zip(run, _placed(run, places), strict=True):
            about[place.label] = About(place.op, place.nodes)
            times[place.label] = times.get(place.label, 0.0) + _ms(event, kernels)
        found.append(times)
    return layer_times(found, about)


def has_kernels(trace: Path) -> bool:
    """Whether a trace tells of any kernel on a GPU."""
    return any(event.get("cat") == "Kernel" for event in json.loads(trace.read_text(encoding="utf-8")))


def _runs(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The nodes of each run in their order, without those of inner graphs."""
    whole = [event for event in events if event.get("cat") == "Session" and event.get("name") == "model_run"]
    starts = sorted(event["ts"] for event in whole)
    runs: list[list[Event]] = [[] for _ in starts]
    end = -1
    for event in sorted(filter(_is_node, events), key=lambda event: (event["ts"], -event["dur"])):
        place = bisect_right(starts, event["ts"]) - 1
        if place >= 0 and event["ts"] >= end:
            runs[place].append(event)
            end = event["ts"] + event["dur"]
    yield from runs


def _is_node(event: Event) -> bool:
    return event.get("cat") == "Node" and str(event.get("name", "")).endswith(SUFFIX)


def _kernels(events: Sequence[Event]) -> dict[int, int]:
    """Identity of a node's event to the microseconds of its kernels, which follow it in the file."""
    found: dict[int, int] = {}
    node: Event | None = None
    for event in events:
        if _is_node(event):
            node = event
        elif event.get("cat") == "Kernel" and node is not None and _started_by(node, event):
            found[id(node)] = found.get(id(node), 0) + event["dur"]
    return found


def _started_by(node: Event, kernel: Event) -> bool:
    """A kernel before it may be of what is no node, such as the run itself."""
    return bool(kernel.get("args", {}).get("parent_name", node["name"]) == node["name"])


def _ms(event: Event, kernels: Mapping[int, int]) -> float:
    """Of nodes on the host and traces without kernels the event's own time, else that of the kernels."""
    on_host = not kernels or event.get("args", {}).get("provider") == HOST
    return float(event["dur"] if on_host else kernels.get(id(event), 0)) / 1e3


def _placed(run: Sequence[Event], places: Sequence[Place]) -> list[Place]:
    """The place of each event: by order, which ONNX Runtime keeps when it writes its graph, else by name."""
    told = [(str(event["name"]).removesuffix(SUFFIX), str(event.get("args", {}).get("op_name", ""))) for event in run]
    if len(told) == len(places) and all(
        op == place.op and name == (place.name or name) for (name, op), place in zip(told, places, strict=True)
    ):
        return list(places)
    named = {place.name: place for place in places if place.name}
    return [named.get(name, Place(name, op, name, ())) for name, op in told]


def places(file: Path, optimised: Path) -> tuple[Place, ...]:
    """The nodes of an optimised graph in order, with the nodes of the file that each computes."""
    return placed(load_graph(file).graph, load_graph(optimised).graph)


def placed(file: Any, optimised: Any) -> tuple[Place, ...]:
    """`places` of two GraphProtos."""
    original, final = list(file.node), list(optimised.node)
    origin = _origins(original, final)
    return tuple(
        Place(node.name, node.op_type, label(node), tuple(label(original[place]) for place in sorted(origin[index])))
        for index, node in enumerate(final)
    )


def _origins(original: Sequence[Any], final: Sequence[Any]) -> list[set[int]]:
    """For each node of the optimised graph, the places in the file of the nodes that it computes.

    A node stands for the one of its name and those that make its outputs, unless another stands for them, and for
    everything before these up to tensors that the optimised graph still has, or that it has once for several nodes
    that compute the same.
    """
    makers = {output: place for place, node in enumerate(original) for output in node.output if output}
    owners: dict[int, int] = {}
    for index, root in _roots(original, final, makers):
        owners.setdefault(root, index)
    merged = repeated(original) - owners.keys()
    kept = {_tensor(name, makers) for node in final for name in (*node.input, *node.output)}
    found: list[set[int]] = [set() for _ in final]
    for root, index in owners.items():
        ahead = [root]
        while ahead:
            place = ahead.pop()
            if original[place].op_type != "Constant" and place not in found[index]:
                found[index].add(place)
                before = {makers.get(tensor) for tensor in original[place].input if tensor not in kept} - merged
                ahead += [one for one in before if one is not None and owners.get(one, index) == index]
    return found


def _roots(original: Sequence[Any], final: Sequence[Any], makers: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Places in the optimised graph and in the file that belong together: by name first, then by output."""
    named = {node.name: place for place, node in enumerate(original) if node.name}
    for index, node in enumerate(final):
        by_tensor = (
            makers.get(_tensor(node.name.removesuffix(_LAYOUT), makers)) if node.name.endswith(_LAYOUT) else None
        )
        root = named.get(node.name, named.get(node.name.removeprefix(_FUSED), by_tensor))
        if root is not None:
            yield index, root
    for index, node in enumerate(final):
        made = [_tensor(name, makers) for name in node.output]
        yield from ((index, makers[name]) for name in made if name in makers)


def _tensor(name: str, makers: Mapping[str, int]) -> str:
    """What a tensor is called in the file."""
    return name if name in makers else name.removeprefix(_CAST).removesuffix(_MOVED)
