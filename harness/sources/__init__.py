"""Model sources: from what a suite names to a verified local ONNX file.

A source is a function `(source: Source, cache: Path) -> Fetched` that raises InputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.registry import Registry

SOURCES = Registry(
    "model source",
    {
        "file": "harness.sources.local:file",
        "folder": "harness.sources.local:folder",
        "url": "harness.sources.url:url",
        "torch": "harness.sources.exported:exported",
        "pt2": "harness.sources.exported:exported",
        "tensorflow": "harness.sources.exported:exported",
        "keras": "harness.sources.exported:exported",
        "saved-model": "harness.sources.exported:exported",
    },
)

FRAMEWORKS: Mapping[str, str] = {
    "torch": "PyTorch",
    "pt2": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "TensorFlow",
    "saved-model": "TensorFlow",
}
"""Kinds of sources that are exported to ONNX, and what runs them as they are."""


@dataclass(frozen=True)
class Fetched:
    """A model on this machine, verified."""

    model: Path
    sha256: str
    """Of the .onnx file; where weights lie in files beside it, of all of them together."""
    weights: str | None = None
    """Of a model that was exported, the digest of its weights."""
    test_sets: tuple[Path, ...] = ()
    """Folders of stored inputs and outputs, set 0 first."""
