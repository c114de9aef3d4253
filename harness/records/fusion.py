"""Which nodes of the file became which layer of what ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.records.profiles import RECORD, LayerTime, cut, rounded

LAYERS, NODES, CHARACTERS = 200, RECORD.nodes, RECORD.characters
"""What a record holds at most: layers, nodes of each, characters of a name."""
UNNAMED = 24
"""Nodes that are listed of those that no layer names, for each reason."""
UNKNOWN = "unknown"
"""A precision that nothing tells."""


@dataclass(frozen=True)
class Fused:
    """One layer that runs, and the nodes of the file that went into it."""

    name: str
    kind: str
    """TensorRT's type of the layer, or the operator of ONNX Runtime's node."""
    storage: str
    compute: str
    kernel: str = ""
    nodes: tuple[str, ...] = ()
    more_nodes: int = 0
    """How many others there are that are not listed."""
    opaque: bool = False
    """It computes more than these nodes, and the runtime does not tell which."""
    ms: float | None = None
    """Where layers were timed; None where the runtime reported no time of it."""


@dataclass(frozen=True)
class Unnamed:
    """Nodes that no layer names, for one reason."""

    why: str
    """"constant" (they depend on no input), "unused" (no output depends on them), "repeated" (an earlier node computes
    the same): the file shows that they need not run. "region": a layer is opaque and may hold them, or they are gone;
    "untold": the runtime does not say what became of them."""
    count: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Fusion:
    """The layers of one case: slowest first where they were timed, else in the order in which they run."""

    layers: tuple[Fused, ...]
    nodes: int | None = None
    """Nodes of the file that was built, those of inner graphs not counted; None where there is no ONNX file."""
    unnamed: tuple[Unnamed, ...] = ()
    others: int = 0
    """Layers that are not listed."""
    others_ms: float | None = None


def timed(fusion: Fusion, times: Sequence[LayerTime]) -> Fusion:
    """With the time of each layer; one that was timed and is not known otherwise is added."""
    left = {layer.name: layer for layer in times}
    layers = [
        replace(layer, ms=found.ms) if (found := left.pop(layer.name, None)) else layer for layer in fusion.layers
    ]
    added = [Fused(one.name, one.kind, UNKNOWN, UNKNOWN, nodes=one.nodes, ms=one.ms) for one in left.values()]
    return replace(fusion, layers=(*layers, *added))


def bounded(fusion: Fusion) -> Fusion:
    """What a record holds of it: the slowest layers, or the first; the others are counted and summed up."""
    ordered = sorted(fusion.layers, key=lambda layer: -(layer.ms or 0.0))
    left_out = ordered[LAYERS:]
    times = [layer.ms for layer in left_out if layer.ms is not None]
    return replace(
        fusion,
        layers=tuple(map(_shortened, ordered[:LAYERS])),
        unnamed=tuple(replace(one, nodes=_names(one.nodes, UNNAMED)) for one in fusion.unnamed),
        others=len(left_out),
        others_ms=rounded(sum(times)) if times else None,
    )


def _shortened(layer: Fused) -> Fused:
    return replace(
        layer,
        name=cut(layer.name, CHARACTERS),
        kernel=cut(layer.kernel, CHARACTERS),
        nodes=_names(layer.nodes, NODES),
        more_nodes=len(layer.nodes[NODES:]),
        ms=None if layer.ms is None else rounded(layer.ms),
    )


def _names(nodes: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(cut(node, CHARACTERS) for node in nodes[:most])
