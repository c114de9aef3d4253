"""Which nodes of the file went into which node of ONNX Runtime's optimised graph, in which precision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.backends.dtypes import NAMES, Dtypes, nodes
from harness.backends.fusion import file_nodes, fusion
from harness.backends.layers import UNKNOWN, Layer
from harness.backends.onnxruntime_origins import OWN, placed
from harness.records import Fused, Fusion


def fused(file: Any, optimised: Any, heavy: Iterable[Layer]) -> Fusion:
    """The nodes of the optimised ModelProto: heavy ones as they were seen, others in the type that they are fed."""
    seen = {layer.name: (layer.storage, layer.compute) for layer in heavy}
    dtypes: Dtypes = {}
    for _ in nodes(optimised, dtypes):
        pass
    found = []
    for place, node in zip(placed(file.graph, optimised.graph), optimised.graph.node, strict=True):
        fed = NAMES.get(dtypes.get(next(iter(node.input), ""), 0), UNKNOWN)
        storage, compute = seen.get(place.label, (fed, fed))
        untold = not place.nodes and place.op not in OWN
        found.append(Fused(place.label, place.op, storage, compute, nodes=place.nodes, opaque=untold))
    return fusion(found, file_nodes(file.graph))
