"""Which ONNX opset and IR version a release of a runtime takes, by its documentation.

A release that stands in no row is not known, and neither is what a row has no figure for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOT_KNOWN = "not known"
_ORT = "https://onnxruntime.ai/docs/reference/compatibility.html"
_TRT = "https://github.com/onnx/onnx-tensorrt, docs/operators.md of the release"


@dataclass(frozen=True)
class Release:
    """The newest that a release takes."""

    version: tuple[int, ...]
    opset: int
    ir: int | None
    """None: its documentation does not tell."""
    source: str


ONNXRUNTIME: Sequence[Release] = (
    Release((1, 6), 13, 7, _ORT),
    Release((1, 8), 14, 7, _ORT),
    Release((1, 9), 15, 8, _ORT),
    Release((1, 11), 16, 8, _ORT),
    Release((1, 12), 17, 8, _ORT),
    Release((1, 14), 18, 8, _ORT),
    Release((1, 15), 19, 8, _ORT),
    Release((1, 16), 19, 9, _ORT),
    Release((1, 17), 20, 9, _ORT),
    Release((1, 18), 21, 10, _ORT),
    # from here on the releases of ONNX that they integrate, whose versions onnx.helper.VERSION_TABLE has
    Release((1, 21), 22, 10, "ONNX 1.17, microsoft/onnxruntime#21897"),
    Release((1, 23), 23, 11, "ONNX 1.18, microsoft/onnxruntime#24449; 1.23.2 itself says so of a newer file"),
    Release((1, 24), 25, 13, "ONNX 1.20.1, release notes of 1.24.1, microsoft/onnxruntime#26579"),
    Release((1, 25), 26, 13, "ONNX 1.21, release notes of 1.25.0, microsoft/onnxruntime#27601"),
)
TENSORRT: Sequence[Release] = (
    Release((7, 0), 11, None, _TRT),
    Release((7, 2), 13, None, _TRT),
    Release((8, 4), 17, None, _TRT),
    Release((9, 0), 19, None, _TRT),
    Release((10, 0), 20, None, _TRT),
    Release((10, 15), 24, None, _TRT),
    Release((11, 5), 25, None, "https://github.com/NVIDIA/TensorRT/releases/tag/v11.5"),
)
_TABLES: Mapping[str, tuple[str, Sequence[Release]]] = {
    "onnxruntime": ("ONNX Runtime", ONNXRUNTIME),
    "tensorrt": ("TensorRT", TENSORRT),
    "tensorrt_rtx": ("TensorRT for RTX", ()),
}
"""The package whose version counts, to its name and its releases."""


def with_support(package: str, installed: str, opset: int, ir: int) -> str:
    """What version of a runtime takes a model that the installed one refuses, or `NOT_KNOWN` and why.

    `opset` and `ir` are the model's. A version that takes the opset need not have every operator of it.
    """
    name, releases = _TABLES[package]
    if not releases:
        return f"{NOT_KNOWN}: {name} documents no newest opset or IR version"
    found = next((one for one in releases if one.opset >= opset and (one.ir is None or one.ir >= ir)), None)
    if found is None:
        last = releases[-1]
        asked = _needs(opset, None if last.ir is None else ir)
        newest = f"{_needs(last.opset, last.ir)} since {_text(last.version)}"
        return f"{NOT_KNOWN}: {asked} is beyond what is documented of {name}: {newest} ({last.source})"
    needs = _needs(opset, None if found.ir is None else ir)
    if found.version <= parsed(installed):
        return f"{NOT_KNOWN}: {needs} is no reason, {name} documents it since {_text(found.version)} ({found.source})"
    return f"{name} {_text(found.version)} or later, which is documented to take {needs} ({found.source})"


def _needs(opset: int, ir: int | None) -> str:
    return f"opset {opset}" if ir is None else f"opset {opset} with IR version {ir}"


def parsed(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
