"""Model sources: from what a suite names to a verified local ONNX file."""

from __future__ import annotations

from harness.registry import Registry

SOURCES = Registry(
    "model source",
    {
        "file": "harness.sources.local:file",
        "folder": "harness.sources.local:folder",
        "url": "harness.sources.url:url",
    },
)
