"""Keeps the folder of artefacts from growing without bound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import time

from harness import artefacts, baselines
from harness.errors import HarnessError


def tidy(cache: Path, folders: Iterable[Path]) -> None:
    """Remove artefacts that no baseline in these folders names and that were long unused.

    Nothing is removed while a baseline cannot be read: what it names is not known.
    """
    named = set()
    try:
        for folder in folders:
            for path in folder.glob("*/*.json"):
                for entry in baselines.read(folder, path.parent.name, path.stem).values():
                    named |= {digest for digest in (entry.digests.engine, entry.digests.variant) if digest}
    except HarnessError:
        return
    artefacts.clean(cache, named, time())
