"""ONNX Runtime's trace, read: how long each node of the optimised graph took.

The trace is a list of Chrome trace events with times in whole microseconds: "Node" events named `<node>_kernel_time`
inside "Session" events named `model_run`, and after a node the "Kernel" events that it started on a GPU (ONNX Runtime's
documentation of its profiling tools). A node of an inner graph lies inside the node that runs that graph.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.backends.layer_times import About, layer_times
from harness.backends.onnxruntime_origins import Place
from harness.records import LayerTime

SUFFIX = "_kernel_time"
HOST = "CPUExecutionProvider"

Event = Mapping[str, Any]


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
