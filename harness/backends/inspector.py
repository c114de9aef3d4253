"""TensorRT's engine inspector, read: layers, the formats of their tensors, the kernels that were chosen.

Two dialects: up to TensorRT 10 a tensor has "Format/Datatype" in one string and the engine "Bindings"; from 11 on
"Datatype" and "Format" apart and "I/O Tensors". At less than detailed verbosity a layer is its bare name. Sources: the
inspector's documentation, its migration notes from 10 to 11, and NVIDIA's open engine explorer, which reads the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.backends.kernels import compute_of, storage_of
from harness.backends.layers import UNKNOWN, Layer

_CONV = re.compile(r"(?i)conv(?!ert)")
_MATMUL = re.compile(r"(?i)gemm|gemv|matrixmultiply|matmul|fullyconnected|mha")
_GENERATED = re.compile(r"(?i:gemm|mha|conv(?!ert))|Fc(?=[A-Z_0-9]|$)")
"""Parts of the names that the compiler of fused regions gives to what it generated: _gemm_mha_v2, __myl_FcAddErf."""
_OPAQUE = re.compile(r"(?i)myelin|foreignnode")
_COMPILED = ("kgen", "fusion")
_PREFIXES = ("__myl_", "_gemm")


def layers(text: str) -> tuple[Layer, ...]:
    """The layers of an engine from the inspector's JSON; ValueError when it is none."""
    return tuple(_layer(entry) for entry in entries(text))


def entries(text: str) -> list[Any]:
    """What the inspector's JSON says of each layer: a mapping, or a bare name; ValueError when it is none."""
    # Metadata separates names with a bare control character, which strict JSON refuses
    found = json.loads(text, strict=False)
    told = found.get("Layers") if isinstance(found, Mapping) else None
    if not isinstance(told, list):
        raise ValueError("the engine inspector's JSON has no list of layers")
    return told


def is_compiled(entry: Any) -> bool:
    """Whether a layer is a kernel that the compiler of fused regions generated; copies are not meant."""
    about = entry if isinstance(entry, Mapping) else {"Name": entry}
    name, layer_type = str(about.get("Name", "")), str(about.get("LayerType", ""))
    return layer_type.lower() in _COMPILED or (name.startswith(_PREFIXES) and not layer_type.endswith("Reformat"))


def _layer(entry: Any) -> Layer:
    if not isinstance(entry, Mapping):
        return Layer(str(entry), _kind_of_bare(str(entry)))
    name = str(entry.get("Name", ""))
    kernel = str(entry.get("TacticName", ""))
    kind = _kind(name, str(entry.get("LayerType", "")), str(entry.get("ParameterType", "")), kernel)
    storage = _agreed(entry) if kind == "fused" else _read(entry)
    return Layer(name, kind, storage, compute_of(kernel), kernel)


def _kind_of_bare(name: str) -> str:
    """The kind of a layer of which nothing is told but its name, which may be anything: it may hide a product."""
    return "other" if name.startswith(("Reformatting CopyNode", "[trainStation")) else "fused"


def _kind(name: str, layer_type: str, parameter_type: str, kernel: str) -> str:
    if layer_type.endswith("Reformat"):  # a cast or a copy, also where the compiler of fused regions makes it
        return "other"
    if _OPAQUE.search(layer_type) or name.startswith("{ForeignNode["):
        return "fused"
    if layer_type.lower() in _COMPILED:
        told = _GENERATED.search(kernel) or _GENERATED.search(name if name.startswith(_PREFIXES) else "")
        return "other" if told is None else "conv" if told[0].lower().startswith("conv") else "matmul"
    for words in (parameter_type, layer_type):
        if _CONV.search(words):
            return "conv"
        if _MATMUL.search(words):
            return "matmul"
    return "other"


def _read(entry: Mapping[str, Any]) -> str:
    """What a layer reads: its first input, else its weights; outputs may be wider than what was multiplied."""
    weights = entry.get("Weights")
    told = [*_formats(entry, "Inputs")[:1], str(weights.get("Type", "")) if isinstance(weights, Mapping) else ""]
    return next((precision for precision in map(storage_of, told) if precision != UNKNOWN), UNKNOWN)


def _agreed(entry: Mapping[str, Any]) -> str:
    """The one precision of everything that an opaque region reads and writes; unknown where there are several."""
    told = {storage_of(words) for words in (*_formats(entry, "Inputs"), *_formats(entry, "Outputs"))} - {UNKNOWN}
    return told.pop() if len(told) == 1 else UNKNOWN


def _formats(entry: Mapping[str, Any], key: str) -> list[str]:
    tensors = entry.get(key)
    if not isinstance(tensors, Sequence) or isinstance(tensors, str):
        return []
    return [_format(tensor) for tensor in tensors if isinstance(tensor, Mapping)]


def _format(tensor: Mapping[str, Any]) -> str:
    """The words for a tensor's precision; both spellings of the newer key occur."""
    keys = ("Datatype", "DataType", "Format/Datatype", "Format")
    return next((str(tensor[key]) for key in keys if tensor.get(key)), "")
