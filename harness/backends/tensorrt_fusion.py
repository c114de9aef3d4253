"""Which nodes of the ONNX file went into which layer of an engine, from what the engine inspector says.

From 8.6 on the parser writes "[ONNX Layer: NAME]" or "[ONNX Layer: NAME | more]" into the metadata of each layer that
it makes (processMetadata of the open parser). The builder joins these with the control characters 1E and, in regions
that it compiles, 1F; layers of its own have none. The name of a layer joins what went into it as well, weights
included: "w + w_QuantizeLinear + conv + relu", "PWN(sigmoid, mul)", "q || k"; what the file calls so is taken from it.
"{ForeignNode[a...b]}" is a compiled region: in 8.6 it has no metadata, and only its ends are told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.backends.fusion import FileNode, file_nodes, fusion
from harness.backends.inspector import entries, is_compiled, layers
from harness.backends.layers import Layer
from harness.errors import InputError
from harness.records.fusion import Fused, Fusion
from harness.sources.inspect import load_graph

_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=\[ONNX Layer: |[\x1e\x1f]|$)", re.DOTALL)
_ENDS = re.compile(r"\{ForeignNode\[(.*)\]\}", re.DOTALL)
_JOINS = re.compile(r" \+ | \|\| |PWN\(|, |\)")
_REGION = "{ForeignNode["
_COPY = "Reformatting CopyNode"
"""What the name of a copy starts with; it goes on with the layer that the copy is made for, and computes no node."""
_COPIES = ("Reformat", "NoOp")
"""Types of layers that compute no node either."""


def fused(text: str, model: Path) -> Fusion:
    """The layers in the inspector's JSON with the nodes of the file; ValueError when it is no such text."""
    nodes = _file_nodes(model)
    known = {node.parsed: node.label for node in nodes or ()}
    told = zip(entries(text), layers(text), strict=True)
    return fusion([_fused(entry, layer, known) for entry, layer in told], nodes)


def _file_nodes(model: Path) -> tuple[FileNode, ...] | None:
    """None for an engine that was given instead of a model."""
    try:
        return file_nodes(load_graph(model).graph)
    except InputError:
        return None


def _fused(entry: Any, layer: Layer, known: Mapping[str, str]) -> Fused:
    about: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
    metadata = str(about.get("Metadata") or "")
    nodes = dict.fromkeys((*_by_metadata(metadata, known), *_by_name(layer.name, known)))
    whole = layer.kind == "fused" if about else layer.name.startswith(_REGION)
    opaque = whole or is_compiled(entry) or (not nodes and _computes(about, layer))
    opaque = opaque and not _NODE.search(metadata)
    kind = str(about.get("LayerType", ""))
    return Fused(layer.name, kind, layer.storage, layer.compute, layer.kernel, tuple(nodes), opaque=opaque)


def _computes(about: Mapping[str, Any], layer: Layer) -> bool:
    """Whether a layer is no copy, as far as is told: without metadata its name may join nodes that are not known."""
    copies = layer.name.startswith(_COPY) or str(about.get("LayerType", "")).endswith(_COPIES)
    return layer.kind != "other" or ("Metadata" not in about and bool(about) and not copies)


def told(name: str, metadata: str | None) -> tuple[str, ...]:
    """The nodes of a layer as TensorRT names them: by metadata, or where there is none by the layer's name."""
    if metadata is not None:
        return tuple(dict.fromkeys(_by_metadata(metadata, {})))
    return () if name.startswith((_COPY, _REGION)) else tuple(name.split(" + "))


def _by_metadata(metadata: str, known: Mapping[str, str]) -> list[str]:
    """What is said of a node behind its name (documentation, the local function that holds it) is left out."""
    return [known[one] if one in known else _known(one.split(" | ")[0], known) for one in _NODE.findall(metadata)]


def _known(name: str, known: Mapping[str, str]) -> str:
    return known.get(name, name)


def _by_name(name: str, known: Mapping[str, str]) -> list[str]:
    """Nodes of the file that the name of a layer holds as they are."""
    if name.startswith(_COPY):
        return []
    if ends := _ENDS.fullmatch(name):
        return _ends(ends[1], known)
    parts: Sequence[str] = [name] if name in known else _JOINS.split(name)
    return [known[part] for part in parts if part in known]


def _ends(words: str, known: Mapping[str, str]) -> list[str]:
    """The first and the last layer of a region, where these are nodes; names may hold dots themselves."""
    cuts = [at for at in range(len(words)) if words.startswith("...", at)]
    pairs = [(words[:at], words[at + 3 :]) for at in cuts]
    return next(([known[end] for end in pair if end in known] for pair in pairs if any(e in known for e in pair)), [])
