"""Models of PyTorch and TensorFlow, by the ONNX files that were exported from them; nothing is exported or run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.cache import Cache
from harness.codec import encode
from harness.errors import InputError
from harness.records import Source
from harness.sources import Fetched

KIND = "exports"


def key(source: Source) -> dict[str, Any]:
    """What every worker finds an export by: the run's own where the source names it, else the last."""
    return {"source": encode(source)}


def exported(source: Source, cache: Path) -> Fetched:
    """The export that a source names, or the last; InputError where there is none, which a run makes before it asks."""
    found = Cache(cache).find(KIND, key(source))
    if found is None:
        raise InputError(f"{source.path}: its export is not kept any more (--artefacts): run the case again")
    return Fetched(model=found.path, sha256=found.digest, weights=found.about["weights"])
