"""`harness history add`, and what `harness run` does at its end: runs go into the store."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.history import places
from harness.store import RUN_FILE

MISSING = "the store needs SQLAlchemy, which is not here: pip install 'trt-harness[store]'"


def history_add(asked: argparse.Namespace) -> int:
    """Add runs, and say of each what became of it; UsageError for one that cannot be added, after those before it."""
    check()
    url = places.named(asked.store) or places.default(asked.root)
    for path, words in added(url, asked.runs):
        print(f"{path}: {words}")
    return 0


def added(url: str, paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Add runs one by one, with what became of each."""
    from harness.history import adding, database

    with database.opened(url, make=True) as engine:
        for path in paths:
            yield path, adding.add(engine, *adding.read(path))


def remember(url: str, folder: Path, given: str | None) -> None:
    """Add the run that has just ended, however; where that fails the run stays what it is, and a warning says why.

    `given` is --store, which adding it later needs as well.
    """
    if not (folder / RUN_FILE).exists():  # nothing was measured
        return
    try:
        list(added(url, [folder]))
    except Exception as error:  # the store is a convenience, the run is not
        again = shlex.join(["harness", "history", "add", str(folder), *(["--store", given] if given else [])])
        print(f"harness: warning: the run is not in the store: {error}; `{again}` adds it", file=sys.stderr)


def check() -> None:
    """UsageError where the library of the store is not installed."""
    try:
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise UsageError(MISSING) from error
