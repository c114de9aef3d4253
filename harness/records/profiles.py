"""Where the time of one inference went: layers of an engine, nodes of a session's graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

DIGITS = 5


@dataclass(frozen=True)
class LayerTime:
    """The time of one layer in one inference."""

    name: str
    kind: str
    """TensorRT's type of the layer, or the operator of ONNX Runtime's node."""
    ms: float
    """Median over the profiled inferences."""
    share: float = 0.0
    """Of the time of all layers; a baseline does not repeat it."""
    nodes: tuple[str, ...] = ()
    """The nodes of the ONNX file that it computes, where the runtime tells."""
    more_nodes: int = 0
    """How many others there are that are not listed."""


@dataclass(frozen=True)
class Profile:
    """The slowest layers of one case, slowest first, and what the others sum up to."""

    layers: tuple[LayerTime, ...] = ()
    total_ms: float = 0.0
    iterations: int = 0
    clock: str = "host"
    """"gpu" or "host"."""
    others: int = 0
    """Layers that are not listed."""
    others_ms: float = 0.0
    untold: str | None = None
    """Why there are no layers, where there are none."""


@dataclass(frozen=True)
class Room:
    """How much of a profile is kept."""

    layers: int
    nodes: int
    characters: int


RECORD = Room(layers=40, nodes=12, characters=160)
BASELINE = Room(layers=20, nodes=6, characters=80)


def shortened(profile: Profile, room: Room) -> Profile:
    """The slowest layers with cut names and five digits; what is left out is counted and summed up."""
    ordered = sorted(profile.layers, key=lambda layer: -layer.ms)
    left_out = ordered[room.layers :]
    return replace(
        profile,
        layers=tuple(_shortened(layer, room) for layer in ordered[: room.layers]),
        total_ms=rounded(profile.total_ms),
        others=profile.others + len(left_out),
        others_ms=rounded(profile.others_ms + sum(layer.ms for layer in left_out)),
    )


def cut(name: str, characters: int) -> str:
    """A name of at most so many characters: its ends, between which fused names differ least."""
    half = (characters - 1) // 2
    return name if len(name) <= characters else f"{name[: characters - 1 - half]}…{name[-half:]}"


def _shortened(layer: LayerTime, room: Room) -> LayerTime:
    return LayerTime(
        cut(layer.name, room.characters),
        layer.kind,
        rounded(layer.ms),
        rounded(layer.share),
        tuple(cut(node, room.characters) for node in layer.nodes[: room.nodes]),
        layer.more_nodes + len(layer.nodes[room.nodes :]),
    )


def rounded(value: float) -> float:
    """A time with as many digits as are kept."""
    return float(f"{value:.{DIGITS}g}")
